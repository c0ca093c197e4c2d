//! How we meet others: both dial at once, one hears of the other from a third (BEP 11), one dials by uTP first.
//!
//! What is on the wire is seen from outside: which conns the system holds between two programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};
use tempfile::TempDir;

use crate::complaints::complaints;
use crate::content::random_bytes;
use crate::free;
use crate::process::Running;
use crate::programs::{Program, Task};

const PIECE_LENGTH: usize = 1 << 16;
const LEN: usize = 64 * PIECE_LENGTH;
/// Nothing here takes so long, even where many builds share the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long nothing must change until it counts as settled: longer than any of them takes to dial again or to part.
const SETTLED: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);
const ROUNDS: usize = 4;
/// Settings of libtorrent, which speaks uTP otherwise where the other side does.
const TCP_ONLY: &str = r#""enable_outgoing_utp": false, "enable_incoming_utp": false"#;
/// The same, and so slow that it takes longer than to hear of one another, who all come from one address.
const SLOW: &str = r#""enable_outgoing_utp": false, "enable_incoming_utp": false,
    "allow_multiple_connections_per_ip": true,
    "upload_bytes_per_second": 30000"#;

/// A tracker that names to each who announces the addresses that the test says, once so many have announced.
struct Introducer {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<u16, Vec<SocketAddr>>,
    quorum: usize,
    seen: Mutex<BTreeSet<u16>>,
    changed: Condvar,
}

impl Introducer {
    /// One that answers by the port that is announced, when `quorum` of them were.
    fn start(quorum: usize, answers: &[(SocketAddr, &[SocketAddr])]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let answers = answers
            .iter()
            .map(|(to, named)| (to.port(), named.to_vec()));
        let shared = Arc::new(Shared {
            answers: answers.collect(),
            quorum,
            ..Shared::default()
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = of_thread.clone();
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        Self { addr, shared }
    }

    /// Waits until whoever listens at `addr` has announced itself.
    fn hears_of(&self, addr: SocketAddr) {
        let seen = self.shared.seen.lock().expect("no thread panicked");
        let waits = |seen: &mut BTreeSet<u16>| !seen.contains(&addr.port());
        let waited = self
            .shared
            .changed
            .wait_timeout_while(seen, PATIENCE, waits);
        assert!(!waited.expect("no thread panicked").1.timed_out(), "{addr}");
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        if reader.read_line(&mut line).is_err() {
            return;
        }
        let port = line
            .split(['?', '&', ' '])
            .find_map(|part| part.strip_prefix("port="));
        let port = port.and_then(|port| port.parse().ok()).expect("a port");
        let mut seen = self.seen.lock().expect("no thread panicked");
        seen.insert(port);
        self.changed.notify_all();
        let is_early = |seen: &mut BTreeSet<u16>| seen.len() < self.quorum;
        drop(self.changed.wait_timeout_while(seen, PATIENCE, is_early));
        let mut body = b"d8:intervali1800e5:peers".to_vec();
        let named = self.answers.get(&port).map_or(&[][..], Vec::as_slice);
        body.extend(format!("{}:", named.len() * 6).bytes());
        for addr in named {
            let SocketAddr::V4(addr) = addr else { continue };
            body.extend(addr.ip().octets());
            body.extend(addr.port().to_be_bytes());
        }
        body.push(b'e');
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        // Whoever left does not read it.
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    }
}

/// A content, its .torrent file, and a folder for everybody.
struct Meeting {
    dir: TempDir,
}

impl Meeting {
    /// Of a content that announces itself at `tracker`.
    fn new(seed: u64, tracker: &Introducer) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
        let bytes = random_bytes(seed, LEN);
        let source = dir.path().join("source");
        std::fs::create_dir(&source).expect("a folder");
        std::fs::write(source.join("it"), &bytes).expect("written");
        let url = format!("http://{}/announce", tracker.addr);
        let mut torrent = format!(
            "d8:announce{}:{url}4:infod6:lengthi{LEN}e4:name2:it",
            url.len()
        );
        torrent += &format!(
            "12:piece lengthi{PIECE_LENGTH}e6:pieces{}:",
            LEN / PIECE_LENGTH * 20
        );
        let mut torrent = torrent.into_bytes();
        for piece in bytes.chunks(PIECE_LENGTH) {
            torrent.extend(Sha1::digest(piece));
        }
        torrent.extend(b"ee");
        std::fs::write(dir.path().join("it.torrent"), torrent).expect("written");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ours(&self, listen: SocketAddr, args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
        command.args(["--json", "-v"]).args(args);
        command.args(["--listen", &listen.to_string()]);
        command.current_dir(self.dir.path());
        command.env_remove("SHOAL_TRACKER");
        Running::start(&args.join(" "), &mut command)
    }

    fn other(&self, program: Program, listen: SocketAddr, folder: &str, settings: &str) -> Running {
        let (torrent, folder) = (self.path("it.torrent"), self.path(folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        let task = Task {
            torrent: text(&torrent),
            folder: &folder,
            listen,
            settings,
        };
        Running::start(&format!("{program:?}"), &mut program.command(&task))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// An address of this machine that nobody listens on.
fn free_addr() -> SocketAddr {
    free::free_addr(Ipv4Addr::LOCALHOST.into())
}

/// The ends of established conns over IPv4 that a program holds: its own, then the other's.
fn conns(of: &Running) -> BTreeSet<(String, String)> {
    const ESTABLISHED: &str = "01";
    let held = std::fs::read_dir(format!("/proc/{}/fd", of.pid())).expect("it runs");
    let held: BTreeSet<String> = held
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == ESTABLISHED && held.contains(row[9]))
        .map(|row| (row[1].to_owned(), row[2].to_owned()))
        .collect()
}

/// How many conns there are between two programs.
fn conns_between(one: &Running, other: &Running) -> usize {
    let theirs = conns(other);
    let mirrored = |(own, far): &(String, String)| theirs.contains(&(far.clone(), own.clone()));
    conns(one).iter().filter(|ends| mirrored(ends)).count()
}

/// Waits until this holds for some time without a break.
fn settles(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut since = None;
    loop {
        since = holds().then(|| since.unwrap_or_else(Instant::now));
        if since.is_some_and(|since| since.elapsed() >= SETTLED) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it never came to be: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until this holds.
fn comes_to_be(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it never came to be: {what}");
        std::thread::sleep(PAUSE);
    }
}

fn complains_of_nothing(program: Program, running: &Running) {
    assert_eq!(complaints(program, &running.lines()), [""; 0]);
}

/// Neither has anything, and the tracker names each to the other at the same moment, several times over.
fn ends_in_one_conn(program: Program, settings: &str) {
    if !program.is_here() {
        return;
    }
    for round in 0..ROUNDS {
        let (a, b) = (free_addr(), free_addr());
        let tracker = Introducer::start(2, &[(a, &[b]), (b, &[a])]);
        let meeting = Meeting::new(round as u64, &tracker);
        let other = meeting.other(program, b, "other", settings);
        let ours = meeting.ours(a, &["get", "it.torrent", "-o", "ours/"]);
        settles("one conn", || conns_between(&ours, &other) == 1);
        complains_of_nothing(program, &other);
        ours.stop().exits(7);
    }
}

#[test]
fn we_and_libtorrent_dial_at_once_and_keep_one_conn() {
    ends_in_one_conn(Program::Libtorrent, TCP_ONLY);
}

#[test]
fn we_and_libtorrent_that_tries_utp_first_keep_one_conn() {
    ends_in_one_conn(Program::Libtorrent, "");
}

#[test]
fn we_and_aria2_dial_at_once_and_keep_one_conn() {
    ends_in_one_conn(Program::Aria2, "");
}

#[test]
fn libtorrent_tells_us_of_a_seed() {
    if !Program::Libtorrent.is_here() {
        return;
    }
    let (seed, hub, here) = (free_addr(), free_addr(), free_addr());
    let tracker = Introducer::start(0, &[(hub, &[seed]), (here, &[hub])]);
    let meeting = Meeting::new(11, &tracker);
    let seeder = meeting.other(Program::Libtorrent, seed, "source", SLOW);
    tracker.hears_of(seed);
    let teller = meeting.other(Program::Libtorrent, hub, "hub", SLOW);
    comes_to_be("the hub knows the seed", || {
        conns_between(&teller, &seeder) > 0
    });
    let ours = meeting.ours(here, &["get", "it.torrent", "-o", "ours/"]);
    comes_to_be("we know the seed", || conns_between(&ours, &seeder) > 0);
    complains_of_nothing(Program::Libtorrent, &teller);
    complains_of_nothing(Program::Libtorrent, &seeder);
    ours.stop().exits(7);
}

#[test]
fn we_tell_libtorrent_of_a_seed() {
    if !Program::Libtorrent.is_here() {
        return;
    }
    let (seed, hub, there) = (free_addr(), free_addr(), free_addr());
    let tracker = Introducer::start(0, &[(hub, &[seed]), (there, &[hub])]);
    let meeting = Meeting::new(12, &tracker);
    let seeder = meeting.other(Program::Libtorrent, seed, "source", SLOW);
    tracker.hears_of(seed);
    let ours = meeting.ours(hub, &["get", "it.torrent", "-o", "ours/"]);
    comes_to_be("we know the seed", || conns_between(&ours, &seeder) > 0);
    let getter = meeting.other(Program::Libtorrent, there, "getter", SLOW);
    comes_to_be("it knows the seed", || conns_between(&getter, &seeder) > 0);
    complains_of_nothing(Program::Libtorrent, &getter);
    ours.stop().exits(7);
}

#[test]
fn libtorrent_that_tries_utp_first_is_refused_and_comes_by_tcp() {
    if !Program::Libtorrent.is_here() {
        return;
    }
    let (here, there) = (free_addr(), free_addr());
    let tracker = Introducer::start(0, &[(there, &[here])]);
    let meeting = Meeting::new(13, &tracker);
    let ours = meeting.ours(
        here,
        &["seed", "it.torrent", text(&meeting.path("source/it"))],
    );
    tracker.hears_of(here);
    let getter = meeting.other(Program::Libtorrent, there, "getter", "");
    getter.line("refusal", |line| {
        line.contains("(uTP) [connect]") && line.contains("reset")
    });
    getter.line("end", |line| line.starts_with("torrent_finished_alert"));
    let source = std::fs::read(meeting.path("source/it")).expect("it is there");
    comes_to_be("a copy", || {
        std::fs::read(meeting.path("getter/it")).is_ok_and(|copy| copy == source)
    });
    complains_of_nothing(Program::Libtorrent, &getter);
    ours.stop().exits(0);
}
