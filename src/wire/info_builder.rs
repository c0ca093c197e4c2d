//! The info dictionary that `share` makes.
//!
//! It is canonical: equal content gives equal bytes on every machine, and so one swarm. Owns what goes into it and how
//! long a piece is; what is read back from it is [`super::metainfo`]'s.

use super::bencode::{Entries, put_bytes, put_dictionary, put_list};
use crate::base::Digest32;

/// The shortest piece that [`piece_length_for`] gives.
pub const PIECE_LENGTH_MIN: u32 = 64 << 10;
/// The longest piece that [`piece_length_for`] gives.
pub const PIECE_LENGTH_MAX: u32 = 16 << 20;
/// The pieces that [`piece_length_for`] aims at, at most: enough for peers to have something to trade, few enough for a
/// small info dictionary.
pub const PIECES_WANTED_MAX: u64 = 2048;

/// What a content consists of.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// One file.
    Single {
        /// Its length in bytes.
        len: u64,
        /// The SHA-256 of its bytes, to be published with it.
        sha256: Option<Digest32>,
    },
    /// A folder: its files in the order of their paths, compared component by component and byte by byte.
    Files(&'a [NewFile]),
}

/// One file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewFile {
    /// The components of its path below the folder.
    pub path: Vec<String>,
    /// Its length in bytes.
    pub len: u64,
    /// The SHA-256 of its bytes, to be published with it.
    pub sha256: Option<Digest32>,
}

/// The info dictionary of a content whose pieces of `piece_length` bytes have the SHA-1s `pieces`, one after the other.
///
/// Files that are not in order, and lengths beyond 63 bits, are the caller's bug.
pub fn canonical_info(
    name: &str,
    piece_length: u32,
    pieces: &[u8],
    content: Content<'_>,
) -> Vec<u8> {
    info_dictionary(name, piece_length, pieces, content, false)
}

/// As [`canonical_info`]; with `is_private`, peers are to be had from its trackers only (BEP 27).
pub fn info_dictionary(
    name: &str,
    piece_length: u32,
    pieces: &[u8],
    content: Content<'_>,
    is_private: bool,
) -> Vec<u8> {
    let mut info = Vec::with_capacity(pieces.len() + 256);
    put_dictionary(&mut info, |entries| {
        match content {
            Content::Single { len, .. } => put_len(entries, len),
            Content::Files(files) => put_files(entries.value(b"files"), files),
        }
        entries.bytes(b"name", name.as_bytes());
        entries.int(b"piece length", piece_length.into());
        entries.bytes(b"pieces", pieces);
        if is_private {
            entries.int(b"private", 1);
        }
        if let Content::Single { sha256, .. } = content {
            put_sha256(entries, sha256);
        }
    });
    info
}

/// The length of a piece for `total_len` bytes of content: the smallest power of two from [`PIECE_LENGTH_MIN`] to
/// [`PIECE_LENGTH_MAX`] that gives at most [`PIECES_WANTED_MAX`] pieces.
pub fn piece_length_for(total_len: u64) -> u32 {
    let mut length = PIECE_LENGTH_MIN;
    while length < PIECE_LENGTH_MAX && total_len.div_ceil(length.into()) > PIECES_WANTED_MAX {
        length *= 2;
    }
    length
}

fn put_files(out: &mut Vec<u8>, files: &[NewFile]) {
    assert!(
        files.is_sorted_by(|one, next| one.path < next.path),
        "files out of order"
    );
    put_list(out, |out| {
        for file in files {
            put_dictionary(out, |entries| {
                put_len(entries, file.len);
                put_list(entries.value(b"path"), |out| {
                    for component in &file.path {
                        put_bytes(out, component.as_bytes());
                    }
                });
                put_sha256(entries, file.sha256);
            });
        }
    });
}

fn put_len(entries: &mut Entries<'_>, len: u64) {
    entries.int(b"length", len.try_into().expect("no file is that long"));
}

fn put_sha256(entries: &mut Entries<'_>, sha256: Option<Digest32>) {
    if let Some(digest) = sha256 {
        entries.bytes(b"sha256", &digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::metainfo::Metainfo;

    fn file(path: &[&str], len: u64) -> NewFile {
        NewFile {
            path: path.iter().map(ToString::to_string).collect(),
            len,
            sha256: None,
        }
    }

    #[test]
    fn a_single_file_has_only_the_canonical_keys() {
        let content = Content::Single {
            len: 5,
            sha256: Some([b'#'; 32]),
        };
        let info = canonical_info("a b", 65536, &[b'h'; 20], content);
        let expected = "d6:lengthi5e4:name3:a b12:piece lengthi65536e6:pieces20:hhhhhhhhhhhhhhhhhhhh\
                        6:sha25632:################################e";
        assert_eq!(info, expected.as_bytes());
        let metainfo = Metainfo::from_info(&info).expect("valid");
        assert_eq!(metainfo.sha256(), Some([b'#'; 32]));
    }

    #[test]
    fn a_private_content_is_another_content() {
        let content = Content::Single {
            len: 5,
            sha256: Some([1; 32]),
        };
        let [open, closed] = [false, true].map(|is_private| {
            let info = info_dictionary("a", 65536, &[0; 20], content, is_private);
            Metainfo::from_info(&info).expect("valid")
        });
        assert!(closed.is_private() && !open.is_private());
        assert_ne!(open.info_hash(), closed.info_hash());
    }

    #[test]
    fn a_folder_lists_its_files_in_order() {
        let mut files = [file(&["b"], 0), file(&["a", "z"], 3), file(&["a-b"], 4)];
        files.sort();
        files[0].sha256 = Some([1; 32]);
        let info = canonical_info("dir", 65536, &[0; 20], Content::Files(&files));
        let metainfo = Metainfo::from_info(&info).expect("valid");
        let paths: Vec<_> = metainfo.files().iter().map(|f| f.path.join("/")).collect();
        assert_eq!(paths, ["a/z", "a-b", "b"]);
        let offsets: Vec<_> = metainfo.files().iter().map(|file| file.offset).collect();
        assert_eq!(offsets, [0, 3, 7]);
        assert_eq!(metainfo.files()[0].sha256, Some([1; 32]));
        assert_eq!((metainfo.sha256(), metainfo.is_single()), (None, false));
    }

    #[test]
    #[should_panic(expected = "files out of order")]
    fn refuses_files_out_of_order() {
        let files = [file(&["b"], 0), file(&["a"], 0)];
        canonical_info("dir", 65536, &[], Content::Files(&files));
    }

    #[test]
    fn pieces_grow_so_that_they_stay_few() {
        let (kib, mib) = (1 << 10, 1 << 20);
        for (total_len, piece_length) in [
            (0, 64 * kib),
            (128 * mib, 64 * kib),
            (128 * mib + 1, 128 * kib),
            (1 << 30, 512 * kib),
            (32 << 30, 16 * mib),
            (u64::MAX, 16 * mib),
        ] {
            assert_eq!(u64::from(piece_length_for(total_len)), piece_length);
        }
    }
}
