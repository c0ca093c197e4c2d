//! Announce and scrape over HTTP.

use std::io::Write;

use shoal::base::InfoHash;
use shoal::wire::announce::{AnnounceEvent, ScrapeEntry};
use shoal::wire::bencode::{self, Limits};
use shoal::wire::http::reply::AnnounceOutcome;

use crate::client::{
    Http, announce, at_v4, at_v6, encoded, ports, start, start_with_content, target,
};
use crate::harness::{PATIENCE, peer_id};

fn reason(outcome: AnnounceOutcome) -> String {
    match outcome {
        AnnounceOutcome::Refused { reason, .. } => reason,
        taken @ AnnounceOutcome::Taken(_) => panic!("not refused: {taken:?}"),
    }
}

#[test]
fn the_start_line_tells_where_each_front_is() {
    let tracker = start(&["--udp", "127.0.0.1:0"]);
    let port = tracker.addr.port();
    let expected = format!("native+http [::]:{port} udp 127.0.0.1:{port} state none");
    assert!(
        tracker.start_line.contains(&expected),
        "{}",
        tracker.start_line
    );
    let tracker = start(&[]);
    let port = tracker.addr.port();
    let expected = format!("native+http [::]:{port} udp [::]:{port} state none");
    assert!(
        tracker.start_line.contains(&expected),
        "{}",
        tracker.start_line
    );
    let tracker = start(&["--udp", "off"]);
    assert!(
        !tracker.start_line.contains("udp"),
        "{}",
        tracker.start_line
    );
}

#[test]
fn members_are_told_of_one_another_in_the_form_that_they_ask_for() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    let first = http.announce(&announce(hash, 1));
    assert_eq!(first.peers, []);
    assert_eq!(first.external_ip, Some([127, 0, 0, 1].into()));
    assert_eq!((first.interval_s, first.interval_s_min), (30, Some(30)));
    let mut seed = announce(hash, 2);
    seed.left = 0;
    let second = http.announce(&seed);
    assert_eq!(ports(second.peers.iter().map(|peer| peer.addr)), [1001]);
    let swarm = ScrapeEntry {
        complete: 1,
        downloaded: 0,
        incomplete: 1,
    };
    assert_eq!(second.swarm, swarm);
    let mut native = tracker.client(10);
    native.join(hash, 8, false);
    for (more, with_ids) in [
        ("&compact=1", false),
        ("&compact=0", true),
        ("&compact=0&no_peer_id=1", false),
    ] {
        let reply = http.announce_with(&announce(hash, 3), more);
        assert_eq!(
            ports(reply.peers.iter().map(|peer| peer.addr)),
            [1001, 1002, 1010]
        );
        // What calls itself what is known of native members only.
        let ids = reply.peers.iter().filter_map(|peer| peer.peer_id);
        let expected = with_ids.then_some(peer_id(10));
        assert!(ids.eq(expected), "{more}");
    }
    drop(native);
    let nobody = http.announce_with(&announce(hash, 3), "&numwant=0");
    assert_eq!(nobody.peers, []);
    let mut stopped = announce(hash, 2);
    stopped.event = AnnounceEvent::Stopped;
    assert_eq!(http.announce(&stopped).swarm.complete, 0);
}

#[test]
fn requests_in_one_go_are_answered_in_order_on_one_connection() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    let mut bytes = Vec::new();
    for number in 1..=50 {
        let target = target(&announce(hash, number), "");
        let _ = write!(
            bytes,
            "GET {target} HTTP/1.1\r\nHost: x\r\n\r\nGET /no HTTP/1.1\r\nHost: x\r\n\r\n"
        );
    }
    bytes.extend_from_slice(b"GET /scrape HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    http.send(&bytes);
    for number in 1..=50 {
        let AnnounceOutcome::Taken(reply) = http.next().expect("an answer").outcome() else {
            panic!("refused");
        };
        assert_eq!(reply.swarm.incomplete, number);
        assert_eq!(http.next().expect("an answer").status(), 404);
    }
    let last = http.next().expect("an answer");
    assert!(last.head.contains("\r\nConnection: close\r\n"));
    assert_eq!(reason(last.outcome()), "info_hash is missing");
    assert_eq!(http.next(), None);
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_answered() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    let target = target(&announce(hash, 1), "");
    for byte in format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").bytes() {
        http.send(&[byte]);
    }
    assert!(matches!(
        http.next().expect("an answer").outcome(),
        AnnounceOutcome::Taken(_)
    ));
}

#[test]
fn an_old_client_is_told_whether_the_connection_goes_on() {
    let (tracker, _) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    http.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let kept = http.next().expect("an answer");
    assert!(kept.head.contains("\r\nConnection: keep-alive\r\n"));
    http.send(b"GET /x HTTP/1.0\r\n\r\n");
    assert!(
        http.next()
            .expect("an answer")
            .head
            .contains("\r\nConnection: close\r\n")
    );
    assert_eq!(http.next(), None);
}

#[test]
fn requests_that_are_wrong_are_told_so_and_the_connection_ends() {
    let (tracker, _) = start_with_content();
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000));
    for (status, request) in [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: x\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (405, "POST /announce HTTP/1.1\r\nHost: x\r\n\r\n"),
        (405, "HEAD /announce HTTP/1.1\r\nHost: x\r\n\r\n"),
        (505, "GET / HTTP/3.0\r\nHost: x\r\n\r\n"),
        (431, &long),
    ] {
        let mut http = Http::connect(at_v4(&tracker));
        http.send(request.as_bytes());
        // A second request behind it must not be taken for one.
        let _ = http
            .stream
            .write_all(b"GET /scrape HTTP/1.1\r\nHost: x\r\n\r\n");
        if let Some(response) = http.next() {
            assert_eq!(response.status(), status, "{request:?}");
            assert!(response.head.contains("\r\nConnection: close\r\n"));
        }
        assert_eq!(http.next(), None, "{request:?}");
    }
}

#[test]
fn announces_that_are_refused_say_why_and_the_connection_goes_on() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    let whole = target(&announce(hash, 1), "");
    for (target, why) in [
        ("/announce".to_owned(), "info_hash is missing"),
        (
            whole.replace("info_hash=%", "info_hash=x%"),
            "info_hash is not 20 bytes",
        ),
        (whole.replace("&peer_id=", "&id="), "peer_id is missing"),
        (
            whole.replace("&port=1001", "&port=66666"),
            "port is no port",
        ),
        (
            whole.replace("&left=1", "&left=x"),
            "uploaded, downloaded or left is no number",
        ),
        (
            target(&announce(InfoHash([3; 20]), 1), ""),
            "the content is not known here",
        ),
    ] {
        assert_eq!(reason(http.get(&target).outcome()), why, "{target}");
    }
    assert_eq!(http.announce(&announce(hash, 1)).swarm.incomplete, 1);
}

#[test]
fn a_scrape_tells_of_the_contents_that_are_known() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    let mut member = announce(hash, 1);
    http.announce(&member);
    for event in [AnnounceEvent::Completed, AnnounceEvent::Completed] {
        (member.event, member.left) = (event, 0);
        http.announce(&member);
    }
    let unknown = encoded(&[1; 20]);
    let hash = encoded(&hash.0);
    let target = format!("/scrape?info_hash={hash}&info_hash={unknown}&info_hash={hash}");
    let response = http.get(&target);
    let text = String::from_utf8_lossy(&response.body);
    let figures = "d8:completei1e10:downloadedi1e10:incompletei0eee";
    assert!(text.contains(figures), "{text}");
    let value = bencode::decode(&response.body, Limits::METAINFO).expect("canonical");
    let files = value
        .as_dictionary()
        .and_then(|entries| entries.get(b"files"));
    let files = files
        .and_then(bencode::Value::as_dictionary)
        .expect("files");
    assert_eq!(files.entries().count(), 1);
}

#[test]
fn an_open_tracker_tracks_any_hash() {
    let tracker = start(&["--open", "--interval", "7:9", "--numwant", "2"]);
    let mut http = Http::connect(at_v6(&tracker));
    let hash = InfoHash([9; 20]);
    for number in 1..=4 {
        http.announce(&announce(hash, number));
    }
    let reply = http.announce(&announce(hash, 5));
    assert_eq!((reply.interval_s, reply.interval_s_min), (7, Some(7)));
    assert_eq!((reply.peers.len(), reply.swarm.incomplete), (2, 5));
    assert_eq!(reply.external_ip, Some([0, 0, 0, 0, 0, 0, 0, 1].into()));
    assert!(reply.peers.iter().all(|peer| peer.addr.is_ipv6()));
}

#[test]
fn an_address_that_is_said_is_believed_of_this_machine_alone_and_given_in_its_scope() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    let mut said = |number, ip: &str| {
        let reply = http.announce_with(&announce(hash, number), &format!("&ip={ip}"));
        reply
            .peers
            .iter()
            .map(|peer| peer.addr.to_string())
            .collect::<Vec<_>>()
    };
    assert!(said(1, "10.1.2.3").is_empty());
    assert!(
        said(2, "8.8.8.8").is_empty(),
        "a private address goes to nobody outside"
    );
    assert_eq!(
        said(3, "10.1.2.4").len(),
        2,
        "one in its scope, and everybody a global one"
    );
    // Nobody can be at a multicast address, so the source counts; a global address is given to everybody.
    assert_eq!(said(4, "224.0.0.1"), ["8.8.8.8:1002"]);
    let mut named = said(5, "127.0.0.9");
    named.sort_unstable();
    assert_eq!(named, ["127.0.0.1:1004", "8.8.8.8:1002"]);
}

#[test]
fn a_head_that_does_not_end_is_closed_at_its_deadline() {
    let (tracker, _) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    http.send(b"GET /announce HTTP/1.1\r\nHost: ");
    let begun = std::time::Instant::now();
    assert_eq!(http.next(), None);
    assert!(begun.elapsed() < PATIENCE);
}
