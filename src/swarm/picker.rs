//! Which piece to ask for next: the wanted pieces, ordered by how many peers hold them.
//!
//! One array holds the wanted pieces by rising rank, with the start of each run of equal rank beside it (libtorrent's
//! piece picker). The rank of a piece is its availability, which is how many neighbours hold it, and what copies weigh that
//! are elsewhere, as far as anybody told. A `have` moves one piece across one boundary by a swap. Peers that hold
//! everything are not counted piece by piece: they raise every piece alike, so they never change the order.

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
/// Invariants: `order[position[p]] == p` for each wanted piece; ranks rise along `order`; `bucket_start[r]` is the first
/// place in `order` whose rank is at least `r`.
#[derive(Debug)]
pub struct Picker {
    availability: Vec<u16>,
    /// What copies weigh that others hold than our neighbours; empty while nothing is known of them.
    elsewhere: Vec<u8>,
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
            elsewhere: Vec::new(),
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

    /// The least availability of a wanted piece.
    pub fn rarest(&self) -> Option<u16> {
        let availability = |&piece: &u32| self.availability(piece);
        if self.elsewhere.is_empty() {
            return self.order.first().map(availability);
        }
        self.order.iter().map(availability).min()
    }

    /// What orders the pieces: how many neighbours hold `piece`, and what copies elsewhere weigh.
    pub fn rank(&self, piece: u32) -> usize {
        let elsewhere = self.elsewhere.get(piece as usize).copied().unwrap_or(0);
        usize::from(self.availability(piece)) + usize::from(elsewhere)
    }

    /// One more neighbour holds `piece`.
    pub fn increase(&mut self, piece: u32) {
        let bucket = self.rank(piece);
        self.availability[piece as usize] += 1;
        self.move_up(piece, bucket);
    }

    /// One neighbour fewer holds `piece`.
    pub fn decrease(&mut self, piece: u32) {
        assert!(
            self.availability(piece) > 0,
            "piece {piece} was counted less often than it was held"
        );
        let bucket = self.rank(piece);
        self.availability[piece as usize] -= 1;
        self.move_down(piece, bucket);
    }

    /// The copies of `piece` that others hold than our neighbours weigh so much. It moves across as many boundaries as that
    /// has changed by.
    pub fn set_elsewhere(&mut self, piece: u32, weight: u8) {
        if self.elsewhere.is_empty() {
            self.elsewhere.resize(self.availability.len(), 0);
        }
        while self.elsewhere[piece as usize] < weight {
            let bucket = self.rank(piece);
            self.elsewhere[piece as usize] += 1;
            self.move_up(piece, bucket);
        }
        while self.elsewhere[piece as usize] > weight {
            let bucket = self.rank(piece);
            self.elsewhere[piece as usize] -= 1;
            self.move_down(piece, bucket);
        }
    }

    /// The same of every piece at once: as much work as there are pieces, however much has changed.
    ///
    /// `weight` is told each piece and its availability.
    pub fn set_all_elsewhere(&mut self, weight: impl Fn(u32, u16) -> u8) {
        let pieces = (0..).zip(&self.availability);
        let weights = pieces.map(|(piece, &availability)| weight(piece, availability));
        self.elsewhere.clear();
        self.elsewhere.extend(weights);
        self.sort();
    }

    /// Nothing is known any more of what others hold.
    pub fn forget_elsewhere(&mut self) {
        if !self.elsewhere.is_empty() {
            self.elsewhere.clear();
            self.sort();
        }
    }

    /// `piece` is no longer wanted.
    pub fn remove(&mut self, piece: u32) {
        assert!(self.is_wanted(piece), "piece {piece} is not wanted");
        for bucket in self.rank(piece) + 1..self.bucket_start.len() {
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
        let rank = self.rank(piece);
        self.reach(rank);
        self.position[piece as usize] = self.order.len() as u32;
        self.order.push(piece);
        self.wanted.set(piece);
        for bucket in (rank + 1..self.bucket_start.len()).rev() {
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

    /// The rank of `piece` has become one more than `bucket`.
    fn move_up(&mut self, piece: u32, bucket: usize) {
        self.reach(bucket + 1);
        if self.is_wanted(piece) {
            let last = self.bucket_start[bucket + 1] - 1;
            self.swap(self.position[piece as usize], last);
            self.bucket_start[bucket + 1] = last;
        }
    }

    /// The rank of `piece` has become one less than `bucket`.
    fn move_down(&mut self, piece: u32, bucket: usize) {
        if self.is_wanted(piece) {
            let first = self.bucket_start[bucket];
            self.swap(self.position[piece as usize], first);
            self.bucket_start[bucket] = first + 1;
        }
    }

    /// Sees to it that there is a bucket for `rank`.
    fn reach(&mut self, rank: usize) {
        if self.bucket_start.len() <= rank {
            self.bucket_start.resize(rank + 1, self.order.len() as u32);
        }
    }

    /// Puts all wanted pieces into the order of their ranks, by counting.
    fn sort(&mut self) {
        self.bucket_start.clear();
        self.bucket_start.push(0);
        for at in 0..self.order.len() {
            let rank = self.rank(self.order[at]);
            if self.bucket_start.len() <= rank {
                self.bucket_start.resize(rank + 1, 0);
            }
            self.bucket_start[rank] += 1;
        }
        let mut before = 0;
        for start in &mut self.bucket_start {
            before += std::mem::replace(start, before);
        }
        for piece in 0..self.position.len() as u32 {
            if self.is_wanted(piece) {
                let rank = self.rank(piece);
                let place = self.bucket_start[rank];
                self.bucket_start[rank] += 1;
                self.order[place as usize] = piece;
                self.position[piece as usize] = place;
            }
        }
        // Each bucket's start has moved to its end, which is where the next one starts.
        self.bucket_start.rotate_right(1);
        self.bucket_start[0] = 0;
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
            let bucket = self.rank(piece);
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
    fn what_others_hold_counts_beside_what_neighbours_hold() {
        let mut rng = Rng::new(1);
        let mut picker = picker("1111");
        picker.set_all_elsewhere(|piece, _| [3, 0, 2, 9][piece as usize]);
        picker.check();
        let mut pick = |picker: &Picker, of| picker.pick(&has(of), Order::RarestFirst, &mut rng);
        assert_eq!(pick(&picker, "****"), Some(1));
        assert_eq!(pick(&picker, "*.**"), Some(2));
        picker.set_elsewhere(3, 1);
        assert_eq!(pick(&picker, "*.**"), Some(3));
        assert_eq!((picker.rank(3), picker.availability(3)), (2, 1));
        assert_eq!(picker.rarest(), Some(1), "of neighbours alone");
        picker.increase(1);
        picker.forget_elsewhere();
        assert_eq!(pick(&picker, ".*.*"), Some(3));
        picker.check();
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
            changes in proptest::collection::vec((0u8..8, 0u32..40), 0..400), seed: u64,
        ) {
            let mut picker = Picker::new(&Bitfield::none(40));
            let mut held = [0u16; 40];
            let mut elsewhere = [0u8; 40];
            let mut wanted = [true; 40];
            let mut rng = Rng::new(seed);
            for (change, piece) in changes {
                let at = piece as usize;
                match change {
                    0 | 1 => { picker.increase(piece); held[at] += 1; }
                    2 if held[at] > 0 => { picker.decrease(piece); held[at] -= 1; }
                    3 if wanted[at] => { picker.remove(piece); wanted[at] = false; }
                    4 if !wanted[at] => { picker.insert(piece); wanted[at] = true; }
                    5 => {
                        elsewhere[at] = rng.below(9) as u8;
                        picker.set_elsewhere(piece, elsewhere[at]);
                    }
                    6 if at < 8 => {
                        elsewhere = std::array::from_fn(|_| rng.below(20) as u8);
                        picker.set_all_elsewhere(|p, _| elsewhere[p as usize]);
                    }
                    7 if at < 4 => { picker.forget_elsewhere(); elsewhere = [0; 40]; }
                    _ => {}
                }
                picker.check();
                let least = |rank: &dyn Fn(usize) -> u16| {
                    (0..40).filter(|&p| wanted[p]).map(rank).min()
                };
                prop_assert_eq!(picker.rarest(), least(&|p| held[p]));
                let rank = |p: usize| held[p] + u16::from(elsewhere[p]);
                let picked = picker.pick(&Bitfield::all(40), Order::RarestFirst, &mut rng);
                prop_assert_eq!(picked.map(|p| rank(p as usize)), least(&rank));
            }
        }
    }
}
