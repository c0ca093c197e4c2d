//! Limits on rates: what arrives is right, and comes no faster than allowed.

use std::time::{Duration, Instant};

use crate::common::{Running, World, assert_same, text};

const MIB: usize = 1 << 20;
/// What goes at once before a limit bites.
const BURST_BYTES: u64 = 128 << 10;

/// The shortest time in which `bytes` can go at this rate.
fn least_time(bytes: usize, bytes_per_s: usize) -> Duration {
    Duration::from_secs_f64((bytes as u64 - BURST_BYTES) as f64 / bytes_per_s as f64)
}

#[test]
fn a_share_sends_no_faster_than_it_may() {
    let world = World::new();
    let source = world.file("image.bin", 1, 4 * MIB);
    let share = world.share(&[text(&source), "--up", "2M"]);
    let begun = Instant::now();
    let got = world.get(&["image.bin", "-o", "copy"]).exits(0);
    let time = begun.elapsed();
    assert!(time >= least_time(4 * MIB, 2 * MIB), "{time:?}");
    assert_same(&source, &world.path("copy"));
    assert_eq!(got.summary()["hash_fail"], 0);
    share.stop().exits(0);
}

#[test]
fn a_get_takes_no_faster_than_it_may_and_blames_nobody() {
    let world = World::new();
    let source = world.file("image.bin", 2, 3 * MIB);
    let shares: Vec<Running> = (0..3).map(|_| world.share(&[text(&source)])).collect();
    let begun = Instant::now();
    let got = world
        .get(&["image.bin", "-o", "copy", "--down", "1M"])
        .exits(0);
    let time = begun.elapsed();
    assert!(time >= least_time(3 * MIB, MIB), "{time:?}");
    assert_same(&source, &world.path("copy"));
    assert_eq!(got.summary()["hash_fail"], 0);
    // A block that is late may be asked of two in the end game; nothing is asked for again because we read slowly.
    let bytes = got.summary()["down_bytes"].as_u64().expect("a number");
    assert!(bytes <= (3 * MIB + MIB / 8) as u64, "{bytes}");
    shares.into_iter().for_each(|share| {
        share.stop().exits(0);
    });
}

#[test]
fn a_limit_holds_for_all_that_are_served_together_and_each_gets_its_part() {
    let world = World::new();
    let source = world.file("image.bin", 3, 2 * MIB);
    let share = world.share(&[text(&source), "--up", "2M", "--piece-size", "64K"]);
    let begun = Instant::now();
    let names = ["a", "b", "c", "d"];
    // They serve nobody as fast as they are served: what the share sends is not all, but most.
    let getters: Vec<Running> = names
        .iter()
        .map(|name| world.start_get(&["image.bin", "-o", name, "--up", "64K"]))
        .collect();
    for (getter, name) in getters.into_iter().zip(names) {
        getter.end().exits(0);
        assert_same(&source, &world.path(name));
    }
    let time = begun.elapsed();
    let sent = share.stop().exits(0).summary();
    let from_share = sent["up_bytes"].as_u64().expect("a number") as usize;
    assert!(from_share >= 2 * MIB);
    assert!(time >= least_time(from_share, 2 * MIB), "{time:?}");
}

#[test]
fn a_slow_uplink_is_waited_for_by_all_whom_it_serves() {
    let world = World::new();
    let source = world.file("image.bin", 4, 256 << 10);
    let share = world.share(&[text(&source), "--up", "48K", "--piece-size", "64K"]);
    let names = ["a", "b", "c"];
    let getters: Vec<Running> = names
        .iter()
        .map(|name| world.start_get(&["image.bin", "-o", name]))
        .collect();
    for (getter, name) in getters.into_iter().zip(names) {
        getter.end().exits(0);
        assert_same(&source, &world.path(name));
    }
    share.stop().exits(0);
}
