//! One sharer to one getter or some, nothing limited: ours and others in turn.

use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::content::Place;
use crate::place::MIB;
use crate::programs::{Ended, Program, start_getter, start_sharer, start_tracker};
use crate::rivals::Rival;
use crate::row::Row;
use crate::torrents::{Cast, Client, carry};
use crate::{BENCH, rows, usage};

const RUNS_MIN: usize = 3;
/// With more of a processor than this busy elsewhere the numbers are not worth much.
const OTHERS_CALM_MAX: f64 = 0.25;

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) mib: u64,
    pub(crate) getters: usize,
    pub(crate) runs: usize,
}

impl Job {
    fn gib(&self) -> f64 {
        (self.mib * self.getters as u64) as f64 / 1024.0
    }
}

/// Who carries it.
#[derive(Clone, Copy)]
enum Pair {
    /// Our programs, by name.
    Ours,
    /// From one to the other, by a `.torrent` file.
    Torrent(Client, Client),
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str(rows::OURS),
            Self::Torrent(seeder, getter) if seeder == getter => seeder.fmt(f),
            Self::Torrent(seeder, getter) => write!(f, "{seeder} → {getter}"),
        }
    }
}

impl Pair {
    fn run(self, place: &Place, getters: usize, piece_len: u64) -> Row {
        match self {
            Self::Ours => run(place, getters),
            Self::Torrent(seeder, getter) => {
                let cast = Cast {
                    seeder,
                    getter,
                    getters,
                };
                carry(place, cast, piece_len, 0).row
            }
        }
    }
}

/// Says what the columns are.
pub(crate) fn explain(place: &Place, runs: usize) {
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
}

/// Ours and the rivals.
pub(crate) fn compare(place: &Place, job: Job, rivals: &[Rival], whereabouts: &str) {
    let getters = if job.getters == 1 {
        "getter"
    } else {
        "getters"
    };
    let case = format!("{} {getters}, {} MiB {whereabouts}", job.getters, job.mib);
    let rivals = rivals.iter().map(|&rival| Client::Rival(rival));
    let mut pairs = vec![Pair::Ours];
    pairs.extend(rivals.map(|rival| Pair::Torrent(rival, rival)));
    let found = in_turn(place, &case, job, &pairs);
    for (pair, all) in pairs.iter().zip(&found) {
        tell(&case, &pair.to_string(), all, job.gib());
    }
}

/// Ours with libtorrent in the other role, both ways, beside libtorrent with itself and ours with ours.
pub(crate) fn mix(place: &Place, job: Job, rivals: &[Rival]) {
    if !rivals.contains(&Rival::Libtorrent) {
        return println!("without libtorrent there are no mixed pairs\n");
    }
    let (ours, other) = (Client::Shoal, Client::Rival(Rival::Libtorrent));
    let pairs = [
        Pair::Torrent(other, ours),
        Pair::Torrent(ours, other),
        Pair::Torrent(other, other),
        Pair::Torrent(ours, ours),
    ];
    let case = format!("1 getter of a .torrent file, {} MiB in memory", job.mib);
    let found = in_turn(place, &case, job, &pairs);
    let [getting, giving, others, _] = &found[..] else {
        unreachable!("as many as there are pairs")
    };
    // Beside each other in the report: whose place ours takes in the pair of libtorrent with itself.
    let of = format!("{} MiB in memory", job.mib);
    for (case, ours) in [
        ("getting from libtorrent", getting),
        ("giving to libtorrent", giving),
    ] {
        let case = format!("{case}, {of}");
        tell(&case, rows::OURS, ours, job.gib());
        tell(&case, &other.to_string(), others, job.gib());
    }
}

/// Every pair in turn, so that what disturbs one disturbs the others; the rows of each.
fn in_turn(place: &Place, case: &str, job: Job, pairs: &[Pair]) -> Vec<Vec<Row>> {
    let piece_len = place.fill(job.mib * MIB);
    println!("{case}, pieces of {} KiB", piece_len >> 10);
    println!("{}", Row::HEADING);
    let mut found = vec![Vec::new(); pairs.len()];
    for _ in 0..job.runs {
        for (pair, all) in pairs.iter().zip(&mut found) {
            let row = pair.run(place, job.getters, piece_len);
            println!("{:23} {row}", pair.to_string());
            all.push(row);
        }
    }
    for (pair, all) in pairs.iter().zip(&found) {
        print_median(&pair.to_string(), all);
    }
    println!();
    found
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

/// One transfer with fresh programs, from the file that `place` holds.
pub(crate) fn run(place: &Place, getters: usize) -> Row {
    run_in_pieces(place, getters, None)
}

/// The same in pieces of so many bytes.
pub(crate) fn run_in_pieces(place: &Place, getters: usize, piece_bytes: Option<u64>) -> Row {
    place.use_memory(getters);
    let here = tempfile::tempdir_in(place.root.path()).expect("a folder");
    // An empty name at the end of a path makes it one that ends in a slash: a folder to be.
    let folder = |index: usize| here.path().join(index.to_string()).join("");
    let (tracker, addr) = start_tracker(&here.path().join("state"));
    let (sharer, _) = start_sharer(&addr, &place.file(), piece_bytes);
    let bytes = fs::metadata(place.file()).expect("the file").len();
    let sharer_cpu_before = usage::cpu_secs(sharer.pid());
    let machine_before = usage::machine_cpu_secs();

    let started: Vec<Program> = (0..getters)
        .map(|index| start_getter(&addr, Place::NAME, &folder(index)))
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
    place.compared((0..getters).map(|index| folder(index).join(Place::NAME)));
    row
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
