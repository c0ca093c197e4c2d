//! Malformed inputs by the ten thousand: no crash, no growth, no busy loop, and nothing louder than what was sent.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use shoal::base::Rng;
use shoal::wire::native::{Reply, Request};
use shoal::wire::udp::{Request as Datagram, RequestBody};

use crate::client::{Udp, announce, at_v4, start_with_content, target};
use crate::harness::{PATIENCE, Tracker};
use crate::noise::spoil;
use crate::storm::{TELLING, Watch, inputs, storm};

/// Throws every input at one TCP front; the tracker answers as before.
fn endures(tracker: &Tracker, samples: &[Vec<u8>]) {
    storm(tracker.child.id(), at_v4(tracker), |seed| {
        let mut rng = Rng::new(seed);
        let sample = &samples[rng.below(samples.len())];
        spoil(sample, TELLING, &mut rng)
    });
    answers(tracker);
}

fn answers(tracker: &Tracker) {
    let mut client = tracker.client(9);
    assert_eq!(client.ask(Request::Ping(1)), Reply::Pong(1));
}

#[test]
fn malformed_requests_over_http_harm_nobody() {
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
    endures(&tracker, &samples.map(String::into_bytes));
}

#[test]
fn malformed_frames_harm_nobody() {
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
    endures(&tracker, &[hello, session]);
}

#[test]
fn malformed_datagrams_are_never_answered_with_more() {
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
    let mut watch = Watch::begin(tracker.child.id());
    let (count, mut sent, mut received) = (inputs(), 0, 0);
    let mut buffer = [0; 4096];
    for seed in 0..count {
        let mut rng = Rng::new(seed);
        let bytes = spoil(&samples[rng.below(samples.len())], TELLING, &mut rng);
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
        if seed == count / 4 {
            watch.is_warm();
        }
    }
    assert!(
        received > 0 && received <= sent,
        "{received} bytes for {sent}"
    );
    watch.ends_well();
    answers(&tracker);
    while udp.receive(Duration::from_millis(50)).is_some() {}
    let mut again = Udp::connect([127, 0, 0, 1].into(), at_v4(&tracker));
    assert!(again.announce(&announce(hash, 9)).leechers > 0);
}

#[test]
fn who_asks_without_end_and_never_reads_is_not_read_and_costs_little() {
    let (tracker, hash) = start_with_content();
    let mut deaf = TcpStream::connect(at_v4(&tracker)).expect("the tracker listens");
    deaf.set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let watch = Watch::begin(tracker.child.id());
    let target = target(&announce(hash, 1), "&compact=0");
    let requests = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(100);
    let begun = Instant::now();
    while deaf.write_all(requests.as_bytes()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it reads on and on");
    }
    watch.ends_well();
    answers(&tracker);
}
