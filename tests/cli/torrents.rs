//! `.torrent` files and magnet links: written, shown, exported, and what `seed` serves of them. Others read the files too.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use shoal::wire::magnet::Magnet;
use shoal::wire::torrent::Torrent;

use crate::program::{Ended, Running, Scene, noise, peer};

const SEED: [&str; 3] = ["seed", "-l", "127.0.0.1:0"];

/// `shoal-peer` in the scene's folder, without a tracker.
fn alone(scene: &Scene, words: &[&str]) -> Running {
    let mut command = peer("");
    command.current_dir(scene.folder.path()).args(words);
    Running::start(command)
}

fn torrent(scene: &Scene, name: &str) -> Torrent {
    Torrent::from_bytes(&scene.read(name)).expect("a torrent file")
}

fn first(ended: &Ended) -> Value {
    let line = ended.out.lines().next().expect("a line");
    serde_json::from_str(line).expect("JSON")
}

/// A folder of three files, one of them empty.
fn folder(scene: &Scene) {
    scene.file("d/a", &noise(200_000));
    scene.file("d/sub/ü b", &noise(100_000));
    scene.file("d/empty", b"");
}

#[test]
fn share_writes_a_file_that_export_writes_again_and_never_over_another() {
    let scene = Scene::new();
    folder(&scene);
    let words = ["share", "-l", "127.0.0.1:0", "d", "--torrent", "d.torrent"];
    let mut share = scene.start(words);
    let hint = share.wait_err("    or: ");
    let link = Magnet::parse(hint.trim_start_matches("    or: ")).expect("a link");
    let written = torrent(&scene, "d.torrent");
    let urls = [
        format!("http://{}/announce", scene.addr),
        format!("udp://{}", scene.addr),
    ];
    assert_eq!(written.tiers, [urls.to_vec()]);
    assert_eq!(link, written.magnet());
    assert_eq!(link.info_hash.to_string(), scene.info_hash("d"));

    let exported = scene.run(["torrent", "export", "d", "--torrent", "again"]);
    assert_eq!(exported.expect(0).out, "again\n");
    assert_eq!(scene.read("again"), scene.read("d.torrent"));
    let refused = scene.run(["torrent", "export", "d"]).expect(13);
    let why = "torrent export d: d.torrent: File exists (move it away, or name another file with --torrent)";
    assert_eq!(refused.err, format!("shoal-peer: {why}\n"));
    scene.run(["torrent", "export", "nothing"]).expect(3);

    // The same again is fine; a file that says something else stays.
    let mut again = scene.start(words);
    again.wait_err("get it: ");
    scene.file("other", b"other");
    let words = ["share", "other", "--torrent", "d.torrent"];
    let refused = scene.run(words).expect(13);
    assert!(
        refused
            .err
            .contains("share other: d.torrent: File exists ("),
        "{refused:?}"
    );
    assert_eq!(scene.read("again"), scene.read("d.torrent"));
}

#[test]
fn create_describes_without_a_tracker_and_show_tells_it() {
    let scene = Scene::new();
    folder(&scene);
    let made = alone(
        &scene,
        &[
            "torrent",
            "create",
            "d",
            "--private",
            "--comment",
            "a\u{1b}b",
            "-t",
            "tr,udp://a:1",
        ],
    );
    let made = made.end().expect(0);
    assert_eq!(made.out, "d.torrent\n");
    let read = torrent(&scene, "d.torrent");
    assert!(read.meta.is_private());
    assert!(read.meta.files().iter().all(|file| file.sha256.is_some()));
    let tier = ["http://tr:6969/announce", "udp://tr:6969", "udp://a:1"];
    assert_eq!(read.tiers, [tier]);
    let link = read.magnet().to_string();
    let told = made.err.lines().any(|line| line == link);
    assert!(told, "{made:?}");

    let shown = alone(&scene, &["torrent", "show", "d.torrent"])
        .end()
        .expect(0);
    for line in [
        "name       d",
        &format!("info-hash  {}", read.meta.info_hash()),
        "size       293 KiB (300000 bytes)",
        "files      3",
        "           sub/ü b  97.7 KiB",
        "private    yes",
        "comment    a\\u{1b}b",
        &format!("magnet     {link}"),
    ] {
        assert!(
            shown.out.lines().any(|shown| shown == line),
            "{line}: {shown:?}"
        );
    }
    let told = alone(&scene, &["torrent", "show", "d.torrent", "--json"]);
    let told = told.end().expect(0);
    assert_eq!(first(&told)["magnet"], *link);
    assert_eq!(told.out.lines().count(), 5, "{told:?}");

    let again = alone(&scene, &["torrent", "create", "d"]).end().expect(13);
    assert!(again.err.contains("d.torrent: File exists ("), "{again:?}");
    let plain = alone(
        &scene,
        &["torrent", "create", "d", "--torrent", "plain", "--json"],
    );
    let summary = plain.end().expect(0);
    let last = summary.out.lines().last().expect("a summary");
    let last: Value = serde_json::from_str(last).expect("JSON");
    let plain = torrent(&scene, "plain");
    assert!(plain.tiers.is_empty());
    assert_eq!(last["info_hash"], plain.meta.info_hash().to_string());
    assert_eq!(last["magnet"], plain.magnet().to_string());
    assert_eq!(last["path"], "plain");
}

#[test]
fn files_and_links_that_are_none_have_codes_of_their_own() {
    let scene = Scene::new();
    scene.file("bad.torrent", b"d4:infode");
    scene.file(
        "hostile.torrent",
        b"d4:infod6:lengthi0e4:name2:..12:piece lengthi1e6:pieces0:ee",
    );
    scene.file("x", b"x");
    let commands: [&[&str]; 4] = [
        &["get"],
        &["seed", "x"],
        &["verify", "x"],
        &["torrent", "show"],
    ];
    for words in commands {
        for (file, code) in [
            ("bad.torrent", 25),
            ("hostile.torrent", 26),
            ("no.torrent", 17),
        ] {
            let mut words = words.to_vec();
            let at = if words[0] == "torrent" { 2 } else { 1 };
            words.insert(at, file);
            let ended = alone(&scene, &words).end().expect(code);
            assert!(ended.err.contains(file), "{ended:?}");
        }
    }
    scene.run(["get", "magnet:?dn=x"]).expect(27);
}

#[test]
fn verify_compares_with_a_torrent_file_alone() {
    let scene = Scene::new();
    scene.file("x", &noise(100_000));
    alone(&scene, &["torrent", "create", "x"]).end().expect(0);
    alone(&scene, &["verify", "x.torrent", "x"]).end().expect(0);
    scene.file("x", &noise(99_999));
    alone(&scene, &["verify", "x.torrent", "x"])
        .end()
        .expect(32);
}

#[test]
fn a_seed_serves_by_name_and_stops_when_its_file_changes() {
    let scene = Scene::new();
    folder(&scene);
    alone(&scene, &["torrent", "create", "d"]).end().expect(0);
    let mut seed = scene.start(SEED.iter().chain(&["d.torrent", "d"]));
    seed.wait_err("get it: ");
    scene.run(["get", "d", "-o", "got/"]).expect(0);
    assert_eq!(scene.read("got/d/sub/ü b"), scene.read("d/sub/ü b"));
    let hash = torrent(&scene, "d.torrent").meta.info_hash().to_string();
    scene.run(["get", &hash, "-o", "by-hash/"]).expect(0);
    scene.file("d/a", b"changed");
    let ended = seed.end().expect(17);
    assert!(
        ended.err.contains("; it is no longer served ("),
        "{ended:?}"
    );
}

#[test]
fn a_seed_serves_what_matches_of_a_damaged_copy() {
    let scene = Scene::new();
    let bytes = noise(20 * 65536);
    let mut damaged = bytes.clone();
    damaged[5 * 65536] ^= 1;
    scene.file("one/x", &damaged);
    damaged[5 * 65536] ^= 1;
    damaged[9 * 65536] ^= 1;
    scene.file("two/x", &damaged);
    scene.file("x", &bytes);
    alone(&scene, &["torrent", "create", "x"]).end().expect(0);
    let mut seeds = ["one/x", "two/x"].map(|path| {
        let mut seed = scene.start(SEED.iter().chain(&["x.torrent", path]));
        let warning = seed.wait_err("warning: ");
        assert!(
            warning.contains(&format!(
                "1 of 20 pieces of {path} are missing or differ: only the others are served"
            )),
            "{warning}"
        );
        seed.wait_err("get it: ");
        seed
    });
    scene.run(["get", "x", "-o", "got"]).expect(0);
    assert_eq!(scene.read("got"), bytes);
    for seed in &mut seeds {
        seed.send(Signal::SIGTERM);
        seed.wait_err("served ");
    }
    assert_ne!(scene.read("one/x"), bytes, "nobody repairs it");
}

#[test]
fn of_a_folder_that_lacks_a_file_the_pieces_of_the_others_are_served() {
    let scene = Scene::new();
    folder(&scene);
    alone(&scene, &["torrent", "create", "d"]).end().expect(0);
    fs::remove_file(scene.path("d/a")).expect("it was there");
    let mut seed = alone(&scene, &[&SEED[..], &["d.torrent", "d", "--json"]].concat());
    let shared: Value = serde_json::from_str(&seed.wait_out("\"shared\"")).expect("JSON");
    // Three and a bit of the five pieces were of the file that is gone.
    assert_eq!((&shared["have"], &shared["pieces"]), (&1.into(), &5.into()));
    seed.send(Signal::SIGTERM);
    seed.end().expect(0);
}

#[test]
fn a_seed_of_something_else_is_refused() {
    let scene = Scene::new();
    scene.file("x", &noise(100_000));
    alone(&scene, &["torrent", "create", "x"]).end().expect(0);
    scene.file("short", &noise(99_999));
    scene.file("zeros", &[0; 100_000]);
    for (path, code) in [("short", 32), ("zeros", 32), ("none", 17)] {
        let words = [&SEED[..], &["x.torrent", path]].concat();
        alone(&scene, &words).end().expect(code);
    }
}

#[test]
fn a_seed_goes_on_without_a_tracker_that_is_not_there() {
    let scene = Scene::new();
    scene.file("x", b"x");
    alone(&scene, &["torrent", "create", "x"]).end().expect(0);
    let words = [&SEED[..], &["-t", "127.0.0.1:1", "x.torrent", "x"]].concat();
    let mut seed = alone(&scene, &words);
    seed.wait_err("warning: no tracker at 127.0.0.1:1: connection refused; going on without it");
    seed.wait_err("get it: magnet:?xt=urn:btih:");
    seed.send(Signal::SIGTERM);
    seed.end().expect(0);
}

#[test]
fn who_waits_for_peers_to_explain_a_link_is_told_so() {
    let scene = Scene::new();
    let link = format!("magnet:?xt=urn:btih:{}&dn=it", "0f".repeat(20));
    let mut get = alone(&scene, &["get", "-l", "127.0.0.1:0", &link]);
    get.wait_err("get it: asking peers what it is");
    get.send(Signal::SIGTERM);
    get.end().expect(7);
}

/// What a program of others says of a file; `None` if it is not installed, which is said, and where CI=true a failure.
fn says(program: &str, words: &[&str], file: &Path) -> Option<String> {
    let said = Command::new(program).args(words).arg(file).output();
    let said = said.ok().filter(|said| said.status.success());
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(said.is_some() || !is_ci, "not installed: {program}");
    if said.is_none() {
        let mut err = std::io::stderr().lock();
        writeln!(err, "torrent files are NOT READ with {program}").expect("stderr is open");
    }
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned())
}

#[test]
fn programs_of_others_read_the_files_and_make_the_same() {
    let scene = Scene::new();
    folder(&scene);
    scene.file("x", &noise(300_000));
    let words = [
        "--no-sha256",
        "--piece-size",
        "32K",
        "-t",
        "udp://a:1",
        "-t",
        "http://b/announce",
    ];
    for name in ["x", "d"] {
        let made = [&["torrent", "create", name], &words[..]].concat();
        alone(&scene, &made).end().expect(0);
        let file = format!("{name}.torrent");
        let hash = torrent(&scene, &file).meta.info_hash().to_string();
        let path = scene.path(&file);
        let python = "import libtorrent, sys\n\
                      it = libtorrent.torrent_info(sys.argv[1])\n\
                      print(it.info_hash(), [t.url for t in it.trackers()])";
        let read = [
            says("aria2c", &["-S"], &path),
            says("transmission-show", &[], &path),
            says("/usr/bin/python3", &["-c", python], &path),
        ];
        for said in read.into_iter().flatten() {
            let is_read = [&hash, "udp://a:1", "http://b/announce"];
            assert!(is_read.iter().all(|part| said.contains(*part)), "{said}");
        }
        let theirs = scene.path(&format!("{name}.theirs"));
        let out = theirs.to_str().expect("plain");
        if says("mktorrent", &["-l", "15", "-o", out], &scene.path(name)).is_some() {
            let theirs = Torrent::from_bytes(&fs::read(&theirs).expect("written"));
            let theirs = theirs.expect("a torrent file").meta.info_hash();
            assert_eq!(theirs.to_string(), hash, "{name}");
        }
    }
}
