//! Whom to dial and to ask first, and what is left to those who are nearer.
//!
//! A preference orders what is due; it never leaves anybody out for good, or a swarm could fall into groups.

use std::cmp::Reverse;

use super::Swarm;
use super::notes::Lure;
use super::peer::{Peer, PeerKey};
use crate::base::Bitfield;

/// While nearer peers are linked, so many farther ones are asked for a piece at a time.
const FAR_PEERS_MAX: usize = 1;

/// The order in which peers are dialled, and in which they are given work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerOrder {
    /// A mix: mostly near ones, some that have most, some at random. A piece that a nearer peer has is asked of that one.
    Auto,
    /// Any order.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// Who sends fastest, as far as that was measured; before that, who is not measured yet.
    Bandwidth,
    /// Who has most of what we lack.
    Availability,
    /// Who is nearest, by the zone that it is in or by its address. Those who are near each other share out what they
    /// fetch from afar.
    Proximity,
}

/// What of a contact or a link counts in an order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merits {
    /// How near it is, from 0 to 3.
    pub proximity: u8,
    /// How much it has of what we lack, in whatever unit.
    pub share: u32,
    /// What it sent at last, in bytes per second, if that is known.
    pub rate: Option<u64>,
}

impl PeerOrder {
    /// The `turn`th choice is made by this order: a mix takes turns, and nearness makes room for others now and then.
    pub(super) fn at_turn(self, turn: usize) -> Self {
        match self {
            Self::Auto => [
                Self::Proximity,
                Self::Random,
                Self::Proximity,
                Self::Availability,
            ][turn % 4],
            Self::Proximity if turn % 4 == 3 => Self::Random,
            order => order,
        }
    }

    /// The less, the sooner.
    pub(super) fn rank(self, merits: Merits) -> Reverse<u64> {
        Reverse(match self {
            Self::Random | Self::RoundRobin => 0,
            Self::Bandwidth => merits.rate.unwrap_or(u64::MAX),
            Self::Availability => merits.share.into(),
            Self::Auto | Self::Proximity => merits.proximity.into(),
        })
    }

    /// Why whoever has these merits comes first.
    pub(super) fn lure(self, merits: Merits) -> Lure {
        match self {
            Self::Random => Lure::Chance,
            Self::RoundRobin => Lure::Turn,
            Self::Bandwidth => Lure::Rate {
                bytes_per_second: merits.rate,
            },
            Self::Availability => Lure::Share {
                share: merits.share,
            },
            Self::Auto | Self::Proximity => Lure::Nearness {
                proximity: merits.proximity,
            },
        }
    }

    fn prefers_near(self) -> bool {
        matches!(self, Self::Auto | Self::Proximity)
    }
}

/// What a peer is asked for.
#[derive(Debug)]
pub(super) enum Freedom {
    /// Whatever it has.
    Full,
    /// All but these pieces, which nearer ones have.
    But(Bitfield),
    /// These pieces, which are ours to bring in from afar; if nothing is under way also others, first such as no nearer
    /// one has.
    Only {
        own: Bitfield,
        others: Option<Bitfield>,
    },
    /// Nothing: others that are as far are asked already.
    None,
}

impl Freedom {
    /// Whether it is asked for blocks of pieces that are others' task.
    pub(super) fn may_help(&self) -> bool {
        matches!(self, Self::Full)
    }

    /// A piece of `has`, if there is one; `pick` chooses.
    pub(super) fn pick(
        &self,
        has: &Bitfield,
        mut pick: impl FnMut(&Bitfield) -> Option<u32>,
    ) -> Option<u32> {
        let without = |less: &Bitfield| {
            let mut rest = has.clone();
            rest.remove_all(less);
            rest
        };
        match self {
            Self::None => None,
            Self::Full => pick(has),
            Self::But(held) => pick(&without(held)),
            Self::Only { own, others } => {
                let mut lacked = Bitfield::all(own.len());
                lacked.remove_all(own);
                let found = pick(&without(&lacked));
                let Some(held) = others else {
                    return found;
                };
                found.or_else(|| pick(&without(held))).or_else(|| pick(has))
            }
        }
    }
}

impl Swarm {
    /// Puts peers into the order in which they are given work.
    pub(super) fn put_in_order(&mut self, keys: &mut [PeerKey]) {
        let order = self.config.peer_order;
        if order == PeerOrder::RoundRobin {
            if !keys.is_empty() {
                self.turn = (self.turn + 1) % keys.len();
                keys.rotate_left(self.turn);
            }
        } else {
            self.rng.shuffle(keys);
        }
        if !matches!(order, PeerOrder::Random | PeerOrder::RoundRobin) {
            let peers = &self.peers;
            keys.sort_by_key(|key| {
                let peer = &peers[key.slot()];
                order.rank(Merits {
                    proximity: peer.proximity,
                    share: peer.wanted_count,
                    rate: peer.down.bytes_per_second().map(|rate| rate as u64),
                })
            });
        }
        // Whoever let requests wait gets what the others leave; else the last blocks would go back to the silent.
        keys.sort_by_key(|key| self.peers[key.slot()].is_snubbed);
    }

    /// Whether a peer is asked for whatever it has, or there are nearer ones.
    pub(super) fn freedom(&self, key: PeerKey) -> Freedom {
        let order = self.config.peer_order;
        let proximity = self.peers[key.slot()].proximity;
        let is_nearer = |peer: &Peer| peer.proximity > proximity && !peer.is_snubbed;
        if !order.prefers_near() || !self.peers.iter().any(|(_, peer)| is_nearer(peer)) {
            return Freedom::Full;
        }
        let nearer = || {
            self.peers
                .iter()
                .map(|(_, peer)| peer)
                .filter(|p| is_nearer(p))
        };
        let mut held = Bitfield::none(self.have.len());
        nearer()
            .filter(|peer| peer.is_servable())
            .for_each(|peer| held.add_all(&peer.has));
        if order == PeerOrder::Auto {
            return match self.is_idle() {
                true => Freedom::Full,
                false => Freedom::But(held),
            };
        }
        let owes = |other: PeerKey| other != key && !self.peers[other.slot()].asked.is_empty();
        let is_far = |other: PeerKey| self.peers[other.slot()].proximity <= proximity;
        let far_count = self.keys().filter(|&o| owes(o) && is_far(o)).count();
        if far_count >= FAR_PEERS_MAX {
            return Freedom::None;
        }
        // All who stand together and know of each other fetch different pieces from afar.
        let count = nearer().count() as u32 + 1;
        let place = nearer().filter(|p| p.hello.id < self.config.id).count() as u32;
        let mut own = Bitfield::none(self.have.len());
        for piece in (0..own.len()).filter(|piece| piece % count == place) {
            own.set(piece);
        }
        own.remove_all(&held);
        Freedom::Only {
            own,
            others: self.is_idle().then_some(held),
        }
    }

    /// Whether nobody owes us anything.
    pub(super) fn is_idle(&self) -> bool {
        self.peers.iter().all(|(_, peer)| peer.asked.is_empty())
    }

    /// A peer owes us nothing more: what was left to it, or waited for it, may be asked of others.
    pub(super) fn end_of_task(&mut self, key: PeerKey) {
        if self.config.peer_order.prefers_near() && self.peers[key.slot()].asked.is_empty() {
            self.hungry |= !self.wants_nothing();
        }
    }
}
