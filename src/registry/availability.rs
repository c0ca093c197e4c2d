//! How many members of one content hold each piece.
//!
//! Owns the counts and their minimum. Whoever holds everything is one number for all pieces, so that a seed costs O(1)
//! whatever the number of pieces; only members that hold a part are counted per piece. Knows no member by name.
//!
//! Invariants (`check`):
//! 1. `pieces_with[n]` pieces are held by exactly `n` partial members; they sum to the number of pieces.
//! 2. `least` is the smallest count of a partial piece, and `sum` is the sum of all counts.
//! 3. With no partial member the counts take no memory.

use super::subscriptions::Changes;
use crate::base::Bitfield;
use crate::wire::native::PIECE_EVERY;

/// Members of one content that may be counted, so that no count of 16 bits can overflow.
pub(super) const MEMBERS_MAX: usize = 65_534;

/// The most bytes of memory that one more member can cost a content of `piece_count` pieces: a bitmap and the counts.
pub(super) const fn heap_bytes_max(piece_count: u32) -> usize {
    Bitfield::byte_len(piece_count) + piece_count as usize * size_of::<u16>()
}

/// What one member holds, in as little memory as that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// No piece.
    None,
    /// Some pieces, but not all.
    Some(Bitfield),
    /// Every piece.
    All,
}

impl Holding {
    /// The smallest form of a set of pieces. The only set of no pieces is `All`: an empty content is complete.
    pub(super) fn new(pieces: Bitfield) -> Self {
        if pieces.is_all() {
            Self::All
        } else if pieces.is_empty() {
            Self::None
        } else {
            Self::Some(pieces)
        }
    }

    /// How many of `piece_count` pieces are held.
    pub(super) fn count(&self, piece_count: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::Some(pieces) => pieces.count(),
            Self::All => piece_count,
        }
    }

    /// Whether everything is held.
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// The counts of one content.
#[derive(Clone, Debug)]
pub(super) struct Availability {
    piece_count: u32,
    seeds: u16,
    partials: u16,
    /// Per piece, the partial members that hold it; empty while there is no partial member.
    counts: Vec<u16>,
    /// How many pieces have each count; empty while there is no partial member.
    pieces_with: Vec<u32>,
    least: u16,
    sum: u64,
    version: u32,
    /// What changed of late, if anybody wants to know.
    changes: Option<Box<Changes>>,
}

impl Availability {
    /// The counts of a content of `piece_count` pieces that nobody holds.
    pub(super) fn new(piece_count: u32) -> Self {
        Self {
            piece_count,
            seeds: 0,
            partials: 0,
            counts: Vec::new(),
            pieces_with: Vec::new(),
            least: 0,
            sum: 0,
            version: 0,
            changes: None,
        }
    }

    /// Counts what a member holds.
    pub(super) fn add(&mut self, holding: &Holding) {
        self.version = self.version.wrapping_add(1);
        match holding {
            Holding::None => {}
            Holding::All => {
                self.seeds += 1;
                self.note(PIECE_EVERY, 1);
            }
            Holding::Some(pieces) => {
                if self.partials == 0 {
                    self.counts = vec![0; self.piece_count as usize];
                    self.pieces_with = vec![self.piece_count];
                }
                self.partials += 1;
                pieces.ones().for_each(|piece| self.raise(piece));
            }
        }
    }

    /// Forgets what a member held. It must have been counted.
    pub(super) fn remove(&mut self, holding: &Holding) {
        self.version = self.version.wrapping_add(1);
        match holding {
            Holding::None => {}
            Holding::All => {
                self.seeds -= 1;
                self.note(PIECE_EVERY, -1);
            }
            Holding::Some(pieces) => {
                pieces.ones().for_each(|piece| self.lower(piece));
                self.partials -= 1;
                if self.partials == 0 {
                    debug_assert_eq!(self.sum, 0);
                    (self.counts, self.pieces_with) = (Vec::new(), Vec::new());
                }
            }
        }
    }

    /// Counts one more piece of a partial member that stays partial.
    pub(super) fn gain(&mut self, piece: u32) {
        self.version = self.version.wrapping_add(1);
        self.raise(piece);
    }

    /// Counts one piece less of a partial member that stays partial.
    pub(super) fn lose(&mut self, piece: u32) {
        self.version = self.version.wrapping_add(1);
        self.lower(piece);
    }

    fn note(&mut self, piece: u32, delta: i16) {
        if let Some(changes) = &mut self.changes {
            changes.note(self.version, piece, delta);
        }
    }

    fn raise(&mut self, piece: u32) {
        self.note(piece, 1);
        let count = &mut self.counts[piece as usize];
        let old = usize::from(*count);
        *count += 1;
        self.sum += 1;
        self.pieces_with[old] -= 1;
        if self.pieces_with.len() == old + 1 {
            self.pieces_with.push(0);
        }
        self.pieces_with[old + 1] += 1;
        if self.least as usize == old && self.pieces_with[old] == 0 {
            self.least += 1;
        }
    }

    fn lower(&mut self, piece: u32) {
        self.note(piece, -1);
        let count = &mut self.counts[piece as usize];
        let old = usize::from(*count);
        *count -= 1;
        self.sum -= 1;
        self.pieces_with[old] -= 1;
        self.pieces_with[old - 1] += 1;
        self.least = self.least.min(old as u16 - 1);
    }

    /// How many members hold `piece`, which must be a piece of the content.
    pub(super) fn count(&self, piece: u32) -> u16 {
        debug_assert!(piece < self.piece_count);
        let partial = self.counts.get(piece as usize).copied().unwrap_or(0);
        self.seeds.saturating_add(partial)
    }

    /// How many members hold the rarest piece; of an empty content, how many members are complete.
    pub(super) fn least(&self) -> u32 {
        u32::from(self.seeds) + u32::from(self.least)
    }

    /// How many members hold a piece on average, in 1/256.
    pub(super) fn mean_x256(&self) -> u32 {
        let partial = match self.piece_count {
            0 => 0,
            pieces => self.sum * 256 / u64::from(pieces),
        };
        (u64::from(self.seeds) * 256 + partial) as u32
    }

    /// Something that is told together with the counts has changed.
    pub(super) fn touch(&mut self) {
        self.version = self.version.wrapping_add(1);
        if let Some(changes) = &mut self.changes {
            changes.lose(self.version);
        }
    }

    /// Changes with every count.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// From now on changes are noted, or no longer.
    pub(super) fn watch(&mut self, is_watched: bool) {
        if !is_watched {
            self.changes = None;
        } else if self.changes.is_none() {
            self.changes = Some(Box::new(Changes::new(self.version)));
        }
    }

    /// What changed of late, if that is noted.
    pub(super) fn changes(&self) -> Option<&Changes> {
        self.changes.as_deref()
    }

    /// Bytes of memory of the counts, and of the bitmaps that are counted in them.
    pub(super) fn heap_bytes(&self) -> usize {
        let bitmap_bytes = Bitfield::byte_len(self.piece_count);
        self.counts.len() * size_of::<u16>() + usize::from(self.partials) * bitmap_bytes
    }

    /// Asserts the invariants against what the members hold.
    pub(super) fn check(&self, holdings: impl Iterator<Item = impl std::borrow::Borrow<Holding>>) {
        let mut naive = vec![0u16; self.piece_count as usize];
        let (mut seeds, mut partials) = (0, 0);
        for holding in holdings {
            match holding.borrow() {
                Holding::None => {}
                Holding::All => seeds += 1,
                Holding::Some(pieces) => {
                    assert!(!pieces.is_all() && !pieces.is_empty());
                    partials += 1;
                    pieces.ones().for_each(|piece| naive[piece as usize] += 1);
                }
            }
        }
        assert_eq!((self.seeds, self.partials), (seeds, partials));
        assert_eq!(self.sum, naive.iter().map(|&n| u64::from(n)).sum::<u64>());
        assert_eq!(self.least, naive.iter().min().copied().unwrap_or(0));
        if partials == 0 {
            assert!(self.counts.is_empty() && self.pieces_with.is_empty());
            return;
        }
        assert_eq!(self.counts, naive);
        for (count, &pieces) in self.pieces_with.iter().enumerate() {
            let naive_pieces = naive.iter().filter(|&&n| usize::from(n) == count).count();
            assert_eq!(pieces as usize, naive_pieces, "pieces with {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn random_holding(rng: &mut Rng, piece_count: u32) -> Holding {
        let mut pieces = Bitfield::none(piece_count);
        let density = rng.below(5);
        for piece in 0..piece_count {
            if rng.below(4) < density {
                pieces.set(piece);
            }
        }
        Holding::new(pieces)
    }

    #[test]
    fn counts_follow_members_that_come_change_and_go() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let piece_count = rng.below(40) as u32;
            let mut availability = Availability::new(piece_count);
            let mut members: Vec<Holding> = Vec::new();
            for _ in 0..60 {
                match rng.below(3) {
                    0 => {
                        members.push(random_holding(&mut rng, piece_count));
                        availability.add(members.last().expect("just pushed"));
                    }
                    1 if !members.is_empty() => {
                        let gone = members.swap_remove(rng.below(members.len()));
                        availability.remove(&gone);
                    }
                    _ => change_one(&mut rng, &mut members, &mut availability),
                }
                availability.check(members.iter());
            }
            members
                .iter()
                .for_each(|holding| availability.remove(holding));
            assert_eq!(availability.heap_bytes(), 0, "seed {seed}");
        }
    }

    /// Toggles one piece of a partial member, unless that would make it hold all or nothing.
    fn change_one(rng: &mut Rng, members: &mut [Holding], availability: &mut Availability) {
        for member in members {
            let Holding::Some(pieces) = member else {
                continue;
            };
            let piece = rng.below(pieces.len() as usize) as u32;
            if pieces.get(piece) && pieces.count() > 1 {
                pieces.clear(piece);
                availability.lose(piece);
            } else if !pieces.get(piece) && pieces.count() + 1 < pieces.len() {
                pieces.set(piece);
                availability.gain(piece);
            }
        }
    }

    #[test]
    fn a_seed_is_one_number() {
        let mut availability = Availability::new(131_072);
        (0..1000).for_each(|_| availability.add(&Holding::All));
        assert_eq!(availability.heap_bytes(), 0);
        assert_eq!(
            (availability.least(), availability.count(131_071)),
            (1000, 1000)
        );
        assert_eq!(availability.mean_x256(), 256_000);
    }

    #[test]
    fn an_empty_content_is_held_by_whoever_joined() {
        let mut availability = Availability::new(0);
        let holding = Holding::new(Bitfield::none(0));
        availability.add(&holding);
        assert!(holding.is_all());
        assert_eq!((availability.least(), availability.mean_x256()), (1, 256));
    }
}
