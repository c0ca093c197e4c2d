//! Where a download goes: its folder and name, and what an earlier run left there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Bitfield;
use crate::cli::{ExitCode, Failure, Target};
use crate::storage::{
    BitsFile, FileSpec, Folder, Layout, PartFiles, check_target, is_disk_full, is_folder,
    temporary_folder,
};
use crate::wire::metainfo::{FileEntry, Metainfo};

/// Where the user wants a download.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What the command line says.
    pub target: Target,
    /// Several contents go there, so it is a folder.
    pub several: bool,
    /// What is there may be replaced.
    pub overwrite: bool,
}

/// A download's files and record, and what is known of them.
#[derive(Debug)]
pub(super) struct Prepared {
    pub files: Arc<PartFiles>,
    /// Nothing, if it is not to be gone on with another time.
    pub bits: Option<BitsFile>,
    /// Pieces that the record vouches for.
    pub have: Bitfield,
    /// Pieces that may be there, and must be hashed before they count.
    pub doubtful: Bitfield,
    pub layout: Layout,
}

/// The files of a content, in the form that storage takes.
pub(super) fn file_specs(meta: &Metainfo) -> Vec<FileSpec> {
    let spec = |file: &FileEntry| FileSpec {
        path: if meta.is_single() {
            Vec::new()
        } else {
            file.path.clone()
        },
        len: file.len,
        is_padding: file.is_padding,
    };
    meta.files().iter().map(spec).collect()
}

/// How a content lies in its files.
pub(super) fn layout(meta: &Metainfo) -> Layout {
    let lens = meta.files().iter().map(|file| file.len);
    Layout::new(meta.piece_length(), lens).expect("a valid metainfo has a valid layout")
}

/// Makes the place, or finds what an earlier run left in it.
pub(super) fn prepare(place: &Place, meta: &Metainfo) -> Result<Prepared, Failure> {
    let what = format!("get {}", meta.name());
    if place.target == Target::Stdout {
        return pass_through(meta, &what);
    }
    let (folder, name) = folder_and_name(place, meta, &what)?;
    take_place(&folder, &name, place.overwrite, meta).map_err(|error| disk_failure(&what, &error))
}

/// A place for what only passes through to stdout.
fn pass_through(meta: &Metainfo, what: &str) -> Result<Prepared, Failure> {
    if !meta.is_single() {
        let failure = Failure::new(
            ExitCode::Usage,
            what,
            "a folder does not fit through a pipe",
        );
        return Err(failure.with_remedy("name a folder with -o"));
    }
    let folder = Folder::open(&temporary_folder());
    let files = folder.and_then(|folder| PartFiles::unnamed(&folder, &file_specs(meta)));
    let files = files.map_err(|error| match disk_failure(what, &error) {
        failure if failure.code == ExitCode::DiskFull => {
            failure.with_remedy("set TMPDIR to a folder with room for all of it")
        }
        failure => failure.with_remedy("set TMPDIR to a folder that can be written to"),
    })?;
    Ok(Prepared {
        files: Arc::new(files),
        bits: None,
        have: Bitfield::none(meta.piece_count()),
        doubtful: Bitfield::none(meta.piece_count()),
        layout: layout(meta),
    })
}

fn take_place(
    folder: &Folder,
    name: &str,
    overwrite: bool,
    meta: &Metainfo,
) -> io::Result<Prepared> {
    check_target(folder, name, meta.is_single(), overwrite)?;
    let bits = BitsFile::open(folder, name)?;
    let files = PartFiles::create_or_open(folder, name, &file_specs(meta), meta.is_single());
    let files = match files {
        Ok(files) => files,
        Err(error) => {
            // Nothing was begun, so no record is left behind; one of an earlier run is kept.
            bits.remove_if_empty()?;
            return Err(error);
        }
    };
    let layout = layout(meta);
    let record = bits.load(meta.info_hash(), files.identity(), meta.piece_count());
    let mut have = record.unwrap_or_else(|| Bitfield::none(meta.piece_count()));
    for &file in files.new_files() {
        for piece in layout.file_pieces(file) {
            have.clear(piece);
        }
    }
    let mut doubtful = Bitfield::none(meta.piece_count());
    for piece in have.zeros() {
        let (offset, len) = (layout.piece_offset(piece), layout.piece_len(piece));
        if !files.is_hole(offset, u64::from(len))? {
            doubtful.set(piece);
        }
    }
    Ok(Prepared {
        files: Arc::new(files),
        bits: Some(bits),
        have,
        doubtful,
        layout,
    })
}

/// The folder, opened and made if it was asked for, and the name in it.
fn folder_and_name(
    place: &Place,
    meta: &Metainfo,
    what: &str,
) -> Result<(Folder, String), Failure> {
    let own_name = || meta.name().to_owned();
    let (path, name, made) = match &place.target {
        Target::Here | Target::Stdout => (PathBuf::from("."), own_name(), false),
        Target::Folder(path) => (path.clone(), own_name(), true),
        Target::FolderOrPath(path) if place.several || is_folder(path) => {
            (path.clone(), own_name(), true)
        }
        Target::FolderOrPath(path) => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            let name = path.file_name().and_then(|name| name.to_str());
            let why = format!("{} is no name for a file", path.display());
            let name = name.ok_or_else(|| Failure::new(ExitCode::Usage, what, why))?;
            (
                parent.unwrap_or_else(|| Path::new(".")).to_owned(),
                name.to_owned(),
                false,
            )
        }
    };
    let folder = if made {
        Folder::create(&path)
    } else {
        Folder::open(&path)
    };
    Ok((folder.map_err(|error| disk_failure(what, &error))?, name))
}

/// The failure that a disk error means.
pub(super) fn disk_failure(what: &str, error: &io::Error) -> Failure {
    let (code, remedy) = match error.kind() {
        _ if is_disk_full(error) => (
            ExitCode::DiskFull,
            "free some space and start again: what is here is kept",
        ),
        io::ErrorKind::AlreadyExists => (
            ExitCode::Exists,
            "move it away, choose another place with -o, or use --overwrite",
        ),
        io::ErrorKind::WouldBlock => {
            return Failure::new(
                ExitCode::AlreadyRunning,
                what,
                "the same download runs here already",
            )
            .with_remedy("wait for it, or choose another place with -o");
        }
        io::ErrorKind::NotFound => (ExitCode::Io, "check the path"),
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
            (ExitCode::Io, "choose another name with -o")
        }
        _ => (ExitCode::Io, "check the disk and the permissions"),
    };
    Failure::new(code, what, error.to_string()).with_remedy(remedy)
}
