//! Whom to dial and to ask first.
//!
//! A preference orders what is due; it never leaves anybody out for good, or a swarm could fall into groups.

use std::cmp::Reverse;

use super::Swarm;
use super::notes::Lure;
use super::peer::PeerKey;

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

    pub(super) fn prefers_near(self) -> bool {
        matches!(self, Self::Auto | Self::Proximity)
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
}
