//! What a peer's messages change.

use std::time::Duration;

use super::landing::UNREQUESTED_MAX;
use super::links::Reason;
use super::peer::{Asked, PeerKey};
use super::{Swarm, timers};
use crate::base::{Bitfield, Time};
use crate::wire::peer::{BlockRequest, Message};

impl Swarm {
    pub(super) fn received(
        &mut self,
        now: Time,
        key: PeerKey,
        message: Message<'_>,
    ) -> Result<(), Reason> {
        let Some(peer) = self.peer_mut(key) else {
            return Ok(());
        };
        peer.received_at = now;
        let fast = peer.hello.fast;
        match message {
            Message::KeepAlive | Message::Port { .. } | Message::Extended { .. } => Ok(()),
            Message::Choke => {
                self.choked(now, key);
                Ok(())
            }
            Message::Unchoke => {
                peer.is_choking = false;
                self.fill(now, key);
                Ok(())
            }
            Message::Interested => {
                self.interested(now, key);
                Ok(())
            }
            Message::NotInterested => {
                self.not_interested(now, key);
                Ok(())
            }
            Message::Have { piece } => self.peer_has(now, key, piece),
            Message::Bitfield { bytes } => {
                let bits = Bitfield::from_bytes(self.geometry.piece_count(), bytes);
                self.bitfield(now, key, bits.ok_or(Reason::BadBitfield)?)
            }
            Message::HaveAll if fast => {
                self.possesses(now, key, Bitfield::all(self.geometry.piece_count()))
            }
            Message::HaveNone if fast => {
                self.possesses(now, key, Bitfield::none(self.geometry.piece_count()))
            }
            Message::Request(request) => self.requested(now, key, request),
            Message::Cancel(request) => {
                self.cancelled(now, key, request);
                Ok(())
            }
            Message::Reject(request) if fast => self.rejected(now, key, request),
            Message::Suggest { piece } | Message::AllowedFast { piece } if fast => {
                if let Message::Suggest { .. } = message {
                    peer.suggested = Some(piece);
                }
                if piece < self.geometry.piece_count() {
                    Ok(())
                } else {
                    Err(Reason::NoSuchPiece)
                }
            }
            Message::HaveAll
            | Message::HaveNone
            | Message::Reject(_)
            | Message::Suggest { .. }
            | Message::AllowedFast { .. } => Err(Reason::NotNegotiated),
        }
    }

    /// A peer no longer serves us.
    fn choked(&mut self, now: Time, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        peer.is_choking = true;
        if peer.hello.fast {
            // What it owes it sends or rejects; the rest of its pieces is for others.
            self.disown_all(now, key);
        } else {
            self.lose_requests(now, key, true);
        }
        self.hungry = true;
    }

    /// A peer said what it has; said again, it is news of single pieces (aria2 saves many `have`s so).
    fn bitfield(&mut self, now: Time, key: PeerKey, bits: Bitfield) -> Result<(), Reason> {
        if !self.peers[key.slot()].possession_known {
            return self.possesses(now, key, bits);
        }
        bits.ones()
            .try_for_each(|piece| self.peer_has(now, key, piece))
    }

    /// A peer said, once and first, what it has.
    fn possesses(&mut self, now: Time, key: PeerKey, bits: Bitfield) -> Result<(), Reason> {
        let peer = &mut self.peers[key.slot()];
        if peer.possession_known {
            return Err(Reason::LatePossession);
        }
        peer.possession_known = true;
        // Single pieces may have been told before.
        let told = std::mem::replace(&mut peer.has, bits.clone());
        told.ones().for_each(|piece| self.picker.decrease(piece));
        peer.counted_whole = bits.is_all();
        peer.wanted_count = bits.count_beyond(&self.have);
        if peer.counted_whole {
            self.whole_count += 1;
        } else {
            bits.ones().for_each(|piece| self.picker.increase(piece));
        }
        self.update_interest(key);
        self.fill(now, key);
        Ok(())
    }

    /// A peer got a piece.
    fn peer_has(&mut self, now: Time, key: PeerKey, piece: u32) -> Result<(), Reason> {
        if piece >= self.geometry.piece_count() {
            return Err(Reason::NoSuchPiece);
        }
        let peer = &mut self.peers[key.slot()];
        if !peer.has.set(piece) {
            return Ok(());
        }
        self.picker.increase(piece);
        let is_news = !self.have.get(piece);
        if is_news {
            self.peers[key.slot()].wanted_count += 1;
        }
        self.update_interest(key);
        if is_news {
            self.fill(now, key);
        }
        Ok(())
    }

    /// A peer no longer has a piece (BEP 54): what it was asked of it is asked of others.
    pub(super) fn peer_lost(&mut self, now: Time, key: PeerKey, piece: u32) -> Result<(), Reason> {
        if self.peer(key).is_none() {
            return Ok(());
        }
        let peer = &mut self.peers[key.slot()];
        peer.received_at = now;
        if piece >= peer.has.len() {
            return Err(Reason::NoSuchPiece);
        }
        if !peer.has.clear(piece) {
            return Ok(());
        }
        if std::mem::take(&mut peer.counted_whole) {
            peer.has
                .ones()
                .for_each(|piece| self.picker.increase(piece));
            self.whole_count -= 1;
        } else {
            self.picker.decrease(piece);
        }
        if !self.have.get(piece) {
            self.peers[key.slot()].wanted_count -= 1;
        }
        self.take_back_piece(now, key, piece);
        self.update_interest(key);
        self.hungry = true;
        Ok(())
    }

    /// A peer asks for a block.
    fn requested(&mut self, now: Time, key: PeerKey, request: BlockRequest) -> Result<(), Reason> {
        let contained = self.geometry.contains(request) && self.have.get(request.piece);
        let waiting_max = self.config.waiting_requests_max;
        let peer = &mut self.peers[key.slot()];
        let queued = peer.requests.len();
        let is_too_long = request.len > peer.may_request_bytes(&self.geometry);
        let refused = peer.am_choking || !contained || is_too_long || queued >= waiting_max;
        if !refused {
            peer.requests.push_back(request);
            if queued == 0 {
                peer.asks_since = now;
            }
            self.serve(now);
            if queued == 0 && self.next_request(key).is_some() {
                self.wake(key);
            }
            return Ok(());
        }
        if peer.hello.fast {
            peer.refused_count += 1;
            if peer.refused_count > REFUSED_MAX && now.since(peer.choke_changed_at) > GRACE {
                return Err(Reason::BadRequest);
            }
            self.send(key, Message::Reject(request));
            return Ok(());
        }
        // Without the fast extension a request may cross our choke on the wire: it is dropped, as the choke said.
        if peer.am_choking {
            Ok(())
        } else if queued >= waiting_max {
            Err(Reason::TooManyRequests)
        } else {
            Err(Reason::BadRequest)
        }
    }

    /// A peer takes a request back.
    fn cancelled(&mut self, now: Time, key: PeerKey, request: BlockRequest) {
        let peer = &mut self.peers[key.slot()];
        let first = peer.requests.front().copied();
        if !peer.drop_request(&self.geometry, request) {
            return;
        }
        let is_next = peer.requests.front().copied() != first;
        let fast = peer.hello.fast;
        if fast {
            self.send(key, Message::Reject(request));
        }
        self.serve(now);
        if is_next && self.next_request(key).is_some() {
            self.wake(key);
        }
    }

    /// A peer will not answer a request of ours.
    fn rejected(&mut self, now: Time, key: PeerKey, request: BlockRequest) -> Result<(), Reason> {
        let blocks = self.geometry.blocks_of(request);
        let mut is_freed = false;
        for block in blocks.ok_or(Reason::BadReject)? {
            is_freed |= self.block_rejected(now, key, request.piece, block)?;
        }
        if is_freed {
            self.give_back_untouched(now);
            self.hungry = true;
        }
        Ok(())
    }

    /// Whether that frees a block, so that it can be asked of others.
    fn block_rejected(
        &mut self,
        now: Time,
        key: PeerKey,
        piece: u32,
        block: u32,
    ) -> Result<bool, Reason> {
        let peer = &mut self.peers[key.slot()];
        let names = |asked: &Asked| asked.is_for(piece, block);
        if let Some(at) = peer.cancelled.iter().position(names) {
            peer.cancelled.remove(at);
            return Ok(false);
        }
        let Some(at) = peer.asked.iter().position(names) else {
            peer.unasked_count += 1;
            let is_nuisance = peer.unasked_count > UNREQUESTED_MAX;
            return if is_nuisance {
                Err(Reason::BadReject)
            } else {
                Ok(false)
            };
        };
        let asked = peer.asked.remove(at).expect("it was just found");
        // Whoever rejects while it lets us ask would only reject again: it is asked nothing for a moment.
        if !peer.is_choking {
            peer.resume_at = now + REJECT_PAUSE;
            self.deadlines
                .bring_forward(timers::SWEEP, now + REJECT_PAUSE);
        }
        self.disown(now, key, asked.piece);
        self.release(asked);
        Ok(true)
    }
}

/// Refused requests after which a peer is a nuisance (libtorrent drops after 300).
const REFUSED_MAX: u32 = 4_000;
/// How long a peer is left alone that rejects although it has us unchoked.
const REJECT_PAUSE: Duration = Duration::from_secs(1);
/// How long after a choke requests may still be under way.
const GRACE: Duration = Duration::from_secs(10);
