//! Programs of others that carry the same file in the same way: one has it, some fetch it, all on loopback. Our tracker
//! introduces them to one another over HTTP, outside of what is measured.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{Program, start_open_tracker};
use crate::{MIB, Place, Row, usage};

/// What libtorrent runs on: Debian's binding is for the system's own Python.
const PYTHON: &str = "/usr/bin/python3";
const LIBTORRENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/transfer/libtorrent_peer.py"
);
/// Patience with a seeder that looks at its file.
const READY_SECS_MAX: u64 = 60;

/// Somebody else's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    /// libtorrent, with the settings that its authors give for speed.
    Libtorrent,
    /// libtorrent as it comes.
    LibtorrentDefaults,
    Aria2,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Libtorrent => "libtorrent",
            Self::LibtorrentDefaults => "libtorrent as it comes",
            Self::Aria2 => "aria2",
        })
    }
}

impl Rival {
    /// Those that are installed; says who is not.
    pub(crate) fn find() -> Vec<Self> {
        let mut found = Vec::new();
        if runs(PYTHON, &["-c", "import libtorrent"]) {
            found.extend([Self::Libtorrent, Self::LibtorrentDefaults]);
        } else {
            println!("without libtorrent: apt-get install python3-libtorrent");
        }
        if runs("aria2c", &["--version"]) {
            found.push(Self::Aria2);
        } else {
            println!("without aria2: apt-get install aria2");
        }
        found
    }

    /// Starts one that seeds or fetches what the torrent describes in `folder`, sends at most `up` bytes a second if that
    /// is not 0, says DONE when it has everything, and stays.
    pub(crate) fn start(self, torrent: &Path, folder: &Path, up: u64) -> Program {
        let (torrent, port) = (text(torrent), free_port().to_string());
        let up = up.to_string();
        fs::create_dir_all(folder).expect("a folder");
        match self {
            Self::Libtorrent | Self::LibtorrentDefaults => {
                let preset = if self == Self::Libtorrent {
                    "tuned"
                } else {
                    "defaults"
                };
                let args = [LIBTORRENT, torrent, text(folder), &port, &up, preset];
                Program::start(PYTHON, 0, &args)
            }
            Self::Aria2 => {
                let hook = folder.join("done.sh");
                fs::write(&hook, "#!/bin/sh\necho DONE\n").expect("a script");
                fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("ours");
                let named = |name: &str, value: &str| format!("--{name}={value}");
                let mut args: Vec<String> = ARIA2.iter().map(|arg| (*arg).to_owned()).collect();
                args.push(named("listen-port", &port));
                args.push(named("dir", text(folder)));
                args.push(named("max-overall-upload-limit", &up));
                args.push(named("on-bt-download-complete", text(&hook)));
                args.push(torrent.to_owned());
                Program::start("aria2c", 0, &args)
            }
        }
    }

    /// One transfer to so many getters, each uplink limited to `up` if that is not 0. Every copy is compared.
    pub(crate) fn run(self, place: &Place, getters: usize, piece_len: u64, up: u64) -> Row {
        let here = tempfile::tempdir_in(place.root.path()).expect("a folder");
        let folder = |index: usize| here.path().join(index.to_string());
        let (tracker, addr) = start_open_tracker();
        let torrent = here.path().join("content.torrent");
        let hash = describe(&place.file(), &torrent, &addr, piece_len);
        let seeder = self.start(&torrent, place.root.path(), up);
        await_seed(&addr, &hash);
        let bytes = fs::metadata(place.file()).expect("the file").len();
        let (cpu_before, machine_before) =
            (usage::cpu_secs(seeder.pid()), usage::machine_cpu_secs());

        let started: Vec<Program> = (0..getters)
            .map(|index| self.start(&torrent, &folder(index), up))
            .collect();
        let secs: Vec<f64> = started
            .iter()
            .map(|getter| getter.await_secs("DONE"))
            .collect();
        let secs = secs.into_iter().fold(0.0, f64::max);

        let machine = usage::machine_cpu_secs() - machine_before;
        let getters_cpu_secs: f64 = started
            .iter()
            .map(|getter| usage::cpu_secs(getter.pid()))
            .sum();
        let peaks = started
            .iter()
            .filter_map(|getter| usage::peak_mib(getter.pid()));
        let getter_peak_mib = peaks.fold(0.0, f64::max);
        let seeder_cpu_secs = usage::cpu_secs(seeder.pid()) - cpu_before;
        let row = Row {
            e2e_mib_per_s: (bytes * getters as u64) as f64 / MIB as f64 / secs,
            xfer_mib_per_s: f64::NAN,
            first_piece_ms: f64::NAN,
            seeder_cpu_secs,
            getters_cpu_secs,
            seeder_peak_mib: usage::peak_mib(seeder.pid()).unwrap_or(0.0),
            getter_peak_mib,
            seeder_copies: f64::NAN,
            others: ((machine - seeder_cpu_secs - getters_cpu_secs) / secs).max(0.0),
        };
        // They are killed: nothing they would still do is of interest.
        drop((started, seeder, tracker));
        place.compared((0..getters).map(|index| folder(index).join(Place::NAME)));
        row
    }
}

const ARIA2: [&str; 14] = [
    "--no-conf=true",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--async-dns=false",
    "--disable-ipv6=true",
    "--bt-max-peers=0",
    "--bt-seed-unverified=true",
    "--disk-cache=64M",
    "--file-allocation=none",
    "--follow-torrent=mem",
    "--seed-ratio=0.0",
    "--quiet=true",
    "--interface=127.0.0.1",
];

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

fn runs(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let command = command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Writes a `.torrent` file that names the tracker, and returns the info-hash.
fn describe(file: &Path, torrent: &Path, tracker: &str, piece_len: u64) -> String {
    let announce = format!("http://{tracker}/announce");
    let (piece_len, torrent): (String, PathBuf) = (piece_len.to_string(), torrent.to_owned());
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
        text(&torrent),
        text(file),
    ];
    let made = Program::start(env!("CARGO_BIN_EXE_shoal-peer"), 0, &args).finish();
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
