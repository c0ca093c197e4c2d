//! Everybody's uplink limited, as on a network whose uplinks are slower than its machines: how near the last completion
//! comes to the physical bound, which no protocol can beat.
//!
//! The bound is max(F/u, N·F/((N+1)·u)) = F/u for one sharer and N getters with equal uplinks u: the sharer has to send
//! each byte once, and all uplinks together every byte N times. Getters stay until the last one is complete.
//! `SHOAL_BENCH_CAPPED` names the swarms, `SHOAL_BENCH_RIVALS=aria2,lt` who is measured beside us.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shoal::base::Rng;
use tempfile::TempDir;

use crate::{rows, usage};

/// Each uplink, in bytes per second: 20 MiB/s.
const UP_BYTES_PER_S: u64 = 20 << 20;
const SIZE_MIB: u64 = 256;
const NAME: &str = "content.bin";
const RUNS: usize = 5;
/// What every run is to stay under, as a multiple of the bound.
const RATIO_MAX: f64 = 1.15;
/// A run that takes longer hangs.
const SECS_MAX: u64 = 300;

/// Who is measured, and with how many getters: rivals only with as many as they can be had for on one machine.
const SWARMS: [(usize, bool); 2] = [(8, true), (24, false)];

/// One run.
#[derive(Clone, Copy)]
struct Capped {
    first_secs: f64,
    mean_secs: f64,
    last_secs: f64,
    sharer_copies: f64,
    cpu_secs: f64,
    others: f64,
}

/// Measures every swarm and prints each run.
pub(crate) fn measure() {
    let runs = number("SHOAL_BENCH_RUNS").unwrap_or(RUNS);
    let mib = number("SHOAL_BENCH_CAPPED_MIB").unwrap_or(SIZE_MIB as usize) as u64;
    let bound = (mib << 20) as f64 / UP_BYTES_PER_S as f64;
    let only = number("SHOAL_BENCH_CAPPED");
    for (getters, with_rivals) in SWARMS {
        if only.is_some_and(|only| only != getters) {
            continue;
        }
        let up_mib = UP_BYTES_PER_S >> 20;
        println!("1 → {getters}, {mib} MiB, every uplink {up_mib} MiB/s, bound {bound:.1} s");
        println!(
            "            last/bound  mean/bound  first s  last s  copies from sharer  CPU s  others"
        );
        let place = place((mib << 20) * (getters as u64 + 2));
        fill(&place.path().join(NAME), mib);
        let mut ratios = Vec::new();
        for _ in 0..runs {
            let run = run(&place, getters, mib << 20);
            ratios.push(run.last_secs / bound);
            print_run("shoal", &run, bound);
            if with_rivals {
                run_rivals(getters, mib, bound);
            }
        }
        let case = format!("1 → {getters}, capped");
        rows::put("transfer", &case, rows::OURS, "of the bound", &ratios);
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        let verdict = if worst <= RATIO_MAX { "met" } else { "missed" };
        println!("shoal: worst of {runs} runs {worst:.3}; {RATIO_MAX} is {verdict}\n");
    }
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// In memory if there is room, so that no disk is measured.
fn place(bytes: u64) -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = nix::sys::statvfs::statvfs(memory)
        .map_or(0, |stat| stat.blocks_available() * stat.fragment_size());
    let place = if free > bytes {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    place.expect("a folder")
}

fn fill(path: &Path, mib: u64) {
    let mut rng = Rng::new(1);
    let mut chunk = vec![0; 1 << 20];
    let mut file = File::create(path).expect("a file");
    for _ in 0..mib {
        for word in chunk.chunks_exact_mut(8) {
            word.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        file.write_all(&chunk).expect("room");
    }
}

/// A program of ours; killed when dropped.
struct Running(Child);

impl Running {
    fn start(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The first line that holds `what`. What comes after it is left to be read.
    fn await_line(&mut self, what: &str) -> String {
        let stdout = self.0.stdout.as_mut().expect("it is piped");
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            let count = stdout.read(&mut byte).expect("readable");
            assert!(count > 0, "it ended before it said {what}");
            line.push(byte[0]);
            if byte == *b"\n" {
                let text = String::from_utf8_lossy(&line).into_owned();
                if text.contains(what) {
                    return text;
                }
                line.clear();
            }
        }
    }

    /// Asks it to stop; its last line.
    fn stop(mut self) -> String {
        let pid = Pid::from_raw(self.pid() as i32);
        kill(pid, Signal::SIGTERM).expect("it runs");
        let stdout = self.0.stdout.take().expect("it is piped");
        let last = BufReader::new(stdout).lines().map_while(Result::ok).last();
        self.0.wait().expect("it is our child");
        last.unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn print_run(name: &str, run: &Capped, bound: f64) {
    println!(
        "{name:10} {:11.3} {:11.3} {:8.2} {:7.2} {:19.2} {:6.1} {:7.2}",
        run.last_secs / bound,
        run.mean_secs / bound,
        run.first_secs,
        run.last_secs,
        run.sharer_copies,
        run.cpu_secs,
        run.others
    );
}

/// One transfer with fresh programs, every copy compared.
fn run(place: &TempDir, getters: usize, bytes: u64) -> Capped {
    let here = tempfile::tempdir_in(place.path()).expect("a folder");
    let source = place.path().join(NAME);
    let copies: Vec<PathBuf> = (0..getters)
        .map(|index| here.path().join(format!("copy{index}")))
        .collect();
    let (_tracker, addr) = start_tracker();
    let up = UP_BYTES_PER_S.to_string();
    let peer = |command: &str, rest: &[&str]| {
        let args = [&["--json", "-t", &addr, command, "--up", &up], rest].concat();
        Running::start(env!("CARGO_BIN_EXE_shoal-peer"), &args)
    };
    let mut sharer = peer("share", &[source.to_str().expect("plain")]);
    sharer.await_line("\"shared\"");
    let machine_before = usage::machine_cpu_secs();
    let cpu_before = usage::cpu_secs(sharer.pid());
    let began = Instant::now();
    let started: Vec<Running> = copies
        .iter()
        .map(|copy| {
            let to = copy.to_str().expect("plain");
            peer("get", &[NAME, "-o", to, "--seed", "forever"])
        })
        .collect();
    let times = await_copies(&copies, began);
    let machine = usage::machine_cpu_secs() - machine_before;
    let getters_cpu: f64 = started
        .iter()
        .map(|getter| usage::cpu_secs(getter.pid()))
        .sum();
    let cpu_secs = usage::cpu_secs(sharer.pid()) - cpu_before + getters_cpu;
    for getter in started {
        getter.stop();
    }
    let summary: Value = serde_json::from_str(&sharer.stop()).expect("its summary");
    let sent = summary["up_bytes"].as_u64().expect("a number");
    let content = fs::read(&source).expect("the content");
    for copy in &copies {
        let is_same = fs::read(copy).expect("a copy") == content;
        assert!(is_same, "{}", copy.display());
    }
    let last_secs = times.iter().copied().fold(0.0, f64::max);
    Capped {
        first_secs: times.iter().copied().fold(f64::INFINITY, f64::min),
        mean_secs: times.iter().sum::<f64>() / times.len() as f64,
        last_secs,
        sharer_copies: sent as f64 / bytes as f64,
        cpu_secs,
        others: ((machine - cpu_secs) / last_secs).max(0.0),
    }
}

/// When each copy was complete: it is given its name when all of it is verified.
fn await_copies(copies: &[PathBuf], began: Instant) -> Vec<f64> {
    let mut times = vec![None; copies.len()];
    while times.iter().any(Option::is_none) {
        let elapsed = began.elapsed();
        assert!(elapsed.as_secs() < SECS_MAX, "it hangs");
        for (copy, time) in copies.iter().zip(&mut times) {
            if time.is_none() && copy.exists() {
                *time = Some(elapsed.as_secs_f64());
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    times.into_iter().flatten().collect()
}

/// A tracker on a free port, and its address.
fn start_tracker() -> (Running, String) {
    let args = ["-l", "127.0.0.1:0"];
    let mut tracker = Running::start(env!("CARGO_BIN_EXE_shoal-tracker"), &args);
    let line = tracker.await_line(" native");
    let mut words = line.split_whitespace();
    words.find(|word| word.starts_with("native"));
    let addr = words.next().expect("an address").to_owned();
    (tracker, addr)
}

/// The rivals that were asked for, through the tools that are not part of this repository.
fn run_rivals(getters: usize, mib: u64, bound: f64) {
    let names = std::env::var("SHOAL_BENCH_RIVALS").unwrap_or_default();
    let Some(tools) = tools() else { return };
    for name in names.split(',').filter(|name| !name.is_empty()) {
        match run_rival(&tools, name, getters, mib) {
            Some(last_secs) => println!("{name:10} {:11.3}", last_secs / bound),
            None => println!("{name:10} failed"),
        }
    }
}

/// When the last getter of a rival was complete.
fn run_rival(tools: &Path, name: &str, getters: usize, mib: u64) -> Option<f64> {
    let output = Command::new(tools.join("run.sh"))
        .args(["--seeder", name, "--leecher", name, "--runs", "1"])
        .args(["--n", &getters.to_string(), "--size", &mib.to_string()])
        .args(["--up", &UP_BYTES_PER_S.to_string()])
        .args(["--distinct", if name == "lt" { "0" } else { "1" }])
        .args(["--json", "/dev/null"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let row: Value = serde_json::from_str(said.lines().last()?).ok()?;
    row["e2e"].as_f64()
}

/// The folder of the tools: as `SHOAL_TRANSFER_TOOLS` says, or beside the checkout.
fn tools() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tools/transfer");
    let tools = std::env::var_os("SHOAL_TRANSFER_TOOLS").unwrap_or_else(|| beside.into());
    let tools = PathBuf::from(tools);
    tools.join("run.sh").exists().then_some(tools)
}
