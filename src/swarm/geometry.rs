//! How a content divides into pieces, and pieces into blocks.

use std::ops::Range;

use crate::wire::peer::{BLOCK_LEN, BlockRequest};

/// Pieces up to this many bytes arrive in one buffer and are checked before they are written. Larger ones, which no
/// memory should have to hold, land in runs that are written as they are, read back and then checked.
pub const WHOLE_PIECE_BYTES_MAX: u32 = 16 << 20;

/// Sizes of one content. All arithmetic on what peers name is done here, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    total_len: u64,
    piece_length: u32,
    piece_count: u32,
    block_len: u32,
}

impl Geometry {
    /// A content of `total_len` bytes in pieces of `piece_length` bytes. `piece_length` must not be zero.
    pub fn new(total_len: u64, piece_length: u32) -> Self {
        let piece_count = u32::try_from(total_len.div_ceil(u64::from(piece_length)))
            .expect("metainfo limits the number of pieces");
        Self {
            total_len,
            piece_length,
            piece_count,
            block_len: BLOCK_LEN,
        }
    }

    /// The same content, fetched a whole piece at a request: the simulator's coarse form, which no wire carries.
    pub fn in_whole_pieces(self) -> Self {
        Self {
            block_len: self.piece_length,
            ..self
        }
    }

    /// The longest block, in bytes.
    pub fn block_len(&self) -> u32 {
        self.block_len
    }

    /// Bytes of the whole content.
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// Number of pieces.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Where `piece` begins in the content.
    pub fn piece_offset(&self, piece: u32) -> u64 {
        u64::from(piece) * u64::from(self.piece_length)
    }

    /// Bytes of `piece`; only the last piece may be shorter than the others.
    pub fn piece_len(&self, piece: u32) -> u32 {
        debug_assert!(piece < self.piece_count);
        (self.total_len - self.piece_offset(piece)).min(u64::from(self.piece_length)) as u32
    }

    /// Number of blocks in `piece`.
    pub fn block_count(&self, piece: u32) -> u32 {
        self.piece_len(piece).div_ceil(self.block_len)
    }

    /// Number of blocks in the longest piece.
    pub fn blocks_max(&self) -> usize {
        self.piece_length.div_ceil(self.block_len) as usize
    }

    /// The request for block `index` of `piece`.
    pub fn block(&self, piece: u32, index: u32) -> BlockRequest {
        let begin = index * self.block_len;
        BlockRequest {
            piece,
            begin,
            len: self.block_len.min(self.piece_len(piece) - begin),
        }
    }

    /// One request for several blocks of `piece`, of which there must be some.
    pub fn stretch(&self, piece: u32, blocks: &Range<u32>) -> BlockRequest {
        let first = self.block(piece, blocks.start);
        let end = self.block(piece, blocks.end - 1).end() as u32;
        BlockRequest {
            len: end - first.begin,
            ..first
        }
    }

    /// The indices of the blocks that `request` names, if it is exactly some of our blocks.
    pub fn blocks_of(&self, request: BlockRequest) -> Option<Range<u32>> {
        if !self.contains(request) || !request.begin.is_multiple_of(self.block_len) {
            return None;
        }
        let end = request.end() as u32;
        let is_whole = end.is_multiple_of(self.block_len) || end == self.piece_len(request.piece);
        is_whole.then(|| request.begin / self.block_len..end.div_ceil(self.block_len))
    }

    /// The index of the block that `request` names, if it is exactly one of our blocks.
    pub fn block_index(&self, request: BlockRequest) -> Option<u32> {
        let blocks = self.blocks_of(request)?;
        (blocks.len() == 1).then_some(blocks.start)
    }

    /// Whether `request` names at least one byte, all of them inside its piece.
    pub fn contains(&self, request: BlockRequest) -> bool {
        request.piece < self.piece_count
            && request.len > 0
            && u64::from(request.begin) + u64::from(request.len)
                <= u64::from(self.piece_len(request.piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_block_are_short() {
        let geometry = Geometry::new(100_000, 32_768);
        assert_eq!((geometry.piece_count(), geometry.piece_len(3)), (4, 1696));
        assert_eq!(geometry.block_count(0), 2);
        assert_eq!(
            geometry.block(3, 0),
            BlockRequest {
                piece: 3,
                begin: 0,
                len: 1696
            }
        );
        assert_eq!(Geometry::new(0, 65_536).piece_count(), 0);
        assert_eq!(Geometry::new(65_536, 65_536).piece_count(), 1);
    }

    #[test]
    fn a_request_that_leaves_its_piece_is_not_contained() {
        let geometry = Geometry::new(100_000, 32_768);
        let request = |piece, begin, len| BlockRequest { piece, begin, len };
        assert!(geometry.contains(request(0, 16_384, 16_384)));
        assert!(!geometry.contains(request(0, 16_385, 16_384)));
        assert!(!geometry.contains(request(0, u32::MAX, 16_384)));
        assert!(!geometry.contains(request(4, 0, 1)));
        assert!(!geometry.contains(request(u32::MAX, 0, 1)));
        assert!(!geometry.contains(request(0, 0, 0)));
        assert_eq!(geometry.block_index(request(0, 16_384, 16_384)), Some(1));
        assert_eq!(geometry.block_index(request(0, 1, 16_384)), None);
        assert_eq!(geometry.block_index(request(0, 0, 16)), None);
    }

    #[test]
    fn a_stretch_is_whole_blocks_of_one_piece() {
        let geometry = Geometry::new(100_000, 49_152);
        let request = |piece, begin, len| BlockRequest { piece, begin, len };
        assert_eq!(geometry.stretch(0, &(1..3)), request(0, 16_384, 32_768));
        assert_eq!(geometry.stretch(2, &(0..1)), request(2, 0, 1696));
        assert_eq!(geometry.blocks_of(request(0, 16_384, 32_768)), Some(1..3));
        assert_eq!(geometry.blocks_of(request(1, 0, 49_152)), Some(0..3));
        assert_eq!(geometry.blocks_of(request(2, 0, 1696)), Some(0..1));
        assert_eq!(geometry.blocks_of(request(0, 0, 32_767)), None);
        assert_eq!(geometry.blocks_of(request(0, 1, 32_767)), None);
        assert_eq!(geometry.blocks_of(request(1, 16_384, 49_152)), None);
        assert_eq!(geometry.block_index(request(0, 0, 32_768)), None);
    }
}
