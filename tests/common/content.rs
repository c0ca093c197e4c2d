//! Contents that are the same at every run, and whether copies are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};
use sha2::Sha256;
use shoal::base::Rng;
use shoal::wire::info_builder::{Content as Kind, canonical_info};
use shoal::wire::metainfo::Metainfo;

/// Bytes that depend on nothing but `seed`.
pub(crate) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Writes such bytes to a file.
pub(crate) fn file(path: &Path, seed: u64, len: usize) -> PathBuf {
    fs::write(path, random_bytes(seed, len)).expect("a file");
    path.to_owned()
}

/// The files below a folder, each with its length and the SHA-256 of its bytes.
pub(crate) type Tree = BTreeMap<PathBuf, (u64, [u8; 32])>;

/// Every file below a folder, or the one file itself, by its path.
pub(crate) fn tree(path: &Path) -> Tree {
    let mut files = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(at) = left.pop() {
        if at.is_dir() {
            let entries = fs::read_dir(&at).expect("a folder");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let bytes = fs::read(&at).expect("a file");
        let name = at.strip_prefix(path).expect("below it").to_owned();
        files.insert(name, (bytes.len() as u64, Sha256::digest(&bytes).into()));
    }
    files
}

/// Asserts that two files or folders hold the same.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    assert_same_trees(&tree(one), &tree(other));
}

/// Asserts that two folders that were read hold the same.
#[track_caller]
pub(crate) fn assert_same_trees(left: &Tree, right: &Tree) {
    let all = left.keys().chain(right.keys());
    let differ: BTreeSet<_> = all
        .filter(|name| left.get(*name) != right.get(*name))
        .collect();
    assert!(differ.is_empty(), "these differ: {differ:?}");
}

/// A content of one file that scripted peers offer.
pub(crate) struct Content {
    pub(crate) meta: Metainfo,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    pub(crate) fn new(name: &str, piece_length: u32, bytes: Vec<u8>) -> Self {
        let digest = Sha256::digest(&bytes).into();
        Self::with_digest(name, piece_length, bytes, digest)
    }

    /// One whose description has this SHA-256, be it right or wrong.
    pub(crate) fn with_digest(
        name: &str,
        piece_length: u32,
        bytes: Vec<u8>,
        digest: [u8; 32],
    ) -> Self {
        let hashes: Vec<u8> = bytes
            .chunks(piece_length as usize)
            .flat_map(|piece| Sha1::digest(piece).to_vec())
            .collect();
        let kind = Kind::Single {
            len: bytes.len() as u64,
            sha256: Some(digest),
        };
        let info = canonical_info(name, piece_length, &hashes, kind);
        let meta = Metainfo::from_info(&info).expect("canonical");
        Self { meta, bytes }
    }

    /// The bytes of a part of a piece.
    pub(crate) fn block(&self, piece: u32, begin: u32, len: u32) -> &[u8] {
        let at = piece as usize * self.meta.piece_length() as usize + begin as usize;
        &self.bytes[at..at + len as usize]
    }
}
