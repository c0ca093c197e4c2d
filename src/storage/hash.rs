//! Hashes a whole content in one read of the disk: the SHA-1 of every piece and the SHA-256 of every file, on any number of threads.
//!
//! The content is cut into chunks. A chunk is read once; then two *lanes*, one for pieces and one for files, hash it. In
//! each lane, whatever begins in a chunk is hashed independently of all other chunks; only what began earlier is
//! continued, in order, from the state that the chunk before left. So a huge file is one chain of SHA-256 beside which the other
//! threads read and do SHA-1, and ten thousand small ones are spread over all threads.
//!
//! Owns its buffers, of which there is a fixed number whatever the sizes of pieces and files. Never writes, and starts no
//! thread: workers lend theirs by calling `run`.
//!
//! Invariants:
//! 1. A chunk's memory is used again only when no step needs it.
//! 2. Chunks are read in order, so the earliest one in memory can always be hashed on: nothing waits in a circle.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::layout::{FileMap, Layout};
use super::tree::Content;
use crate::base::Digest32;

/// What is read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// Chunks in memory at a time.
const CHUNKS_MAX: usize = 8;
/// Bytes of a SHA-1, which stands at the front of a [`Digest32`] here.
const PIECE_DIGEST_BYTES: usize = 20;

/// What hashing a content gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentHashes {
    /// The SHA-1 of each piece, one after the other; nothing if they were not asked for.
    pub pieces: Vec<u8>,
    /// The SHA-256 of each file.
    pub files: Vec<Digest32>,
}

/// The hashing of one content: a job for several threads at once.
pub struct ContentHasher {
    content: Arc<dyn Content>,
    len: u64,
    lanes: Vec<Lane>,
    board: Mutex<Board>,
    /// Signalled when there may be something new to do, or nothing any more.
    changed: Condvar,
    bytes_read: AtomicU64,
    cancelled: AtomicBool,
}

impl ContentHasher {
    /// Prepares to hash `content`, which is laid out as `layout` says: its files, and its pieces too if `with_pieces`.
    pub fn new(content: Arc<dyn Content>, layout: &Layout, with_pieces: bool) -> Self {
        let mut lanes = vec![Lane::new(Kind::File, layout.files().clone())];
        if with_pieces {
            lanes.push(Lane::new(Kind::Piece, layout.piece_map()));
        }
        let len = layout.files().len();
        Self {
            content,
            len,
            board: Mutex::new(Board::new(&lanes, len)),
            lanes,
            changed: Condvar::new(),
            bytes_read: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Bytes of the content.
    pub fn bytes_total(&self) -> u64 {
        self.len
    }

    /// Bytes read so far; for any thread at any time.
    pub fn bytes_done(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Makes every `run` return soon, with the error `Interrupted` as outcome.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let _board = self.lock();
        self.changed.notify_all();
    }

    /// Works until nothing is left to do. Call it on as many threads as shall work.
    ///
    /// Exactly one call of all returns an outcome: the last one that was at work. `InvalidData` or `UnexpectedEof` if a
    /// file changed meanwhile.
    pub fn run(&self) -> Option<io::Result<ContentHashes>> {
        self.lock().threads += 1;
        let presence = Presence(self);
        while let Some(step) = self.next_step() {
            let result = self.take(step);
            let mut board = self.lock();
            match result {
                Ok(done) => board.file(done, &self.lanes),
                Err(error) => board.fail(error),
            }
            drop(board);
            self.changed.notify_all();
        }
        drop(presence);
        let mut board = self.lock();
        if board.threads > 0 || board.over {
            return None;
        }
        board.over = true;
        let error = board.error.take();
        let digests = std::mem::take(&mut board.digests);
        drop(board);
        Some(match error {
            Some(error) => Err(error),
            None => self.content.check_unchanged().map(|()| hashes_of(digests)),
        })
    }

    /// What to do next; waits while only others can say. `None` when nothing is left to do.
    fn next_step(&self) -> Option<Step> {
        let mut board = self.lock();
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                board.fail(io::ErrorKind::Interrupted.into());
            }
            if board.over || board.error.is_some() || board.is_done() {
                return None;
            }
            if let Some(step) = board.next_step() {
                return Some(step);
            }
            board = self
                .changed
                .wait(board)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take(&self, step: Step) -> io::Result<Done> {
        Ok(match step {
            Step::Read { index, mut bytes } => {
                let offset = index * CHUNK_BYTES;
                let len = CHUNK_BYTES.min(self.len - offset);
                // Asks for what is to come, so that the disk works while we hash.
                self.content
                    .will_read(offset + CHUNK_BYTES * CHUNKS_MAX as u64, CHUNK_BYTES);
                bytes.resize(len as usize, 0);
                self.content.read_at(offset, &mut bytes)?;
                self.bytes_read.fetch_add(len, Ordering::Relaxed);
                Done::Read(Arc::new(Chunk { index, bytes }))
            }
            Step::Hash { lane, chunk, chain } => {
                let (digests, carry) = self.lanes[lane].hash(&chunk, chain);
                Done::Hashed {
                    lane,
                    chunk,
                    digests,
                    carry,
                }
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a thread that is at work, until it leaves or falls.
struct Presence<'a>(&'a ContentHasher);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut board = self.0.lock();
        board.threads -= 1;
        if std::thread::panicking() {
            // The others must not wait for what this one had in hand.
            board.fail(io::Error::other("a thread that was hashing panicked"));
        }
        drop(board);
        self.0.changed.notify_all();
    }
}

/// A stretch of the content, read.
struct Chunk {
    index: u64,
    bytes: Vec<u8>,
}

/// One thing to do.
enum Step {
    Read {
        index: u64,
        bytes: Vec<u8>,
    },
    Hash {
        lane: usize,
        chunk: Arc<Chunk>,
        /// The state in which the chunk before left what continues here; without it, whatever begins here is hashed.
        chain: Option<Chain>,
    },
}

/// What came of a step.
enum Done {
    Read(Arc<Chunk>),
    Hashed {
        lane: usize,
        chunk: Arc<Chunk>,
        /// What ended in the chunk.
        digests: Vec<(usize, Digest32)>,
        /// What goes on in the next chunk.
        carry: Option<Chain>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Piece,
    File,
}

impl Kind {
    fn begin(self) -> Chain {
        match self {
            Self::Piece => Chain::Piece(Sha1::new()),
            Self::File => Chain::File(Sha256::new()),
        }
    }
}

/// A hash on its way.
enum Chain {
    Piece(Sha1),
    File(Sha256),
}

impl Chain {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Piece(hasher) => hasher.update(bytes),
            Self::File(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Digest32 {
        match self {
            Self::Piece(hasher) => {
                let mut digest = Digest32::default();
                digest[..PIECE_DIGEST_BYTES].copy_from_slice(&hasher.finalize());
                digest
            }
            Self::File(hasher) => hasher.finalize().into(),
        }
    }
}

/// One way to see the content: as pieces or as files.
struct Lane {
    kind: Kind,
    units: FileMap,
}

impl Lane {
    fn new(kind: Kind, units: FileMap) -> Self {
        Self { kind, units }
    }

    /// Hashes what begins in `chunk`, or what `chain` continues there. Returns what ends, and what goes on.
    fn hash(
        &self,
        chunk: &Chunk,
        mut chain: Option<Chain>,
    ) -> (Vec<(usize, Digest32)>, Option<Chain>) {
        let (mut ended, mut carry, mut rest) = (Vec::new(), None, &chunk.bytes[..]);
        let continues = chain.is_some();
        for span in self.spans(chunk) {
            let (bytes, later) = rest.split_at(span.len as usize);
            rest = later;
            if continues != (span.offset > 0) {
                continue;
            }
            let mut chain = chain.take().unwrap_or_else(|| self.kind.begin());
            chain.update(bytes);
            if span.ends_file {
                ended.push((span.file, chain.finish()));
            } else {
                carry = Some(chain);
            }
        }
        (ended, carry)
    }

    fn spans(&self, chunk: &Chunk) -> impl Iterator<Item = super::Span> {
        let offset = chunk.index * CHUNK_BYTES;
        self.units.spans(offset, chunk.bytes.len() as u64)
    }
}

/// The state of the job.
struct Board {
    chunk_count: u64,
    /// The next chunk to be read.
    chunk_next: u64,
    /// Chunks that are being read or hashed.
    chunks_held: usize,
    /// Memory of chunks that are done.
    resting: Vec<Vec<u8>>,
    ready: Vec<Step>,
    /// By lane and chunk: what was read, and waits for the state that the chunk before leaves.
    waiting: BTreeMap<(usize, u64), Arc<Chunk>>,
    /// By lane and chunk: the state that waits for the chunk to be read.
    carried: BTreeMap<(usize, u64), Chain>,
    /// By lane: one digest for each unit.
    digests: Vec<Vec<Digest32>>,
    error: Option<io::Error>,
    threads: usize,
    /// The outcome was given out.
    over: bool,
}

impl Board {
    fn new(lanes: &[Lane], len: u64) -> Self {
        // What is empty is in no chunk.
        let of_nothing = |lane: &Lane| vec![lane.kind.begin().finish(); lane.units.file_count()];
        Self {
            chunk_count: len.div_ceil(CHUNK_BYTES),
            chunk_next: 0,
            chunks_held: 0,
            resting: Vec::new(),
            ready: Vec::new(),
            waiting: BTreeMap::new(),
            carried: BTreeMap::new(),
            digests: lanes.iter().map(of_nothing).collect(),
            error: None,
            threads: 0,
            over: false,
        }
    }

    /// Nothing is left to be read or hashed.
    fn is_done(&self) -> bool {
        self.chunk_next == self.chunk_count && self.chunks_held == 0
    }

    /// The first error counts.
    fn fail(&mut self, error: io::Error) {
        self.error.get_or_insert(error);
    }

    /// The most urgent step: of the earliest chunk, and in it what a later chunk waits for. Reads ahead if there is none.
    fn next_step(&mut self) -> Option<Step> {
        let urgency = |step: &Step| match step {
            Step::Read { index, .. } => (*index, 2),
            Step::Hash { chunk, chain, .. } => (chunk.index, u8::from(chain.is_none())),
        };
        let most_urgent = (0..self.ready.len()).min_by_key(|&at| urgency(&self.ready[at]));
        if let Some(at) = most_urgent {
            return Some(self.ready.swap_remove(at));
        }
        if self.chunk_next == self.chunk_count || self.chunks_held == CHUNKS_MAX {
            return None;
        }
        self.chunks_held += 1;
        self.chunk_next += 1;
        Some(Step::Read {
            index: self.chunk_next - 1,
            bytes: self.resting.pop().unwrap_or_default(),
        })
    }

    /// Takes in what came of a step, and makes ready what it lets go on.
    fn file(&mut self, done: Done, lanes: &[Lane]) {
        match done {
            Done::Read(chunk) => {
                for (lane, units) in lanes.iter().enumerate() {
                    self.file_chunk(lane, units, &chunk);
                }
            }
            Done::Hashed {
                lane,
                chunk,
                digests,
                carry,
            } => {
                for (unit, digest) in digests {
                    self.digests[lane][unit] = digest;
                }
                if let Some(chain) = carry {
                    self.file_carry(lane, chunk.index + 1, chain);
                }
                if let Some(chunk) = Arc::into_inner(chunk) {
                    self.chunks_held -= 1;
                    self.resting.push(chunk.bytes);
                }
            }
        }
    }

    fn file_chunk(&mut self, lane: usize, units: &Lane, chunk: &Arc<Chunk>) {
        let begins = units.spans(chunk).any(|span| span.offset == 0);
        let continues = units
            .spans(chunk)
            .next()
            .is_some_and(|span| span.offset > 0);
        let key = (lane, chunk.index);
        if begins {
            self.make_ready(lane, Arc::clone(chunk), None);
        }
        if continues {
            match self.carried.remove(&key) {
                Some(chain) => self.make_ready(lane, Arc::clone(chunk), Some(chain)),
                None => {
                    self.waiting.insert(key, Arc::clone(chunk));
                }
            }
        }
    }

    fn file_carry(&mut self, lane: usize, index: u64, chain: Chain) {
        match self.waiting.remove(&(lane, index)) {
            Some(chunk) => self.make_ready(lane, chunk, Some(chain)),
            None => {
                self.carried.insert((lane, index), chain);
            }
        }
    }

    fn make_ready(&mut self, lane: usize, chunk: Arc<Chunk>, chain: Option<Chain>) {
        self.ready.push(Step::Hash { lane, chunk, chain });
    }
}

/// The digests of all lanes, in the order of the lanes.
fn hashes_of(lanes: Vec<Vec<Digest32>>) -> ContentHashes {
    let mut lanes = lanes.into_iter();
    let files = lanes.next().unwrap_or_default();
    let pieces = lanes.next().unwrap_or_default();
    ContentHashes {
        pieces: pieces
            .iter()
            .flat_map(|digest| &digest[..PIECE_DIGEST_BYTES])
            .copied()
            .collect(),
        files,
    }
}

impl std::fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    /// A content in memory; the file at `.1` bytes and beyond cannot be read.
    struct Memory(Vec<u8>, u64);

    impl Content for Memory {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            if offset + into.len() as u64 > self.1 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into.copy_from_slice(&self.0[offset as usize..][..into.len()]);
            Ok(())
        }

        fn will_read(&self, _offset: u64, _len: u64) {}

        fn check_unchanged(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn random_bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes());
        words.take(len).collect()
    }

    fn run(hasher: &ContentHasher, threads: usize) -> io::Result<ContentHashes> {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| hasher.run())).collect();
            let joined = handles
                .into_iter()
                .map(|handle| handle.join().expect("no panic"));
            joined.flatten().collect()
        });
        assert_eq!(outcomes.len(), 1, "one call gives the outcome");
        assert!(hasher.run().is_none(), "and none after it");
        outcomes.into_iter().next().expect("one")
    }

    fn naive(bytes: &[u8], lens: &[usize], piece_length: usize) -> ContentHashes {
        let mut rest = bytes;
        let files = lens.iter().map(|&len| {
            let (file, later) = rest.split_at(len);
            rest = later;
            Sha256::digest(file).into()
        });
        ContentHashes {
            files: files.collect(),
            pieces: bytes.chunks(piece_length).flat_map(Sha1::digest).collect(),
        }
    }

    #[test]
    fn agrees_with_hashing_each_piece_and_file_by_itself() {
        const MIB: usize = 1 << 20;
        let many: Vec<usize> = (0..3000).map(|i| i * 37 % 3000).collect();
        let cases: &[(&[usize], usize)] = &[
            (&[], 1 << 16),
            (&[0], 1 << 16),
            (&[0, 1, 0], 1 << 16),
            (&[MIB], MIB),
            (&[MIB + 1], MIB),
            (&[MIB - 1, 1, MIB, 2], MIB),
            (&[11 * MIB + 17], 4 * MIB),
            (&[11 * MIB + 17], 100 * MIB),
            (&[3 * MIB + 5, 0, 5 * MIB, 7, 2 * MIB], 777_777),
            (&many, 1 << 16),
            (&many, 2 * MIB),
        ];
        let mut rng = Rng::new(5);
        for (case, &(lens, piece_length)) in cases.iter().enumerate() {
            let bytes = random_bytes(&mut rng, lens.iter().sum());
            let expected = naive(&bytes, lens, piece_length);
            let layout = Layout::new(piece_length as u32, lens.iter().map(|&len| len as u64))
                .expect("small");
            let len = bytes.len() as u64;
            let content = Arc::new(Memory(bytes, len));
            for threads in [1, 2, 5] {
                let hasher = ContentHasher::new(content.clone(), &layout, true);
                let hashes = run(&hasher, threads).expect("readable");
                assert!(hashes == expected, "case {case} on {threads} threads");
                assert_eq!(hasher.bytes_done(), hasher.bytes_total());
                let board = hasher.lock();
                assert!(
                    board.resting.len() <= CHUNKS_MAX
                        && board.carried.is_empty()
                        && board.waiting.is_empty()
                );
            }
            let hashes = run(&ContentHasher::new(content, &layout, false), 2).expect("readable");
            assert!(hashes.files == expected.files && hashes.pieces.is_empty());
        }
    }

    #[test]
    fn a_file_that_ends_too_soon_is_an_error_on_all_threads() {
        let len = 20 << 20;
        let layout = Layout::new(1 << 20, [len]).expect("small");
        let content = Arc::new(Memory(vec![0; len as usize], len - 1));
        let hasher = ContentHasher::new(content, &layout, true);
        let error = run(&hasher, 3).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn cancelling_ends_it_before_the_end() {
        let len = 20 << 20;
        let layout = Layout::new(1 << 20, [len]).expect("small");
        let hasher =
            ContentHasher::new(Arc::new(Memory(vec![0; len as usize], len)), &layout, true);
        hasher.cancel();
        let error = run(&hasher, 2).expect_err("cancelled");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(hasher.bytes_done() < hasher.bytes_total());
    }
}
