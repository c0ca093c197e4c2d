//! Where others are found: several behind one address, each at its own as well.

use std::collections::BTreeSet;
use std::net::TcpListener;

use crate::common::{World, assert_same, text};

const LEN: usize = 2 << 20;

/// All of them dial from one address, and listen on one port of another: so the tracker sees them all at the same place,
/// as it does behind a router that translates addresses, and names that place first.
#[test]
fn members_that_the_tracker_sees_at_one_address_are_found_each_at_its_own() {
    let world = World::new();
    let source = world.file("image.bin", 1, LEN);
    let free = TcpListener::bind(("127.0.0.9", 0)).expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let at = |host: u8| format!("127.0.0.{host}:{port}");
    // Slow enough that all of them are met before it is over.
    let share = ["--listen", &at(2), "--up", "2M", text(&source)];
    let share = world.share(&share);
    let mut holders = Vec::new();
    for host in [3, 4] {
        let folder = world.folder(&format!("at{host}"));
        let (at, args) = (at(host), ["--up", "1M", "--seed", "forever"]);
        let get = [&["image.bin", "-o", &folder, "--listen", &at][..], &args].concat();
        let running = world.start_get(&get);
        running.event("seeding");
        holders.push(running);
    }
    let at = at(5);
    let get = ["get", "image.bin", "-o", "copy", "--listen", &at, "-vv"];
    let ended = world.run(&get).exits(0);
    assert_same(&source, &world.path("copy"));
    let met: BTreeSet<&str> = ended
        .err
        .iter()
        .filter(|line| line.contains("neither side needs anything"))
        .filter_map(|line| line.split(": ").find(|part| part.starts_with("127.0.0.")))
        .collect();
    assert!(met.len() >= 3, "{met:?}: {ended:#?}");
    for running in holders {
        running.stop().exits(0);
    }
    share.stop().exits(0);
}
