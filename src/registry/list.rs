//! The members of IPv4 of one content, in the form that their number asks for.
//!
//! One or two lie in place, which is all that most contents ever have. Up to some hundred lie in one piece of memory, which
//! is looked at from one end: that reads memory in order, and whom to name is then at hand. More are in a [`Table`].
//!
//! Invariants (`check`): seeds come first; no key stands twice; in one piece the first word is the number of seeds.

use super::rows::{Row, Row4, Spread, is_over};
use super::table::Table;

/// Members that lie in place.
const IN_PLACE: usize = 2;
/// Members up to which they lie in one piece; a table that has fewer than the other number is made one again.
const IN_ONE_PIECE_MAX: usize = 192;
const IN_TABLE_MIN: usize = 128;
/// Rows that are compared before it is asked whether one of them was it.
const COMPARED_AT_ONCE: usize = 8;

/// Members of IPv4.
#[derive(Debug)]
pub(super) enum List {
    Few([Row4; IN_PLACE]),
    /// Behind a word that is no row.
    Many(Vec<Row4>),
    Indexed(Box<Table<Row4>>),
}

impl Default for List {
    fn default() -> Self {
        Self::Few([Row4::default(); IN_PLACE])
    }
}

const _: () = assert!(size_of::<List>() == 24);

impl List {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(rows) => rows.iter().filter(|row| !row.is_empty()).count(),
            Self::Many(rows) => rows.len() - 1,
            Self::Indexed(table) => table.len(),
        }
    }

    /// How many of them, from the first, are seeds.
    pub(super) fn seeds(&self) -> usize {
        match self {
            Self::Few(rows) => rows.iter().filter(|row| row.flags().is_seed()).count(),
            Self::Many(rows) => rows[0].number(),
            Self::Indexed(table) => table.seeds(),
        }
    }

    /// The place of an address and a port.
    pub(super) fn find(&self, key: u64, ip: [u8; 4], spread: Spread) -> Option<usize> {
        match self {
            Self::Few(rows) => rows.iter().position(|row| row.key() == key),
            Self::Many(rows) => place_of(key, &rows[1..]),
            Self::Indexed(table) => table.find(key, ip, spread),
        }
    }

    /// The row at a place below `len`.
    pub(super) fn at(&self, place: usize) -> Row4 {
        match self {
            Self::Few(rows) => rows[place],
            Self::Many(rows) => rows[place + 1],
            Self::Indexed(table) => table.at(place),
        }
    }

    /// How many have this address.
    pub(super) fn count_of(&self, ip: [u8; 4], spread: Spread) -> usize {
        match self {
            Self::Indexed(table) => table.count_of(ip, spread),
            list => list.rows().filter(|row| row.ip() == ip).count(),
        }
    }

    /// All of them, in the order of their places.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row4> {
        let (rows, table) = match self {
            Self::Few(rows) => (&rows[..self.len()], None),
            Self::Many(rows) => (&rows[1..], None),
            Self::Indexed(table) => (&[][..], Some(table)),
        };
        let in_table = table.into_iter().flat_map(|table| table.rows());
        rows.iter().copied().chain(in_table)
    }

    /// Calls `look` with the rows of a range of places, until it says `false`.
    #[inline]
    pub(super) fn each(&self, from: usize, to: usize, mut look: impl FnMut(Row4) -> bool) {
        match self {
            Self::Few(rows) => {
                rows[from..to].iter().all(|&row| look(row));
            }
            Self::Many(rows) => {
                rows[from + 1..to + 1].iter().all(|&row| look(row));
            }
            Self::Indexed(table) => table.each(from, to, look),
        }
    }

    /// Adds a row, whose key must be new.
    pub(super) fn insert(&mut self, row: Row4, spread: Spread) {
        match self {
            Self::Few(rows) if rows[IN_PLACE - 1].is_empty() => {
                rows[IN_PLACE - 1] = row;
                rows.sort_unstable_by_key(|row| (row.is_empty(), !row.flags().is_seed()));
            }
            Self::Few(_) => {
                self.take_one_piece();
                self.insert(row, spread);
            }
            Self::Many(rows) if rows.len() <= IN_ONE_PIECE_MAX => insert(rows, row),
            Self::Many(rows) => {
                let mut table = Box::<Table<Row4>>::default();
                rows[1..].iter().for_each(|&row| table.insert(row, spread));
                table.insert(row, spread);
                *self = Self::Indexed(table);
            }
            Self::Indexed(table) => table.insert(row, spread),
        }
    }

    /// Replaces the row at a place by one of the same key.
    pub(super) fn replace(&mut self, place: usize, row: Row4, spread: Spread) {
        match self {
            Self::Few(rows) => {
                rows[place] = row;
                rows.sort_unstable_by_key(|row| (row.is_empty(), !row.flags().is_seed()));
            }
            Self::Many(rows) => replace(rows, place, row),
            Self::Indexed(table) => table.replace(place, row, spread),
        }
    }

    /// Removes the row at a place; others take it.
    pub(super) fn remove(&mut self, place: usize, spread: Spread) {
        match self {
            Self::Few(rows) => {
                rows[place..].rotate_left(1);
                rows[IN_PLACE - 1] = Row4::default();
            }
            Self::Many(rows) => remove(rows, place),
            Self::Indexed(table) => table.remove(place, spread),
        }
        self.settle();
    }

    /// Removes rows whose time is over at the tick `now`.
    pub(super) fn expire(&mut self, now: u8, spread: Spread) {
        if let Self::Indexed(table) = self {
            table.expire(now, spread);
            return self.settle();
        }
        // What takes the place of a removed row was looked at before.
        for place in (0..self.len()).rev() {
            if is_over(self.at(place).until(), now) {
                self.remove(place, spread);
            }
        }
    }

    /// Goes over to a smaller form where that is due.
    fn settle(&mut self) {
        match self {
            Self::Many(rows) if rows.len() <= IN_PLACE => {
                let mut in_place = [Row4::default(); IN_PLACE];
                let places = in_place.iter_mut().zip(&rows[1..]);
                places.for_each(|(place, row)| *place = *row);
                *self = Self::Few(in_place);
            }
            Self::Many(rows) if rows.capacity() > 2 * rows.len() + 8 => rows.shrink_to_fit(),
            Self::Indexed(table) if table.len() < IN_TABLE_MIN => self.take_one_piece(),
            _ => {}
        }
    }

    /// Puts all rows into one piece.
    fn take_one_piece(&mut self) {
        let mut rows = Vec::with_capacity(self.len() + 2);
        rows.push(Row4::of_number(self.seeds()));
        rows.extend(self.rows());
        *self = Self::Many(rows);
    }

    /// Asserts the invariants.
    pub(super) fn check(&self, spread: Spread) {
        if let Self::Indexed(table) = self {
            return table.check(spread);
        }
        for (place, row) in self.rows().enumerate() {
            assert_eq!(row.flags().is_seed(), place < self.seeds());
            assert_eq!(self.find(row.key(), row.ip(), spread), Some(place));
        }
    }
}

/// The place of a key among rows.
fn place_of(key: u64, rows: &[Row4]) -> Option<usize> {
    let (chunks, _) = rows.as_chunks::<COMPARED_AT_ONCE>();
    let is_it = |row: &Row4| row.key() == key;
    let with_it =
        |chunk: &[Row4; COMPARED_AT_ONCE]| chunk.iter().fold(false, |any, row| any | is_it(row));
    let chunk = chunks.iter().position(with_it).unwrap_or(chunks.len());
    let first = chunk * COMPARED_AT_ONCE;
    rows[first..].iter().position(is_it).map(|at| first + at)
}

fn insert(rows: &mut Vec<Row4>, row: Row4) {
    if rows.len() == rows.capacity() {
        rows.reserve_exact(2 + rows.len() / 8);
    }
    let seeds = rows[0].number();
    rows.push(row);
    if row.flags().is_seed() {
        let last = rows.len() - 1;
        rows.swap(seeds + 1, last);
        rows[0] = Row4::of_number(seeds + 1);
    }
}

fn replace(rows: &mut [Row4], place: usize, row: Row4) {
    let seeds = rows[0].number();
    rows[place + 1] = row;
    match (place < seeds, row.flags().is_seed()) {
        (false, true) => {
            rows.swap(place + 1, seeds + 1);
            rows[0] = Row4::of_number(seeds + 1);
        }
        (true, false) => {
            rows.swap(place + 1, seeds);
            rows[0] = Row4::of_number(seeds - 1);
        }
        _ => {}
    }
}

fn remove(rows: &mut Vec<Row4>, place: usize) {
    let seeds = rows[0].number();
    let mut hole = place + 1;
    if place < seeds {
        rows.swap(hole, seeds);
        hole = seeds;
        rows[0] = Row4::of_number(seeds - 1);
    }
    rows.swap_remove(hole);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::super::rows::Foreigner;
    use super::*;
    use crate::base::Rng;

    fn row(port: u16, is_seed: bool, until: u8) -> Row4 {
        let member = Foreigner {
            addr: SocketAddr::from(([10, 0, 0, 1], port)),
            is_seed,
            is_upload_only: false,
        };
        Row4::new([10, 0, 0, 1], &member, until)
    }

    #[test]
    fn rows_that_come_change_and_go_are_those_of_a_map_in_every_form() {
        let spread = Spread::new((1, 2));
        let mut forms = [0; 3];
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let (mut list, mut map) = (List::default(), BTreeMap::new());
            let span = [2, 5, 60, 230, 500][seed as usize % 5];
            for step in 0..3000 {
                let new = row(
                    1 + rng.below(span) as u16,
                    rng.below(3) == 0,
                    rng.below(100) as u8,
                );
                match (list.find(new.key(), new.ip(), spread), rng.below(4)) {
                    (None, _) => list.insert(new, spread),
                    (Some(place), 0) => list.remove(place, spread),
                    (Some(place), _) => list.replace(place, new, spread),
                }
                let place = list.find(new.key(), new.ip(), spread);
                map.remove(&new.key());
                map.extend(place.map(|place| (new.key(), list.at(place))));
                if rng.below(400) == 0 {
                    let now = rng.below(100) as u8;
                    list.expire(now, spread);
                    map.retain(|_, row| row.until() > now);
                }
                forms[match list {
                    List::Few(_) => 0,
                    List::Many(_) => 1,
                    List::Indexed(_) => 2,
                }] += 1;
                assert_eq!(list.len(), map.len(), "seed {seed}");
                if step % 50 == 0 {
                    list.check(spread);
                    assert_eq!(list.count_of(new.ip(), spread), map.len());
                    let mut rows: Vec<_> = list.rows().collect();
                    rows.sort_by_key(|row| row.key());
                    assert!(rows.iter().eq(map.values()), "seed {seed}");
                    let mut walked = Vec::new();
                    let (from, to) = (list.len() / 3, list.len() - list.len() / 4);
                    list.each(from, to.max(from), |row| {
                        walked.push(row);
                        true
                    });
                    assert!(walked.into_iter().eq(list.rows().take(to).skip(from)));
                }
            }
        }
        assert!(forms.iter().all(|&count| count > 1000), "{forms:?}");
    }
}
