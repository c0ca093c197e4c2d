//! Nothing but a magnet link: the info dictionary comes from whoever seeds (BEP 9).

use std::path::Path;

use crate::content::file;
use crate::net::{Net, has_spaces};
use crate::scene::{ARIA2, Client, LIBTORRENT, Scene, TRANSMISSION};

/// A folder of so many files that its info dictionary has several pieces.
fn folder(path: &Path) {
    std::fs::create_dir(path).expect("a folder");
    for number in 0..400 {
        let name = format!("a file of which the name is somewhat long, number {number}");
        file(&path.join(name), number, 10_000 + number as usize);
    }
}

fn fetches(seeder: Client, getter: Client, scheme: &str) {
    if !has_spaces() || !seeder.is_here() || !getter.is_here() {
        return;
    }
    let mut scene = Scene::new(Net::spaces(3), scheme, "folder", folder);
    scene.seed(seeder, 1);
    scene.get_by_link(getter, 2);
    scene.ends_well();
}

#[test]
fn libtorrent_takes_a_link_and_the_rest_from_us() {
    fetches(Client::Ours, LIBTORRENT, "http");
}

#[test]
fn aria2_takes_a_link_and_the_rest_from_us() {
    fetches(Client::Ours, ARIA2, "http");
}

#[test]
fn transmission_takes_a_link_and_the_rest_from_us() {
    fetches(Client::Ours, TRANSMISSION, "http");
}

#[test]
fn we_take_a_link_and_the_rest_from_libtorrent() {
    fetches(LIBTORRENT, Client::Ours, "udp");
}

#[test]
fn we_take_a_link_and_the_rest_from_aria2() {
    fetches(ARIA2, Client::Ours, "http");
}

#[test]
fn we_take_a_link_and_the_rest_from_transmission() {
    fetches(TRANSMISSION, Client::Ours, "udp");
}

#[test]
fn we_take_a_link_and_the_rest_from_ourselves() {
    fetches(Client::Ours, Client::Ours, "udp");
}
