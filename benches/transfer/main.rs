//! How fast the real programs carry a file: one tracker, one sharer, one or four getters, all on loopback.
//!
//! Under `cargo bench` it measures 256 MiB and 1 GiB in memory, several runs each, and 1 GiB on a disk, in turn with the
//! programs of others, prints each run and the medians, and then shows how cost grows with the getters, up to 64, and
//! how near swarms with capped uplinks come to what they could (that alone: `SHOAL_BENCH_CAPPED=8`).
//! Under `cargo test` it carries 8 MiB to two getters once and prints a hash of what arrived, so that less work cannot pass
//! as faster work. Every copy is compared with the original, outside of the time. `SHOAL_BENCH_MIB` (a list of sizes),
//! `SHOAL_BENCH_RUNS` (3 or more) and `-- --quick` change what is measured. Linux only: it reads /proc.

mod capped;
mod programs;
mod rivals;
#[path = "../common/rows.rs"]
mod rows;
mod usage;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shoal::base::Rng;
use tempfile::TempDir;

use programs::{Ended, Program, start_getter, start_sharer, start_tracker};
use rivals::Rival;

const BENCH: &str = "transfer";
const SEED: u64 = 1;
const MIB: u64 = 1 << 20;
const RUNS_MIN: usize = 3;
/// With more of a processor than this busy elsewhere the numbers are not worth much.
const OTHERS_CALM_MAX: f64 = 0.25;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What is left of the arguments that cargo passes on chooses benches by name.
    let mut filters = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| "transfer".contains(filter.as_str())) {
        return;
    }
    if args.iter().any(|arg| arg == "--list") {
        return println!("transfer: bench");
    }
    if std::env::var_os("SHOAL_BENCH_CAPPED").is_some() {
        return capped::measure();
    }
    if args.iter().any(|arg| arg == "--bench") {
        measure(args.iter().any(|arg| arg == "--quick"));
    } else {
        let place = Place::new(8 * MIB * 4);
        place.fill(8 * MIB);
        let outcome = run(&place, 2);
        println!("transfer: 8 MiB to 2, SHA-256 {}", outcome.sha256);
    }
}

fn measure(is_quick: bool) {
    let runs = number("SHOAL_BENCH_RUNS").unwrap_or(5).max(RUNS_MIN);
    let sizes = std::env::var("SHOAL_BENCH_MIB").unwrap_or_else(|_| "256,1024".to_owned());
    let sizes: Vec<u64> = sizes
        .split(',')
        .map(|mib| mib.parse().expect("MiB"))
        .collect();
    let largest = *sizes.iter().max().expect("a size");
    let rivals = Rival::find();
    let place = Place::new(largest * MIB * 6);
    println!(
        "in {}, {runs} runs each, medians last",
        place.root.path().display()
    );
    println!(
        "e2e: start of the first getter to the end of the last; xfer: the same once all have a first piece"
    );
    println!(
        "peak: most resident memory of one process; others: processors busy with something else\n"
    );
    for &mib in &sizes {
        for getters in [1, 4] {
            compare(&place, &Job { mib, getters, runs }, &rivals, "in memory");
        }
    }
    if !is_quick {
        let disk = Place::on_disk();
        let job = Job {
            mib: largest,
            getters: 1,
            runs,
        };
        compare(&disk, &job, &rivals, "on disk");
        grow(&place);
        capped::measure();
    }
}

/// The same small file to ever more getters.
fn grow(place: &Place) {
    let mib = 64;
    place.fill(mib * MIB);
    println!("1 → 1 to 64, {mib} MiB");
    for getters in [1, 2, 4, 8, 16, 32, 64] {
        let row = run(place, getters).row;
        let each = row.cpu_secs() / (mib as f64 * getters as f64 / 1024.0);
        println!(
            "{getters:3} getters: {each:6.2} CPU s/GiB, {:6.0} MiB/s together",
            row.e2e_mib_per_s
        );
        let size = ("getters", getters as f64);
        let case = format!("{mib} MiB to each of many");
        rows::put_at(BENCH, &case, size, rows::OURS, "CPU s/GiB", &[each]);
        rows::put_at(
            BENCH,
            &case,
            size,
            rows::OURS,
            "MiB/s",
            &[row.e2e_mib_per_s],
        );
        rows::put_at(
            BENCH,
            &case,
            size,
            rows::OURS,
            "MiB peak of a getter",
            &[row.getter_peak_mib],
        );
    }
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What is measured.
pub(crate) struct Job {
    mib: u64,
    getters: usize,
    runs: usize,
}

/// Ours and the rivals in turn, so that what disturbs one disturbs the others.
fn compare(place: &Place, job: &Job, rivals: &[Rival], whereabouts: &str) {
    let piece_len = place.fill(job.mib * MIB);
    let getters = if job.getters == 1 {
        "getter"
    } else {
        "getters"
    };
    let case = format!("{} {getters}, {} MiB {whereabouts}", job.getters, job.mib);
    println!("{case}, pieces of {} KiB", piece_len >> 10);
    println!("{}", Row::HEADING);
    let mut found = vec![(rows::OURS.to_owned(), Vec::new())];
    found.extend(rivals.iter().map(|rival| (rival.to_string(), Vec::new())));
    for _ in 0..job.runs {
        for (at, (name, all)) in found.iter_mut().enumerate() {
            let row = match at.checked_sub(1) {
                None => run(place, job.getters).row,
                Some(at) => rivals[at].run(place, job.getters, piece_len, 0),
            };
            println!("{name:23} {row}");
            all.push(row);
        }
    }
    for (name, all) in &found {
        print_median(name, all);
        tell(
            &case,
            name,
            all,
            (job.mib * job.getters as u64) as f64 / 1024.0,
        );
    }
    println!();
}

/// Leaves the figures for the report.
fn tell(case: &str, who: &str, all: &[Row], gib: f64) {
    let put = |unit: &str, value: &dyn Fn(&Row) -> f64| {
        let values: Vec<f64> = all
            .iter()
            .map(value)
            .filter(|value| value.is_finite())
            .collect();
        if !values.is_empty() {
            rows::put(BENCH, case, who, unit, &values);
        }
    };
    put("MiB/s", &|row| row.e2e_mib_per_s);
    put("CPU s/GiB", &|row| row.cpu_secs() / gib);
    put("ms to first piece", &|row| row.first_piece_ms);
    put("MiB peak of a getter", &|row| row.getter_peak_mib);
}

/// The medians of the undisturbed runs if there are enough of them, else of all.
fn print_median(name: &str, rows: &[Row]) {
    let is_calm = |row: &&Row| row.others <= OTHERS_CALM_MAX;
    let calm: Vec<Row> = rows.iter().filter(is_calm).copied().collect();
    let of = if calm.len() >= RUNS_MIN { &calm } else { rows };
    if !of.is_empty() {
        println!("{name:23} {}", Row::median(of));
        println!(
            "{name}: medians of {} runs, {} of {} undisturbed",
            of.len(),
            calm.len(),
            rows.len()
        );
    }
}

/// Numbers of one run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Row {
    e2e_mib_per_s: f64,
    xfer_mib_per_s: f64,
    first_piece_ms: f64,
    seeder_cpu_secs: f64,
    getters_cpu_secs: f64,
    seeder_peak_mib: f64,
    getter_peak_mib: f64,
    seeder_copies: f64,
    others: f64,
}

impl Row {
    /// Of all processes but the tracker.
    fn cpu_secs(&self) -> f64 {
        self.seeder_cpu_secs + self.getters_cpu_secs
    }

    const HEADING: &str = "                         e2e MiB/s  xfer MiB/s  first ms  seeder CPU s  getters CPU s  \
                           seeder peak MiB  getter peak MiB  copies from seeder  others";

    fn fields(&mut self) -> [&mut f64; 9] {
        [
            &mut self.e2e_mib_per_s,
            &mut self.xfer_mib_per_s,
            &mut self.first_piece_ms,
            &mut self.seeder_cpu_secs,
            &mut self.getters_cpu_secs,
            &mut self.seeder_peak_mib,
            &mut self.getter_peak_mib,
            &mut self.seeder_copies,
            &mut self.others,
        ]
    }

    /// The median of each column by itself.
    fn median(rows: &[Self]) -> Self {
        let mut median = Self::default();
        for (column, field) in median.fields().into_iter().enumerate() {
            let mut values: Vec<f64> = rows
                .iter()
                .map(|&(mut row)| *row.fields()[column])
                .collect();
            values.sort_by(f64::total_cmp);
            *field = values[values.len() / 2];
        }
        median
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not every program tells it.
        let copies = match self.seeder_copies {
            copies if copies.is_nan() => "-".to_owned(),
            copies => format!("{copies:.2}"),
        };
        write!(
            f,
            "{:11.0} {:11.0} {:9.1} {:13.2} {:14.2} {:16.1} {:16.1} {:>19} {:7.2}",
            self.e2e_mib_per_s,
            self.xfer_mib_per_s,
            self.first_piece_ms,
            self.seeder_cpu_secs,
            self.getters_cpu_secs,
            self.seeder_peak_mib,
            self.getter_peak_mib,
            copies,
            self.others,
        )
    }
}

/// What came of one run.
struct Outcome {
    row: Row,
    sha256: String,
}

/// One transfer with fresh programs, from the file that `place` holds.
fn run(place: &Place, getters: usize) -> Outcome {
    let here = tempfile::tempdir_in(place.root.path()).expect("a folder");
    // An empty name at the end of a path makes it one that ends in a slash: a folder to be.
    let folder = |index: usize| here.path().join(index.to_string()).join("");
    let (tracker, addr) = start_tracker(0, &here.path().join("state"));
    let (sharer, _) = start_sharer(0, &addr, &place.file());
    let bytes = fs::metadata(place.file()).expect("the file").len();
    let sharer_cpu_before = usage::cpu_secs(sharer.pid());
    let machine_before = usage::machine_cpu_secs();

    let started: Vec<Program> = (0..getters)
        .map(|index| start_getter(0, &addr, Place::NAME, &folder(index)))
        .collect();
    let mut row = Row::default();
    watch(&sharer, &started, &mut row);
    let ended: Vec<Ended> = started.into_iter().map(Program::finish).collect();

    let machine = usage::machine_cpu_secs() - machine_before;
    row.seeder_cpu_secs = usage::cpu_secs(sharer.pid()) - sharer_cpu_before;
    row.getters_cpu_secs = ended.iter().map(|ended| ended.cpu_secs).sum();
    let secs = ended.iter().map(|ended| ended.secs).fold(0.0, f64::max);
    let first = ended
        .iter()
        .filter_map(first_piece_secs)
        .fold(0.0, f64::max);
    let mib = (bytes * getters as u64) as f64 / MIB as f64;
    row.e2e_mib_per_s = mib / secs;
    row.xfer_mib_per_s = mib / (secs - first);
    row.first_piece_ms = first * 1000.0;
    row.others = ((machine - row.seeder_cpu_secs - row.getters_cpu_secs) / secs).max(0.0);
    let sent = summary(&sharer.stop(), "up_bytes");
    row.seeder_copies = sent as f64 / bytes as f64;
    tracker.stop();
    let copies = (0..getters).map(|index| folder(index).join(Place::NAME));
    Outcome {
        row,
        sha256: place.compared(copies),
    }
}

/// Follows the memory of the programs until all getters have ended; a dead process no longer tells it.
fn watch(sharer: &Program, getters: &[Program], row: &mut Row) {
    while getters.iter().any(|getter| !getter.is_dead()) {
        for peak in getters
            .iter()
            .filter_map(|getter| usage::peak_mib(getter.pid()))
        {
            row.getter_peak_mib = row.getter_peak_mib.max(peak);
        }
        thread::sleep(Duration::from_millis(5));
    }
    row.seeder_peak_mib = usage::peak_mib(sharer.pid()).unwrap_or(0.0);
}

fn first_piece_secs(ended: &Ended) -> Option<f64> {
    let mut events = ended.events.iter();
    events.find(|event| event["event"] == "first_piece")?["t"].as_f64()
}

fn summary(ended: &Ended, field: &str) -> u64 {
    let last = ended.events.last().expect("a summary");
    last[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {last}"))
}

/// Where it all happens: in memory if there is room, so that no disk is measured.
struct Place {
    root: TempDir,
}

impl Place {
    const NAME: &'static str = "content.bin";

    fn new(bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let free = nix::sys::statvfs::statvfs(memory)
            .map_or(0, |stat| stat.blocks_available() * stat.fragment_size());
        let root = if free > bytes {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self {
            root: root.expect("a folder"),
        }
    }

    /// On the disk that holds what is built.
    fn on_disk() -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self {
            root: root.expect("a folder"),
        }
    }

    fn file(&self) -> PathBuf {
        self.root.path().join(Self::NAME)
    }

    /// Puts a file of `bytes` there that no disk or network can shrink; always the same. The piece length that the
    /// sharer chooses for it.
    fn fill(&self, bytes: u64) -> u64 {
        let mut rng = Rng::new(SEED);
        let mut chunk = vec![0; MIB as usize];
        let mut file = File::create(self.file()).expect("a file");
        for _ in 0..bytes / MIB {
            for word in chunk.chunks_exact_mut(8) {
                word.copy_from_slice(&rng.next_u64().to_le_bytes());
            }
            file.write_all(&chunk).expect("room");
        }
        let (tracker, addr) = start_tracker(0, &self.root.path().join("state"));
        let (sharer, piece_len) = start_sharer(0, &addr, &self.file());
        sharer.stop();
        tracker.stop();
        piece_len
    }

    /// Panics unless every copy is the file; its SHA-256.
    fn compared(&self, copies: impl Iterator<Item = PathBuf>) -> String {
        let ours = sha256(&self.file()).expect("readable");
        for copy in copies {
            assert_eq!(sha256(&copy).expect("a copy"), ours, "{}", copy.display());
        }
        ours
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = BufReader::new(File::open(path)?);
    let mut digest = Sha256::new();
    let mut chunk = vec![0; MIB as usize];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => digest.update(&chunk[..count]),
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
