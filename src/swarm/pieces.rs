//! The state of each piece, and of the blocks of a piece that is arriving.
//!
//! A piece is in exactly one state. `Arriving` owns its buffer; checking moves the buffer out, so nobody can
//! write to a piece that is being hashed.

use std::net::SocketAddr;

use super::PeerKey;
use crate::base::{PeerId, PieceBuf, Time};

/// Where one piece stands.
#[derive(Debug)]
pub(super) enum PieceState {
    /// Nothing of it is here or asked for.
    Missing,
    /// Some of its blocks are here or asked for.
    Arriving(Box<Arriving>),
    /// All blocks are here, and a worker has the buffer. Whoever sent a block stands in the list.
    Checking(Vec<Sender>),
    /// Verified and written.
    Have,
}

/// Somebody who sent blocks of a piece: enough to ban them when they are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// What it calls itself.
    pub id: PeerId,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// One block of a piece that is arriving.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockState {
    /// How many peers were asked for it and have not answered.
    pub asked: u8,
    /// Who is writing it into its place now.
    pub landing: Option<PeerKey>,
    /// Whether all of it is here.
    pub landed: bool,
}

/// A piece of which some blocks are here or asked for.
#[derive(Debug)]
pub(super) struct Arriving {
    pub buffer: PieceBuf,
    pub blocks: Vec<BlockState>,
    /// Blocks that are neither here nor asked for.
    pub unasked_count: u32,
    /// Blocks that are here.
    pub landed_count: u32,
    /// The one peer whose task the piece is; others join only when nothing else is left for them.
    pub owner: Option<PeerKey>,
    /// When somebody was last asked for it who had nothing else to do.
    pub asked_at: Time,
    /// Peers that were asked for it on top of the first.
    pub standby_count: u8,
    /// When its first block came in.
    pub begun_at: Option<Time>,
    /// When a block of it last came in.
    pub progress_at: Time,
    /// Everyone whose blocks are here.
    pub senders: Vec<Sender>,
    /// This piece failed before with several senders: only its owner may send it, so that the liar is known.
    pub is_suspect: bool,
    /// Its place in the list of arriving pieces.
    pub place: u32,
}

impl Arriving {
    pub(super) fn new(buffer: PieceBuf, block_count: u32, owner: PeerKey, place: u32) -> Self {
        Self {
            buffer,
            blocks: vec![BlockState::default(); block_count as usize],
            unasked_count: block_count,
            landed_count: 0,
            owner: Some(owner),
            asked_at: Time::ZERO,
            standby_count: 0,
            begun_at: None,
            progress_at: Time::ZERO,
            senders: Vec::new(),
            is_suspect: false,
            place,
        }
    }

    /// The first block that is neither here nor asked for.
    pub(super) fn next_unasked(&self) -> Option<u32> {
        if self.unasked_count == 0 {
            return None;
        }
        self.blocks
            .iter()
            .position(|block| block.asked == 0 && !block.landed)
            .map(|at| at as u32)
    }

    /// Notes that one more peer was asked for `block`.
    pub(super) fn ask(&mut self, block: u32) {
        let block = &mut self.blocks[block as usize];
        if block.asked == 0 && !block.landed {
            self.unasked_count -= 1;
        }
        block.asked += 1;
    }

    /// Notes that a peer that was asked for `block` will not send it, or has sent it.
    pub(super) fn unask(&mut self, block: u32) {
        let block = &mut self.blocks[block as usize];
        block.asked -= 1;
        if block.asked == 0 && !block.landed {
            self.unasked_count += 1;
        }
    }

    /// Notes that all of `block` is here, sent by `sender`.
    pub(super) fn land(&mut self, block: u32, sender: Sender) {
        let block = &mut self.blocks[block as usize];
        debug_assert!(!block.landed, "one writer per block");
        if block.asked == 0 {
            self.unasked_count -= 1;
        }
        block.landed = true;
        block.landing = None;
        self.landed_count += 1;
        if !self.senders.contains(&sender) {
            self.senders.push(sender);
        }
    }

    /// Whether blocks that `peer` sends are taken.
    pub(super) fn takes_from(&self, peer: PeerKey) -> bool {
        !self.is_suspect || self.owner == Some(peer)
    }

    /// Whether every block is here.
    pub(super) fn is_complete(&self) -> bool {
        self.landed_count as usize == self.blocks.len()
    }

    /// Asserts that the counts are what the blocks say.
    pub(super) fn check(&self) {
        let unasked = self
            .blocks
            .iter()
            .filter(|block| block.asked == 0 && !block.landed)
            .count();
        assert_eq!(unasked, self.unasked_count as usize);
        let landed = self.blocks.iter().filter(|block| block.landed).count();
        assert_eq!(landed, self.landed_count as usize);
        assert!(
            landed < self.blocks.len(),
            "a complete piece is checked, not arriving"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::base::BufferPool;

    const PEER: PeerKey = PeerKey {
        slot: 0,
        generation: 0,
    };
    const SENDER: Sender = Sender {
        id: PeerId([1; 20]),
        addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1),
    };

    #[test]
    fn a_block_that_is_asked_twice_is_unasked_only_when_both_are_gone() {
        let buffer = BufferPool::phantom(1 << 20).lend(32_768).expect("room");
        let mut piece = Arriving::new(buffer, 2, PEER, 0);
        piece.ask(0);
        piece.ask(0);
        assert_eq!((piece.next_unasked(), piece.unasked_count), (Some(1), 1));
        piece.unask(0);
        assert_eq!(piece.next_unasked(), Some(1));
        piece.unask(0);
        assert_eq!((piece.next_unasked(), piece.unasked_count), (Some(0), 2));
        piece.check();
    }

    #[test]
    fn a_block_that_nobody_is_asked_for_any_more_may_still_land() {
        let buffer = BufferPool::phantom(1 << 20).lend(32_768).expect("room");
        let mut piece = Arriving::new(buffer, 2, PEER, 0);
        piece.ask(0);
        piece.unask(0);
        piece.land(0, SENDER);
        piece.check();
        assert_eq!((piece.unasked_count, piece.is_complete()), (1, false));
        piece.ask(1);
        piece.land(1, SENDER);
        piece.unask(1);
        assert!(piece.is_complete());
        assert_eq!((piece.unasked_count, piece.senders.len()), (0, 1));
    }
}
