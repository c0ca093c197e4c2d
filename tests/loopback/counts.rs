//! How many copies there are in the whole swarm: a getter asks the tracker for that, and no longer once it is complete.

use crate::common::{Running, World, assert_same, text};

#[test]
fn getters_whose_seed_is_lost_ask_for_counts_and_again_at_a_tracker_that_comes_back() {
    let mut world = World::new();
    let source = world.file("image", 4, 4 << 20);
    let share = world.share(&[text(&source)]);
    // Slow enough for what the tracker knows not to be too old.
    let slow = ["--down", "512K", "-vvv"];
    let getters: Vec<Running> = ["a", "b"]
        .iter()
        .map(|to| world.start(&[&["get", "image", "-o", to], &slow[..]].concat()))
        .collect();
    for get in &getters {
        get.complaint("asked for piece");
    }
    share.kill();
    let asking = "asking the tracker for the copies of each piece";
    getters.iter().for_each(|get| get.complaints(asking, 1));
    world.tracker.kill();
    world.tracker.revive();
    getters.iter().for_each(|get| get.complaints(asking, 2));
    let _share = world.share(&[text(&source)]);
    for (get, to) in getters.into_iter().zip(["a", "b"]) {
        let ended = get.end().exits(0);
        assert_same(&source, &world.path(to));
        let says = |what: &str| ended.err.iter().any(|line| line.contains(what));
        assert!(says("counts are of no use any more"), "{ended:#?}");
        assert!(says("rare here, ") && says("dialled: "), "{ended:#?}");
    }
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
