//! Where arriving bytes go, and what becomes of a piece when its last block is here.
//!
//! One writer per block: the first arrival lands in its place in the piece's buffer; a second arrival of a block
//! that is already landing goes aside, and whichever is whole first is the block. Of a large piece each run that is
//! full is written as it is, and the piece is read back when all are.

use std::io;
use std::ops::Range;

use super::cache::Run;
use super::links::Reason;
use super::peer::{Asked, Goes, Incoming, PeerKey};
use super::pieces::{Arriving, PieceState};
use super::requests::SIDE_BYTES;
use super::{Output, Swarm};
use crate::base::{Digest20, PieceBuf, Time, Verdict};
use crate::wire::peer::BlockRequest;

/// Blocks that a peer may send, or requests that it may reject, unasked before it is dropped: a few may come later than
/// we remember what we took back.
pub(super) const UNREQUESTED_MAX: u32 = 256;

impl Swarm {
    /// The head of a block came, or of several that were asked for at once: their bytes follow.
    pub fn block_started(
        &mut self,
        now: Time,
        key: PeerKey,
        request: BlockRequest,
    ) -> Result<(), Reason> {
        let blocks = self.geometry.blocks_of(request).ok_or(Reason::BadBlock)?;
        let Some(peer) = self.peer_mut(key) else {
            return Ok(());
        };
        peer.received_at = now;
        peer.progress_at = now;
        self.begin_blocks(now, key, request.piece, blocks)
    }

    /// The first of these blocks comes in, and with it all after it that go where it goes.
    fn begin_blocks(
        &mut self,
        now: Time,
        key: PeerKey,
        piece: u32,
        blocks: Range<u32>,
    ) -> Result<(), Reason> {
        let (goes, claims) = self.begin_block(now, key, piece, blocks.start)?;
        let mut end = blocks.start + 1;
        while goes == Goes::InPlace && end < blocks.end && self.takes_along(key, piece, end) {
            end += 1;
        }
        let request = self.geometry.stretch(piece, &(blocks.start..end));
        let all = self.geometry.stretch(piece, &blocks);
        self.peers[key.slot()].run = Some(piece);
        self.peers[key.slot()].incoming = Some(Incoming {
            request,
            filled: 0,
            goes,
            rest: all.len - request.len,
        });
        if claims && self.hungry {
            self.settle(now);
        }
        Ok(())
    }

    /// Whether a block that follows one in its place has its place too, which then is the peer's.
    fn takes_along(&mut self, key: PeerKey, piece: u32, block: u32) -> bool {
        let mut asked = self.peers[key.slot()].asked.iter();
        let is_asked = asked.any(|asked| asked.is_for(piece, block));
        let PieceState::Arriving(arriving) = &mut self.pieces[piece as usize] else {
            return false;
        };
        let has_home = arriving.has_home(block);
        let state = &mut arriving.blocks[block as usize];
        let is_free = is_asked && has_home && !state.landed && state.landing.is_none();
        if is_free {
            state.landing = Some(key);
        }
        is_free
    }

    /// Where a block goes that comes in, and whether its piece begins with it.
    fn begin_block(
        &mut self,
        now: Time,
        key: PeerKey,
        piece: u32,
        block: u32,
    ) -> Result<(Goes, bool), Reason> {
        let peer = &mut self.peers[key.slot()];
        let names = |asked: &Asked| asked.is_for(piece, block);
        let asked = peer.asked.iter().find(|asked| names(asked)).copied();
        let expected = asked.is_some() || peer.cancelled.iter().any(names);
        if !expected {
            peer.unasked_count += 1;
            if peer.unasked_count > UNREQUESTED_MAX {
                return Err(Reason::Unrequested);
            }
        }
        let first = self.arriving(piece).is_some_and(|a| !a.has_begun());
        let claims = asked.filter(|_| first);
        if let Some(asked) = claims {
            self.time_answer(now, asked.at);
            self.claim(now, key, piece);
        }
        let goes = match &mut self.pieces[piece as usize] {
            PieceState::Arriving(arriving)
                if expected && arriving.takes_from(key) && arriving.has_home(block) =>
            {
                match &mut arriving.blocks[block as usize] {
                    state if state.landed => Goes::Away,
                    state if state.landing.is_none() => {
                        state.landing = Some(key);
                        Goes::InPlace
                    }
                    _ => Goes::Aside,
                }
            }
            _ => Goes::Away,
        };
        Ok((goes, claims.is_some()))
    }

    /// How many of the bytes that come in next go the same way, to where [`Swarm::landing`] says or nowhere.
    pub fn landing_len(&self, key: PeerKey) -> usize {
        let Some(incoming) = self.peer(key).and_then(|peer| peer.incoming) else {
            return usize::MAX;
        };
        let len = self.len_in_place(key, incoming).unwrap_or_else(|| {
            let block_len = self.geometry.block_len();
            incoming.request.len.min(block_len)
        });
        (len - incoming.filled) as usize
    }

    /// Bytes of what is coming in, from its first block on, that have their place until the end of a block that another
    /// peer was quicker with; `None` if it is the first one, or if it goes elsewhere.
    fn len_in_place(&self, key: PeerKey, incoming: Incoming) -> Option<u32> {
        let BlockRequest { piece, begin, len } = incoming.request;
        let arriving = self
            .arriving(piece)
            .filter(|_| incoming.goes == Goes::InPlace)?;
        let blocks = self.geometry.blocks_of(incoming.request)?;
        let is_ours = |block: &u32| arriving.blocks[*block as usize].landing == Some(key);
        let end = blocks.clone().find(|block| !is_ours(block));
        let end = end.unwrap_or(blocks.end);
        let end = (begin + len).min(end * self.geometry.block_len());
        (end > begin).then_some(end - begin)
    }

    /// Where the next bytes of what is coming in belong; `None` if nobody needs them.
    pub fn landing(&mut self, key: PeerKey) -> Option<&mut [u8]> {
        let incoming = self.peer(key)?.incoming?;
        let BlockRequest { piece, begin, len } = incoming.request;
        match incoming.goes {
            Goes::Away => None,
            Goes::Aside => {
                let side = &mut self.peers[key.slot()].side;
                if side.is_empty() {
                    *side = vec![0; SIDE_BYTES].into();
                }
                Some(&mut side[incoming.filled as usize..len as usize])
            }
            Goes::InPlace => {
                let len = self.len_in_place(key, incoming)?;
                let PieceState::Arriving(arriving) = &mut self.pieces[piece as usize] else {
                    return None;
                };
                let request = BlockRequest { piece, begin, len };
                arriving.place(request)?.get_mut(incoming.filled as usize..)
            }
        }
    }

    /// Bytes of what is coming in that were read elsewhere are put where they belong.
    pub fn land_copy(&mut self, now: Time, key: PeerKey, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(self.landing_len(key)));
            if let Some(place) = self.landing(key) {
                place[..part.len()].copy_from_slice(part);
            }
            self.landed(now, key, part.len());
            bytes = rest;
        }
    }

    /// `count` more bytes of what is coming in, at most [`Swarm::landing_len`], were put where they belong, or dropped if
    /// nobody needs them.
    pub fn landed(&mut self, now: Time, key: PeerKey, count: usize) {
        let Some(peer) = self.peer_mut(key) else {
            return;
        };
        if let Some(incoming) = &mut peer.incoming {
            incoming.filled += count as u32;
        }
        peer.down.add(now, count);
        peer.gave.latest += count as u64;
        peer.progress_at = now;
        let account = peer.account;
        self.counts.down_bytes += count as u64;
        self.ledger.account_mut(account).down_bytes += count as u64;
        while self.has_whole_block(key) {
            self.block_ended(now, key);
        }
    }

    fn has_whole_block(&self, key: PeerKey) -> bool {
        let incoming = self.peer(key).and_then(|peer| peer.incoming);
        incoming.is_some_and(|incoming| {
            incoming.filled >= incoming.request.len.min(self.geometry.block_len())
        })
    }

    /// The last byte of a block was put where it belongs; the rest of what is coming in follows it.
    fn block_ended(&mut self, now: Time, key: PeerKey) {
        let Some(all) = self.peers[key.slot()].incoming.take() else {
            return;
        };
        let piece = all.request.piece;
        let blocks = self.geometry.blocks_of(all.request);
        let blocks = blocks.expect("it was checked when it started");
        let block = blocks.start;
        let incoming = Incoming {
            request: self.geometry.block(piece, block),
            ..all
        };
        let was_asked = self.answer(key, piece, block);
        if self.settle_block(now, key, incoming, block) {
            self.peers[key.slot()].is_snubbed = false;
        } else {
            self.counts.wasted_bytes += u64::from(incoming.request.len);
        }
        if was_asked {
            self.release(Asked {
                piece,
                block,
                at: now,
            });
        }
        if let Some(arriving) = self.arriving(piece) {
            if arriving.blocks[block as usize].landed && arriving.blocks[block as usize].asked > 0 {
                self.cancel_others(now, key, piece, block);
            }
            if self.arriving(piece).is_some_and(Arriving::is_ready) {
                self.check_piece(piece);
            }
        }
        self.go_on(now, key, all, block + 1..blocks.end);
    }

    /// What follows a block that has ended: more blocks that go where it went, others of the same message, or nothing.
    fn go_on(&mut self, now: Time, key: PeerKey, all: Incoming, blocks: Range<u32>) {
        let piece = all.request.piece;
        if !blocks.is_empty() {
            let request = self.geometry.stretch(piece, &blocks);
            self.peers[key.slot()].incoming = Some(Incoming {
                request,
                filled: all.filled - (all.request.len - request.len),
                ..all
            });
            return;
        }
        if all.rest > 0 {
            let rest = BlockRequest {
                begin: all.request.end() as u32,
                len: all.rest,
                ..all.request
            };
            let blocks = self.geometry.blocks_of(rest);
            let blocks = blocks.expect("it was checked when it started");
            if let Err(reason) = self.begin_blocks(now, key, piece, blocks) {
                self.disconnect(key, reason);
            }
            return;
        }
        self.fill(now, key);
        self.end_of_task(now, key);
        if self.hungry {
            self.settle(now);
        }
    }

    /// The simulator's arrival of a whole block, or of several that were asked for at once.
    pub(super) fn block_landed(
        &mut self,
        now: Time,
        key: PeerKey,
        request: BlockRequest,
        spoilt: bool,
    ) -> Result<(), Reason> {
        let incoming = self.peer(key).and_then(|p| p.incoming);
        if incoming.map(Incoming::whole) != Some(request) {
            self.block_started(now, key, request)?;
        }
        let mut left = request.len;
        while left > 0
            && let Some(incoming) = self.peer(key).and_then(|p| p.incoming)
        {
            let part = incoming.request;
            for block in self.geometry.blocks_of(part).ok_or(Reason::BadBlock)? {
                let block = self.geometry.block(part.piece, block);
                let incoming = Incoming {
                    request: block,
                    ..incoming
                };
                if self.is_of_use(key, incoming) {
                    self.with_arriving(part.piece, |arriving| arriving.mark(block, spoilt));
                }
            }
            left -= part.len;
            self.landed(now, key, part.len as usize);
        }
        Ok(())
    }

    /// Strikes a block off the list of what a peer owes; says whether it was still asked for.
    fn answer(&mut self, key: PeerKey, piece: u32, block: u32) -> bool {
        let peer = &mut self.peers[key.slot()];
        let names = |asked: &Asked| asked.is_for(piece, block);
        if let Some(at) = peer.asked.iter().position(names) {
            peer.asked.remove(at);
            return true;
        }
        if let Some(at) = peer.cancelled.iter().position(names) {
            peer.cancelled.remove(at);
        }
        false
    }

    /// Whether the block that came in becomes part of its piece.
    fn is_of_use(&self, key: PeerKey, incoming: Incoming) -> bool {
        let arriving = self.arriving(incoming.request.piece);
        let block = self.geometry.block_index(incoming.request);
        let (Some(arriving), Some(block)) = (arriving, block) else {
            return false;
        };
        let state = arriving.blocks[block as usize];
        match incoming.goes {
            Goes::Away => false,
            Goes::InPlace => state.landing == Some(key),
            // The piece may have failed meanwhile, and be another's alone to send, or have been begun anew.
            Goes::Aside => !state.landed && arriving.has_home(block) && arriving.takes_from(key),
        }
    }

    /// Makes a whole block part of its piece; false if it was not needed.
    fn settle_block(&mut self, now: Time, key: PeerKey, incoming: Incoming, block: u32) -> bool {
        let BlockRequest { piece, len, .. } = incoming.request;
        if !self.is_of_use(key, incoming) {
            return false;
        }
        let sender = self.peers[key.slot()].sender();
        if incoming.goes == Goes::Aside {
            let side = std::mem::take(&mut self.peers[key.slot()].side);
            self.with_arriving(piece, |arriving| {
                if let Some(place) = arriving.place(incoming.request) {
                    place.copy_from_slice(&side[..len as usize]);
                }
            });
            self.peers[key.slot()].side = side;
        }
        let full = self.with_arriving(piece, |arriving| {
            arriving.begun_at.get_or_insert(now);
            arriving.progress_at = now;
            arriving.land(block, sender)
        });
        if let Some((begin, buffer)) = full {
            let run = Run { piece, begin };
            self.outputs.push_back(Output::Write { run, buffer });
        }
        true
    }

    /// A link is going: the block that it is writing is nobody's again.
    pub(super) fn stop_landing(&mut self, key: PeerKey) {
        let Some(incoming) = self.peers[key.slot()].incoming.take() else {
            return;
        };
        let Some(blocks) = self.geometry.blocks_of(incoming.request) else {
            return;
        };
        if incoming.goes == Goes::InPlace && self.arriving(incoming.request.piece).is_some() {
            self.with_arriving(incoming.request.piece, |arriving| {
                for block in blocks {
                    let state = &mut arriving.blocks[block as usize];
                    state.landing.take_if(|landing| *landing == key);
                }
            });
        }
    }

    /// A worker has written a run of a large piece, or could not.
    pub(super) fn run_written(
        &mut self,
        now: Time,
        run: Run,
        buffer: PieceBuf,
        result: io::Result<()>,
    ) {
        let Run { piece, begin } = run;
        let len = buffer.len();
        self.config.pool.restore(buffer);
        self.arriving_bytes -= len;
        self.hungry = true;
        match &mut self.pieces[piece as usize] {
            PieceState::Arriving(arriving) => arriving.written(begin),
            PieceState::Discarding(bytes) => {
                *bytes -= len;
                if *bytes == 0 {
                    self.pieces[piece as usize] = PieceState::Missing;
                    self.picker.insert(piece);
                }
            }
            _ => unreachable!("no run of piece {piece} was being written"),
        }
        let is_ready = self.arriving(piece).map(Arriving::is_ready);
        match (result, is_ready) {
            (Ok(()), Some(true)) => self.check_piece(piece),
            (Ok(()), _) => {}
            (Err(error), arriving) => {
                if arriving.is_some() {
                    self.abandon(now, piece);
                }
                self.outputs.push_back(Output::Failed(error));
            }
        }
    }

    /// A worker has judged a piece, and made the digests that were wanted; `buffer` held it, unless it was read back from
    /// disk.
    pub(super) fn checked(
        &mut self,
        now: Time,
        piece: u32,
        (verdict, digests): (Verdict, &[Digest20]),
        buffer: Option<PieceBuf>,
    ) {
        let state = std::mem::replace(&mut self.pieces[piece as usize], PieceState::Missing);
        let PieceState::Checking(sent) = state else {
            unreachable!("piece {piece} was not being checked");
        };
        self.arriving_bytes -= buffer.as_ref().map_or(0, PieceBuf::len);
        let is_good = matches!(verdict, Verdict::Good);
        self.hungry |= std::mem::take(&mut self.lacks_room) || !is_good;
        if is_good {
            self.acquit(piece, &sent, digests);
            return self.verified(now, piece, buffer);
        }
        buffer.into_iter().for_each(|b| self.config.pool.restore(b));
        self.picker.insert(piece);
        if let Verdict::Unwritten(error) = verdict {
            return self.outputs.push_back(Output::Failed(error));
        }
        self.counts.hash_fail_count += 1;
        self.blame(piece, &sent, digests);
    }

    fn verified(&mut self, now: Time, piece: u32, buffer: Option<PieceBuf>) {
        self.pieces[piece as usize] = PieceState::Have;
        self.have.set(piece);
        self.outputs.push_back(Output::Broadcast { piece });
        self.announcer.verified(now, piece);
        if let Some(buffer) = buffer {
            self.cache.keep_piece(piece, buffer);
        }
        let complete = self.is_complete();
        let keys: Vec<PeerKey> = self.keys().collect();
        for key in keys {
            let peer = &mut self.peers[key.slot()];
            if peer.has.get(piece) {
                peer.wanted_count -= 1;
            }
            if complete || peer.wanted_count == 0 {
                self.update_interest(key);
            }
        }
        if complete {
            self.announcer.hurry(now);
            self.contacts_changed = true;
            self.watch(now);
            self.outputs.push_back(Output::Complete);
            self.serve(now);
        }
    }
}
