//! One bit per piece, in the order of the BitTorrent wire (BEP 3): high bit first, spare bits zero.

/// A set of piece indices below a fixed length, which knows how many it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// The empty set of indices below `len`.
    pub fn none(len: u32) -> Self {
        Self {
            bytes: vec![0; Self::byte_len(len)].into(),
            len,
            count: 0,
        }
    }

    /// The set of all indices below `len`.
    pub fn all(len: u32) -> Self {
        let mut bytes = vec![0xff; Self::byte_len(len)];
        if let (Some(last), spare @ 1..) = (bytes.last_mut(), bytes_spare(len)) {
            *last = 0xff << spare;
        }
        Self {
            bytes: bytes.into(),
            len,
            count: len,
        }
    }

    /// The set that `bytes` spell, or `None` if their number is wrong or a spare bit is set.
    pub fn from_bytes(len: u32, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::byte_len(len) {
            return None;
        }
        let spare_mask = (1u8 << bytes_spare(len)) - 1;
        if bytes.last().is_some_and(|last| last & spare_mask != 0) {
            return None;
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Some(Self {
            bytes: bytes.into(),
            len,
            count,
        })
    }

    /// Bytes that a set of indices below `len` takes.
    pub const fn byte_len(len: u32) -> usize {
        len.div_ceil(8) as usize
    }

    /// Adds `index` and says whether it was new. `index` must be below the length.
    pub fn set(&mut self, index: u32) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        let (byte, mask) = (&mut self.bytes[index as usize / 8], 0x80 >> (index % 8));
        let new = *byte & mask == 0;
        *byte |= mask;
        self.count += u32::from(new);
        new
    }

    /// Removes `index` and says whether it was there. `index` must be below the length.
    pub fn clear(&mut self, index: u32) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        let (byte, mask) = (&mut self.bytes[index as usize / 8], 0x80 >> (index % 8));
        let there = *byte & mask != 0;
        *byte &= !mask;
        self.count -= u32::from(there);
        there
    }

    /// Adds what is in `other`. Both must have one length.
    pub fn add_all(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        for (byte, more) in self.bytes.iter_mut().zip(&other.bytes) {
            *byte |= more;
        }
        self.recount();
    }

    /// Takes out what is in `other`. Both must have one length.
    pub fn remove_all(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        for (byte, less) in self.bytes.iter_mut().zip(&other.bytes) {
            *byte &= !less;
        }
        self.recount();
    }

    fn recount(&mut self) {
        self.count = self.bytes.iter().map(|byte| byte.count_ones()).sum();
    }

    /// Whether `index` is in the set; an index beyond the length is not.
    pub fn get(&self, index: u32) -> bool {
        index < self.len && self.bytes[index as usize / 8] & (0x80 >> (index % 8)) != 0
    }

    /// How many indices are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The number of indices that could be in the set.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the set holds every index.
    pub fn is_all(&self) -> bool {
        self.count == self.len
    }

    /// The wire form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The indices in the set, ascending.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().flat_map(|(at, &byte)| {
            let mut rest = byte;
            std::iter::from_fn(move || {
                let bit = rest.leading_zeros();
                if bit == 8 {
                    return None;
                }
                rest &= !(0x80 >> bit);
                Some(at as u32 * 8 + bit)
            })
        })
    }

    /// The indices that are not in the set, ascending.
    pub fn zeros(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|&index| !self.get(index))
    }

    /// Whether some index is in `self` and not in `other`. Both must have one length.
    pub fn has_beyond(&self, other: &Self) -> bool {
        debug_assert_eq!(self.len, other.len);
        self.bytes
            .iter()
            .zip(&other.bytes)
            .any(|(mine, theirs)| mine & !theirs != 0)
    }

    /// Whether some index is in both. Both must have one length.
    pub fn meets(&self, other: &Self) -> bool {
        debug_assert_eq!(self.len, other.len);
        let (ours, our_rest) = self.bytes.as_chunks::<8>();
        let (theirs, their_rest) = other.bytes.as_chunks::<8>();
        let both =
            |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) & u64::from_ne_bytes(*b) != 0;
        ours.iter().zip(theirs).any(both)
            || our_rest.iter().zip(their_rest).any(|(a, b)| a & b != 0)
    }

    /// How many indices are in `self` and not in `other`. Both must have one length.
    pub fn count_beyond(&self, other: &Self) -> u32 {
        debug_assert_eq!(self.len, other.len);
        self.bytes
            .iter()
            .zip(&other.bytes)
            .map(|(mine, theirs)| (mine & !theirs).count_ones())
            .sum()
    }
}

const fn bytes_spare(len: u32) -> u32 {
    (8 - len % 8) % 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn behaves_like_a_vector_of_bools() {
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 1000] {
            let mut rng = Rng::new(u64::from(len));
            let (mut bits, mut model) = (Bitfield::none(len), vec![false; len as usize]);
            for _ in 0..len * 3 {
                let index = rng.below(len as usize) as u32;
                let value = rng.below(3) > 0;
                let changed = if value {
                    bits.set(index)
                } else {
                    bits.clear(index)
                };
                assert_eq!(changed, model[index as usize] != value);
                model[index as usize] = value;
            }
            let ones: Vec<u32> = (0..len).filter(|&i| model[i as usize]).collect();
            assert_eq!(bits.ones().collect::<Vec<_>>(), ones);
            assert_eq!(bits.count() as usize, ones.len());
            assert_eq!(bits.zeros().count() as u32, len - bits.count());
            assert_eq!(
                Bitfield::from_bytes(len, bits.as_bytes()),
                Some(bits.clone())
            );
            assert_eq!(Bitfield::all(len).count_beyond(&bits), len - bits.count());
            assert_eq!(Bitfield::all(len).has_beyond(&bits), !bits.is_all());
            let mut rest = Bitfield::all(len);
            rest.remove_all(&bits);
            assert!(rest.ones().eq(bits.zeros()));
            assert_eq!(rest.count(), len - bits.count());
            rest.add_all(&bits);
            assert_eq!(rest, Bitfield::all(len));
        }
    }

    #[test]
    fn refuses_spare_bits_and_a_wrong_size() {
        assert!(Bitfield::from_bytes(10, &[0xc0, 0x40]).is_some());
        assert!(Bitfield::from_bytes(10, &[0xc0, 0x60]).is_none());
        assert!(Bitfield::from_bytes(10, &[0xc0]).is_none());
        assert!(Bitfield::from_bytes(8, &[0xff, 0]).is_none());
        assert_eq!(Bitfield::all(10).as_bytes(), [0xff, 0xc0]);
        assert!(!Bitfield::all(10).get(10));
    }
}
