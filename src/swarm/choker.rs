//! Whom to serve: slots, free ones given at once, taken ones passed on in turn, or to those who give (see `fair`).

use std::cmp::Reverse;
use std::time::Duration;

use super::notes::Favour;
use super::peer::{Peer, PeerKey};
use super::{Policy, Swarm, timers};
use crate::base::Time;
use crate::wire::peer::Message;

/// How long a slot is kept while others wait (Cohen's interval).
pub(super) const SLOT_TIME: Duration = Duration::from_secs(10);
/// How long an unchoked peer may take to become interested while others wait.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// Between two changes of our choke state towards a peer that is not of our kind: aria2 leaves after two of them in 5 s,
/// which it measures in turns of its loop.
pub(super) const FOREIGN_CHOKE_TIME_MIN: Duration = Duration::from_secs(7);

impl Swarm {
    /// Serves others from now on, if `policy` is another one: the links stay.
    pub fn set_policy(&mut self, now: Time, policy: Policy) {
        if std::mem::replace(&mut self.config.policy, policy) == policy {
            return;
        }
        self.forget_turns();
        match policy {
            Policy::Fleet => self.fill_slots(now, None),
            Policy::Fair => self.begin_rounds(now),
        }
        self.serve(now);
        let asking = |key: &PeerKey| !self.peers[key.slot()].requests.is_empty();
        let asking: Vec<PeerKey> = self.keys().filter(asking).collect();
        asking.into_iter().for_each(|key| self.wake(key));
        self.settle(now);
    }

    pub(super) fn slots_taken(&self) -> usize {
        let peers = self.peers.iter();
        peers.filter(|(_, peer)| peer.has_slot()).count()
    }

    fn slots_free(&self) -> usize {
        self.slots_max().saturating_sub(self.slots_taken())
    }

    /// Gives free slots: to `newcomer` without waiting for its interest, and to those who wait longest.
    pub(super) fn fill_slots(&mut self, now: Time, newcomer: Option<PeerKey>) {
        let mut free = self.slots_free();
        if free == 0 {
            return;
        }
        if self.config.policy == Policy::Fair && !self.wants_nothing() {
            return self.give_free_slots(now);
        }
        for key in self.waiting(now) {
            if free == 0 {
                return;
            }
            self.unchoke(now, key, Favour::Free);
            free -= 1;
        }
        // Where slots are few, one is not spent on somebody who may want nothing.
        let newcomer = newcomer.filter(|_| free > 0 && self.config.policy == Policy::Fleet);
        if let Some(key) = newcomer {
            self.unchoke(now, key, Favour::Free);
        }
    }

    pub(super) fn is_anybody_waiting(&self) -> bool {
        let is_waiting = |peer: &Peer| peer.is_interested && peer.am_choking;
        self.peers.iter().any(|(_, peer)| is_waiting(peer))
    }

    /// Interested peers that are choked and may be unchoked now, those who wait longest first; at the end those who keep what
    /// they get.
    pub(super) fn waiting(&self, now: Time) -> Vec<PeerKey> {
        let mut waiting: Vec<PeerKey> = self
            .keys()
            .filter(|key| {
                let peer = &self.peers[key.slot()];
                peer.is_interested && peer.am_choking && peer.choke_kept_until <= now
            })
            .collect();
        waiting.sort_by_cached_key(|key| {
            let since = self.peers[key.slot()].waiting_since;
            (self.is_keeper(now, *key), since, *key)
        });
        waiting
    }

    pub(super) fn interested(&mut self, now: Time, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        peer.is_interested = true;
        // Whatever it said before (BEP 21); but then its slot may be another's by now.
        let needed_none = std::mem::take(&mut peer.is_upload_only);
        if needed_none && !peer.am_choking && self.slots_taken() > self.slots_max() {
            self.choke(now, key);
        }
        let peer = &mut self.peers[key.slot()];
        if peer.am_choking {
            peer.waiting_since = now;
            self.fill_slots(now, None);
            self.deadlines.set_if_idle(timers::ROTATE, now);
        }
    }

    pub(super) fn not_interested(&mut self, now: Time, key: PeerKey) {
        self.peers[key.slot()].is_interested = false;
        if self.is_anybody_waiting() {
            self.deadlines.set(timers::ROTATE, now);
        }
    }

    pub(super) fn unchoke(&mut self, now: Time, key: PeerKey, favour: Favour) {
        let chance_time = self.chance_time();
        let peer = &mut self.peers[key.slot()];
        if peer.am_choking {
            peer.am_choking = false;
            peer.note_choke_change(now);
            peer.gave.was_tried = true;
            peer.favoured_until = match favour {
                Favour::Free | Favour::Chance => now + chance_time,
                Favour::Gave { .. } | Favour::Turn => Time::ZERO,
            };
            self.note_unchoked(key, favour);
            self.promise(key);
            self.send(key, Message::Unchoke);
        }
    }

    pub(super) fn choke(&mut self, now: Time, key: PeerKey) {
        self.note_choked(key);
        let peer = &mut self.peers[key.slot()];
        peer.am_choking = true;
        peer.note_choke_change(now);
        peer.waiting_since = now;
        self.send(key, Message::Choke);
        self.break_promise(key);
        self.drop_requests(now, key);
    }

    /// Passes slots on, as the policy says.
    pub(super) fn rotate(&mut self, now: Time) {
        match self.config.policy {
            Policy::Fleet => self.take_turns(now, SLOT_TIME),
            Policy::Fair => self.next_round(now),
        }
        if self.is_anybody_waiting() {
            self.deadlines
                .set(timers::ROTATE, now + Duration::from_secs(1));
        }
    }

    /// Passes slots on: first those that nobody uses, then those that were held longest, for `slot_time` at least.
    pub(super) fn take_turns(&mut self, now: Time, slot_time: Duration) {
        for waiter in self.waiting(now) {
            let is_keeper = self.is_keeper(now, waiter);
            let holder = self
                .keys()
                .filter(|key| {
                    let peer = &self.peers[key.slot()];
                    let time = if peer.is_interested {
                        slot_time
                    } else {
                        SETTLE_TIME.min(slot_time)
                    };
                    peer.has_slot()
                        && peer.choke_kept_until <= now
                        && now.since(peer.choke_changed_at) >= time
                        && !self.is_to_finish(now, *key)
                        && (!is_keeper || !peer.is_interested || self.is_keeper(now, *key))
                })
                .max_by_key(|key| {
                    let peer = &self.peers[key.slot()];
                    (!peer.is_interested, Reverse(peer.choke_changed_at))
                });
            if self.slots_free() == 0 {
                let Some(holder) = holder else { break };
                self.choke(now, holder);
            }
            self.unchoke(now, waiter, Favour::Turn);
        }
    }
}

impl Peer {
    fn note_choke_change(&mut self, now: Time) {
        self.choke_changed_at = now;
        if !self.hello.id.is_native() {
            self.choke_kept_until = now + FOREIGN_CHOKE_TIME_MIN;
        }
    }
}
