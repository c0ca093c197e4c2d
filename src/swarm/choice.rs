//! Which missing piece to begin with a peer.

use super::notes::Why;
use super::peer::PeerKey;
use super::{Order, Swarm};
use crate::base::Time;

/// Verified pieces before rarest-first begins; until then any piece will do (libtorrent's `initial_picker_threshold`).
const RANDOM_FIRST_PIECES: u32 = 4;

impl Swarm {
    /// Which missing piece to ask of a peer, and why: a suspect one that others sent, one that a reader needs next, the one
    /// that it suggested, or one by the order.
    pub(super) fn choose_piece(&mut self, now: Time, key: PeerKey) -> Option<(u32, Why)> {
        let suspects = if self.suspects.is_empty() {
            Vec::new()
        } else if let Some(piece) = self.suspect_to_ask(key) {
            return Some((piece, Why::Suspect));
        } else {
            self.suspects_not_to_ask(now, key)
        };
        if let Some(piece) = self.piece_in_turn(key, &suspects) {
            return Some((piece, Why::InTurn));
        }
        let freedom = self.freedom(now, key);
        let peer = &self.peers[key.slot()];
        let mut has = None;
        for piece in suspects {
            has.get_or_insert_with(|| peer.has.clone()).clear(piece);
        }
        let has = has.as_ref().unwrap_or(&peer.has);
        let is_in_order = self.config.order == Order::Sequential;
        let is_first = self.have.count() < RANDOM_FIRST_PIECES && !is_in_order;
        let order = if is_first {
            Order::Random
        } else {
            self.config.order
        };
        let suggested = peer
            .suggested
            .filter(|&piece| has.get(piece) && self.picker.is_wanted(piece));
        let (picker, rng) = (&self.picker, &mut self.rng);
        let mut is_suggested = false;
        let piece = freedom.pick(has, |allowed| {
            let chosen = suggested.filter(|&piece| allowed.get(piece));
            is_suggested = chosen.is_some();
            chosen.or_else(|| picker.pick(allowed, order, rng))
        })?;
        if is_suggested {
            return Some((piece, Why::Suggested));
        }
        let holders = self.picker.availability(piece);
        let why = match (order, self.copies(piece)) {
            (Order::Random, _) if is_first => Why::First,
            (Order::Random, _) => Why::Any,
            (_, Some(copies)) => Why::RareInSwarm { copies, holders },
            (_, None) => Why::RareHere { holders },
        };
        Some((piece, why))
    }
}
