//! The index of one table: slots that name places of rows.
//!
//! There are more slots than rows, so that a slot takes one byte while there are few, and two after that. Knows nothing of rows: who searches
//! says where to begin, and goes on slot by slot.

/// Names are one more than the place, and 0 is nothing.
const NARROW_MAX: usize = u8::MAX as usize;
const WIDE_MAX: usize = u16::MAX as usize;

/// The slots, none at first.
#[derive(Debug, Default)]
pub(super) struct Places {
    bytes: Box<[u8]>,
    is_wide: bool,
}

impl Places {
    /// So many slots, all empty; for fewer rows than that.
    pub(super) fn new(slots: usize) -> Self {
        let is_wide = slots > NARROW_MAX;
        let bytes = if is_wide { 2 * slots } else { slots };
        Self {
            bytes: vec![0; bytes].into(),
            is_wide,
        }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        if self.is_wide {
            self.bytes.len() / 2
        } else {
            self.bytes.len()
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The slot at which a search for this hash begins.
    pub(super) fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.len() as u64) >> 32) as usize
    }

    /// The slot after a slot, the first after the last.
    pub(super) fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.len() { 0 } else { slot + 1 }
    }

    /// The place that a slot names.
    pub(super) fn at(&self, slot: usize) -> Option<usize> {
        let name = if self.is_wide {
            usize::from(u16::from_be_bytes([
                self.bytes[2 * slot],
                self.bytes[2 * slot + 1],
            ]))
        } else {
            usize::from(self.bytes[slot])
        };
        name.checked_sub(1)
    }

    /// Lets a slot name a place.
    pub(super) fn set(&mut self, slot: usize, place: usize) {
        self.put(slot, place + 1);
    }

    /// Lets a slot name nothing.
    pub(super) fn clear(&mut self, slot: usize) {
        self.put(slot, 0);
    }

    /// Names a place in the first empty slot from `home` on; there must be one.
    pub(super) fn add(&mut self, home: usize, place: usize) {
        let mut slot = home;
        while self.at(slot).is_some() {
            slot = self.after(slot);
        }
        self.set(slot, place);
    }

    fn put(&mut self, slot: usize, name: usize) {
        if self.is_wide {
            assert!(
                name <= WIDE_MAX,
                "a content has at most 65,535 foreign members"
            );
            let bytes = (name as u16).to_be_bytes();
            self.bytes[2 * slot..2 * slot + 2].copy_from_slice(&bytes);
        } else {
            assert!(name <= NARROW_MAX, "there are more slots than rows");
            self.bytes[slot] = name as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_either_width_name_places() {
        for (slots, last) in [(3, 2), (255, 253), (256, 254), (90_000, 65_534)] {
            let mut places = Places::new(slots);
            assert_eq!((places.len(), places.at(0)), (slots, None));
            assert_eq!((places.after(0), places.after(slots - 1)), (1, 0));
            assert_eq!((places.home(0), places.home(u32::MAX)), (0, slots - 1));
            places.add(slots - 1, last);
            places.add(slots - 1, 0);
            assert_eq!((places.at(slots - 1), places.at(0)), (Some(last), Some(0)));
            places.clear(0);
            assert_eq!(places.at(0), None);
        }
    }
}
