//! Where arriving bytes go, and what becomes of a piece when its last block is here.
//!
//! One writer per block: the first arrival lands in its place in the piece's buffer; a second arrival of a block
//! that is already landing goes aside, and whichever is whole first is the block. Of a large piece each run that is
//! full is written as it is, and the piece is read back when all are.

use std::io;

use super::cache::Run;
use super::links::Reason;
use super::peer::{Asked, Goes, Incoming, PeerKey};
use super::pieces::PieceState;
use super::requests::SIDE_BYTES;
use super::{Output, Swarm};
use crate::base::{Digest20, PieceBuf, Time, Verdict};
use crate::wire::peer::BlockRequest;

/// Blocks that a peer may send, or requests that it may reject, unasked before it is dropped: a few may come later than
/// we remember what we took back.
pub(super) const UNREQUESTED_MAX: u32 = 256;

impl Swarm {
    /// The head of a block came: its bytes follow.
    pub fn block_started(
        &mut self,
        now: Time,
        key: PeerKey,
        request: BlockRequest,
    ) -> Result<(), Reason> {
        let block = self.geometry.block_index(request).ok_or(Reason::BadBlock)?;
        let Some(peer) = self
            .peers
            .get_mut(key.slot())
            .filter(|p| p.generation == key.generation)
        else {
            return Ok(());
        };
        peer.received_at = now;
        peer.progress_at = now;
        let names = |asked: &Asked| (asked.piece, asked.block) == (request.piece, block);
        let asked = peer.asked.iter().find(|asked| names(asked)).copied();
        let expected = asked.is_some() || peer.cancelled.iter().any(names);
        if !expected {
            peer.unasked_count += 1;
            if peer.unasked_count > UNREQUESTED_MAX {
                return Err(Reason::Unrequested);
            }
        }
        let first = self.arriving(request.piece).is_some_and(|a| !a.has_begun());
        let claims = asked.filter(|_| first);
        if let Some(asked) = claims {
            self.time_answer(now, asked.at);
            self.claim(now, key, request.piece);
        }
        let goes = match &mut self.pieces[request.piece as usize] {
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
        let peer = &mut self.peers[key.slot()];
        peer.run = Some(request.piece);
        peer.incoming = Some(Incoming {
            request,
            filled: 0,
            goes,
        });
        if claims.is_some() && self.hungry {
            self.settle(now);
        }
        Ok(())
    }

    /// Where the next bytes of the block that is coming in belong; `None` if nobody needs them.
    pub fn landing(&mut self, key: PeerKey) -> Option<&mut [u8]> {
        let peer = self
            .peers
            .get_mut(key.slot())
            .filter(|p| p.generation == key.generation)?;
        let incoming = peer.incoming?;
        let BlockRequest { piece, len, .. } = incoming.request;
        let rest = incoming.filled as usize..len as usize;
        match incoming.goes {
            Goes::Away => None,
            Goes::Aside => {
                if peer.side.is_empty() {
                    peer.side = vec![0; SIDE_BYTES].into();
                }
                Some(&mut peer.side[rest])
            }
            Goes::InPlace => {
                let PieceState::Arriving(arriving) = &mut self.pieces[piece as usize] else {
                    return None;
                };
                let index = self.geometry.block_index(incoming.request)?;
                if arriving.blocks[index as usize].landing != Some(key) {
                    return None;
                }
                arriving.place(incoming.request)?.get_mut(rest)
            }
        }
    }

    /// `count` more bytes of the block that is coming in were put where they belong, or dropped if nobody needs them.
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
    }

    /// The last byte of the block that is coming in was put where it belongs.
    pub fn block_ended(&mut self, now: Time, key: PeerKey) {
        let Some(peer) = self.peer_mut(key) else {
            return;
        };
        let Some(incoming) = peer.incoming.take() else {
            return;
        };
        debug_assert_eq!(incoming.filled, incoming.request.len);
        let block = self
            .geometry
            .block_index(incoming.request)
            .expect("it was checked when it started");
        let piece = incoming.request.piece;
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
            if self
                .arriving(piece)
                .is_some_and(super::pieces::Arriving::is_ready)
            {
                self.check_piece(piece);
            }
        }
        self.fill(now, key);
        self.end_of_task(now, key);
        if self.hungry {
            self.settle(now);
        }
    }

    /// The simulator's arrival of a whole block.
    pub(super) fn block_landed(
        &mut self,
        now: Time,
        key: PeerKey,
        request: BlockRequest,
        spoilt: bool,
    ) -> Result<(), Reason> {
        let incoming = self.peer(key).and_then(|p| p.incoming);
        if incoming.is_none_or(|incoming| incoming.request != request) {
            self.block_started(now, key, request)?;
        }
        let incoming = self.peer(key).and_then(|p| p.incoming);
        if incoming.is_some_and(|incoming| self.is_of_use(key, incoming)) {
            self.with_arriving(request.piece, |arriving| arriving.mark(request, spoilt));
        }
        self.landed(now, key, request.len as usize);
        self.block_ended(now, key);
        Ok(())
    }

    /// Strikes a block off the list of what a peer owes; says whether it was still asked for.
    fn answer(&mut self, key: PeerKey, piece: u32, block: u32) -> bool {
        let peer = &mut self.peers[key.slot()];
        let names = |asked: &Asked| (asked.piece, asked.block) == (piece, block);
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
        let Some(block) = self.geometry.block_index(incoming.request) else {
            return;
        };
        if incoming.goes == Goes::InPlace && self.arriving(incoming.request.piece).is_some() {
            self.with_arriving(incoming.request.piece, |arriving| {
                let state = &mut arriving.blocks[block as usize];
                if state.landing == Some(key) {
                    state.landing = None;
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
        let is_ready = self.arriving(piece).map(super::pieces::Arriving::is_ready);
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
