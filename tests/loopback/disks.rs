//! Disks that are full, folders that cannot be written, targets that exist, files that change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use crate::common::{
    Answer, Content, Gate, Native, Running, Seeder, World, assert_same, random_bytes, text, tree,
};

const MIB: usize = 1 << 20;
const PIECE: u32 = 64 << 10;

#[test]
fn a_target_that_exists_is_left_alone_unless_it_may_be_replaced() {
    let world = World::new();
    world.file("image", 1, 100_000);
    fs::write(world.path("taken"), "mine").expect("a file");
    let share = world.share(&["image"]);
    let ended = world.get(&["image", "-o", "taken"]).exits(13);
    ended.summary();
    ended.complains("taken");
    assert_eq!(fs::read(world.path("taken")).expect("a file"), b"mine");
    assert!(!world.path("taken.part").exists() && !world.path("taken.part.bits").exists());
    world.get(&["image", "-o", "taken", "--overwrite"]).exits(0);
    assert_same(&world.path("image"), &world.path("taken"));
    share.stop().exits(0);
}

#[test]
fn a_folder_that_exists_is_left_alone_unless_it_may_be_replaced() {
    let world = World::new();
    for path in ["from/tree/a", "to/tree/a"] {
        fs::create_dir_all(world.path(path)).expect("folders");
    }
    world.file("from/tree/a/x", 1, 100_000);
    world.file("to/tree/a/y", 2, 10);
    let share = world.share(&["from/tree"]);
    let before = tree(&world.path("to"));
    world.get(&["tree", "-o", "to/"]).exits(13);
    assert_eq!(tree(&world.path("to")), before);
    world.get(&["tree", "-o", "to/", "--overwrite"]).exits(0);
    assert!(world.path("to/tree/a/x").exists());
    share.stop().exits(0);
}

/// A seed that waits before its `pieces`-th piece, whose content lies in the scratch folder as well.
fn gated(world: &World, pieces: usize) -> (Seeder, Arc<Gate>) {
    let bytes = random_bytes(5, 40 * PIECE as usize);
    fs::write(world.path("image"), &bytes).expect("a file");
    let content = Arc::new(Content::new("image", PIECE, bytes));
    let gate = Gate::new(pieces * 4);
    let of_script = gate.clone();
    let seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        of_script.pass();
        Answer::Right
    });
    (seeder, gate)
}

#[test]
fn a_target_that_appears_meanwhile_is_left_alone() {
    let world = World::new();
    let (_seeder, gate) = gated(&world, 5);
    let get = world.start_get(&["image", "-o", "copy"]);
    get.event("first_piece");
    fs::write(world.path("copy"), "mine").expect("a file");
    gate.open();
    let ended = get.end().exits(13);
    ended.summary();
    ended.complains("copy");
    assert_eq!(fs::read(world.path("copy")).expect("a file"), b"mine");
    assert!(world.path("copy.part").exists(), "what was fetched is kept");
    fs::remove_file(world.path("copy")).expect("it is there");
    let got = world.get(&["image", "-o", "copy"]).exits(0);
    assert_eq!(got.events("start")[0]["have"], 40);
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn the_same_download_does_not_run_twice_in_one_folder() {
    let world = World::new();
    let (_seeder, gate) = gated(&world, 5);
    let get = world.start_get(&["image", "-o", "copy"]);
    get.event("first_piece");
    let second = world.get(&["image", "-o", "copy"]).exits(11);
    second.summary();
    second.complains("runs here already");
    world.get(&["image", "-o", "copy", "--overwrite"]).exits(11);
    gate.open();
    get.end().exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_io_error() {
    let world = World::new();
    world.file("image", 1, 100_000);
    let share = world.share(&["image"]);
    world
        .get(&["image", "-o", "image/"])
        .exits(13)
        .complains("image/");
    for (to, named) in [("none/copy", "none"), ("image/copy", "image")] {
        let ended = world.get(&["image", "-o", to]).exits(17);
        ended.summary();
        ended.complains(named);
    }
    fs::create_dir(world.path("sealed")).expect("a folder");
    fs::set_permissions(world.path("sealed"), fs::Permissions::from_mode(0o555)).expect("ours");
    if nix::unistd::geteuid().is_root() {
        println!("SKIPPED in part: to root no folder is read-only");
    } else {
        world
            .get(&["image", "-o", "sealed/"])
            .exits(17)
            .complains("sealed");
    }
    let ended = world.get(&["image", "-o", "/proc/"]).exits(17);
    ended.complains("/proc");
    share.stop().exits(0);
}

/// Runs a shell script in the scratch folder, whose `"$@"` is `get image -o COPY --check`.
pub(crate) fn script_around_get(
    world: &World,
    shell: &[&str],
    script: &str,
    copy: &str,
) -> Running {
    let get = world.peer(&["get", "image", "-o", copy, "--check"]);
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["sh", "-c", script, "sh"]);
    command.arg(get.get_program()).args(get.get_args());
    command.current_dir(world.path(""));
    command.env("SHOAL_TRACKER", &world.tracker.addr);
    Running::start("script", &mut command)
}

/// Whether a file system can be mounted in a mount name space of its own.
pub(crate) fn can_mount() -> bool {
    let mount = ["-m", "mount", "-t", "tmpfs", "none", "/mnt"];
    let tried = Command::new("unshare").args(mount).output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_disk_that_fills_up_ends_a_download_which_goes_on_when_there_is_space() {
    let world = World::new();
    if !can_mount() {
        println!("SKIPPED: no file system can be mounted here");
        return;
    }
    let (_seeder, gate) = gated(&world, 10);
    fs::create_dir(world.path("small")).expect("a folder");
    // A file system of its own in a mount name space of its own: nothing of it is left behind.
    let script = "mount -t tmpfs -o size=4m none small
        \"$@\"; echo code $? >&2; ls small >&2
        rm small/filler; \"$@\" && cp small/copy copy";
    let running = script_around_get(&world, &["unshare", "-m"], script, "small/copy");
    running.event("first_piece");
    let root = format!("/proc/{}/root", running.pid());
    let filler = format!("{root}{}", text(&world.path("small/filler")));
    let full = fs::write(filler, vec![1; 8 * MIB]).expect_err("it is smaller");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    gate.open();
    let ended = running.end().exits(0);
    for line in ["code 9", "copy.part", "copy.part.bits"] {
        assert!(ended.err.contains(&line.to_owned()), "{line}: {ended:#?}");
    }
    let starts = ended.events("start");
    let have = starts
        .iter()
        .map(|start| start["have"].as_u64().unwrap_or(0));
    let have: Vec<u64> = have.collect();
    assert!(have.len() == 2 && have[0] == 0 && have[1] > 0, "{have:?}");
    assert_same(&world.path("image"), &world.path("copy"));
}

#[test]
fn a_file_that_may_not_grow_is_met_as_a_full_disk_is() {
    let world = World::new();
    world.file("image", 1, 6 * MIB);
    let share = world.share(&["image"]);
    let script = "ulimit -f 3000; \"$@\"";
    let ended = script_around_get(&world, &["env"], script, "copy").end();
    ended.exits(9).summary();
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    share.stop().exits(0);
}

#[test]
fn a_shared_file_that_changes_is_served_no_longer() {
    let world = World::new();
    let path = world.file("image", 1, 3 * MIB);
    let share = world.share(&["image"]);
    fs::write(&path, random_bytes(2, 3 * MIB)).expect("a file");
    let ended = share.end().exits(17);
    ended.summary();
    ended.complains("no longer served");
    let got = world
        .get(&["image", "-o", "copy", "--stall", "1s"])
        .exits(5);
    assert_eq!(got.summary()["down_bytes"], 0);
}

#[test]
fn a_file_that_changes_under_a_download_spoils_no_copy() {
    let world = World::new();
    let path = world.file("image", 1, 64 * MIB);
    let share = world.share(&["image"]);
    let get = world.start_get(&["image", "-o", "copy", "--stall", "3s"]);
    get.event("start");
    fs::write(&path, "short").expect("a file");
    let shared = share.end().exits(17);
    shared.complains("no longer served");
    let ended = get.end();
    assert!(matches!(ended.code, Some(0 | 5)), "{ended:#?}");
    assert_eq!(ended.summary()["hash_fail"], 0, "nothing wrong was sent");
}

#[test]
fn a_shared_file_that_disappears_ends_the_share() {
    let world = World::new();
    let path = world.file("image", 1, MIB);
    let other = world.file("other", 2, MIB);
    let share = world.start(&["share", "image", "other"]);
    share.event_where("shared", |event| event["name"] == "image");
    share.event_where("shared", |event| event["name"] == "other");
    fs::remove_file(&path).expect("it is there");
    share.complaint("no longer served");
    // The other one is served all the same.
    world.get(&["other", "-o", "copy"]).exits(0);
    assert_same(&other, &world.path("copy"));
    share.stop().exits(17);
}

#[test]
fn what_cannot_be_shared_is_an_error_with_a_reason() {
    let world = World::new();
    fs::create_dir(world.path("empty")).expect("a folder");
    for (path, named) in [
        ("nothing", "nothing"),
        ("empty", "empty"),
        ("/dev/null", "/dev/null"),
    ] {
        let ended = world.run(&["share", path]).exits(17);
        ended.summary();
        ended.complains(named);
    }
    let path = world.path("image");
    fs::write(&path, "x").expect("a file");
    let share = world.share(&[text(&path)]);
    let mut native = Native::connect(&world.tracker.addr, &[]);
    assert_eq!(
        native.register(b"d4:name"),
        Err(shoal::wire::native::ErrorCode::BadFrame)
    );
    share.stop().exits(0);
}
