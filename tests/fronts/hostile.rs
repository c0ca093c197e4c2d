//! Malformed inputs by the ten thousand: no crash, no growth, no busy loop, and nothing louder than what was sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use shoal::base::Rng;
use shoal::wire::native::{Reply, Request};
use shoal::wire::udp::{Request as Datagram, RequestBody};

use crate::client::{Http, Udp, announce, at_v4, proc_number, start_with_content, target};
use crate::harness::{PATIENCE, Tracker};

const INPUTS: u64 = 10_000;
/// Memory that a tracker may take on, once it has met every kind of input.
const GROWTH_KIB_MAX: u64 = 4096;

/// `sample` with some bytes replaced, cut short or repeated; sometimes noise altogether.
fn spoil(sample: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len());
        bytes[at] = match rng.below(3) {
            0 => b"\r\n :%&=?0/"[rng.below(10)],
            1 => bytes[at] ^ (1 << rng.below(8)),
            _ => rng.next_u64() as u8,
        };
    }
    match rng.below(4) {
        0 => bytes.truncate(rng.below(bytes.len()) + 1),
        1 => bytes.extend_from_within(rng.below(bytes.len())..),
        2 if rng.below(4) == 0 => bytes.fill_with(|| rng.next_u64() as u8),
        _ => {}
    }
    bytes
}

/// Sends `bytes` on a connection of its own, and reads what comes until the tracker closes or has nothing to say.
fn throw(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).expect("the tracker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut sink = [0; 4096];
    while matches!(stream.read(&mut sink), Ok(count) if count > 0) {}
}

/// Throws every input at one TCP front, and looks at the tracker before and after.
fn storm(tracker: &Tracker, samples: &[Vec<u8>]) {
    let addr = at_v4(tracker);
    let mut before = 0;
    for seed in 0..INPUTS {
        let mut rng = Rng::new(seed);
        let sample = &samples[rng.below(samples.len())];
        throw(addr, &spoil(sample, &mut rng));
        if seed == INPUTS / 4 {
            before = proc_number(tracker, "status", "VmRSS:");
        }
    }
    rests(tracker, before);
}

/// The tracker answers, has not grown, and does nothing unless it is asked.
fn rests(tracker: &Tracker, kib_before: u64) {
    let mut client = tracker.client(9);
    assert_eq!(client.ask(Request::Ping(1)), Reply::Pong(1));
    let after = proc_number(tracker, "status", "VmRSS:");
    assert!(
        after < kib_before + GROWTH_KIB_MAX,
        "{kib_before} KiB, then {after} KiB"
    );
    let ran_before = proc_number(tracker, "schedstat", "");
    let mut quiet = Http::connect(at_v4(tracker));
    let wait = Duration::from_millis(500);
    quiet
        .stream
        .set_read_timeout(Some(wait))
        .expect("a timeout");
    let _ = quiet.stream.read(&mut [0]);
    let ran = Duration::from_nanos(proc_number(tracker, "schedstat", "") - ran_before);
    assert!(
        ran < wait / 10,
        "it ran {ran:?} of {wait:?} that it had nothing to do"
    );
}

#[test]
fn ten_thousand_malformed_requests_over_http() {
    let (tracker, hash) = start_with_content();
    let head = |target: &str, more: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: tracker:6969\r\nUser-Agent: x/1\r\n{more}\r\n")
    };
    let announce = target(
        &announce(hash, 1),
        "&numwant=50&compact=0&ip=10.0.0.1&key=1",
    );
    let scrape = announce.replace("/announce", "/scrape");
    let samples = [
        head(&announce, "Connection: keep-alive\r\n"),
        head(&scrape, ""),
        head("/", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        head(&announce, "").repeat(5),
        head(&"/x".repeat(5000), ""),
    ];
    storm(&tracker, &samples.map(String::into_bytes));
}

#[test]
fn ten_thousand_malformed_frames() {
    let (tracker, hash) = start_with_content();
    let mut hello = Vec::new();
    let listens_at = [SocketAddr::from(([127, 0, 0, 1], 1))];
    let peer_id = shoal::base::PeerId([1; 20]);
    let greeting = shoal::wire::native::Hello::new(peer_id, &listens_at);
    Request::Hello(greeting).encode(1, &mut hello);
    let mut session = hello.clone();
    for request in [
        Request::GetInfo {
            info_hash: hash,
            offset: 0,
        },
        Request::Stats { slot: 0 },
        Request::Ping(3),
        Request::Unregister {
            info_hash: shoal::base::InfoHash([1; 20]),
        },
    ] {
        request.encode(2, &mut session);
    }
    storm(&tracker, &[hello, session]);
}

#[test]
fn ten_thousand_malformed_datagrams_are_never_answered_with_more() {
    let (tracker, hash) = start_with_content();
    let mut udp = Udp::connect([127, 0, 0, 1].into(), at_v4(&tracker));
    let stranger = Udp::open([127, 0, 0, 3].into(), at_v4(&tracker));
    stranger.socket.set_nonblocking(true).expect("fcntl");
    let sample = |body| {
        let mut bytes = Vec::new();
        let transaction = 7;
        Datagram { transaction, body }.put(&mut bytes);
        bytes
    };
    let samples = [
        sample(RequestBody::Connect),
        [
            &sample(udp.body(announce(hash, 1)))[..],
            &[2, 3, 1, 2, 3, 1, 0],
        ]
        .concat(),
        sample(RequestBody::Scrape {
            connection_id: udp.connection_id,
            hashes: vec![hash; 70],
        }),
    ];
    let (mut before, mut sent, mut received) = (0, 0, 0);
    let mut buffer = [0; 4096];
    for seed in 0..INPUTS {
        let mut rng = Rng::new(seed);
        let bytes = spoil(&samples[rng.below(samples.len())], &mut rng);
        // From an address that no id was given to, and from one that has the id of the samples.
        if stranger.socket.send(&bytes).is_ok() {
            sent += bytes.len();
        }
        let _ = udp.socket.send(&bytes);
        while let Ok(count) = stranger.socket.recv(&mut buffer) {
            received += count;
            assert!(count <= 16, "only a connect is answered");
        }
        // Waits for an answer now and then, so that the tracker keeps up.
        if seed % 16 == 0 {
            while udp.receive(Duration::from_millis(1)).is_some() {}
        }
        if seed == INPUTS / 4 {
            before = proc_number(&tracker, "status", "VmRSS:");
        }
    }
    assert!(
        received > 0 && received <= sent,
        "{received} bytes for {sent}"
    );
    rests(&tracker, before);
    while udp.receive(Duration::from_millis(50)).is_some() {}
    let mut again = Udp::connect([127, 0, 0, 1].into(), at_v4(&tracker));
    assert!(again.announce(&announce(hash, 9)).leechers > 0);
}

#[test]
fn who_asks_without_end_and_never_reads_is_not_read_and_costs_little() {
    let (tracker, hash) = start_with_content();
    let before = proc_number(&tracker, "status", "VmRSS:");
    let mut deaf = TcpStream::connect(at_v4(&tracker)).expect("the tracker listens");
    deaf.set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let target = target(&announce(hash, 1), "&compact=0");
    let requests = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(100);
    let begun = Instant::now();
    while deaf.write_all(requests.as_bytes()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it reads on and on");
    }
    rests(&tracker, before);
}
