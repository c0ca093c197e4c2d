//! Connecting: what is remembered while a dial is under way, and when it has taken too long.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use nix::errno::Errno;

use super::conns::Conns;
use super::service::ConnId;
use crate::base::Time;

/// What [`Command::Connect`](super::Command::Connect) asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub(super) addr: SocketAddr,
    pub(super) tag: u64,
}

/// A dial that came to nothing, until the service is told.
#[derive(Debug)]
pub(super) struct FailedDial {
    pub(super) dial: Dial,
    pub(super) error: io::Error,
}

/// How far a dial is.
#[derive(Debug)]
pub(super) enum Progress {
    /// Not yet decided.
    Pending,
    /// Connected.
    Open {
        remote: SocketAddr,
        local: SocketAddr,
    },
    /// It failed.
    Failed(io::Error),
}

/// Asks the socket itself, as `mio::net::TcpStream::connect` prescribes: an event is only a hint.
pub(super) fn progress(stream: &TcpStream) -> Progress {
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Progress::Failed(error),
    }
    match (stream.peer_addr(), stream.local_addr()) {
        // Dialling a free port of our own range can connect a socket to itself: nobody is there.
        (Ok(remote), Ok(local)) if remote == local => {
            Progress::Failed(io::ErrorKind::ConnectionRefused.into())
        }
        (Ok(remote), Ok(local)) => Progress::Open { remote, local },
        (Err(error), _) | (_, Err(error)) if is_undecided(&error) => Progress::Pending,
        (Err(error), _) | (_, Err(error)) => Progress::Failed(error),
    }
}

fn is_undecided(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
        || error.raw_os_error() == Some(Errno::EINPROGRESS as i32)
}

/// Deadlines of dials. All dials are given the same time, so the order of asking is the order of the deadlines.
#[derive(Debug, Default)]
pub(super) struct DialDeadlines(VecDeque<(Time, ConnId)>);

impl DialDeadlines {
    /// Notes that `conn` must be connected by `at`.
    pub(super) fn push(&mut self, at: Time, conn: ConnId) {
        self.0.push_back((at, conn));
    }

    /// The next deadline of a dial that is still under way.
    pub(super) fn next(&mut self, conns: &mut Conns) -> Option<Time> {
        while let Some(&(at, conn)) = self.0.front() {
            if conns.of(conn).is_some_and(|conn| conn.dial.is_some()) {
                return Some(at);
            }
            self.0.pop_front();
        }
        None
    }

    /// A dial whose time is up.
    pub(super) fn take_due(&mut self, now: Time, conns: &mut Conns) -> Option<ConnId> {
        if self.next(conns)? > now {
            return None;
        }
        self.0.pop_front().map(|(_, conn)| conn)
    }
}
