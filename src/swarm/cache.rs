//! Verified bytes in memory, ready to be uploaded: the last pieces that arrived and runs read from disk.
//!
//! An entry is one *run*: at most [`RUN_BYTES`] of one piece, or a whole piece that just arrived. An entry whose
//! bytes are queued on some conn is never evicted, because the queue holds a reference to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::base::{BufferPool, PieceBuf};

/// Most bytes that are read from disk at a time.
pub const RUN_BYTES: u32 = 256 << 10;

/// A run of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The piece.
    pub piece: u32,
    /// Where the run begins in the piece.
    pub begin: u32,
}

impl Run {
    /// The run that the byte `begin` of `piece` lies in.
    pub(super) fn of(piece: u32, begin: u32) -> Self {
        Self {
            piece,
            begin: begin - begin % RUN_BYTES,
        }
    }
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A piece, whole as it arrived.
    Piece(u32),
    Run(Run),
}

#[derive(Debug)]
struct Entry {
    buf: Arc<PieceBuf>,
    used_at: u64,
}

/// The upload cache of one swarm. It lends from the pool and restores to it.
#[derive(Debug)]
pub(super) struct Cache {
    pool: BufferPool,
    bytes_max: usize,
    bytes: usize,
    entries: BTreeMap<Key, Entry>,
    /// Every use in its order, and some that are outdated: the entry was used again, or is gone.
    uses: VecDeque<(u64, Key)>,
    loading: BTreeMap<Run, usize>,
    clock: u64,
}

/// Outdated uses that are kept however few entries there are.
const OUTDATED_MAX: usize = 64;

/// What the cache says of a run.
pub(super) enum Lookup {
    /// Here it is, and where the buffer begins in the piece.
    Ready(Arc<PieceBuf>, u32),
    /// It is being read.
    Loading,
    /// It must be read.
    Absent,
}

impl Cache {
    pub(super) fn new(pool: BufferPool, bytes_max: usize) -> Self {
        Self {
            pool,
            bytes_max,
            bytes: 0,
            entries: BTreeMap::new(),
            uses: VecDeque::new(),
            loading: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Looks `run` up.
    pub(super) fn lookup(&mut self, run: Run) -> Lookup {
        if let Some(buf) = self.used(Key::Piece(run.piece)) {
            return Lookup::Ready(buf, 0);
        }
        if let Some(buf) = self.used(Key::Run(run)) {
            return Lookup::Ready(buf, run.begin);
        }
        if self.loading.contains_key(&run) {
            Lookup::Loading
        } else {
            Lookup::Absent
        }
    }

    /// Notes a use of an entry, and returns what it holds.
    fn used(&mut self, key: Key) -> Option<Arc<PieceBuf>> {
        let entry = self.entries.get_mut(&key)?;
        self.clock += 1;
        entry.used_at = self.clock;
        let buf = entry.buf.clone();
        self.uses.push_back((self.clock, key));
        if self.uses.len() > 2 * self.entries.len() + OUTDATED_MAX {
            let entries = &self.entries;
            let is_last =
                |(at, key): &(u64, Key)| entries.get(key).is_some_and(|e| e.used_at == *at);
            self.uses.retain(is_last);
        }
        Some(buf)
    }

    fn insert(&mut self, key: Key, buf: PieceBuf) {
        let (buf, used_at) = (Arc::new(buf), 0);
        self.entries.insert(key, Entry { buf, used_at });
        self.used(key);
    }

    /// A buffer for reading `run` of `len` bytes into, if there is room for it now.
    pub(super) fn begin_load(&mut self, run: Run, len: usize) -> Option<PieceBuf> {
        while self.bytes + len > self.bytes_max && self.evict_one() {}
        if self.bytes + len > self.bytes_max && self.bytes > 0 {
            return None;
        }
        loop {
            if let Some(buf) = self.pool.lend(len) {
                self.bytes += len;
                self.loading.insert(run, len);
                return Some(buf);
            }
            if !self.evict_one() {
                return None;
            }
        }
    }

    /// The read of `run` ended; `buf` holds its bytes if `ok`.
    pub(super) fn end_load(&mut self, run: Run, buf: PieceBuf, ok: bool) {
        let len = self.loading.remove(&run).expect("a load ends once");
        if !ok {
            self.bytes -= len;
            self.pool.restore(buf);
            return;
        }
        self.insert(Key::Run(run), buf);
    }

    /// Keeps a piece that was just verified, if it fits; restores its buffer otherwise.
    pub(super) fn keep_piece(&mut self, piece: u32, buf: PieceBuf) {
        let len = buf.len();
        while self.bytes + len > self.bytes_max && self.evict_one() {}
        let key = Key::Piece(piece);
        if self.bytes + len > self.bytes_max || self.entries.contains_key(&key) {
            return self.pool.restore(buf);
        }
        self.bytes += len;
        self.insert(key, buf);
    }

    /// Gives back the entry that was used least recently and is queued nowhere; false if there is none. To be queued is to
    /// be in use.
    pub(super) fn evict_one(&mut self) -> bool {
        for _ in 0..self.uses.len() {
            let Some((at, key)) = self.uses.pop_front() else {
                break;
            };
            let Some(entry) = self.entries.get(&key).filter(|e| e.used_at == at) else {
                continue;
            };
            if Arc::strong_count(&entry.buf) > 1 {
                self.used(key);
                continue;
            }
            let entry = self.entries.remove(&key).expect("it was just seen");
            let buf = Arc::into_inner(entry.buf).expect("nobody else holds it");
            self.bytes -= buf.len();
            self.pool.restore(buf);
            return true;
        }
        false
    }

    /// Gives back everything that is queued nowhere.
    pub(super) fn clear(&mut self) {
        while self.evict_one() {}
    }

    /// Bytes held or being read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn cache(bytes_max: usize) -> (Cache, BufferPool) {
        let pool = BufferPool::phantom(1 << 20);
        (Cache::new(pool.clone(), bytes_max), pool)
    }

    fn load(cache: &mut Cache, piece: u32, len: usize) -> bool {
        let run = Run::of(piece, 0);
        let Some(buf) = cache.begin_load(run, len) else {
            return false;
        };
        cache.end_load(run, buf, true);
        true
    }

    #[test]
    fn the_least_recently_used_run_makes_room() {
        let (mut cache, pool) = cache(300);
        assert!(load(&mut cache, 0, 100) && load(&mut cache, 1, 100) && load(&mut cache, 2, 100));
        assert!(matches!(cache.lookup(Run::of(0, 0)), Lookup::Ready(..)));
        assert!(load(&mut cache, 3, 100));
        assert!(matches!(cache.lookup(Run::of(1, 0)), Lookup::Absent));
        assert!(matches!(cache.lookup(Run::of(0, 0)), Lookup::Ready(..)));
        assert_eq!((cache.bytes(), pool.bytes_lent()), (300, 300));
        cache.clear();
        assert_eq!((cache.bytes(), pool.bytes_lent()), (0, 0));
    }

    #[test]
    fn bytes_that_are_queued_somewhere_are_never_evicted() {
        let (mut cache, pool) = cache(200);
        assert!(load(&mut cache, 0, 100) && load(&mut cache, 1, 100));
        let queued: Vec<_> = (0..2)
            .map(|piece| match cache.lookup(Run::of(piece, 0)) {
                Lookup::Ready(buf, _) => buf,
                _ => panic!("it was just loaded"),
            })
            .collect();
        assert!(!load(&mut cache, 2, 100));
        drop(queued);
        assert!(load(&mut cache, 2, 100));
        assert_eq!(pool.bytes_lent(), 200);
    }

    #[test]
    fn a_piece_that_just_arrived_serves_all_its_runs() {
        let (mut cache, pool) = cache(1 << 20);
        let buf = pool.lend(600_000).expect("room");
        cache.keep_piece(7, buf);
        for begin in [0, RUN_BYTES, 2 * RUN_BYTES] {
            assert!(matches!(
                cache.lookup(Run::of(7, begin)),
                Lookup::Ready(_, 0)
            ));
        }
        assert!(matches!(cache.lookup(Run::of(8, 0)), Lookup::Absent));
    }

    #[test]
    fn any_use_evicts_like_a_list_in_the_order_of_use() {
        let seed = 5;
        let (mut cache, mut rng) = (cache(1000).0, Rng::new(seed));
        let mut in_order: Vec<u32> = Vec::new();
        for step in 0..50_000 {
            let piece = rng.below(30) as u32;
            let is_here = matches!(cache.lookup(Run::of(piece, 0)), Lookup::Ready(..));
            let place = in_order.iter().position(|&other| other == piece);
            assert_eq!(is_here, place.is_some(), "seed {seed}, step {step}");
            if let Some(place) = place {
                in_order.remove(place);
            } else {
                if in_order.len() == 10 {
                    in_order.remove(0);
                }
                assert!(load(&mut cache, piece, 100));
            }
            in_order.push(piece);
            assert!(cache.uses.len() <= 2 * 10 + OUTDATED_MAX, "seed {seed}");
        }
    }

    #[test]
    fn a_read_that_failed_leaves_nothing_behind() {
        let (mut cache, pool) = cache(300);
        let buf = cache.begin_load(Run::of(0, 0), 100).expect("room");
        assert!(matches!(cache.lookup(Run::of(0, 0)), Lookup::Loading));
        cache.end_load(Run::of(0, 0), buf, false);
        assert!(matches!(cache.lookup(Run::of(0, 0)), Lookup::Absent));
        assert_eq!((cache.bytes(), pool.bytes_lent()), (0, 0));
    }
}
