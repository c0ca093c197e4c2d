//! Debian's opentracker, over HTTP and UDP: it brings our own programs together, and counts what they tell it.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shoal::base::InfoHash;
use shoal::wire::torrent::{Extras, torrent_file};
use tempfile::TempDir;

use crate::content::{Content, assert_same, random_bytes};
use crate::free::free_addr;
use crate::process::Running;
use crate::programs::{may_lack, name_what_is_tried};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait until it is asked again whether it listens.
const PAUSE: Duration = Duration::from_millis(20);
const LEN: usize = (3 << 20) + 7;

fn is_here() -> bool {
    let version = Command::new("opentracker")
        .arg("-h")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_here = version.is_ok() || may_lack("opentracker");
    name_what_is_tried("our announcing", "opentracker", is_here);
    is_here
}

/// It runs for as long as this is held.
struct Opentracker {
    addr: SocketAddr,
    _running: Running,
    _list: TempDir,
}

/// Starts it on a port of its own, for one content; Debian's tracks nothing that it is not told.
fn start(info_hash: InfoHash) -> Opentracker {
    // It gives root up, and has to read the list as somebody else.
    let folder = TempDir::new().expect("a scratch folder");
    let all = Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).expect("it is ours");
    let list = folder.path().join("list");
    std::fs::write(&list, format!("{info_hash}\n")).expect("a file");
    let addr = free_addr(Ipv4Addr::LOCALHOST.into());
    let mut command = Command::new("opentracker");
    let port = addr.port().to_string();
    command.args(["-i", "127.0.0.1", "-p", &port, "-P", &port]);
    command.arg("-w").arg(list);
    let running = Running::start("opentracker", &mut command);
    let begun = Instant::now();
    while TcpStream::connect(addr).is_err() {
        let is_late = begun.elapsed() > PATIENCE || running.has_ended();
        assert!(!is_late, "it does not listen");
        std::thread::sleep(PAUSE);
    }
    Opentracker {
        addr,
        _running: running,
        _list: folder,
    }
}

/// What it says of the content: a bencoded dictionary.
fn scraped(addr: SocketAddr, info_hash: InfoHash) -> String {
    let hash: String = info_hash
        .0
        .iter()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    let mut stream = TcpStream::connect(addr).expect("it listens");
    let request = format!("GET /scrape?info_hash={hash} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("it answers");
    String::from_utf8_lossy(&reply).into_owned()
}

fn peer(dir: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
    let (name, rest) = args.split_first().expect("a command");
    command.args(["--json", "-v", name, "--listen", "127.0.0.1:0"]);
    command.args(rest).current_dir(dir);
    command.env_remove("SHOAL_TRACKER");
    Running::start(&args.join(" "), &mut command)
}

fn is_found_by_way_of(scheme: &str) {
    let dir: TempDir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
    let dir = dir.path();
    let bytes = random_bytes(4, LEN);
    std::fs::write(dir.join("image"), &bytes).expect("a file");
    let content = Content::new("image", 256 << 10, bytes);
    let info_hash = content.meta.info_hash();
    let tracker = start(info_hash);
    let addr = tracker.addr;
    let tiers = [vec![format!("{scheme}://{addr}/announce")]];
    let extras = Extras {
        tiers: &tiers,
        ..Extras::default()
    };
    let file = torrent_file(content.meta.info(), &extras);
    std::fs::write(dir.join("image.torrent"), file).expect("a file");
    let seed = peer(dir, &["seed", "image.torrent", "image"]);
    seed.event("shared");
    let get = peer(dir, &["get", "image.torrent", "-o", "got/"])
        .end()
        .exits(0);
    assert_same(&dir.join("image"), &dir.join("got/image"));
    // Who fetched it has left, and is remembered.
    let figures = scraped(addr, info_hash);
    let expected = "8:completei1e10:downloadedi1e10:incompletei0e";
    assert!(figures.contains(expected), "{figures}");
    seed.stop().exits(0);
    let figures = scraped(addr, info_hash);
    let expected = "8:completei0e10:downloadedi1e10:incompletei0e";
    assert!(figures.contains(expected), "{figures}");
    let complained = get.err.iter().any(|line| line.contains("warning"));
    assert!(!complained, "{get:#?}");
}

#[test]
fn opentracker_brings_us_together_over_http() {
    if is_here() {
        is_found_by_way_of("http");
    }
}

#[test]
fn opentracker_brings_us_together_over_udp() {
    if is_here() {
        is_found_by_way_of("udp");
    }
}
