//! How many copies there are in the whole swarm: a getter asks the tracker for that, and no longer once it is complete.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::common::{
    Answer, Content, Gate, Native, Seeder, World, assert_same, random_bytes, text,
};

/// A member that nobody can dial: whoever knows of it does not see all.
fn unseen(world: &World, content: &Content) -> Native {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody: SocketAddr = listener.local_addr().expect("bound");
    drop(listener);
    let mut member = Native::connect(&world.tracker.addr, &[nobody]);
    member.join(content, false);
    member
}

#[test]
fn a_getter_asks_for_counts_while_they_are_of_use_and_again_at_a_tracker_that_comes_back() {
    let mut world = World::new();
    let bytes = random_bytes(4, 200 << 16);
    fs::write(world.path("image"), &bytes).expect("a file");
    let content = Arc::new(Content::new("image", 1 << 16, bytes));
    // Nothing comes at first, so that what the tracker knows cannot be too old.
    let gate = Gate::new(0);
    let passes = gate.clone();
    let _seed = Seeder::start(&world.tracker.addr, &content, move |_| {
        passes.pass();
        Answer::Right
    });
    let _unseen = unseen(&world, &content);
    let get = world.start(&["get", "image", "-o", "copy", "-vvv"]);
    let asking = "asking the tracker for the copies of each piece";
    get.complaints(asking, 1);
    world.tracker.kill();
    world.tracker.revive();
    get.complaints(asking, 2);
    gate.open();
    let ended = get.end().exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    let says = |what: &str| ended.err.iter().filter(|line| line.contains(what)).count();
    assert_eq!(says(asking), 2, "{ended:#?}");
    assert_eq!(says("counts are of no use any more"), 1, "{ended:#?}");
    assert!(says("rare in the swarm, ") > 0, "{ended:#?}");
    assert!(says("dialled: ") > 0, "{ended:#?}");
}

#[test]
fn a_getter_that_sees_everybody_asks_for_no_counts() {
    let world = World::new();
    let source = world.file("image", 5, 1 << 20);
    let _share = world.share(&[text(&source)]);
    let ended = world
        .get(&["image", "-o", "copy", "-vv", "--down", "512K"])
        .exits(0);
    assert_same(&source, &world.path("copy"));
    let asks = |line: &String| line.contains("asking the tracker for the copies");
    assert!(!ended.err.iter().any(asks), "{ended:#?}");
}
