//! Programs that others wrote, as clients of our tracker.

use std::net::IpAddr;
use std::process::{Child, Stdio};

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
use crate::foreign::{PROGRAMS, Program, Task, name_what_is_tried};
use crate::free::free_addr;
use crate::harness::{Tracker, until};

const PIECE_LENGTH: u32 = 65536;

#[test]
fn the_programs_that_are_tried_are_named() {
    for program in PROGRAMS {
        name_what_is_tried("the tracker", program.package(), program.is_here());
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
        let listen = free_addr(ip);
        let mut command = program.command(&Task {
            torrent: torrent.to_str().expect("plain"),
            folder: &path,
            listen,
            settings: r#""allow_multiple_connections_per_ip": true"#,
        });
        let said = std::fs::File::create(&log).expect("a file");
        let also = said.try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(said).stderr(also);
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

/// A program that runs, killed when it is dropped.
struct Running {
    program: Program,
    child: Child,
    /// Where what it says is written.
    said: String,
}

impl Running {
    /// Asks it to leave. To aria2, SIGTERM means to leave without a word.
    fn leave(&self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, Signal::SIGINT).expect("it runs");
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
    for program in PROGRAMS.into_iter().filter(|program| program.is_here()) {
        let scene = Scene::new(scheme, "127.0.0.1");
        let running = scene.start(program, "full", V4);
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
    if !seeder.is_here() || !getter.is_here() {
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
