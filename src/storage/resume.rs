//! The record of a download: which pieces of `NAME.part` are verified and on disk, kept beside it as `NAME.part.bits`.
//!
//! Owns that file and, by its lock, the right to download NAME into that folder. Never vouches for data: the caller puts
//! the data on disk first, and saves the record then.
//!
//! Invariants:
//! 1. From `open` to `remove` the file that bears the name is locked by us (flock), so that a second process is refused:
//!    what is to take the name is locked before it takes it.
//! 2. The name always leads to a whole record: the new one is written beside it, put on disk and renamed.
//! 3. A record that is torn, of another content, or of another file than the one in question, is no record.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use nix::fcntl::OFlag;
use sha1::{Digest, Sha1};

use super::paths::{Folder, Identity, NAME_BYTES_MAX, at, check_name, failure};
use super::tree::require_regular;
use crate::base::{Bitfield, InfoHash};

/// What follows the name of a content in the name of its record.
pub const BITS_SUFFIX: &str = ".part.bits";
/// As long as `BITS_SUFFIX`, so that a record that can be named can be written.
const NEW_SUFFIX: &str = ".part.bit~";

const MAGIC: &[u8; 12] = b"shoal bits\0\x01";
/// The magic, info-hash, device, inode and piece count.
const HEAD_BYTES: usize = MAGIC.len() + 20 + 8 + 8 + 4;
/// A SHA-1 of all that stands before it.
const CHECKSUM_BYTES: usize = 20;

/// Tries to lock the file that bears the name, each after it was replaced by the process that held the lock before.
const LOCK_TRIES_MAX: usize = 100;

/// The record, locked.
#[derive(Debug)]
pub struct BitsFile {
    folder: Folder,
    name: String,
    name_new: String,
    /// The lock lives as long as this handle.
    locked: File,
}

impl BitsFile {
    /// Opens or creates the record of the content called `name` in `folder`, and locks it.
    ///
    /// `WouldBlock` if another process holds it: it downloads the same into the same folder. `InvalidFilename` if the
    /// name of the record would be too long.
    pub fn open(folder: &Folder, name: &str) -> io::Result<Self> {
        let path = folder.shown(&[name]);
        check_name(name).map_err(|error| at(&path, error))?;
        if name.len() + BITS_SUFFIX.len() > NAME_BYTES_MAX {
            let name_max = NAME_BYTES_MAX - BITS_SUFFIX.len();
            let why = format!(
                "a name of more than {name_max} bytes leaves no room for \"{BITS_SUFFIX}\""
            );
            return Err(failure(&path, io::ErrorKind::InvalidFilename, &why));
        }
        let bits = format!("{name}{BITS_SUFFIX}");
        let locked = lock_named(folder, &bits)?;
        let name_new = format!("{name}{NEW_SUFFIX}");
        // What a killed process left: only the holder of the lock writes it.
        folder.remove_file(&name_new)?;
        Ok(Self {
            folder: folder.clone(),
            name: bits,
            name_new,
            locked,
        })
    }

    /// The pieces that the record vouches for, if it is whole and speaks of this content, this file and this many pieces.
    pub fn load(&self, info_hash: InfoHash, part: Identity, piece_count: u32) -> Option<Bitfield> {
        let bytes_expected = HEAD_BYTES + Bitfield::byte_len(piece_count) + CHECKSUM_BYTES;
        if self.locked.metadata().ok()?.len() != bytes_expected as u64 {
            return None;
        }
        let mut record = Vec::with_capacity(bytes_expected);
        // A fresh handle reads from the start.
        let file = self.folder.open_file(&[&self.name], OFlag::O_RDONLY).ok()?;
        file.take(bytes_expected as u64)
            .read_to_end(&mut record)
            .ok()?;
        let (said, checksum) = record.split_at_checked(bytes_expected - CHECKSUM_BYTES)?;
        let (head, bits) = said.split_at(HEAD_BYTES);
        let whole = Sha1::digest(said)[..] == *checksum;
        if !whole || head != head_of(info_hash, part, piece_count) {
            return None;
        }
        Bitfield::from_bytes(piece_count, bits)
    }

    /// Replaces the record. The pieces in `have` must be on disk already ([`super::PartFiles::sync_data`]).
    ///
    /// After an error the record is the old one or the new one, and whole.
    pub fn save(&mut self, info_hash: InfoHash, part: Identity, have: &Bitfield) -> io::Result<()> {
        let mut record = head_of(info_hash, part, have.len());
        record.extend_from_slice(have.as_bytes());
        let checksum = Sha1::digest(&record);
        record.extend_from_slice(&checksum);

        let wrap = |error| at(&self.folder.shown(&[&self.name_new]), error);
        self.folder.remove_file(&self.name_new)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut new = self.folder.open_file(&[&self.name_new], flags)?;
        try_lock(&new).map_err(wrap)?;
        new.write_all(&record).map_err(wrap)?;
        new.sync_all().map_err(wrap)?;
        self.folder.rename(&self.name_new, &self.name)?;
        self.locked = new;
        self.folder.sync()
    }

    /// Removes the record if nothing was ever saved in it: nothing was begun.
    pub fn remove_if_empty(self) -> io::Result<()> {
        if self.locked.metadata()?.len() == 0 {
            return self.remove();
        }
        Ok(())
    }

    /// Removes the record, and only then lets go of the lock.
    pub fn remove(self) -> io::Result<()> {
        self.folder.remove_file(&self.name_new)?;
        self.folder.remove_file(&self.name)?;
        drop(self.locked);
        Ok(())
    }
}

fn head_of(info_hash: InfoHash, part: Identity, piece_count: u32) -> Vec<u8> {
    let mut head =
        Vec::with_capacity(HEAD_BYTES + Bitfield::byte_len(piece_count) + CHECKSUM_BYTES);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&info_hash.0);
    head.extend_from_slice(&part.device.to_be_bytes());
    head.extend_from_slice(&part.inode.to_be_bytes());
    head.extend_from_slice(&piece_count.to_be_bytes());
    head
}

/// Locks the file that bears `name`, creating it if need be. A file that lost the name meanwhile does not count.
fn lock_named(folder: &Folder, name: &str) -> io::Result<File> {
    let path = folder.shown(&[name]);
    for _ in 0..LOCK_TRIES_MAX {
        let file = folder.open_file(&[name], OFlag::O_RDWR | OFlag::O_CREAT)?;
        let found = file.metadata().map_err(|error| at(&path, error))?;
        require_regular(&found).map_err(|error| at(&path, error))?;
        try_lock(&file).map_err(|error| busy(&path, error))?;
        let named = folder.metadata(&[name])?;
        if named.is_some_and(|named| Identity::of(&named) == Identity::of(&found)) {
            return Ok(file);
        }
    }
    Err(busy(&path, io::ErrorKind::WouldBlock.into()))
}

fn try_lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => error,
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
    })
}

fn busy(path: &Path, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return failure(path, error.kind(), "the same download already runs here");
    }
    at(path, error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HASH: InfoHash = InfoHash([7; 20]);
    const PART: Identity = Identity {
        device: 3,
        inode: 4,
    };

    fn scratch() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let folder = Folder::open(dir.path()).expect("the folder");
        (dir, folder)
    }

    fn some_bits(len: u32) -> Bitfield {
        let mut bits = Bitfield::none(len);
        for index in (0..len).step_by(3) {
            bits.set(index);
        }
        bits
    }

    #[test]
    fn a_record_survives_its_process() {
        let (dir, folder) = scratch();
        for len in [0, 1, 8, 9, 2000] {
            let bits = some_bits(len);
            let mut file = BitsFile::open(&folder, "name").expect("free");
            file.save(HASH, PART, &bits).expect("saved");
            assert_eq!(file.load(HASH, PART, len), Some(bits.clone()));
            drop(file);
            let file = BitsFile::open(&folder, "name").expect("free again");
            assert_eq!(file.load(HASH, PART, len), Some(bits));
            file.remove().expect("removed");
            assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
        }
    }

    #[test]
    fn a_record_of_something_else_is_none() {
        let (_dir, folder) = scratch();
        let mut file = BitsFile::open(&folder, "name").expect("free");
        assert_eq!(
            file.load(HASH, PART, 100),
            None,
            "a new record says nothing"
        );
        file.save(HASH, PART, &some_bits(100)).expect("saved");
        assert_eq!(file.load(InfoHash([8; 20]), PART, 100), None);
        assert_eq!(file.load(HASH, Identity { device: 0, ..PART }, 100), None);
        assert_eq!(file.load(HASH, Identity { inode: 0, ..PART }, 100), None);
        assert_eq!(
            file.load(HASH, PART, 99),
            None,
            "as many bytes, fewer pieces"
        );
        assert_eq!(file.load(HASH, PART, u32::MAX), None);
    }

    #[test]
    fn a_torn_record_is_none_wherever_it_is_torn() {
        let (dir, folder) = scratch();
        let mut file = BitsFile::open(&folder, "name").expect("free");
        file.save(HASH, PART, &some_bits(100)).expect("saved");
        drop(file);
        let path = dir.path().join("name.part.bits");
        let record = fs::read(&path).expect("readable");
        for at in 0..record.len() {
            let mut flipped = record.clone();
            flipped[at] ^= 0x10;
            let zeroed = [&record[..at], &vec![0; record.len() - at]].concat();
            let longer = [&record[..], &record[..=at]].concat();
            for torn in [&record[..at], &flipped, &zeroed, &longer] {
                fs::write(&path, torn).expect("writable");
                let file = BitsFile::open(&folder, "name").expect("free");
                assert_eq!(file.load(HASH, PART, 100), None, "torn at {at}");
            }
        }
    }

    #[test]
    fn a_second_opener_is_refused_before_and_after_each_save() {
        let (dir, folder) = scratch();
        let mut file = BitsFile::open(&folder, "name").expect("free");
        let refused = || {
            let error = BitsFile::open(&folder, "name").expect_err("locked");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        };
        refused();
        for _ in 0..3 {
            file.save(HASH, PART, &some_bits(9)).expect("saved");
            refused();
        }
        BitsFile::open(&folder, "another").expect("another name is free");
        // A handle from before a save names a file that lost the name: its lock means nothing.
        let stale = File::open(dir.path().join("name.part.bits")).expect("there");
        file.save(HASH, PART, &some_bits(9)).expect("saved");
        stale.try_lock().expect("nobody needs that one");
        refused();
        drop(file);
        BitsFile::open(&folder, "name").expect("free when the holder is gone");
    }

    #[test]
    fn one_of_many_openers_holds_the_lock_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (_dir, folder) = scratch();
        let (holders, won) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for turn in 0..200 {
                        let Ok(mut file) = BitsFile::open(&folder, "name") else {
                            continue;
                        };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        file.save(HASH, PART, &some_bits(turn)).expect("saved");
                        won.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                        if turn % 2 == 0 {
                            file.remove().expect("removed");
                        }
                    }
                });
            }
        });
        assert!(won.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn a_name_that_leaves_no_room_for_the_record_is_refused() {
        let (_dir, folder) = scratch();
        let longest = "n".repeat(NAME_BYTES_MAX - BITS_SUFFIX.len());
        let mut file = BitsFile::open(&folder, &longest).expect("just fits");
        file.save(HASH, PART, &some_bits(9))
            .expect("and can be saved");
        let error = BitsFile::open(&folder, &format!("{longest}n")).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
        assert!(BitsFile::open(&folder, "../name").is_err());
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let (dir, folder) = scratch();
        fs::write(dir.path().join("victim"), b"kept").expect("a file");
        for name in ["name.part.bits", "other.part.bit~"] {
            std::os::unix::fs::symlink("victim", dir.path().join(name)).expect("a link");
        }
        assert!(BitsFile::open(&folder, "name").is_err());
        let mut file = BitsFile::open(&folder, "other").expect("free");
        file.save(HASH, PART, &some_bits(9)).expect("saved");
        let victim = fs::read(dir.path().join("victim")).expect("there");
        assert_eq!(victim, b"kept");
    }
}
