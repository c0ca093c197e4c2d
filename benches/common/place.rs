//! Where a bench keeps what it works on, and what that is.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use shoal::base::Rng;
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;
const SEED: u64 = 1;
const USED_ONCE_BYTES_MAX: u64 = 8 << 30;

/// What is in memory as long as the machine runs.
const MEMORY: &str = "/dev/shm";

/// A folder that is gone when it is dropped: in memory if there is room for so many bytes, so that no disk is measured.
#[allow(dead_code, reason = "some benches want a disk")]
pub(crate) fn scratch(bytes: u64) -> TempDir {
    let folder = if has_room(bytes) {
        tempfile::tempdir_in(MEMORY)
    } else {
        tempfile::tempdir()
    };
    folder.expect("a folder")
}

fn has_room(bytes: u64) -> bool {
    let stat = nix::sys::statvfs::statvfs(MEMORY);
    stat.is_ok_and(|stat| stat.blocks_available() * stat.fragment_size() > bytes)
}

/// Takes so much memory, where there is some, and gives it back. A virtual machine may have to be given it first, which can
/// triple the processor time of whoever comes first, and its host may take back what lies unused for seconds.
#[allow(dead_code, reason = "who measures a disk needs no memory")]
pub(crate) fn use_once(bytes: u64) {
    let bytes = bytes.min(USED_ONCE_BYTES_MAX);
    if !has_room(bytes) {
        return;
    }
    let mut file = tempfile::tempfile_in(MEMORY).expect("a file");
    let chunk = vec![0; MIB as usize];
    for _ in 0..bytes / MIB {
        file.write_all(&chunk).expect("room");
    }
}

/// Writes a file of so many bytes, whole MiB, that no disk or network can shrink; always the same.
pub(crate) fn fill(path: &Path, bytes: u64) {
    let (mut rng, mut chunk) = (Rng::new(SEED), vec![0; MIB as usize]);
    let mut file = File::create(path).expect("a file");
    for _ in 0..bytes / MIB {
        for word in chunk.chunks_exact_mut(8) {
            word.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        file.write_all(&chunk).expect("room");
    }
}
