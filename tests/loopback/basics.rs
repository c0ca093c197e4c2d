//! One shares, others fetch: every size, name and shape of a content.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::common::{Running, World, assert_same, file, text, tree};

const MIB: usize = 1 << 20;
/// The smallest piece that `share` chooses by itself.
const PIECE: usize = 64 << 10;

#[test]
fn one_shares_and_one_gets() {
    let world = World::new();
    let source = world.file("image.bin", 1, 9 * MIB + 321);
    let share = world.share(&[text(&source)]);
    let to = world.folder("to");
    let got = world.get(&["image.bin", "-o", &to]).exits(0);
    assert_same(&source, &world.path("to/image.bin"));
    let summary = got.summary();
    assert_eq!(summary["path"], text(&world.path("to/image.bin")));
    assert_eq!(summary["down_bytes"], 9 * MIB + 321);
    assert_eq!(summary["hash_fail"], 0);
    assert_eq!(got.events("start")[0]["have"], 0);
    assert_eq!(got.events("first_piece").len(), 1);
    let shared = share.stop().exits(0).summary();
    assert_eq!(shared["up_bytes"], 9 * MIB + 321);
    let left: Vec<_> = fs::read_dir(&to).expect("a folder").collect();
    assert_eq!(left.len(), 1, "no .part and no .bits are left: {left:?}");
}

#[test]
fn one_shares_and_eight_get_at_once_and_serve_one_another() {
    let world = World::new();
    let source = world.file("image.bin", 2, 48 * MIB);
    let share = world.share(&[text(&source)]);
    let getters: Vec<Running> = (0..8)
        .map(|n| {
            let to = world.folder(&format!("to{n}"));
            world.start_get(&["image.bin", "-o", &to, "--check"])
        })
        .collect();
    let mut between = 0;
    for (n, getter) in getters.into_iter().enumerate() {
        let summary = getter.end().exits(0).summary();
        between += summary["up_bytes"].as_u64().expect("a number");
        assert_same(&source, &world.path(&format!("to{n}/image.bin")));
    }
    assert!(between > 0, "getters serve what they have");
    let sent = share.stop().exits(0).summary();
    let sent = sent["up_bytes"].as_u64().expect("a number");
    assert!(sent + between >= 8 * 48 * MIB as u64);
    world
        .run(&["status", "image.bin", "--expect", "8"])
        .exits(0);
}

#[test]
fn every_size_arrives() {
    let world = World::new();
    let sizes = [0, 1, PIECE - 1, PIECE, 3 * PIECE, 3 * PIECE + 1];
    for size in sizes {
        world.file(&format!("f{size}"), size as u64, size);
    }
    let names: Vec<String> = sizes.iter().map(|size| format!("f{size}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let share = world.start(&[&["share"], names.as_slice()].concat());
    for name in &names {
        share.event_where("shared", |event| event["name"] == *name);
        let new = format!("new-{name}");
        let got = world.get(&[name, "-o", &new, "--check"]).exits(0);
        assert_same(&world.path(name), &world.path(&new));
        let size = fs::metadata(world.path(name)).expect("a file").len();
        assert_eq!(got.summary()["down_bytes"], size);
        world.run(&["status", name, "--expect", "2"]).exits(0);
    }
    share.stop().exits(0).summary();
}

#[test]
fn names_with_spaces_and_of_other_scripts_arrive() {
    let world = World::new();
    let names = [
        "two words.bin",
        "снимок диска.img",
        "東京 – 画像 🐟",
        "-dash",
        "a\\b",
    ];
    fs::create_dir(world.path("from")).expect("a folder");
    let to = world.folder("to");
    for (seed, name) in names.into_iter().enumerate() {
        let path = file(&world.path("from").join(name), seed as u64, 70_000);
        let share = world.share(&["--", text(&path)]);
        world.get(&["-o", &to, "--check", "--", name]).exits(0);
        share.stop().exits(0);
    }
    assert_same(&world.path("from"), &world.path("to"));
}

#[test]
fn a_folder_arrives_with_nested_and_empty_files() {
    let world = World::new();
    fs::create_dir_all(world.path("tree/a/b/c")).expect("folders");
    world.file("tree/first", 1, 100_000);
    world.file("tree/a/empty", 2, 0);
    world.file("tree/a/b/c/deep", 3, 300_001);
    world.file("tree/a/b/c/ü ü", 4, 1);
    world.file("tree/z-empty", 5, 0);
    let share = world.share(&["tree"]);
    let to = world.folder("to");
    let got = world.get(&["tree", "-o", &to, "--check"]).exits(0);
    assert_same(&world.path("tree"), &world.path("to/tree"));
    assert_eq!(got.summary()["path"], text(&world.path("to/tree")));
    assert_eq!(fs::read_dir(&to).expect("a folder").count(), 1);
    world.run(&["verify", "tree", "to/tree"]).exits(0);
    share.stop().exits(0);
}

#[test]
fn a_folder_of_a_thousand_files_arrives() {
    let world = World::new();
    for folder in 0..10 {
        fs::create_dir_all(world.path(&format!("many/{folder}"))).expect("folders");
        for n in 0..100 {
            let len = (n * 37) % 5_000;
            world.file(&format!("many/{folder}/{n}"), n as u64 + 1000 * folder, len);
        }
    }
    let share = world.share(&["many"]);
    let to = world.folder("to");
    let got = world.get(&["many", "-o", &to, "--check"]).exits(0);
    assert_eq!(share.event("shared")["files"], 1000);
    assert_same(&world.path("many"), &world.path("to/many"));
    assert_eq!(tree(&world.path("to/many")).len(), 1000);
    got.summary();
    share.stop().exits(0);
}

#[test]
fn a_sparse_file_beyond_4_gib_arrives_in_bounded_memory() {
    let size = (4u64 << 30) + (100 << 20) + 7;
    let world = World::new();
    let free = nix::sys::statvfs::statvfs(&world.path("")).expect("a file system");
    let free = free.blocks_available() as u64 * free.fragment_size() as u64;
    if free < 10 << 30 {
        println!("SKIPPED: only {free} bytes are free for a file beyond 4 GiB");
        return;
    }
    let source = fs::File::create(world.path("large")).expect("a file");
    source.set_len(size).expect("sparse");
    let marks = [
        0,
        (1 << 31) - 3,
        (1 << 32) - 5,
        (1 << 32) + (1 << 20),
        size - 9,
    ];
    for at in marks {
        source.write_all_at(&at.to_le_bytes(), at).expect("written");
    }
    let share = world.share(&["large"]);
    let get = world.start_get(&["large", "-o", "copy", "--seed", "forever"]);
    get.event("seeding");
    let copy = fs::File::open(world.path("copy")).expect("it is there");
    assert_eq!(copy.metadata().expect("a file").len(), size);
    for at in marks {
        let mut bytes = [0; 8];
        copy.read_exact_at(&mut bytes, at).expect("long enough");
        assert_eq!(u64::from_le_bytes(bytes), at);
    }
    for program in [&share, &get] {
        let peak = program.memory_peak_mib();
        assert!(peak < 64 + 48, "{peak} MiB");
    }
    assert_eq!(get.stop().exits(0).summary()["down_bytes"], size);
    share.stop().exits(0);
}

#[test]
fn the_same_content_from_two_machines_is_one_swarm() {
    let world = World::new();
    for from in ["here", "there"] {
        fs::create_dir(world.path(from)).expect("a folder");
        world.file(&format!("{from}/image"), 7, 3 * MIB);
    }
    let shares = ["here/image", "there/image"].map(|path| world.share(&[path]));
    let hashes = shares
        .each_ref()
        .map(|share| share.event("shared")["info_hash"].clone());
    assert_eq!(hashes[0], hashes[1]);
    let listed = world.run(&["ls"]).exits(0).events("file");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["seeds"], 2);
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("here/image"), &world.path("copy"));
    shares
        .into_iter()
        .for_each(|share| drop(share.stop().exits(0)));
}

#[test]
fn two_contents_are_fetched_into_one_folder_at_once() {
    let world = World::new();
    world.file("one", 1, MIB);
    world.file("two", 2, 2 * MIB);
    let share = world.start(&["share", "one", "two"]);
    share.event_where("shared", |event| event["name"] == "one");
    share.event_where("shared", |event| event["name"] == "two");
    let got = world.get(&["one", "two", "-o", "both"]).exits(0);
    for name in ["one", "two"] {
        assert_same(&world.path(name), &world.path("both").join(name));
        let done = got.events("done");
        let done = done.iter().find(|event| event["name"] == name);
        assert_eq!(done.expect("it is told")["ok"], true);
    }
    assert_eq!(got.summary()["down_bytes"], 3 * MIB);
    let got = world.get(&["one", "three", "-o", "other"]).exits(3);
    assert_same(&world.path("one"), &world.path("other/one"));
    got.summary();
    share.stop().exits(0);
}

#[test]
fn contents_are_found_by_hash_and_by_its_beginning() {
    let world = World::new();
    world.file("image", 1, 1000);
    let share = world.share(&["image"]);
    let hash = share.event("shared")["info_hash"].clone();
    let hash = hash.as_str().expect("text");
    for (n, what) in [hash, &hash[..8], &hash.to_uppercase()]
        .into_iter()
        .enumerate()
    {
        let new = format!("copy{n}");
        world.get(&[what, "-o", &new]).exits(0);
        assert_same(&world.path("image"), &world.path(&new));
    }
    share.stop().exits(0);
}

#[test]
fn peers_that_listen_everywhere_find_one_another() {
    let world = World::new();
    world.file("image", 1, 3 * MIB);
    let anywhere = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
        command
            .args(["--json", "-t", &world.tracker.addr])
            .args(args);
        command.current_dir(world.path(""));
        Running::start(&args.join(" "), &mut command)
    };
    let share = anywhere(&["share", "image"]);
    share.event("shared");
    let first = anywhere(&["get", "image", "-o", "first", "--seed", "forever"]);
    first.event("seeding");
    share.stop().exits(0);
    let summary = anywhere(&["get", "image", "-o", "second"])
        .end()
        .exits(0)
        .summary();
    assert_eq!(summary["down_bytes"], 3 * MIB);
    assert_same(&world.path("image"), &world.path("second"));
    first.stop().exits(0);
}

#[test]
fn what_goes_to_a_pipe_is_only_the_final_path() {
    let world = World::new();
    world.file("image", 1, 100_000);
    let share = world.share(&["image"]);
    let mut command = world.peer(&["get", "image", "-o", "copy"]);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut plain = Command::new(command.get_program());
    plain.args(words.iter().filter(|word| *word != "--json"));
    plain
        .current_dir(world.path(""))
        .env("SHOAL_TRACKER", &world.tracker.addr);
    command.env_clear();
    let ended = Running::start("get", &mut plain).end().exits(0);
    assert_eq!(ended.out, ["copy"]);
    share.stop().exits(0);
}
