//! The commands around `.torrent` files: `torrent create`, `torrent show`, `torrent export`.

mod create;
mod export;
mod show;

use std::io;
use std::path::PathBuf;

pub(super) use create::Create;
pub(super) use export::Export;
pub(super) use show::Show;

use super::job::about;
use crate::cli::{ExitCode, Failure, TorrentEntry, TorrentRow};
use crate::storage::is_disk_full;
use crate::wire::metainfo::FileEntry;
use crate::wire::torrent::Torrent;

/// What our `.torrent` files say of the program that made them.
pub(super) const CREATED_BY: &str = concat!("Shoal ", env!("CARGO_PKG_VERSION"));

/// The failure of a `.torrent` file that could not be written.
pub(super) fn write_failure(what: &str, error: &io::Error) -> Failure {
    let (code, remedy) = match error.kind() {
        _ if is_disk_full(error) => (ExitCode::DiskFull, "free some space and start again"),
        io::ErrorKind::AlreadyExists => (
            ExitCode::Exists,
            "move it away, or name another file with --torrent",
        ),
        _ => (ExitCode::Io, "check the folder and its permissions"),
    };
    Failure::new(code, what, error.to_string()).with_remedy(remedy)
}

/// Where a `.torrent` file goes that was given no path.
fn default_path(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.torrent"))
}

/// What a `.torrent` file says.
fn row_of(torrent: &Torrent) -> TorrentRow {
    TorrentRow {
        about: about(&torrent.meta),
        is_private: torrent.meta.is_private(),
        tiers: torrent.tiers.clone(),
        comment: torrent.comment.clone(),
        sha256: torrent.meta.sha256(),
        magnet: torrent.magnet().to_string(),
        entries: Vec::new(),
    }
}

/// The files of a folder, padding left out.
fn entries_of(torrent: &Torrent) -> Vec<TorrentEntry> {
    if torrent.meta.is_single() {
        return Vec::new();
    }
    let files = torrent.meta.files().iter();
    let entry = |file: &FileEntry| TorrentEntry {
        path: file.path.join("/"),
        size: file.len,
        sha256: file.sha256,
    };
    files.filter(|file| !file.is_padding).map(entry).collect()
}
