//! Commands that ask and tell: what they say, and what they exit with.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use crate::common::{Answer, Content, Gate, Running, Seeder, World, assert_same, random_bytes};

#[test]
fn an_unknown_name_is_not_found() {
    let world = World::new();
    let hash = "0123456789abcdef0123456789abcdef01234567";
    for what in ["nothing", hash, &hash[..10]] {
        let commands: [&[&str]; 4] = [
            &["get", what],
            &["status", what],
            &["rm", what],
            &["verify", what, "x"],
        ];
        for command in commands {
            let ended = world.run(command).exits(3);
            ended.summary();
            ended.complains(what);
        }
    }
    assert_eq!(fs::read_dir(world.path("")).expect("a folder").count(), 0);
}

#[test]
fn without_a_tracker_every_command_says_so() {
    let mut world = World::new();
    world.file("image", 1, 1000);
    world.tracker.kill();
    let commands: [&[&str]; 6] = [
        &["share", "image"],
        &["get", "x"],
        &["ls"],
        &["status", "x"],
        &["verify", "x", "image"],
        &["rm", "x"],
    ];
    let running: Vec<Running> = commands
        .iter()
        .map(|command| world.start(command))
        .collect();
    for running in running {
        let ended = running.end().exits(6);
        ended.summary();
        ended.complains(&format!("no tracker at {}", world.tracker.addr));
    }
    world.tracker.revive();
}

#[test]
fn a_host_that_does_not_resolve_and_a_port_that_talks_otherwise_are_told_apart() {
    let world = World::new();
    let ended = world.run(&["ls", "-t", "no-such-host.invalid"]).exits(19);
    ended.summary();
    ended.complains("no-such-host.invalid");
    // Something else listens there, and closes what it does not understand.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    world.run(&["ls", "-t", &addr]).exits(6).complains(&addr);
}

#[test]
fn an_explicit_port_that_is_taken_is_refused() {
    let world = World::new();
    world.file("image", 1, 1000);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound").to_string();
    let ended = world.run(&["share", "image", "-l", &addr]);
    assert_eq!(ended.code, Some(28), "an option once only: {ended:#?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
    command.args([
        "--json",
        "share",
        "image",
        "-l",
        &addr,
        "-t",
        &world.tracker.addr,
    ]);
    command.current_dir(world.path(""));
    Running::start("share", &mut command)
        .end()
        .exits(6)
        .complains(&addr);
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
    let ended = Running::start("tracker", command.args(["-l", &world.tracker.addr])).end();
    assert_eq!(ended.code, Some(6), "{ended:#?}");
    assert!(ended.err[0].contains(&world.tracker.addr), "{ended:#?}");
}

#[test]
fn nobody_who_shares_ends_a_get_with_stall_or_timeout() {
    let world = World::new();
    world.file("image", 1, 100_000);
    world.share(&["image"]).stop().exits(0);
    let ended = world.get(&["image", "-o", "a", "--stall", "1"]).exits(5);
    ended.summary();
    ended.complains("--stall");
    let ended = world.get(&["image", "-o", "b", "--timeout", "1"]).exits(2);
    ended.summary();
    ended.complains("--timeout");
    let content = Content::new("silent", 65536, random_bytes(1, 100_000));
    let _silent = Seeder::start(&world.tracker.addr, &Arc::new(content), |_| Answer::Silence);
    world.get(&["silent", "-o", "c", "--stall", "1"]).exits(5);
}

#[test]
fn a_copy_that_has_not_the_digest_it_should_have_is_refused() {
    let world = World::new();
    world.file("image", 1, 100_000);
    let share = world.share(&["image"]);
    let row = &world.run(&["ls"]).exits(0).events("file")[0];
    let right = row["sha256"].as_str().expect("it is known").to_owned();
    let wrong = "0".repeat(64);
    let ended = world
        .get(&["image", "-o", "a", "--sha256", &wrong])
        .exits(32);
    ended.summary();
    ended.complains(&right);
    assert!(!world.path("a").exists() && world.path("a.part").exists());
    world
        .get(&["image", "-o", "a", "--sha256", &right])
        .exits(0);
    assert_same(&world.path("image"), &world.path("a"));
    fs::create_dir(world.path("tree")).expect("a folder");
    world.file("tree/x", 2, 10);
    let tree = world.share(&["tree"]);
    world
        .get(&["tree", "-o", "b", "--sha256", &right])
        .exits(28);
    tree.stop().exits(0);
    share.stop().exits(0);
}

#[test]
fn a_description_whose_digest_is_wrong_is_noticed_by_check() {
    let world = World::new();
    let bytes = random_bytes(1, 200_000);
    let content = Content::with_digest("image", 65536, bytes, [7; 32]);
    let _seeder = Seeder::start(&world.tracker.addr, &Arc::new(content), |_| Answer::Right);
    world.get(&["image", "-o", "a"]).exits(0);
    let ended = world.get(&["image", "-o", "b", "--check"]).exits(32);
    ended.summary();
    assert!(!world.path("b").exists());
    let ended = world.run(&["verify", "image", "a"]).exits(32);
    assert_eq!(ended.events("bad_file").len(), 1);
}

#[test]
fn ls_lists_what_matches() {
    let world = World::new();
    let names = ["a.img", "b.img", "c.txt"];
    for (seed, name) in names.into_iter().enumerate() {
        world.file(name, seed as u64, 70_000);
    }
    let share = world.start(&["share", "a.img", "b.img", "c.txt"]);
    for name in names {
        share.event_where("shared", |event| event["name"] == name);
    }
    let all = world.run(&["ls"]).exits(0);
    assert_eq!(all.events("file").len(), 3);
    all.summary();
    let mut listed: Vec<String> = world
        .run(&["ls", "*.img"])
        .exits(0)
        .events("file")
        .iter()
        .map(|file| file["name"].as_str().expect("text").to_owned())
        .collect();
    listed.sort();
    assert_eq!(listed, ["a.img", "b.img"]);
    let one = &world.run(&["ls", "c.*"]).exits(0).events("file")[0];
    assert_eq!((&one["size"], &one["pieces"]), (&70_000.into(), &2.into()));
    assert_eq!((&one["seeds"], &one["leechers"]), (&1.into(), &0.into()));
    assert!(
        world
            .run(&["ls", "nothing*"])
            .exits(0)
            .events("file")
            .is_empty()
    );
    share.stop().exits(0);
}

#[test]
fn status_says_who_has_what_and_whether_that_is_enough() {
    let world = World::new();
    world.file("image", 1, 200_000);
    let share = world.share(&["image"]);
    world.get(&["image", "-o", "copy"]).exits(0);
    let ended = world.run(&["status", "image", "--expect", "2"]).exits(0);
    let members = ended.events("member");
    assert_eq!(members.len(), 2, "the getter is remembered: {members:?}");
    assert!(members.iter().all(|member| member["complete"] == true));
    assert_eq!(
        members
            .iter()
            .filter(|member| member["connected"] == true)
            .count(),
        1
    );
    assert_eq!(ended.summary()["complete"], 2);
    let ended = world.run(&["status", "image", "--expect", "3"]).exits(33);
    ended.summary();
    ended.complains("2 of 3");
    let host = members[0]["host"].as_str().expect("text");
    fs::write(world.path("hosts"), format!("{host}\nno-such-machine\n")).expect("a file");
    let ended = world
        .run(&["status", "image", "--hosts", "hosts"])
        .exits(33);
    assert_eq!(ended.summary()["missing"][0], "no-such-machine");
    fs::write(world.path("hosts"), format!("{host}\n")).expect("a file");
    world.run(&["status", "image", "--hosts", "hosts"]).exits(0);
    let watch = world.start(&["status", "image", "--expect", "3", "--watch"]);
    watch.event("member");
    world.get(&["image", "-o", "copy2"]).exits(0);
    watch.end().exits(0).summary();
    share.stop().exits(0);
}

#[test]
fn verify_finds_the_piece_that_differs() {
    let world = World::new();
    world.file("image", 1, 200_000);
    let share = world.share(&["image"]);
    let ended = world.run(&["verify", "image", "image"]).exits(0);
    let summary = ended.summary();
    assert_eq!(
        (&summary["pieces"], &summary["pieces_bad"]),
        (&4.into(), &0.into())
    );
    let mut bytes = fs::read(world.path("image")).expect("a file");
    bytes[70_000] ^= 1;
    fs::write(world.path("other"), &bytes).expect("a file");
    let ended = world.run(&["verify", "image", "other"]).exits(32);
    assert_eq!(ended.summary()["pieces_bad"], 1);
    assert_eq!(ended.events("bad_piece")[0]["piece"], 1);
    fs::write(world.path("short"), &bytes[..100]).expect("a file");
    world.run(&["verify", "image", "short"]).exits(32).summary();
    let ended = world.run(&["verify", "image", "nowhere"]);
    assert!(matches!(ended.code, Some(17 | 32)), "{ended:#?}");
    ended.summary();
    share.stop().exits(0);
}

#[test]
fn what_was_removed_is_gone_and_its_share_ends() {
    let world = World::new();
    world.file("image", 1, 200_000);
    let share = world.share(&["image"]);
    let ended = world.run(&["rm", "image"]).exits(0);
    assert_eq!(ended.events("removed")[0]["name"], "image");
    ended.summary();
    let ended = share.end();
    assert!(
        ended.err.iter().any(|line| line.contains("removed")),
        "{ended:#?}"
    );
    ended.summary();
    world.get(&["image"]).exits(3);
    assert!(world.path("image").exists(), "files stay");
    // It can be shared again.
    let share = world.share(&["image"]);
    world.get(&["image", "-o", "copy"]).exits(0);
    share.stop().exits(0);
}

#[test]
fn a_content_that_is_removed_while_it_is_fetched_still_arrives() {
    let world = World::new();
    let content = Arc::new(Content::new("image", 65536, random_bytes(1, 20 * 65536)));
    let gate = Gate::new(5 * 4);
    let of_script = gate.clone();
    let _seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        of_script.pass();
        Answer::Right
    });
    let get = world.start_get(&["image", "-o", "copy"]);
    get.event("first_piece");
    world.run(&["rm", "image"]).exits(0);
    get.complaint("removed from the tracker");
    gate.open();
    get.end().exits(0).summary();
    assert!(world.run(&["ls"]).exits(0).events("file").is_empty());
}

#[test]
fn a_share_that_is_stopped_before_it_serves_is_unfinished() {
    let world = World::new();
    let file = fs::File::create(world.path("large")).expect("a file");
    file.set_len(64 << 30).expect("sparse");
    let share = world.start(&["share", "large"]);
    share.event("hashing");
    let ended = share.stop().exits(7);
    ended.summary();
    ended.complains("stopped");
}

#[test]
fn data_that_cannot_be_written_to_stdout_is_an_error() {
    let world = World::new();
    let peer = env!("CARGO_BIN_EXE_shoal-peer");
    let script = format!("{peer} ls --json -t {} > /dev/full", world.tracker.addr);
    let ended = Running::start("ls", Command::new("sh").args(["-c", &script])).end();
    ended.exits(17).complains("stdout");
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let world = World::new();
    world.file("image", 1, 200_000);
    let share = world.share(&["image"]);
    let peer = env!("CARGO_BIN_EXE_shoal-peer");
    let get = format!(
        "{peer} --json -t {} get image -o copy --seed forever",
        world.tracker.addr
    );
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{get} | head -n 1")]);
    command.current_dir(world.path(""));
    let ended = Running::start("get", &mut command).end().exits(0);
    assert_eq!(ended.events("start").len(), 1);
    assert!(ended.err.is_empty(), "{ended:#?}");
    share.stop().exits(0);
}

#[test]
fn a_tracker_has_one_reactor_and_one_helper_thread() {
    let world = World::with_state();
    world.file("image", 1, 200_000);
    let share = world.share(&["image"]);
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_eq!(world.tracker.running().status("Threads:"), 2);
    share.stop().exits(0);
}

#[test]
fn six_getters_that_start_at_once_keep_one_link_to_each_other() {
    let world = World::new();
    let content = Arc::new(Content::new("image", 65536, random_bytes(1, 100 * 65536)));
    let gate = Gate::new(100);
    let of_script = gate.clone();
    let _seeder = Seeder::start(&world.tracker.addr, &content, move |_| {
        of_script.pass();
        Answer::Right
    });
    let getters: Vec<Running> = (0..6)
        .map(|n| world.start_get(&["image", "-o", &format!("copy{n}"), "--seed", "forever"]))
        .collect();
    for getter in &getters {
        // Five others and the seed; with a second link to anybody there would be more.
        getter.event_where("progress", |event| event["peers"] == 6);
    }
    for getter in &getters {
        assert_eq!(established(getter.pid()), 7, "six links and the tracker");
    }
    gate.open();
    for getter in getters {
        getter.event("seeding");
        let ended = getter.stop().exits(0);
        let most = ended
            .events("progress")
            .iter()
            .filter_map(|event| event["peers"].as_u64())
            .max();
        assert_eq!(most, Some(6));
    }
}

/// How many TCP connections a process has.
fn established(pid: u32) -> usize {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("Linux");
    let inodes: Vec<&str> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(3) == Some(&"01"))
        .map(|words| words[9])
        .collect();
    let sockets = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    sockets
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| {
            let target = target.to_string_lossy();
            inodes
                .iter()
                .any(|inode| *target == *format!("socket:[{inode}]"))
        })
        .count()
}
