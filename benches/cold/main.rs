//! Whether a disk that must be waited for holds up the loop: a sharer reads for one peer what is in no cache, while others
//! come, greet, and ask for a piece that is in memory.
//!
//! Under `cargo bench` it shares 1 GiB (256 MiB with `-- --quick`) from a disk, drops it from the page cache, and prints how
//! long each step of the others took, beside the same with nobody reading. Also prints what was read from the disk by the
//! loop itself, which must be nothing, and by its workers. Under `cargo test` it does so once with a few MiB and prints a
//! hash of what arrived. Linux only: it reads /proc.

#[path = "../../tests/common/free.rs"]
mod free;
mod link;
#[path = "../common/place.rs"]
mod place;
#[path = "../transfer/programs.rs"]
#[allow(dead_code, reason = "the transfers need more of it")]
mod programs;
#[path = "../common/rows.rs"]
mod rows;
#[path = "../transfer/usage.rs"]
#[allow(dead_code, reason = "the transfers need more of it")]
mod usage;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use sha1::{Digest as _, Sha1};

use free::free_addr;
use link::{Link, Swarm};
use place::{MIB, fill};
use programs::{PEER, Program, start_tracker};

const BENCH: &str = "cold";
/// Between one who comes and the next.
const PAUSE: Duration = Duration::from_millis(3);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_given = |flag: &str| args.iter().any(|arg| arg == flag);
    if is_given("--list") {
        return println!("cold: bench");
    }
    if !is_given("--bench") {
        let place = Place::new(9 * MIB);
        let hash = place.read_cold();
        return println!("cold: 9 MiB, SHA-1 of what arrived {hash}");
    }
    let place = Place::new(if is_given("--quick") { 256 } else { 1024 } * MIB);
    measure(&place);
}

/// Looks in on the sharer while nobody reads, and then while somebody reads what is in no cache.
fn measure(place: &Place) {
    println!("\n{} MiB on a disk; milliseconds", place.bytes / MIB);
    println!(
        "{:36} {:>8} {:>8} {:>8} {:>8}  of",
        "", "median", "99 %", "99.9 %", "most"
    );
    let (swarm, over) = (&place.swarm, AtomicBool::new(false));
    thread::scope(|scope| {
        let visitor = scope.spawn(|| visit_until(swarm, &over));
        thread::sleep(Duration::from_secs(2));
        over.store(true, Ordering::Relaxed);
        tell("nobody reads", &visitor.join().expect("it visits"));
    });
    over.store(false, Ordering::Relaxed);
    place.drop_from_cache();
    let (before, begun) = (place.disk_bytes(), Instant::now());
    thread::scope(|scope| {
        let visitor = scope.spawn(|| visit_until(swarm, &over));
        // Nothing is hashed here: it is the disk that is to be waited for, not a processor.
        place.read_all(|_| {});
        over.store(true, Ordering::Relaxed);
        let secs = begun.elapsed().as_secs_f64();
        tell("the disk busy", &visitor.join().expect("it visits"));
        let after = place.disk_bytes();
        println!(
            "served with {:.0} MiB/s; read from the disk by workers {} MiB, by the loop {} MiB",
            place.bytes as f64 / MIB as f64 / secs,
            (after.0 - before.0) / MIB,
            (after.1 - before.1) / MIB,
        );
    });
}

/// Milliseconds of each step of each visit.
type Visits = [Vec<f64>; 2];

const STEPS: [&str; 2] = ["greeting", "cached block"];

fn visit_until(swarm: &Swarm, over: &AtomicBool) -> Visits {
    let mut visits = Visits::default();
    // The first brings the piece into memory.
    let _ = visit(swarm);
    while !over.load(Ordering::Relaxed) {
        let visit = visit(swarm);
        visits
            .iter_mut()
            .zip(visit)
            .for_each(|(all, ms)| all.push(ms));
        thread::sleep(PAUSE);
    }
    visits
}

/// A new peer comes: milliseconds until it is greeted, and until its first block is there. The greeting waits for nothing
/// but the loop; the block for its turn as well, which is what the sharer wants of a peer that has less than others.
fn visit(swarm: &Swarm) -> [f64; 2] {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let begun = Instant::now();
    let mut link = Link::dial(swarm);
    let greeted = ms(begun);
    link.become_interested();
    let begun = Instant::now();
    link.ask(0, 0);
    link.await_block();
    [greeted, ms(begun)]
}

fn tell(when: &str, visits: &Visits) {
    for (step, all) in STEPS.iter().zip(visits) {
        let mut all = all.clone();
        all.sort_by(f64::total_cmp);
        let Some(last) = all.len().checked_sub(1) else {
            continue;
        };
        let part = |thousandths: usize| all[last * thousandths / 1000];
        let case = format!("{step}, {when}");
        println!(
            "{case:36} {:8.2} {:8.2} {:8.2} {:8.2}  {}",
            part(500),
            part(990),
            part(999),
            all[last],
            all.len()
        );
        rows::put(BENCH, &case, rows::OURS, "ms, median", &[part(500)]);
        rows::put(BENCH, &case, rows::OURS, "ms, 99 %", &[part(990)]);
    }
}

/// A file on a disk, and who shares it.
struct Place {
    _root: tempfile::TempDir,
    _tracker: Program,
    sharer: Program,
    file: PathBuf,
    bytes: u64,
    swarm: Swarm,
}

impl Place {
    fn new(bytes: u64) -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let file = root.path().join("content.bin");
        fill(&file, bytes);
        let (tracker, tracker_addr) = start_tracker(&root.path().join("state"));
        let addr = free_addr(Ipv4Addr::LOCALHOST.into());
        let args = [
            "--json",
            "-t",
            &tracker_addr,
            "share",
            "--no-sha256",
            "--listen",
        ];
        let mut args: Vec<&str> = args.to_vec();
        let (listen, path) = (addr.to_string(), file.display().to_string());
        args.extend([listen.as_str(), path.as_str()]);
        let sharer = Program::start(PEER, &args);
        let shared = sharer.await_line("\"shared\"");
        let shared: serde_json::Value = serde_json::from_str(&shared).expect("JSON");
        let hash = shared["info_hash"].as_str().expect("a hash");
        let swarm = Swarm {
            addr,
            info_hash: hash.parse().expect("a hash"),
            piece_bytes: shared["piece_length"].as_u64().expect("a length") as u32,
            bytes,
        };
        Self {
            _root: root,
            _tracker: tracker,
            sharer,
            file,
            bytes,
            swarm,
        }
    }

    /// Reads every piece but the first.
    fn read_all(&self, take: impl FnMut(&[u8])) {
        let mut link = Link::dial(&self.swarm);
        link.become_interested();
        link.read_from_piece(1, take);
    }

    /// Reads everything from the disk; a hash of it. The loop must not be the one that waits for the disk.
    fn read_cold(&self) -> String {
        self.drop_from_cache();
        let before = self.disk_bytes();
        let mut hash = Sha1::new();
        self.read_all(|block| hash.update(block));
        let after = self.disk_bytes();
        assert_eq!(before.1, after.1, "the loop read from the disk");
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn drop_from_cache(&self) {
        let file = File::open(&self.file).expect("it is there");
        file.sync_all()
            .expect("what is not written cannot be dropped");
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("it is a file");
    }

    /// Bytes that the sharer had read from a disk: its workers, and its loop, which is the first thread.
    fn disk_bytes(&self) -> (u64, u64) {
        let pid = self.sharer.pid();
        let read = |path: String| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("read_bytes: "));
            line.and_then(|line| line.parse().ok()).unwrap_or(0)
        };
        let all: u64 = read(format!("/proc/{pid}/io"));
        let of_loop: u64 = read(format!("/proc/{pid}/task/{pid}/io"));
        (all - of_loop, of_loop)
    }
}
