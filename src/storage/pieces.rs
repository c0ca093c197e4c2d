//! Pieces by themselves: checked as they arrive and written, or read back and hashed, each by one thread. A piece that
//! is too large to be held is written in runs first, and read back.
//!
//! Keeps no piece in memory but the one that it was lent: what is read back passes through one small buffer per thread.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha1::{Digest, Sha1};

use super::disk::PartFiles;
use super::layout::Layout;
use super::tree::Content;
use crate::base::{Bitfield, Digest20, Verdict};

/// What is read at once.
const READ_BYTES: usize = 1 << 20;
/// How far ahead the disk is told what will be read.
const AHEAD_BYTES: u64 = 8 << 20;

/// Compares `bytes` with the SHA-1 that they should have, and only then writes them to `files` from `offset` on.
pub fn check_and_write(
    files: &PartFiles,
    offset: u64,
    bytes: &[u8],
    expected: &Digest20,
) -> Verdict {
    if Sha1::digest(bytes)[..] != expected[..] {
        return Verdict::Wrong;
    }
    match files.write_at(offset, bytes) {
        Ok(()) => Verdict::Good,
        Err(error) => Verdict::Unwritten(error),
    }
}

/// Reads `len` bytes of `files` back from `offset` on, and compares them with the SHA-1 that they should have.
pub fn read_back(files: &PartFiles, offset: u64, len: u32, expected: &Digest20) -> Verdict {
    let (end, mut from) = (offset + u64::from(len), offset);
    let mut buf = vec![0; READ_BYTES.min(len as usize)];
    let mut hasher = Sha1::new();
    while from < end {
        let count = (end - from).min(buf.len() as u64) as usize;
        let ahead = (from + AHEAD_BYTES).min(end);
        files.will_read(ahead, (end - ahead).min(count as u64));
        if let Err(error) = files.read_at(from, &mut buf[..count]) {
            return Verdict::Unwritten(error);
        }
        hasher.update(&buf[..count]);
        from += count as u64;
    }
    if hasher.finalize()[..] == expected[..] {
        Verdict::Good
    } else {
        Verdict::Wrong
    }
}

/// The SHA-1 of each block of `bytes`, of which only the last may be shorter than `block_len`.
pub fn block_digests(bytes: &[u8], block_len: usize) -> Vec<Digest20> {
    let blocks = bytes.chunks(block_len);
    blocks.map(|block| Sha1::digest(block).into()).collect()
}

/// The same of `len` bytes of `files` from `offset` on.
pub fn block_digests_on_disk(
    files: &PartFiles,
    offset: u64,
    len: u32,
    block_len: usize,
) -> io::Result<Vec<Digest20>> {
    let (end, mut from) = (offset + u64::from(len), offset);
    let whole_blocks = READ_BYTES / block_len * block_len;
    let mut buf = vec![0; whole_blocks.min(len as usize)];
    let mut digests = Vec::new();
    while from < end {
        let count = (end - from).min(buf.len() as u64) as usize;
        files.read_at(from, &mut buf[..count])?;
        digests.append(&mut block_digests(&buf[..count], block_len));
        from += count as u64;
    }
    Ok(digests)
}

/// Hashes the pieces of a content that are wanted: a job for several threads at once, each of which takes whole pieces.
pub struct PieceHasher {
    content: Arc<dyn Content>,
    layout: Layout,
    wanted: Vec<u32>,
    bytes_total: u64,
    bytes_read: AtomicU64,
    cancelled: AtomicBool,
    board: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    /// Index into `wanted` of the next piece.
    next: usize,
    /// The SHA-1 of every piece; zeros where it was not wanted.
    digests: Vec<u8>,
    error: Option<io::Error>,
    threads: usize,
    over: bool,
}

impl PieceHasher {
    /// Prepares to hash the pieces of `content` that are in `wanted`.
    pub fn new(content: Arc<dyn Content>, layout: Layout, wanted: &Bitfield) -> Self {
        assert_eq!(wanted.len(), layout.piece_count(), "one bit per piece");
        let wanted: Vec<u32> = wanted.ones().collect();
        let lens = wanted
            .iter()
            .map(|&piece| u64::from(layout.piece_len(piece)));
        let board = Board {
            digests: vec![0; layout.piece_count() as usize * 20],
            ..Board::default()
        };
        Self {
            content,
            bytes_total: lens.sum(),
            layout,
            wanted,
            bytes_read: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            board: Mutex::new(board),
        }
    }

    /// Bytes of the pieces that are wanted.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Bytes read so far; for any thread at any time.
    pub fn bytes_done(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Makes every `run` return soon, with the error `Interrupted` as outcome.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Works until nothing is left to do. Call it on as many threads as shall work.
    ///
    /// Exactly one call of all returns an outcome: the last one that was at work. It is the SHA-1 of every piece, one
    /// after the other, zeros where it was not wanted. `InvalidData` or `UnexpectedEof` if a file changed meanwhile.
    pub fn run(&self) -> Option<io::Result<Vec<u8>>> {
        self.lock().threads += 1;
        let mut buf = Vec::new();
        while let Some(piece) = self.next_piece() {
            let outcome = self.hash(piece, &mut buf);
            let mut board = self.lock();
            match outcome {
                Ok(digest) => board.digests[piece as usize * 20..][..20].copy_from_slice(&digest),
                Err(error) => _ = board.error.get_or_insert(error),
            }
        }
        let mut board = self.lock();
        board.threads -= 1;
        if board.threads > 0 || board.over {
            return None;
        }
        board.over = true;
        let (error, digests) = (board.error.take(), std::mem::take(&mut board.digests));
        drop(board);
        Some(match error {
            Some(error) => Err(error),
            None => self.content.check_unchanged().map(|()| digests),
        })
    }

    fn next_piece(&self) -> Option<u32> {
        let mut board = self.lock();
        if board.error.is_some() || board.over {
            return None;
        }
        let piece = *self.wanted.get(board.next)?;
        board.next += 1;
        Some(piece)
    }

    fn hash(&self, piece: u32, buf: &mut Vec<u8>) -> io::Result<Digest20> {
        let (mut offset, mut rest) = (
            self.layout.piece_offset(piece),
            self.layout.piece_len(piece) as usize,
        );
        let mut hasher = Sha1::new();
        buf.resize(READ_BYTES.min(self.layout.piece_length() as usize), 0);
        while rest > 0 {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = rest.min(buf.len());
            self.content.will_read(offset + AHEAD_BYTES, len as u64);
            self.content.read_at(offset, &mut buf[..len])?;
            hasher.update(&buf[..len]);
            self.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
            offset += len as u64;
            rest -= len;
        }
        Ok(hasher.finalize().into())
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PieceHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PieceHasher").finish_non_exhaustive()
    }
}

/// Which pieces in `wanted` have in `found` the SHA-1 that they have in `expected`, both 20 bytes per piece.
pub fn matching_pieces(found: &[u8], expected: &[u8], wanted: &Bitfield) -> Bitfield {
    let mut matching = Bitfield::none(wanted.len());
    for piece in wanted.ones() {
        let range = piece as usize * 20..piece as usize * 20 + 20;
        if found[range.clone()] == expected[range] {
            matching.set(piece);
        }
    }
    matching
}
