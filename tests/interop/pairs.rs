//! One seeds, and one that finds it by the tracker fetches.

use std::path::Path;

use crate::content::file;
use crate::net::{Net, has_spaces};
use crate::programs;
use crate::scene::{ARIA2, Client, LIBTORRENT, Scene, TRANSMISSION};

const LEN: usize = (12 << 20) + 4321;

fn make(path: &Path) {
    file(path, 1, LEN);
}

#[test]
fn the_programs_that_are_tried_are_named() {
    for program in programs::PROGRAMS {
        programs::name_what_is_tried("the peer", program.package(), program.is_here());
    }
    programs::name_what_is_tried("the peer", "machines of their own", has_spaces());
}

fn fetches(seeder: Client, getter: Client, scheme: &str) {
    if !has_spaces() || !seeder.is_here() || !getter.is_here() {
        return;
    }
    let mut scene = Scene::new(Net::spaces(3), scheme, "image.bin", make);
    scene.seed(seeder, 1);
    scene.get(getter, 2);
    scene.ends_well();
}

#[test]
fn aria2_fetches_from_us() {
    fetches(Client::Ours, ARIA2, "http");
    fetches(Client::Ours, ARIA2, "udp");
}

#[test]
fn libtorrent_fetches_from_us() {
    fetches(Client::Ours, LIBTORRENT, "http");
    fetches(Client::Ours, LIBTORRENT, "udp");
}

#[test]
fn transmission_fetches_from_us() {
    fetches(Client::Ours, TRANSMISSION, "http");
    fetches(Client::Ours, TRANSMISSION, "udp");
}

#[test]
fn we_fetch_from_aria2() {
    fetches(ARIA2, Client::Ours, "http");
    fetches(ARIA2, Client::Ours, "udp");
}

#[test]
fn we_fetch_from_libtorrent() {
    fetches(LIBTORRENT, Client::Ours, "http");
    fetches(LIBTORRENT, Client::Ours, "udp");
}

#[test]
fn we_fetch_from_transmission() {
    fetches(TRANSMISSION, Client::Ours, "http");
    fetches(TRANSMISSION, Client::Ours, "udp");
}
