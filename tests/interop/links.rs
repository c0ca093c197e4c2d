//! Swarms that are found by what is handed on: a magnet link, a .torrent file. Ours have no native tracker here.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use crate::content::file;
use crate::net::{Net, has_spaces};
use crate::scene::{ARIA2, Client, DAEMON, LIBTORRENT, Scene};

/// A folder of so many files that its info dictionary has several pieces (BEP 9).
fn folder(path: &Path) {
    std::fs::create_dir(path).expect("a folder");
    for number in 0..400 {
        let name = format!("a file of which the name is somewhat long, number {number}");
        file(&path.join(name), number, 10_000 + number as usize);
    }
}

/// What a getter is given.
#[derive(Clone, Copy, Debug)]
enum Given {
    /// The link that `share` prints.
    SharedLink,
    /// The link that `torrent show` prints of the .torrent file.
    ShownLink,
    /// A link that names the seed.
    LinkToSeed,
    Torrent,
}

impl Given {
    fn of(self, scene: &Scene) -> String {
        match self {
            Self::SharedLink => scene.shared_link(),
            Self::ShownLink => scene.link(),
            Self::LinkToSeed => scene.link_to(1),
            Self::Torrent => scene.torrent().to_str().expect("UTF-8").to_owned(),
        }
    }
}

/// Starts the seed, and then the getters, which are given the same.
fn swarm(net: Net, scheme: &str, seeder: Client, getters: &[Client], given: Given) {
    let mut scene = Scene::new(net, scheme, "folder", folder);
    match seeder {
        Client::Ours => scene.seed_torrent(1),
        Client::Other(_) => scene.seed(seeder, 1),
    }
    let given = given.of(&scene);
    for (number, getter) in getters.iter().enumerate() {
        scene.get_by(*getter, number + 2, &given);
    }
    scene.ends_well();
}

/// Does so in a swarm each for each of these, at once: most of the time is that of the other's timers.
fn fetch(seeder: Client, getters: &[Client], ways: &[(&str, Given)]) {
    let is_here = |client: &Client| client.is_here();
    if !has_spaces() || !is_here(&seeder) || !getters.iter().all(is_here) {
        return;
    }
    std::thread::scope(|scope| {
        for &(scheme, given) in ways {
            let net = Net::spaces(getters.len() as u8 + 2);
            scope.spawn(move || swarm(net, scheme, seeder, getters, given));
        }
    });
}

const EVERY_LINK: [(&str, Given); 3] = [
    ("http", Given::SharedLink),
    ("http", Given::ShownLink),
    ("udp", Given::ShownLink),
];

#[test]
fn libtorrent_fetches_from_us_by_a_link() {
    fetch(Client::Ours, &[LIBTORRENT], &EVERY_LINK);
}

#[test]
fn aria2_fetches_from_us_by_a_link() {
    fetch(Client::Ours, &[ARIA2], &EVERY_LINK);
}

#[test]
fn we_fetch_from_libtorrent_by_a_link() {
    fetch(LIBTORRENT, &[Client::Ours], &EVERY_LINK);
}

#[test]
fn we_fetch_from_aria2_by_a_link() {
    fetch(ARIA2, &[Client::Ours], &EVERY_LINK);
}

#[test]
fn we_fetch_from_ourselves_by_a_link() {
    fetch(Client::Ours, &[Client::Ours, Client::Ours], &EVERY_LINK);
}

#[test]
fn a_link_that_names_the_seed_is_enough() {
    let ways = [("http", Given::LinkToSeed)];
    fetch(LIBTORRENT, &[Client::Ours], &ways);
    fetch(ARIA2, &[Client::Ours], &ways);
    fetch(Client::Ours, &[LIBTORRENT], &ways);
}

#[test]
fn the_torrent_file_brings_us_together_with_others() {
    let ways = [("http", Given::Torrent), ("udp", Given::Torrent)];
    fetch(Client::Ours, &[LIBTORRENT, ARIA2], &ways);
    fetch(LIBTORRENT, &[ARIA2, Client::Ours], &ways);
}

#[test]
fn the_transmission_daemon_fetches_from_us_by_a_link_and_a_file() {
    let ways = [("http", Given::ShownLink), ("udp", Given::Torrent)];
    fetch(Client::Ours, &[DAEMON], &ways);
}

#[test]
fn we_fetch_from_the_transmission_daemon_by_a_link_and_a_file() {
    let ways = [("http", Given::Torrent), ("udp", Given::ShownLink)];
    fetch(DAEMON, &[Client::Ours], &ways);
}

#[test]
fn links_lead_to_one_another_over_ipv6() {
    if !LIBTORRENT.is_here() {
        return;
    }
    let net = || Net::loopback([IpAddr::from(Ipv6Addr::LOCALHOST); 3]);
    let udp = "udp";
    swarm(net(), "http", Client::Ours, &[LIBTORRENT], Given::ShownLink);
    swarm(net(), udp, LIBTORRENT, &[Client::Ours], Given::ShownLink);
    swarm(net(), udp, LIBTORRENT, &[Client::Ours], Given::LinkToSeed);
}
