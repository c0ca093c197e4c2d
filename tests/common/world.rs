//! A scratch folder, a tracker, and the peers that are started against it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{Ended, Running};

/// A tracker that can be killed and started again at its address.
pub(crate) struct Tracker {
    running: Option<Running>,
    pub(crate) addr: String,
    args: Vec<String>,
}

impl Tracker {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut tracker = Self {
            running: None,
            addr: "127.0.0.1:0".to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
        };
        tracker.revive();
        tracker
    }

    /// Starts it, again at the same address.
    pub(crate) fn revive(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
        command.args(["--listen", &self.addr]).args(&self.args);
        command.env_remove("STATE_DIRECTORY");
        let running = Running::start("shoal-tracker", &mut command);
        let line = running.line("start line", |line| line.starts_with("shoal-tracker "));
        let mut words = line
            .split_whitespace()
            .skip_while(|word| !word.starts_with("native"));
        self.addr = words.nth(1).expect("its address").to_owned();
        self.running = Some(running);
    }

    /// It will be started with other options.
    pub(crate) fn change_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(ToString::to_string).collect();
    }

    pub(crate) fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn stop(&mut self) -> Ended {
        self.running.take().expect("it runs").stop()
    }
}

/// Everything that one test needs.
pub(crate) struct World {
    pub(crate) tracker: Tracker,
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_tracker(&["-v"])
    }

    pub(crate) fn with_tracker(args: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
        Self {
            tracker: Tracker::start(args),
            dir,
        }
    }

    /// A tracker that keeps what is registered in `state`.
    pub(crate) fn with_state() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
        let state = dir.path().join("state");
        let state = state.to_str().expect("plain");
        Self {
            tracker: Tracker::start(&["-v", "--state", state]),
            dir,
        }
    }

    /// Where something is in the scratch folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder in the scratch folder; its path ends in a slash.
    pub(crate) fn folder(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("a folder");
        format!("{}/", path.display())
    }

    /// Where a file was put in the scratch folder.
    pub(crate) fn file(&self, name: &str, seed: u64, len: usize) -> PathBuf {
        super::file(&self.path(name), seed, len)
    }

    /// A command that runs in the scratch folder and speaks JSON.
    pub(crate) fn peer(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
        let (name, rest) = args.split_first().expect("a command");
        command.args(["--json", name]);
        if matches!(*name, "share" | "get") && !rest.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command
            .args(rest)
            .current_dir(self.dir.path())
            .env("SHOAL_TRACKER", &self.tracker.addr)
            .env_remove("SHOAL_ZONE");
        command
    }

    /// Starts a command.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(&args.join(" "), &mut self.peer(args))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    /// Shares, and waits until others can fetch it.
    pub(crate) fn share(&self, args: &[&str]) -> Running {
        let running = self.start(&[&["share"], args].concat());
        running.event("shared");
        running
    }

    /// Fetches to the end.
    pub(crate) fn get(&self, args: &[&str]) -> Ended {
        self.run(&[&["get"], args].concat())
    }

    /// Starts to fetch.
    pub(crate) fn start_get(&self, args: &[&str]) -> Running {
        self.start(&[&["get"], args].concat())
    }
}

/// The words of a path for a command line.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
