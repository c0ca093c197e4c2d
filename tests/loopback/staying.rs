//! How long who has everything serves it: until somebody else does, or for as long as the user said.

use serde_json::Value;

use crate::common::{World, assert_same, text};

const MIB: usize = 1 << 20;

/// Why it says that it left.
fn why_left(left: &[Value]) -> String {
    assert_eq!(left.len(), 1, "{left:?}");
    left[0]["why"].as_str().expect("a word").to_owned()
}

#[test]
fn a_getter_leaves_once_it_has_sent_what_it_is_to_send() {
    let world = World::new();
    let source = world.file("image.bin", 1, MIB);
    let share = world.share(&[text(&source)]);
    let first = world.start_get(&["image.bin", "-o", "a", "--seed", "ratio:0.9"]);
    first.event("seeding");
    share.stop().exits(0);
    let second = world.start_get(&["image.bin", "-o", "b"]);
    let first = first.end().exits(0);
    assert_eq!(why_left(&first.events("left")), "ratio");
    // It may lack what the first did not have to send any more.
    let share = world.share(&[text(&source)]);
    second.end().exits(0);
    assert_same(&source, &world.path("b"));
    share.stop().exits(0);
    assert!(first.summary()["up_bytes"].as_u64() >= Some(MIB as u64 * 9 / 10));
}

#[test]
fn a_getter_leaves_after_its_time_and_one_that_nobody_needs_at_once() {
    let world = World::new();
    let source = world.file("image.bin", 2, MIB);
    let share = world.share(&[text(&source)]);
    let timed = world.get(&["image.bin", "-o", "a", "--seed", "time:1"]);
    assert_eq!(why_left(&timed.exits(0).events("left")), "time");
    let auto = world.get(&["image.bin", "-o", "b", "--seed", "auto"]);
    assert_eq!(why_left(&auto.exits(0).events("left")), "nobody_fetches");
    let none = world.get(&["image.bin", "-o", "c"]).exits(0);
    assert!(none.events("left").is_empty());
    share.stop().exits(0);
}

#[test]
fn a_getter_that_stays_as_long_as_it_helps_outlasts_the_last_who_fetches() {
    let world = World::new();
    let source = world.file("image.bin", 3, 2 * MIB);
    let share = world.share(&[text(&source)]);
    let slow = world.start_get(&["image.bin", "-o", "slow", "--down", "1M"]);
    slow.event("start");
    let auto = world.start_get(&["image.bin", "-o", "a", "--seed", "auto"]);
    auto.event("seeding");
    share.stop().exits(0);
    slow.end().exits(0);
    assert_same(&source, &world.path("slow"));
    assert_eq!(
        why_left(&auto.end().exits(0).events("left")),
        "nobody_fetches"
    );
}

#[test]
fn a_share_ends_when_enough_others_are_complete() {
    let world = World::new();
    let source = world.file("image.bin", 4, MIB);
    let share = world.share(&[text(&source), "--until", "2"]);
    for name in ["a", "b"] {
        assert!(!share.has_ended());
        world.get(&["image.bin", "-o", name]).exits(0);
        assert_same(&source, &world.path(name));
    }
    assert_eq!(why_left(&share.end().exits(0).events("left")), "until");
}
