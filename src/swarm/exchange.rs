//! Peer exchange (BEP 11): whom each peer is told of, and how far its own tales are believed.
//!
//! A peer that asked for it is told of those whose listening address we know, as differences to what it was told, and
//! never of an address that reaches less far than the link to it. What peers tell is hearsay: each may tell of so many,
//! so often, and never of a place in its own network that only we can see, or of a port where no peer would listen.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::links::Reason;
use super::peer::{Peer, PeerKey};
use super::{Output, Swarm, timers};
use crate::base::{Time, canonical, is_shared_over};
use crate::wire::peer_exchange::{
    EXCHANGED_MAX, ExchangedPeer, FLAG_REACHABLE, FLAG_SEED, PeerExchange,
};

/// Time between two messages to one peer (BEP 11 allows one a minute).
pub(super) const TELL_EVERY: Duration = Duration::from_secs(60);
/// How long changes are collected before those whose turn it is are told.
pub(super) const TELL_AFTER: Duration = Duration::from_secs(1);
/// Peers that one peer remembers from us at most.
pub(super) const TOLD_MAX: usize = 200;
/// A peer that tells more often than this is not listened to.
pub(super) const HEAR_EVERY_MIN: Duration = Duration::from_secs(10);
/// Messages in vain after which a peer is a nuisance.
pub(super) const HASTY_MAX: u32 = 20;
/// Contacts that are taken from one peer while its link lasts.
pub(super) const TAKEN_MAX: usize = 200;
/// Ports below this belong to services that are no peers.
pub(super) const PORT_MIN: u16 = 1024;

/// What one peer and we told each other.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// It asked to be told.
    pub is_wanted: bool,
    /// Of whom it was told.
    told: BTreeSet<SocketAddr>,
    /// When it may be told again.
    tell_at: Time,
    /// When it was last listened to.
    heard_at: Option<Time>,
    hasty_count: u32,
    taken_count: usize,
}

impl Exchange {
    /// The difference between whom the peer was told of and `known`, as much as one message takes; none if there is none,
    /// or if it is too early.
    fn news(&mut self, now: Time, known: &[ExchangedPeer]) -> Option<PeerExchange> {
        if !self.is_wanted || self.tell_at > now {
            return None;
        }
        let is_known = |addr: &SocketAddr| known.iter().any(|peer| peer.addr == *addr);
        let gone = self.told.iter().filter(|addr| !is_known(addr)).copied();
        let dropped: Vec<SocketAddr> = gone.take(EXCHANGED_MAX).collect();
        dropped.iter().for_each(|addr| {
            self.told.remove(addr);
        });
        let room = EXCHANGED_MAX.min(TOLD_MAX - self.told.len());
        let mut added = Vec::new();
        for &peer in known {
            if added.len() < room && self.told.insert(peer.addr) {
                added.push(peer);
            }
        }
        if added.is_empty() && dropped.is_empty() {
            return None;
        }
        self.tell_at = now + TELL_EVERY;
        Some(PeerExchange { added, dropped })
    }

    /// Whether a message that came now is listened to.
    fn hears(&mut self, now: Time) -> Result<bool, Reason> {
        if self
            .heard_at
            .is_some_and(|at| now.since(at) < HEAR_EVERY_MIN)
        {
            self.hasty_count += 1;
            return if self.hasty_count > HASTY_MAX {
                Err(Reason::ExchangeFlood)
            } else {
                Ok(false)
            };
        }
        self.heard_at = Some(now);
        Ok(true)
    }
}

/// Whether a peer that we see as `teller` is believed that another one listens at `addr`.
fn is_believed(teller: SocketAddr, addr: SocketAddr) -> bool {
    addr.port() >= PORT_MIN && is_shared_over(teller.ip(), addr.ip())
}

impl Peer {
    /// Where it listens, if that is known.
    pub(super) fn listens_at(&self) -> Option<SocketAddr> {
        (self.hello.dialled || self.addr != self.hello.remote).then_some(self.addr)
    }

    /// What others are told of it, if they can dial it.
    fn exchanged(&self) -> Option<ExchangedPeer> {
        let addr = self.listens_at()?;
        let seed = if self.has.is_all() || self.is_upload_only {
            FLAG_SEED
        } else {
            0
        };
        let reachable = if self.hello.dialled {
            FLAG_REACHABLE
        } else {
            0
        };
        Some(ExchangedPeer {
            addr,
            flags: seed | reachable,
        })
    }
}

impl Swarm {
    /// Whether we offer peer exchange: not for a private torrent (BEP 27).
    pub fn exchanges(&self) -> bool {
        self.config.exchange
    }

    /// Peers came or went, or one of them asked to be told.
    pub(super) fn arm_exchange(&mut self, now: Time) {
        if self.config.exchange && self.peers.iter().any(|(_, peer)| peer.exchange.is_wanted) {
            self.deadlines
                .bring_forward(timers::EXCHANGE, now + TELL_AFTER);
        }
    }

    /// Tells every peer whose turn it is what has changed, and arms the next turn.
    pub(super) fn tell_of_peers(&mut self, now: Time) {
        let mut known: Vec<ExchangedPeer> = self
            .peers
            .iter()
            .filter_map(|(_, p)| p.exchanged())
            .collect();
        known.sort_unstable_by_key(|peer| peer.addr);
        known.dedup_by_key(|peer| peer.addr);
        let mut next = Time::MAX;
        let keys: Vec<PeerKey> = self.keys().collect();
        for key in keys {
            let peer = &mut self.peers[key.slot()];
            let (own, end) = (peer.addr, peer.hello.remote.ip());
            let is_for_it =
                |other: &&ExchangedPeer| other.addr != own && is_shared_over(end, other.addr.ip());
            let known: Vec<ExchangedPeer> = known.iter().filter(is_for_it).copied().collect();
            if let Some(message) = peer.exchange.news(now, &known) {
                self.outputs
                    .push_back(Output::Exchange { peer: key, message });
            }
            let exchange = &self.peers[key.slot()].exchange;
            if exchange.is_wanted && exchange.tell_at > now {
                next = next.min(exchange.tell_at);
            }
        }
        if next < Time::MAX {
            self.deadlines.set(timers::EXCHANGE, next);
        }
    }

    /// A peer tells of others.
    pub(super) fn exchanged(
        &mut self,
        now: Time,
        key: PeerKey,
        message: &PeerExchange,
    ) -> Result<(), Reason> {
        let is_offered = self.config.exchange;
        let Some(peer) = self.peer_mut(key) else {
            return Ok(());
        };
        peer.received_at = now;
        if !is_offered || !peer.exchange.hears(now)? {
            return Ok(());
        }
        let teller = peer.hello.remote;
        for &addr in &message.dropped {
            self.contacts.drop_told(key, canonical(addr));
        }
        for other in &message.added {
            if self.peers[key.slot()].exchange.taken_count >= TAKEN_MAX {
                break;
            }
            let addr = canonical(other.addr);
            let is_of_use = is_believed(teller, addr)
                && !self.ledger.is_banned(None, addr)
                && self.key_at(addr).is_none();
            let is_seed = other.flags & FLAG_SEED != 0;
            if is_of_use && self.contacts.add_told(now, key, addr, is_seed) {
                self.peers[key.slot()].exchange.taken_count += 1;
            }
        }
        self.contacts_changed = true;
        Ok(())
    }

    /// The link to who listens at `addr`.
    pub(super) fn key_at(&self, addr: SocketAddr) -> Option<PeerKey> {
        self.keys()
            .find(|key| self.peers[key.slot()].listens_at() == Some(addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> ExchangedPeer {
        ExchangedPeer {
            addr: ([10, 0, 0, last], 6881).into(),
            flags: 0,
        }
    }

    fn wanted() -> Exchange {
        Exchange {
            is_wanted: true,
            ..Exchange::default()
        }
    }

    #[test]
    fn a_peer_is_told_only_what_changed_and_not_too_soon() {
        let (mut exchange, mut now) = (wanted(), Time::ZERO);
        assert_eq!(exchange.news(now, &[]), None);
        let first = exchange.news(now, &[peer(1), peer(2)]).expect("news");
        assert_eq!((first.added.len(), first.dropped.len()), (2, 0));
        now += TELL_EVERY;
        assert_eq!(exchange.news(now, &[peer(1), peer(2)]), None);
        let second = exchange.news(now, &[peer(2), peer(3)]).expect("news");
        assert_eq!(
            (second.added, second.dropped),
            (vec![peer(3)], vec![peer(1).addr])
        );
        now += TELL_EVERY / 2;
        assert_eq!(exchange.news(now, &[]), None, "too soon");
        now += TELL_EVERY / 2;
        assert!(exchange.news(now, &[]).is_some());
        assert_eq!(
            Exchange::default().news(now, &[peer(1)]),
            None,
            "it did not ask"
        );
    }

    #[test]
    fn a_message_is_never_longer_than_agreed_and_the_memory_is_bounded() {
        let (mut exchange, mut now) = (wanted(), Time::ZERO);
        for turn in 0..20u8 {
            let known: Vec<ExchangedPeer> = (0..120u8)
                .map(|last| ExchangedPeer {
                    addr: ([10, 0, turn, last], 6881).into(),
                    flags: 0,
                })
                .collect();
            let news = exchange.news(now, &known).expect("all of them are new");
            assert!(news.added.len() <= EXCHANGED_MAX && news.dropped.len() <= EXCHANGED_MAX);
            assert!(exchange.told.len() <= TOLD_MAX);
            now += TELL_EVERY;
        }
    }

    #[test]
    fn who_tells_too_often_is_not_heard_and_in_the_end_not_suffered() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.hears(Time::ZERO), Ok(true));
        assert_eq!(exchange.hears(Time::ZERO + HEAR_EVERY_MIN), Ok(true));
        for _ in 0..HASTY_MAX {
            assert_eq!(exchange.hears(Time::ZERO + HEAR_EVERY_MIN), Ok(false));
        }
        let last = exchange.hears(Time::ZERO + HEAR_EVERY_MIN);
        assert_eq!(last, Err(Reason::ExchangeFlood));
    }

    #[test]
    fn what_is_believed_depends_on_where_the_teller_is() {
        let believed = |teller: &str, addr: &str| {
            let teller = SocketAddr::new(teller.parse().expect("an address"), 1);
            is_believed(teller, addr.parse().expect("an address"))
        };
        for (teller, addr) in [
            ("8.8.8.8", "9.9.9.9:1024"),
            ("8.8.8.8", "[2001:db8::1]:6881"),
            ("10.0.0.1", "10.0.0.2:6881"),
            ("127.0.0.1", "127.0.0.2:6881"),
        ] {
            assert!(believed(teller, addr), "{teller} {addr}");
        }
        for (teller, addr) in [
            ("8.8.8.8", "9.9.9.9:1023"),
            ("8.8.8.8", "10.0.0.2:6881"),
            ("8.8.8.8", "127.0.0.1:6881"),
            ("10.0.0.1", "127.0.0.1:6881"),
            ("10.0.0.1", "169.254.169.254:8080"),
            ("8.8.8.8", "[fe80::1]:6881"),
            ("8.8.8.8", "[::ffff:127.0.0.1]:6881"),
            ("127.0.0.1", "0.0.0.0:6881"),
            ("127.0.0.1", "224.0.0.1:6881"),
            ("127.0.0.1", "255.255.255.255:6881"),
        ] {
            assert!(!believed(teller, addr), "{teller} {addr}");
        }
    }
}
