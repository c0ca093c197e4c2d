//! The announcer against scripted trackers, without sockets: the test is the network, the name server and the clock.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::announcer::Announcer;
use super::{Ask, Identity, Output, Totals};
use crate::base::{InfoHash, PeerId, Rng, Time};
use crate::wire::announce::{AnnounceEvent, AnnouncedPeer};
use crate::wire::udp::{AnnounceReply, Reply, ReplyBody, Request, RequestBody};

/// An announcer and its world. A host of one letter is at 10.0.0.(letter); `local` and `six` are at loopback addresses.
struct World {
    announcer: Announcer,
    now: Time,
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn addrs_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let ip: IpAddr = match host.as_bytes() {
        b"local" => [127, 0, 0, 1].into(),
        b"six" => [0, 0, 0, 0, 0, 0, 0, 1].into(),
        b"both" => return Ok(vec![addr("[2001:db8::1]:1"), addr("10.0.0.1:1")]),
        [letter] => [10, 0, 0, *letter].into(),
        _ => return Err(io::Error::other("no such host")),
    };
    Ok(vec![SocketAddr::new(ip, port)])
}

impl World {
    fn new(tiers: &[&[&str]], left: Option<u64>) -> Self {
        let tier = |urls: &&[&str]| urls.iter().map(|&url| url.to_owned()).collect();
        let tiers: Vec<Vec<String>> = tiers.iter().map(tier).collect();
        let identity = Identity {
            id: PeerId(*b"-SH0010-abcdefghijkl"),
            port: 7000,
            key: 9,
        };
        let totals = Totals {
            uploaded: 1,
            downloaded: 2,
            left,
        };
        let hash = InfoHash([5; 20]);
        let rng = Rng::new(1);
        Self {
            announcer: Announcer::new(Time::ZERO, identity, hash, &tiers, totals, rng),
            now: Time::ZERO,
        }
    }

    /// What is to be done, but for names, which are resolved at once.
    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.announcer.poll_output() {
            if let Output::Resolve { ask, host, port } = output {
                let found = addrs_of(&host, port);
                self.announcer.resolved(self.now, ask, found);
            } else {
                outputs.push(output);
            }
        }
        outputs
    }

    /// Lets time pass until something is due, and gives what is to be done then.
    fn next(&mut self) -> Vec<Output> {
        let due = self.announcer.poll_timeout().expect("something is due");
        self.now = self.now.max(due);
        self.announcer.handle_timeout(self.now);
        self.outputs()
    }

    /// The next outputs, which must be a dial; accepts it, and gives the request.
    fn request(&mut self) -> (Ask, SocketAddr, String) {
        let outputs = self.next();
        self.accept(&outputs)
    }

    /// Accepts the one dial among the outputs.
    fn accept(&mut self, outputs: &[Output]) -> (Ask, SocketAddr, String) {
        let dials: Vec<_> = outputs.iter().filter_map(dial).collect();
        let [(ask, addr)] = dials[..] else {
            panic!("one dial: {outputs:?}");
        };
        assert!(self.announcer.connected(self.now, ask));
        match &self.outputs()[..] {
            [Output::Send { ask: again, bytes }] if *again == ask => {
                (ask, addr, String::from_utf8_lossy(bytes).into_owned())
            }
            other => panic!("a request: {other:?}"),
        }
    }

    fn respond(&mut self, ask: Ask, response: &str) -> Vec<Output> {
        self.announcer.received(self.now, ask, response.as_bytes());
        self.outputs()
    }

    /// Answers with a body, and gives what is done then, but for the closing.
    fn answer(&mut self, ask: Ask, body: &str) -> Vec<Output> {
        let len = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
        let mut outputs = self.respond(ask, &(head + body));
        assert_eq!(outputs.remove(0), Output::Close { ask });
        outputs
    }

    fn refuse(&mut self, outputs: &[Output]) -> Vec<Output> {
        let (ask, _) = outputs.iter().find_map(dial).expect("a dial");
        let error = io::ErrorKind::ConnectionRefused.into();
        self.announcer.dial_failed(self.now, ask, &error);
        self.outputs()
    }

    /// A datagram from a tracker.
    fn datagram(&mut self, from: SocketAddr, transaction: u32, body: ReplyBody) -> Vec<Output> {
        let mut bytes = Vec::new();
        Reply { transaction, body }.put(&mut bytes);
        self.announcer.datagram(self.now, from, &bytes);
        self.outputs()
    }
}

fn dial(output: &Output) -> Option<(Ask, SocketAddr)> {
    match *output {
        Output::Connect { ask, addr } => Some((ask, addr)),
        _ => None,
    }
}

/// The datagrams among the outputs: whither, transaction, event if it is an announce.
fn datagrams(outputs: &[Output]) -> Vec<(SocketAddr, u32, Option<AnnounceEvent>)> {
    let read = |output: &Output| match output {
        Output::Datagram { to, bytes } => {
            let request = Request::decode(bytes).expect("a request");
            let event = match request.body {
                RequestBody::Connect => None,
                RequestBody::Announce { announce, .. } => Some(announce.event),
                RequestBody::Scrape { .. } => panic!("nobody scrapes"),
            };
            Some((*to, request.transaction, event))
        }
        _ => None,
    };
    outputs.iter().filter_map(read).collect()
}

fn warnings(outputs: &[Output]) -> Vec<&str> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Warn(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// The event of a request.
fn event(request: &str) -> &str {
    let (_, rest) = request.split_once("&event=").unwrap_or(("", ""));
    rest.split(['&', ' ']).next().unwrap_or_default()
}

fn connection(connection_id: u64) -> ReplyBody {
    ReplyBody::Connect { connection_id }
}

fn taken(interval_s: u32, peers: &[&str]) -> ReplyBody {
    let peer = |text: &&str| AnnouncedPeer {
        addr: addr(text),
        peer_id: None,
    };
    ReplyBody::Announce(AnnounceReply {
        interval_s,
        leechers: 0,
        seeders: 0,
        peers: peers.iter().map(peer).collect(),
    })
}

const TAKEN: &str = "d8:intervali900e5:peers0:e";

#[test]
fn it_says_started_first_and_nothing_in_particular_after_the_interval() {
    let mut world = World::new(&[&["http://a/announce"]], Some(10));
    let (ask, to, request) = world.request();
    assert_eq!(to, addr("10.0.0.97:80"));
    assert_eq!(event(&request), "started");
    for part in [
        "&port=7000&",
        "&uploaded=1&",
        "&downloaded=2&",
        "&left=10&",
        "&compact=1",
    ] {
        assert!(request.contains(part), "{part}: {request}");
    }
    let body = "d8:intervali90e5:peers12:\x0a\0\0\x01\x1a\x61\x0a\0\0\x02\0\0e";
    assert_eq!(
        world.answer(ask, body),
        [Output::Found(vec![addr("10.0.0.1:6753")])],
        "and nobody at port 0"
    );
    let start = world.now;
    let (_, _, request) = world.request();
    assert_eq!(world.now.since(start), seconds(90));
    assert_eq!(event(&request), "");
}

#[test]
fn the_next_tracker_is_asked_only_when_those_before_it_failed() {
    let mut world = World::new(&[&["http://a"], &["http://b"], &["http://c"]], Some(10));
    let first = world.next();
    let second = world.refuse(&first);
    let shown = warnings(&second);
    assert!(shown[0].starts_with("tracker http://a: "), "{shown:?}");
    let (ask, to, request) = world.accept(&second);
    assert_eq!((to, event(&request)), (addr("10.0.0.98:80"), "started"));
    world.answer(ask, TAKEN);
    // The first is tried again when its pause is over, and fails ever longer; the second stands in for it meanwhile.
    for _ in 0..3 {
        let again = world.next();
        assert_eq!(
            dial(&again[0]).map(|(_, to)| to),
            Some(addr("10.0.0.97:80"))
        );
        let refused = world.refuse(&again);
        assert!(warnings(&refused).is_empty(), "that is no news");
    }
    // When it answers, nobody asks the second any more.
    let (ask, to, request) = world.request();
    assert_eq!((to, event(&request)), (addr("10.0.0.97:80"), "started"));
    world.answer(ask, TAKEN);
    for _ in 0..3 {
        let (ask, to, request) = world.request();
        assert_eq!((to, event(&request)), (addr("10.0.0.97:80"), ""));
        world.answer(ask, TAKEN);
    }
}

#[test]
fn who_answered_is_the_first_of_its_tier_from_then_on() {
    let mut world = World::new(&[&["http://a", "http://b", "http://c"]], Some(10));
    let mut outputs = world.next();
    for _ in 0..2 {
        outputs = world.refuse(&outputs);
    }
    let (ask, last, _) = world.accept(&outputs);
    world.answer(ask, TAKEN);
    for _ in 0..3 {
        let (ask, to, _) = world.request();
        assert_eq!(to, last, "the others are not even tried");
        world.answer(ask, TAKEN);
    }
}

#[test]
fn when_all_fail_they_are_tried_again_after_pauses_that_grow() {
    let mut world = World::new(&[&["http://a"], &["http://nowhere"]], Some(10));
    let mut times = Vec::new();
    for _ in 0..12 {
        let outputs = world.next();
        if outputs.iter().any(|output| dial(output).is_some()) {
            world.refuse(&outputs);
            times.push(world.now.as_secs_f64());
        }
    }
    let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (at, pause) in pauses.iter().enumerate() {
        let expected = 5.0 * f64::from(1 << at);
        assert!(
            (0.75 * expected..1.25 * expected).contains(pause),
            "{pauses:?}"
        );
    }
    assert!(pauses.len() >= 4, "{pauses:?}");
}

#[test]
fn completed_is_told_once_and_at_once() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.answer(ask, TAKEN);
    let start = world.now;
    world.announcer.complete(world.now);
    let (ask, _, request) = world.request();
    assert_eq!((world.now, event(&request)), (start, "completed"));
    assert!(request.contains("&left=0&"), "{request}");
    world.answer(ask, TAKEN);
    world.announcer.complete(world.now);
    let (_, _, request) = world.request();
    assert_eq!(
        (world.now.since(start), event(&request)),
        (seconds(900), "")
    );
}

#[test]
fn completed_waits_for_the_announce_under_way_and_survives_a_failure() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.announcer.complete(world.now);
    let outputs = world.answer(ask, TAKEN);
    world.refuse(&outputs);
    let (ask, _, request) = world.request();
    assert_eq!(event(&request), "completed");
    world.answer(ask, TAKEN);
    let (_, _, request) = world.request();
    assert_eq!(event(&request), "");
}

#[test]
fn who_had_everything_at_the_start_never_completed_it() {
    let mut world = World::new(&[&["http://a"]], Some(0));
    let (ask, _, request) = world.request();
    assert!(request.contains("&left=0&") && event(&request) == "started");
    world.answer(ask, TAKEN);
    world.announcer.complete(world.now);
    let (_, _, request) = world.request();
    assert_eq!((world.now.as_secs_f64(), event(&request)), (900.0, ""));
}

#[test]
fn a_magnet_link_misses_something_and_may_turn_out_to_miss_nothing() {
    let mut world = World::new(&[&["http://a"]], None);
    let (ask, _, request) = world.request();
    assert!(request.contains("&left=16384&"), "{request}");
    world.answer(ask, TAKEN);
    let totals = Totals {
        left: Some(0),
        ..Totals::default()
    };
    world.announcer.set_totals(totals);
    let (_, _, request) = world.request();
    assert!(request.contains("&left=0&"), "{request}");
    assert_eq!(event(&request), "");
    assert_eq!(world.now.as_secs_f64(), 60.0, "until then it lacked peers");
}

#[test]
fn every_tracker_that_knows_us_hears_that_we_leave() {
    let mut world = World::new(&[&["http://a"], &["udp://b:1/x"], &["http://c"]], Some(10));
    let first = world.next();
    let connect = world.refuse(&first);
    let [(b, transaction, None)] = datagrams(&connect)[..] else {
        panic!("{connect:?}");
    };
    let announce = world.datagram(b, transaction, connection(77));
    let [(_, transaction, Some(AnnounceEvent::Started))] = datagrams(&announce)[..] else {
        panic!("{announce:?}");
    };
    world.datagram(b, transaction, taken(900, &[]));
    // The first comes back, and is asked but has not answered when we leave.
    let (_, a, _) = world.request();
    world.announcer.stop(world.now);
    world.announcer.stop(world.now);
    let outputs = world.outputs();
    let [(to, transaction, Some(AnnounceEvent::Stopped))] = datagrams(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(to, b);
    let (ask, to, request) = world.accept(&outputs);
    assert_eq!((to, event(&request)), (a, "stopped"));
    assert!(request.contains("&numwant=0"), "{request}");
    assert!(!world.announcer.is_over());
    world.answer(ask, TAKEN);
    world.datagram(b, transaction, taken(900, &["10.0.0.1:1"]));
    assert!(world.announcer.is_over());
    assert_eq!(world.announcer.poll_timeout(), None);
}

#[test]
fn leaving_takes_two_seconds_at_most_and_none_where_nobody_knows_us() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.answer(ask, TAKEN);
    world.announcer.stop(world.now);
    let (ask, ..) = {
        let outputs = world.outputs();
        world.accept(&outputs)
    };
    let start = world.now;
    assert_eq!(world.next(), [Output::Close { ask }]);
    assert_eq!(world.now.since(start), seconds(2));
    assert!(world.announcer.is_over());
    let mut world = World::new(&[&["http://a"]], Some(10));
    world.next();
    world.announcer.stop(world.now);
    assert!(world.announcer.is_over(), "the request never left");
    let mut world = World::new(&[], Some(10));
    assert_eq!(world.announcer.poll_timeout(), None);
    world.announcer.stop(world.now);
    assert!(world.announcer.is_over());
}

#[test]
fn a_datagram_counts_only_from_the_tracker_and_with_its_ids() {
    let mut world = World::new(&[&["udp://a:1/announce?x"]], Some(10));
    let outputs = world.next();
    let [(a, transaction, None)] = datagrams(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(a, addr("10.0.0.97:1"));
    for (from, transaction) in [
        (a, transaction ^ 1),
        (addr("10.0.0.97:2"), transaction),
        (addr("10.0.0.98:1"), transaction),
    ] {
        assert!(world.datagram(from, transaction, connection(5)).is_empty());
    }
    assert!(world.datagram(a, transaction, taken(1, &[])).is_empty());
    let outputs = world.datagram(a, transaction, connection(5));
    let Some(Output::Datagram { bytes, .. }) = outputs.first() else {
        panic!("{outputs:?}");
    };
    let request = Request::decode(bytes).expect("a request");
    let RequestBody::Announce {
        connection_id,
        announce,
        options,
    } = request.body
    else {
        panic!("an announce");
    };
    assert_eq!(connection_id, 5);
    assert_eq!(options.url_data(), b"/announce?x");
    assert_eq!((announce.port, announce.left), (7000, 10));
    let again = world.datagram(a, transaction, connection(6));
    assert!(again.is_empty(), "it was answered");
    let wrong = world.datagram(a, request.transaction ^ 1, taken(9, &["10.0.0.1:1"]));
    assert!(wrong.is_empty());
    assert_eq!(
        world.datagram(a, request.transaction, taken(9, &["10.0.0.1:1"])),
        [Output::Found(vec![addr("10.0.0.1:1")])]
    );
}

#[test]
fn a_connection_is_used_for_a_minute() {
    let mut world = World::new(&[&["udp://a:1"]], Some(10));
    let mut events = Vec::new();
    let mut outputs = world.next();
    while events.len() < 8 {
        for (to, transaction, event) in datagrams(&outputs) {
            events.push(event.is_some());
            let body = match event {
                None => connection(1),
                Some(_) => taken(25, &[]),
            };
            outputs = world.datagram(to, transaction, body);
        }
        if datagrams(&outputs).is_empty() {
            outputs = world.next();
        }
    }
    // At 0 s, 25 s, 50 s; then a new one at 75 s.
    assert_eq!(events, [false, true, true, true, false, true, true, true]);
}

#[test]
fn what_is_not_answered_is_sent_again_after_15_s_times_powers_of_two() {
    let mut world = World::new(&[&["udp://a:1"]], Some(10));
    let mut times = Vec::new();
    let mut transactions = Vec::new();
    for _ in 0..9 {
        for (_, transaction, _) in datagrams(&world.next()) {
            times.push(world.now.as_secs_f64() as u64);
            transactions.push(transaction);
        }
    }
    assert_eq!(times, [0, 15, 45, 105, 225, 465, 945, 1905, 3825]);
    transactions.dedup();
    assert_eq!(
        transactions.len(),
        1,
        "a late answer to the first still counts"
    );
    let outputs = world.next();
    assert_eq!(world.now.as_secs_f64() as u64, 3825 + 15 * 256);
    assert!(datagrams(&outputs).is_empty());
    assert!(warnings(&outputs)[0].contains("no answer"), "{outputs:?}");
}

#[test]
fn a_second_silence_is_enough_where_there_is_another_tracker() {
    let mut world = World::new(&[&["udp://a:1"], &["http://b"]], Some(10));
    world.next();
    assert_eq!(datagrams(&world.next()).len(), 1);
    let outputs = world.next();
    assert_eq!(world.now.as_secs_f64(), 45.0);
    let (_, to, _) = world.accept(&outputs);
    assert_eq!(to, addr("10.0.0.98:80"));
}

#[test]
fn every_address_of_a_name_is_tried_at_once_over_udp_and_in_turn_over_http() {
    let mut world = World::new(&[&["udp://both:1"]], Some(10));
    let outputs = world.next();
    let places = datagrams(&outputs);
    let tos: Vec<_> = places.iter().map(|place| place.0).collect();
    assert_eq!(tos, [addr("[2001:db8::1]:1"), addr("10.0.0.1:1")]);
    let outputs = world.datagram(places[1].0, places[1].1, connection(3));
    assert_eq!(datagrams(&outputs)[0].0, places[1].0);
    let late = world.datagram(places[0].0, places[0].1, connection(4));
    assert!(late.is_empty());
    let mut world = World::new(&[&["http://both:1"]], Some(10));
    let outputs = world.next();
    let outputs = world.refuse(&outputs);
    assert_eq!(
        dial(&outputs[0]).map(|(_, to)| to),
        Some(addr("10.0.0.1:1"))
    );
}

#[test]
fn over_ipv6_the_peers_are_ipv6() {
    let mut world = World::new(&[&["udp://six:1"]], Some(10));
    let outputs = world.next();
    let (six, transaction, _) = datagrams(&outputs)[0];
    let outputs = world.datagram(six, transaction, connection(3));
    let (_, transaction, _) = datagrams(&outputs)[0];
    let outputs = world.datagram(six, transaction, taken(60, &["[2001:db8::9]:5", "[::1]:6"]));
    let found = vec![addr("[2001:db8::9]:5"), addr("[::1]:6")];
    assert!(outputs.contains(&Output::Found(found)), "{outputs:?}");
}

#[test]
fn an_error_over_udp_is_told_and_leads_to_the_next_tracker() {
    let mut world = World::new(&[&["udp://a:1"], &["http://b"]], Some(10));
    let outputs = world.next();
    let (a, transaction, _) = datagrams(&outputs)[0];
    let error = ReplyBody::Error("full\u{1b}[2J".to_owned());
    let outputs = world.datagram(a, transaction, error);
    assert_eq!(warnings(&outputs), ["tracker udp://a:1: full\\u{1b}[2J"]);
    world.accept(&outputs);
}

#[test]
fn three_redirects_are_followed_but_only_where_we_can_go() {
    let mut world = World::new(&[&["http://a/x"]], Some(10));
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n");
    let (mut ask, ..) = world.request();
    for hop in 1..=3 {
        let outputs = world.respond(ask, &redirect(&format!("http://b/{hop}?k=v")));
        assert_eq!(outputs[0], Output::Close { ask });
        let (next, to, request) = world.accept(&outputs);
        assert_eq!(to, addr("10.0.0.98:80"));
        assert!(
            request.starts_with(&format!("GET /{hop}?k=v&info_hash=")),
            "{request}"
        );
        ask = next;
    }
    let outputs = world.respond(ask, &redirect("/again"));
    assert!(warnings(&outputs)[0].contains("too often"), "{outputs:?}");
    let (ask, ..) = world.request();
    let outputs = world.respond(ask, &redirect("https://b/"));
    assert!(outputs.contains(&Output::Close { ask }), "{outputs:?}");
    assert_eq!(world.announcer.poll_output(), None);
    assert!(world.announcer.poll_timeout() > Some(world.now));
}

#[test]
fn an_announce_over_http_takes_15_s_at_most() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.now += seconds(14);
    assert!(world.respond(ask, "HTTP/1.1 200 OK\r\n").is_empty());
    let outputs = world.next();
    assert_eq!(world.now.as_secs_f64(), 15.0);
    assert!(outputs.contains(&Output::Close { ask }));
    assert!(warnings(&outputs)[0].contains("no answer in time"));
    let late = world.respond(ask, "\r\nd8:intervali5ee");
    assert!(late.is_empty());
}

#[test]
fn what_a_web_server_says_instead_is_told() {
    for (response, expected) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "malformed"),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
            "compressed",
        ),
    ] {
        let mut world = World::new(&[&["http://a/secret"]], Some(10));
        let (ask, ..) = world.request();
        let outputs = world.respond(ask, response);
        let shown = warnings(&outputs)[0];
        assert!(shown.starts_with("tracker http://a: "), "{shown}");
        assert!(shown.contains(expected), "{shown}");
    }
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    assert!(
        world
            .respond(ask, "HTTP/1.0 200 OK\r\n\r\nd8:intervali9e")
            .is_empty()
    );
    world.respond(ask, "5:peers0:e");
    world.announcer.closed(world.now, ask, None);
    assert_eq!(world.outputs(), [Output::Close { ask }]);
    world.request();
    assert_eq!(world.now.as_secs_f64(), 9.0);
}

#[test]
fn a_refusal_says_when_to_come_again_or_never() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    let outputs = world.answer(ask, "d14:failure reason4:full8:retry ini5ee");
    assert_eq!(warnings(&outputs), ["tracker http://a: full"]);
    let (ask, ..) = world.request();
    assert_eq!(world.now.as_secs_f64(), 300.0);
    let outputs = world.answer(ask, "d14:failure reason4:gone8:retry in5:nevere");
    let expected = "tracker http://a: gone, and wants no more announces";
    assert_eq!(warnings(&outputs), [expected]);
    assert_eq!(world.announcer.poll_timeout(), None);
    world.announcer.stop(world.now);
    assert!(world.announcer.is_over());
}

#[test]
fn what_a_tracker_says_besides_is_passed_on_once() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let body = "d11:external ip4:\x0a\0\0\x078:intervali60e5:peersld2:ip9:127.0.0.14:porti1eed2:ip8:10.0.0.54:porti6eee10:tracker id3:abc15:warning message6:slow\x1b\x07e";
    let (ask, _, request) = world.request();
    assert!(!request.contains("trackerid"));
    let outputs = world.answer(ask, body);
    let seen_at = Output::ExternalIp([10, 0, 0, 7].into());
    let found = Output::Found(vec![addr("10.0.0.5:6")]);
    let warned = Output::Warn("tracker http://a: slow\\u{1b}\\u{7}".to_owned());
    assert_eq!(
        outputs,
        [warned, seen_at, found],
        "and nobody on this machine"
    );
    let (ask, _, request) = world.request();
    assert!(request.contains("&trackerid=abc"), "{request}");
    let outputs = world.answer(ask, body);
    assert_eq!(outputs.len(), 1, "{outputs:?}");
}

#[test]
fn whoever_lacks_peers_asks_earlier_but_not_before_the_tracker_allows_it() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.answer(ask, "d8:intervali900e12:min intervali45e5:peers0:e");
    world.now += seconds(2);
    world.announcer.lack_peers();
    let (ask, ..) = world.request();
    assert_eq!(world.now.as_secs_f64(), 45.0);
    world.answer(ask, "d8:intervali900e12:min intervali45e5:peers0:e");
    world.request();
    assert_eq!(world.now.as_secs_f64(), 945.0, "nobody is lacking any more");
}

/// Chooses an outcome for whatever is under way, or none.
fn happen(world: &mut World, rng: &mut Rng, under_way: &mut Vec<Output>) {
    let at = rng.below(under_way.len() + 1);
    let Some(output) = under_way.get(at) else {
        world.now += Duration::from_millis(rng.below(4000) as u64);
        return world.announcer.handle_timeout(world.now);
    };
    let now = world.now;
    match *output {
        Output::Resolve {
            ask,
            ref host,
            port,
        } => {
            world.announcer.resolved(now, ask, addrs_of(host, port));
        }
        Output::Connect { ask, .. } if rng.below(3) > 0 => {
            world.announcer.connected(now, ask);
        }
        Output::Connect { ask, .. } => {
            let error = io::ErrorKind::ConnectionRefused.into();
            world.announcer.dial_failed(now, ask, &error);
        }
        Output::Send { ask, .. } => match rng.below(4) {
            0 => world.announcer.closed(now, ask, None),
            1 => world
                .announcer
                .received(now, ask, b"HTTP/1.1 500 No\r\n\r\n"),
            _ => {
                let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{TAKEN}");
                world.announcer.received(now, ask, response.as_bytes());
            }
        },
        Output::Datagram { to, ref bytes } => {
            let request = Request::decode(bytes).expect("a request");
            let body = match (request.body, rng.below(4)) {
                (_, 0) => ReplyBody::Error("no".to_owned()),
                (RequestBody::Connect, _) => connection(1),
                _ => taken(rng.below(100) as u32, &[]),
            };
            let mut bytes = Vec::new();
            let transaction = request.transaction;
            Reply { transaction, body }.put(&mut bytes);
            world.announcer.datagram(now, to, &bytes);
        }
        _ => {}
    }
    under_way.swap_remove(at);
}

#[test]
fn in_any_order_one_is_asked_at_a_time_and_leaving_ends() {
    const TIERS: &[&[&str]] = &[
        &["udp://a:1", "http://b", "http://nowhere"],
        &["udp://c:1/x", "http://d"],
    ];
    for seed in 0..300 {
        let (mut rng, mut world) = (Rng::new(seed), World::new(TIERS, Some(10)));
        let mut under_way = Vec::new();
        let (mut heard_completed, mut has_completed) = (0, false);
        for step in 0..300 {
            while let Some(output) = world.announcer.poll_output() {
                if let Output::Send { bytes, .. } = &output {
                    let request = String::from_utf8_lossy(bytes);
                    heard_completed += usize::from(event(&request) == "completed");
                }
                under_way.push(output);
            }
            happen(&mut world, &mut rng, &mut under_way);
            assert!(
                world.announcer.busy_count() <= 1,
                "seed {seed}, step {step}"
            );
            if rng.below(100) == 0 {
                world.announcer.complete(world.now);
                has_completed = true;
            }
        }
        assert!(has_completed || heard_completed == 0, "seed {seed}");
        world.announcer.stop(world.now);
        let by = world.now + seconds(2);
        while !world.announcer.is_over() {
            under_way.extend(std::iter::from_fn(|| world.announcer.poll_output()));
            happen(&mut world, &mut rng, &mut under_way);
            assert!(world.now <= by + seconds(4), "seed {seed}");
        }
        while world.announcer.poll_output().is_some() {}
        assert_eq!(world.announcer.poll_timeout(), None, "seed {seed}");
    }
}
