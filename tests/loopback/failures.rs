//! Trackers, seeds and getters that die, stop and come back.

use std::fs;
use std::sync::Arc;

use nix::sys::signal::Signal;
use shoal::wire::native::{Reply, Request};

use crate::common::process::KILL;
use crate::common::{
    Answer, Content, Gate, Running, Seeder, World, assert_same, random_bytes, text,
};

const PIECE: u32 = 64 << 10;
const BLOCKS: usize = 4;
const PIECES: usize = 60;

/// A content, and a seed at the tracker that delivers some of its pieces and then waits.
fn gated(world: &World, pieces: usize) -> (Arc<Content>, Seeder, Arc<Gate>) {
    let bytes = random_bytes(5, PIECES * PIECE as usize - 100);
    fs::write(world.path("image"), &bytes).expect("a file");
    let content = Arc::new(Content::new("image", PIECE, bytes));
    let gate = Gate::new(pieces * BLOCKS);
    let of_script = gate.clone();
    let seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        of_script.pass();
        Answer::Right
    });
    (content, seeder, gate)
}

/// Waits until the tracker has heard of so many pieces of somebody who has not all.
fn wait_for_pieces(seeder: &mut Seeder, content: &Content, count: u32) {
    let info_hash = content.meta.info_hash();
    let members = Request::Members {
        info_hash,
        cursor: 0,
        limit: 256,
        with_bitmaps: false,
    };
    loop {
        let Reply::Members { entries, .. } = seeder.ask(&members) else {
            panic!("no members");
        };
        let there = |had| (count..PIECES as u32).contains(&had);
        if entries.iter().any(|entry| there(entry.pieces_had)) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_tracker_that_keeps_state_is_killed_and_the_download_completes() {
    let mut world = World::with_state();
    let (content, mut seeder, _gate) = gated(&world, 20);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 10);
    world.tracker.kill();
    drop(seeder);
    world.tracker.revive();
    let share = world.share(&["image"]);
    let summary = get.end().exits(0).summary();
    assert!(summary["down_bytes"].as_u64() >= Some(content.meta.total_len()));
    assert_same(&world.path("image"), &world.path("copy"));
    share.stop().exits(0);
    assert_eq!(world.tracker.stop().code, Some(0));
}

#[test]
fn after_a_tracker_without_state_is_killed_the_members_register_again() {
    let mut world = World::new();
    let (content, mut seeder, _gate) = gated(&world, 20);
    let first = world.start_get(&["image", "-o", "first"]);
    wait_for_pieces(&mut seeder, &content, 10);
    world.tracker.kill();
    drop(seeder);
    world.tracker.revive();
    // Only the getter knows it now; it may take a moment until it has told the tracker.
    while world.run(&["ls"]).exits(0).events("file").is_empty() {}
    let second = world.start_get(&["image", "-o", "second"]);
    second.event("first_piece");
    let share = world.share(&["image"]);
    for (get, copy) in [(first, "first"), (second, "second")] {
        get.end().exits(0);
        assert_same(&world.path("image"), &world.path(copy));
    }
    share.stop().exits(0);
}

#[test]
fn a_share_outlives_its_tracker() {
    let mut world = World::new();
    world.file("image", 1, 300_000);
    let share = world.share(&["image"]);
    world.tracker.kill();
    world.tracker.revive();
    while world.run(&["ls"]).exits(0).events("file").is_empty() {}
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    world.tracker.kill();
    share.stop().exits(0).summary();
}

#[test]
fn a_download_completes_although_the_tracker_is_gone() {
    let mut world = World::new();
    let (content, mut seeder, gate) = gated(&world, 20);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 10);
    world.tracker.kill();
    gate.open();
    get.end().exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn a_tracker_that_hangs_does_not_keep_a_getter_from_leaving() {
    let world = World::new();
    let (content, mut seeder, gate) = gated(&world, 20);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 10);
    world.tracker.running().signal(Signal::SIGSTOP);
    gate.open();
    get.end().exits(0).summary();
    assert_same(&world.path("image"), &world.path("copy"));
    world.tracker.running().signal(Signal::SIGCONT);
}

#[test]
fn a_seed_is_killed_and_another_one_goes_on() {
    let world = World::new();
    let (content, mut seeder, _gate) = gated(&world, 20);
    let share = world.share(&["image"]);
    share.signal(Signal::SIGSTOP);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 10);
    drop(seeder);
    share.signal(Signal::SIGCONT);
    get.end().exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    share.stop().exits(0);
}

#[test]
fn a_real_seed_is_killed_in_the_middle_and_another_one_goes_on() {
    let world = World::new();
    for folder in ["a", "b"] {
        fs::create_dir(world.path(folder)).expect("a folder");
        world.file(&format!("{folder}/image"), 3, 96 << 20);
    }
    let victim = world.share(&["a/image"]);
    let other = world.share(&["b/image"]);
    let get = world.start_get(&["image", "-o", "copy"]);
    get.event("first_piece");
    victim.kill();
    get.end().exits(0);
    assert_same(&world.path("a/image"), &world.path("copy"));
    other.stop().exits(0);
}

/// Fetches again after an interruption, and asserts that what was there is not fetched twice.
fn resume(world: &World, content: &Content, pieces: u64) {
    let share = world.share(&["image"]);
    let got = world.get(&["image", "-o", "copy", "--check"]).exits(0);
    let have = got.events("start")[0]["have"].as_u64().expect("a number");
    assert!(have >= pieces, "{have} of {pieces} pieces were kept");
    let lacking = content.meta.total_len() - have * u64::from(PIECE);
    let fetched = got.summary()["down_bytes"].as_u64().expect("a number");
    assert!(
        fetched <= lacking + u64::from(PIECE),
        "{fetched} bytes fetched of {lacking} that lacked"
    );
    assert_same(&world.path("image"), &world.path("copy"));
    assert!(!world.path("copy.part").exists() && !world.path("copy.part.bits").exists());
    share.stop().exits(0);
}

#[test]
fn a_getter_is_killed_and_the_next_one_fetches_what_lacks() {
    let world = World::new();
    let (content, mut seeder, _gate) = gated(&world, 20);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 15);
    get.kill();
    drop(seeder);
    assert!(world.path("copy.part").exists() && !world.path("copy").exists());
    resume(&world, &content, 15);
}

#[test]
fn a_stopped_getter_keeps_what_it_has_and_goes_on_later() {
    let world = World::new();
    let (content, mut seeder, _gate) = gated(&world, 20);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 15);
    let ended = get.stop().exits(7).complains("get image: stopped");
    ended.summary();
    assert!(world.path("copy.part").exists() && world.path("copy.part.bits").exists());
    assert!(!world.path("copy").exists());
    drop(seeder);
    resume(&world, &content, 15);
}

#[test]
fn what_the_record_does_not_vouch_for_is_hashed_again() {
    let world = World::new();
    let (content, mut seeder, _gate) = gated(&world, 20);
    let get = world.start_get(&["image", "-o", "copy"]);
    wait_for_pieces(&mut seeder, &content, 15);
    get.stop().exits(7);
    drop(seeder);
    fs::remove_file(world.path("copy.part.bits")).expect("it was kept");
    resume(&world, &content, 15);
}

#[test]
fn the_second_signal_ends_a_program_at_once() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let world = World::new();
        let (_content, _seeder, _gate) = gated(&world, 20);
        let get = world.start_get(&["image", "-o", "copy"]);
        get.event("first_piece");
        // The tracker does not answer the good-bye, so there is time for a second signal.
        world.tracker.running().signal(Signal::SIGSTOP);
        get.signal(signal);
        get.complaint("stopped");
        get.signal(signal);
        let ended = get.end();
        world.tracker.running().signal(Signal::SIGCONT);
        assert_eq!(ended.code, Some(code), "{ended:#?}");
    }
}

#[test]
fn a_share_serves_until_it_is_stopped_and_so_does_a_getter_that_is_told_to() {
    let world = World::new();
    world.file("image", 1, 1_000_000);
    let share = world.share(&["image"]);
    let get = world.start_get(&["image", "-o", "copy", "--seed", "forever"]);
    get.event("seeding");
    share.stop().exits(0);
    world.get(&["image", "-o", "third"]).exits(0);
    assert_same(&world.path("image"), &world.path("third"));
    let summary = get.stop().exits(0).summary();
    assert_eq!(summary["up_bytes"], 1_000_000);
    assert_eq!(summary["path"], "copy");
}

#[test]
fn twelve_getters_of_which_three_are_killed_and_resumed() {
    let world = World::new();
    let source = world.file("image", 4, 24 << 20);
    let share = world.share(&[text(&source)]);
    let start = |n: usize| {
        let to = world.folder(&format!("to{n}"));
        world.start_get(&["image", "-o", &to, "--check"])
    };
    let mut getters: Vec<Running> = (0..12).map(start).collect();
    for (n, getter) in getters.iter_mut().enumerate().take(3) {
        getter.event("start");
        getter.signal(KILL);
        let killed = std::mem::replace(getter, start(12 + n)).end();
        assert!(killed.signal.is_some() || killed.code == Some(0));
        let again = world.start_get(&[
            "image",
            "-o",
            &world.folder(&format!("to{n}")),
            "--overwrite",
        ]);
        std::mem::replace(getter, again).end().exits(0);
    }
    for (n, getter) in getters.into_iter().enumerate() {
        getter.end().exits(0);
        assert_same(&source, &world.path(&format!("to{n}/image")));
    }
    share.stop().exits(0);
}
