//! Programs that others wrote, as clients of our tracker: Debian's aria2, python3-libtorrent and transmission-cli.
//!
//! What is not installed is named and not tried; where CI=true that is a failure.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha1::{Digest, Sha1};
use shoal::base::{InfoHash, Rng};
use shoal::wire::announce::ScrapeEntry;
use shoal::wire::bencode::put_dictionary;
use shoal::wire::info_builder::{Content, canonical_info};
use shoal::wire::metainfo::Metainfo;
use shoal::wire::udp::{ReplyBody, RequestBody};
use tempfile::TempDir;

use crate::client::{Udp, at_v4, start};
use crate::harness::{Tracker, until};

/// The interpreter that Debian's package is for.
const PYTHON: &str = "/usr/bin/python3";
const PIECE_LENGTH: u32 = 65536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Aria2,
    Libtorrent,
    Transmission,
}

const PROGRAMS: [Program; 3] = [Program::Aria2, Program::Libtorrent, Program::Transmission];

impl Program {
    fn package(self) -> &'static str {
        match self {
            Self::Aria2 => "aria2",
            Self::Libtorrent => "python3-libtorrent",
            Self::Transmission => "transmission-cli",
        }
    }

    fn is_here(self) -> bool {
        let mut command = match self {
            Self::Aria2 => Command::new("aria2c"),
            Self::Libtorrent => Command::new(PYTHON),
            Self::Transmission => Command::new("transmission-cli"),
        };
        match self {
            Self::Libtorrent => command.args(["-c", "import libtorrent"]),
            _ => command.arg("--version"),
        };
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }
}

/// Whether a program is installed. Where CI=true it has to be.
fn is_here(program: Program) -> bool {
    let is_here = program.is_here();
    let may_lack = std::env::var("CI").as_deref() != Ok("true");
    assert!(is_here || may_lack, "not installed: {}", program.package());
    is_here
}

#[test]
fn the_programs_that_are_tried_are_named() {
    for program in PROGRAMS {
        let what = if is_here(program) {
            "is tried with"
        } else {
            "is NOT TRIED with, for it is not installed:"
        };
        // Past the test harness, which would swallow it.
        let mut err = std::io::stderr().lock();
        writeln!(err, "the tracker {what} {}", program.package()).expect("stderr is open");
    }
}

/// A tracker that knows one content, which lies in a folder with its .torrent file.
struct Scene {
    tracker: Tracker,
    hash: InfoHash,
    folder: TempDir,
}

impl Scene {
    /// The .torrent file names the tracker as `scheme` does at `ip`.
    fn new(scheme: &str, ip: &str) -> Self {
        let mut tracker = start(&[]);
        tracker.addr = at_v4(&tracker);
        let folder = TempDir::new().expect("a folder");
        let (info, bytes) = content();
        let hash = Metainfo::from_info(&info).expect("canonical").info_hash();
        tracker.client(200).register(&info);
        let port = tracker.addr.port();
        let mut torrent = Vec::new();
        put_dictionary(&mut torrent, |entries| {
            let url = format!("{scheme}://{ip}:{port}/announce");
            entries.bytes(b"announce", url.as_bytes());
            entries.value(b"info").extend_from_slice(&info);
        });
        std::fs::write(folder.path().join("it.torrent"), torrent).expect("written");
        for name in ["full", "empty"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        std::fs::write(folder.path().join("full/data.bin"), bytes).expect("written");
        Self {
            tracker,
            hash,
            folder,
        }
    }

    fn figures(&self) -> ScrapeEntry {
        let mut udp = Udp::connect([127, 0, 0, 1].into(), self.tracker.addr);
        let scrape = RequestBody::Scrape {
            connection_id: udp.connection_id,
            hashes: vec![self.hash],
        };
        match udp.ask(scrape) {
            ReplyBody::Scrape(entries) => entries[0],
            other => panic!("{other:?}"),
        }
    }

    /// Starts a program on the content in one of the two folders.
    fn start(&self, program: Program, folder: &str, ip: IpAddr) -> Running {
        let path = self.folder.path().join(folder);
        let torrent = self.folder.path().join("it.torrent");
        let log = self.folder.path().join(format!("{program:?}.{folder}.log"));
        let listen = free(ip);
        let mut command = match program {
            Program::Aria2 => aria2(&path, &torrent, listen.port()),
            Program::Libtorrent => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fronts/announcer.py");
                let mut command = Command::new(PYTHON);
                command
                    .arg(script)
                    .arg(&torrent)
                    .arg(&path)
                    .arg(listen.to_string());
                command
            }
            Program::Transmission => transmission(&path, &torrent, listen.port()),
        };
        let said = std::fs::File::create(&log).expect("a file");
        let also = said.try_clone().expect("a descriptor");
        command.stdin(Stdio::piped()).stdout(said).stderr(also);
        let child = command.spawn().expect("it starts");
        let said = log.to_string_lossy().into_owned();
        Running {
            program,
            child,
            said,
        }
    }
}

/// A description and bytes, always the same.
fn content() -> (Vec<u8>, Vec<u8>) {
    let mut rng = Rng::new(3);
    let bytes: Vec<u8> = (0..1_000_000).map(|_| rng.next_u64() as u8).collect();
    let pieces = bytes.chunks(PIECE_LENGTH as usize);
    let hashes: Vec<u8> = pieces
        .flat_map(|piece| Sha1::digest(piece).to_vec())
        .collect();
    let content = Content::Single {
        len: bytes.len() as u64,
        sha256: None,
    };
    (
        canonical_info("data.bin", PIECE_LENGTH, &hashes, content),
        bytes,
    )
}

/// An address that nobody listens on.
fn free(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("a port");
    listener.local_addr().expect("bound")
}

fn aria2(folder: &Path, torrent: &Path, port: u16) -> Command {
    let mut command = Command::new("aria2c");
    command.args([
        "--no-conf",
        // It speaks to UDP trackers from its DHT's socket; it knows no node of that.
        "--enable-dht=true",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        "--check-integrity=true",
        "--seed-ratio=0.0",
        "--summary-interval=0",
    ]);
    let nodes = folder.with_extension("dht");
    command
        .arg(format!("--listen-port={port}"))
        .arg(format!("--dht-listen-port={port}"));
    command.arg("--dht-file-path").arg(nodes);
    command.arg("--dir").arg(folder).arg(torrent);
    command
}

fn transmission(folder: &Path, torrent: &Path, port: u16) -> Command {
    let config = folder.with_extension("transmission");
    std::fs::create_dir_all(&config).expect("a folder");
    let settings = r#"{ "dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "pex-enabled": false }"#;
    std::fs::write(config.join("settings.json"), settings).expect("written");
    let mut command = Command::new("transmission-cli");
    command.arg("--config-dir").arg(config).arg("--no-portmap");
    command
        .args(["--port", &port.to_string()])
        .arg("--download-dir")
        .arg(folder);
    command.arg(torrent);
    command
}

/// A program that runs, killed when it is dropped.
struct Running {
    program: Program,
    child: Child,
    /// Where what it says is written.
    said: String,
}

impl Running {
    /// Asks it to leave.
    fn leave(&mut self) {
        drop(self.child.stdin.take());
        if self.program == Program::Aria2 {
            // To it, SIGTERM means to leave without a word.
            let pid = Pid::from_raw(self.child.id() as i32);
            kill(pid, Signal::SIGINT).expect("it runs");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read(&self.said).unwrap_or_default();
            println!(
                "{:?} said: {}",
                self.program,
                String::from_utf8_lossy(&said)
            );
        }
    }
}

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

/// Each program that is here announces that it seeds, and that it leaves.
fn come_and_go(scheme: &str) {
    for program in PROGRAMS.into_iter().filter(|program| is_here(*program)) {
        let scene = Scene::new(scheme, "127.0.0.1");
        let mut running = scene.start(program, "full", V4);
        until(|| scene.figures().complete == 1);
        // Transmission 3.00 ends before it has told a tracker.
        if program != Program::Transmission {
            running.leave();
            until(|| scene.figures().complete == 0);
        }
        assert_eq!(scene.figures().incomplete, 0, "{program:?}");
        println!("{program:?} announced over {scheme}");
    }
}

/// One program seeds, and another finds it by our tracker alone and fetches everything.
fn find_each_other(seeder: Program, getter: Program, scheme: &str, ip: IpAddr) {
    if !is_here(seeder) || !is_here(getter) {
        return;
    }
    let host = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let scene = Scene::new(scheme, &host);
    let _seeder = scene.start(seeder, "full", ip);
    until(|| scene.figures().complete == 1);
    let _getter = scene.start(getter, "empty", ip);
    until(|| scene.figures().downloaded == 1);
    assert_eq!(scene.figures().complete, 2);
    let read = |name: &str| std::fs::read(scene.folder.path().join(name)).expect("a file");
    assert!(
        read("empty/data.bin") == read("full/data.bin"),
        "the copies differ"
    );
    println!("{getter:?} fetched from {seeder:?} over {scheme} at {ip}");
}

#[test]
fn each_comes_and_goes_over_http() {
    come_and_go("http");
}

#[test]
fn each_comes_and_goes_over_udp() {
    come_and_go("udp");
}

#[test]
fn aria2_finds_libtorrent_over_http() {
    find_each_other(Program::Libtorrent, Program::Aria2, "http", V4);
}

#[test]
fn libtorrent_finds_aria2_over_udp() {
    find_each_other(Program::Aria2, Program::Libtorrent, "udp", V4);
}

#[test]
fn libtorrent_finds_libtorrent_on_ipv6() {
    for scheme in ["http", "udp"] {
        find_each_other(Program::Libtorrent, Program::Libtorrent, scheme, V6);
    }
}
