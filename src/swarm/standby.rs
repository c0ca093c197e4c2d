//! Pieces that several peers were asked for and none has begun to send.
//!
//! A peer serves few at a time, so a request may wait long. When nothing else is left to ask of a peer, it is asked for
//! a piece that waits elsewhere; whoever begins first is its sender, and the others are told at once that it is no
//! longer wanted. Nothing is sent twice but what crosses that word.

use std::time::Duration;

use super::notes::Why;
use super::peer::PeerKey;
use super::pieces::{Arriving, Store};
use super::{Swarm, timers};
use crate::base::Time;
use crate::wire::peer::Message;

/// How soon an idle peer answers a request, until it is known, and at least.
pub(super) const ANSWER_TIME_FIRST: Duration = Duration::from_millis(2);
const ANSWER_TIME_MIN: Duration = Duration::from_micros(100);

/// While so many pieces are coming in, nobody else is asked for one that waits: our downlink may be what limits us, and
/// then whoever begins next only slows down the others, and word that somebody began comes late (simulated, 8 with
/// downlinks like their uplinks: 17 % sent twice without this, 2 % with it).
const COMING_IN_MAX: usize = 2;

/// A piece that a peer is asked for although others were asked as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standby {
    pub piece: u32,
    /// The block that it is asked for first.
    from: u32,
}

impl Arriving {
    /// Whether it may be asked of several, so that the first to begin sends it. What arrives in runs is shared instead.
    pub(super) fn may_wait_twice(&self) -> bool {
        !self.is_exclusive && !self.has_begun() && matches!(self.store, Store::Whole(_))
    }

    /// Whether some of it is here or coming in.
    pub(super) fn has_begun(&self) -> bool {
        self.landed_count > 0 || self.blocks.iter().any(|block| block.landing.is_some())
    }
}

impl Swarm {
    /// The next block of a piece that waits at other peers, for a peer of which nothing else can be asked.
    pub(super) fn standby_block(&mut self, now: Time, key: PeerKey) -> Option<(u32, u32)> {
        if let Some(found) = self.rest_of_standby(key) {
            return Some(found);
        }
        if !self.peers[key.slot()].asked.is_empty() {
            return None;
        }
        let may_help = !self.is_on_parole(key) && self.freedom(now, key).may_help();
        let peer = &self.peers[key.slot()];
        if !may_help || self.coming_in_count() >= COMING_IN_MAX {
            return None;
        }
        let gap = self.answer_time * 2;
        let waits = |&piece: &u32| {
            let arriving = self.arriving(piece).expect("it is in the list");
            let of_use = peer.has.get(piece) && arriving.may_wait_twice();
            // Whoever is idle answers at once: until then nobody else is asked, or both would begin.
            let at = (arriving.asked_at + gap).max(now);
            of_use.then_some((at, arriving.blocks[0].asked, piece))
        };
        let (at, _, piece) = self.arriving.iter().filter_map(waits).min()?;
        if at > now {
            self.deadlines.bring_forward(timers::STANDBY, at);
            return None;
        }
        let from = self.with_arriving(piece, |arriving| {
            arriving.asked_at = now;
            arriving.standby_count = arriving.standby_count.wrapping_add(1);
            // Halves, quarters, eighths: if two begin at once, they do not send the same.
            let share = u32::from(arriving.standby_count.reverse_bits());
            (share * arriving.blocks.len() as u32) >> 8
        });
        self.peers[key.slot()].standby = Some(Standby { piece, from });
        self.notes.because(Why::Waiting);
        self.rest_of_standby(key)
    }

    /// How many pieces are coming in.
    fn coming_in_count(&self) -> usize {
        let comes_in = |&&piece: &&u32| {
            let begun = |a: &Arriving| a.has_begun() && !a.is_complete();
            self.arriving(piece).is_some_and(begun)
        };
        self.arriving.iter().filter(comes_in).count()
    }

    fn rest_of_standby(&mut self, key: PeerKey) -> Option<(u32, u32)> {
        let Standby { piece, from } = self.peers[key.slot()].standby?;
        let asked = &self.peers[key.slot()].asked;
        let next = asked.iter().filter(|asked| asked.piece == piece).count() as u32;
        let waiting = self.arriving(piece).filter(|a| !a.has_begun());
        let count = waiting.map_or(0, |a| a.blocks.len() as u32);
        if next >= count {
            self.peers[key.slot()].standby = None;
            return None;
        }
        Some((piece, (from + next) % count))
    }

    /// A peer begins to answer what it was asked at `asked_at`: the quickest answer is that of a peer that was idle.
    pub(super) fn time_answer(&mut self, now: Time, asked_at: Time) {
        let time = now.since(asked_at).max(ANSWER_TIME_MIN);
        self.answer_time = self.answer_time.min(time);
    }

    /// A peer begins to send a piece: it is its task now, and the others that were asked for it are not to send it.
    pub(super) fn claim(&mut self, now: Time, key: PeerKey, piece: u32) {
        if !self.arriving(piece).is_some_and(Arriving::may_wait_twice) {
            return;
        }
        let is_alone = self.with_arriving(piece, |arriving| {
            arriving.begun_at = Some(now);
            arriving.progress_at = now;
            let was_ours = arriving.owner.replace(key) == Some(key);
            was_ours && arriving.blocks.iter().all(|block| block.asked <= 1)
        });
        if is_alone {
            return;
        }
        let others: Vec<PeerKey> = self.keys().filter(|&other| other != key).collect();
        for other in others {
            let peer = &mut self.peers[other.slot()];
            if peer.current == Some(piece) {
                peer.current = None;
            }
            peer.standby.take_if(|standby| standby.piece == piece);
            let lost = peer.take_back_all(now, piece);
            self.hungry |= !lost.is_empty();
            for asked in lost {
                self.release(asked);
                self.send(
                    other,
                    Message::Cancel(self.geometry.block(piece, asked.block)),
                );
            }
        }
        let peer = &mut self.peers[key.slot()];
        if peer.standby.take_if(|s| s.piece == piece).is_some() {
            peer.current.get_or_insert(piece);
        }
    }
}
