//! What a peer may be asked for, where nearer ones are linked: paths to far ones are narrow, and shared by all who are here.
//!
//! What a near peer has is not fetched from afar. What none of them has, those who are near each other share out: each
//! piece is the task of one, found by rendezvous hashing (Thaler and Ravishankar 1998), so that all who know each other
//! agree without a word, and whoever comes or goes changes only its own share. If a share does not arrive, others take
//! it up after a while.
//!
//! It owns the shares. Nothing here forbids for good: a peer to whom nothing was left waits no longer than `PATIENCE`.

use std::time::Duration;

use super::peer::{Peer, PeerKey};
use super::{PeerOrder, Swarm, timers};
use crate::base::{Bitfield, PeerId, Rng, Time};

/// While nearer peers are linked, so many farther ones are asked for a piece at a time.
const FAR_PEERS_MAX: usize = 1;
/// How long we wait idly for what is the task of others (simulated: a quarter of it brings a twentieth more from afar,
/// and twice of it costs no time).
const PATIENCE: Duration = Duration::from_millis(500);
/// Pieces are shared out in so many classes, so that a share costs no more with more pieces.
const CLASSES_MAX: u32 = 1024;

/// Which pieces are ours to bring in from afar.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// For those who are nearer than this, by class; found when it is first asked for.
    own: Option<(u8, Vec<bool>)>,
    /// When somebody owed us something at last.
    busy_at: Time,
}

impl Share {
    /// Who is near has changed.
    pub(super) fn forget(&mut self) {
        self.own = None;
    }

    /// Somebody is asked for something.
    pub(super) fn asked(&mut self, now: Time) {
        self.busy_at = now;
    }
}

/// How strong the claim of a peer to a class of pieces is: of those who compare theirs, one has the strongest.
fn claim(class: u32, id: &PeerId) -> u64 {
    let tail = id.0.last_chunk().expect("eight of twenty bytes");
    Rng::new(u64::from_le_bytes(*tail).rotate_left(32) ^ u64::from(class)).next_u64()
}

/// What a peer is asked for.
#[derive(Debug)]
pub(super) enum Freedom {
    /// Whatever it has.
    Full,
    /// All but these pieces, which nearer ones have.
    But(Bitfield),
    /// These pieces, which are ours to bring in from afar; after a while without anything under way also others, first
    /// such as no nearer one has.
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

    /// Whether it is asked for the rest of a piece that another began.
    pub(super) fn allows(&self, piece: u32) -> bool {
        match self {
            Self::Full => true,
            Self::But(held) => !held.get(piece),
            Self::Only { own, others } => own.get(piece) || others.is_some(),
            Self::None => false,
        }
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
    /// Whether a peer is asked for whatever it has, or there are nearer ones.
    pub(super) fn freedom(&mut self, now: Time, key: PeerKey) -> Freedom {
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
        let mut own = self.own_share(proximity);
        own.remove_all(&held);
        Freedom::Only {
            own,
            others: self.has_waited(now).then_some(held),
        }
    }

    /// The pieces that are ours to bring in from farther than those who are nearer than `proximity`.
    pub(super) fn own_share(&mut self, proximity: u8) -> Bitfield {
        let pieces = self.have.len();
        let classes = pieces.min(CLASSES_MAX);
        let ours = &self.config.id;
        let near = self.peers.iter().map(|(_, peer)| peer);
        let near = near.filter(|peer| peer.proximity > proximity);
        let find = || {
            let near: Vec<PeerId> = near.map(|peer| peer.hello.id).collect();
            let is_ours = |class: u32| {
                let claimed = claim(class, ours);
                near.iter().all(|id| claim(class, id) < claimed)
            };
            (proximity, (0..classes).map(is_ours).collect())
        };
        self.share.own.take_if(|(level, _)| *level != proximity);
        let (_, is_ours) = self.share.own.get_or_insert_with(find);
        let mut own = Bitfield::none(pieces);
        for piece in (0..pieces).filter(|piece| is_ours[(piece % classes) as usize]) {
            own.set(piece);
        }
        own
    }

    /// Whether nobody has owed us anything for a while.
    fn has_waited(&self, now: Time) -> bool {
        self.is_idle() && now.since(self.share.busy_at) >= PATIENCE
    }

    /// Whether nobody owes us anything.
    pub(super) fn is_idle(&self) -> bool {
        self.peers.iter().all(|(_, peer)| peer.asked.is_empty())
    }

    /// A peer owes us nothing more: what was left to it, or waited for it, may be asked of others.
    pub(super) fn end_of_task(&mut self, now: Time, key: PeerKey) {
        if !self.config.peer_order.prefers_near() || !self.peers[key.slot()].asked.is_empty() {
            return;
        }
        self.hungry |= !self.wants_nothing();
        if self.is_idle() {
            self.share.asked(now);
            self.deadlines
                .bring_forward(timers::STANDBY, now + PATIENCE);
        }
    }
}
