//! Descriptions of contents: bencode, info dictionaries, `.torrent` files, names, magnet links, records of downloads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use sha1::{Digest, Sha1};
use shoal::base::{Bitfield, InfoHash};
use shoal::storage::{BitsFile, Folder, Identity};
use shoal::wire::bencode::{
    self, BencodeError, Limits, Value, put_bytes, put_dictionary, put_int, put_list,
};
use shoal::wire::magnet::Magnet;
use shoal::wire::metainfo::{FILES_MAX, Metainfo, PIECES_MAX};
use shoal::wire::torrent::{Extras, TRACKERS_COUNT_MAX, Torrent, torrent_file};
use tempfile::TempDir;

/// Longer ones could overflow the stack of the second opinion, which has no limit of its own.
const ORACLE_BYTES_MAX: usize = 2_000;
/// More digits in a row than these could overflow a length of its own.
const ORACLE_DIGITS_MAX: usize = 18;

/// Whether the second opinion can be asked for.
fn suits_oracle(data: &[u8]) -> bool {
    let mut runs = data.split(|byte| !byte.is_ascii_digit());
    data.len() <= ORACLE_BYTES_MAX && runs.all(|digits| digits.len() <= ORACLE_DIGITS_MAX)
}

/// What is read is written again as it was, and another reader agrees.
pub fn bencode(data: &[u8]) {
    let strict = bencode::decode(data, Limits::METAINFO);
    if let Ok(value) = strict {
        assert_eq!(rewritten(value), data);
    }
    if suits_oracle(data) {
        let theirs = bt_bencode::from_slice::<bt_bencode::Value>(data).ok();
        let again = theirs.and_then(|theirs| bt_bencode::to_vec(&theirs).ok());
        let is_canonical = again.is_some_and(|again| again == data);
        // Theirs also reads integers that only an unsigned type holds, and knows no depth.
        let is_ours_alone = matches!(strict, Err(BencodeError::Integer | BencodeError::TooDeep));
        assert!(
            strict.is_ok() == is_canonical || is_ours_alone,
            "{strict:?}"
        );
    }
    for limits in [Limits::METAINFO, Limits::MESSAGE] {
        if let Ok(value) = bencode::decode_prefix(data, limits) {
            let raw = value.raw();
            assert!(data.starts_with(raw));
            assert_eq!(bencode::decode(raw, limits), Ok(value));
            walk(value);
        }
    }
}

fn walk(value: Value<'_>) {
    if let Some(list) = value.as_list() {
        list.for_each(walk);
    } else if let Some(dictionary) = value.as_dictionary() {
        dictionary.entries().for_each(|(_, value)| walk(value));
    } else {
        assert!(value.as_int().is_some() != value.as_bytes().is_some());
    }
}

fn rewritten(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    rewrite(value, &mut out);
    out
}

fn rewrite(value: Value<'_>, out: &mut Vec<u8>) {
    if let Some(int) = value.as_int() {
        put_int(out, int);
    } else if let Some(bytes) = value.as_bytes() {
        put_bytes(out, bytes);
    } else if let Some(list) = value.as_list() {
        put_list(out, |out| list.for_each(|value| rewrite(value, out)));
    } else {
        let dictionary = value.as_dictionary().expect("the only other kind");
        put_dictionary(out, |entries| {
            for (key, value) in dictionary.entries() {
                rewrite(value, entries.value(key));
            }
        });
    }
}

pub fn bencode_samples() -> Vec<Vec<u8>> {
    let mut samples = info_samples();
    samples.extend(torrent_samples());
    for text in [
        "i-42e",
        "0:",
        "le",
        "de",
        "l4:spami1eli2eee",
        "d1:ai1e1:bl0:ee",
    ] {
        samples.push(text.into());
    }
    samples
}

/// What is accepted is consistent in itself, and safe to put on disk.
pub fn metainfo(data: &[u8]) {
    if let Ok(meta) = Metainfo::from_info(data) {
        assert_eq!(meta.info()[..], *data);
        check_meta(&meta);
        let file = torrent_file(data, &Extras::default());
        assert_eq!(Metainfo::from_torrent(&file).as_ref(), Ok(&meta));
    }
}

fn check_meta(meta: &Metainfo) {
    assert!(meta.piece_count() as usize <= PIECES_MAX && meta.files().len() <= FILES_MAX);
    let lens = (0..meta.piece_count()).map(|piece| u64::from(meta.piece_len(piece)));
    assert_eq!(lens.sum::<u64>(), meta.total_len());
    if let Some(last) = meta.piece_count().checked_sub(1) {
        assert!(meta.piece_len(last) > 0);
        let _ = meta.piece_hash(last);
    }
    assert!(is_safe(meta.name()));
    let mut offset = 0;
    let mut paths = Vec::new();
    for file in meta.files() {
        assert_eq!(file.offset, offset);
        offset += file.len;
        if !file.is_padding {
            assert!(!file.path.is_empty() && file.path.iter().all(|name| is_safe(name)));
            paths.push(&file.path);
        }
    }
    assert_eq!(offset, meta.total_len());
    paths.sort_unstable();
    let apart = |pair: &[&Vec<String>]| !pair[1].starts_with(pair[0]);
    assert!(
        paths.windows(2).all(apart),
        "one path leads through another"
    );
}

/// Whether a name is one plain step down, as the system sees it.
fn is_safe(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_step = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
    is_step && parts.next().is_none() && name.len() <= 255 && !name.contains('\0')
}

pub fn info_samples() -> Vec<Vec<u8>> {
    let folder = info(b"folder", |entries| {
        put_list(entries.value(b"files"), |files| {
            let paths: [&[&[u8]]; 3] = [&[b"a", b"b"], &[b".pad", b"3"], &[b"c"]];
            for (at, path) in paths.into_iter().enumerate() {
                put_dictionary(files, |file| {
                    if at == 1 {
                        file.bytes(b"attr", b"p");
                    }
                    file.int(b"length", 3 + at as i64);
                    put_list(file.value(b"path"), |out| {
                        path.iter().for_each(|part| put_bytes(out, part));
                    });
                });
            }
        });
    });
    let single = info(b"single", |entries| entries.int(b"length", 12));
    vec![folder, single]
}

/// An info dictionary of 12 bytes in pieces of 5.
fn info(name: &[u8], put_content: impl FnOnce(&mut bencode::Entries<'_>)) -> Vec<u8> {
    let mut info = Vec::new();
    put_dictionary(&mut info, |entries| {
        put_content(entries);
        entries.bytes(b"name", name);
        entries.int(b"piece length", 5);
        entries.bytes(b"pieces", &[7; 60]);
        entries.int(b"private", 1);
    });
    info
}

/// What is read from a `.torrent` file and written again is read as the same, and so is its magnet link.
pub fn torrent(data: &[u8]) {
    let Ok(torrent) = Torrent::from_bytes(data) else {
        return;
    };
    check_meta(&torrent.meta);
    assert!(torrent.trackers().count() <= TRACKERS_COUNT_MAX);
    let extras = Extras {
        tiers: &torrent.tiers,
        comment: torrent.comment.as_deref(),
        ..Extras::default()
    };
    let file = torrent_file(torrent.meta.info(), &extras);
    assert_eq!(Torrent::from_bytes(&file).as_ref(), Ok(&torrent));
    check_link(&torrent.magnet());
}

pub fn torrent_samples() -> Vec<Vec<u8>> {
    let url = |host: &str| format!("http://{host}:6969/announce");
    let tiers = [
        vec![url("one"), url("two")],
        vec!["udp://three:80".to_owned()],
    ];
    let extras = Extras {
        tiers: &tiers,
        comment: Some("a comment"),
        created_by: Some("Shoal"),
        creation_date: Some(1),
    };
    let files = info_samples().into_iter();
    files.map(|info| torrent_file(&info, &extras)).collect()
}

/// Whatever the names in a description are: what is accepted stays in its folder. Components end with a slash, paths with
/// a line end; the first is the name of the content.
pub fn names(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let name = lines.next().unwrap_or_default();
    let paths: Vec<Vec<&[u8]>> = lines
        .map(|line| line.split(|&byte| byte == b'/').collect())
        .collect();
    let folder = {
        let mut info = Vec::new();
        put_dictionary(&mut info, |entries| {
            put_list(entries.value(b"files"), |files| {
                for path in &paths {
                    put_dictionary(files, |file| {
                        file.int(b"length", 0);
                        put_list(file.value(b"path"), |out| {
                            path.iter().for_each(|part| put_bytes(out, part));
                        });
                    });
                }
            });
            entries.bytes(b"name", name);
            entries.int(b"piece length", 1);
            entries.bytes(b"pieces", b"");
        });
        info
    };
    metainfo(&folder);
    metainfo(&info(data, |entries| entries.int(b"length", 12)));
}

pub fn name_samples() -> Vec<Vec<u8>> {
    let samples = [
        "name\na/b\na/c\nd",
        "..\n../x",
        "n\n.\n./x",
        "\n\n",
        "x\n/etc/passwd",
        "n\na\na/b",
        "n\na\0b",
        "n\nCON\nü ü\n-",
    ];
    samples.map(|sample| sample.as_bytes().to_vec()).into()
}

/// A link that is read is written so that it is read as the same.
pub fn magnet(data: &[u8]) {
    if let Ok(link) = Magnet::parse(&String::from_utf8_lossy(data)) {
        check_link(&link);
    }
}

fn check_link(link: &Magnet) {
    let text = link.to_string();
    if text.len() <= shoal::wire::magnet::LINK_BYTES_MAX {
        assert_eq!(Magnet::parse(&text).as_ref(), Ok(link), "{text}");
    }
}

pub fn magnet_samples() -> Vec<Vec<u8>> {
    let hash = "0123456789abcdef0123456789abcdef01234567";
    vec![
        format!("magnet:?xt=urn:btih:{hash}&dn=a%20b&tr=http%3A%2F%2Fx%3A1%2Fa&x.pe=1.2.3.4:5")
            .into(),
        b"magnet:?xt.1=urn:btih:ABCDEFGHIJKLMNOPQRSTUVWXYZ234567&tr.2=udp://[::1]:80".into(),
        b"magnet:?xt=urn:btmh:1220aa&x.pe=[2001:db8::1]:80".into(),
    ]
}

const RECORD_HASH: InfoHash = InfoHash([7; 20]);
const RECORD_PART: Identity = Identity {
    device: 3,
    inode: 4,
};
const CHECKSUM_BYTES: usize = 20;

/// A record that stays open: only what it says changes, which costs no wait for the disk.
struct Record {
    bits: BitsFile,
    file: File,
    _scratch: TempDir,
}

impl Record {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let folder = Folder::open(scratch.path()).expect("the folder");
        let bits = BitsFile::open(&folder, "name").expect("it is free");
        let path = scratch.path().join("name.part.bits");
        let file = File::options().write(true).open(path);
        Self {
            bits,
            file: file.expect("it is there"),
            _scratch: scratch,
        }
    }
}

thread_local! {
    static RECORD: Record = Record::new();
}

/// A record of a download, behind a byte for the number of pieces and one that says whether its checksum is to be right:
/// it vouches for that many pieces, or for none.
pub fn resume(data: &[u8]) {
    let [count, with_checksum, record @ ..] = data else {
        return;
    };
    let mut record = record.to_vec();
    if *with_checksum % 2 == 1 && record.len() >= CHECKSUM_BYTES {
        let said = record.len() - CHECKSUM_BYTES;
        let checksum = Sha1::digest(&record[..said]);
        record[said..].copy_from_slice(&checksum);
    }
    let loaded = RECORD.with(|place| {
        place
            .file
            .set_len(record.len() as u64)
            .expect("there is room");
        place.file.write_all_at(&record, 0).expect("there is room");
        place.bits.load(RECORD_HASH, RECORD_PART, u32::from(*count))
    });
    if let Some(have) = loaded {
        assert_eq!(have.len(), u32::from(*count));
        assert!(record.ends_with(&Sha1::digest(&record[..record.len() - CHECKSUM_BYTES])));
    }
}

pub fn resume_samples() -> Vec<Vec<u8>> {
    let record = |count: u8| {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let folder = Folder::open(scratch.path()).expect("the folder");
        let mut bits = BitsFile::open(&folder, "name").expect("it is free");
        let mut have = Bitfield::none(count.into());
        (0..count.into()).step_by(3).for_each(|piece| {
            have.set(piece);
        });
        bits.save(RECORD_HASH, RECORD_PART, &have).expect("saved");
        let saved = std::fs::read(scratch.path().join("name.part.bits")).expect("there");
        [vec![count, 1], saved].concat()
    };
    vec![record(0), record(8), record(200)]
}
