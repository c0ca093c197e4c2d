//! The real programs as children: started, listened to, stopped.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::usage;

const ANSWER_SECS_MAX: u64 = 120;

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<(Instant, String)>,
    began: Instant,
}

/// How a program ended.
pub(crate) struct Ended {
    /// From its start to the end of its output.
    pub(crate) secs: f64,
    /// Processor seconds.
    pub(crate) cpu_secs: f64,
    /// What it said that was not read before.
    pub(crate) events: Vec<Value>,
}

impl Program {
    /// Starts `program`, as `nice` as given if it is not 0.
    pub(crate) fn start<S: AsRef<OsStr>>(program: &str, nice: i32, args: &[S]) -> Self {
        let mut command = match nice {
            0 => Command::new(program),
            _ => Command::new("nice"),
        };
        if nice != 0 {
            command.arg("-n").arg(nice.to_string()).arg(program);
        }
        let began = Instant::now();
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
            // An empty line stands for the end.
            let _ = sender.send((Instant::now(), String::new()));
        });
        Self {
            child,
            lines,
            began,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line that holds `what`.
    pub(crate) fn await_line(&self, what: &str) -> String {
        self.await_said(what).1
    }

    /// Seconds from its start to the first line that holds `what`.
    pub(crate) fn await_secs(&self, what: &str) -> f64 {
        (self.await_said(what).0 - self.began).as_secs_f64()
    }

    fn await_said(&self, what: &str) -> (Instant, String) {
        let deadline = Instant::now() + Duration::from_secs(ANSWER_SECS_MAX);
        loop {
            let (at, line) = self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .unwrap_or_else(|_| panic!("no {what} in {ANSWER_SECS_MAX} s"));
            assert!(!line.is_empty(), "it ended before it said {what}");
            if line.contains(what) {
                return (at, line);
            }
        }
    }

    /// Whether its process is dead.
    pub(crate) fn is_dead(&self) -> bool {
        usage::is_dead(self.pid())
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn finish(mut self) -> Ended {
        let mut events = Vec::new();
        let ended = loop {
            let (at, line) = self.lines.recv().expect("the end is sent");
            if line.is_empty() {
                break at;
            }
            events.extend(serde_json::from_str(&line));
        };
        usage::await_death(self.pid());
        let cpu_secs = usage::cpu_secs(self.pid());
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}: {events:?}");
        Ended {
            secs: (ended - self.began).as_secs_f64(),
            cpu_secs,
            events,
        }
    }

    /// Asks it to stop, and waits for that.
    pub(crate) fn stop(self) -> Ended {
        let pid = Pid::from_raw(self.pid() as i32);
        kill(pid, Signal::SIGTERM).expect("it runs");
        self.finish()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing to do if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tracker on a free port, and its address.
pub(crate) fn start_tracker(nice: i32, state: &Path) -> (Program, String) {
    let args = [
        OsStr::new("-l"),
        "127.0.0.1:0".as_ref(),
        "-s".as_ref(),
        state.as_ref(),
    ];
    start_tracker_with(nice, &args)
}

/// A tracker that answers for any content over HTTP, and its address.
pub(crate) fn start_open_tracker() -> (Program, String) {
    start_tracker_with(0, &["-l", "127.0.0.1:0", "--open"])
}

fn start_tracker_with<S: AsRef<OsStr>>(nice: i32, args: &[S]) -> (Program, String) {
    let tracker = Program::start(env!("CARGO_BIN_EXE_shoal-tracker"), nice, args);
    let line = tracker.await_line("native+http ");
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !word.starts_with("native"));
    let addr = words.nth(1).expect("an address").to_owned();
    (tracker, addr)
}

/// A peer that shares `path`, ready to serve, and the piece length.
pub(crate) fn start_sharer(nice: i32, tracker: &str, path: &Path) -> (Program, u64) {
    let args: [&OsStr; 5] = [
        "--json".as_ref(),
        "-t".as_ref(),
        tracker.as_ref(),
        "share".as_ref(),
        path.as_ref(),
    ];
    let sharer = Program::start(env!("CARGO_BIN_EXE_shoal-peer"), nice, &args);
    let line = sharer.await_line("\"shared\"");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    (sharer, event["piece_length"].as_u64().expect("a length"))
}

/// A peer that fetches `name` into `folder`.
pub(crate) fn start_getter(nice: i32, tracker: &str, name: &str, folder: &Path) -> Program {
    let args: [&OsStr; 7] = [
        "--json".as_ref(),
        "-t".as_ref(),
        tracker.as_ref(),
        "get".as_ref(),
        name.as_ref(),
        "-o".as_ref(),
        folder.as_ref(),
    ];
    Program::start(env!("CARGO_BIN_EXE_shoal-peer"), nice, &args)
}
