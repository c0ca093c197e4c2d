//! The rows of one family of one content: dense, in blocks, the seeds first.
//!
//! Whom to name is a walk over neighbouring rows from a random place. A row is found by looking at all of them while they
//! are few, and through an index of their places when they are more. Nothing here costs more for a larger table, but a
//! look at every row to expire them.
//!
//! Invariants (`check`):
//! 1. Rows `0..seeds` are seeds, the others up to `len` are not, and no key stands twice.
//! 2. The blocks are as many as the rows need.
//! 3. An index names the place of every row once, where a search for its key comes by.

use super::places::Places;
use super::rows::{Row, Spread, is_over};

/// Rows above which there is an index, and below which there is none.
const INDEXED_ABOVE: usize = 30;
const PLAIN_BELOW: usize = 15;
/// Slots of an index for each 2 rows when it is made, and for each 4 at least.
const SLOTS_FOR_2: usize = 3;
const SLOTS_FOR_4_MIN: usize = 5;

/// Members of one family.
#[derive(Debug)]
pub(super) struct Table<R: Row> {
    blocks: Vec<Box<R::Block>>,
    len: u16,
    seeds: u16,
    index: Places,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
            seeds: 0,
            index: Places::default(),
        }
    }
}

impl<R: Row> Table<R> {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// How many of them, from the first, are seeds.
    pub(super) fn seeds(&self) -> usize {
        usize::from(self.seeds)
    }

    /// The row at a place below `len`.
    pub(super) fn at(&self, place: usize) -> R {
        self.blocks[place / R::BLOCK_ROWS].as_ref().as_ref()[place % R::BLOCK_ROWS]
    }

    /// The place of a key, whose address is `ip`.
    pub(super) fn find(&self, key: R::Key, ip: R::Ip, spread: Spread) -> Option<usize> {
        if !self.index.is_empty() {
            let home = self.home(key, ip, spread);
            return self.place_where(home, |row| row.key() == key);
        }
        let mut first = 0;
        for block in &self.blocks {
            // What lies behind the last row has no key of a member.
            let rows = block.as_ref().as_ref();
            if let Some(at) = rows.iter().position(|row| row.key() == key) {
                return Some(first + at);
            }
            first += R::BLOCK_ROWS;
        }
        None
    }

    /// How many rows have this address.
    pub(super) fn count_of(&self, ip: R::Ip, spread: Spread) -> usize {
        if self.index.is_empty() || is_loopback::<R>(ip) {
            return self.rows().filter(|row| row.ip() == ip).count();
        }
        let mut count = 0;
        let home = self.home(R::default().key(), ip, spread);
        self.place_where(home, |row| {
            count += usize::from(row.ip() == ip);
            false
        });
        count
    }

    /// All rows, in the order of their places.
    pub(super) fn rows(&self) -> impl Iterator<Item = R> {
        let rows = self.blocks.iter().flat_map(|block| block.as_ref().as_ref());
        rows.copied().take(self.len())
    }

    /// Calls `look` with the rows of a range of places, until it says `false`.
    #[inline]
    pub(super) fn each(&self, mut from: usize, to: usize, mut look: impl FnMut(R) -> bool) {
        while from < to {
            let (block, first) = (from / R::BLOCK_ROWS, from % R::BLOCK_ROWS);
            let count = (R::BLOCK_ROWS - first).min(to - from);
            let rows = &self.blocks[block].as_ref().as_ref()[first..first + count];
            if !rows.iter().all(|&row| look(row)) {
                return;
            }
            from += count;
        }
    }

    /// Adds a row, whose key must be new.
    pub(super) fn insert(&mut self, row: R, spread: Spread) {
        if self.len() == self.blocks.len() * R::BLOCK_ROWS {
            if self.blocks.len() == self.blocks.capacity() {
                self.blocks.reserve_exact(1 + self.blocks.len() / 8);
            }
            self.blocks.push(Box::default());
        }
        self.make_room(spread);
        let (seeds, len) = (self.seeds(), self.len());
        let mut place = len;
        if row.flags().is_seed() {
            if seeds < len {
                self.relocate(seeds, len, spread);
            }
            place = seeds;
            self.seeds += 1;
        }
        self.len += 1;
        self.set(place, row);
        self.enlist(place, spread);
    }

    /// Replaces the row at a place by one of the same key.
    pub(super) fn replace(&mut self, place: usize, row: R, spread: Spread) {
        let (was_seed, is_seed) = (place < self.seeds(), row.flags().is_seed());
        self.set(place, row);
        if is_seed && !was_seed {
            self.swap(place, self.seeds(), spread);
            self.seeds += 1;
        } else if was_seed && !is_seed {
            self.seeds -= 1;
            self.swap(place, self.seeds(), spread);
        }
    }

    /// Removes the row at a place; others take it.
    pub(super) fn remove(&mut self, place: usize, spread: Spread) {
        self.delist(place, spread);
        let mut hole = place;
        if place < self.seeds() {
            self.seeds -= 1;
            hole = self.seeds();
            if hole != place {
                self.relocate(hole, place, spread);
            }
        }
        self.len -= 1;
        let last = self.len();
        if last != hole {
            self.relocate(last, hole, spread);
        }
        self.set(last, R::default());
        if last.is_multiple_of(R::BLOCK_ROWS) {
            self.blocks.pop();
        }
        if last < PLAIN_BELOW {
            self.index = Places::default();
        }
    }

    /// Removes rows whose time is over at the tick `now`.
    pub(super) fn expire(&mut self, now: u8, spread: Spread) {
        // What takes the place of a removed row comes from places that were looked at before.
        for place in (0..self.len()).rev() {
            if is_over(self.at(place).until(), now) {
                self.remove(place, spread);
            }
        }
        if self.blocks.capacity() > 2 * self.blocks.len() + 4 {
            self.blocks.shrink_to_fit();
        }
        if self.index.len() > 4 * self.len() {
            self.rebuild(spread);
        }
    }

    fn set(&mut self, place: usize, row: R) {
        self.blocks[place / R::BLOCK_ROWS].as_mut().as_mut()[place % R::BLOCK_ROWS] = row;
    }

    /// Moves a row to a place that is free.
    fn relocate(&mut self, from: usize, to: usize, spread: Spread) {
        let row = self.at(from);
        if let Some(slot) = self.slot_of(from, spread) {
            self.index.set(slot, to);
        }
        self.set(to, row);
    }

    fn swap(&mut self, one: usize, other: usize, spread: Spread) {
        if one == other {
            return;
        }
        let slots = (self.slot_of(one, spread), self.slot_of(other, spread));
        if let (Some(of_one), Some(of_other)) = slots {
            self.index.set(of_one, other);
            self.index.set(of_other, one);
        }
        let (first, second) = (self.at(one), self.at(other));
        self.set(one, second);
        self.set(other, first);
    }

    /// Where a search for a key begins. Members at one address lie together, so that they can be counted; but those of
    /// this machine itself, of whom there is any number.
    fn home(&self, key: R::Key, ip: R::Ip, spread: Spread) -> usize {
        let hash = if is_loopback::<R>(ip) {
            R::hash(key, spread)
        } else {
            spread.of(ip.as_ref())
        };
        self.index.home(hash)
    }

    fn home_of(&self, row: R, spread: Spread) -> usize {
        self.home(row.key(), row.ip(), spread)
    }

    /// The first place that is named from the slot `home` on and whose row `is_it`; `None` if an empty slot comes first.
    fn place_where(&self, home: usize, mut is_it: impl FnMut(R) -> bool) -> Option<usize> {
        let mut slot = home;
        loop {
            let place = self.index.at(slot)?;
            if is_it(self.at(place)) {
                return Some(place);
            }
            slot = self.index.after(slot);
        }
    }

    /// The slot that names a place, if there is an index.
    fn slot_of(&self, place: usize, spread: Spread) -> Option<usize> {
        if self.index.is_empty() {
            return None;
        }
        let mut slot = self.home_of(self.at(place), spread);
        loop {
            let named = self.index.at(slot).expect("the index names every row");
            if named == place {
                return Some(slot);
            }
            slot = self.index.after(slot);
        }
    }

    /// Makes an index, or a larger one, if one more row needs it.
    fn make_room(&mut self, spread: Spread) {
        let len = self.len() + 1;
        let is_due = if self.index.is_empty() {
            len > INDEXED_ABOVE
        } else {
            len * SLOTS_FOR_4_MIN > self.index.len() * 4
        };
        if is_due {
            self.rebuild(spread);
        }
    }

    fn rebuild(&mut self, spread: Spread) {
        let slots = (self.len() + 1) * SLOTS_FOR_2 / 2;
        self.index = Places::new(slots);
        for place in 0..self.len() {
            self.enlist(place, spread);
        }
    }

    fn enlist(&mut self, place: usize, spread: Spread) {
        if !self.index.is_empty() {
            let home = self.home_of(self.at(place), spread);
            self.index.add(home, place);
        }
    }

    /// Takes a row out of the index, and closes the gap for those that lie behind it because of it.
    fn delist(&mut self, place: usize, spread: Spread) {
        let Some(mut gap) = self.slot_of(place, spread) else {
            return;
        };
        let slots = self.index.len();
        let mut slot = gap;
        loop {
            slot = self.index.after(slot);
            let Some(other) = self.index.at(slot) else {
                break;
            };
            let home = self.home_of(self.at(other), spread);
            let from = |start: usize| (slot + slots - start) % slots;
            if from(home) >= from(gap) {
                self.index.set(gap, other);
                gap = slot;
            }
        }
        self.index.clear(gap);
    }

    /// Asserts the invariants.
    pub(super) fn check(&self, spread: Spread) {
        assert!(self.seeds <= self.len);
        assert_eq!(self.blocks.len(), self.len().div_ceil(R::BLOCK_ROWS));
        for (place, row) in self.rows().enumerate() {
            assert_eq!(row.flags().is_seed(), place < self.seeds());
            assert_eq!(self.find(row.key(), row.ip(), spread), Some(place));
        }
        assert!(self.index.is_empty() || self.index.len() > self.len());
        let slots = 0..self.index.len();
        let named = slots.filter(|&slot| self.index.at(slot).is_some()).count();
        assert!(named == self.len() || self.index.is_empty());
    }
}

fn is_loopback<R: Row>(ip: R::Ip) -> bool {
    match ip.as_ref() {
        [first, _, _, _] => *first == 127,
        [zeros @ .., 1] => zeros.iter().all(|&byte| byte == 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::super::rows::{Foreigner, Row4};
    use super::*;
    use crate::base::Rng;

    const SPREAD: (u64, u64) = (1, 2);

    fn row(addr: SocketAddr, is_seed: bool, until: u8) -> Row4 {
        let member = Foreigner {
            addr,
            is_seed,
            is_upload_only: false,
        };
        match addr {
            SocketAddr::V4(addr) => Row4::new(addr.ip().octets(), &member, until),
            SocketAddr::V6(_) => panic!("of IPv4"),
        }
    }

    /// Rows come, change, go and run out; now and then most of them, so that an index is made and given up again.
    #[test]
    fn rows_that_come_change_and_go_are_those_of_a_map() {
        let spread = Spread::new(SPREAD);
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut table, mut map) = (Table::<Row4>::default(), BTreeMap::new());
            let span = 1 + rng.below(600);
            for step in 0..4000 {
                let low = rng.below(span) as u16;
                let net = [10, 127][rng.below(2)];
                let addr = SocketAddr::from(([net, 0, 0, (low % 7) as u8], 1 + low));
                let new = row(addr, rng.below(3) == 0, rng.below(100) as u8);
                let found = table.find(new.key(), new.ip(), spread);
                assert_eq!(found.is_some(), map.contains_key(&new.key()), "seed {seed}");
                match (found, rng.below(3)) {
                    (None, _) => table.insert(new, spread),
                    (Some(place), 0) => table.remove(place, spread),
                    (Some(place), _) => table.replace(place, new, spread),
                }
                let is_there = table
                    .find(new.key(), new.ip(), spread)
                    .map(|at| table.at(at));
                map.remove(&new.key());
                map.extend(is_there.map(|row| (row.key(), row)));
                if step % 500 == 499 {
                    let now = rng.below(100) as u8;
                    table.expire(now, spread);
                    map.retain(|_, row| row.until() > now);
                }
                if step % 100 == 0 {
                    table.check(spread);
                    let count = map.values().filter(|row| row.ip() == new.ip()).count();
                    assert_eq!(table.count_of(new.ip(), spread), count, "seed {seed}");
                    let mut rows: Vec<_> = table.rows().collect();
                    rows.sort_by_key(|row| row.key());
                    assert!(rows.iter().eq(map.values()), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_walk_sees_every_row_of_its_range_once() {
        let spread = Spread::new(SPREAD);
        let mut table = Table::<Row4>::default();
        for port in 1..=100 {
            table.insert(row(([10, 0, 0, 1], port).into(), false, 0), spread);
        }
        for (from, to) in [(0, 100), (0, 0), (14, 15), (15, 31), (99, 100), (7, 93)] {
            let mut seen = Vec::new();
            table.each(from, to, |row| {
                seen.push(row);
                true
            });
            assert!(
                seen.iter()
                    .copied()
                    .eq(table.rows().skip(from).take(to - from))
            );
        }
        let mut left = 20;
        table.each(3, 90, |_| {
            left -= 1;
            left > 0
        });
        assert_eq!(left, 0);
    }
}
