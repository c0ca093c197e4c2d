//! A download on disk: `NAME.part`, a sparse file or a folder of them, until `finish` gives it its name.
//!
//! Owns every file that is written. Never writes outside the folder it was given, never follows a link below it, and
//! never replaces what it was not told to replace.
//!
//! Invariants:
//! 1. Nothing is created unless the disk has room for all of it, and nothing that exists is changed before all of it was looked at.
//! 2. After `sync_data` returns well, all that was written before the call is on disk. Once a sync has failed, none returns
//!    well again: the kernel may have dropped the pages (Rebello and others, "Can applications recover from fsync
//!    failures?", ATC 2020).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;

use super::handles::Handles;
use super::layout::FileSpec;
use super::paths::{Folder, Identity, at, check_name, failure};
use super::tree::{Content, Source, Tree, require_regular};

/// What follows the name of a content while it is incomplete.
pub const PART_SUFFIX: &str = ".part";

/// From this many files on, one sync of the filesystem is cheaper than one of each.
const FILES_SYNCED_MAX: usize = 64;

/// The files of a download.
#[derive(Debug)]
pub struct PartFiles {
    /// The folder that the content is to lie in.
    folder: Folder,
    name: String,
    single: bool,
    tree: Tree,
    identity: Identity,
    new_files: Vec<usize>,
    unsynced: Mutex<BTreeSet<Unsynced>>,
    /// Held while syncing, so that no sync returns before one that has begun earlier; true once one has failed.
    sync_failed: Mutex<bool>,
}

/// What may not be on disk yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsynced {
    /// A folder below the root of the content, by its names: it has new entries.
    Folder(Vec<String>),
    /// A file, by its index.
    File(usize),
}

impl PartFiles {
    /// Opens the download called `name` in `folder`, or begins it: every file has its full length then, without taking up space.
    ///
    /// The caller holds the record of `name` ([`super::BitsFile`]), so that no second process is at the same files.
    /// `single`: the content is the one file in `files`, whose path is not looked at. Otherwise `files` lie in a folder.
    /// `StorageFull` if there is no room, `AlreadyExists` if something else is in the way, `InvalidInput` if a name leads
    /// elsewhere or two files share one.
    pub fn create_or_open(
        folder: &Folder,
        name: &str,
        files: &[FileSpec],
        single: bool,
    ) -> io::Result<Self> {
        let part = format!("{name}{PART_SUFFIX}");
        check_name(name).map_err(|error| at(&folder.shown(&[name]), error))?;
        let plan = Plan::new(folder, &part, files, single)?;
        plan.require_room()?;
        let (source, identity, unsynced) = plan.carry_out()?;
        Ok(Self {
            folder: folder.clone(),
            name: name.to_owned(),
            single,
            tree: Tree::new(files.to_vec(), source)?,
            identity,
            new_files: plan.incomplete,
            unsynced: Mutex::new(unsynced),
            sync_failed: Mutex::new(false),
        })
    }

    /// A download of the one file in `files` that never gets a name: it lies in `folder` for as long as it is open.
    ///
    /// # Errors
    /// `StorageFull` if there is no room; every error names the folder.
    pub fn unnamed(folder: &Folder, files: &[FileSpec]) -> io::Result<Self> {
        let [file] = files else {
            let why = "what has no name is a single file";
            return Err(failure(folder.path(), io::ErrorKind::InvalidInput, why));
        };
        require_room(folder, folder.path(), file.len)?;
        let handle = folder.open_unnamed()?;
        let wrap = |error| at(folder.path(), error);
        handle.set_len(file.len).map_err(wrap)?;
        let identity = Identity::of(&handle.metadata().map_err(wrap)?);
        let source = Source::Single(Arc::new(handle), folder.path().to_owned());
        Ok(Self {
            folder: folder.clone(),
            name: String::new(),
            single: true,
            tree: Tree::new(files.to_vec(), source)?,
            identity,
            new_files: vec![0],
            unsynced: Mutex::default(),
            sync_failed: Mutex::new(false),
        })
    }

    /// What names `NAME.part` for good.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The files that were missing or too short, ascending: whatever a record says of their pieces is void.
    pub fn new_files(&self) -> &[usize] {
        &self.new_files
    }

    /// The files, as they were given.
    pub fn files(&self) -> &[FileSpec] {
        &self.tree.files
    }

    /// Fills `into` with the bytes of the content from `offset` on.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.tree.read_at(offset, into)
    }

    /// Whether nothing was ever written to this range, so that there is nothing in it to be hashed.
    pub fn is_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.tree.is_hole(offset, len)
    }

    /// Writes `bytes` to the content from `offset` on. After an error any part of them may be written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.tree.write_at(offset, bytes, |file| {
            self.unsynced().insert(Unsynced::File(file));
        })
    }

    /// Waits until all that was written before the call is on disk, and all names that lead to it.
    pub fn sync_data(&self) -> io::Result<()> {
        let mut failed = self
            .sync_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *failed {
            let why = "an earlier write to the disk failed, so what it holds is unknown";
            return Err(failure(&self.part_path(), io::ErrorKind::Other, why));
        }
        let unsynced = std::mem::take(&mut *self.unsynced());
        let outcome = match &self.tree.source {
            Source::Many { folder, .. } if unsynced.len() > FILES_SYNCED_MAX => {
                folder.sync_filesystem()
            }
            _ => unsynced.iter().try_for_each(|what| self.sync_one(what)),
        };
        *failed = outcome.is_err();
        outcome
    }

    /// Puts everything on disk and gives the content its name; `overwrite` lets it take the place of a file by a file, or
    /// of a folder by a folder. Returns the path.
    ///
    /// `AlreadyExists` if the name is taken: then, as after any error, all is kept and `finish` may be called again.
    pub fn finish(&self, overwrite: bool) -> io::Result<PathBuf> {
        self.sync_data()?;
        check_target(&self.folder, &self.name, self.single, overwrite)?;
        let (part, name) = (format!("{}{PART_SUFFIX}", self.name), &self.name);
        if !overwrite {
            self.folder.rename_new(&part, name)?;
        } else if self.single {
            self.folder.rename(&part, name)?;
        } else {
            self.replace_folder(&part)?;
        }
        self.folder.sync()?;
        Ok(self.folder.shown(&[name]))
    }

    fn replace_folder(&self, part: &str) -> io::Result<()> {
        let (folder, name) = (&self.folder, &self.name);
        if folder.metadata(&[name])?.is_none() {
            return folder.rename_new(part, name);
        }
        let mut old = part.to_owned();
        if !folder.exchange(part, name)? {
            // The old folder stands aside for a moment. Nothing else of ours is called like this.
            old.push('~');
            folder.rename_new(name, &old)?;
            if let Err(error) = folder.rename_new(part, name) {
                folder.rename_new(&old, name)?;
                return Err(error);
            }
        }
        folder.sync()?;
        if let Err(error) = folder.remove_tree(&old) {
            log::warn!("the folder that was replaced is still there: {error}");
        }
        Ok(())
    }

    fn sync_one(&self, what: &Unsynced) -> io::Result<()> {
        match what {
            Unsynced::File(file) => {
                let handle = self.tree.handle(*file)?;
                handle
                    .sync_data()
                    .map_err(|error| at(&self.tree.path(*file), error))
            }
            Unsynced::Folder(names) => match &self.tree.source {
                Source::Single(..) => self.folder.sync(),
                Source::Many { folder, .. } if names.is_empty() => {
                    folder.sync().and_then(|()| self.folder.sync())
                }
                Source::Many { folder, .. } => folder.folder(names)?.sync(),
            },
        }
    }

    fn part_path(&self) -> PathBuf {
        self.folder.shown(&[format!("{}{PART_SUFFIX}", self.name)])
    }

    fn unsynced(&self) -> MutexGuard<'_, BTreeSet<Unsynced>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content for PartFiles {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.tree.read_at(offset, into)
    }

    fn will_read(&self, offset: u64, len: u64) {
        self.tree.will_read(offset, len);
    }

    /// What we write ourselves is ours to change.
    fn check_unchanged(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a content called `name` may be put into `folder`: the name must be free, or, with `overwrite`, belong to a
/// regular file if the content is a `single` file, else to a folder. `AlreadyExists` otherwise.
pub fn check_target(folder: &Folder, name: &str, single: bool, overwrite: bool) -> io::Result<()> {
    let Some(found) = folder.metadata(&[name])? else {
        return Ok(());
    };
    let why = if !overwrite {
        "exists already"
    } else if single && !found.is_file() {
        "is not a file, and a file takes the place of a file only"
    } else if !single && !found.is_dir() {
        "is not a folder, and a folder takes the place of a folder only"
    } else {
        return Ok(());
    };
    Err(failure(
        &folder.shown(&[name]),
        io::ErrorKind::AlreadyExists,
        why,
    ))
}

/// What is there, looked at before anything is changed.
struct Plan<'a> {
    outer: &'a Folder,
    part: &'a str,
    files: &'a [FileSpec],
    single: bool,
    /// Files without their full length, ascending.
    incomplete: Vec<usize>,
    /// Files that are longer than they should be.
    overlong: Vec<usize>,
    /// Bytes that the files may still take up.
    bytes_missing: u64,
}

impl<'a> Plan<'a> {
    fn new(
        outer: &'a Folder,
        part: &'a str,
        files: &'a [FileSpec],
        single: bool,
    ) -> io::Result<Self> {
        if single && (files.len() != 1 || files[0].is_padding) {
            let why = "a single file is not described by one file";
            return Err(failure(
                &outer.shown(&[part]),
                io::ErrorKind::InvalidInput,
                why,
            ));
        }
        if !single {
            require_distinct(files).map_err(|error| at(&outer.shown(&[part]), error))?;
        }
        let mut plan = Self {
            outer,
            part,
            files,
            single,
            incomplete: Vec::new(),
            overlong: Vec::new(),
            bytes_missing: 0,
        };
        let root = match outer.metadata(&[part])? {
            Some(found) if !single && !found.is_dir() => {
                let why = "something that is not a folder is in the way";
                return Err(failure(
                    &outer.shown(&[part]),
                    io::ErrorKind::AlreadyExists,
                    why,
                ));
            }
            Some(_) if !single => Some(outer.folder(&[part])?),
            _ => None,
        };
        for index in 0..files.len() {
            plan.look_at(index, root.as_ref())?;
        }
        Ok(plan)
    }

    fn look_at(&mut self, index: usize, root: Option<&Folder>) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let file = &self.files[index];
        if file.is_padding {
            return Ok(());
        }
        let (found, path) = match root {
            _ if self.single => (
                self.outer.metadata(&[self.part])?,
                self.outer.shown(&[self.part]),
            ),
            Some(root) => (root.metadata(&file.path)?, root.shown(&file.path)),
            None => (None, PathBuf::new()),
        };
        let (mut len, mut bytes_allocated) = (None, 0);
        if let Some(found) = found {
            require_regular(&found).map_err(|error| at(&path, error))?;
            len = Some(found.len());
            // `st_blocks` counts units of 512 bytes, whatever the filesystem's blocks are (stat(2)).
            bytes_allocated = found.blocks().saturating_mul(512);
        }
        if len.is_none_or(|len| len < file.len) {
            self.incomplete.push(index);
        } else if len > Some(file.len) {
            self.overlong.push(index);
        }
        let missing = file.len.saturating_sub(bytes_allocated);
        self.bytes_missing = self.bytes_missing.saturating_add(missing);
        Ok(())
    }

    fn require_room(&self) -> io::Result<()> {
        let path = self.outer.shown(&[self.part]);
        require_room(self.outer, &path, self.bytes_missing)
    }

    /// Creates what is missing. Returns the files, what names their root for good, and what is to be synced.
    fn carry_out(&self) -> io::Result<(Source, Identity, BTreeSet<Unsynced>)> {
        let mut unsynced = BTreeSet::new();
        let changed = self.incomplete.iter().chain(&self.overlong);
        if self.single {
            let handle = self.size(self.outer, &[self.part], self.files[0].len)?;
            if changed.count() > 0 {
                unsynced.extend([Unsynced::Folder(Vec::new()), Unsynced::File(0)]);
            }
            let identity = Identity::of(&handle.metadata()?);
            let source = Source::Single(Arc::new(handle), self.outer.shown(&[self.part]));
            return Ok((source, identity, unsynced));
        }
        self.outer.make_folders(&[self.part.to_owned()], |_| {
            unsynced.insert(Unsynced::Folder(Vec::new()));
        })?;
        let folder = self.outer.folder(&[self.part])?;
        let mut parent: &[String] = &[];
        for &index in changed {
            let file = &self.files[index];
            let (_, leading) = file
                .path
                .split_last()
                .expect("distinct paths are not empty");
            if leading != parent {
                folder.make_folders(leading, |made| {
                    unsynced.insert(Unsynced::Folder(made[..made.len() - 1].to_vec()));
                })?;
                parent = leading;
            }
            self.size(&folder, &file.path, file.len)?;
            unsynced.extend([Unsynced::Folder(leading.to_vec()), Unsynced::File(index)]);
        }
        let identity = folder.identity()?;
        let source = Source::Many {
            folder,
            handles: Handles::new(),
            flags: OFlag::O_RDWR,
            stamps: Vec::new(),
        };
        Ok((source, identity, unsynced))
    }

    /// Opens or creates one file and gives it its length.
    fn size<S: AsRef<str>>(&self, folder: &Folder, names: &[S], len: u64) -> io::Result<File> {
        let handle = folder.open_file(names, OFlag::O_RDWR | OFlag::O_CREAT)?;
        let wrap = |error| at(&folder.shown(names), error);
        let found = handle.metadata().map_err(wrap)?;
        require_regular(&found).map_err(wrap)?;
        if found.len() != len {
            handle.set_len(len).map_err(wrap)?;
        }
        Ok(handle)
    }
}

/// Refuses what needs more bytes than the disk has.
fn require_room(folder: &Folder, path: &Path, bytes: u64) -> io::Result<()> {
    let free = folder.bytes_free()?;
    if bytes <= free {
        return Ok(());
    }
    let why = format!("needs {bytes} bytes more and the disk has {free} left");
    Err(failure(path, io::ErrorKind::StorageFull, &why))
}

/// Refuses a file without a path, two files of one path, and a file where another one needs a folder.
fn require_distinct(files: &[FileSpec]) -> io::Result<()> {
    let mut paths: Vec<&[String]> = files
        .iter()
        .filter(|file| !file.is_padding)
        .map(|file| &file.path[..])
        .collect();
    paths.sort_unstable();
    let clash = paths.windows(2).any(|pair| pair[1].starts_with(pair[0]));
    if clash || paths.first().is_some_and(|path| path.is_empty()) {
        let why = "two of its files cannot exist beside each other";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    for name in paths.into_iter().flatten() {
        check_name(name)?;
    }
    Ok(())
}
