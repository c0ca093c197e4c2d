//! The files of one content, read and written as one row of bytes.
//!
//! Owns the open files. Never moves a file position (every read and write names its offset), so threads share it freely.
//! Never creates a file, and never touches a padding file: its bytes read as zeros, and writes to it vanish.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::FileStat;

use nix::unistd::{Whence, lseek};

use super::handles::Handles;
use super::layout::{FileMap, FileSpec};
use super::paths::{Folder, Identity, at, failure};

/// Below this length a range is not worth a hint to the kernel.
const HINT_BYTES_MIN: u64 = 128 << 10;

/// Bytes of a content that any thread can read.
pub trait Content: Send + Sync + 'static {
    /// Fills `into` with the bytes from `offset` on. A file that is too short is `UnexpectedEof`.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Says that this range will be read soon.
    fn will_read(&self, offset: u64, len: u64);

    /// Fails if a file is not what it was when it was opened.
    fn check_unchanged(&self) -> io::Result<()>;
}

/// What shows that a file was changed or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) len: u64,
    modified: (i64, i64),
    identity: Identity,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            identity: Identity::of(metadata),
        }
    }

    /// As `of`, from what a plain system call says.
    pub(super) fn of_stat(stat: &FileStat) -> Self {
        Self {
            len: stat.st_size.unsigned_abs(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            identity: Identity {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
        }
    }
}

/// Where the open files come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The content is a single file, which stays open whatever its name becomes.
    Single(Arc<File>, PathBuf),
    /// Opened when needed, and closed again.
    Many {
        folder: Folder,
        handles: Handles,
        flags: OFlag,
        /// What each file must still be when it is opened; empty if the files are ours to change.
        stamps: Vec<Option<Stamp>>,
    },
}

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Vec<FileSpec>,
    pub(super) map: FileMap,
    pub(super) source: Source,
}

impl Tree {
    pub(super) fn new(files: Vec<FileSpec>, source: Source) -> io::Result<Self> {
        let too_long = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "more bytes than can be counted",
            )
        };
        let map = FileMap::new(files.iter().map(|file| file.len)).ok_or_else(too_long)?;
        Ok(Self { files, map, source })
    }

    /// The path of `file`, to be shown.
    pub(super) fn path(&self, file: usize) -> PathBuf {
        match &self.source {
            Source::Single(_, path) => path.clone(),
            Source::Many { folder, .. } => folder.shown(&self.files[file].path),
        }
    }

    /// An open handle of `file`.
    pub(super) fn handle(&self, file: usize) -> io::Result<Arc<File>> {
        match &self.source {
            Source::Single(handle, _) => Ok(Arc::clone(handle)),
            Source::Many {
                folder,
                handles,
                flags,
                stamps,
            } => handles.handle(file, || {
                let handle = folder.open_file(&self.files[file].path, *flags)?;
                let found = handle
                    .metadata()
                    .map_err(|error| at(&self.path(file), error))?;
                require_regular(&found).map_err(|error| at(&self.path(file), error))?;
                if stamps
                    .get(file)
                    .is_some_and(|stamp| *stamp != Some(Stamp::of(&found)))
                {
                    return Err(changed(&self.path(file)));
                }
                Ok(handle)
            }),
        }
    }

    pub(super) fn read_at(&self, offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        for span in self.map.spans(offset, into.len() as u64) {
            let (now, later) = into.split_at_mut(span.len as usize);
            if self.files[span.file].is_padding {
                now.fill(0);
            } else {
                self.handle(span.file)?
                    .read_exact_at(now, span.offset)
                    .map_err(|error| at(&self.path(span.file), error))?;
            }
            into = later;
        }
        Ok(())
    }

    /// Writes, and tells `written` the index of each file that was written to, after the fact.
    pub(super) fn write_at(
        &self,
        offset: u64,
        mut bytes: &[u8],
        mut written: impl FnMut(usize),
    ) -> io::Result<()> {
        for span in self.map.spans(offset, bytes.len() as u64) {
            let (now, later) = bytes.split_at(span.len as usize);
            if !self.files[span.file].is_padding {
                let outcome = self.handle(span.file)?.write_all_at(now, span.offset);
                written(span.file);
                outcome.map_err(|error| at(&self.path(span.file), error))?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Whether nothing was ever written to a range: it is a hole in every file that it touches. False where the
    /// filesystem does not say.
    pub(super) fn is_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        for span in self.map.spans(offset, len) {
            if self.files[span.file].is_padding {
                continue;
            }
            let handle = self.handle(span.file)?;
            match lseek(&*handle, span.offset as i64, Whence::SeekData) {
                Ok(data) if (data as u64) < span.offset + span.len => return Ok(false),
                Ok(_) | Err(Errno::ENXIO) => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    pub(super) fn will_read(&self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.map.len());
        let spans = self.map.spans(offset.min(end), end - offset.min(end));
        for span in spans.filter(|span| span.len >= HINT_BYTES_MIN) {
            if self.files[span.file].is_padding {
                continue;
            }
            if let Ok(handle) = self.handle(span.file) {
                let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
                // Only a hint: a failure to take it changes nothing.
                let _ = posix_fadvise(&*handle, span.offset as i64, span.len as i64, advice);
            }
        }
    }
}

/// Refuses what is not a regular file, by its kind.
pub(super) fn require_regular(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let why = if found.is_symlink() {
        "a symbolic link is in the way, and links are not followed here"
    } else if found.is_dir() {
        "a folder is in the way"
    } else {
        "something that is not a regular file is in the way"
    };
    Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
}

/// The error for a shared file that is no longer what was shared.
pub(super) fn changed(path: &std::path::Path) -> io::Error {
    failure(
        path,
        io::ErrorKind::InvalidData,
        "changed since it was opened for sharing",
    )
}
