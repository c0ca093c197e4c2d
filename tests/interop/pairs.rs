//! One seeds, and one that finds it by the tracker fetches.

use std::path::Path;

use crate::content::file;
use crate::net::{Net, has_spaces};
use crate::programs::{self, Program};
use crate::scene::{ARIA2, Client, LIBTORRENT, Scene, TRANSMISSION};

const LEN: usize = (12 << 20) + 4321;

fn make(path: &Path) {
    file(path, 1, LEN);
}

#[test]
fn the_programs_that_are_tried_are_named() {
    for program in programs::PROGRAMS.into_iter().chain([Program::Daemon]) {
        programs::name_what_is_tried("the peer", program.package(), program.is_here());
    }
    programs::name_what_is_tried("the peer", "machines of their own", has_spaces());
}

/// Announced over HTTP and over UDP, in two swarms at once: most of the time is that of the other's timers.
fn fetches(seeder: Client, getter: Client) {
    if !has_spaces() || !seeder.is_here() || !getter.is_here() {
        return;
    }
    let swarm = |scheme| {
        let mut scene = Scene::new(Net::spaces(3), scheme, "image.bin", make);
        scene.seed(seeder, 1);
        scene.get(getter, 2);
        scene.ends_well();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| swarm("udp"));
        swarm("http");
    });
}

#[test]
fn aria2_fetches_from_us() {
    fetches(Client::Ours, ARIA2);
}

#[test]
fn libtorrent_fetches_from_us() {
    fetches(Client::Ours, LIBTORRENT);
}

#[test]
fn transmission_fetches_from_us() {
    fetches(Client::Ours, TRANSMISSION);
}

#[test]
fn we_fetch_from_aria2() {
    fetches(ARIA2, Client::Ours);
}

#[test]
fn we_fetch_from_libtorrent() {
    fetches(LIBTORRENT, Client::Ours);
}

#[test]
fn we_fetch_from_transmission() {
    fetches(TRANSMISSION, Client::Ours);
}
