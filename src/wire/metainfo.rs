//! What an info dictionary says (BEP 3): name, pieces, files.
//!
//! Owns the rules that make a description usable: its parts agree with one another, and every name stays inside the
//! folder that it is written to. Reads only the bytes that the info-hash covers. Never touches a disk.
//!
//! Invariants of a [`Metainfo`]: the lengths of its files add up to its total, which takes exactly its pieces; no path
//! leaves its folder, occurs twice or runs through a file.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::bencode::{self, BencodeError, Dictionary, Limits, Value};
use crate::base::{Digest20, Digest32, InfoHash};

/// The longest info dictionary. Larger ones cannot be registered, nor sent by BEP 9.
pub const INFO_BYTES_MAX: usize = 32 << 20;
/// The most pieces of a content: what fits into a bit field of 16 KiB, the frame that every client accepts.
pub const PIECES_MAX: usize = 131_072;
/// The longest piece: beyond it, one wrong byte costs too much and a buffer is too large.
pub const PIECE_BYTES_MAX: u32 = 512 << 20;
/// The most files of a content.
pub const FILES_MAX: usize = 1_000_000;
/// The longest component of a path (NAME_MAX of Linux).
pub const COMPONENT_BYTES_MAX: usize = 255;
/// The most components of a path (as libtorrent).
pub const PATH_DEPTH_MAX: usize = 100;

const HASH_BYTES: usize = size_of::<Digest20>();

/// Why a description is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// It cannot be understood: no bencode, a key missing or of the wrong type, parts that contradict one another.
    #[error("unreadable torrent: {0}")]
    Unreadable(&'static str),
    /// It is understood, but must not be used: a hostile name, or too large.
    #[error("torrent not acceptable: {0}")]
    NotAcceptable(&'static str),
}

use MetainfoError::{NotAcceptable, Unreadable};

impl From<BencodeError> for MetainfoError {
    fn from(error: BencodeError) -> Self {
        Unreadable(error.reason())
    }
}

/// One file of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The components of its path below the content's folder; of a single file, its name.
    pub path: Vec<String>,
    /// Its length in bytes.
    pub len: u64,
    /// Where it starts in the content, in bytes.
    pub offset: u64,
    /// The SHA-256 of its bytes, if the publisher gave it.
    pub sha256: Option<Digest32>,
    /// Whether it stands for zero bytes that only align the next file (BEP 47), and is not written.
    pub is_padding: bool,
}

/// A valid description of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    info: Arc<[u8]>,
    info_hash: InfoHash,
    name: String,
    piece_length: u32,
    piece_hashes: Box<[Digest20]>,
    total_len: u64,
    files: Box<[FileEntry]>,
    is_single: bool,
    is_private: bool,
}

impl Metainfo {
    /// Reads the bytes of an info dictionary.
    pub fn from_info(info: &[u8]) -> Result<Self, MetainfoError> {
        if info.len() > INFO_BYTES_MAX {
            return Err(NotAcceptable("its info dictionary exceeds 32 MiB"));
        }
        Self::from_value(bencode::decode(info, Limits::METAINFO)?)
    }

    /// Reads a `.torrent` file, of which only `info` matters here.
    pub fn from_torrent(torrent: &[u8]) -> Result<Self, MetainfoError> {
        let dictionary = bencode::decode(torrent, Limits::METAINFO)?
            .as_dictionary()
            .ok_or(Unreadable("it is no dictionary"))?;
        Self::from_dictionary(dictionary)
    }

    /// Reads the outer dictionary of a `.torrent` file.
    pub(super) fn from_dictionary(torrent: Dictionary<'_>) -> Result<Self, MetainfoError> {
        let info = torrent
            .get(b"info")
            .ok_or(Unreadable("it has no info dictionary"))?;
        Self::from_value(info)
    }

    fn from_value(info: Value<'_>) -> Result<Self, MetainfoError> {
        let raw = info.raw();
        if raw.len() > INFO_BYTES_MAX {
            return Err(NotAcceptable("its info dictionary exceeds 32 MiB"));
        }
        let dictionary = info
            .as_dictionary()
            .ok_or(Unreadable("its info is no dictionary"))?;
        let keys = InfoKeys::find(dictionary);
        let name = component(keys.name.ok_or(Unreadable("it has no name"))?)?;
        let piece_length = piece_length(keys.piece_length)?;
        let piece_hashes = piece_hashes(keys.pieces)?;
        let (files, is_single) = match (keys.length, keys.files) {
            (Some(length), None) => (vec![single_file(&name, length, keys.sha256)?], true),
            (None, Some(list)) => (files(list)?, false),
            _ => return Err(Unreadable("it has not one of length and files")),
        };
        let total_len = files.last().map_or(0, |file| file.offset + file.len);
        if total_len.div_ceil(piece_length.into()) != piece_hashes.len() as u64 {
            return Err(Unreadable("its number of pieces does not fit its length"));
        }
        Ok(Self {
            info: raw.into(),
            info_hash: InfoHash(Sha1::digest(raw).into()),
            name,
            piece_length,
            piece_hashes,
            total_len,
            files: files.into(),
            is_single,
            is_private: keys.private.and_then(Value::as_int) == Some(1),
        })
    }

    /// The bytes of the info dictionary.
    pub fn info(&self) -> &Arc<[u8]> {
        &self.info
    }

    /// The SHA-1 of [`Self::info`].
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// The name of the file or folder: one component of a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of every piece but the last, in bytes; 1 to [`PIECE_BYTES_MAX`].
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// The number of pieces; 0 if there are no bytes.
    pub fn piece_count(&self) -> u32 {
        self.piece_hashes.len() as u32
    }

    /// The length of piece `index` in bytes. There must be such a piece.
    pub fn piece_len(&self, index: u32) -> u32 {
        assert!(index < self.piece_count(), "piece {index}");
        let start = u64::from(index) * u64::from(self.piece_length);
        (self.total_len - start).min(self.piece_length.into()) as u32
    }

    /// The SHA-1 of piece `index`. There must be such a piece.
    pub fn piece_hash(&self, index: u32) -> Digest20 {
        self.piece_hashes[index as usize]
    }

    /// The length of the content in bytes.
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// The files, in the order of their bytes.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Whether the content is one file, not a folder.
    pub fn is_single(&self) -> bool {
        self.is_single
    }

    /// Whether peers are to be had from its trackers only (BEP 27).
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// The SHA-256 of the single file, if the publisher gave it.
    pub fn sha256(&self) -> Option<Digest32> {
        match &*self.files {
            [file] if self.is_single => file.sha256,
            _ => None,
        }
    }
}

/// Whether `name` may be a component of a path, and so the name of a content.
pub fn check_component(name: &str) -> Result<(), MetainfoError> {
    match name {
        "" => Err(NotAcceptable("a name is empty")),
        "." | ".." => Err(NotAcceptable("a name is . or ..")),
        _ if name.contains(['/', '\0']) => Err(NotAcceptable("a name contains / or NUL")),
        _ if name.len() > COMPONENT_BYTES_MAX => Err(NotAcceptable("a name exceeds 255 bytes")),
        _ => Ok(()),
    }
}

/// The values of the keys that count, found in one pass.
#[derive(Default)]
struct InfoKeys<'a> {
    files: Option<Value<'a>>,
    length: Option<Value<'a>>,
    name: Option<Value<'a>>,
    piece_length: Option<Value<'a>>,
    pieces: Option<Value<'a>>,
    private: Option<Value<'a>>,
    sha256: Option<Value<'a>>,
}

impl<'a> InfoKeys<'a> {
    fn find(dictionary: Dictionary<'a>) -> Self {
        let mut keys = Self::default();
        for (key, value) in dictionary.entries() {
            let place = match key {
                b"files" => &mut keys.files,
                b"length" => &mut keys.length,
                b"name" => &mut keys.name,
                b"piece length" => &mut keys.piece_length,
                b"pieces" => &mut keys.pieces,
                b"private" => &mut keys.private,
                b"sha256" => &mut keys.sha256,
                _ => continue,
            };
            *place = Some(value);
        }
        keys
    }
}

fn piece_length(value: Option<Value<'_>>) -> Result<u32, MetainfoError> {
    let length = value
        .and_then(Value::as_int)
        .filter(|length| *length > 0)
        .ok_or(Unreadable("it has no piece length"))?;
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= PIECE_BYTES_MAX)
        .ok_or(NotAcceptable("its pieces exceed 512 MiB"))
}

fn piece_hashes(value: Option<Value<'_>>) -> Result<Box<[Digest20]>, MetainfoError> {
    let pieces = value
        .and_then(Value::as_bytes)
        .ok_or(Unreadable("it has no piece hashes"))?;
    let (hashes, []) = pieces.as_chunks::<HASH_BYTES>() else {
        return Err(Unreadable("its piece hashes are not 20 bytes each"));
    };
    if hashes.len() > PIECES_MAX {
        return Err(NotAcceptable("it has more than 131072 pieces"));
    }
    Ok(hashes.into())
}

fn length(value: Option<Value<'_>>) -> Result<u64, MetainfoError> {
    value
        .and_then(Value::as_int)
        .and_then(|length| u64::try_from(length).ok())
        .ok_or(Unreadable("a file has no length"))
}

/// Other publishers may mean something else by this key: what is not 32 bytes is no digest of ours.
fn sha256(value: Option<Value<'_>>) -> Option<Digest32> {
    value?.as_bytes()?.try_into().ok()
}

fn single_file(
    name: &str,
    len: Value<'_>,
    digest: Option<Value<'_>>,
) -> Result<FileEntry, MetainfoError> {
    Ok(FileEntry {
        path: vec![name.to_owned()],
        len: length(Some(len))?,
        offset: 0,
        sha256: sha256(digest),
        is_padding: false,
    })
}

fn files(list: Value<'_>) -> Result<Vec<FileEntry>, MetainfoError> {
    let list = list.as_list().ok_or(Unreadable("its files are no list"))?;
    let mut files = Vec::new();
    let mut offset = 0u64;
    for value in list {
        if files.len() == FILES_MAX {
            return Err(NotAcceptable("it has more than 1000000 files"));
        }
        let file = file(value, offset)?;
        offset = offset
            .checked_add(file.len)
            .ok_or(Unreadable("its length exceeds 64 bits"))?;
        files.push(file);
    }
    if files.is_empty() {
        return Err(Unreadable("it has no files"));
    }
    check_paths(&files)?;
    Ok(files)
}

fn file(value: Value<'_>, offset: u64) -> Result<FileEntry, MetainfoError> {
    let dictionary = value
        .as_dictionary()
        .ok_or(Unreadable("a file is no dictionary"))?;
    let (mut len, mut names, mut digest, mut attributes) = (None, None, None, &b""[..]);
    for (key, value) in dictionary.entries() {
        match key {
            b"attr" => attributes = value.as_bytes().unwrap_or_default(),
            b"length" => len = Some(value),
            b"path" => names = value.as_list(),
            b"sha256" => digest = Some(value),
            _ => {}
        }
    }
    if attributes.contains(&b'l') {
        return Err(NotAcceptable("it contains a symbolic link"));
    }
    let mut path = Vec::new();
    for name in names.ok_or(Unreadable("a file has no path"))? {
        if path.len() == PATH_DEPTH_MAX {
            return Err(NotAcceptable("a path has more than 100 components"));
        }
        path.push(component(name)?);
    }
    if path.is_empty() {
        return Err(NotAcceptable("a path is empty"));
    }
    Ok(FileEntry {
        path,
        len: length(len)?,
        offset,
        sha256: sha256(digest),
        is_padding: attributes.contains(&b'p'),
    })
}

fn component(value: Value<'_>) -> Result<String, MetainfoError> {
    let bytes = value.as_bytes().ok_or(Unreadable("a name is no text"))?;
    let name = std::str::from_utf8(bytes).map_err(|_| NotAcceptable("a name is not UTF-8"))?;
    check_component(name)?;
    Ok(name.to_owned())
}

/// Refuses paths that occur twice or run through a file. Sorted component by component, a path is followed by those that
/// start with it, so neighbours tell. Padding is not written, and other clients do name it alike.
fn check_paths(files: &[FileEntry]) -> Result<(), MetainfoError> {
    let mut paths: Vec<&[String]> = files
        .iter()
        .filter(|file| !file.is_padding)
        .map(|file| &*file.path)
        .collect();
    paths.sort_unstable();
    if paths.windows(2).any(|pair| pair[1].starts_with(pair[0])) {
        return Err(NotAcceptable("two files share a path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bencode::{put_bytes, put_dictionary, put_int, put_list};

    /// Components of the path, length, attributes.
    type NamedFile<'a> = (&'a [&'a [u8]], i64, &'a [u8]);

    /// An info dictionary of a folder with these files, and as many pieces of 16 bytes as they take.
    fn folder(files: &[NamedFile<'_>]) -> Vec<u8> {
        let total: u64 = files.iter().map(|file| file.1.unsigned_abs()).sum();
        let mut info = Vec::new();
        put_dictionary(&mut info, |entries| {
            put_list(entries.value(b"files"), |out| {
                for (path, len, attributes) in files {
                    put_dictionary(out, |entries| {
                        entries.bytes(b"attr", attributes);
                        entries.int(b"length", *len);
                        put_list(entries.value(b"path"), |out| {
                            path.iter().for_each(|component| put_bytes(out, component));
                        });
                    });
                }
            });
            entries.bytes(b"name", b"folder");
            entries.int(b"piece length", 16);
            let pieces = total.div_ceil(16) as usize;
            entries.bytes(b"pieces", &vec![7; pieces * 20]);
        });
        info
    }

    /// An info dictionary of one file.
    fn single(name: &[u8], len: i64, piece_length: i64, pieces: usize) -> Vec<u8> {
        let mut info = Vec::new();
        put_dictionary(&mut info, |entries| {
            entries.int(b"length", len);
            entries.bytes(b"name", name);
            entries.int(b"piece length", piece_length);
            entries.bytes(b"pieces", &vec![7; pieces * 20]);
            entries.int(b"private", 1);
        });
        info
    }

    fn refusal(info: &[u8]) -> MetainfoError {
        Metainfo::from_info(info).expect_err("must be refused")
    }

    fn is_unacceptable(info: &[u8]) -> bool {
        matches!(refusal(info), NotAcceptable(_))
    }

    fn is_unreadable(info: &[u8]) -> bool {
        matches!(refusal(info), Unreadable(_))
    }

    #[test]
    fn tells_pieces_and_their_lengths() {
        let info = single(b"a", 35, 16, 3);
        let metainfo = Metainfo::from_info(&info).expect("valid");
        let lens: Vec<_> = (0..3).map(|index| metainfo.piece_len(index)).collect();
        assert_eq!(lens, [16, 16, 3]);
        assert_eq!(metainfo.piece_hash(2), [7; 20]);
        assert_eq!((metainfo.total_len(), metainfo.piece_length()), (35, 16));
        assert!(metainfo.is_private() && metainfo.is_single());
        assert_eq!(metainfo.files()[0].path, ["a"]);
        assert_eq!(metainfo.info()[..], info);
        let full = Metainfo::from_info(&single(b"a", 32, 16, 2)).expect("valid");
        assert_eq!(full.piece_len(1), 16);
    }

    #[test]
    fn empty_files_and_folders_of_empty_files_are_content() {
        let empty = Metainfo::from_info(&single(b"a", 0, 16, 0)).expect("valid");
        assert_eq!((empty.total_len(), empty.piece_count()), (0, 0));
        let empties = folder(&[(&[b"x"], 0, b""), (&[b"y", b"z"], 0, b"")]);
        let metainfo = Metainfo::from_info(&empties).expect("valid");
        assert_eq!((metainfo.files().len(), metainfo.piece_count()), (2, 0));
        let mixed = folder(&[(&[b"a"], 5, b""), (&[b"b"], 0, b""), (&[b"c"], 20, b"")]);
        let metainfo = Metainfo::from_info(&mixed).expect("valid");
        let offsets: Vec<_> = metainfo.files().iter().map(|file| file.offset).collect();
        assert_eq!((offsets, metainfo.piece_count()), (vec![0, 5, 5], 2));
    }

    #[test]
    fn a_hostile_name_is_not_acceptable() {
        let long = [b'x'; 256];
        let hostile: [&[u8]; 9] = [
            b"", b".", b"..", b"/", b"/etc", b"a/b", b"a\0b", b"\xff", &long,
        ];
        for name in hostile {
            assert!(is_unacceptable(&single(name, 0, 16, 0)));
            assert!(is_unacceptable(&folder(&[(&[name], 0, b"")])));
            assert!(is_unacceptable(&folder(&[(&[b"ok", name], 0, b"")])));
        }
        for name in ["a b", "Grüße", "...", "a\\b", ".hidden", &"x".repeat(255)] {
            let metainfo = Metainfo::from_info(&single(name.as_bytes(), 0, 16, 0));
            assert_eq!(metainfo.expect("valid").name(), name);
        }
    }

    #[test]
    fn a_path_occurs_once_and_does_not_run_through_a_file() {
        let twice = folder(&[(&[b"a", b"b"], 1, b""), (&[b"a", b"b"], 1, b"")]);
        assert!(is_unacceptable(&twice));
        let through: [NamedFile<'_>; 3] = [
            (&[b"a", b"b", b"c"], 1, b""),
            (&[b"a-"], 1, b""),
            (&[b"a"], 1, b""),
        ];
        assert!(is_unacceptable(&folder(&through)));
        assert!(Metainfo::from_info(&folder(&through[..2])).is_ok());
        assert!(is_unacceptable(&folder(&[(&[], 1, b"")])));
        let deep = vec![&b"d"[..]; 101];
        assert!(is_unacceptable(&folder(&[(&deep, 1, b"")])));
        assert!(Metainfo::from_info(&folder(&[(&deep[1..], 1, b"")])).is_ok());
        assert!(is_unacceptable(&folder(&[(&[b"link"], 0, b"l")])));
    }

    #[test]
    fn padding_counts_as_bytes_but_not_as_a_path() {
        let info = folder(&[
            (&[b"a"], 5, b""),
            (&[b".pad", b"11"], 11, b"p"),
            (&[b"b"], 5, b"x"),
            (&[b".pad", b"11"], 11, b"p"),
        ]);
        let metainfo = Metainfo::from_info(&info).expect("valid");
        let padding: Vec<_> = metainfo.files().iter().map(|f| f.is_padding).collect();
        assert_eq!(padding, [false, true, false, true]);
        assert_eq!(metainfo.total_len(), 32);
    }

    #[test]
    fn parts_that_contradict_one_another_are_unreadable() {
        assert!(is_unreadable(&single(b"a", 33, 16, 2)));
        assert!(is_unreadable(&single(b"a", 32, 16, 3)));
        assert!(is_unreadable(&single(b"a", 0, 16, 1)));
        assert!(is_unreadable(&single(b"a", -1, 16, 0)));
        assert!(is_unreadable(&single(b"a", 1, 0, 1)));
        assert!(is_unreadable(&single(b"a", 1, -16, 1)));
        assert!(is_unreadable(&folder(&[])));
        assert!(is_unreadable(&folder(&[(&[b"a"], -1, b"")])));
        let huge = "d5:filesld6:lengthi9223372036854775807e4:pathl1:aee\
                    d6:lengthi9223372036854775807e4:pathl1:bee\
                    d6:lengthi2e4:pathl1:ceee4:name1:n12:piece lengthi1e6:pieces0:e";
        assert_eq!(
            refusal(huge.as_bytes()),
            Unreadable("its length exceeds 64 bits")
        );
        for info in [
            "",
            "i1e",
            "de",
            "d4:name1:ae",
            "d6:lengthi0e4:name1:a6:pieces0:e",
        ] {
            assert!(is_unreadable(info.as_bytes()), "{info}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_acceptable() {
        assert!(is_unacceptable(&single(b"a", 1, (512 << 20) + 1, 1)));
        assert!(is_unacceptable(&single(b"a", 1, i64::MAX, 1)));
        assert!(Metainfo::from_info(&single(b"a", 1, 512 << 20, 1)).is_ok());
        assert!(is_unacceptable(&single(
            b"a",
            PIECES_MAX as i64 + 1,
            1,
            PIECES_MAX + 1
        )));
        assert!(Metainfo::from_info(&single(b"a", PIECES_MAX as i64, 1, PIECES_MAX)).is_ok());
        assert!(is_unacceptable(&vec![b'd'; INFO_BYTES_MAX + 1]));
    }

    #[test]
    fn finds_the_span_of_info_in_a_torrent_file() {
        let info = single(b"a", 3, 16, 1);
        let torrent = [b"d8:announce3:url4:info", &info[..], b"1:zi1ee"].concat();
        assert_eq!(Metainfo::from_torrent(&torrent), Metainfo::from_info(&info));
        assert!(Metainfo::from_torrent(&[&torrent[..], b"x"].concat()).is_err());
        assert!(Metainfo::from_torrent(b"d8:announce3:urle").is_err());
    }

    #[test]
    fn a_million_files_are_read_and_one_more_is_refused() {
        let info = |count: usize| {
            let mut info = b"d5:filesl".to_vec();
            for number in 0..count {
                info.extend_from_slice(b"d6:lengthi0e4:pathl");
                put_bytes(&mut info, format!("{:x}", count - number).as_bytes());
                info.extend_from_slice(b"ee");
            }
            info.extend_from_slice(b"e4:name1:n12:piece length");
            put_int(&mut info, 16);
            info.extend_from_slice(b"6:pieces0:e");
            info
        };
        // A million paths fit into 32 MiB only if they are short.
        assert!(info(FILES_MAX).len() <= INFO_BYTES_MAX);
        let metainfo = Metainfo::from_info(&info(FILES_MAX)).expect("valid");
        assert_eq!(metainfo.files().len(), FILES_MAX);
        assert!(is_unacceptable(&info(FILES_MAX + 1)));
    }
}
