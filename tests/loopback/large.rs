//! Pieces that are too large to be held, pieces of odd lengths, and as many of them as there may be.

use std::fs;
use std::sync::Arc;

use shoal::wire::peer::BLOCK_LEN;

use super::disks::{can_mount, script_around_get};
use crate::common::{
    Answer, Content, Gate, Running, Seeder, World, assert_same, random_bytes, text,
};

const MIB: usize = 1 << 20;
/// A little more than is checked before it is written.
const PIECE: u32 = (16 << 20) + 3 * BLOCK_LEN;
const PIECE_BLOCKS: usize = (PIECE / BLOCK_LEN) as usize;
/// What a program needs beside its buffers of 64 MiB.
const MEMORY_MIB_MAX: u64 = 130;

/// Three large pieces, the last of which is shorter, and the folder's copy of them.
fn large(world: &World) -> Arc<Content> {
    let bytes = random_bytes(7, 3 * PIECE as usize - 100_001);
    fs::write(world.path("image"), &bytes).expect("a file");
    Arc::new(Content::new("image", PIECE, bytes))
}

#[test]
fn pieces_of_32_mib_reach_two_getters_that_never_hold_one() {
    let world = World::new();
    let source = world.file("image.bin", 1, 150 * MIB + 5);
    let share = world.share(&[text(&source), "--piece-size", "32M"]);
    let getters: Vec<Running> = ["a", "b"]
        .map(|copy| world.start_get(&["image.bin", "-o", copy, "--seed", "forever"]))
        .into();
    for (getter, copy) in getters.into_iter().zip(["a", "b"]) {
        getter.event("seeding");
        let peak = getter.memory_peak_mib();
        assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
        let summary = getter.stop().exits(0).summary();
        assert_eq!(summary["hash_fail"], 0);
        assert_same(&source, &world.path(copy));
    }
    let peak = share.memory_peak_mib();
    assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
    share.stop().exits(0);
}

#[test]
fn after_a_kill_only_what_is_verified_counts() {
    let world = World::new();
    let content = large(&world);
    let allowed = PIECE_BLOCKS * 3 / 2;
    let gate = Gate::new(allowed);
    let of_script = gate.clone();
    let seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        of_script.pass();
        Answer::Right
    });
    let get = world.start_get(&["image", "-o", "copy"]);
    get.event("first_piece");
    while seeder.request_count() <= allowed {
        std::thread::yield_now();
    }
    get.kill();
    gate.open();
    let get = world.start_get(&["image", "-o", "copy", "--check", "--seed", "forever"]);
    assert_eq!(get.event("start")["have"], 1);
    get.event("seeding");
    let peak = get.memory_peak_mib();
    assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
    let summary = get.stop().exits(0).summary();
    assert!(summary["down_bytes"].as_u64() < Some(2 * u64::from(PIECE) + (1 << 20)));
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn who_alone_corrupts_a_large_piece_is_banned_and_what_it_sent_is_written_over() {
    let world = World::new();
    let content = large(&world);
    let wrong = Seeder::start(&world.tracker.addr, &content, |request| {
        match (request.piece, request.begin / BLOCK_LEN) {
            (1, 500) => Answer::Wrong,
            _ => Answer::Right,
        }
    });
    let get = world.start_get(&["image", "-o", "copy", "-v"]);
    get.complaint(&format!("{} sent a corrupt piece (1)", wrong.addr));
    let honest = Seeder::start(&world.tracker.addr, &content, |_| Answer::Right);
    let ended = get.end().exits(0);
    assert_eq!(ended.summary()["hash_fail"], 1);
    assert!(honest.request_count() >= PIECE_BLOCKS, "all of it again");
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn several_senders_of_a_large_piece_are_not_banned_and_it_arrives() {
    let world = World::new();
    let content = Arc::new(Content::new(
        "image",
        PIECE,
        random_bytes(8, PIECE as usize),
    ));
    fs::write(world.path("image"), &content.bytes).expect("a file");
    let _wrong = Seeder::start(&world.tracker.addr, &content, |request| {
        match request.begin / BLOCK_LEN % 20 {
            7 => Answer::Wrong,
            _ => Answer::Right,
        }
    });
    let _honest = Seeder::start(&world.tracker.addr, &content, |_| Answer::Right);
    let ended = world.get(&["image", "-o", "copy", "-v"]).exits(0);
    let banned = ended.err.iter().filter(|line| line.contains("banned"));
    assert!(banned.count() <= 1, "{ended:#?}");
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn a_disk_that_fills_up_while_runs_are_written_ends_a_download_which_goes_on_later() {
    let world = World::new();
    if !can_mount() {
        println!("SKIPPED: no file system can be mounted here");
        return;
    }
    let content = large(&world);
    let gate = Gate::new(100);
    let of_script = gate.clone();
    let seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        of_script.pass();
        Answer::Right
    });
    fs::create_dir(world.path("small")).expect("a folder");
    let script = "mount -t tmpfs -o size=52m none small
        \"$@\"; echo code $? >&2; ls small >&2
        rm small/filler; \"$@\" && cp small/copy copy";
    let running = script_around_get(&world, &["unshare", "-m"], script, "small/copy");
    while seeder.request_count() <= 100 {
        std::thread::yield_now();
    }
    let root = format!("/proc/{}/root", running.pid());
    let filler = format!("{root}{}", text(&world.path("small/filler")));
    let full = fs::write(filler, vec![1; 60 * MIB]).expect_err("it is smaller");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    gate.open();
    let ended = running.end().exits(0);
    for line in ["code 9", "copy.part", "copy.part.bits"] {
        assert!(ended.err.contains(&line.to_owned()), "{line}: {ended:#?}");
    }
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn pieces_of_any_length_and_as_many_as_there_may_be_arrive() {
    let world = World::new();
    for (name, piece, len) in [
        ("most", 16, 131_072 * 16),
        ("odd", 100_003, 3_000_000),
        ("tiny", 1, 5_000),
        ("one", 512 << 20, 70_000),
    ] {
        let content = Arc::new(Content::new(name, piece, random_bytes(9, len)));
        fs::write(world.path(name), &content.bytes).expect("a file");
        let _seeder = Seeder::start(&world.tracker.addr, &content, |_| Answer::Right);
        let copy = format!("copy-{name}");
        let got = world.get(&[name, "-o", &copy]).exits(0);
        assert_eq!(got.summary()["down_bytes"], len);
        assert_same(&world.path(name), &world.path(&copy));
    }
}
