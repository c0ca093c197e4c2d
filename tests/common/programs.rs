//! The BitTorrent clients of others that we are tried with: Debian's aria2, python3-libtorrent and Transmission.
//!
//! Each runs as its users run it, except for what would reach beyond the machine, and for its files, which are the
//! test's. What is not installed is named and not tried; where CI=true that is a failure.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The interpreter that Debian's package is for.
const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Aria2,
    Libtorrent,
    /// As `transmission-cli`.
    Transmission,
    /// As `transmission-daemon`, which `transmission-remote` tells what to do; on a machine of its own.
    Daemon,
}

pub(crate) const PROGRAMS: [Program; 3] =
    [Program::Aria2, Program::Libtorrent, Program::Transmission];

/// One torrent, and where a program works on it.
pub(crate) struct Task<'a> {
    /// The file, or a magnet link.
    pub(crate) torrent: &'a str,
    /// Where its content is or comes to be. What a program keeps beside it has this path with another extension.
    pub(crate) folder: &'a Path,
    pub(crate) listen: SocketAddr,
    /// More of libtorrent's settings: the inside of a JSON object.
    pub(crate) settings: &'a str,
}

impl Program {
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Aria2 => "aria2",
            Self::Libtorrent => "python3-libtorrent",
            Self::Transmission => "transmission-cli",
            Self::Daemon => "transmission-daemon",
        }
    }

    fn answers(self) -> bool {
        let (program, args): (_, &[_]) = match self {
            Self::Aria2 => ("aria2c", &["--version"]),
            Self::Libtorrent => (PYTHON, &["-c", "import libtorrent"]),
            Self::Transmission => ("transmission-cli", &["--version"]),
            Self::Daemon => ("transmission-daemon", &["--version"]),
        };
        runs(Command::new(program).args(args))
    }

    /// Whether it is installed. Where CI=true it has to be.
    pub(crate) fn is_here(self) -> bool {
        self.answers() || may_lack(self.package())
    }

    /// What starts it.
    pub(crate) fn command(self, task: &Task<'_>) -> Command {
        match self {
            Self::Aria2 => aria2(task),
            Self::Libtorrent => libtorrent(task),
            Self::Transmission => transmission(task),
            Self::Daemon => daemon(task),
        }
    }

    /// What tells it of the torrent, where it is not started with one: to be tried until it succeeds.
    pub(crate) fn order(self, task: &Task<'_>) -> Option<Command> {
        if self != Self::Daemon {
            return None;
        }
        let mut command = Command::new("transmission-remote");
        command.arg("--add").arg(task.torrent);
        command.arg("--download-dir").arg(task.folder);
        Some(command)
    }
}

/// Whether a command succeeds.
pub(crate) fn runs(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// That something is not there: false, and where CI=true a failure.
pub(crate) fn may_lack(what: &str) -> bool {
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!is_ci, "not installed or not possible: {what}");
    false
}

/// Says what is tried and what is not, past the test harness, which would swallow it.
pub(crate) fn name_what_is_tried(who: &str, with: &str, is_here: bool) {
    let what = if is_here {
        "is tried with"
    } else {
        "is NOT TRIED with, for it is not installed or not possible here:"
    };
    let mut err = std::io::stderr().lock();
    writeln!(err, "{who} {what} {with}").expect("stderr is open");
}

fn aria2(task: &Task<'_>) -> Command {
    let mut command = Command::new("aria2c");
    command.args([
        "--no-conf",
        // It speaks to UDP trackers from its DHT's socket, without which it finds nobody by them. It knows no node of
        // that.
        "--enable-dht=true",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--check-integrity=true",
        "--seed-ratio=0.0",
        "--summary-interval=0",
        "--quiet=true",
        "--log=-",
        "--log-level=debug",
    ]);
    let port = task.listen.port();
    command
        .arg(format!("--listen-port={port}"))
        .arg(format!("--dht-listen-port={port}"));
    let nodes = task.folder.with_extension("dht");
    command.arg("--dht-file-path").arg(nodes);
    command.arg("--dir").arg(task.folder).arg(task.torrent);
    command
}

fn libtorrent(task: &Task<'_>) -> Command {
    let mut command = Command::new(PYTHON);
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/common/libtorrent_peer.py"
    );
    command.arg(script).arg(task.torrent).arg(task.folder);
    command.arg(task.listen.to_string());
    command.arg(format!("{{{}}}", task.settings));
    command
}

fn transmission(task: &Task<'_>) -> Command {
    let mut command = of_transmission("transmission-cli", "", task);
    let port = task.listen.port().to_string();
    command.args(["--port", &port]);
    command.arg("--download-dir").arg(task.folder);
    command.arg(task.torrent);
    command
}

fn daemon(task: &Task<'_>) -> Command {
    // By uTP it gives up for a quarter of an hour whoever does not speak it, and waits to be dialled.
    let more = r#", "utp-enabled": false"#;
    let mut command = of_transmission("transmission-daemon", more, task);
    let port = task.listen.port().to_string();
    command.args(["--foreground", "--no-auth", "--peerport", &port]);
    command
}

/// What its programs have in common.
fn of_transmission(program: &str, more: &str, task: &Task<'_>) -> Command {
    let config = task.folder.with_extension("transmission");
    std::fs::create_dir_all(&config).expect("a folder");
    let settings = format!(r#"{{ "dht-enabled": false, "lpd-enabled": false{more} }}"#);
    std::fs::write(config.join("settings.json"), settings).expect("written");
    let mut command = Command::new(program);
    // What it says of its peers goes to this descriptor.
    command.env("TR_DEBUG_FD", "2");
    command.arg("--config-dir").arg(config).arg("--no-portmap");
    command
}
