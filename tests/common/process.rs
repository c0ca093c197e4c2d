//! One program under test: its lines as they come, its signals, its end.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) const TERM: Signal = Signal::SIGTERM;
pub(crate) const KILL: Signal = Signal::SIGKILL;
/// Nothing in these tests takes so long unless it hangs, even where many builds share the machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Lines of a program that a failed test shows.
const LINES_SHOWN: usize = 60;

#[derive(Default)]
struct Said {
    out: Vec<String>,
    err: Vec<String>,
    open: usize,
}

#[derive(Default)]
struct Output {
    said: Mutex<Said>,
    changed: Condvar,
}

impl Output {
    /// A test that fails while it holds this must not hide why.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that runs.
pub(crate) struct Running {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
}

impl Running {
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let output = Arc::new(Output::default());
        output.said().open = 2;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        read_lines(&output, out.expect("piped"), |said| &mut said.out);
        read_lines(&output, err.expect("piped"), |said| &mut said.err);
        Self {
            name: name.to_owned(),
            child,
            output,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, signal).expect("it is there until it is waited for");
    }

    /// Waits until `found` says so of what was said so far.
    fn wait<T>(
        &self,
        what: &str,
        mut found: impl FnMut(&[String], &[String], bool) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut said = self.output.said();
        loop {
            if let Some(found) = found(&said.out, &said.err, said.open == 0) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                said.open > 0 && !left.is_zero(),
                "{}: no {what}\nstdout: {:#?}\nstderr: {:#?}",
                self.name,
                said.out,
                said.err
            );
            let waited = self.output.changed.wait_timeout(said, left);
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line on stdout.
    pub(crate) fn line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        self.wait(what, |out, _, _| {
            out.iter().find(|line| is_it(line)).cloned()
        })
    }

    /// Waits for a line on stderr.
    pub(crate) fn complaint(&self, part: &str) -> String {
        self.wait(part, |_, err, _| {
            err.iter().find(|line| line.contains(part)).cloned()
        })
    }

    /// Waits until so many lines on stderr say this.
    pub(crate) fn complaints(&self, part: &str, count: usize) {
        self.wait(part, |_, err, _| {
            let lines = err.iter().filter(|line| line.contains(part));
            (lines.count() >= count).then_some(())
        });
    }

    /// Waits for the first JSON event of this kind for which `is_it` holds.
    pub(crate) fn event_where(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait(kind, |out, _, _| {
            out.iter()
                .map(|line| parse(line))
                .find(|event| event["event"] == kind && is_it(event))
        })
    }

    /// Waits for the first JSON event of this kind.
    pub(crate) fn event(&self, kind: &str) -> Value {
        self.event_where(kind, |_| true)
    }

    /// Everything that was said so far: stdout, then stderr.
    #[allow(dead_code, reason = "used where programs of others run")]
    pub(crate) fn lines(&self) -> Vec<String> {
        let said = self.output.said();
        said.out.iter().chain(&said.err).cloned().collect()
    }

    /// Whether nothing more will be said.
    #[allow(dead_code, reason = "used where programs of others run")]
    pub(crate) fn has_ended(&self) -> bool {
        self.output.said().open == 0
    }

    /// Waits until the program ends by itself.
    pub(crate) fn end(mut self) -> Ended {
        let (out, err) = self.wait("end", |out, err, closed| {
            closed.then(|| (out.to_vec(), err.to_vec()))
        });
        let status = self.child.wait().expect("it is our child");
        let ended = Ended {
            code: status.code(),
            signal: status.signal(),
            out,
            err,
        };
        let panicked = ended.err.iter().any(|line| line.contains("panicked"));
        assert!(!panicked, "{ended:#?}");
        ended
    }

    /// Asks the program to stop, and waits until it has.
    pub(crate) fn stop(self) -> Ended {
        self.signal(TERM);
        self.end()
    }

    /// Kills the program with -9, and waits until it is gone.
    pub(crate) fn kill(self) -> Ended {
        self.signal(KILL);
        let ended = self.end();
        assert_eq!(ended.signal, Some(KILL as i32), "{ended:#?}");
        ended
    }

    /// A line of `/proc/PID/status`, as a number.
    pub(crate) fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find(|line| line.starts_with(key));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse().ok())
            .expect("a line with a number")
    }

    /// The most memory that it ever had, in MiB.
    pub(crate) fn memory_peak_mib(&self) -> u64 {
        self.status("VmHWM:") >> 10
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.output.said();
            let end =
                |lines: &[String]| lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
            let (out, err) = (end(&said.out), end(&said.err));
            eprintln!("{} had said:\n{out}\n{err}", self.name);
        }
    }
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// All JSON events of one kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.out.iter().map(|line| parse(line));
        events.filter(|event| event["event"] == kind).collect()
    }

    /// The summary: exactly one, and nothing after it.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let mut summaries = self.events("summary");
        assert_eq!(summaries.len(), 1, "{self:#?}");
        let last = parse(self.out.last().expect("there is a summary"));
        assert_eq!(last, summaries[0], "nothing follows the summary: {self:#?}");
        assert_eq!(last["v"], 1, "{last}");
        assert_eq!(last["code"].as_i64(), self.code.map(i64::from), "{self:#?}");
        assert_eq!(last["ok"], self.code == Some(0), "{self:#?}");
        summaries.remove(0)
    }

    /// Asserts that exactly one line of stderr says why, and that it names `part`.
    #[track_caller]
    pub(crate) fn complains(self, part: &str) -> Self {
        let is_complaint = |line: &&String| line.starts_with("shoal-peer: ");
        let lines: Vec<&String> = self.err.iter().filter(is_complaint).collect();
        assert!(
            lines.len() == 1 && lines[0].contains(part),
            "should name {part:?}: {self:#?}"
        );
        self
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

fn read_lines<R: Read + Send + 'static>(
    output: &Arc<Output>,
    from: R,
    pick: fn(&mut Said) -> &mut Vec<String>,
) {
    let output = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { break };
            let mut said = output.said();
            pick(&mut said).push(String::from_utf8_lossy(&line).into_owned());
            output.changed.notify_all();
        }
        output.said().open -= 1;
        output.changed.notify_all();
    });
}
