//! The last copy of a piece: it is passed on before anything else, since whoever has it may be lost at any time.
//!
//! Whoever is short of everything else finds such a piece by itself, for it is the rarest; but it may be busy with others,
//! and all would fetch the same of many. So whoever has the copies hands them out: each to a few, each to others.

use super::peer::PeerKey;
use super::{Swarm, Watch};
use crate::wire::peer::BlockRequest;

/// A last copy is promised to so many at a time: more would only wait for one another. It is sent to one before any other
/// piece, so that of many last copies as many as can be are soon the last no longer.
const RESCUERS_MAX: usize = 3;

impl Swarm {
    /// Looks for pieces that nobody has but us, and tells those who have least to do here to ask for them.
    pub(super) fn look_for_last_copies(&mut self) {
        let is_of_use = self.config.watch != Watch::Never && !self.wants_nothing();
        self.sees_last_copies = is_of_use && (self.knows_copies() || self.sees_all());
        self.last_copies.clear();
        if !self.sees_last_copies || self.whole_count > 0 {
            return;
        }
        let mut last_copies = std::mem::take(&mut self.last_copies);
        last_copies.extend(self.have.ones().filter(|&piece| self.is_last_copy(piece)));
        for &piece in &last_copies {
            let promised = |key: &PeerKey| self.peers[key.slot()].promised == Some(piece);
            let rescuers = self.keys().filter(promised).count();
            *self.spread(piece) = rescuers.max(self.turns_with(piece)) as u16;
        }
        self.last_copies = last_copies;
        if !self.last_copies.is_empty() {
            self.call_rescuers();
        }
    }

    fn call_rescuers(&mut self) {
        let is_free = |key: &PeerKey| {
            let peer = &self.peers[key.slot()];
            let has_task = peer.promised.is_some_and(|piece| !peer.has.get(piece));
            peer.has_slot() && peer.is_interested && !has_task
        };
        let mut free: Vec<PeerKey> = self.keys().filter(is_free).collect();
        free.sort_by_key(|key| {
            let peer = &self.peers[key.slot()];
            (peer.requests.len(), peer.has.count())
        });
        for key in free.into_iter().take(RESCUERS_MAX) {
            self.promise(key);
        }
    }

    /// A piece of which we have the last copy, for a peer to ask for: the one that fewest others were told of.
    pub(super) fn last_copy_for(&mut self, key: PeerKey) -> Option<u32> {
        if self.last_copies.is_empty() {
            return None;
        }
        let offset = self.rng.below(self.last_copies.len());
        let (before, after) = self.last_copies.split_at(offset);
        let mut least = None;
        for piece in [after, before].concat() {
            let spread = *self.spread(piece);
            let is_lacked = !self.peers[key.slot()].has.get(piece);
            if is_lacked
                && usize::from(spread) < RESCUERS_MAX
                && least.is_none_or(|(n, _)| spread < n)
            {
                least = Some((spread, piece));
            }
        }
        let (_, piece) = least?;
        self.note_rescue(key, piece);
        Some(piece)
    }

    /// Whether a peer waits for a piece of which we have the last copy, and nobody gets that already.
    pub(super) fn asks_for_last_copy(&self, key: PeerKey) -> bool {
        let requests = &self.peers[key.slot()].requests;
        self.may_have_last_copies() && requests.iter().any(|r| self.is_to_be_rescued(r.piece))
    }

    /// Which of a peer's requests its next turn is for: the first, unless it asks for a last copy.
    pub(super) fn first_request(&self, key: PeerKey) -> Option<BlockRequest> {
        let requests = &self.peers[key.slot()].requests;
        let first = requests.front().copied();
        if !self.may_have_last_copies() {
            return first;
        }
        let mut last_copies = requests.iter().filter(|r| self.is_to_be_rescued(r.piece));
        last_copies.next().copied().or(first)
    }

    /// Whoever has everything hands out what it handed out least, and while it is there nothing is lost.
    fn may_have_last_copies(&self) -> bool {
        self.sees_last_copies && self.whole_count == 0 && !self.is_complete()
    }

    /// Whether nobody has a piece of ours but us, as far as we know. What the tracker says of a piece that we have just got
    /// may be older than that, but then who sent it has it.
    fn is_last_copy(&self, piece: u32) -> bool {
        self.picker.availability(piece) == 0 && self.copies(piece).is_none_or(|n| n <= 1)
    }

    fn is_to_be_rescued(&self, piece: u32) -> bool {
        self.is_last_copy(piece) && self.turns_with(piece) == 0
    }
}
