//! The content that is carried, and the comparison of what arrived.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::place::{MIB, fill, scratch, use_once};
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
        let (sharer, piece_len) = start_sharer(&addr, &self.file(), None);
        sharer.stop();
        tracker.stop();
        piece_len
    }

    /// Uses the memory of so many copies and one more, so that who runs next does not wait until the machine is given it.
    pub(crate) fn use_memory(&self, copies: usize) {
        let len = std::fs::metadata(self.file()).map_or(0, |file| file.len());
        use_once((copies as u64 + 1) * len);
    }

    /// Panics unless every copy is the file.
    pub(crate) fn compared(&self, copies: impl Iterator<Item = PathBuf>) {
        for copy in copies {
            let is_same = is_same(&self.file(), &copy);
            assert!(is_same.expect("a copy"), "{} differs", copy.display());
        }
    }

    /// The SHA-256 of the file.
    pub(crate) fn sha256(&self) -> String {
        sha256(&self.file()).expect("readable")
    }
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let len = one.metadata()?.len();
    if len != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for at in (0..len).step_by(MIB as usize) {
        let count = MIB.min(len - at) as usize;
        one.read_exact(&mut ours[..count])?;
        other.read_exact(&mut theirs[..count])?;
        if ours[..count] != theirs[..count] {
            return Ok(false);
        }
    }
    Ok(true)
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
