//! Pieces for a reader who begins at the front: a short window in order, whoever holds how many, and for the rest the
//! rarest first.
//!
//! If everybody went by the order alone, all would hold the same pieces and have nothing to give one another. So the
//! window is short: what is read in a moment, and a small part of the content at most.

use std::ops::Range;

use super::peer::PeerKey;
use super::{Order, Swarm};
use crate::base::Time;

/// What the window holds at most: this part of all pieces (longer windows make swarms slower; see ALGORITHMS of the
/// field).
const WINDOW_PARTS: u32 = 20;
/// Otherwise what arrives in so many seconds.
const WINDOW_SECONDS: f64 = 2.0;
/// One is read while the next one arrives.
const WINDOW_PIECES_MIN: u32 = 2;

impl Swarm {
    /// The first piece that is not here; as many as there are, if all are.
    pub fn front(&mut self) -> u32 {
        let pieces = self.have.len();
        while self.front < pieces && self.have.get(self.front) {
            self.front += 1;
        }
        self.front
    }

    /// The pieces that are needed next.
    fn window(&mut self) -> Range<u32> {
        let (pieces, front) = (self.have.len(), self.front());
        let rates = self
            .peers
            .iter()
            .map(|(_, peer)| peer.down.bytes_per_second());
        let bytes = rates.flatten().sum::<f64>() * WINDOW_SECONDS;
        let part = pieces.div_ceil(WINDOW_PARTS);
        let len = if bytes > 0.0 {
            let soon = (bytes / f64::from(self.geometry.piece_len(0).max(1))).ceil();
            part.min((soon as u32).max(WINDOW_PIECES_MIN))
        } else {
            part
        };
        front..pieces.min(front.saturating_add(len))
    }

    /// The piece that a peer is asked for before any other, if pieces are wanted in order; none of those that it is not to
    /// be asked for.
    pub(super) fn piece_in_turn(&mut self, key: PeerKey, barred: &[u32]) -> Option<u32> {
        if self.config.order != Order::Sequential || self.have.is_all() {
            return None;
        }
        let window = self.window();
        let has = &self.peers[key.slot()].has;
        let piece = self.picker.pick_first(has, window)?;
        (!barred.contains(&piece)).then_some(piece)
    }

    /// A block that nobody was asked for, of another's piece that is needed next: who can help with it does so before it
    /// begins a piece that is needed later.
    pub(super) fn block_in_turn(&mut self, now: Time, key: PeerKey) -> Option<(u32, u32)> {
        let is_in_order = self.config.order == Order::Sequential;
        if !is_in_order || self.unasked_count == 0 || self.is_on_parole(key) {
            return None;
        }
        if self.piece_in_turn(key, &[]).is_some() {
            return None;
        }
        self.window().find_map(|piece| {
            let arriving = self.arriving(piece).filter(|a| !a.is_exclusive)?;
            if arriving.unasked_count == 0 || !self.peers[key.slot()].has.get(piece) {
                return None;
            }
            Some((piece, self.unasked_block(now, piece)?))
        })
    }
}
