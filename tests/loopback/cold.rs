//! A disk that must be waited for: who waits is a worker, and never the loop, which has others to serve.

use std::fs::{self, File};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::common::{World, assert_same};

/// Forgets what the system keeps of a file in memory.
fn drop_from_cache(path: &Path) {
    let file = File::open(path).expect("it is there");
    file.sync_all()
        .expect("what is not written cannot be dropped");
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("it is a file");
}

/// Bytes that a task had the system read from a disk (proc(5)).
fn disk_bytes(io: &str) -> u64 {
    let text = fs::read_to_string(io).expect("it runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.expect("Linux counts it").parse().expect("a number")
}

#[test]
fn what_is_in_no_cache_is_never_read_by_the_loop() {
    let world = World::new();
    let image = world.file("image", 1, 8 << 20);
    let share = world.share(&["image"]);
    let pid = share.pid();
    // The loop is the first thread.
    let (all, of_loop) = (
        format!("/proc/{pid}/io"),
        format!("/proc/{pid}/task/{pid}/io"),
    );
    drop_from_cache(&image);
    let before = (disk_bytes(&all), disk_bytes(&of_loop));
    world.get(&["image", "-o", "copy"]).exits(0);
    let after = (disk_bytes(&all), disk_bytes(&of_loop));
    println!("workers read {} bytes from a disk", after.0 - before.0);
    assert_eq!(after.1, before.1, "the loop waited for a disk");
    assert_same(&image, &world.path("copy"));
    share.stop().exits(0);
}
