//! Swarms on one machine without further ado, as anybody tries it first: addresses of loopback, of both families.
//!
//! Libtorrent takes one conn of an address by default, and so gets an address of its own. Transmission takes no peer at
//! an address of loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::content::file;
use crate::net::Net;
use crate::scene::{ARIA2, Client, LIBTORRENT, Scene};

const LEN: usize = (8 << 20) + 99;

fn make(path: &Path) {
    file(path, 3, LEN);
}

/// The tracker, and one machine each for these clients, of which the first is the seed.
fn swarm(addresses: impl IntoIterator<Item = IpAddr>, scheme: &str, clients: &[Client]) {
    if !clients.iter().all(|client| client.is_here()) {
        return;
    }
    let addresses = addresses.into_iter().take(clients.len() + 1);
    let mut scene = Scene::new(Net::loopback(addresses), scheme, "image.bin", make);
    scene.seed(clients[0], 1);
    for (number, client) in clients.iter().enumerate().skip(1) {
        scene.get(*client, number + 1);
    }
    scene.ends_well();
}

/// 127.0.0.1 and on.
fn v4() -> impl Iterator<Item = IpAddr> {
    (1..).map(|last| Ipv4Addr::new(127, 0, 0, last).into())
}

/// ::1, again and again.
fn v6() -> impl Iterator<Item = IpAddr> {
    std::iter::repeat(Ipv6Addr::LOCALHOST.into())
}

#[test]
fn three_fetch_from_us() {
    let getters = [Client::Ours, LIBTORRENT, ARIA2, Client::Ours];
    swarm(v4(), "http", &getters);
}

#[test]
fn three_fetch_with_us_from_libtorrent() {
    let getters = [LIBTORRENT, Client::Ours, ARIA2, LIBTORRENT];
    swarm(v4(), "udp", &getters);
}

#[test]
fn libtorrent_and_we_fetch_from_one_another_over_ipv6() {
    swarm(v6(), "http", &[Client::Ours, LIBTORRENT]);
    swarm(v6(), "udp", &[LIBTORRENT, Client::Ours]);
}

#[test]
fn aria2_and_we_fetch_from_one_another_over_ipv6() {
    swarm(v6(), "http", &[Client::Ours, ARIA2]);
    swarm(v6(), "http", &[ARIA2, Client::Ours]);
}
