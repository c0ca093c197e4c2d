//! Files that are shared or verified where they lie: read only, and watched for changes.
//!
//! Never writes. A file that is changed, replaced or cut short is an error at the next look, not other bytes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::handles::Handles;
use super::layout::FileSpec;
use super::paths::{Folder, at, failure};
use super::tree::{Content, Source, Stamp, Tree, changed, require_regular};

/// The files of a content that others may read through us.
#[derive(Debug)]
pub struct SharedFiles {
    tree: Tree,
    /// Where the user said it is.
    root: PathBuf,
    /// What each file was when it was opened; padding files have none.
    stamps: Vec<Option<Stamp>>,
}

impl SharedFiles {
    /// Opens the content at `root`: a file if `single`, a folder otherwise. `root` itself may be a link; what lies below it may not.
    ///
    /// Fails with the path of the first file that is missing, is not a regular file or has another length.
    pub fn open(root: &Path, files: &[FileSpec], single: bool) -> io::Result<Self> {
        let (source, stamps) = if single {
            let [file] = files else {
                return Err(failure(
                    root,
                    io::ErrorKind::InvalidInput,
                    "not a single file",
                ));
            };
            let (handle, stamp) = open_single(root, file)?;
            let handle = Arc::new(handle);
            (Source::Single(handle, root.to_owned()), vec![Some(stamp)])
        } else {
            let folder = Folder::open(root)?;
            let stamps = files
                .iter()
                .map(|file| stamp_below(&folder, file))
                .collect::<io::Result<Vec<_>>>()?;
            let source = Source::Many {
                folder,
                handles: Handles::new(),
                flags: OFlag::O_RDONLY,
                stamps: stamps.clone(),
            };
            (source, stamps)
        };
        Ok(Self {
            tree: Tree::new(files.to_vec(), source)?,
            root: root.to_owned(),
            stamps,
        })
    }

    /// As `open`, but a file of a folder that is missing, or not what it should be, stands for zeros like a padding file.
    /// Returns the indices of those as well. There must be something at `root` itself.
    pub fn open_present(
        root: &Path,
        files: &[FileSpec],
        single: bool,
    ) -> io::Result<(Self, Vec<usize>)> {
        let mut present = files.to_vec();
        let mut absent = Vec::new();
        if !single {
            let folder = Folder::open(root)?;
            for (at, file) in present.iter_mut().enumerate() {
                if stamp_below(&folder, file).is_err() {
                    file.is_padding = true;
                    absent.push(at);
                }
            }
        }
        Self::open(root, &present, single).map(|files| (files, absent))
    }

    /// Where the content lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files, as they were given.
    pub fn files(&self) -> &[FileSpec] {
        &self.tree.files
    }

    /// Whether `file` is no longer what it was when it was opened: another length, time of modification or file.
    pub fn changed(&self, file: usize) -> bool {
        let Some(stamp) = self.stamps[file] else {
            return false;
        };
        let found = match &self.tree.source {
            Source::Single(..) => fs::metadata(&self.root).map(|found| Stamp::of(&found)),
            Source::Many { folder, .. } => folder
                .glance(&self.tree.files[file].path)
                .map(|found| Stamp::of_stat(&found)),
        };
        found.ok() != Some(stamp)
    }

    /// As `changed`, for every file: the error names the first.
    pub fn check_unchanged(&self) -> io::Result<()> {
        match (0..self.stamps.len()).find(|&file| self.changed(file)) {
            Some(file) => Err(changed(&self.tree.path(file))),
            None => Ok(()),
        }
    }

    /// As `changed`, for the files that hold this range: the error names the first.
    pub fn check_range_unchanged(&self, offset: u64, len: u64) -> io::Result<()> {
        let changed_file = self
            .tree
            .map
            .spans(offset, len)
            .find(|span| self.changed(span.file));
        changed_file.map_or(Ok(()), |span| Err(changed(&self.tree.path(span.file))))
    }

    /// Fills `into` with the bytes of the content from `offset` on. A file that is too short is `UnexpectedEof`.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.tree.read_at(offset, into)
    }
}

impl Content for SharedFiles {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.tree.read_at(offset, into)
    }

    fn will_read(&self, offset: u64, len: u64) {
        self.tree.will_read(offset, len);
    }

    fn check_unchanged(&self) -> io::Result<()> {
        Self::check_unchanged(self)
    }
}

fn open_single(root: &Path, file: &FileSpec) -> io::Result<(File, Stamp)> {
    let wrap = |error| at(root, error);
    // Looked at first, since opening a pipe would wait for its other end.
    require_regular(&fs::metadata(root).map_err(wrap)?).map_err(wrap)?;
    let handle = File::open(root).map_err(wrap)?;
    let found = handle.metadata().map_err(wrap)?;
    let stamp = Stamp::of(&found);
    require_len(stamp.len, file.len).map_err(wrap)?;
    Ok((handle, stamp))
}

fn stamp_below(folder: &Folder, file: &FileSpec) -> io::Result<Option<Stamp>> {
    if file.is_padding {
        return Ok(None);
    }
    let wrap = |error| at(&folder.shown(&file.path), error);
    let missing = || wrap(nix::errno::Errno::ENOENT.into());
    let found = folder.metadata(&file.path)?.ok_or_else(missing)?;
    require_regular(&found).map_err(wrap)?;
    require_len(found.len(), file.len).map_err(wrap)?;
    Ok(Some(Stamp::of(&found)))
}

fn require_len(found: u64, expected: u64) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    let why = format!("is {found} bytes long and should be {expected}");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}
