//! The content that is carried, and the comparison of what arrived.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::place::{MIB, fill, scratch};
use crate::programs::{start_sharer, start_tracker};

/// A folder with the content in it, and room for copies.
pub(crate) struct Place {
    pub(crate) root: TempDir,
}

impl Place {
    pub(crate) const NAME: &'static str = "content.bin";

    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            root: scratch(bytes),
        }
    }

    /// On the disk that holds what is built.
    pub(crate) fn on_disk() -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self {
            root: root.expect("a folder"),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.root.path().join(Self::NAME)
    }

    /// Puts a content of so many bytes there; the piece length that a sharer chooses for it.
    pub(crate) fn fill(&self, bytes: u64) -> u64 {
        fill(&self.file(), bytes);
        let (tracker, addr) = start_tracker(&self.root.path().join("state"));
        let (sharer, piece_len) = start_sharer(&addr, &self.file());
        sharer.stop();
        tracker.stop();
        piece_len
    }

    /// Panics unless every copy is the file; its SHA-256.
    pub(crate) fn compared(&self, copies: impl Iterator<Item = PathBuf>) -> String {
        let ours = sha256(&self.file()).expect("readable");
        for copy in copies {
            assert_eq!(sha256(&copy).expect("a copy"), ours, "{}", copy.display());
        }
        ours
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = BufReader::new(File::open(path)?);
    let mut digest = Sha256::new();
    let mut chunk = vec![0; MIB as usize];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => digest.update(&chunk[..count]),
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
