//! Whole swarms under virtual time: the figures of the gates' scenarios, and completion curves.
//!
//! `make sim` runs them all and draws into `target/sim`; names on the command line choose (`cargo bench --bench sim --
//! s1-31`), and `SHOAL_SEEDS=n` runs n seeds of each. Under `cargo test` one small swarm is run, and the hash of its outcome
//! printed: whoever makes the code faster sees whether it still does the same.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use shoal::sim::{Figures, Outcome, Scenario, Simulation};

/// What is run: a name, the seeds that it takes when nothing else is said, and the scenario.
type Entry = (&'static str, u64, fn(u64) -> Scenario);

const ENTRIES: &[Entry] = &[
    ("s1-31", 5, |seed| Scenario::cascade(31, seed)),
    ("s1-127", 5, |seed| Scenario::cascade(127, seed)),
    ("s1-1000", 1, |seed| Scenario::cascade(1_000, seed)),
    ("s14-31-blocks", 1, |seed| Scenario {
        in_whole_pieces: false,
        ..Scenario::cascade(31, seed)
    }),
    ("eight-20-mib", 5, |seed| Scenario {
        total_len: 256 << 20,
        piece_length: 1 << 18,
        in_whole_pieces: false,
        up_bytes_per_second: 20 << 20,
        ..Scenario::cascade(8, seed)
    }),
    ("down-limited-8", 2, |seed| Scenario {
        total_len: 256 << 20,
        piece_length: 1 << 18,
        in_whole_pieces: false,
        up_bytes_per_second: 100 << 20,
        down_bytes_per_second: Some(10 << 20),
        ..Scenario::cascade(8, seed)
    }),
    ("equal-down-31", 2, |seed| Scenario {
        in_whole_pieces: false,
        down_bytes_per_second: Some(125_000_000),
        ..Scenario::cascade(31, seed)
    }),
    ("thirty-small", 5, |seed| Scenario {
        total_len: 64 << 20,
        piece_length: 1 << 18,
        in_whole_pieces: false,
        up_bytes_per_second: 10 << 20,
        ..Scenario::cascade(30, seed)
    }),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        return small();
    }
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| *wanted == name);
    println!(
        "{:<20} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>10} {:>7}",
        "scenario, seed", "last", "mean", "util", "seed", "dup %", "jain", "stalls", "events", "s"
    );
    for &(name, seeds, scenario) in ENTRIES.iter().filter(|(name, ..)| wanted(name)) {
        let seeds = std::env::var("SHOAL_SEEDS").map_or(seeds, |n| {
            n.parse().expect("SHOAL_SEEDS is a number of seeds")
        });
        let mut curves = Vec::new();
        for seed in 1..=seeds {
            let scenario = scenario(seed);
            let start = Instant::now();
            let outcome = Simulation::run(&scenario);
            let seconds = start.elapsed().as_secs_f64();
            print_row(&format!("{name}, {seed}"), &scenario, &outcome, seconds);
            curves.push(curve(&scenario, &outcome));
        }
        let path = folder().join(format!("{name}.svg"));
        std::fs::write(&path, svg(name, &curves)).expect("target/sim can be written");
    }
    println!("completion curves: {}", folder().display());
}

/// One small swarm: its figures are printed without a time, so that runs can be compared.
fn small() {
    let scenario = Scenario {
        total_len: 32 << 20,
        ..Scenario::cascade(31, 1)
    };
    let outcome = Simulation::run(&scenario);
    let last = Figures::of(&scenario, &outcome).last;
    println!(
        "sim: 31 getters, last {last:.3}, outcome {:016x}",
        outcome.hash
    );
}

fn print_row(name: &str, scenario: &Scenario, outcome: &Outcome, seconds: f64) {
    let figures = Figures::of(scenario, outcome);
    println!(
        "{name:<20} {:>6.3} {:>6.3} {:>6.3} {:>6.3} {:>6.2} {:>7.4} {:>7} {:>10} {seconds:>7.2}",
        figures.last,
        figures.mean,
        figures.utilisation,
        figures.seed_copies,
        figures.duplicates * 100.0,
        figures.jain,
        outcome.stall_count,
        outcome.event_count,
    );
}

/// When each getter had everything, as shares of the bound, ascending.
fn curve(scenario: &Scenario, outcome: &Outcome) -> Vec<f64> {
    let bound = scenario.bound().as_secs_f64();
    let times = outcome.completed_at[scenario.first_getter()..].iter();
    let mut times: Vec<f64> = times
        .map(|at| at.expect("all have everything").as_secs_f64() / bound)
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let folder = target.expect("it is inside target").join("sim");
    std::fs::create_dir_all(&folder).expect("target can be written");
    folder
}

/// Getters that have everything over time, one line for each seed; the bound is the vertical line.
fn svg(name: &str, curves: &[Vec<f64>]) -> String {
    let (width, height) = (640.0, 320.0);
    let times = curves.iter().flatten().copied();
    let end = times.fold(1.0, f64::max) * 1.02;
    let start = 0.9;
    let x = |time: f64| 40.0 + (time.max(start) - start) / (end - start) * (width - 60.0);
    let y = |share: f64| height - 30.0 - share * (height - 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"40\" y=\"18\">{name}: getters that have everything, over time / bound</text>\n"
    );
    let (left, top, bottom) = (x(1.0), y(1.0), y(0.0));
    let _ = writeln!(
        svg,
        "<path d=\"M{left:.1} {top:.1}V{bottom:.1}\" stroke=\"black\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"{left:.1}\" y=\"{:.1}\">1</text>\n<text x=\"{:.1}\" y=\"{:.1}\">{end:.2}</text>",
        bottom + 16.0,
        x(end) - 24.0,
        bottom + 16.0,
    );
    for curve in curves {
        let mut path = format!("M{:.1} {bottom:.1}", x(start));
        for (at, &time) in curve.iter().enumerate() {
            let share = (at + 1) as f64 / curve.len() as f64;
            let _ = write!(path, "H{:.1}V{:.1}", x(time), y(share));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"steelblue\"/>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}
