//! Buffers of piece bytes, and the one pool that bounds them.

use std::cell::RefCell;
use std::rc::Rc;

/// Bytes of a piece, or of a run of one; in the simulator only a length and marks (*phantom*).
#[derive(Debug)]
pub struct PieceBuf {
    bytes: Box<[u8]>,
    len: u32,
    /// Offsets of the blocks of a phantom that hold wrong bytes.
    spoilt: Vec<u32>,
}

impl PieceBuf {
    /// How many bytes of content this stands for.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it stands for no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes; none if this is a phantom.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len().min(self.bytes.len())]
    }

    /// The bytes, to be filled; none if this is a phantom.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len().min(self.bytes.len());
        &mut self.bytes[..len]
    }

    /// Marks the block of a phantom that begins at `offset` as holding wrong bytes, or right ones.
    pub fn mark(&mut self, offset: u32, is_spoilt: bool) {
        self.spoilt.retain(|&other| other != offset);
        if is_spoilt {
            self.spoilt.push(offset);
        }
    }

    /// Where the blocks begin that were marked as holding wrong bytes.
    pub fn spoilt(&self) -> &[u32] {
        &self.spoilt
    }

    /// Whether a phantom was marked as holding wrong bytes.
    pub fn is_spoilt(&self) -> bool {
        !self.spoilt.is_empty()
    }
}

/// Lends [`PieceBuf`]s under one cap of bytes, and keeps returned memory for the next loan.
///
/// Clones share the cap: arriving pieces, pieces being checked and the upload cache all draw on it. A buffer leaves the
/// thread of the pool only to be checked, written or read into, and comes back to be returned here.
#[derive(Clone, Debug)]
pub struct BufferPool(Rc<RefCell<Shared>>);

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    bytes_lent: usize,
    /// Memory at rest; `bytes_lent` plus what rests here never exceeds `bytes_max`.
    resting: Vec<Box<[u8]>>,
    bytes_resting: usize,
    phantom: bool,
}

impl BufferPool {
    /// A pool of real memory that lends at most `bytes_max` bytes at a time.
    pub fn new(bytes_max: usize) -> Self {
        Self::with(bytes_max, false)
    }

    /// A pool that counts like a real one and lends phantoms.
    pub fn phantom(bytes_max: usize) -> Self {
        Self::with(bytes_max, true)
    }

    fn with(bytes_max: usize, phantom: bool) -> Self {
        let shared = Shared {
            bytes_max,
            bytes_lent: 0,
            resting: Vec::new(),
            bytes_resting: 0,
            phantom,
        };
        Self(Rc::new(RefCell::new(shared)))
    }

    /// Lends a buffer of `len` bytes, whose content is left over from earlier use, or `None` if the cap does not allow it.
    ///
    /// One buffer larger than the whole cap is lent when nothing else is, so that no piece is too large to arrive.
    pub fn lend(&self, len: usize) -> Option<PieceBuf> {
        let mut shared = self.0.borrow_mut();
        if shared.bytes_lent > 0 && shared.bytes_lent + len > shared.bytes_max {
            return None;
        }
        let bytes = if shared.phantom {
            Box::default()
        } else {
            shared.memory(len)
        };
        shared.bytes_lent += bytes.len().max(len);
        Some(PieceBuf {
            bytes,
            len: len as u32,
            spoilt: Vec::new(),
        })
    }

    /// Takes a lent buffer back.
    pub fn restore(&self, buf: PieceBuf) {
        let mut shared = self.0.borrow_mut();
        let size = buf.bytes.len().max(buf.len());
        debug_assert!(shared.bytes_lent >= size, "more returned than lent");
        shared.bytes_lent -= size;
        if !shared.phantom && shared.bytes_lent + shared.bytes_resting + size <= shared.bytes_max {
            shared.bytes_resting += buf.bytes.len();
            shared.resting.push(buf.bytes);
        }
    }

    /// Bytes on loan.
    pub fn bytes_lent(&self) -> usize {
        self.0.borrow().bytes_lent
    }

    /// The cap.
    pub fn bytes_max(&self) -> usize {
        self.0.borrow().bytes_max
    }
}

impl Shared {
    /// Memory of at least `len` bytes: resting memory that fits without waste, or new memory in place of resting memory.
    fn memory(&mut self, len: usize) -> Box<[u8]> {
        if let Some(at) = self
            .resting
            .iter()
            .rposition(|m| m.len() >= len && m.len() <= len.saturating_mul(2))
        {
            let bytes = self.resting.swap_remove(at);
            if self.bytes_lent == 0 || self.bytes_lent + bytes.len() <= self.bytes_max {
                self.bytes_resting -= bytes.len();
                return bytes;
            }
            self.resting.push(bytes);
        }
        while self.bytes_lent + self.bytes_resting + len > self.bytes_max {
            let Some(bytes) = self.resting.pop() else {
                break;
            };
            self.bytes_resting -= bytes.len();
        }
        vec![0; len].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn never_lends_more_than_its_cap() {
        let pool = BufferPool::new(100);
        let first = pool.lend(60).expect("room");
        assert!(pool.lend(41).is_none());
        let second = pool.lend(40).expect("room");
        pool.restore(first);
        assert_eq!(pool.bytes_lent(), 40);
        pool.restore(second);
        assert!(
            pool.lend(1000).is_some(),
            "a piece larger than the cap still arrives, alone"
        );
        assert!(pool.lend(1).is_none());
    }

    #[test]
    fn memory_held_stays_under_the_cap_in_any_order_of_use() {
        let (pool, mut rng, mut out) = (BufferPool::new(1 << 16), Rng::new(3), Vec::new());
        for _ in 0..10_000 {
            if rng.below(2) == 0 {
                out.extend(pool.lend(1 + rng.below(9000)));
            } else if !out.is_empty() {
                let at = rng.below(out.len());
                pool.restore(out.swap_remove(at));
            }
            let shared = pool.0.borrow();
            let resting: usize = shared.resting.iter().map(|m| m.len()).sum();
            assert_eq!(resting, shared.bytes_resting);
            let lent: usize = out
                .iter()
                .map(|b: &PieceBuf| b.bytes.len().max(b.len()))
                .sum();
            assert_eq!(lent, shared.bytes_lent);
            assert!(lent + resting <= 1 << 16, "{lent} + {resting}");
        }
    }

    #[test]
    fn a_phantom_has_a_length_and_marks_but_no_bytes() {
        let mut buf = BufferPool::phantom(1 << 40).lend(1 << 30).expect("room");
        assert_eq!((buf.len(), buf.bytes().len()), (1 << 30, 0));
        assert!(!buf.is_spoilt());
        [3, 5, 3].iter().for_each(|&at| buf.mark(at, true));
        assert_eq!(buf.spoilt(), [5, 3]);
        [3, 5].iter().for_each(|&at| buf.mark(at, false));
        assert!(!buf.is_spoilt());
    }
}
