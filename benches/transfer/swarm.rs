//! A swarm of our programs as a plan says: who may send how much, who is killed, who lies, over which links. What comes of
//! it is told beside the physical bound, which no protocol can beat.
//!
//! The bound is max(F/u, F/d, N·F/(u + Σuᵢ)) for a content of F bytes, a sharer with the uplink u and N getters with the
//! uplinks uᵢ and the downlinks d: the sharer has to send each byte once, each getter to receive it, and all uplinks together
//! to carry every byte N times. Getters stay until the last one is complete. Every copy is compared.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::content::Place;
use crate::line::Line;
use crate::net::Net;
use crate::programs::{Program, TRACKER, await_tracker, free_port, peer};
use crate::usage;

/// A run that takes longer than so many times the bound, and than this, hangs.
const BOUNDS_MAX: f64 = 20.0;
const SECS_MAX: f64 = 60.0;
/// How long who was killed stays away.
const AWAY: Duration = Duration::from_millis(300);

/// Times in which the machine has no time even for us that are worth telling.
const ABSENT_SECS_MAX: f64 = 0.5;

/// A swarm to be.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// The tracker's, if not what it has by itself.
    pub(crate) policy: Option<&'static str>,
    /// What the sharer and each getter send at most, in bytes per second: as their links let them where there is a `net`,
    /// else by `--up`.
    pub(crate) sharer_up: u64,
    pub(crate) getter_ups: Vec<u64>,
    /// What each getter's link brings, if that is limited.
    pub(crate) down: Option<u64>,
    /// Somebody else shares it as well, in whose copy every so many pieces one is wrong.
    pub(crate) lies: Option<usize>,
    pub(crate) killed: Killed,
    /// Getters leave when they have everything.
    pub(crate) leaves: bool,
    /// How long everything is under way, both ways, where that is simulated.
    pub(crate) delay: Option<Duration>,
    /// The machines: of the tracker, the sharer, and each getter.
    pub(crate) net: Option<&'a Net>,
}

/// Whether the first getter is killed when it has half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Killed {
    #[default]
    Nobody,
    ForGood,
    AndStartedAgain,
}

impl Plan<'_> {
    /// The bound for a content of so many bytes, in seconds.
    pub(crate) fn bound(&self, bytes: u64) -> f64 {
        let bytes = bytes as f64;
        let all_ups = self.sharer_up + self.getter_ups.iter().sum::<u64>();
        let of_all = self.getter_ups.len() as f64 * bytes / all_ups as f64;
        let of_down = self.down.map_or(0.0, |down| bytes / down as f64);
        (bytes / self.sharer_up as f64).max(of_all).max(of_down)
    }
}

/// What came of a swarm.
#[derive(Default)]
pub(crate) struct Found {
    /// When each getter was complete, in seconds from the start of all; who was killed for good never was.
    pub(crate) secs: Vec<Option<f64>>,
    pub(crate) sharer_copies: f64,
    /// What arrived at getters beyond one copy each, as a share of that.
    pub(crate) excess: f64,
    pub(crate) cpu_secs: f64,
    /// Processors busy with something else.
    pub(crate) others: f64,
    /// Getters to whom wrong pieces came, and those of them that banned the liar.
    pub(crate) deceived: usize,
    pub(crate) convicted: usize,
    /// Bans of others than the liar.
    pub(crate) wrong_bans: usize,
    /// The share of the content that who was started again still had.
    pub(crate) kept: Option<f64>,
    /// The longest time in which we, who look every few milliseconds, did not run, in seconds.
    pub(crate) absent: f64,
}

impl Found {
    /// Of those at these places, who were complete.
    fn of(&self, places: impl Iterator<Item = usize>) -> Vec<f64> {
        places.filter_map(|at| self.secs[at]).collect()
    }

    /// When the last of some was complete, and the mean of them.
    pub(crate) fn last_and_mean(&self, places: std::ops::Range<usize>) -> (f64, f64) {
        let secs = self.of(places);
        let last = secs.iter().copied().fold(0.0, f64::max);
        (last, secs.iter().sum::<f64>() / secs.len() as f64)
    }

    pub(crate) const HEADING: &str = "                   last/bound  mean/bound  first s  last s  copies from sharer  \
         twice %  CPU s  others";

    /// A line of a table.
    pub(crate) fn line(&self, name: &str, bound: f64) -> String {
        let (last, mean) = self.last_and_mean(0..self.secs.len());
        let first = self.of(0..self.secs.len());
        let first = first.into_iter().fold(f64::INFINITY, f64::min);
        let mut line = format!(
            "{name:18} {:10.3}  {:10.3}  {first:7.2}  {last:6.2}  {:18.2}  {:7.2}  {:5.1}  {:6.2}",
            last / bound,
            mean / bound,
            self.sharer_copies,
            self.excess * 100.0,
            self.cpu_secs,
            self.others,
        );
        if let Some(kept) = self.kept {
            line += &format!("  went on with {:.0} %", kept * 100.0);
        }
        if self.absent > ABSENT_SECS_MAX {
            line += &format!("  the machine stood still for {:.1} s", self.absent);
        }
        if self.deceived + self.convicted + self.wrong_bans > 0 {
            line += &format!(
                "  {} deceived, {} of them banned the liar, {} banned others",
                self.deceived, self.convicted, self.wrong_bans
            );
        }
        line
    }
}

/// Runs one with fresh programs.
pub(crate) fn run(place: &Place, plan: &Plan<'_>) -> Found {
    place.use_memory(plan.getter_ups.len());
    let stage = Stage::new(place, plan);
    let (_tracker, addr) = stage.start_tracker();
    let sharer = stage.start_peer(1, stage.share(&addr, plan.sharer_up, &place.file()));
    sharer.await_line("\"shared\"");
    let liar = plan.lies.map(|nth| stage.start_liar(&addr, nth));
    let (cpu_before, machine_before) = (usage::cpu_secs(sharer.pid()), usage::machine_cpu_secs());
    let mut show = Show {
        getters: Vec::new(),
        secs: vec![None; plan.getter_ups.len()],
        kept: None,
        absent: 0.0,
        began: Instant::now(),
    };
    for index in 0..plan.getter_ups.len() {
        show.getters.push(Some(stage.start_getter(&addr, index)));
    }
    stage.follow(&mut show, &addr);
    let machine = usage::machine_cpu_secs() - machine_before;
    let last = show.began.elapsed().as_secs_f64();
    let running = show.getters.iter().flatten();
    let getters_cpu: f64 = running.map(|getter| usage::cpu_secs(getter.pid())).sum();
    let cpu_secs = usage::cpu_secs(sharer.pid()) - cpu_before + getters_cpu;
    let getters = show.getters.into_iter().flatten();
    let summaries: Vec<Value> = getters.map(summary).collect();
    let mut found = Found {
        secs: show.secs,
        sharer_copies: number(&summary(sharer), "up_bytes") / stage.bytes as f64,
        kept: show.kept,
        absent: show.absent,
        cpu_secs,
        others: ((machine - cpu_secs) / last).max(0.0),
        ..Found::default()
    };
    drop(liar);
    found.judge(&summaries, stage.liar_port);
    let arrived: f64 = summaries.iter().map(|all| number(all, "down_bytes")).sum();
    let needed = (summaries.len() as f64 - found.kept.unwrap_or(0.0)) * stage.bytes as f64;
    found.excess = (arrived / needed - 1.0).max(0.0);
    let complete = (0..found.secs.len()).filter(|&index| found.secs[index].is_some());
    place.compared(complete.map(|index| stage.copy(index)));
    found
}

impl Found {
    /// Counts bans. Peers are told apart by their ports, which they have for themselves on loopback.
    fn judge(&mut self, summaries: &[Value], liar_port: u16) {
        for summary in summaries {
            let peers = summary["peers"].as_array().expect("a list");
            let banned = peers.iter().filter(|peer| peer["banned"] == true);
            let is_liar = |peer: &&Value| {
                let addr = peer["addr"].as_str().expect("an address");
                addr.ends_with(&format!(":{liar_port}"))
            };
            let (liars, others): (Vec<_>, Vec<_>) = banned.partition(is_liar);
            self.wrong_bans += others.len();
            if number(summary, "hash_fail") > 0.0 {
                self.deceived += 1;
                self.convicted += liars.len().min(1);
            } else {
                self.wrong_bans += liars.len();
            }
        }
    }
}

/// The last line of a program that is asked to stop.
fn summary(program: Program) -> Value {
    program.stop().events.pop().expect("a summary")
}

fn number(summary: &Value, field: &str) -> f64 {
    let found = summary[field].as_f64();
    found.unwrap_or_else(|| panic!("no {field} in {summary}"))
}

/// The getters, as far as they have come.
struct Show {
    getters: Vec<Option<Program>>,
    secs: Vec<Option<f64>>,
    kept: Option<f64>,
    absent: f64,
    began: Instant,
}

/// Where a swarm runs.
struct Stage<'a> {
    plan: &'a Plan<'a>,
    place: &'a Place,
    here: TempDir,
    bytes: u64,
    liar_port: u16,
    lines: RefCell<Vec<Line>>,
}

impl<'a> Stage<'a> {
    fn new(place: &'a Place, plan: &'a Plan<'a>) -> Self {
        Self {
            plan,
            place,
            here: tempfile::tempdir_in(place.root.path()).expect("a folder"),
            bytes: fs::metadata(place.file()).expect("the file").len(),
            liar_port: free_port(),
            lines: RefCell::default(),
        }
    }

    fn copy(&self, index: usize) -> PathBuf {
        self.here.path().join(format!("copy{index}"))
    }

    fn start_tracker(&self) -> (Program, String) {
        let ip = match self.plan.net {
            Some(net) => net.host(0).ip.to_string(),
            None => "127.0.0.1".to_owned(),
        };
        let mut command = Command::new(TRACKER);
        command.args(["-l", &format!("{ip}:0"), "-s"]);
        command.arg(self.here.path().join("state"));
        if let Some(policy) = self.plan.policy {
            command.args(["--policy", policy]);
        }
        let (tracker, addr) = await_tracker(&mut self.on_machine(0, command));
        let far = self.far_end_of(addr.parse().expect("an address"));
        (tracker, far.map_or(addr, |far| far.to_string()))
    }

    /// The far end of a new line to that address, where there is a delay.
    fn far_end_of(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let line = Line::to(addr, self.plan.delay?);
        let far = line.addr;
        self.lines.borrow_mut().push(line);
        Some(far)
    }

    /// The same command on that machine, with its complaints in a file.
    fn on_machine(&self, machine: usize, command: Command) -> Command {
        let mut command = match self.plan.net {
            Some(net) => net.host(machine).command(command),
            None => command,
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log());
        command.stderr(log.expect("a file"));
        command
    }

    fn log(&self) -> PathBuf {
        self.here.path().join("log")
    }

    fn start_peer(&self, machine: usize, command: Command) -> Program {
        Program::spawn(&mut self.on_machine(machine, command))
    }

    /// A peer's command, with its uplink limited where its link does not do that.
    fn command(&self, tracker: &str, word: &str, up: u64) -> Command {
        let mut command = peer(tracker, word);
        if self.plan.net.is_none() {
            command.args(["--up", &up.to_string()]);
        }
        let near = SocketAddr::from(([127, 0, 0, 1], free_port()));
        if self.plan.delay.is_some()
            && let Some(far) = self.far_end_of(near)
        {
            command.args(["--listen", &near.to_string()]);
            command.args(["--advertise", &far.to_string()]);
        }
        command
    }

    fn share(&self, tracker: &str, up: u64, path: &Path) -> Command {
        let mut command = self.command(tracker, "share", up);
        command.arg(path);
        command
    }

    fn start_getter(&self, tracker: &str, index: usize) -> Program {
        let mut command = self.command(tracker, "get", self.plan.getter_ups[index]);
        let stays = if self.plan.leaves { "none" } else { "forever" };
        command.args([Place::NAME, "--seed", stays, "-o"]);
        command.arg(self.copy(index));
        self.start_peer(index + 2, command)
    }

    /// Shares a copy that is spoilt behind its back, while it is stopped and cannot see how: its time is as before.
    fn start_liar(&self, tracker: &str, nth: usize) -> Program {
        let folder = self.here.path().join("liar");
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join(Place::NAME);
        fs::copy(self.place.file(), &path).expect("room");
        let mut command = self.share(tracker, self.plan.sharer_up, &path);
        command.args(["--listen", &format!("127.0.0.1:{}", self.liar_port)]);
        let liar = self.start_peer(1, command);
        let shared: Value = serde_json::from_str(&liar.await_line("\"shared\"")).expect("JSON");
        let piece_len = shared["piece_length"].as_u64().expect("a length");
        liar.signal(Signal::SIGSTOP);
        spoil(&path, piece_len, nth);
        liar.signal(Signal::SIGCONT);
        liar
    }

    /// Waits until all are complete, and kills whom it is to kill: a copy has its name when all of it is verified.
    fn follow(&self, show: &mut Show, tracker: &str) {
        let patience = (self.plan.bound(self.bytes) * BOUNDS_MAX).max(SECS_MAX);
        let mut killed = self.plan.killed;
        let mut looked = Instant::now();
        while (0..show.secs.len())
            .any(|index| show.getters[index].is_some() && show.secs[index].is_none())
        {
            let elapsed = show.began.elapsed().as_secs_f64();
            assert!(elapsed < patience, "it hangs; {}", self.said(show));
            for index in 0..show.secs.len() {
                if show.secs[index].is_none() && self.copy(index).exists() {
                    show.secs[index] = Some(elapsed);
                }
            }
            if killed != Killed::Nobody && self.has_half(0) {
                // Dropped is killed.
                show.getters[0] = None;
                if killed == Killed::AndStartedAgain {
                    thread::sleep(AWAY);
                    let again = self.start_getter(tracker, 0);
                    let start = again.await_line("\"start\"");
                    let start: Value = serde_json::from_str(&start).expect("JSON");
                    show.kept = Some(number(&start, "have") / number(&start, "pieces"));
                    show.getters[0] = Some(again);
                }
                killed = Killed::Nobody;
                looked = Instant::now();
            }
            thread::sleep(Duration::from_millis(5));
            show.absent = show.absent.max(looked.elapsed().as_secs_f64());
            looked = Instant::now();
        }
    }

    /// Whether half of the room that the copy takes is taken.
    fn has_half(&self, index: usize) -> bool {
        let part = self.copy(index).with_extension("part");
        fs::metadata(part).is_ok_and(|part| part.blocks() * 512 >= self.bytes / 2)
    }

    fn said(&self, show: &Show) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        format!("complete {:?}, log:\n{log}", show.secs)
    }
}

/// Changes a byte of every nth piece.
fn spoil(path: &Path, piece_len: u64, nth: usize) {
    let file = File::options().read(true).write(true).open(path);
    let file = file.expect("ours");
    let about = file.metadata().expect("it is open");
    for piece in (0..about.len().div_ceil(piece_len)).step_by(nth) {
        let (mut byte, at) = ([0], piece * piece_len);
        file.read_exact_at(&mut byte, at).expect("it is that long");
        file.write_all_at(&[!byte[0]], at).expect("it is that long");
    }
    let modified = about.modified().expect("Linux knows it");
    file.set_modified(modified).expect("ours");
}
