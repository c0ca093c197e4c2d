//! The contract between the loop and what it serves.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::Outbox;
use crate::base::Time;

/// Names one conn for as long as it lives; a stale id simply misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ConnId {
    /// The index of the conn in the loop's slab: small, and used again after the conn is closed.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// An id that no loop gave, for services that are tested without one.
    #[cfg(test)]
    pub(crate) fn for_test(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }
}

/// How a conn came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody connected to a listener.
    Accepted {
        /// The other end.
        remote: SocketAddr,
    },
    /// We connected, as [`Command::Connect`] with this `tag` asked.
    Dialled {
        /// The other end.
        remote: SocketAddr,
        /// Our end of this conn.
        local: SocketAddr,
        /// The command's tag.
        tag: u64,
    },
}

/// Whether a new conn is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Keep it.
    Accept,
    /// Close it before anything is allocated for it; `closed` is not called.
    Refuse,
}

/// Why a conn is closed.
#[derive(Debug)]
pub enum Closed {
    /// The other end closed in an orderly way.
    End,
    /// The system reported a failure.
    Failed(io::Error),
    /// The other end broke a rule: which.
    Fault(&'static str),
    /// We are done with it: why.
    Local(&'static str),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("closed by the other end"),
            Self::Failed(error) => error.fmt(f),
            Self::Fault(why) | Self::Local(why) => f.write_str(why),
        }
    }
}

/// The two ways bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards us.
    In,
    /// Away from us.
    Out,
}

/// A process signal that asks for a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// What a service asks of the loop. Commands are collected once a turn, until there are none.
#[derive(Debug)]
pub enum Command {
    /// Connect to `addr`; ends in `opened` with `tag`, or in `dial_failed`.
    Connect {
        /// Whither.
        addr: SocketAddr,
        /// Comes back with the outcome.
        tag: u64,
    },
    /// Close the conn at the end of this turn, after one attempt to flush what is queued; `closed` is called.
    Close(ConnId, Closed),
    /// The conn may have output: ask for it in this turn.
    Dirty(ConnId),
    /// A direction whose budget was 0 may have one again.
    Resume(ConnId),
    /// Send a datagram from a socket that is bound to nothing; what answers it comes to `datagram`.
    SendTo {
        /// Whither.
        to: SocketAddr,
        /// What. It is dropped if the system has no room for it.
        bytes: Vec<u8>,
    },
    /// Leave `run` at the end of this turn, after one attempt to flush every conn.
    Stop,
}

/// What runs on the loop. Every call is given the one clock reading of its turn, and none may block.
pub trait Service {
    /// A conn is open. Refuse it before allocating anything for it.
    fn opened(&mut self, now: Time, conn: ConnId, from: Origin) -> Admission;

    /// A [`Command::Connect`] came to nothing.
    fn dial_failed(&mut self, now: Time, addr: SocketAddr, tag: u64, error: io::Error);

    /// Where the next bytes of this conn belong, if that is known; they are then read straight to their place.
    fn landing(&mut self, _conn: ConnId) -> Option<&mut [u8]> {
        None
    }

    /// The first `count` bytes of the last `landing` were filled.
    fn landed(&mut self, _now: Time, _conn: ConnId, _count: usize) -> Result<(), Closed> {
        Ok(())
    }

    /// Bytes arrived. An error closes the conn with it.
    fn received(&mut self, now: Time, conn: ConnId, bytes: &[u8]) -> Result<(), Closed>;

    /// Append output to `out`: called for a conn that is dirty, and again while `out.wants_bulk()` and the last call appended something.
    fn refill(&mut self, now: Time, conn: ConnId, out: &mut Outbox);

    /// `count` bytes left for the other end: what a rate limit on [`Direction::Out`] counts, and the sign that somebody reads.
    fn sent(&mut self, _now: Time, _conn: ConnId, _count: usize) {}

    /// The conn is gone; the last that is heard of it.
    fn closed(&mut self, now: Time, conn: ConnId, why: Closed);

    /// These datagrams will be handed over next. Whoever looks now at the memory that they will need waits for that memory
    /// once for the whole batch.
    fn foresee(&mut self, _datagrams: &[&[u8]]) {}

    /// A datagram came from `from` to the socket that is bound to `local` (port 0: to the one of [`Command::SendTo`]).
    /// What is appended to `reply` is sent back, unless the system has no room for it.
    fn datagram(
        &mut self,
        _now: Time,
        _local: SocketAddr,
        _from: SocketAddr,
        _bytes: &[u8],
        _reply: &mut Vec<u8>,
    ) {
    }

    /// The waker was used: take finished work.
    fn completions(&mut self, _now: Time) {}

    /// A stop was asked for from outside.
    fn signal(&mut self, now: Time, signal: Signal);

    /// The moment of `poll_timeout` has come.
    fn handle_timeout(&mut self, now: Time);

    /// When to call `handle_timeout`, if at all.
    fn poll_timeout(&self) -> Option<Time>;

    /// Bytes that may move on this conn at once. 0 parks that direction until [`Command::Resume`].
    fn budget(&mut self, _now: Time, _conn: ConnId, _direction: Direction) -> usize {
        usize::MAX
    }

    /// The next command, if there is one.
    fn poll_command(&mut self) -> Option<Command>;
}
