//! Swarms of every kind of program, with one seed.

use std::path::Path;

use crate::content::file;
use crate::net::{Net, has_spaces};
use crate::scene::{ARIA2, Client, LIBTORRENT, Scene, TRANSMISSION};

const LEN: usize = (24 << 20) + 1;

/// Contents that clients trip over: nested, empty, of one byte, with odd names.
fn folder(path: &Path) {
    let files = [
        ("a first/deeper/still deeper/data", 5 << 20),
        ("a first/empty", 0),
        ("one byte", 1),
        ("piece", 64 << 10),
        ("piece and one", (64 << 10) + 1),
        ("снимок – диска.img", 3 << 20),
        ("it and 'quotes' & $dollars (1).bin", 100_000),
        (".hidden", 1234),
        ("z/z/z/last", 777_777),
    ];
    for (seed, (name, len)) in files.into_iter().enumerate() {
        let path = path.join(name);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("folders");
        file(&path, seed as u64, len);
    }
}

fn image(path: &Path) {
    file(path, 2, LEN);
}

/// One seeds, the others fetch; all are there at once.
fn swarm(
    name: &'static str,
    make: impl Fn(&Path),
    scheme: &str,
    seeder: Client,
    getters: &[Client],
) {
    let is_here = |client: &Client| client.is_here();
    if !has_spaces() || !is_here(&seeder) || !getters.iter().all(is_here) {
        return;
    }
    let count = getters.len() as u8 + 2;
    let mut scene = Scene::new(Net::spaces(count), scheme, name, make);
    scene.seed(seeder, 1);
    for (number, getter) in getters.iter().enumerate() {
        scene.get(*getter, number + 2);
    }
    scene.ends_well();
}

#[test]
fn all_four_fetch_a_folder_from_us() {
    let getters = [ARIA2, LIBTORRENT, TRANSMISSION, Client::Ours];
    swarm("a folder", folder, "http", Client::Ours, &getters);
}

#[test]
fn three_fetch_with_us_from_aria2() {
    let getters = [LIBTORRENT, TRANSMISSION, Client::Ours];
    swarm("image.bin", image, "udp", ARIA2, &getters);
}

#[test]
fn three_fetch_with_us_from_libtorrent() {
    let getters = [ARIA2, TRANSMISSION, Client::Ours];
    swarm("image.bin", image, "http", LIBTORRENT, &getters);
}

#[test]
fn three_fetch_a_folder_with_us_from_transmission() {
    let getters = [ARIA2, LIBTORRENT, Client::Ours];
    swarm("a folder", folder, "udp", TRANSMISSION, &getters);
}

#[test]
fn ten_are_one_swarm() {
    let ours = Client::Ours;
    let getters = [
        ours,
        ARIA2,
        LIBTORRENT,
        TRANSMISSION,
        ours,
        ARIA2,
        LIBTORRENT,
        TRANSMISSION,
        ours,
    ];
    swarm("image.bin", image, "http", ours, &getters);
}
