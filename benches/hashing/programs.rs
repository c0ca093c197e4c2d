//! The programs that hash, each run to its end: how long it took, and how much processor time.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

/// The piece length of every torrent here.
const PIECE_BYTES: &str = "1048576";

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) secs: f64,
    /// User and system time of all its threads.
    pub(crate) cpu_secs: f64,
}

/// `torrent create`, and the info-hash that it made.
pub(crate) fn create(file: &Path, torrent: &Path, sha256: bool) -> (Spent, String) {
    // It overwrites nothing.
    let _ = fs::remove_file(torrent);
    let mut args: Vec<&OsStr> = [
        "torrent",
        "create",
        "--piece-size",
        PIECE_BYTES,
        "--torrent",
    ]
    .map(OsStr::new)
    .to_vec();
    args.extend([torrent.as_os_str(), file.as_os_str()]);
    if !sha256 {
        args.push("--no-sha256".as_ref());
    }
    let (spent, summary) = ours(&args);
    let hash = summary["info_hash"].as_str().expect("an info-hash");
    (spent, hash.to_owned())
}

/// `verify`.
pub(crate) fn verify(torrent: &Path, file: &Path) -> Spent {
    let (spent, summary) = ours(&["verify".as_ref(), torrent.as_os_str(), file.as_os_str()]);
    assert_eq!(summary["pieces_bad"], 0, "{summary}");
    spent
}

/// `get` of a download that lacks nothing but a record of what it has, in `folder`; `file` is there again afterwards.
pub(crate) fn resume(torrent: &Path, file: &Path, folder: &Path) -> Spent {
    let name = file.file_name().expect("a file");
    let done = folder.join(name);
    let mut part = done.clone().into_os_string();
    part.push(".part");
    fs::create_dir_all(folder).expect("a folder");
    fs::rename(file, &part).expect("in the same place");
    // An empty name at the end of a path makes it one that ends in a slash: a folder.
    let slashed = folder.join("");
    let args: [&OsStr; 4] = [
        "get".as_ref(),
        torrent.as_ref(),
        "-o".as_ref(),
        slashed.as_ref(),
    ];
    let (spent, summary) = ours(&args);
    assert_eq!(summary["down_bytes"], 0, "{summary}");
    fs::rename(&done, file).expect("it was finished");
    spent
}

/// mktorrent with two threads, or `None` if it is not installed.
pub(crate) fn mktorrent(file: &Path, torrent: &Path) -> Option<Spent> {
    // It overwrites nothing either.
    let _ = fs::remove_file(torrent);
    let mut command = Command::new("mktorrent");
    command.args([
        "-t",
        "2",
        "-l",
        "20",
        "-a",
        "http://127.0.0.1/announce",
        "-o",
    ]);
    command.arg(torrent).arg(file);
    let (spent, output) = run(command)?;
    assert!(output.status.success(), "mktorrent: {output:?}");
    Some(spent)
}

/// Runs ours to its end, which must be a success; what it took, and its summary.
fn ours(args: &[&OsStr]) -> (Spent, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
    command.arg("--json").args(args);
    let (spent, output) = run(command).expect("it was built");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{args:?}: {text}");
    let summary = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    (spent, summary.expect("a summary"))
}

/// What the program took, unless there is none.
fn run(mut command: Command) -> Option<(Spent, Output)> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let (cpu_before, begun) = (children_cpu_secs(), Instant::now());
    let output = command.output().ok()?;
    let spent = Spent {
        secs: begun.elapsed().as_secs_f64(),
        cpu_secs: children_cpu_secs() - cpu_before,
    };
    Some((spent, output))
}

/// Processor time of all children that have ended.
fn children_cpu_secs() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always told");
    let secs = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    secs(usage.user_time()) + secs(usage.system_time())
}
