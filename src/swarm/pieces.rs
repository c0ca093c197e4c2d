//! The state of each piece, and of the blocks of a piece that is arriving.
//!
//! A piece is in exactly one state. `Arriving` owns its buffer, or the buffers of its open runs; checking moves the
//! buffer out, and begins for a large piece when all its runs are written, so nobody can write to a piece that is
//! being hashed.

use std::net::SocketAddr;

use super::PeerKey;
use super::runs::Runs;
use crate::base::{PeerId, PieceBuf, Time};
use crate::wire::peer::BlockRequest;

/// Where one piece stands.
#[derive(Debug)]
pub(super) enum PieceState {
    /// Nothing of it is here or asked for.
    Missing,
    /// Some of its blocks are here or asked for.
    Arriving(Box<Arriving>),
    /// All blocks are here, and a worker has the buffer, or reads the piece back.
    Checking(Sent),
    /// It was given up while workers wrote runs of it: it is missing when these buffers, so many bytes, are home, and
    /// not before, or an old run could be written over a new one.
    Discarding(usize),
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

impl Sender {
    /// Whether the two are one peer: its port may have become known between the two.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.addr.ip() == other.addr.ip()
    }
}

/// Who sent which block of a piece.
#[derive(Debug)]
pub(super) struct Sent {
    /// Everyone who sent a block.
    pub senders: Vec<Sender>,
    /// For each block, the place of its sender among them.
    pub by_block: Vec<u16>,
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
    /// If so, the place of its sender in the piece's list.
    pub sender: u16,
}

impl BlockState {
    fn is_unasked(&self) -> bool {
        self.asked == 0 && !self.landed
    }
}

/// Where the blocks of an arriving piece have their home.
#[derive(Debug)]
pub(super) enum Store {
    /// In one buffer.
    Whole(PieceBuf),
    /// The piece is large: in a buffer for each run, until that is written.
    Runs(Runs),
}

impl Store {
    /// Bytes on loan for it.
    pub(super) fn bytes_lent(&self) -> usize {
        match self {
            Self::Whole(buffer) => buffer.len(),
            Self::Runs(runs) => runs.bytes_lent(),
        }
    }

    /// The buffer that `begin` lies in, and where in it that is.
    fn buffer_mut(&mut self, begin: u32) -> Option<(&mut PieceBuf, usize)> {
        match self {
            Self::Whole(buffer) => Some((buffer, begin as usize)),
            Self::Runs(runs) => runs.buffer_mut(begin),
        }
    }
}

/// A piece of which some blocks are here or asked for.
#[derive(Debug)]
pub(super) struct Arriving {
    pub store: Store,
    pub blocks: Vec<BlockState>,
    /// No block before this one is neither here nor asked for.
    unasked_from: u32,
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
    /// Everyone who sent a block that is here or was discarded.
    pub senders: Vec<Sender>,
    /// This piece failed before with several senders: only its owner may send it, so that the liar is known.
    pub is_suspect: bool,
    /// Nobody helps its owner while there is one: it is a suspect piece, or the owner is on parole.
    pub is_exclusive: bool,
    /// Its place in the list of arriving pieces.
    pub place: u32,
}

impl Arriving {
    pub(super) fn new(store: Store, block_count: u32, owner: PeerKey, place: u32) -> Self {
        Self {
            store,
            blocks: vec![BlockState::default(); block_count as usize],
            unasked_from: 0,
            unasked_count: block_count,
            landed_count: 0,
            owner: Some(owner),
            asked_at: Time::ZERO,
            standby_count: 0,
            begun_at: None,
            progress_at: Time::ZERO,
            senders: Vec::new(),
            is_suspect: false,
            is_exclusive: false,
            place,
        }
    }

    /// Whether nothing of it is here, comes in or is asked for.
    pub(super) fn is_untouched(&self) -> bool {
        let comes_in = |block: &BlockState| block.landing.is_some();
        self.unasked_count == self.blocks.len() as u32 && !self.blocks.iter().any(comes_in)
    }

    /// Whether `block` is neither here nor asked for.
    pub(super) fn is_unasked(&self, block: u32) -> bool {
        self.blocks[block as usize].is_unasked()
    }

    /// The first block that is neither here nor asked for.
    pub(super) fn next_unasked(&self) -> Option<u32> {
        if self.unasked_count == 0 {
            return None;
        }
        self.blocks[self.unasked_from as usize..]
            .iter()
            .position(BlockState::is_unasked)
            .map(|at| self.unasked_from + at as u32)
    }

    /// The first block that is neither here nor asked for, and has a home already.
    pub(super) fn next_unasked_at_home(&self) -> Option<u32> {
        match &self.store {
            Store::Whole(_) => self.next_unasked(),
            Store::Runs(runs) => runs
                .open_blocks()
                .find(|&block| self.blocks[block as usize].is_unasked()),
        }
    }

    /// Whether `block` has a home, so that it may be asked for.
    pub(super) fn has_home(&self, block: u32) -> bool {
        match &self.store {
            Store::Whole(_) => true,
            Store::Runs(runs) => runs.is_open(block),
        }
    }

    /// Where the bytes of a block belong; `None` if it has no home, or only a phantom.
    pub(super) fn place(&mut self, request: BlockRequest) -> Option<&mut [u8]> {
        let (buffer, begin) = self.store.buffer_mut(request.begin)?;
        buffer
            .bytes_mut()
            .get_mut(begin..begin + request.len as usize)
    }

    /// Marks what holds a block as holding wrong bytes in its place, or right ones.
    pub(super) fn mark(&mut self, request: BlockRequest, is_spoilt: bool) {
        if let Some((buffer, begin)) = self.store.buffer_mut(request.begin) {
            buffer.mark(begin as u32, is_spoilt);
        }
    }

    /// Notes that one more peer was asked for `block`.
    pub(super) fn ask(&mut self, block: u32) {
        if self.next_unasked() == Some(block) {
            self.unasked_from = block + 1;
        }
        let block = &mut self.blocks[block as usize];
        if block.is_unasked() {
            self.unasked_count -= 1;
        }
        block.asked += 1;
    }

    /// Notes that a peer that was asked for `block` will not send it, or has sent it.
    pub(super) fn unask(&mut self, block: u32) {
        let state = &mut self.blocks[block as usize];
        state.asked -= 1;
        if state.is_unasked() {
            self.unasked_count += 1;
            self.unasked_from = self.unasked_from.min(block);
        }
    }

    /// Notes that all of `block` is here, sent by `sender`. If that fills a run, the run's begin and its buffer, which
    /// is to be written.
    pub(super) fn land(&mut self, block: u32, sender: Sender) -> Option<(u32, PieceBuf)> {
        let state = &mut self.blocks[block as usize];
        debug_assert!(!state.landed, "one writer per block");
        if state.asked == 0 {
            self.unasked_count -= 1;
        }
        state.landed = true;
        state.landing = None;
        self.landed_count += 1;
        let known = self.senders.iter().position(|other| other.is(&sender));
        state.sender = known.unwrap_or(self.senders.len()) as u16;
        if known.is_none() {
            self.senders.push(sender);
        }
        match &mut self.store {
            Store::Whole(_) => None,
            Store::Runs(runs) => runs.land(block),
        }
    }

    /// Takes back that blocks of `sender` are here, if they are in memory; says how many.
    pub(super) fn discard(&mut self, sender: &Sender) -> u32 {
        let Some(place) = self.senders.iter().position(|other| other.is(sender)) else {
            return 0;
        };
        if let Store::Runs(_) = self.store {
            return 0;
        }
        let before = self.landed_count;
        for (at, block) in self.blocks.iter_mut().enumerate() {
            if block.landed && usize::from(block.sender) == place {
                block.landed = false;
                self.landed_count -= 1;
                if block.is_unasked() {
                    self.unasked_count += 1;
                    self.unasked_from = self.unasked_from.min(at as u32);
                }
            }
        }
        before - self.landed_count
    }

    /// What holds it, and who sent it.
    pub(super) fn into_sent(self) -> (Store, Sent) {
        let by_block: Vec<u16> = self.blocks.iter().map(|block| block.sender).collect();
        let mut senders = self.senders;
        if let Some(first) = by_block.first()
            && by_block.iter().all(|sender| sender == first)
        {
            senders = vec![senders[usize::from(*first)]];
        }
        (self.store, Sent { senders, by_block })
    }

    /// Gives the run that `block` lies in a buffer.
    pub(super) fn open_run(&mut self, block: u32, buffer: PieceBuf) {
        match &mut self.store {
            Store::Whole(_) => unreachable!("all of it has a home"),
            Store::Runs(runs) => runs.open(block, buffer),
        }
    }

    /// Notes that the run that begins at `begin` is written.
    pub(super) fn written(&mut self, begin: u32) {
        match &mut self.store {
            Store::Whole(_) => unreachable!("it is written when it was checked"),
            Store::Runs(runs) => runs.written(begin),
        }
    }

    /// It is nobody's task any more, and anybody may help with it.
    pub(super) fn disown(&mut self) {
        self.owner = None;
        self.is_exclusive = false;
    }

    /// Whether blocks that `peer` sends are taken.
    pub(super) fn takes_from(&self, peer: PeerKey) -> bool {
        !self.is_suspect || self.owner == Some(peer)
    }

    /// Whether every block is here.
    pub(super) fn is_complete(&self) -> bool {
        self.landed_count as usize == self.blocks.len()
    }

    /// Whether it can be checked: every block is here, and written if the piece is large.
    pub(super) fn is_ready(&self) -> bool {
        match &self.store {
            Store::Whole(_) => self.is_complete(),
            Store::Runs(runs) => runs.is_written(),
        }
    }

    /// Asserts that the counts are what the blocks say.
    pub(super) fn check(&self) {
        let unasked = self
            .blocks
            .iter()
            .filter(|block| block.is_unasked())
            .count();
        assert_eq!(unasked, self.unasked_count as usize);
        let first = self.blocks.iter().position(BlockState::is_unasked);
        assert_eq!(self.next_unasked(), first.map(|at| at as u32));
        let landed = self.blocks.iter().filter(|block| block.landed).count();
        assert_eq!(landed, self.landed_count as usize);
        // Once all of it is here, its sender is known, and may leave while it is written.
        assert!(self.is_exclusive || !self.is_suspect || self.is_complete());
        assert!(!self.is_exclusive || self.owner.is_some());
        match &self.store {
            Store::Whole(_) => assert!(
                landed < self.blocks.len(),
                "a complete piece is checked, not arriving"
            ),
            Store::Runs(runs) => runs.check(|block| !self.blocks[block as usize].landed),
        }
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
        let mut piece = Arriving::new(Store::Whole(buffer), 2, PEER, 0);
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
        let mut piece = Arriving::new(Store::Whole(buffer), 2, PEER, 0);
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
