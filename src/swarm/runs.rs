//! The buffers of an arriving piece that is too large to be held in memory: one for each of its runs that is open.
//!
//! A run opens when its first block is about to be asked for, so that what arrives has a home, and is full when its
//! last block is here. Then its buffer goes to a worker, which writes it as it is: the piece is judged only when all
//! of it is written and was read back.

use super::cache::RUN_BYTES;
use crate::base::PieceBuf;
use crate::wire::peer::BLOCK_LEN;

/// Blocks of a run, the last one of a piece excepted.
const RUN_BLOCKS: u32 = RUN_BYTES / BLOCK_LEN;

/// Where one run stands.
#[derive(Debug)]
enum RunState {
    /// None of its blocks is here or was ever asked for.
    Closed,
    /// Its blocks have a home, and so many of them are not here.
    Open(PieceBuf, u32),
    /// All of it is here, and a worker has the buffer.
    Writing,
    /// It is on disk, whatever it is.
    Written,
}

/// The runs of one piece.
#[derive(Debug)]
pub(super) struct Runs {
    piece_len: u32,
    states: Vec<RunState>,
    open_count: u32,
    written_count: u32,
    bytes_lent: usize,
}

impl Runs {
    pub(super) fn new(piece_len: u32) -> Self {
        let states = (0..piece_len.div_ceil(RUN_BYTES)).map(|_| RunState::Closed);
        Self {
            piece_len,
            states: states.collect(),
            open_count: 0,
            written_count: 0,
            bytes_lent: 0,
        }
    }

    /// Bytes of the run that `block` lies in.
    pub(super) fn run_len(&self, block: u32) -> usize {
        let begin = block / RUN_BLOCKS * RUN_BYTES;
        RUN_BYTES.min(self.piece_len - begin) as usize
    }

    /// Gives the run that `block` lies in a buffer.
    pub(super) fn open(&mut self, block: u32, buffer: PieceBuf) {
        debug_assert_eq!(buffer.len(), self.run_len(block));
        let block_count = (buffer.len() as u32).div_ceil(BLOCK_LEN);
        self.open_count += 1;
        self.bytes_lent += buffer.len();
        let state = &mut self.states[(block / RUN_BLOCKS) as usize];
        debug_assert!(matches!(state, RunState::Closed), "a run opens once");
        *state = RunState::Open(buffer, block_count);
    }

    /// Whether `block` has a home.
    pub(super) fn is_open(&self, block: u32) -> bool {
        let state = &self.states[(block / RUN_BLOCKS) as usize];
        matches!(state, RunState::Open(..))
    }

    /// The blocks of the runs that are open.
    pub(super) fn open_blocks(&self) -> impl Iterator<Item = u32> + '_ {
        let is_open = |(_, state): &(usize, &RunState)| matches!(state, RunState::Open(..));
        let block_count = self.piece_len.div_ceil(BLOCK_LEN);
        let open = self.states.iter().enumerate().filter(is_open);
        open.take(self.open_count as usize)
            .flat_map(move |(run, _)| {
                let first = run as u32 * RUN_BLOCKS;
                first..block_count.min(first + RUN_BLOCKS)
            })
    }

    /// The buffer of the run that `begin` lies in, and where in it that is.
    pub(super) fn buffer_mut(&mut self, begin: u32) -> Option<(&mut PieceBuf, usize)> {
        match &mut self.states[(begin / RUN_BYTES) as usize] {
            RunState::Open(buffer, _) => Some((buffer, (begin % RUN_BYTES) as usize)),
            _ => None,
        }
    }

    /// Notes that all of `block` is here. If its run is full, the buffer is to be written where the run begins.
    pub(super) fn land(&mut self, block: u32) -> Option<(u32, PieceBuf)> {
        let run = block / RUN_BLOCKS;
        let state = &mut self.states[run as usize];
        let RunState::Open(_, missing_count) = state else {
            unreachable!("block {block} has no home");
        };
        *missing_count -= 1;
        if *missing_count > 0 {
            return None;
        }
        self.open_count -= 1;
        match std::mem::replace(state, RunState::Writing) {
            RunState::Open(buffer, _) => Some((run * RUN_BYTES, buffer)),
            _ => unreachable!("it was just open"),
        }
    }

    /// The run that begins at `begin` is on disk.
    pub(super) fn written(&mut self, begin: u32) {
        self.bytes_lent -= self.run_len(begin / BLOCK_LEN);
        self.written_count += 1;
        let state = &mut self.states[(begin / RUN_BYTES) as usize];
        debug_assert!(matches!(state, RunState::Writing), "a run is written once");
        *state = RunState::Written;
    }

    /// Whether every run is on disk.
    pub(super) fn is_written(&self) -> bool {
        self.written_count as usize == self.states.len()
    }

    /// Bytes of the buffers that are open or being written.
    pub(super) fn bytes_lent(&self) -> usize {
        self.bytes_lent
    }

    /// The buffers that are open.
    pub(super) fn into_buffers(self) -> impl Iterator<Item = PieceBuf> {
        self.states.into_iter().filter_map(|state| match state {
            RunState::Open(buffer, _) => Some(buffer),
            _ => None,
        })
    }

    /// Asserts that the counts are what the runs say; `missing` tells whether a block is not here.
    pub(super) fn check(&self, missing: impl Fn(u32) -> bool) {
        let (mut open, mut written, mut bytes) = (0, 0, 0);
        let block_count = self.piece_len.div_ceil(BLOCK_LEN);
        for (run, state) in self.states.iter().enumerate() {
            let first = run as u32 * RUN_BLOCKS;
            let blocks = first..block_count.min(first + RUN_BLOCKS);
            let missing_count = blocks.clone().filter(|&block| missing(block)).count();
            match state {
                RunState::Closed => assert_eq!(missing_count, blocks.len(), "it has no home"),
                RunState::Open(buffer, count) => {
                    assert!(missing_count > 0, "a full run is written");
                    assert_eq!(missing_count, *count as usize);
                    open += 1;
                    bytes += buffer.len();
                }
                RunState::Writing => bytes += self.run_len(first),
                RunState::Written => written += 1,
            }
            let is_full = matches!(state, RunState::Writing | RunState::Written);
            assert!(!is_full || missing_count == 0, "run {run} is not all here");
        }
        assert_eq!((open, written), (self.open_count, self.written_count));
        assert_eq!(bytes, self.bytes_lent);
        assert!(!self.is_written(), "a written piece is read back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::BufferPool;

    #[test]
    fn a_run_is_handed_out_when_its_last_block_is_here() {
        let pool = BufferPool::phantom(1 << 20);
        let mut runs = Runs::new(RUN_BYTES + BLOCK_LEN + 1);
        for block in [0, RUN_BLOCKS] {
            let buffer = pool.lend(runs.run_len(block)).expect("room");
            runs.open(block, buffer);
        }
        assert_eq!(runs.bytes_lent(), (RUN_BYTES + BLOCK_LEN + 1) as usize);
        assert_eq!(runs.open_blocks().count() as u32, RUN_BLOCKS + 2);
        for block in (1..RUN_BLOCKS).rev() {
            assert!(runs.land(block).is_none());
        }
        let (begin, buffer) = runs.land(0).expect("it is full");
        assert_eq!((begin, buffer.len()), (0, RUN_BYTES as usize));
        assert!(!runs.is_open(3) && runs.is_open(RUN_BLOCKS + 1));
        assert!(runs.land(RUN_BLOCKS + 1).is_none());
        let (begin, buffer) = runs.land(RUN_BLOCKS).expect("it is full");
        assert_eq!((begin, buffer.len()), (RUN_BYTES, BLOCK_LEN as usize + 1));
        runs.written(RUN_BYTES);
        assert!(!runs.is_written());
        runs.written(0);
        assert!(runs.is_written());
        assert_eq!((runs.bytes_lent(), runs.into_buffers().count()), (0, 0));
    }
}
