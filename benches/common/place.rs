//! Where a bench keeps what it works on, and what that is.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use shoal::base::Rng;
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;
const SEED: u64 = 1;
const USED_ONCE_BYTES_MAX: u64 = 8 << 30;

/// A folder that is gone when it is dropped: in memory if there is room for so many bytes, so that no disk is measured.
#[allow(dead_code, reason = "some benches want a disk")]
pub(crate) fn scratch(bytes: u64) -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = nix::sys::statvfs::statvfs(memory)
        .map_or(0, |stat| stat.blocks_available() * stat.fragment_size());
    if free <= bytes {
        return tempfile::tempdir().expect("a folder");
    }
    let folder = tempfile::tempdir_in(memory).expect("a folder");
    use_once(
        &folder.path().join("used once"),
        bytes.min(USED_ONCE_BYTES_MAX),
    );
    folder
}

/// Takes so much memory, and gives it back. A virtual machine may have to be given it first, which can double the processor
/// time of whoever comes first.
fn use_once(path: &Path, bytes: u64) {
    let mut file = File::create(path).expect("a file");
    let chunk = vec![0; MIB as usize];
    for _ in 0..bytes / MIB {
        file.write_all(&chunk).expect("room");
    }
    fs::remove_file(path).expect("ours");
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
