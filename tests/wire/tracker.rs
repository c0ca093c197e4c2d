//! What clients and trackers say to each other over HTTP and UDP: byte vectors, every cut, values that survive, garbage.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use shoal::base::{InfoHash, PeerId, Rng};
use shoal::wire::announce::{Announce, AnnounceEvent, AnnouncedPeer, ScrapeEntry};
use shoal::wire::bencode::{self, Limits};
use shoal::wire::http::head::{HEAD_BYTES_MAX, Head, HeadDecoder, HeadError};
use shoal::wire::http::query::{HttpAnnounce, scrape_hashes};
use shoal::wire::http::reply::{
    AnnounceOutcome, AnnounceReply, PeerForm, Retry, put_failure, put_scrape,
};
use shoal::wire::udp::{self, Reply, ReplyBody, Request, RequestBody};

use super::{INFO_HASH, PEER_ID, TELLING, Vectors, spoil};

/// The vectors that the tests below judge.
pub(super) const JUDGED: [&str; 16] = [
    "http_announce_request",
    "http_announce_response_compact",
    "http_announce_response_dict",
    "http_failure",
    "http_failure_retry",
    "http_scrape_response",
    "udp_connect_request",
    "udp_connect_response",
    "udp_announce_request",
    "udp_announce_request_urldata",
    "udp_announce_response_v4",
    "udp_announce_response_v6",
    "udp_scrape_request",
    "udp_scrape_response",
    "udp_error",
    "udp_announce_short",
];

const CONNECTION_ID: u64 = 0x1122_3344_5566_7788;
const TRANSACTION: u32 = 0x1234_5678;

/// The announce of the vectors, the same over HTTP and UDP.
fn announce() -> Announce {
    Announce {
        info_hash: INFO_HASH.parse().expect("a hash"),
        peer_id: PeerId(*PEER_ID),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: 100_000,
        event: AnnounceEvent::Started,
        want: None,
        key: 0x1a2b_3c4d,
        ip: None,
    }
}

fn peer(addr: &str) -> AnnouncedPeer {
    AnnouncedPeer {
        addr: addr.parse().expect("an address"),
        peer_id: None,
    }
}

fn heads(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, HeadError> {
    let (mut decoder, mut found) = (HeadDecoder::default(), Vec::new());
    for chunk in chunks {
        let mut input = *chunk;
        while let Some(head) = decoder.decode(&mut input)? {
            found.push(head.to_vec());
        }
        assert!(decoder.bytes_held() <= 2 * HEAD_BYTES_MAX + 2);
    }
    Ok(found)
}

#[test]
fn the_announce_of_the_vectors_is_read_however_it_is_cut() {
    let bytes = Vectors::load().bytes("http_announce_request");
    for cut in 0..=bytes.len() {
        let (first, rest) = bytes.split_at(cut);
        let found = heads(&[first, rest]).expect("one head");
        assert_eq!(found, [&bytes[..]], "{cut}");
    }
    let head = Head::parse(&bytes).expect("valid");
    assert_eq!((head.path, head.keeps_alive), ("/announce", false));
    let expected = Announce {
        want: Some(50),
        ..announce()
    };
    let parsed = HttpAnnounce::parse(head.query).expect("valid");
    assert_eq!((parsed.announce, parsed.is_compact), (expected, true));
    let hashes = scrape_hashes(head.query);
    assert_eq!(hashes, Ok(vec![expected.info_hash]));
}

#[test]
fn http_replies_of_the_vectors_are_read_and_written() {
    let vectors = Vectors::load();
    let bytes = vectors.bytes("http_announce_response_compact");
    let expected = AnnounceReply {
        interval_s: 1800,
        interval_s_min: Some(30),
        swarm: ScrapeEntry {
            complete: 1,
            downloaded: 0,
            incomplete: 2,
        },
        external_ip: Some([10, 0, 0, 7].into()),
        peers: vec![
            peer("10.0.0.1:6881"),
            peer("10.0.0.2:6882"),
            peer("[2001:db8::1]:6881"),
        ],
        tracker_id: Some(b"t1".to_vec()),
        warning: None,
    };
    let taken = |bytes: &[u8]| match AnnounceOutcome::decode(bytes) {
        Ok(AnnounceOutcome::Taken(reply)) => reply,
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(&bytes), expected);
    let mut again = Vec::new();
    expected.put(PeerForm::Compact, &mut again);
    let text = String::from_utf8_lossy(&again).replace("10:downloadedi0e", "");
    assert_eq!(text, String::from_utf8_lossy(&bytes));

    let bytes = vectors.bytes("http_announce_response_dict");
    let reply = taken(&bytes);
    let peers = [AnnouncedPeer {
        peer_id: Some(PeerId(*PEER_ID)),
        ..peer("10.0.0.1:6881")
    }];
    assert_eq!((reply.interval_s, &reply.peers[..]), (1800, &peers[..]));
    let mut again = Vec::new();
    reply.put(PeerForm::Dictionaries { with_ids: true }, &mut again);
    let list = |bytes| {
        let value = bencode::decode(bytes, Limits::METAINFO).expect("bencode");
        let peers = value
            .as_dictionary()
            .and_then(|entries| entries.get(b"peers"));
        peers.expect("peers").raw()
    };
    assert_eq!(list(&again), list(&bytes));
}

#[test]
fn http_failures_and_scrapes_of_the_vectors_are_read_and_written() {
    let vectors = Vectors::load();
    for (name, reason, retry) in [
        ("http_failure", "unknown torrent", Retry::Never),
        ("http_failure_retry", "overloaded", Retry::Minutes(5)),
    ] {
        let mut bytes = Vec::new();
        put_failure(reason, Some(retry), &mut bytes);
        assert_eq!(bytes, vectors.bytes(name), "{name}");
        let (reason, retry) = (reason.to_owned(), Some(retry));
        let refused = AnnounceOutcome::Refused { reason, retry };
        assert_eq!(AnnounceOutcome::decode(&bytes), Ok(refused), "{name}");
    }
    let entry = ScrapeEntry {
        complete: 1,
        downloaded: 7,
        incomplete: 2,
    };
    let mut bytes = Vec::new();
    put_scrape([(announce().info_hash, entry)], 60, &mut bytes);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let vector = text(&vectors.bytes("http_scrape_response"));
    assert_eq!(text(&bytes), vector.replace("11:downloadersi2e", ""));
}

#[test]
fn udp_requests_of_the_vectors_are_read_and_written() {
    let vectors = Vectors::load();
    let plain = vectors.bytes("udp_announce_request");
    for (name, url) in [
        ("udp_announce_request", &b""[..]),
        ("udp_announce_request_urldata", b"/dir?a=b&c=d"),
    ] {
        let bytes = vectors.bytes(name);
        let request = Request::decode(&bytes).expect(name);
        assert_eq!(request.transaction, TRANSACTION);
        let RequestBody::Announce {
            connection_id,
            announce: read,
            options,
        } = &request.body
        else {
            panic!("{name}: {request:?}");
        };
        assert_eq!((*connection_id, *read), (CONNECTION_ID, announce()));
        assert_eq!(options.url_data(), url);
        let mut again = Vec::new();
        request.put(&mut again);
        assert_eq!(again, bytes, "{name}");
    }
    let short = vectors.bytes("udp_announce_short");
    assert_eq!(short, plain[..97]);
    assert!(Request::decode(&short).is_err());
    for (name, body) in [
        ("udp_connect_request", RequestBody::Connect),
        (
            "udp_scrape_request",
            RequestBody::Scrape {
                connection_id: CONNECTION_ID,
                hashes: vec![announce().info_hash, InfoHash([0xaa; 20])],
            },
        ),
    ] {
        let request = Request {
            transaction: TRANSACTION,
            body,
        };
        assert_eq!(Request::decode(&vectors.bytes(name)), Ok(request), "{name}");
    }
}

#[test]
fn udp_replies_of_the_vectors_are_read_and_written() {
    let vectors = Vectors::load();
    let announced = |peers| {
        ReplyBody::Announce(udp::AnnounceReply {
            interval_s: 1800,
            leechers: 2,
            seeders: 1,
            peers,
        })
    };
    let entry = |complete, downloaded, incomplete| ScrapeEntry {
        complete,
        downloaded,
        incomplete,
    };
    let v4 = vec![peer("10.0.0.1:6881"), peer("10.0.0.2:6882")];
    let connection_id = CONNECTION_ID;
    for (name, body) in [
        ("udp_connect_response", ReplyBody::Connect { connection_id }),
        ("udp_announce_response_v4", announced(v4)),
        (
            "udp_scrape_response",
            ReplyBody::Scrape(vec![entry(1, 7, 2), entry(0, 0, 0)]),
        ),
        (
            "udp_error",
            ReplyBody::Error("unknown connection id".into()),
        ),
        (
            "udp_announce_response_v6",
            announced(vec![peer("[2001:db8::1]:6881")]),
        ),
    ] {
        let bytes = vectors.bytes(name);
        let reply = Reply {
            transaction: TRANSACTION,
            body,
        };
        let is_v6 = name.ends_with("v6");
        let decoded = Reply::decode(&bytes, is_v6);
        if let (ReplyBody::Announce(expected), Ok(decoded)) = (&reply.body, &decoded)
            && let ReplyBody::Announce(read) = &decoded.body
        {
            assert_eq!((read.leechers, &read.peers), (2, &expected.peers), "{name}");
        }
        let mut again = Vec::new();
        decoded.as_ref().expect(name).put(&mut again);
        assert_eq!(again, bytes, "{name}");
        if !is_v6 {
            assert_eq!(decoded, Ok(reply), "{name}");
        }
    }
}

/// Heads that are refused, each with the beginning of the status that says so.
const REFUSED: [(&str, &str); 26] = [
    ("400", "GET / HTTP/1.1\nHost: x\n\n"),
    ("400", "GET / HTTP/1.1\r\nHost: x\n\r\n"),
    ("400", "GET / HTTP/1.1\r\nHost: x\r\n\n"),
    ("400", "GET / HTTP/1.1\rHost: x\r\n\r\n"),
    ("400", "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n"),
    ("400", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("400", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("400", "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tfolded\r\n\r\n",
    ),
    ("400", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    ("400", "GET / HTTP/1.1\r\nHost: x\r\nhOST: y\r\n\r\n"),
    ("400", "GET / HTTP/1.1\r\n\r\n"),
    ("400", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: identity\r\n\r\n",
    ),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n",
    ),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    ),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n",
    ),
    (
        "400",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ),
    ("400", "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n"),
    ("400", "GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n"),
    ("400", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("505", "GET /  HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("", "GET /\r\n\r\n"),
    ("505", "GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    ("405", "POST /announce HTTP/1.1\r\nHost: x\r\n\r\n"),
];

#[test]
fn heads_that_two_readers_could_understand_differently_are_refused() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(70));
    let too_large = [("431", &*long), ("431", &*many)];
    for (status, text) in REFUSED.into_iter().chain(too_large) {
        let read = |chunks: &[&[u8]]| -> Option<&'static str> {
            let found = match heads(chunks) {
                Ok(found) => found,
                Err(error) => return Some(error.status()),
            };
            found
                .iter()
                .find_map(|head| Head::parse(head).err())
                .map(HeadError::status)
        };
        let bytes = text.as_bytes();
        let whole = read(&[bytes]);
        assert!(
            whole.is_some_and(|s| s.starts_with(status)),
            "{text:?}: {whole:?}"
        );
        for cut in 1..bytes.len().min(200) {
            let (first, rest) = bytes.split_at(cut);
            assert_eq!(read(&[first, rest]), whole, "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn heads_that_are_odd_but_clear_are_read() {
    for (text, keeps_alive) in [
        ("GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET /a?b HTTP/1.0\r\n\r\n", false),
        ("GET /a?b HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (
            "GET /a?b HTTP/1.1\r\nhost:x\r\nconnection: foo , CLOSE\r\n\r\n",
            false,
        ),
        (
            "GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close, keep-alive\r\n\r\n",
            false,
        ),
        (
            "GET /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX:\r\n\r\n",
            true,
        ),
    ] {
        let head = Head::parse(text.as_bytes()).expect(text);
        assert_eq!((head.path, head.query), ("/a", "b"), "{text}");
        assert_eq!(head.keeps_alive, keeps_alive, "{text}");
    }
}

fn any_addr() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

fn any_announce() -> impl Strategy<Value = Announce> {
    use AnnounceEvent::*;
    let event = prop_oneof![
        Just(None),
        Just(Started),
        Just(Completed),
        Just(Stopped),
        Just(Paused)
    ];
    let ids = (any::<[u8; 20]>(), any::<[u8; 20]>(), any::<u16>());
    let amounts = (any::<u64>(), any::<u64>(), any::<u64>());
    let want = proptest::option::of(0..=i32::MAX as u32);
    let ip = proptest::option::of(1..=u32::MAX);
    (ids, amounts, event, want, any::<u32>(), ip).prop_map(
        |(ids, amounts, event, want, key, ip)| Announce {
            info_hash: InfoHash(ids.0),
            peer_id: PeerId(ids.1),
            port: ids.2,
            uploaded: amounts.0,
            downloaded: amounts.1,
            left: amounts.2,
            event,
            want,
            key,
            ip: ip.map(|ip| IpAddr::from(ip.to_be_bytes())),
        },
    )
}

/// The query of an announce, every byte of a value encoded.
fn query(announce: &Announce) -> String {
    let encoded = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("%{b:02x}")).collect() };
    let event = match announce.event {
        AnnounceEvent::None => "",
        AnnounceEvent::Started => "started",
        AnnounceEvent::Completed => "completed",
        AnnounceEvent::Stopped => "stopped",
        AnnounceEvent::Paused => "paused",
    };
    let mut query = format!(
        "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&event={event}&key={:x}",
        encoded(&announce.info_hash.0),
        encoded(&announce.peer_id.0),
        announce.port,
        announce.uploaded,
        announce.downloaded,
        announce.left,
        announce.key,
    );
    if let Some(want) = announce.want {
        query += &format!("&numwant={want}");
    }
    if let Some(ip) = announce.ip {
        query += &format!("&ip={}", encoded(ip.to_string().as_bytes()));
    }
    query
}

proptest! {
    #[test]
    fn an_announce_survives_udp_and_http(
        announce in any_announce(),
        transaction in any::<u32>(),
        connection_id in any::<u64>(),
    ) {
        let options = udp::Options::default();
        let body = RequestBody::Announce { connection_id, announce, options };
        let request = Request { transaction, body };
        let mut bytes = Vec::new();
        request.put(&mut bytes);
        prop_assert_eq!(bytes.len(), 98);
        prop_assert_eq!(Request::decode(&bytes), Ok(request));
        let parsed = HttpAnnounce::parse(&query(&announce));
        prop_assert_eq!(parsed.map(|parsed| parsed.announce), Ok(announce));
    }

    #[test]
    fn an_udp_reply_survives(
        addrs in proptest::collection::vec(any_addr(), 0..60),
        is_v6 in any::<bool>(),
        numbers in any::<[u32; 4]>(),
    ) {
        let peers = addrs.into_iter().filter(|addr| addr.is_ipv6() == is_v6);
        let peers: Vec<_> = peers.map(|addr| AnnouncedPeer { addr, peer_id: None }).collect();
        let count = peers.len();
        let [transaction, interval_s, leechers, seeders] = numbers;
        let body = ReplyBody::Announce(udp::AnnounceReply { interval_s, leechers, seeders, peers });
        let reply = Reply { transaction, body };
        let mut bytes = Vec::new();
        reply.put(&mut bytes);
        prop_assert_eq!(bytes.len(), 20 + count * if is_v6 { 18 } else { 6 });
        prop_assert_eq!(Reply::decode(&bytes, is_v6), Ok(reply));
    }

    #[test]
    fn an_http_reply_survives(
        mut addrs in proptest::collection::vec(any_addr(), 0..60),
        numbers in any::<[u32; 4]>(),
    ) {
        // Those of IPv4 are listed first.
        addrs.sort_by_key(SocketAddr::is_ipv6);
        let peers: Vec<_> = addrs.into_iter().map(|addr| AnnouncedPeer {
            addr,
            peer_id: Some(PeerId(*PEER_ID)),
        }).collect();
        let [interval_s, complete, downloaded, incomplete] = numbers;
        let swarm = ScrapeEntry { complete, downloaded, incomplete };
        let reply = AnnounceReply { interval_s, swarm, peers, ..AnnounceReply::default() };
        let mut bytes = Vec::new();
        reply.put(PeerForm::Dictionaries { with_ids: true }, &mut bytes);
        prop_assert_eq!(AnnounceOutcome::decode(&bytes), Ok(AnnounceOutcome::Taken(reply)));
    }
}

#[test]
fn garbage_never_panics_a_front() {
    let vectors = Vectors::load();
    let samples: Vec<Vec<u8>> = JUDGED.iter().map(|name| vectors.bytes(name)).collect();
    let mut readable = 0;
    for seed in 0..30_000 {
        let mut rng = Rng::new(seed);
        let bytes = spoil(&samples[rng.below(samples.len())], TELLING, &mut rng);
        let chunks: Vec<_> = bytes.chunks(1 + rng.below(100)).collect();
        let cut = heads(&chunks);
        assert_eq!(cut, heads(&[&bytes]), "seed {seed}");
        for head in cut.iter().flatten() {
            if let Ok(head) = Head::parse(head) {
                readable += u32::from(HttpAnnounce::parse(head.query).is_ok());
                let _ = scrape_hashes(head.query);
            }
        }
        let _ = AnnounceOutcome::decode(&bytes);
        if let Ok(request) = Request::decode(&bytes) {
            let mut again = Vec::new();
            request.put(&mut again);
            readable += 1;
            assert_eq!(again.len(), bytes.len(), "seed {seed}");
        }
        for is_v6 in [false, true] {
            if let Ok(reply) = Reply::decode(&bytes, is_v6) {
                let mut again = Vec::new();
                reply.put(&mut again);
                assert_eq!(again.is_empty(), bytes.is_empty(), "seed {seed}");
            }
        }
    }
    assert!(readable > 1000, "only {readable} readable: too wild");
}
