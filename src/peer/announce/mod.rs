//! Announcing to the trackers of others, over HTTP and UDP (BEP 3, 7, 12, 15, 23, 24, 31, 41).
//!
//! An [`Announcer`] is a pure machine for one content: it is told the time, and what names resolved to and conns brought,
//! and says what to resolve, to dial and to send. The [`Desk`] has one for each job that announces, and is all that the
//! service sees: which conns, dials, names and datagrams are whose.
//!
//! Whom it asks: the first tracker of the first tier that answers, as BEP 12 has it. One that failed is asked again when
//! its pause is over; until then those behind it stand in for it.

mod announcer;
mod desk;
mod http;
mod standing;
#[cfg(test)]
mod tests;
mod tiers;
mod udp;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::base::{PeerId, Rng, Time};
use crate::wire::http::reply::{AnnounceReply, Retry};

use announcer::Announcer;
pub(super) use desk::{Desk, is_announce_dial};

/// Peers that we ask for. Most trackers give 50 at most.
const WANT: u32 = 50;
/// Addresses of one name that are tried.
const ADDRS_MAX: usize = 4;

/// Who we are to every tracker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// By which a tracker knows us again after our address has changed; not 0.
    pub key: u32,
}

/// How far the transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub uploaded: u64,
    pub downloaded: u64,
    /// Bytes that are missing; `None` while the content's size is not known.
    pub left: Option<u64>,
}

/// One thing that was asked for, so that its outcome finds its way back; each is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    tracker: usize,
    serial: u32,
}

/// What an announcer wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Have a name resolved; ends in [`Announcer::resolved`].
    Resolve { ask: Ask, host: String, port: u16 },
    /// Open a conn; ends in [`Announcer::connected`] or [`Announcer::dial_failed`].
    Connect { ask: Ask, addr: SocketAddr },
    /// Send this on the conn.
    Send { ask: Ask, bytes: Vec<u8> },
    /// The conn, or the dial, is not needed any more.
    Close { ask: Ask },
    /// Send a datagram.
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    /// A tracker named these peers.
    Found(Vec<SocketAddr>),
    /// A tracker says that we are seen at this address (BEP 24).
    ExternalIp(IpAddr),
    /// The user should know this; it is safe to show.
    Warn(String),
}

/// Why an announce came to nothing.
#[derive(Debug)]
struct Trouble {
    /// In our words or in the tracker's; not safe to show.
    why: String,
    /// When to come again, if the tracker says so.
    retry: Option<Retry>,
}

/// How one announce ended.
type Ended = Result<AnnounceReply, Trouble>;

impl Trouble {
    fn new(why: impl ToString) -> Self {
        Self {
            why: why.to_string(),
            retry: None,
        }
    }
}

/// What an attempt to announce works with.
struct Means<'a> {
    now: Time,
    /// Whose attempt it is.
    tracker: usize,
    serial: &'a mut u32,
    outputs: &'a mut VecDeque<Output>,
    rng: &'a mut Rng,
}

impl Means<'_> {
    fn next_ask(&mut self) -> Ask {
        *self.serial = self.serial.wrapping_add(1);
        Ask {
            tracker: self.tracker,
            serial: *self.serial,
        }
    }

    fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Has a name resolved.
    fn resolve(&mut self, host: &str, port: u16) -> Ask {
        let ask = self.next_ask();
        let host = host.to_owned();
        self.say(Output::Resolve { ask, host, port });
        ask
    }
}

/// The addresses of a name that are worth trying, each once, the most promising first.
fn usable(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut usable: Vec<SocketAddr> = Vec::new();
    for addr in addrs {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if usable.len() < ADDRS_MAX && !usable.contains(&addr) {
            usable.push(addr);
        }
    }
    usable
}
