//! Runs scenarios, as many at a time as there are processors, and hands each gate over when all its runs are done.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use shoal::sim::{Figures, Scenario, Simulation};

use crate::gate::{Gate, Run, Size, Variant};

/// What the environment asks for.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    seeds: u64,
    first_seed: u64,
    getters: Option<usize>,
    pieces: Option<u32>,
    jobs: usize,
    is_traced: bool,
}

impl Settings {
    /// Reads the environment; what it does not say is as the gates want it.
    pub(crate) fn from_environment() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            seeds: number("SHOAL_SEEDS").unwrap_or(5),
            first_seed: number("SHOAL_FIRST_SEED").unwrap_or(1),
            getters: number("SHOAL_GETTERS").map(|n| n as usize),
            pieces: number("SHOAL_PIECES").map(|n| n as u32),
            jobs: number("SHOAL_JOBS")
                .map_or(processors, |n| n as usize)
                .max(1),
            is_traced: std::env::var_os("SHOAL_TRACE").is_some(),
        }
    }

    /// Where curves and traces go.
    pub(crate) fn folder(&self) -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        let folder = target.expect("it is inside target").join("sim");
        std::fs::create_dir_all(&folder).expect("target can be written");
        folder
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is a number, not {text}"),
    }
}

/// A gate, and which of its variants are run.
pub(crate) struct Chosen<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) variants: Vec<Variant>,
}

/// One run that is to be done.
struct Job {
    /// The place of its gate, of its variant in that, and of its seed.
    place: (usize, usize, usize),
    /// How it is called.
    name: String,
    size: Size,
    scenario: fn(Size) -> Scenario,
}

/// The runs of a gate by variant and seed, or the commands that replay those that broke off.
pub(crate) type Runs = Result<Vec<Vec<Run>>, Vec<String>>;

/// Runs all that is chosen, and hands over each gate's runs in the order of the gates.
pub(crate) fn run(
    chosen: &[Chosen<'_>],
    settings: Settings,
    mut done: impl FnMut(&Gate, &[Variant], Runs),
) {
    let jobs = jobs(chosen, settings);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..settings.jobs {
            let (sender, jobs, next) = (sender.clone(), &jobs, &next);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = catch_unwind(AssertUnwindSafe(|| play(job, settings)));
                    let result = result.map_err(|_| replay(&job.name, job.size.seed));
                    let _ = sender.send((job.place, result));
                }
            });
        }
        drop(sender);
        let (mut came, mut at) = (BTreeMap::new(), 0);
        for (place, result) in results {
            came.insert(place, result);
            while at < chosen.len() && is_whole(&came, &jobs, at) {
                let rest = came.split_off(&(at + 1, 0, 0));
                let of_gate = std::mem::replace(&mut came, rest);
                let Chosen { gate, variants } = &chosen[at];
                done(gate, variants, sort(of_gate));
                at += 1;
            }
        }
    });
}

fn jobs(chosen: &[Chosen<'_>], settings: Settings) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (g, Chosen { gate, variants }) in chosen.iter().enumerate() {
        for (v, variant) in variants.iter().enumerate() {
            for s in 0..settings.seeds {
                let size = Size {
                    seed: settings.first_seed + s,
                    getters: settings.getters.unwrap_or(variant.getters),
                    pieces: settings.pieces.unwrap_or(variant.pieces),
                };
                jobs.push(Job {
                    place: (g, v, s as usize),
                    name: gate.name_of(variant),
                    size,
                    scenario: variant.scenario,
                });
            }
        }
    }
    jobs
}

type Came = BTreeMap<(usize, usize, usize), Result<Run, String>>;

/// Whether all runs of the gate at `at` are there.
fn is_whole(came: &Came, jobs: &[Job], at: usize) -> bool {
    let wanted = jobs.iter().filter(|job| job.place.0 == at).count();
    came.range((at, 0, 0)..(at + 1, 0, 0)).count() == wanted
}

fn sort(of_gate: Came) -> Runs {
    let (mut runs, mut broken): (Vec<Vec<Run>>, _) = (Vec::new(), Vec::new());
    for ((_, variant, _), result) in of_gate {
        runs.resize_with(runs.len().max(variant + 1), Vec::new);
        match result {
            Ok(run) => runs[variant].push(run),
            Err(replay) => broken.push(replay),
        }
    }
    if broken.is_empty() {
        Ok(runs)
    } else {
        Err(broken)
    }
}

fn play(job: &Job, settings: Settings) -> Run {
    let scenario = (job.scenario)(job.size);
    let start = Instant::now();
    let outcome = if settings.is_traced {
        let name = format!("{}-{}.trace", job.name, job.size.seed);
        let file = File::create(settings.folder().join(name)).expect("target/sim can be written");
        let mut writer = BufWriter::new(file);
        Simulation::run_traced(&scenario, move |line| {
            writeln!(writer, "{line}").expect("target/sim can be written");
        })
    } else {
        Simulation::run(&scenario)
    };
    let figures = Figures::of(&scenario, &outcome);
    Run {
        figures,
        seconds: start.elapsed().as_secs_f64(),
        scenario,
        outcome,
    }
}

/// The command that runs one seed of a scenario again, and writes its trace.
pub(crate) fn replay(name: &str, seed: u64) -> String {
    let mut command = format!("SHOAL_FIRST_SEED={seed} SHOAL_SEEDS=1 SHOAL_TRACE=1 ");
    for name in ["SHOAL_GETTERS", "SHOAL_PIECES"] {
        if let Ok(value) = std::env::var(name) {
            command += &format!("{name}={value} ");
        }
    }
    command + "cargo bench --bench sim -- " + name
}
