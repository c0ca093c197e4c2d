//! Which piece to ask for next: the wanted pieces, ordered by how many peers hold them.
//!
//! One array holds the wanted pieces by rising availability, with the start of each run of equal availability
//! beside it (libtorrent's piece picker). A `have` moves one piece across one boundary by a swap. Peers that
//! hold everything are not counted piece by piece: they raise every piece alike, so they never change the order.

use std::ops::Range;

use crate::base::{Bitfield, Rng};

/// How pieces are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The piece that the fewest neighbours hold; random among equals.
    #[default]
    RarestFirst,
    /// Any piece.
    Random,
    /// For a reader who begins at the front: a short window in order, for the rest as with the rarest first.
    Sequential,
}

const ABSENT: u32 = u32::MAX;

/// The wanted pieces of one content.
///
/// Invariants: `order[position[p]] == p` for each wanted piece; availabilities rise along `order`;
/// `bucket_start[a]` is the first place in `order` whose availability is at least `a`.
#[derive(Debug)]
pub struct Picker {
    availability: Vec<u16>,
    order: Vec<u32>,
    position: Vec<u32>,
    bucket_start: Vec<u32>,
    /// The wanted pieces once more, to see at once whether a peer has any.
    wanted: Bitfield,
}

impl Picker {
    /// All pieces wanted, except those in `have`; nobody holds any.
    pub fn new(have: &Bitfield) -> Self {
        let mut position = vec![ABSENT; have.len() as usize];
        let order: Vec<u32> = have.zeros().collect();
        for (place, &piece) in order.iter().enumerate() {
            position[piece as usize] = place as u32;
        }
        let availability = vec![0; have.len() as usize];
        let mut wanted = Bitfield::none(have.len());
        order.iter().for_each(|&piece| {
            wanted.set(piece);
        });
        Self {
            availability,
            wanted,
            order,
            position,
            bucket_start: vec![0],
        }
    }

    /// How many neighbours hold `piece`, those that hold everything excepted.
    pub fn availability(&self, piece: u32) -> u16 {
        self.availability[piece as usize]
    }

    /// How many pieces are wanted.
    pub fn wanted_count(&self) -> usize {
        self.order.len()
    }

    /// Whether `piece` is wanted.
    pub fn is_wanted(&self, piece: u32) -> bool {
        self.position[piece as usize] != ABSENT
    }

    /// The availability of the rarest wanted piece.
    pub fn rarest(&self) -> Option<u16> {
        self.order.first().map(|&piece| self.availability(piece))
    }

    /// One more neighbour holds `piece`.
    pub fn increase(&mut self, piece: u32) {
        let bucket = self.availability(piece) as usize;
        self.availability[piece as usize] += 1;
        while self.bucket_start.len() <= bucket + 1 {
            self.bucket_start.push(self.order.len() as u32);
        }
        if self.is_wanted(piece) {
            let last = self.bucket_start[bucket + 1] - 1;
            self.swap(self.position[piece as usize], last);
            self.bucket_start[bucket + 1] = last;
        }
    }

    /// One neighbour fewer holds `piece`.
    pub fn decrease(&mut self, piece: u32) {
        let bucket = self.availability(piece) as usize;
        assert!(
            bucket > 0,
            "piece {piece} was counted less often than it was held"
        );
        self.availability[piece as usize] -= 1;
        if self.is_wanted(piece) {
            let first = self.bucket_start[bucket];
            self.swap(self.position[piece as usize], first);
            self.bucket_start[bucket] = first + 1;
        }
    }

    /// `piece` is no longer wanted.
    pub fn remove(&mut self, piece: u32) {
        assert!(self.is_wanted(piece), "piece {piece} is not wanted");
        for bucket in self.availability(piece) as usize + 1..self.bucket_start.len() {
            let last = self.bucket_start[bucket] - 1;
            self.swap(self.position[piece as usize], last);
            self.bucket_start[bucket] = last;
        }
        let last = self.order.len() as u32 - 1;
        self.swap(self.position[piece as usize], last);
        self.order.pop();
        self.wanted.clear(piece);
        self.position[piece as usize] = ABSENT;
    }

    /// `piece` is wanted again.
    pub fn insert(&mut self, piece: u32) {
        assert!(!self.is_wanted(piece), "piece {piece} is wanted already");
        self.position[piece as usize] = self.order.len() as u32;
        self.order.push(piece);
        self.wanted.set(piece);
        for bucket in (self.availability(piece) as usize + 1..self.bucket_start.len()).rev() {
            let first = self.bucket_start[bucket];
            self.swap(self.position[piece as usize], first);
            self.bucket_start[bucket] = first + 1;
        }
    }

    /// A wanted piece of `has`, by `order`; random among equals.
    pub fn pick(&self, has: &Bitfield, order: Order, rng: &mut Rng) -> Option<u32> {
        if !self.wanted.meets(has) {
            return None;
        }
        match order {
            Order::Random => self.pick_between(0, self.order.len(), has, rng),
            Order::RarestFirst | Order::Sequential => {
                (0..self.bucket_start.len()).find_map(|bucket| {
                    let start = self.bucket_start[bucket] as usize;
                    let end = self.bucket_start.get(bucket + 1);
                    self.pick_between(
                        start,
                        end.map_or(self.order.len(), |&end| end as usize),
                        has,
                        rng,
                    )
                })
            }
        }
    }

    /// The first wanted piece of `has` in a window.
    pub fn pick_first(&self, has: &Bitfield, window: Range<u32>) -> Option<u32> {
        window
            .into_iter()
            .find(|&piece| self.wanted.get(piece) && has.get(piece))
    }

    fn pick_between(&self, start: usize, end: usize, has: &Bitfield, rng: &mut Rng) -> Option<u32> {
        if start == end {
            return None;
        }
        let (before, after) = self.order[start..end].split_at(rng.below(end - start));
        after
            .iter()
            .chain(before)
            .copied()
            .find(|&piece| has.get(piece))
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.order.swap(a as usize, b as usize);
        self.position[self.order[a as usize] as usize] = a;
        self.position[self.order[b as usize] as usize] = b;
    }

    /// Asserts the invariants of the type.
    pub fn check(&self) {
        for (place, &piece) in self.order.iter().enumerate() {
            assert_eq!(
                self.position[piece as usize] as usize, place,
                "piece {piece} is elsewhere"
            );
            let bucket = self.availability(piece) as usize;
            assert!(
                self.bucket_start[bucket] as usize <= place,
                "piece {piece} is too far front"
            );
            let end = self
                .bucket_start
                .get(bucket + 1)
                .map_or(self.order.len(), |&end| end as usize);
            assert!(place < end, "piece {piece} is too far back");
        }
        let wanted = self
            .position
            .iter()
            .filter(|&&place| place != ABSENT)
            .count();
        assert_eq!(wanted, self.order.len());
        assert!(self.order.iter().all(|&piece| self.wanted.get(piece)));
        assert_eq!(self.wanted.count() as usize, wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    /// One character per piece: a digit is an availability, `-` is a piece not wanted.
    fn picker(pieces: &str) -> Picker {
        let mut have = Bitfield::none(pieces.len() as u32);
        for (piece, character) in pieces.chars().enumerate() {
            if character == '-' {
                have.set(piece as u32);
            }
        }
        let mut picker = Picker::new(&have);
        for (piece, character) in pieces.chars().enumerate() {
            for _ in 0..character.to_digit(10).unwrap_or(0) {
                picker.increase(piece as u32);
            }
        }
        picker.check();
        picker
    }

    /// `*` marks what a peer has.
    fn has(pieces: &str) -> Bitfield {
        let mut bits = Bitfield::none(pieces.len() as u32);
        pieces
            .chars()
            .enumerate()
            .filter(|&(_, c)| c == '*')
            .for_each(|(piece, _)| {
                bits.set(piece as u32);
            });
        bits
    }

    #[test]
    fn takes_the_rarest_piece_that_the_peer_has() {
        let mut rng = Rng::new(1);
        let mut pick = |pieces, of| picker(pieces).pick(&has(of), Order::RarestFirst, &mut rng);
        assert_eq!(pick("3142", "****"), Some(1));
        assert_eq!(pick("3142", "*.**"), Some(3));
        assert_eq!(pick("3-42", "****"), Some(3));
        assert_eq!(pick("3-42", ".*.."), None);
        assert_eq!(pick("----", "****"), None);
        assert_eq!(pick("", ""), None);
    }

    #[test]
    fn is_random_among_equals_and_in_random_order_among_all() {
        let mut rng = Rng::new(2);
        let mut seen = [0; 4];
        for _ in 0..400 {
            let piece = picker("2112").pick(&Bitfield::all(4), Order::RarestFirst, &mut rng);
            seen[piece.expect("some piece") as usize] += 1;
        }
        assert!(
            seen[0] == 0 && seen[3] == 0 && seen[1] > 120 && seen[2] > 120,
            "{seen:?}"
        );
        let mut seen = [0; 4];
        for _ in 0..400 {
            let piece = picker("2112").pick(&Bitfield::all(4), Order::Random, &mut rng);
            seen[piece.expect("some piece") as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }

    proptest! {
        #[test]
        fn the_first_of_a_window_is_what_a_search_from_its_front_finds(
            wanted in proptest::collection::vec(proptest::bool::ANY, 40),
            held in proptest::collection::vec(proptest::bool::ANY, 40),
            from in 0usize..40, len in 0usize..40,
        ) {
            let (mut have, mut has) = (Bitfield::none(40), Bitfield::none(40));
            for piece in 0..40 {
                if !wanted[piece] {
                    have.set(piece as u32);
                }
                if held[piece] {
                    has.set(piece as u32);
                }
            }
            let to = (from + len).min(40);
            let expected = (from..to).find(|&piece| wanted[piece] && held[piece]);
            let picked = Picker::new(&have).pick_first(&has, from as u32..to as u32);
            prop_assert_eq!(picked, expected.map(|piece| piece as u32));
        }

        #[test]
        fn keeps_its_order_under_any_sequence_of_changes(
            changes in proptest::collection::vec((0u8..5, 0u32..40), 0..400), seed: u64,
        ) {
            let mut picker = Picker::new(&Bitfield::none(40));
            let mut held = [0u16; 40];
            let mut wanted = [true; 40];
            let mut rng = Rng::new(seed);
            for (change, piece) in changes {
                let at = piece as usize;
                match change {
                    0 | 1 => { picker.increase(piece); held[at] += 1; }
                    2 if held[at] > 0 => { picker.decrease(piece); held[at] -= 1; }
                    3 if wanted[at] => { picker.remove(piece); wanted[at] = false; }
                    4 if !wanted[at] => { picker.insert(piece); wanted[at] = true; }
                    _ => {}
                }
                picker.check();
                let rarest = (0..40).filter(|&p| wanted[p]).map(|p| held[p]).min();
                prop_assert_eq!(picker.rarest(), rarest);
                let picked = picker.pick(&Bitfield::all(40), Order::RarestFirst, &mut rng);
                prop_assert_eq!(picked.map(|p| held[p as usize]), rarest);
            }
        }
    }
}
