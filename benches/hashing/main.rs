//! How fast content on disk is read and hashed, by the real programs: `torrent create` beside mktorrent, `verify`, and the
//! check of a download that is resumed.
//!
//! Under `cargo bench` it measures a file of 4 GiB that lies in memory (1 GiB with `-- --quick`), each in turn with the
//! others, then how time grows with the size of the file; a name (`file`, `growth`) takes only that part. Prints rates and
//! processor seconds for a GiB, which a machine that is busy otherwise leaves as they are. Under `cargo test` it does each
//! once with a small file and prints the info-hashes. Linux only: it reads /proc.

#[path = "../common/place.rs"]
mod place;
mod programs;
#[path = "../common/rows.rs"]
mod rows;

use std::fs::{self, File};
use std::path::PathBuf;

use tempfile::TempDir;

use place::{MIB, fill, scratch, use_once};
use programs::{Spent, create, mktorrent, resume, verify};
use rows::OURS;

const BENCH: &str = "hashing";
const GIB: f64 = (1 << 30) as f64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_given = |flag: &str| args.iter().any(|arg| arg == flag);
    if is_given("--list") {
        return println!("hashing: bench");
    }
    if !is_given("--bench") {
        return small();
    }
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |part: &str| names.is_empty() || names.iter().any(|name| *name == part);
    let is_quick = is_given("--quick");
    if is_wanted("file") {
        let (size, rounds) = if is_quick { (1024, 3) } else { (4096, 5) };
        measure_file(size * MIB, rounds);
    }
    if is_wanted("growth") && !is_quick {
        measure_growth();
    }
}

/// Does everything once; the info-hashes that come out.
fn small() {
    let place = Place::new(64 * MIB);
    let file = place.fill(9 * MIB);
    let (_, plain) = create(&file, &place.path("plain.torrent"), false);
    let (_, full) = create(&file, &place.path("full.torrent"), true);
    verify(&place.path("plain.torrent"), &file);
    verify(&place.path("full.torrent"), &file);
    resume(&place.path("plain.torrent"), &file, &place.path("resumed"));
    println!("hashing: 9 MiB, info-hashes {plain} {full}");
}

/// Every way to hash one file, in turn.
fn measure_file(size: u64, rounds: usize) {
    let place = Place::new(size * 2);
    let file = place.fill(size);
    let (plain, full) = (place.path("plain.torrent"), place.path("full.torrent"));
    println!(
        "\n{} MiB in {}, pieces of 1 MiB, {rounds} rounds",
        size / MIB,
        place.root.path().display()
    );
    let mut found: Vec<(&str, &str, Vec<Spent>)> = vec![
        ("create, SHA-1", OURS, Vec::new()),
        ("create, SHA-1", "mktorrent", Vec::new()),
        ("create, SHA-1 and SHA-256", OURS, Vec::new()),
        ("verify, SHA-1", OURS, Vec::new()),
        ("verify, SHA-1 and SHA-256", OURS, Vec::new()),
        ("resume", OURS, Vec::new()),
    ];
    for _ in 0..rounds {
        let spent = [
            Some(create(&file, &plain, false).0),
            mktorrent(&file, &place.path("other.torrent")),
            Some(create(&file, &full, true).0),
            Some(verify(&plain, &file)),
            Some(verify(&full, &file)),
            Some(resume(&plain, &file, &place.path("resumed"))),
        ];
        for ((_, _, all), spent) in found.iter_mut().zip(spent) {
            all.extend(spent);
        }
    }
    found.retain(|(.., all)| !all.is_empty());
    for (case, who, all) in &found {
        tell(case, who, size, all);
    }
}

fn tell(case: &str, who: &str, size: u64, all: &[Spent]) {
    let rates: Vec<f64> = all
        .iter()
        .map(|spent| (size / MIB) as f64 / spent.secs)
        .collect();
    let costs: Vec<f64> = all
        .iter()
        .map(|spent| spent.cpu_secs / (size as f64 / GIB))
        .collect();
    println!(
        "{case:28} {who:10} {:7.0} MiB/s  {:5.2} CPU s/GiB",
        median(&rates),
        median(&costs)
    );
    rows::put(BENCH, case, who, "MiB/s", &rates);
    rows::put(BENCH, case, who, "CPU s/GiB", &costs);
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Files that are holes and take no room; what is read of them is hashed like anything else.
fn measure_growth() {
    println!("\nfiles of 1 to 16 GiB, of zeros");
    let place = Place::new(64 * MIB);
    for gib in [1, 2, 4, 8, 16] {
        let path = place.path("zeros.bin");
        let size = gib << 30;
        let made = File::create(&path).and_then(|file| file.set_len(size));
        made.expect("a file of holes");
        let torrent = place.path("zeros.torrent");
        let (created, _) = create(&path, &torrent, false);
        let spent = [
            ("torrent create", created),
            ("verify", verify(&torrent, &path)),
        ];
        for (case, spent) in spent {
            let each = spent.cpu_secs / gib as f64;
            println!("{case:28} {gib:3} GiB  {each:5.2} CPU s/GiB");
            rows::put_at(BENCH, case, ("GiB", gib as f64), OURS, "CPU s/GiB", &[each]);
        }
        fs::remove_file(&path).expect("it was made");
    }
}

/// Where it all lies.
struct Place {
    root: TempDir,
}

impl Place {
    fn new(bytes: u64) -> Self {
        use_once(bytes);
        Self {
            root: scratch(bytes),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A file of so many bytes, always the same.
    fn fill(&self, bytes: u64) -> PathBuf {
        let path = self.path("content.bin");
        fill(&path, bytes);
        path
    }
}
