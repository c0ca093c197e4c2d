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

/// The members that one announce is answered with, as they go over the wire; kept from answer to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerList {
    /// Those of IPv4: 6 bytes each, address and port (BEP 23).
    pub v4: Vec<u8>,
    /// Those of IPv6: 18 bytes each (BEP 7).
    pub v6: Vec<u8>,
    /// What they call themselves, as far as that is known.
    pub ids: Vec<(SocketAddr, PeerId)>,
}

impl PeerList {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
        self.ids.clear();
    }

    /// Adds one.
    pub fn push(&mut self, addr: SocketAddr, peer_id: Option<PeerId>) {
        let list = match addr.ip() {
            IpAddr::V4(ip) => {
                self.v4.extend_from_slice(&ip.octets());
                &mut self.v4
            }
            IpAddr::V6(ip) => {
                self.v6.extend_from_slice(&ip.octets());
                &mut self.v6
            }
        };
        list.extend_from_slice(&addr.port().to_be_bytes());
        self.ids.extend(peer_id.map(|peer_id| (addr, peer_id)));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.v4.len() / 6 + self.v6.len() / 18
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// All of them, those of IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = AnnouncedPeer> {
        let v4 = self.v4.as_chunks::<6>().0.iter();
        let v4 = v4.map(|&[a, b, c, d, high, low]| {
            SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
        });
        let v6 = self.v6.as_chunks::<18>().0.iter();
        let v6 = v6.map(|record| {
            let mut ip = [0; 16];
            ip.copy_from_slice(&record[..16]);
            SocketAddr::from((ip, u16::from_be_bytes([record[16], record[17]])))
        });
        v4.chain(v6).map(|addr| {
            let mut ids = self.ids.iter();
            let peer_id = ids.find(|(of, _)| *of == addr).map(|(_, id)| *id);
            AnnouncedPeer { addr, peer_id }
        })
    }
}

impl<'a> FromIterator<&'a AnnouncedPeer> for PeerList {
    fn from_iter<T: IntoIterator<Item = &'a AnnouncedPeer>>(peers: T) -> Self {
        let mut list = Self::default();
        for peer in peers {
            list.push(peer.addr, peer.peer_id);
        }
        list
    }
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
