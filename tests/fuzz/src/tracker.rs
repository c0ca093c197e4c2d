//! What clients and trackers say to each other over HTTP and UDP, read by either side.

use std::net::IpAddr;
use std::time::Duration;

use shoal::base::{InfoHash, PeerId, Time};
use shoal::registry::{Config, Families, Registry};
use shoal::wire::announce::{
    Announce, AnnounceEvent, AnnouncedPeer, PeerList, SCRAPE_HASHES_MAX, ScrapeEntry,
};
use shoal::wire::http::client::{Response, ResponseError, ResponseReader, put_announce};
use shoal::wire::http::head::{HEAD_BYTES_MAX, Head, HeadDecoder, HeadError};
use shoal::wire::http::query::{HttpAnnounce, scrape_hashes};
use shoal::wire::http::reply::{
    AnnounceOutcome, AnnounceReply, PEERS_MAX, PeerForm, REPLY_BYTES_MAX, Retry, put_failure,
};
use shoal::wire::udp;
use shoal::wire::url::TrackerUrl;

use super::at_every_split;

/// Heads are the same however they are cut, none is longer than it may be, and each is read or refused.
pub fn http_head(data: &[u8]) {
    at_every_split(data, |chunks| {
        let (heads, error) = heads(chunks);
        for head in &heads {
            assert!(head.len() <= HEAD_BYTES_MAX && head.ends_with(b"\r\n\r\n"));
            if let Ok(head) = Head::parse(head) {
                http_query(head.query.as_bytes());
            }
        }
        (heads, error)
    });
}

fn heads(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Option<HeadError>) {
    let (mut decoder, mut heads) = (HeadDecoder::default(), Vec::new());
    for mut input in chunks.iter().copied() {
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(head)) => heads.push(head.to_vec()),
                Ok(None) => break,
                Err(error) => return (heads, Some(error)),
            }
        }
        assert!(input.is_empty() && decoder.bytes_held() <= 2 * HEAD_BYTES_MAX + 1);
    }
    (heads, None)
}

const QUERY: &str = "info_hash=%01%02345678901234567890&peer_id=-SH0001-123456789012&port=6881\
    &uploaded=1&downloaded=2&left=3&event=started&numwant=50&compact=1&key=ab&no_peer_id=1&ip=::1";

pub fn head_samples() -> Vec<Vec<u8>> {
    vec![
        format!("GET /announce?{QUERY} HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n").into(),
        b"GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
          GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
            .into(),
    ]
}

/// A query is read or refused, and no scrape asks for more than it may.
pub fn http_query(data: &[u8]) {
    let query = String::from_utf8_lossy(data);
    let _ = HttpAnnounce::parse(&query);
    if let Ok(hashes) = scrape_hashes(&query) {
        assert!((1..=SCRAPE_HASHES_MAX).contains(&hashes.len()));
    }
}

pub fn query_samples() -> Vec<Vec<u8>> {
    let scrape = b"info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=%00%0100000000000000000a";
    vec![QUERY.into(), scrape.into()]
}

/// A client takes no more from a tracker than it may, and what it understands is written so that it is understood as the
/// same.
pub fn http_reply(data: &[u8]) {
    match AnnounceOutcome::decode(data) {
        Err(_) => {}
        Ok(AnnounceOutcome::Refused { reason, retry }) => {
            let mut out = Vec::new();
            put_failure(&reason, retry, &mut out);
            let again = AnnounceOutcome::Refused { reason, retry };
            assert_eq!(AnnounceOutcome::decode(&out), Ok(again));
        }
        Ok(AnnounceOutcome::Taken(reply)) => {
            assert!(reply.peers.len() <= PEERS_MAX);
            let mut out = Vec::new();
            reply.put(PeerForm::Dictionaries { with_ids: true }, &mut out);
            assert_eq!(
                AnnounceOutcome::decode(&out),
                Ok(AnnounceOutcome::Taken(reply))
            );
        }
    }
}

fn peer(addr: &str) -> AnnouncedPeer {
    AnnouncedPeer {
        addr: addr.parse().expect("an address"),
        peer_id: Some(PeerId([3; 20])),
    }
}

pub fn reply_samples() -> Vec<Vec<u8>> {
    let reply = AnnounceReply {
        interval_s: 1800,
        interval_s_min: Some(60),
        swarm: ScrapeEntry {
            complete: 1,
            downloaded: 2,
            incomplete: 3,
        },
        external_ip: Some("10.0.0.9".parse().expect("an address")),
        peers: vec![peer("10.0.0.1:1"), peer("[2001:db8::1]:2")],
        tracker_id: Some(b"id".into()),
        warning: Some("careful".into()),
    };
    let form = |form| {
        let mut out = Vec::new();
        reply.put(form, &mut out);
        out
    };
    let failure = |retry| {
        let mut out = Vec::new();
        put_failure("why", retry, &mut out);
        out
    };
    vec![
        form(PeerForm::Compact),
        form(PeerForm::Dictionaries { with_ids: true }),
        failure(None),
        failure(Some(Retry::Never)),
        failure(Some(Retry::Minutes(5))),
    ]
}

/// A response is the same however it is cut, and no body is longer than it may be.
pub fn http_response(data: &[u8]) {
    at_every_split(data, |chunks| {
        let outcome = response(chunks);
        if let Ok(Response::Body(body)) = &outcome {
            assert!(body.len() <= REPLY_BYTES_MAX && body.len() <= data.len());
            http_reply(body);
        }
        outcome
    });
}

fn response(chunks: &[&[u8]]) -> Result<Response, ResponseError> {
    let mut reader = ResponseReader::default();
    for chunk in chunks {
        if let Some(response) = reader.received(chunk)? {
            return Ok(response);
        }
    }
    reader.ended()
}

pub fn response_samples() -> Vec<Vec<u8>> {
    let samples = [
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nd1:ai1ee",
        "HTTP/1.0 200 OK\r\n\r\nd8:intervali60e5:peers0:e",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nd1:\r\n5\r\nai1ee\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://x/y\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Encoding: gzip\r\n\r\n",
    ];
    samples.map(|sample| sample.as_bytes().to_vec()).into()
}

/// The URL of a tracker is written so that it is read as the same, and the request that goes there is one that our own
/// tracker reads. Behind a line end stands where a redirect leads.
pub fn tracker_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (url, location) = text.split_once('\n').unwrap_or((&text, "/"));
    let Ok(url) = TrackerUrl::parse(url) else {
        return;
    };
    check_url(&url);
    if let Ok(place) = url.place().redirected(location) {
        check_url(&TrackerUrl::Http(place));
    }
}

fn check_url(url: &TrackerUrl) {
    // What had to be escaped has become longer.
    match TrackerUrl::parse(&url.to_string()) {
        Err(shoal::wire::url::UrlError::TooLong) => {}
        again => assert_eq!(again.as_ref(), Ok(url)),
    }
    let _ = url.origin().to_string();
    if let TrackerUrl::Http(place) = url {
        let mut request = Vec::new();
        put_announce(place, &announce(1), Some(b"id"), &mut request);
        let mut decoder = HeadDecoder::default();
        match decoder.decode(&mut &request[..]) {
            Ok(Some(head)) => {
                let head = Head::parse(head).expect("our own request");
                let has_query = place.target.contains('?');
                let read = HttpAnnounce::parse(head.query);
                assert!(has_query || read.is_ok_and(|read| read.announce == announce(1)));
            }
            outcome => assert_eq!(outcome, Err(HeadError::TooLarge)),
        }
    }
}

pub fn url_samples() -> Vec<Vec<u8>> {
    let samples = [
        "http://tracker.example:6969/announce?key=1\n/other",
        "udp://[2001:db8::1]:80",
        "HTTP://10.0.0.1/ü%20x#y\nhttp://z/../a",
        "http://x\n?q",
        "http://x/a/b\n//y:1/c",
    ];
    samples.map(|sample| sample.as_bytes().to_vec()).into()
}

/// A request that is understood is written so that it is understood as the same.
pub fn udp_request(data: &[u8]) {
    if let Ok(request) = udp::Request::decode(data) {
        let mut out = Vec::new();
        request.put(&mut out);
        assert_eq!(out.len(), data.len());
        assert_eq!(udp::Request::decode(&out), Ok(request));
    }
}

fn announce(number: u8) -> Announce {
    Announce {
        info_hash: InfoHash([number % 3; 20]),
        peer_id: PeerId([number; 20]),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: AnnounceEvent::Started,
        want: Some(50),
        key: 7,
        ip: None,
    }
}

fn request(body: udp::RequestBody<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let transaction = 9;
    udp::Request { transaction, body }.put(&mut out);
    out
}

fn announce_request(number: u8) -> Vec<u8> {
    request(udp::RequestBody::Announce {
        connection_id: 1,
        announce: announce(number),
        options: udp::Options::default(),
    })
}

pub fn udp_request_samples() -> Vec<Vec<u8>> {
    let with_options = [announce_request(1), b"\x02\x05/path\x01\x00".into()].concat();
    let scrape = request(udp::RequestBody::Scrape {
        connection_id: 1,
        hashes: vec![InfoHash([1; 20]), InfoHash([2; 20])],
    });
    vec![request(udp::RequestBody::Connect), with_options, scrape]
}

/// A reply that is understood is written so that it is understood as the same.
pub fn udp_reply(data: &[u8]) {
    for is_v6 in [false, true] {
        if let Ok(reply) = udp::Reply::decode(data, is_v6) {
            let mut out = Vec::new();
            reply.put(&mut out);
            assert_eq!(udp::Reply::decode(&out, is_v6), Ok(reply));
        }
    }
}

pub fn udp_reply_samples() -> Vec<Vec<u8>> {
    let entry = ScrapeEntry {
        complete: 1,
        downloaded: 2,
        incomplete: 3,
    };
    let announced = |addr| {
        udp::ReplyBody::Announce(udp::AnnounceReply {
            interval_s: 1800,
            leechers: 1,
            seeders: 2,
            peers: vec![peer(addr), peer(addr)],
        })
    };
    let bodies = [
        udp::ReplyBody::Connect { connection_id: 5 },
        announced("10.0.0.1:1"),
        announced("[2001:db8::1]:2"),
        udp::ReplyBody::Scrape(vec![entry, entry]),
        udp::ReplyBody::Error("why".into()),
    ];
    let reply = |body| {
        let mut out = Vec::new();
        let transaction = 9;
        udp::Reply { transaction, body }.put(&mut out);
        out
    };
    bodies.map(reply).into()
}

/// The longest datagram in a sequence of them.
const DATAGRAM_BYTES: usize = 98;

/// A tracker that takes whatever datagrams announce: each is of 98 bytes, behind one byte for its source and one for the
/// time that passes. Its books stay right, nobody is named to himself, and no reply is longer than it may be.
pub fn announces(data: &[u8]) {
    let mut registry = Registry::new(Config {
        is_open: true,
        open_swarms_max: 4,
        foreign_max: 20,
        named_max: 10,
        ..Config::new(1)
    });
    let mut now = Time::ZERO;
    for step in data.chunks(2 + DATAGRAM_BYTES).take(64) {
        let [from, passed, datagram @ ..] = step else {
            break;
        };
        now += Duration::from_secs(u64::from(*passed) * u64::from(*passed));
        registry.handle_timeout(now);
        let ip: IpAddr = match from % 4 {
            0 => [127, 0, 0, 1].into(),
            1 => [0xfe80, 0, 0, 0, 0, 0, 0, u16::from(*from)].into(),
            2 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(*from)].into(),
            _ => [192, 0, 2, *from].into(),
        };
        match udp::Request::decode(datagram).map(|request| request.body) {
            Ok(udp::RequestBody::Announce { announce, .. }) => {
                let mut peers = PeerList::default();
                let announced = registry.announce(now, &announce, ip, Families::Both, &mut peers);
                if announced.is_ok() {
                    let own = |peer: &AnnouncedPeer| (peer.addr.ip(), peer.addr.port());
                    assert!(peers.iter().all(|peer| own(&peer) != (ip, announce.port)));
                    assert!(peers.len() <= 10);
                }
            }
            Ok(udp::RequestBody::Scrape { hashes, .. }) => {
                hashes
                    .into_iter()
                    .for_each(|hash| _ = registry.figures(hash));
            }
            _ => {}
        }
        registry.check();
    }
}

pub fn announces_samples() -> Vec<Vec<u8>> {
    let step = |number: u8| [vec![number, 3], announce_request(number)].concat();
    vec![(0..12).flat_map(step).collect(), step(7)]
}
