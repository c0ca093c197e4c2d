//! A folder of small files, each replaced as a whole: what must survive a crash.
//!
//! Owns the folder, locked against a second program. Knows names and bytes, not what they mean.
//!
//! Invariants:
//! 1. What `write` returned `Ok` for is on disk under its name, whole, and so is its name.
//! 2. A crash leaves each name with its old bytes or with its new ones; what was begun has a name of its own
//!    ([`BEGUN_SUFFIX`]), which the next `open` removes.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::paths::{at, check_name, failure};

/// What the name of a file ends with that is not yet whole.
pub const BEGUN_SUFFIX: &str = ".new";

/// The folder; unlocked when it is dropped.
#[derive(Debug)]
pub struct KeptFolder {
    path: PathBuf,
    /// The folder itself: it carries the lock, and its own entries are made durable through it.
    handle: File,
}

impl KeptFolder {
    /// Opens the folder at `path`, made if need be, locks it, and removes what a crash left half-written.
    ///
    /// # Errors
    /// `ResourceBusy` if another program has it open; otherwise what the system says. Each names the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let wrap = |error| at(path, error);
        fs::create_dir_all(path).map_err(wrap)?;
        let handle = File::open(path).map_err(wrap)?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(wrap(error)),
            Err(TryLockError::WouldBlock) => {
                let why = "another program has locked it";
                return Err(failure(path, io::ErrorKind::ResourceBusy, why));
            }
        }
        let folder = Self {
            path: path.to_owned(),
            handle,
        };
        for name in folder.names()? {
            if name.ends_with(BEGUN_SUFFIX) {
                folder.remove(&name)?;
            }
        }
        Ok(folder)
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, to be shown.
    pub fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names in it, sorted; a name that is not UTF-8 is none of ours and is left out.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let wrap = |error| at(&self.path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(wrap)? {
            names.extend(entry.map_err(wrap)?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The bytes of a file, of which there may be at most `bytes_max`.
    pub fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let path = self.own(name)?;
        let wrap = |error| at(&path, error);
        let file = File::open(&path).map_err(wrap)?;
        let metadata = file.metadata().map_err(wrap)?;
        if !metadata.is_file() {
            return Err(failure(&path, io::ErrorKind::InvalidData, "not a file"));
        }
        if metadata.len() > bytes_max {
            return Err(failure(&path, io::ErrorKind::FileTooLarge, "too long"));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.take(bytes_max).read_to_end(&mut bytes).map_err(wrap)?;
        Ok(bytes)
    }

    /// `len` bytes of a file from `offset` on; there must be as many.
    pub fn read_range(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let path = self.own(name)?;
        let wrap = |error| at(&path, error);
        let mut bytes = vec![0; len];
        let file = File::open(&path).map_err(wrap)?;
        file.read_exact_at(&mut bytes, offset).map_err(wrap)?;
        Ok(bytes)
    }

    /// Gives a file these bytes, and returns when they and its name are on disk. After an error the old bytes are there,
    /// or, if only the folder could not be made durable, the new ones.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.own(name)?;
        let begun = self.own(&format!("{name}{BEGUN_SUFFIX}"))?;
        let wrap = |error| at(&path, error);
        let written = write_whole(&begun, bytes).and_then(|()| fs::rename(&begun, &path));
        if written.is_err() {
            // What is left of it would be removed at the next start.
            let _ = fs::remove_file(&begun);
        }
        written.map_err(wrap)?;
        self.sync()
    }

    /// Removes a file if it is there, and returns when that is on disk.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.own(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path, error)),
            _ => self.sync(),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.handle
            .sync_all()
            .map_err(|error| at(&self.path, error))
    }

    fn own(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.shown(name);
        match check_name(name) {
            Ok(()) => Ok(path),
            Err(error) => Err(at(&path, error)),
        }
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_again_and_what_was_begun_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b");
        let folder = KeptFolder::open(&path).expect("made");
        folder.write("one", b"first").expect("written");
        folder.write("one", b"second").expect("replaced");
        folder.write("two", b"").expect("written");
        folder.remove("two").expect("removed");
        folder.remove("two").expect("nothing to remove");
        fs::write(path.join("three.new"), b"tor").expect("a torn file");
        drop(folder);
        let folder = KeptFolder::open(&path).expect("there");
        assert_eq!(folder.names().expect("names"), ["one"]);
        assert_eq!(folder.read("one", 6).expect("whole"), b"second");
        assert_eq!(folder.read_range("one", 3, 2).expect("there"), b"on");
        let long = folder.read("one", 5).expect_err("too long");
        assert_eq!(long.kind(), io::ErrorKind::FileTooLarge);
        assert!(folder.read_range("one", 3, 9).is_err());
    }

    #[test]
    fn a_second_program_is_refused_while_the_first_runs() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = KeptFolder::open(dir.path()).expect("there");
        let error = KeptFolder::open(dir.path()).expect_err("locked");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let shown = dir.path().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&shown), "{error}");
        drop(folder);
        assert!(KeptFolder::open(dir.path()).is_ok());
    }

    #[test]
    fn a_failed_write_leaves_the_old_bytes_and_nothing_begun() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = KeptFolder::open(dir.path()).expect("there");
        fs::create_dir(dir.path().join("taken")).expect("a folder in the way");
        assert!(folder.write("taken", b"x").is_err());
        assert_eq!(folder.names().expect("names"), ["taken"]);
        assert!(folder.write("../out", b"x").is_err());
        assert!(folder.read("taken", 100).is_err());
    }
}
