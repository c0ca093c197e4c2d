//! Where the bytes of a content lie: pieces on one side, files on the other. Pure arithmetic, in u64 throughout.
//!
//! Invariants: files follow one another without a gap, in the order given; an empty file has no span.

use std::ops::Range;

/// One file of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// The names that lead to it from the root of the content; not looked at when the content is a single file.
    pub path: Vec<String>,
    /// Its length in bytes.
    pub len: u64,
    /// A padding file (BEP 47): its bytes are zeros, and it is never created.
    pub is_padding: bool,
}

/// A stretch of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of the file.
    pub file: usize,
    /// Where in the file it begins.
    pub offset: u64,
    /// How long it is; never 0.
    pub len: u64,
    /// Whether it reaches to the end of the file.
    pub ends_file: bool,
}

/// The files of a content as one row of bytes.
#[derive(Clone, Debug)]
pub struct FileMap {
    /// The files that have bytes, ascending by `start`.
    filled: Vec<Filled>,
    file_count: usize,
    len: u64,
}

#[derive(Clone, Copy, Debug)]
struct Filled {
    start: u64,
    len: u64,
    file: usize,
}

impl FileMap {
    /// The map of files of these lengths, or `None` if their sum is more than a file offset can name (2⁶³ − 1).
    pub fn new(lens: impl IntoIterator<Item = u64>) -> Option<Self> {
        let (mut filled, mut start, mut file_count) = (Vec::new(), 0u64, 0);
        for (file, len) in lens.into_iter().enumerate() {
            file_count = file + 1;
            if len > 0 {
                filled.push(Filled { start, len, file });
                start = start
                    .checked_add(len)
                    .filter(|&end| i64::try_from(end).is_ok())?;
            }
        }
        Some(Self {
            filled,
            file_count,
            len: start,
        })
    }

    /// How many files there are, empty ones included.
    pub fn file_count(&self) -> usize {
        self.file_count
    }

    /// Bytes of the content.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the content has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file stretches that make up `len` bytes of the content from `offset` on, in order. They must lie inside it.
    pub fn spans(&self, offset: u64, len: u64) -> impl Iterator<Item = Span> + '_ {
        let end = offset
            .checked_add(len)
            .filter(|&end| end <= self.len)
            .expect("callers stay inside the content");
        let first = self
            .filled
            .partition_point(|filled| filled.start + filled.len <= offset);
        self.filled[first..]
            .iter()
            .take_while(move |filled| filled.start < end)
            .map(move |filled| {
                let from = filled.start.max(offset);
                let file_end = filled.start + filled.len;
                Span {
                    file: filled.file,
                    offset: from - filled.start,
                    len: file_end.min(end) - from,
                    ends_file: file_end <= end,
                }
            })
            .filter(|span| span.len > 0)
    }
}

/// Pieces and files of one content.
#[derive(Clone, Debug)]
pub struct Layout {
    piece_length: u32,
    piece_count: u32,
    files: FileMap,
}

impl Layout {
    /// The layout of files of these lengths in pieces of `piece_length` bytes; `None` if that is 0, or if there are
    /// more bytes or pieces than can be counted.
    pub fn new(piece_length: u32, lens: impl IntoIterator<Item = u64>) -> Option<Self> {
        let files = FileMap::new(lens)?;
        if piece_length == 0 {
            return None;
        }
        let piece_count = u32::try_from(files.len().div_ceil(u64::from(piece_length))).ok()?;
        Some(Self {
            piece_length,
            piece_count,
            files,
        })
    }

    /// Bytes of every piece but the last.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces there are; none in an empty content.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Where piece `index` begins.
    pub fn piece_offset(&self, index: u32) -> u64 {
        assert!(index < self.piece_count, "piece {index}");
        u64::from(index) * u64::from(self.piece_length)
    }

    /// The pieces as one row of bytes, like the files.
    pub(super) fn piece_map(&self) -> FileMap {
        let lens = (0..self.piece_count).map(|piece| u64::from(self.piece_len(piece)));
        FileMap::new(lens).expect("as many bytes as the files have")
    }

    /// Bytes of piece `index`.
    pub fn piece_len(&self, index: u32) -> u32 {
        let rest = self.files.len() - self.piece_offset(index);
        u64::from(self.piece_length).min(rest) as u32
    }

    /// The pieces that hold bytes of `file`; none if it is empty.
    pub fn file_pieces(&self, file: usize) -> Range<u32> {
        let found = self
            .files
            .filled
            .binary_search_by_key(&file, |filled| filled.file);
        let Ok(at) = found else {
            return 0..0;
        };
        let Filled { start, len, .. } = self.files.filled[at];
        let piece_length = u64::from(self.piece_length);
        let first = (start / piece_length) as u32;
        first..(start + len).div_ceil(piece_length) as u32
    }

    /// The files as one row of bytes.
    pub fn files(&self) -> &FileMap {
        &self.files
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spans_agree_with_a_map_of_every_byte(
            lens in prop::collection::vec(0u64..20, 0..12),
            from in 0usize..100,
            len in 0usize..100,
        ) {
            let bytes: Vec<(usize, u64)> = lens
                .iter()
                .enumerate()
                .flat_map(|(file, &len)| (0..len).map(move |offset| (file, offset)))
                .collect();
            let map = FileMap::new(lens.iter().copied()).expect("a small sum");
            prop_assert_eq!((map.len(), map.file_count()), (bytes.len() as u64, lens.len()));
            let from = from.min(bytes.len());
            let len = len.min(bytes.len() - from);
            let spans: Vec<Span> = map.spans(from as u64, len as u64).collect();
            prop_assert!(spans.iter().all(|span| span.len > 0));
            prop_assert!(spans.iter().all(|span| span.ends_file == (span.offset + span.len == lens[span.file])));
            prop_assert!(spans.windows(2).all(|pair| pair[0].file < pair[1].file));
            let spelt: Vec<(usize, u64)> = spans
                .iter()
                .flat_map(|span| (span.offset..span.offset + span.len).map(|at| (span.file, at)))
                .collect();
            prop_assert_eq!(&spelt[..], &bytes[from..from + len]);
        }

        #[test]
        fn pieces_cover_the_content_and_know_their_files(
            lens in prop::collection::vec(0u64..20, 0..12),
            piece_length in 1u32..30,
        ) {
            let layout = Layout::new(piece_length, lens.iter().copied()).expect("small");
            let mut end = 0;
            for piece in 0..layout.piece_count() {
                prop_assert_eq!(layout.piece_offset(piece), end);
                prop_assert!(layout.piece_len(piece) > 0);
                end += u64::from(layout.piece_len(piece));
                for file in 0..lens.len() {
                    let offset = layout.piece_offset(piece);
                    let len = u64::from(layout.piece_len(piece));
                    let holds = layout.files().spans(offset, len).any(|span| span.file == file);
                    prop_assert_eq!(layout.file_pieces(file).contains(&piece), holds);
                }
            }
            prop_assert_eq!(end, lens.iter().sum::<u64>());
        }
    }

    #[test]
    fn offsets_beyond_four_gibibytes_are_exact() {
        let big = (5 << 30) + 1;
        let layout = Layout::new(4 << 20, [big, 0, big]).expect("within bounds");
        let last = layout.piece_count() - 1;
        assert_eq!(layout.piece_len(last), 2);
        let spans: Vec<Span> = layout.files().spans(big - 1, 2).collect();
        let [tail, head] = spans[..] else {
            panic!("{spans:?}");
        };
        assert_eq!((tail.file, tail.offset, tail.len), (0, big - 1, 1));
        assert_eq!((head.file, head.offset, head.len), (2, 0, 1));
    }

    #[test]
    fn refuses_what_cannot_be_counted() {
        assert!(Layout::new(0, [1]).is_none());
        assert!(Layout::new(1, [u64::from(u32::MAX) + 1]).is_none());
        assert!(FileMap::new([u64::MAX, 1]).is_none());
        assert!(FileMap::new([1 << 62, 1 << 62]).is_none());
        assert_eq!(Layout::new(1, [0, 0]).expect("empty").piece_count(), 0);
    }
}
