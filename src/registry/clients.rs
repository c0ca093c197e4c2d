//! The connections that said HELLO, and what each is a member of.
//!
//! Knows addresses and slots; never looks into a content.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::completions::Serial;
use super::members::PeerPlace;
use super::{Addresses, Refusal};
use crate::base::{PeerId, nearness};

/// Contents that one client can be a member of at once.
pub const SLOTS_PER_CLIENT_MAX: usize = 1024;

/// A content, and the key of the member there.
pub(super) type Membership = (Serial, u32);

/// A connection that said HELLO, by the number that [`Registry::connect`] gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub(super) u32);

impl Client {
    /// Small, and used again after the client is gone.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who said HELLO.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Where the tracker sees it.
    pub source: IpAddr,
    /// Where it says it listens.
    pub listens_at: &'a [SocketAddr],
    /// What its machine calls itself.
    pub host: &'a str,
    /// Where it stands: `site/rack`, or nothing.
    pub zone: &'a str,
}

/// What the registry knows of a client.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) peer_id: PeerId,
    pub(super) source: IpAddr,
    pub(super) addresses: Addresses,
    pub(super) host: Arc<str>,
    /// Any number, the same for the same host: most others are told apart without looking at their names.
    host_tag: u32,
    zone: Arc<str>,
    /// The membership of slot `n` at `n - 1`: the content, and the member's key there.
    pub(super) slots: Vec<Option<Membership>>,
}

impl Known {
    /// A client that said HELLO.
    pub(super) fn new(caller: Caller<'_>) -> Self {
        let source = caller.source.to_canonical();
        Self {
            peer_id: caller.peer_id,
            source,
            addresses: Addresses::new(source, caller.listens_at),
            host: caller.host.into(),
            host_tag: tag(caller.host),
            zone: caller.zone.into(),
            slots: Vec::new(),
        }
    }

    /// What tells two members apart: the peer, and where it listens (or that it does not).
    pub(super) fn place(&self) -> PeerPlace {
        let addr = self.addresses.all().first();
        (
            self.peer_id,
            addr.copied()
                .unwrap_or_else(|| SocketAddr::new(self.source, 0)),
        )
    }

    /// Whether it says where it stands.
    pub(super) fn has_zone(&self) -> bool {
        !self.zone.is_empty()
    }

    /// How near another client is: 3 on one host, 2 in one zone, 1 at one site. Where either does not say in which zone it
    /// is, their addresses decide.
    pub(super) fn proximity(&self, other: &Self) -> u8 {
        fn site(zone: &str) -> &str {
            zone.split('/').next().unwrap_or(zone)
        }
        if !self.host.is_empty() && self.host_tag == other.host_tag && self.host == other.host {
            3
        } else if !self.has_zone() || !other.has_zone() {
            nearness(self.source, other.source)
        } else if self.zone == other.zone {
            2
        } else {
            u8::from(site(&self.zone) == site(&other.zone))
        }
    }

    /// Who accuses: an address, on one machine with its port.
    pub(super) fn reporter(&self) -> SocketAddr {
        match self.place() {
            (_, addr) if self.source.is_loopback() => addr,
            _ => SocketAddr::new(self.source, 0),
        }
    }

    /// The membership of a slot.
    pub(super) fn slot(&self, slot: u32) -> Option<Membership> {
        let index = (slot as usize).checked_sub(1)?;
        *self.slots.get(index)?
    }

    /// The slot of the membership in a content.
    pub(super) fn slot_in(&self, content: Serial) -> Option<u32> {
        let is_it = |place: &Option<Membership>| place.is_some_and(|(own, _)| own == content);
        let index = self.slots.iter().position(is_it)?;
        Some(index as u32 + 1)
    }

    /// The lowest free slot.
    pub(super) fn take_slot(&mut self) -> Result<u32, Refusal> {
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or(self.slots.len());
        if index >= SLOTS_PER_CLIENT_MAX {
            return Err(Refusal::Full("a connection can join no more contents"));
        }
        if index == self.slots.len() {
            self.slots.push(None);
        }
        Ok(index as u32 + 1)
    }
}

/// A number for a text, as Fowler, Noll and Vo make it.
fn tag(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |tag: u32, byte| {
        (tag ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_near_by_host_zone_and_address() {
        let known = |last: u8, host: &str, zone: &str| {
            Known::new(Caller {
                peer_id: PeerId([last; 20]),
                source: [10, 0, last, 1].into(),
                listens_at: &[],
                host,
                zone,
            })
        };
        let me = known(1, "a", "west/7");
        let near = |other: Known| (me.proximity(&other), other.proximity(&me));
        assert_eq!(near(known(2, "a", "")), (3, 3));
        assert_eq!(near(known(2, "b", "west/7")), (2, 2));
        assert_eq!(near(known(1, "b", "west/8")), (1, 1));
        assert_eq!(near(known(2, "b", "east/7")), (0, 0));
        assert_eq!(near(known(2, "b", "")), (1, 1), "their addresses");
        assert_eq!(near(known(1, "", "")), (3, 3), "one address");
    }
}
