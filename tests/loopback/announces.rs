//! A torrent whose trackers are others' alone: found, fetched and left again without a native tracker.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use shoal::wire::announce::AnnounceEvent;
use shoal::wire::torrent::{Extras, torrent_file};

use crate::common::{Answer, Content, Gate, Running, Seeder, World, assert_same, random_bytes};
use crate::trackers::Scripted;

const PIECE: u32 = 64 << 10;
const LEN: usize = 20 * PIECE as usize - 100;

/// A seed that only those find who are told where it is, and a content that lies in the scratch folder, too.
fn seeded(world: &World, gate: &Arc<Gate>) -> (Arc<Content>, Seeder) {
    let bytes = random_bytes(9, LEN);
    fs::write(world.path("image"), &bytes).expect("a file");
    let content = Arc::new(Content::new("image", PIECE, bytes));
    let gate = gate.clone();
    let seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        gate.pass();
        Answer::Right
    });
    (content, seeder)
}

/// Starts to fetch what a torrent with these trackers describes, without a native tracker.
fn start_get(world: &World, content: &Content, tiers: &[&[String]]) -> Running {
    let tiers: Vec<Vec<String>> = tiers.iter().map(|tier| tier.to_vec()).collect();
    let extras = Extras {
        tiers: &tiers,
        ..Extras::default()
    };
    let file = torrent_file(content.meta.info(), &extras);
    fs::write(world.path("image.torrent"), file).expect("a file");
    let to = world.folder("got");
    let mut command = world.peer(&["get", "image.torrent", "-o", &to]);
    command.env_remove("SHOAL_TRACKER");
    Running::start("get", &mut command)
}

/// Through a forwarded port others come by that one, not by the one that it leads to.
#[test]
fn the_port_that_is_advertised_is_the_one_that_trackers_are_told() {
    let world = World::new();
    let gate = Gate::new(usize::MAX);
    let (content, seed) = seeded(&world, &gate);
    let it = Scripted::http("127.0.0.1", &[seed.addr]);
    let tiers = vec![vec![format!("http://{}/secret/announce", it.addr)]];
    let extras = Extras {
        tiers: &tiers,
        ..Extras::default()
    };
    let file = torrent_file(content.meta.info(), &extras);
    fs::write(world.path("image.torrent"), file).expect("a file");
    let mut command = world.peer(&["get", "image.torrent", "-o", "copy"]);
    command.args(["--advertise", "192.0.2.1:7000"]);
    command.env_remove("SHOAL_TRACKER");
    Running::start("get", &mut command).end().exits(0);
    let heard = it.hears(AnnounceEvent::Started, LEN as u64);
    assert_eq!(heard.announce.port, 7000);
}

/// A port that nobody listens on.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

/// Fetches by way of `tracker`, which has the rest of its URL at `path`.
fn fetches_by_way_of(world: &World, seed: &Seeder, content: &Content, url: &str, it: &Scripted) {
    let dead = [format!("http://{}/announce", nobody())];
    let mixed = [
        "wss://example.org/never".to_owned(),
        format!("http://{}/", nobody()),
        url.to_owned(),
    ];
    let spare = Scripted::http("127.0.0.1", &[]);
    let unasked = [format!("http://{}/announce", spare.addr)];
    let get = start_get(world, content, &[&dead, &mixed, &unasked]);
    let ended = get.end().exits(0);
    assert_same(&world.path("image"), &world.path("got/image"));
    let heard = it.hears(AnnounceEvent::Started, LEN as u64);
    assert_eq!(heard.path, "/secret/announce");
    assert_eq!(heard.announce.info_hash, content.meta.info_hash());
    assert_ne!(heard.announce.port, 0);
    let port = heard.announce.port;
    let heard = it.hears(AnnounceEvent::Completed, 0);
    assert_eq!(
        (heard.announce.port, heard.announce.downloaded),
        (port, LEN as u64)
    );
    it.hears(AnnounceEvent::Stopped, 0);
    it.heard_all();
    spare.heard_all();
    assert!(seed.request_count() > 0);
    let warned = ended
        .err
        .iter()
        .any(|line| line.contains("wss://example.org"));
    assert!(warned, "{ended:#?}");
}

#[test]
fn a_torrent_is_fetched_by_way_of_an_http_tracker() {
    let world = World::new();
    let (content, seed) = seeded(&world, &Gate::new(usize::MAX));
    for ip in ["127.0.0.1", "::1"] {
        let tracker = Scripted::http(ip, &[seed.addr]);
        let url = format!("http://{}/secret/announce?key=1", tracker.addr);
        fetches_by_way_of(&world, &seed, &content, &url, &tracker);
        fs::remove_dir_all(world.path("got")).expect("it was fetched");
    }
}

#[test]
fn a_torrent_is_fetched_by_way_of_a_udp_tracker() {
    let world = World::new();
    let (content, seed) = seeded(&world, &Gate::new(usize::MAX));
    let tracker = Scripted::udp("127.0.0.1", &[seed.addr]);
    let url = format!("udp://{}/secret/announce", tracker.addr);
    fetches_by_way_of(&world, &seed, &content, &url, &tracker);
}

#[test]
fn whoever_is_stopped_takes_leave_of_the_tracker() {
    let world = World::new();
    let gate = Gate::new(3);
    let (content, seed) = seeded(&world, &gate);
    for is_udp in [false, true] {
        let (scheme, tracker) = match is_udp {
            false => ("http", Scripted::http("127.0.0.1", &[seed.addr])),
            true => ("udp", Scripted::udp("::1", &[])),
        };
        let url = format!("{scheme}://{}", tracker.addr);
        let get = start_get(&world, &content, &[&[url]]);
        let started = tracker.hears(AnnounceEvent::Started, LEN as u64);
        get.stop();
        let stopped = tracker.next();
        assert_eq!(stopped.announce.event, AnnounceEvent::Stopped);
        assert_eq!(stopped.announce.want, Some(0));
        assert_eq!(stopped.announce.peer_id, started.announce.peer_id);
        tracker.heard_all();
    }
    gate.open();
}
