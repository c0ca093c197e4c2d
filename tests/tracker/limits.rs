//! What the tracker refuses, and what it survives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::{Client, PATIENCE, Tracker, info, peer_id, until};
use shoal::base::{InfoHash, Rng};
use shoal::wire::native::{
    Bitmap, ErrorCode, HaveBatch, HaveItem, HaveState, Hello, Join, List, Reply, Request, Role,
};

use super::harness;

/// The code of the next ERROR, behind which the tracker closes.
fn fault(client: &mut Client) -> ErrorCode {
    let frame = client.next();
    let Some(harness::Frame::Reply(_, Reply::Error { code, .. })) = frame else {
        panic!("{frame:?}");
    };
    assert!(client.is_closed());
    code
}

#[test]
fn garbage_is_told_so_and_closed() {
    let tracker = Tracker::start(None);
    for garbage in [
        &b"get / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 7, 0, 0, 0, 0],
        &[0, 16, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 8, 1, 0, 0, 1, 0, 0, 0, 1],
        &[0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 1],
    ] {
        let mut client = Client::connect(tracker.addr);
        client.stream.write_all(garbage).expect("sent");
        assert_eq!(fault(&mut client), ErrorCode::BadFrame, "{garbage:?}");
    }
    let mut rng = Rng::new(5);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(tracker.addr).expect("it listens");
        let noise: Vec<u8> = (0..rng.below(3000)).map(|_| rng.next_u64() as u8).collect();
        let _ = stream.write_all(&noise);
    }
    let mut client = tracker.client(1);
    assert_eq!(client.ask(Request::Ping(1)), Reply::Pong(1));
}

#[test]
fn hello_comes_first_and_once() {
    let tracker = Tracker::start(None);
    let mut client = Client::connect(tracker.addr);
    client.send(&Request::Ping(1));
    assert_eq!(fault(&mut client), ErrorCode::BadFrame);
    let mut client = tracker.client(1);
    client.send(&Request::Hello(Hello::new(peer_id(1), &[])));
    assert_eq!(fault(&mut client), ErrorCode::BadFrame);
    let mut client = Client::connect(tracker.addr);
    let mut hello = Vec::new();
    Request::Hello(Hello::new(peer_id(1), &[])).encode(1, &mut hello);
    hello[16] = 9;
    client.stream.write_all(&hello).expect("sent");
    assert_eq!(fault(&mut client), ErrorCode::Version);
}

#[test]
fn unknown_requests_are_refused_and_the_connection_goes_on() {
    let tracker = Tracker::start(None);
    let mut client = tracker.client(1);
    for kind_and_flags in [[0x70, 0], [0x0e, 0x80]] {
        let [kind, flags] = kind_and_flags;
        let frame = [
            0, 0, 0, 16, kind, flags, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5,
        ];
        client.stream.write_all(&frame).expect("sent");
        let reply = client.next();
        assert!(
            matches!(
                reply,
                Some(harness::Frame::Reply(
                    9,
                    Reply::Error {
                        code: ErrorCode::UnknownType,
                        ..
                    }
                ))
            ),
            "{reply:?}"
        );
    }
    assert_eq!(client.ask(Request::Ping(1)), Reply::Pong(1));
}

#[test]
fn requests_about_nothing_are_refused() {
    let tracker = Tracker::start(None);
    let mut client = tracker.client(1);
    let info_hash = InfoHash([1; 20]);
    let join = Request::Join(Join {
        info_hash,
        left: 0,
        have: Bitmap::All,
        want: 0,
        role: Role::Seed,
    });
    let peers = Request::Peers {
        slot: u32::MAX,
        want: 1,
        missing: None,
    };
    for request in [
        Request::GetInfo {
            info_hash,
            offset: 0,
        },
        join,
        peers,
        Request::Unregister { info_hash },
        Request::Stats { slot: 3 },
    ] {
        assert_eq!(client.refused(request), ErrorCode::NotFound);
    }
}

#[test]
fn what_contradicts_itself_is_a_bad_frame() {
    let tracker = Tracker::start(None);
    let (bytes, info_hash) = info("file", 10);
    tracker.client(1).register(&bytes);
    let mut client = tracker.client(2);
    client.send(&Request::Join(Join {
        info_hash,
        left: 5,
        have: Bitmap::All,
        want: 0,
        role: Role::Seed,
    }));
    assert_eq!(fault(&mut client), ErrorCode::BadFrame);
    let mut client = tracker.client(2);
    let slot = client.join(info_hash, 10, false).slot;
    let items = [HaveItem {
        piece: 10,
        state: HaveState::Have,
    }];
    client.send(&Request::HaveBatch(HaveBatch {
        slot,
        up: 0,
        down: 0,
        items: List::lent(&items),
        wants_reply: false,
    }));
    assert_eq!(fault(&mut client), ErrorCode::BadFrame);
    let mut client = tracker.client(3);
    client.send(&Request::Register {
        total: 4,
        chunk: b"abc"[..].into(),
        more: false,
    });
    assert_eq!(fault(&mut client), ErrorCode::BadFrame);
}

#[test]
fn registrations_on_their_way_have_a_limit_over_all_connections() {
    let tracker = Tracker::start(None);
    let begin = |client: &mut Client| {
        client.send(&Request::Register {
            total: 32 << 20,
            chunk: b"d"[..].into(),
            more: true,
        });
    };
    let mut holders = [tracker.client(1), tracker.client(2)];
    for holder in &mut holders {
        begin(holder);
        assert_eq!(holder.ask(Request::Ping(1)), Reply::Pong(1));
    }
    let mut third = tracker.client(3);
    let (bytes, _) = info("file", 10);
    assert!(matches!(
        third.register(&bytes),
        Reply::Error {
            code: ErrorCode::Busy,
            retry_ms: 1..,
            ..
        }
    ));
    drop(holders);
    let mut later = tracker.client(4);
    until(|| matches!(later.register(&bytes), Reply::Register { .. }));
}

#[test]
fn batches_have_a_rate() {
    let tracker = Tracker::start(None);
    let (bytes, hash) = info("file", 10);
    let mut client = tracker.client(1);
    client.register(&bytes);
    let slot = client.join(hash, 10, false).slot;
    let limited = (0..1000).find_map(|_| match client.have(slot, 0..1) {
        Reply::Error { code, retry_ms, .. } => Some((code, retry_ms > 0)),
        _ => None,
    });
    assert_eq!(limited, Some((ErrorCode::RateLimited, true)));
    assert_eq!(client.ask(Request::Ping(1)), Reply::Pong(1));
}

#[test]
fn a_client_that_does_not_read_is_no_longer_read() {
    let tracker = Tracker::start(None);
    let (bytes, info_hash) = info("file", 50_000);
    let mut client = tracker.client(1);
    client.register(&bytes);
    let mut wire = Vec::new();
    let asked = 20_000;
    for id in 0..asked {
        let request = Request::GetInfo {
            info_hash,
            offset: 0,
        };
        request.encode(id, &mut wire);
    }
    let mut writer = client.stream.try_clone().expect("a handle");
    let sender = std::thread::spawn(move || writer.write_all(&wire));
    // Five gigabytes are owed by now; what the tracker holds of them is small.
    let mut other = tracker.client(2);
    for _ in 0..50 {
        assert_eq!(other.ask(Request::Ping(1)), Reply::Pong(1));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", tracker.child.id()));
    let status = status.expect("it runs");
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .expect("a peak");
    let peak_kib: u64 = peak
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("KiB");
    assert!(peak_kib < 64 << 10, "{peak}");
    // It goes on where it stopped as soon as the client reads: the answers keep their order.
    for id in 0..100 {
        let frame = client.next();
        assert!(
            matches!(&frame, Some(harness::Frame::Reply(of, Reply::Info { .. })) if *of == id),
            "{id}"
        );
    }
    drop(client);
    drop(tracker);
    let _ = sender.join().expect("the sender ends");
}

#[test]
fn the_process_is_the_loop_and_one_helper() {
    let dir = tempfile::tempdir().expect("a folder");
    let tracker = Tracker::start(Some(dir.path()));
    let (bytes, _) = info("file", 10);
    tracker.client(1).register(&bytes);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", tracker.child.id()));
    assert_eq!(tasks.expect("it runs").count(), 2);
}

#[test]
fn a_tracker_out_of_descriptors_recovers_when_they_come_back() {
    let script = "ulimit -n 64; exec \"$0\" -l 127.0.0.1:0";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_shoal-tracker")]);
    let tracker = Tracker::spawn({
        command.stderr(Stdio::null());
        command
    });
    let crowd: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(tracker.addr).expect("the backlog takes it"))
        .collect();
    // One more, which connects while the tracker is full and waits its turn: nobody connects after it.
    let mut last = Client::connect(tracker.addr);
    let mut hello = Vec::new();
    Request::Hello(Hello::new(peer_id(9), &[])).encode(1, &mut hello);
    last.stream.write_all(&hello).expect("sent");
    drop(crowd);
    let left = Instant::now();
    let mut first_byte = [0];
    last.stream.read_exact(&mut first_byte).expect("answered");
    assert!(left.elapsed() < PATIENCE / 20, "within a second");
}

#[test]
fn options_of_later_versions_are_refused() {
    for words in [
        ["--udp", "on"],
        ["--admin", "127.0.0.1:6970"],
        ["--conns-per-ip", "x"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"))
            .args(words)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(28), "{words:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words[0]), "{said}");
    }
    let taken = Tracker::start(None);
    let output = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"))
        .args(["-l", &taken.addr.to_string()])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(6));
}
