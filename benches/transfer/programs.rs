//! The real programs as children: started, listened to, stopped.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::free::free_addr;
use crate::usage;

/// Our programs.
pub(crate) const PEER: &str = env!("CARGO_BIN_EXE_shoal-peer");
pub(crate) const TRACKER: &str = env!("CARGO_BIN_EXE_shoal-tracker");

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
    /// Starts `program`.
    pub(crate) fn start<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Self {
        Self::spawn(Command::new(program).args(args))
    }

    /// Starts what the command says.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
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
        self.signal(Signal::SIGTERM);
        self.finish()
    }

    /// Asks all to stop, and waits until they have, however they end.
    pub(crate) fn stop_all(mut programs: Vec<Self>) {
        for program in &programs {
            program.signal(Signal::SIGTERM);
        }
        for program in &mut programs {
            program.child.wait().expect("it is our child");
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32);
        kill(pid, signal).expect("it was not waited for");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing to do if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tracker on a free port of loopback, and its address.
pub(crate) fn start_tracker(state: &Path) -> (Program, String) {
    await_tracker(
        Command::new(TRACKER)
            .args(["-l", "127.0.0.1:0", "-s"])
            .arg(state),
    )
}

/// A tracker that answers for any content over HTTP, and its address.
pub(crate) fn start_open_tracker() -> (Program, String) {
    await_tracker(Command::new(TRACKER).args(["-l", "127.0.0.1:0", "--open"]))
}

/// The tracker that the command starts, and its address.
pub(crate) fn await_tracker(command: &mut Command) -> (Program, String) {
    let tracker = Program::spawn(command);
    let line = tracker.await_line("native+http ");
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !word.starts_with("native"));
    let addr = words.nth(1).expect("an address").to_owned();
    (tracker, addr)
}

/// A peer that shares `path`, ready to serve, and the piece length.
pub(crate) fn start_sharer(tracker: &str, path: &Path, piece_bytes: Option<u64>) -> (Program, u64) {
    let mut command = peer(tracker, "share");
    if let Some(bytes) = piece_bytes {
        command.args(["--piece-size", &bytes.to_string()]);
    }
    let sharer = Program::spawn(command.arg(path));
    let line = sharer.await_line("\"shared\"");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    (sharer, event["piece_length"].as_u64().expect("a length"))
}

/// A peer that fetches `name` into `folder`.
pub(crate) fn start_getter(tracker: &str, name: &str, folder: &Path) -> Program {
    Program::spawn(peer(tracker, "get").args([name, "-o"]).arg(folder))
}

/// A command of a peer that tells what it does, to be completed.
pub(crate) fn peer(tracker: &str, word: &str) -> Command {
    let mut command = Command::new(PEER);
    command.args(["--json", "-t", tracker, word]);
    command
}

/// A path that goes into arguments with other text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

/// A port of loopback that nobody has.
pub(crate) fn free_port() -> u16 {
    free_addr(Ipv4Addr::LOCALHOST.into()).port()
}

/// Whether a program is there and ends well.
pub(crate) fn runs(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Says that something is not measured for want of this.
pub(crate) fn may_lack(what: &str) -> bool {
    println!("not run: needs {what}");
    false
}
