//! The swarms of foreign members, found by the hash of their content.
//!
//! Owns one entry for each content that is registered or has foreign members, and the index in which it is found. A
//! content of one member takes 64 bytes here and 10 to 15 in the index. Entries stay where they are until they are
//! removed, so that a sweep can go on where it stopped.
//!
//! What an announce needs lies in three places far apart, each found through the one before. So contents are foreseen by
//! the batch, one step for all of them before the next: the processor then waits for their memory together.
//!
//! Invariants (`check`): the index names the place of every used entry once, where a search for its hash comes by; no
//! other place is named; `free` names exactly the unused places.

use std::hint::black_box;

use super::completions::Serial;
use super::foreign::Foreigners;
use super::rows::Spread;
use crate::base::InfoHash;

/// Slots of the index for each 2 entries when it is made, and for each 4 at least.
const SLOTS_FOR_2: usize = 3;
const SLOTS_FOR_4_MIN: usize = 5;
const SLOTS_MIN: usize = 16;

/// Places that foreseen contents are noted in; of two that meet, one is looked for once more.
const HINTS: usize = 256;

/// One content, on one line of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Swarm {
    pub(super) members: Foreigners,
    hash: InfoHash,
    /// The serial of its registration, or 0, or [`UNUSED`].
    serial: Serial,
}

/// Stands in a place that no content has.
const UNUSED: Serial = Serial::MAX;

const _: () = assert!(size_of::<Swarm>() == 64);

impl Swarm {
    fn new(hash: InfoHash) -> Self {
        Self {
            members: Foreigners::default(),
            hash,
            serial: 0,
        }
    }

    fn is_used(&self) -> bool {
        self.serial != UNUSED
    }

    /// Its hash.
    pub(super) fn hash(&self) -> InfoHash {
        self.hash
    }

    /// Its serial, if it is registered.
    pub(super) fn serial(&self) -> Option<Serial> {
        (self.serial != 0).then_some(self.serial)
    }
}

/// A slot of the index: half of the entry's hash, and one more than its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    tag: u32,
    name: u32,
}

/// A content that is announced soon: the slot at which a search for it begins, then what it found there.
#[derive(Clone, Copy, Debug)]
struct Foreseen {
    hint: u8,
    home: u32,
    found: Slot,
}

/// All contents with foreign members.
#[derive(Debug)]
pub(super) struct Swarms {
    spread: Spread,
    entries: Vec<Swarm>,
    free: Vec<u32>,
    index: Box<[Slot]>,
    /// The batch that was foreseen last; kept for its memory.
    foreseen: Vec<Foreseen>,
    /// Names of foreseen contents, by their last byte. To be believed only if the content is there.
    hints: [u32; HINTS],
}

impl Swarms {
    /// None yet; `key` decides where they lie.
    pub(super) fn new(key: (u64, u64)) -> Self {
        Self {
            spread: Spread::new(key),
            entries: Vec::new(),
            free: Vec::new(),
            index: Box::default(),
            foreseen: Vec::new(),
            hints: [0; HINTS],
        }
    }

    /// How the rows of members are spread as well.
    pub(super) fn spread(&self) -> Spread {
        self.spread
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Places that a sweep goes over.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The content at a place, which must have one.
    pub(super) fn at(&self, place: usize) -> &Swarm {
        &self.entries[place]
    }

    /// The content at a place, which must have one.
    pub(super) fn at_mut(&mut self, place: usize) -> &mut Swarm {
        &mut self.entries[place]
    }

    /// The content at a place, if there is one.
    pub(super) fn used_mut(&mut self, place: usize) -> Option<&mut Swarm> {
        let swarm = self.entries.get_mut(place)?;
        swarm.is_used().then_some(swarm)
    }

    /// All of them, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Swarm> {
        self.entries.iter().filter(|swarm| swarm.is_used())
    }

    /// The place of a content.
    pub(super) fn place(&self, hash: InfoHash) -> Option<usize> {
        let hinted = self.hints[usize::from(hint_of(hash))];
        match self.named(hinted) {
            Some(swarm) if swarm.hash == hash && swarm.is_used() => Some(hinted as usize - 1),
            _ => self.find(hash).map(|(_, place)| place),
        }
    }

    /// Looks at the memory that announces of these contents will need, and notes where they lie.
    pub(super) fn foresee(&mut self, hashes: impl Iterator<Item = InfoHash>) {
        if self.index.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.foreseen);
        batch.clear();
        batch.extend(hashes.map(|hash| {
            let tag = self.spread.of(&hash.0);
            Foreseen {
                hint: hint_of(hash),
                home: self.home(tag) as u32,
                found: Slot { tag, name: 0 },
            }
        }));
        for one in &batch {
            black_box(self.index[one.home as usize].tag);
        }
        for one in &mut batch {
            one.found.name = self.name_of(one.home as usize, one.found.tag);
            self.hints[usize::from(one.hint)] = one.found.name;
        }
        for one in &batch {
            black_box(self.named(one.found.name).map(|swarm| swarm.serial));
        }
        for one in &batch {
            black_box(
                self.named(one.found.name)
                    .map(|swarm| swarm.members.glance()),
            );
        }
        self.foreseen = batch;
    }

    /// The entry that a name in the index means.
    fn named(&self, name: u32) -> Option<&Swarm> {
        self.entries.get((name as usize).checked_sub(1)?)
    }

    /// The first name with this tag from a slot on, which is most likely the right one; 0 without any.
    fn name_of(&self, mut slot: usize, tag: u32) -> u32 {
        loop {
            let named = self.index[slot];
            if named.tag == tag || named.name == 0 {
                return named.name;
            }
            slot = self.after(slot);
        }
    }

    /// The content of this hash.
    pub(super) fn get(&self, hash: InfoHash) -> Option<&Swarm> {
        self.place(hash).map(|place| self.at(place))
    }

    /// The content of this hash is registered; whether it was known before.
    pub(super) fn register(&mut self, hash: InfoHash, serial: Serial) -> bool {
        let known = self.place(hash);
        let place = known.unwrap_or_else(|| self.add(hash));
        self.entries[place].serial = serial;
        known.is_some()
    }

    /// Forgets a content.
    pub(super) fn remove(&mut self, hash: InfoHash) -> Option<Swarm> {
        let (slot, place) = self.find(hash)?;
        self.close_gap(slot);
        self.free.push(place as u32);
        let unused = Swarm {
            serial: UNUSED,
            ..Swarm::new(hash)
        };
        let swarm = std::mem::replace(&mut self.entries[place], unused);
        if self.len() == 0 {
            (self.entries, self.free) = (Vec::new(), Vec::new());
            self.index = Box::default();
        }
        Some(swarm)
    }

    /// Adds a content, which must be new; its place.
    pub(super) fn add(&mut self, hash: InfoHash) -> usize {
        let len = self.len() + 1;
        if len * SLOTS_FOR_4_MIN > self.index.len() * 4 {
            self.rebuild(SLOTS_MIN.max(len * SLOTS_FOR_2 / 2));
        }
        let swarm = Swarm::new(hash);
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = swarm;
                place as usize
            }
            None => {
                self.entries.push(swarm);
                self.entries.len() - 1
            }
        };
        let name = u32::try_from(place + 1).expect("there are fewer contents than that");
        let tag = self.spread.of(&hash.0);
        self.enlist(Slot { tag, name });
        place
    }

    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.index.len() as u64) >> 32) as usize
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.index.len() {
            0
        } else {
            slot + 1
        }
    }

    /// The slot and the place of a hash.
    fn find(&self, hash: InfoHash) -> Option<(usize, usize)> {
        if self.index.is_empty() {
            return None;
        }
        let tag = self.spread.of(&hash.0);
        let mut slot = self.home(tag);
        loop {
            let named = self.index[slot];
            let place = (named.name as usize).checked_sub(1)?;
            if named.tag == tag && self.entries[place].hash == hash {
                return Some((slot, place));
            }
            slot = self.after(slot);
        }
    }

    fn enlist(&mut self, named: Slot) {
        let mut slot = self.home(named.tag);
        while self.index[slot].name != 0 {
            slot = self.after(slot);
        }
        self.index[slot] = named;
    }

    /// Makes the index anew. The old one goes first, so that its memory is there for the new one.
    fn rebuild(&mut self, slots: usize) {
        self.index = Box::default();
        self.index = vec![Slot::default(); slots].into();
        for place in 0..self.entries.len() {
            let entry = &self.entries[place];
            if entry.is_used() {
                let (tag, name) = (self.spread.of(&entry.hash.0), place as u32 + 1);
                self.enlist(Slot { tag, name });
            }
        }
    }

    /// Empties a slot, and moves up those that lie behind it because of it.
    fn close_gap(&mut self, mut gap: usize) {
        let slots = self.index.len();
        let mut slot = gap;
        loop {
            slot = self.after(slot);
            let named = self.index[slot];
            if named.name == 0 {
                break;
            }
            let home = self.home(named.tag);
            let from = |start: usize| (slot + slots - start) % slots;
            if from(home) >= from(gap) {
                self.index[gap] = named;
                gap = slot;
            }
        }
        self.index[gap] = Slot::default();
    }

    /// Asserts the invariants of the index.
    pub(super) fn check(&self) {
        for (place, swarm) in self.entries.iter().enumerate() {
            if swarm.is_used() {
                let found = self.find(swarm.hash).map(|(_, place)| place);
                assert_eq!(found, Some(place));
            } else {
                assert!(self.free.contains(&(place as u32)));
            }
        }
        let named = self.index.iter().filter(|slot| slot.name != 0).count();
        assert_eq!(named, self.len());
        assert!(self.index.is_empty() || self.index.len() > named);
    }
}

fn hint_of(hash: InfoHash) -> u8 {
    hash.0[19]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Rng;

    #[test]
    fn contents_that_come_and_go_are_those_of_a_map() {
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let (mut swarms, mut map) = (Swarms::new((seed, 2)), BTreeMap::new());
            let span = 1 + rng.below(300);
            for step in 0..2000 {
                let mut hash = InfoHash([0; 20]);
                hash.0[..2].copy_from_slice(&(rng.below(span) as u16).to_be_bytes());
                match rng.below(5) {
                    0 => {
                        let serial = 1 + rng.below(100) as u32;
                        let is_known = swarms.register(hash, serial);
                        assert_eq!(is_known, map.insert(hash, Some(serial)).is_some());
                    }
                    1 => {
                        if swarms.place(hash).is_none() {
                            swarms.add(hash);
                        }
                        map.entry(hash).or_insert(None);
                    }
                    3 => {
                        let removed = swarms.remove(hash).map(|swarm| swarm.serial());
                        assert_eq!(removed, map.remove(&hash), "seed {seed}");
                    }
                    2 => swarms.foresee([hash, InfoHash([7; 20])].into_iter()),
                    _ => {
                        let found = swarms.get(hash).map(Swarm::serial);
                        assert_eq!(found, map.get(&hash).copied(), "seed {seed}");
                    }
                }
                assert_eq!(swarms.len(), map.len());
                if step % 100 == 0 {
                    swarms.check();
                    let mut all: Vec<_> = swarms.iter().map(Swarm::hash).collect();
                    all.sort();
                    assert!(all.iter().eq(map.keys()), "seed {seed}");
                }
            }
        }
    }
}
