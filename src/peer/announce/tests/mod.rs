//! The announcer against scripted trackers, without sockets: the test is the network, the name server and the clock.

mod leaving;
mod over_http;
mod over_udp;
mod rounds;

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
