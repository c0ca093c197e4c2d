//! Which blocks to ask of whom: pipelines, orphans, and the end game.
//!
//! A piece is the task of one peer, so that its sender is known if it is wrong. Others help only when no piece is
//! left to begin, or when no buffer is.

use std::ops::Range;

use super::notes::Why;
use super::peer::{Asked, PeerKey};
use super::pieces::{Arriving, BlockState, PieceState, Store};
use super::runs::Runs;
use super::upload::RETRY_AFTER;
use super::{Output, Swarm, timers};
use crate::base::{PieceBuf, Time};
use crate::wire::peer::{BLOCK_LEN, Message};

/// Requests for one block at a time, in the end game.
const ASKED_MAX: u8 = 2;

impl Swarm {
    /// Gives every peer as much to do as it can take, in the order that the user chose.
    pub(super) fn fill_all(&mut self, now: Time) {
        let mut keys: Vec<PeerKey> = self
            .keys()
            .filter(|&key| self.takes_more(now, key))
            .collect();
        self.put_in_order(&mut keys);
        for key in keys {
            self.fill(now, key);
        }
    }

    /// Whether something more may be asked of a peer.
    fn takes_more(&self, now: Time, key: PeerKey) -> bool {
        let Some(peer) = self.peer(key) else {
            return false;
        };
        if !peer.is_servable() || peer.wanted_count == 0 || peer.resume_at > now {
            return false;
        }
        let sources = || self.peers.iter().filter(|(_, p)| p.is_servable()).count();
        let blocks = peer.pipeline_blocks(self.config.requests_max, &self.geometry, sources);
        peer.asked.len() < blocks
    }

    /// Asks a peer for blocks until its pipeline is full or nothing is left to ask of it.
    pub(super) fn fill(&mut self, now: Time, key: PeerKey) {
        loop {
            if !self.takes_more(now, key) {
                return;
            }
            let Some((piece, block)) = self.next_block(now, key) else {
                return;
            };
            let blocks = self.stretch(key, piece, block);
            self.ask(now, key, piece, blocks);
        }
    }

    fn ask(&mut self, now: Time, key: PeerKey, piece: u32, blocks: Range<u32>) {
        let peer = &mut self.peers[key.slot()];
        if peer.asked.is_empty() {
            peer.progress_at = now;
            self.deadlines
                .bring_forward(timers::SWEEP, now + peer.stall_time());
        }
        let request = self.geometry.stretch(piece, &blocks);
        for block in blocks {
            self.with_arriving(piece, |arriving| arriving.ask(block));
            self.peers[key.slot()].asked.push_back(Asked {
                piece,
                block,
                at: now,
            });
            self.share.asked(now);
            self.note_asked(key, piece, block);
        }
        self.send(key, Message::Request(request));
    }

    /// Changes an arriving piece and keeps the total of unasked blocks.
    pub(super) fn with_arriving<T>(
        &mut self,
        piece: u32,
        change: impl FnOnce(&mut Arriving) -> T,
    ) -> T {
        let PieceState::Arriving(arriving) = &mut self.pieces[piece as usize] else {
            unreachable!("piece {piece} is not arriving");
        };
        let before = arriving.unasked_count;
        let result = change(arriving);
        self.unasked_count = self.unasked_count - before + arriving.unasked_count;
        result
    }

    pub(super) fn arriving(&self, piece: u32) -> Option<&Arriving> {
        match &self.pieces[piece as usize] {
            PieceState::Arriving(arriving) => Some(arriving),
            _ => None,
        }
    }

    /// The next block to ask of a peer: of its own piece, of an orphan, of a new piece, of another's piece, twice.
    fn next_block(&mut self, now: Time, key: PeerKey) -> Option<(u32, u32)> {
        self.notes.because(Why::Rest);
        if let Some(found) = self.own_block(now, key) {
            return Some(found);
        }
        if self.peers[key.slot()].current.is_some() {
            // What is left of its own piece has no buffer yet.
            return self.shared_block(now, key);
        }
        if self.is_to_take_suggested(key) && self.open_piece(now, key) {
            return self.own_block(now, key);
        }
        if self.unasked_count > 0
            && let Some(piece) = self.orphan(now, key)
        {
            let is_on_parole = self.is_on_parole(key);
            self.with_arriving(piece, |arriving| {
                arriving.owner = Some(key);
                arriving.is_exclusive = is_on_parole && arriving.landed_count == 0;
            });
            self.peers[key.slot()].current = Some(piece);
            self.notes.because(Why::Orphan);
            let own = self.own_block(now, key);
            return own.or_else(|| self.shared_block(now, key));
        }
        if let Some(found) = self.block_in_turn(now, key) {
            self.notes.because(Why::InTurn);
            return Some(found);
        }
        if self.open_piece(now, key) {
            return self.own_block(now, key);
        }
        if self.unasked_count > 0
            && let Some(found) = self.shared_block(now, key)
        {
            self.notes.because(Why::Shared);
            return Some(found);
        }
        if let Some(found) = self.standby_block(now, key) {
            return Some(found);
        }
        self.notes.because(Why::EndGame);
        self.busy_block(now, key)
    }

    fn own_block(&mut self, now: Time, key: PeerKey) -> Option<(u32, u32)> {
        let piece = self.peers[key.slot()].current?;
        let is_task = |a: &Arriving| a.owner == Some(key) && a.next_unasked().is_some();
        if !self.arriving(piece).is_some_and(is_task) {
            self.peers[key.slot()].current = None;
            return None;
        }
        Some((piece, self.unasked_block(now, piece)?))
    }

    /// The first unasked block of an arriving piece that has a home, or can be given one.
    pub(super) fn unasked_block(&mut self, now: Time, piece: u32) -> Option<u32> {
        let arriving = self.arriving(piece)?;
        let block = arriving.next_unasked()?;
        if arriving.has_home(block) {
            return Some(block);
        }
        let Store::Runs(runs) = &arriving.store else {
            return None;
        };
        let len = runs.run_len(block);
        if let Some(buffer) = self.lend(now, len) {
            self.with_arriving(piece, |arriving| arriving.open_run(block, buffer));
            return Some(block);
        }
        self.arriving(piece)?.next_unasked_at_home()
    }

    /// A piece that nobody has as a task. Whoever is on parole goes on with what another began only if nobody else can.
    fn orphan(&mut self, now: Time, key: PeerKey) -> Option<u32> {
        let freedom = self.freedom(now, key);
        let has = &self.peers[key.slot()].has;
        let is_on_parole = self.is_on_parole(key);
        self.arriving.iter().copied().find(|&piece| {
            let orphan = |a: &Arriving| {
                let is_for_us = !is_on_parole
                    || a.landed_count == 0
                    || !self.has_other_source(now, key, piece, |other| !self.is_on_parole(other));
                a.owner.is_none() && a.unasked_count > 0 && is_for_us
            };
            has.get(piece) && freedom.allows(piece) && self.arriving(piece).is_some_and(orphan)
        })
    }

    /// Whether another peer of some kind could be asked for a piece now.
    pub(super) fn has_other_source(
        &self,
        now: Time,
        key: PeerKey,
        piece: u32,
        is_of_kind: impl Fn(PeerKey) -> bool,
    ) -> bool {
        self.keys().any(|other| {
            let peer = &self.peers[other.slot()];
            let is_ready = peer.is_servable() && !peer.is_snubbed && peer.resume_at <= now;
            other != key && is_ready && peer.has.get(piece) && is_of_kind(other)
        })
    }

    /// Begins a missing piece as the task of a peer, if the peer has one and a buffer is free.
    fn open_piece(&mut self, now: Time, key: PeerKey) -> bool {
        let Some((piece, why)) = self.choose_piece(now, key) else {
            return false;
        };
        let len = self.geometry.piece_len(piece);
        let store = if self.is_large(len) {
            let mut runs = Runs::new(len);
            let Some(buffer) = self.lend(now, runs.run_len(0)) else {
                return false;
            };
            runs.open(0, buffer);
            Store::Runs(runs)
        } else {
            let Some(buffer) = self.lend(now, len as usize) else {
                return false;
            };
            Store::Whole(buffer)
        };
        self.notes.because(why);
        self.picker.remove(piece);
        let (blocks, place) = (self.geometry.block_count(piece), self.arriving.len() as u32);
        let mut arriving = Arriving::new(store, blocks, key, place);
        arriving.asked_at = now;
        arriving.is_suspect = self.suspects.contains(piece);
        arriving.is_exclusive = arriving.is_suspect || self.is_on_parole(key);
        self.unasked_count += arriving.unasked_count;
        self.pieces[piece as usize] = PieceState::Arriving(Box::new(arriving));
        self.arriving.push(piece);
        self.peers[key.slot()].current = Some(piece);
        true
    }

    /// A buffer for what is to arrive, if our share of the pool and the pool itself allow it.
    fn lend(&mut self, now: Time, len: usize) -> Option<PieceBuf> {
        while self.arriving_bytes > 0 && self.arriving_bytes + len > self.config.arriving_bytes_max
        {
            let Some(piece) = self.forsaken() else {
                self.lacks_room = true;
                return None;
            };
            self.abandon(now, piece);
        }
        let buffer = loop {
            if let Some(buffer) = self.config.pool.lend(len) {
                break buffer;
            }
            if !self.cache.evict_one() {
                self.lacks_buffer = true;
                self.deadlines
                    .set_if_idle(timers::STARVED, now + RETRY_AFTER);
                return None;
            }
        };
        self.arriving_bytes += len;
        Some(buffer)
    }

    /// The arriving piece of which least is here, of those that nobody can complete any more: their holders left.
    fn forsaken(&self) -> Option<u32> {
        if self.unasked_count == 0 || self.peers.iter().any(|(_, peer)| peer.has.is_all()) {
            return None;
        }
        let landed = |&piece: &u32| {
            let arriving = self.arriving(piece).expect("it is in the list");
            let is_lost = !arriving.is_complete() && self.picker.availability(piece) == 0;
            (is_lost && arriving.store.bytes_lent() > 0).then_some((arriving.landed_count, piece))
        };
        let (_, piece) = self.arriving.iter().filter_map(landed).min()?;
        Some(piece)
    }

    /// A block that nobody was asked for, of a piece that is another's task.
    fn shared_block(&mut self, now: Time, key: PeerKey) -> Option<(u32, u32)> {
        if self.is_on_parole(key) || !self.freedom(now, key).may_help() {
            return None;
        }
        (0..self.arriving.len()).find_map(|at| {
            // A buffer may have been made free by giving up a piece of the list.
            let piece = *self.arriving.get(at)?;
            let is_exclusive = |a: &Arriving| a.is_exclusive;
            if !self.peers[key.slot()].has.get(piece)
                || self.arriving(piece).is_some_and(is_exclusive)
            {
                return None;
            }
            Some((piece, self.unasked_block(now, piece)?))
        })
    }

    /// The end game in its strict form: only when every missing block is asked for, and only for a peer that has
    /// nothing to do, the block that its sender will come to last, if that takes longer than asking.
    fn busy_block(&mut self, now: Time, key: PeerKey) -> Option<(u32, u32)> {
        let is_idle = self.peers[key.slot()].asked.is_empty();
        let all_asked = self.picker.wanted_count() == 0 && self.unasked_count == 0;
        if !self.config.end_game || !all_asked || !is_idle || !self.freedom(now, key).may_help() {
            return None;
        }
        let peer = &self.peers[key.slot()];
        let last = |&piece: &u32| {
            let arriving = self.arriving(piece).filter(|a| !a.is_suspect)?;
            let begun_at = arriving.begun_at.filter(|_| peer.has.get(piece))?;
            // With each second in which nothing comes, one more is asked.
            let asked_max = ASKED_MAX + now.since(arriving.progress_at).as_secs().min(30) as u8;
            let busy = |block: &BlockState| {
                !block.landed && block.landing.is_none() && block.asked < asked_max
            };
            let block = arriving.blocks.iter().rposition(busy)?;
            let ahead = arriving.blocks.len() as u32 - arriving.landed_count;
            let per_block = now.since(begun_at) / arriving.landed_count.max(1);
            let wait = per_block * ahead.min(block as u32 + 1);
            (wait > self.answer_time * 2).then_some((wait, piece, block as u32))
        };
        let (_, piece, block) = self.arriving.iter().filter_map(last).max()?;
        Some((piece, block))
    }

    /// A request will not be answered: its block may be asked of others.
    pub(super) fn release(&mut self, asked: Asked) {
        if self.arriving(asked.piece).is_some() {
            self.with_arriving(asked.piece, |arriving| arriving.unask(asked.block));
            self.open_to_others(asked.piece);
        }
    }

    /// What is left of a piece after its owner has gone on to another is for everybody. A suspect piece begins anew instead.
    pub(super) fn open_to_others(&mut self, piece: u32) {
        let owner = self.arriving(piece).and_then(|arriving| {
            let is_left = arriving.unasked_count > 0 && !arriving.is_suspect;
            arriving.owner.filter(|_| is_left)
        });
        if owner.is_some_and(|owner| self.peers[owner.slot()].current != Some(piece)) {
            self.with_arriving(piece, Arriving::disown);
        }
    }

    /// A peer no longer has a piece as its task. A suspect piece begins anew: one peer must send all of it.
    pub(super) fn disown(&mut self, now: Time, key: PeerKey, piece: u32) {
        let Some(arriving) = self.arriving(piece).filter(|a| a.owner == Some(key)) else {
            return;
        };
        if arriving.is_suspect && !arriving.is_complete() {
            self.abandon(now, piece);
        } else {
            self.with_arriving(piece, Arriving::disown);
        }
    }

    /// A peer has no task any more. It may have had one of which no block was asked for just now.
    pub(super) fn disown_all(&mut self, now: Time, key: PeerKey) {
        let owned = |&piece: &u32| self.arriving(piece).is_some_and(|a| a.owner == Some(key));
        let owned: Vec<u32> = self.arriving.iter().copied().filter(owned).collect();
        for piece in owned {
            self.disown(now, key, piece);
        }
    }

    /// Gives up what has arrived of a piece, and takes back what is asked of it.
    pub(super) fn abandon(&mut self, now: Time, piece: u32) {
        let store = self.take_arriving(piece).store;
        let mut bytes_away = store.bytes_lent();
        let (whole, runs) = match store {
            Store::Whole(buffer) => (Some(buffer), None),
            Store::Runs(runs) => (None, Some(runs.into_buffers())),
        };
        for buffer in whole.into_iter().chain(runs.into_iter().flatten()) {
            bytes_away -= buffer.len();
            self.arriving_bytes -= buffer.len();
            self.config.pool.restore(buffer);
        }
        if bytes_away > 0 {
            self.pieces[piece as usize] = PieceState::Discarding(bytes_away);
        } else {
            self.pieces[piece as usize] = PieceState::Missing;
            self.picker.insert(piece);
        }
        let keys: Vec<PeerKey> = self.keys().collect();
        for key in keys {
            for asked in self.peers[key.slot()].take_back_all(now, piece) {
                let request = self.geometry.block(piece, asked.block);
                self.send(key, Message::Cancel(request));
            }
        }
    }

    /// Takes an arriving piece out of its list; the caller sets its next state.
    pub(super) fn take_arriving(&mut self, piece: u32) -> Arriving {
        let state = std::mem::replace(&mut self.pieces[piece as usize], PieceState::Missing);
        let PieceState::Arriving(arriving) = state else {
            unreachable!("piece {piece} is not arriving");
        };
        self.unasked_count -= arriving.unasked_count;
        self.arriving.swap_remove(arriving.place as usize);
        if let Some(&moved) = self.arriving.get(arriving.place as usize) {
            self.with_arriving(moved, |other| other.place = arriving.place);
        }
        *arriving
    }

    /// Frees everything that a peer was asked for. With `may_answer` the requests are remembered, so that blocks
    /// that are already under way harm nobody.
    pub(super) fn lose_requests(&mut self, now: Time, key: PeerKey, may_answer: bool) {
        let peer = &mut self.peers[key.slot()];
        let asked = std::mem::take(&mut peer.asked);
        peer.current = None;
        peer.standby = None;
        for &asked in &asked {
            self.release(asked);
        }
        self.disown_all(now, key);
        if may_answer {
            let peer = &mut self.peers[key.slot()];
            asked.iter().for_each(|&asked| peer.take_back(now, asked));
        }
        self.give_back_untouched(now);
    }

    /// Frees what a peer was asked of one piece; it may still answer.
    pub(super) fn take_back_piece(&mut self, now: Time, key: PeerKey, piece: u32) {
        let peer = &mut self.peers[key.slot()];
        let lost = peer.take_back_all(now, piece);
        peer.current.take_if(|current| *current == piece);
        lost.into_iter().for_each(|asked| self.release(asked));
        self.disown(now, key, piece);
    }

    /// A peer lets its requests wait too long: they move to others, and it gets one at a time.
    pub(super) fn snub(&mut self, now: Time, key: PeerKey) {
        self.counts.stall_count += 1;
        self.note_snubbed(key);
        let requests: Vec<_> = self.peers[key.slot()]
            .asked
            .iter()
            .map(|asked| self.geometry.block(asked.piece, asked.block))
            .collect();
        for request in requests {
            self.send(key, Message::Cancel(request));
        }
        self.lose_requests(now, key, true);
        let peer = &mut self.peers[key.slot()];
        peer.is_snubbed = true;
        peer.progress_at = now;
        self.hungry = true;
    }

    /// Takes the requests for a block back from everybody but `except`, since it is here.
    pub(super) fn cancel_others(&mut self, now: Time, except: PeerKey, piece: u32, block: u32) {
        let holders: Vec<PeerKey> = self
            .keys()
            .filter(|&key| key != except)
            .filter(|key| {
                self.peers[key.slot()]
                    .asked
                    .iter()
                    .any(|asked| asked.is_for(piece, block))
            })
            .collect();
        for key in holders {
            let peer = &mut self.peers[key.slot()];
            let names = |asked: &Asked| asked.is_for(piece, block);
            let at = peer.asked.iter().position(names).expect("it was just seen");
            let asked = peer.asked.remove(at).expect("it was just seen");
            peer.take_back(now, asked);
            self.release(asked);
            self.send(key, Message::Cancel(self.geometry.block(piece, block)));
            self.hungry = true;
        }
    }
}

/// Most bytes that one block takes aside.
pub(super) const SIDE_BYTES: usize = BLOCK_LEN as usize;

impl Swarm {
    /// Queues a piece for checking: nobody can write to it any more. A large one is read back from disk.
    pub(super) fn check_piece(&mut self, piece: u32) {
        let arriving = self.take_arriving(piece);
        for (_, peer) in &mut self.peers {
            if peer.current == Some(piece) {
                peer.current = None;
            }
            peer.standby.take_if(|standby| standby.piece == piece);
        }
        let (store, sent) = arriving.into_sent();
        let digests = self.digests_wanted(piece, &sent);
        self.pieces[piece as usize] = PieceState::Checking(sent);
        self.outputs.push_back(match store {
            Store::Whole(buffer) => Output::Check {
                piece,
                buffer,
                digests,
            },
            Store::Runs(_) => Output::Verify { piece, digests },
        });
    }
}
