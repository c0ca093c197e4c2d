//! Which missing piece to begin with a peer.

use super::notes::Why;
use super::peer::PeerKey;
use super::{Order, Swarm};
use crate::base::Time;

/// Verified pieces before rarest-first begins; until then any piece will do (libtorrent's `initial_picker_threshold`).
const RANDOM_FIRST_PIECES: u32 = 4;

impl Swarm {
    /// Which missing piece to ask of a peer, and why: a suspect one that others sent, the one that it suggested, or one by
    /// the order.
    pub(super) fn choose_piece(&mut self, now: Time, key: PeerKey) -> Option<(u32, Why)> {
        let barred = if self.suspects.is_empty() {
            Vec::new()
        } else if let Some(piece) = self.suspect_to_ask(key) {
            return Some((piece, Why::Suspect));
        } else {
            self.suspects_not_to_ask(now, key)
        };
        let peer = &self.peers[key.slot()];
        let suggested = peer.suggested.filter(|piece| {
            peer.has.get(*piece) && self.picker.is_wanted(*piece) && !barred.contains(piece)
        });
        if let Some(piece) = suggested {
            return Some((piece, Why::Suggested));
        }
        let is_first = self.have.count() < RANDOM_FIRST_PIECES;
        let order = if is_first {
            Order::Random
        } else {
            self.config.order
        };
        let piece = if barred.is_empty() {
            self.picker.pick(&peer.has, order, &mut self.rng)?
        } else {
            let mut allowed = peer.has.clone();
            barred.into_iter().for_each(|piece| {
                allowed.clear(piece);
            });
            self.picker.pick(&allowed, order, &mut self.rng)?
        };
        let holders = self.picker.availability(piece);
        let next = Why::Next { holders };
        Some((piece, if is_first { Why::First } else { next }))
    }
}
