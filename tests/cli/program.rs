//! Programs that run, what they have said so far, and how they ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// After this long a program that does not say what it should is taken for hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a program ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Asserts the exit code, and gives what stdout got.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// A program that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    out: Lines,
    err: Lines,
}

/// The lines of a stream, as they come.
struct Lines {
    coming: Receiver<String>,
    seen: String,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (told, coming) = channel();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let _ = told.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        });
        Self {
            coming,
            seen: String::new(),
        }
    }

    #[track_caller]
    fn wait_for(&mut self, part: &str) -> String {
        let patience = Instant::now() + PATIENCE;
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            let line = self.coming.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no \"{part}\" in:\n{}", self.seen));
            self.seen.push_str(&line);
            if line.contains(part) {
                return line.trim_end().to_owned();
            }
        }
    }

    #[track_caller]
    fn rest(mut self) -> String {
        let patience = Instant::now() + PATIENCE;
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            match self.coming.recv_timeout(left) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => return self.seen,
                Err(_) => panic!("it does not end; so far:\n{}", self.seen),
            }
        }
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is built");
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = Lines::of(child.stderr.take().expect("piped"));
        Self { child, out, err }
    }

    /// The next line of stderr that contains `part`.
    #[track_caller]
    pub(crate) fn wait_err(&mut self, part: &str) -> String {
        self.err.wait_for(part)
    }

    /// The next line of stdout that contains `part`.
    #[track_caller]
    pub(crate) fn wait_out(&mut self, part: &str) -> String {
        self.out.wait_for(part)
    }

    pub(crate) fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid"));
        kill(pid, signal).expect("it runs");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let nothing = || Lines::of(std::io::empty());
        let out = std::mem::replace(&mut self.out, nothing()).rest();
        let err = std::mem::replace(&mut self.err, nothing()).rest();
        let status: ExitStatus = self.child.wait().expect("it ended");
        let code = status.code();
        Ended { code, out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `shoal-peer` in an environment that says nothing but where the tracker is.
pub(crate) fn peer(tracker: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
    for name in ["NO_COLOR", "SHOAL_ZONE", "SHOAL_TRACKER"] {
        command.env_remove(name);
    }
    if !tracker.is_empty() {
        command.env("SHOAL_TRACKER", tracker);
    }
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    command
}

/// Runs `command` with these words to its end.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(
    mut command: Command,
    words: impl IntoIterator<Item = S>,
) -> Ended {
    command.args(words);
    Running::start(command).end()
}

/// A tracker, and a folder for what happens around it.
pub(crate) struct Scene {
    pub(crate) tracker: Running,
    pub(crate) addr: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut tracker = Running::start(tracker_command(&["-l", "127.0.0.1:0"]));
        let line = tracker.wait_out("native+http ");
        let addr = line.split(' ').nth(3).expect("an address").to_owned();
        let folder = scratch();
        Self {
            tracker,
            addr,
            folder,
        }
    }

    /// `shoal-peer` in the scene's folder.
    pub(crate) fn peer(&self) -> Command {
        let mut command = peer(&self.addr);
        command.current_dir(self.folder.path());
        command
    }

    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ended {
        run(self.peer(), words)
    }

    pub(crate) fn start<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Running {
        let mut command = self.peer();
        command.args(words);
        Running::start(command)
    }

    /// Shares paths of the folder, on loopback, until what it returns is dropped.
    #[track_caller]
    pub(crate) fn share(&self, paths: &[&str]) -> Running {
        let words = ["share", "-l", "127.0.0.1:0"];
        let mut running = self.start(words.iter().chain(paths));
        for _ in paths {
            running.wait_err("get it: ");
        }
        running
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the folder.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The info-hash of a name, as `ls` tells it.
    #[track_caller]
    pub(crate) fn info_hash(&self, name: &str) -> String {
        let listed = self.run(["ls", "--json", name]).expect(0);
        let row = serde_json::from_str::<serde_json::Value>(
            listed.out.lines().next().expect("it is there"),
        );
        row.expect("JSON")["info_hash"]
            .as_str()
            .expect("a hash")
            .to_owned()
    }
}

pub(crate) fn tracker_command<S: AsRef<OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
    command.env_remove("STATE_DIRECTORY").args(words);
    command
}

pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder")
}

/// Bytes that nothing compresses, the same each time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut rng = shoal::base::Rng::new(7);
    let words = (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes());
    words.take(len).collect()
}

/// A file of `len` bytes that takes no room.
pub(crate) fn sparse(path: &Path, len: u64) {
    let file = std::fs::File::create(path).expect("a file");
    file.set_len(len).expect("a sparse file");
}
