//! What clients of every kind tell a tracker, whatever carries it (BEP 3, 15, 21).
//!
//! Owns the values that HTTP and UDP have in common; knows neither of the two.

use std::net::{IpAddr, SocketAddr};

use crate::base::{InfoHash, PeerId};

/// Contents in one scrape: as many as a UDP datagram of the usual size can ask for (BEP 15).
pub const SCRAPE_HASHES_MAX: usize = 74;

/// What happened to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// Nothing: it is time to announce again.
    #[default]
    None,
    /// It has begun.
    Started,
    /// It has finished fetching.
    Completed,
    /// It leaves.
    Stopped,
    /// It fetches nothing more, although it does not hold everything (BEP 21).
    Paused,
}

/// An announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The content.
    pub info_hash: InfoHash,
    /// What the client calls itself.
    pub peer_id: PeerId,
    /// The port that it listens on; 0 = it does not.
    pub port: u16,
    /// Bytes that it says it sent.
    pub uploaded: u64,
    /// Bytes that it says it received.
    pub downloaded: u64,
    /// Bytes that it still misses; `u64::MAX` if it does not know (a magnet link).
    pub left: u64,
    /// What happened.
    pub event: AnnounceEvent,
    /// How many others it wants; `None` leaves it to the tracker.
    pub want: Option<u32>,
    /// A number that stays the same when its address changes; 0 = none.
    pub key: u32,
    /// The address that it says it has. Not to be believed.
    pub ip: Option<IpAddr>,
}

/// A member of a swarm, as a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedPeer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it calls itself, where the form of the list has a place for it.
    pub peer_id: Option<PeerId>,
}

/// The figures of one swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeEntry {
    /// Members that hold everything.
    pub complete: u32,
    /// How often the content was fetched to the end.
    pub downloaded: u32,
    /// The other members.
    pub incomplete: u32,
}
