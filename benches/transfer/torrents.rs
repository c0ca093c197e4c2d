//! Transfers of what a `.torrent` file describes, where each side may be anybody's program. Our tracker introduces them to
//! one another over HTTP, outside of what is measured.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::content::Place;
use crate::place::MIB;
use crate::programs::{PEER, Program, start_open_tracker, text};
use crate::rivals::Rival;
use crate::row::Row;
use crate::{rows, usage};

/// Patience with a seeder that looks at its file.
const READY_SECS_MAX: u64 = 60;

/// A program that seeds or fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Shoal,
    Rival(Rival),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shoal => f.write_str(rows::OURS),
            Self::Rival(rival) => rival.fmt(f),
        }
    }
}

impl Client {
    fn seed(self, torrent: &Path, place: &Place, up: u64) -> Program {
        match self {
            Self::Shoal => {
                let mut command = ours("seed", up);
                Program::spawn(command.arg(torrent).arg(place.file()))
            }
            Self::Rival(rival) => rival.start(torrent, place.root.path(), up),
        }
    }

    fn get(self, torrent: &Path, folder: &Path, up: u64) -> Program {
        match self {
            Self::Shoal => {
                let mut command = ours("get", up);
                // An empty name at the end of a path makes it one that ends in a slash: a folder to be.
                Program::spawn(command.arg(torrent).arg("-o").arg(folder.join("")))
            }
            Self::Rival(rival) => rival.start(torrent, folder, up),
        }
    }

    /// What it says when it has everything.
    fn last_word(self) -> &'static str {
        match self {
            Self::Shoal => "\"summary\"",
            Self::Rival(_) => "DONE",
        }
    }
}

fn ours(word: &str, up: u64) -> Command {
    let mut command = Command::new(PEER);
    command.args(["--json", word]);
    if up > 0 {
        command.args(["--up", &up.to_string()]);
    }
    command
}

/// Who seeds, to whom and to how many of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cast {
    pub(crate) seeder: Client,
    pub(crate) getter: Client,
    pub(crate) getters: usize,
}

/// What came of a transfer.
pub(crate) struct Carried {
    pub(crate) row: Row,
    /// When each getter was complete, in seconds from its start.
    pub(crate) secs: Vec<f64>,
}

/// One transfer, each uplink limited to `up` if that is not 0. Every copy is compared.
pub(crate) fn carry(place: &Place, cast: Cast, piece_len: u64, up: u64) -> Carried {
    place.use_memory(cast.getters);
    let here = tempfile::tempdir_in(place.root.path()).expect("a folder");
    let folder = |index: usize| here.path().join(index.to_string());
    let (tracker, addr) = start_open_tracker();
    let torrent = here.path().join("content.torrent");
    let hash = describe(&place.file(), &torrent, &addr, piece_len);
    let seeder = cast.seeder.seed(&torrent, place, up);
    await_seed(&addr, &hash);
    let bytes = fs::metadata(place.file()).expect("the file").len();
    let (cpu_before, machine_before) = (usage::cpu_secs(seeder.pid()), usage::machine_cpu_secs());

    let started: Vec<Program> = (0..cast.getters)
        .map(|index| cast.getter.get(&torrent, &folder(index), up))
        .collect();
    let word = cast.getter.last_word();
    let secs: Vec<f64> = started
        .iter()
        .map(|getter| getter.await_secs(word))
        .collect();
    let last = secs.iter().copied().fold(0.0, f64::max);

    let machine = usage::machine_cpu_secs() - machine_before;
    let cpu_secs = |getter: &Program| usage::cpu_secs(getter.pid());
    let getters_cpu_secs: f64 = started.iter().map(cpu_secs).sum();
    let peaks = started
        .iter()
        .filter_map(|getter| usage::peak_mib(getter.pid()));
    let getter_peak_mib = peaks.fold(0.0, f64::max);
    let seeder_cpu_secs = usage::cpu_secs(seeder.pid()) - cpu_before;
    let row = Row {
        e2e_mib_per_s: (bytes * cast.getters as u64) as f64 / MIB as f64 / last,
        xfer_mib_per_s: f64::NAN,
        first_piece_ms: f64::NAN,
        seeder_cpu_secs,
        getters_cpu_secs,
        seeder_peak_mib: usage::peak_mib(seeder.pid()).unwrap_or(0.0),
        getter_peak_mib,
        seeder_copies: f64::NAN,
        others: ((machine - seeder_cpu_secs - getters_cpu_secs) / last).max(0.0),
    };
    // Some say that they have everything before all of it is written.
    Program::stop_all(started);
    drop((seeder, tracker));
    place.compared((0..cast.getters).map(|index| folder(index).join(Place::NAME)));
    Carried { row, secs }
}

/// Writes a `.torrent` file that names the tracker, and returns the info-hash.
fn describe(file: &Path, torrent: &Path, tracker: &str, piece_len: u64) -> String {
    let announce = format!("http://{tracker}/announce");
    let piece_len = piece_len.to_string();
    let args = [
        "--json",
        "torrent",
        "create",
        "--no-sha256",
        "--piece-size",
        &piece_len,
        "--tracker",
        &announce,
        "--torrent",
        text(torrent),
        text(file),
    ];
    let made = Program::start(PEER, &args).finish();
    let summary = made.events.last().expect("a summary");
    summary["info_hash"]
        .as_str()
        .expect("an info-hash")
        .to_owned()
}

/// Waits until the tracker knows a seed.
fn await_seed(tracker: &str, hash: &str) {
    let spelt: String = (0..hash.len())
        .step_by(2)
        .map(|at| format!("%{}", &hash[at..at + 2]))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(READY_SECS_MAX);
    loop {
        let mut stream = TcpStream::connect(tracker).expect("it listens");
        let request = format!(
            "GET /scrape?info_hash={spelt} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).expect("it answers");
        if String::from_utf8_lossy(&reply).contains("8:completei1e") {
            return;
        }
        assert!(Instant::now() < deadline, "nobody seeds");
        thread::sleep(Duration::from_millis(20));
    }
}
