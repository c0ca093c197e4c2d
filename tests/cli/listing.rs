//! What the tracker is asked and told: `ls`, `status`, `rm`, `verify`, and the ways to name a content.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use shoal::wire::info_builder::{Content, canonical_info, piece_length_for};

use crate::program::{Scene, noise};

const HOSTILE: &str = "a\u{1b}[2J\rb\u{202e}c";
const HOSTILE_SHOWN: &str = "a\\u{1b}[2J\\u{d}b\\u{202e}c";

#[test]
fn ls_lists_in_columns_what_a_glob_chooses() {
    let scene = Scene::new();
    let none = scene.run(["ls"]).expect(0);
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", ""));
    scene.file("one.img", &noise(100_000));
    scene.file("two.txt", b"two");
    let _share = scene.share(&["one.img", "two.txt"]);
    let all = scene.run(["ls"]).expect(0);
    let lines: Vec<&str> = all.out.lines().collect();
    assert_eq!(lines.len(), 3, "{all:?}");
    let head = [
        "NAME",
        "SIZE",
        "PIECES",
        "INFO-HASH",
        "SEEDS",
        "LEECHERS",
        "COPIES",
    ];
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), head);
    let hash = scene.info_hash("one.img");
    let row = lines
        .iter()
        .find(|line| line.starts_with("one.img"))
        .expect("listed");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["one.img", "97.7", "KiB", "2", &hash, "1", "0", "1"]);
    for (glob, count) in [
        ("*.img", 1),
        ("t*", 1),
        ("???.txt", 1),
        ("*", 2),
        ("one", 0),
    ] {
        let chosen = scene.run(["ls", glob]).expect(0);
        assert_eq!(
            chosen.out.lines().count(),
            if count == 0 { 0 } else { count + 1 },
            "{glob}: {chosen:?}"
        );
    }
}

#[test]
fn ls_turns_pages_until_all_is_listed() {
    let scene = Scene::new();
    let names: Vec<String> = (0..300).map(|number| format!("f{number:03}")).collect();
    for name in &names {
        scene.file(name, b"");
    }
    let paths: Vec<&str> = names.iter().map(String::as_str).collect();
    let _share = scene.share(&paths);
    let listed = scene.run(["ls", "--json"]).expect(0);
    let mut found: Vec<String> = listed
        .out
        .lines()
        .filter_map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            Some(row["name"].as_str()?.to_owned())
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, names);
    // A reader that wants only the beginning is no failure.
    let mut head = scene.peer();
    let mut child = head
        .arg("ls")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("built");
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().expect("piped"))
        .read_line(&mut first)
        .expect("a line");
    assert!(first.starts_with("NAME"), "{first}");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

/// Two names whose contents, one byte each, have info-hashes that begin with the same eight digits.
fn twins() -> (String, String, String) {
    let piece: Vec<u8> = {
        use sha1::Digest;
        sha1::Sha1::digest(b"x").to_vec()
    };
    let sha256: [u8; 32] = {
        use sha2::Digest;
        sha2::Sha256::digest(b"x").into()
    };
    let mut known: BTreeMap<[u8; 4], String> = BTreeMap::new();
    for number in 0_u32.. {
        let name = format!("n{number}");
        let content = Content::Single {
            len: 1,
            sha256: Some(sha256),
        };
        let info = canonical_info(&name, piece_length_for(1), &piece, content);
        let hash: [u8; 20] = {
            use sha1::Digest;
            sha1::Sha1::digest(&info).into()
        };
        let prefix = [hash[0], hash[1], hash[2], hash[3]];
        if let Some(other) = known.insert(prefix, name.clone()) {
            let digits = prefix.iter().map(|byte| format!("{byte:02x}")).collect();
            return (other, name, digits);
        }
    }
    unreachable!("four billion names do not go without a pair")
}

#[test]
fn a_content_is_named_by_name_hash_or_unique_prefix() {
    let scene = Scene::new();
    let (one, other, prefix) = twins();
    for name in [&one, &other] {
        scene.file(name, b"x");
    }
    scene.file("third", b"third");
    let _share = scene.share(&[&one, &other, "third"]);
    let hash = scene.info_hash("third");
    for what in [
        "third",
        &hash,
        &hash.to_uppercase(),
        &hash[..8],
        &hash[..20],
    ] {
        let ended = scene.run(["status", what]).expect(0);
        assert!(ended.out.contains("complete"), "{what}: {ended:?}");
    }
    let why = "the tracker does not know it (see shoal-peer ls for what there is)";
    let vague = "the tracker knows no such name, and no single info-hash that begins so \
                 (see shoal-peer ls for what there is, or give more digits)";
    let several = "not found: more than one content begins so: give more digits \
                   (see shoal-peer ls for what there is)";
    let no_hash = "0123456789012345678901234567890123456789";
    for (what, why) in [
        ("nothing", why),
        (no_hash, why),
        (&hash[..7], why),
        (&no_hash[..10], vague),
        (&prefix, several),
    ] {
        let ended = scene.run(["get", what, "-o", "unknown/"]).expect(3);
        assert_eq!(ended.err, format!("shoal-peer: get {what}: {why}\n"));
    }
    assert!(!scene.path("unknown").exists());
    assert_eq!(
        scene.info_hash(&one)[..8],
        prefix,
        "the same info dictionary as here"
    );
    let whole = scene.info_hash(&other);
    scene.run(["get", &whole[..16], "-o", "twin"]).expect(0);
    assert_eq!(scene.read("twin"), b"x");
}

#[test]
fn of_one_name_the_newest_is_meant() {
    let scene = Scene::new();
    scene.file("old/x", b"old");
    scene.file("new/x", b"newer");
    let _old = scene.share(&["old/x"]);
    let _new = scene.share(&["new/x"]);
    assert_eq!(scene.run(["ls", "x"]).expect(0).out.lines().count(), 3);
    scene.run(["get", "x", "-o", "got"]).expect(0);
    assert_eq!(scene.read("got"), b"newer");
}

#[test]
fn names_of_others_are_escaped_wherever_they_are_shown() {
    let scene = Scene::new();
    scene.file(HOSTILE, &noise(1000));
    let mut share = scene.start(["share", "-l", "127.0.0.1:0", HOSTILE]);
    share.wait_err(&format!("shared  {HOSTILE_SHOWN}  "));
    let hint = share.wait_err("get it: ");
    let hash = scene.info_hash(HOSTILE);
    assert!(hint.ends_with(&format!(" get {hash}")), "{hint}");
    let harmless = |text: &str| !text.contains(['\u{1b}', '\r', '\u{202e}']);
    for words in [
        &["ls"][..],
        &["status", HOSTILE],
        &["verify", HOSTILE, HOSTILE],
        &["get", HOSTILE, "-o", "copies/"],
        &["get", HOSTILE],
        &["verify", HOSTILE, "nowhere"],
        &["ls", "--json"],
        &["get", HOSTILE, "-o", "more/", "--json"],
    ] {
        let ended = scene.run(words);
        // In a pipe the path is data, and the only thing that comes as it is.
        let is_path = words == ["get", HOSTILE, "-o", "copies/"];
        assert!(
            harmless(&ended.err) && (is_path || harmless(&ended.out)),
            "{words:?}: {ended:?}"
        );
        if is_path {
            assert_eq!(ended.out, format!("copies/{HOSTILE}\n"));
        }
    }
    let ended = scene.run(["rm", HOSTILE]).expect(0);
    assert_eq!(ended.out, format!("removed {HOSTILE_SHOWN}  {hash}\n"));
}

#[test]
fn status_tells_who_has_what_and_whether_that_is_enough() {
    let scene = Scene::new();
    scene.file("x", &noise(300_000));
    let _share = scene.share(&["x"]);
    let once = scene.run(["status", "x"]).expect(0);
    let rows: Vec<Vec<&str>> = once
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "HOST", "HAS", "PIECES", "STATE", "COMPLETE", "SINCE", "ADDRESS"
        ]
    );
    assert_eq!(rows[1][1..5], ["100%", "5/5", "complete", "-"], "{once:?}");
    assert_eq!(once.err, "1/1 complete, mean 100%\n");
    let host = rows[1][0].to_owned();
    scene.run(["status", "x", "--expect", "1"]).expect(0);
    let unmet = scene.run(["status", "x", "--expect", "2"]).expect(33);
    let why =
        "shoal-peer: status x: 1 of 2 expected machines are complete (wait for it with --watch)\n";
    assert!(unmet.err.starts_with(why), "{unmet:?}");
    scene.file("hosts", format!("# rack 1\n{host}\n\n").as_bytes());
    scene.run(["status", "x", "--hosts", "hosts"]).expect(0);
    scene.file("hosts", format!("{host}\nnode-7\nnode-8\n").as_bytes());
    let unmet = scene.run(["status", "x", "--hosts", "hosts"]).expect(33);
    assert!(
        unmet.err.contains(": not complete: node-7, node-8 ("),
        "{unmet:?}"
    );
    let missing = scene.run(["status", "x", "--hosts", "nowhere"]).expect(17);
    assert_eq!(
        missing.err,
        "shoal-peer: status x: nowhere: No such file or directory (check the path)\n"
    );
    scene.run(["get", "x", "-o", "copy"]).expect(0);
    let gone = scene.run(["status", "x", "--expect", "2"]).expect(0);
    assert!(gone.out.contains("complete, gone"), "{gone:?}");
}

#[test]
fn a_watch_ends_when_enough_are_complete() {
    let scene = Scene::new();
    scene.file("x", &noise(300_000));
    let _share = scene.share(&["x"]);
    let mut watch = scene.start(["status", "x", "--watch", "--expect", "3"]);
    watch.wait_err("1/1 complete");
    for copy in ["one", "two"] {
        scene.run(["get", "x", "-o", copy]).expect(0);
    }
    let ended = watch.end().expect(0);
    assert!(
        ended.err.ends_with("3/3 complete, mean 100%\n"),
        "{ended:?}"
    );
    let mut watch = scene.start(["status", "x", "--watch"]);
    watch.wait_err("3/3 complete");
    watch.send(Signal::SIGINT);
    watch.end().expect(0);
    let mut watch = scene.start(["status", "x", "--watch", "--expect", "9"]);
    watch.wait_err("3/3 complete");
    watch.send(Signal::SIGTERM);
    watch.end().expect(33);
}

#[test]
fn verify_tells_each_piece_that_differs() {
    let scene = Scene::new();
    let mut bytes = noise(300_000);
    scene.file("x", &bytes);
    scene.file("dir/a", &bytes[..70_000]);
    scene.file("dir/sub/b", &bytes[70_000..]);
    let _share = scene.share(&["x", "dir"]);
    let good = scene.run(["verify", "x", "x"]).expect(0);
    assert_eq!(
        (good.out.as_str(), good.err.as_str()),
        ("", "all of 5 pieces match\n")
    );
    scene.run(["verify", "dir", "dir"]).expect(0);
    bytes[70_000] ^= 1;
    scene.file("bad", &bytes);
    let bad = scene.run(["verify", "x", "bad"]).expect(32);
    assert_eq!(
        bad.out,
        "bad piece 1 at 65536, 65536 bytes\nbad file bad: its SHA-256 is another\n"
    );
    let failure = "shoal-peer: verify x: 1 of 5 pieces differ (fetch it again)\n";
    assert_eq!(bad.err, format!("{failure}1 of 5 pieces do not match\n"));
    let none = scene.run(["verify", "x", "nowhere"]).expect(32);
    assert_eq!(none.out, "bad file nowhere: No such file or directory\n");
    assert_eq!(
        none.err,
        "shoal-peer: verify x: nowhere: No such file or directory (fetch it again)\n"
    );
    scene.file("short", &bytes[..7]);
    let short = scene.run(["verify", "x", "short"]).expect(32);
    assert!(
        short.out.contains("7 bytes long and should be 300000"),
        "{short:?}"
    );
    std::fs::remove_file(scene.path("dir/sub/b")).expect("there");
    let part = scene.run(["verify", "dir", "dir"]).expect(32);
    assert!(
        part.out.contains("sub/b: No such file or directory"),
        "{part:?}"
    );
    scene.run(["verify", "nothing", "x"]).expect(3);
}

#[test]
fn what_is_removed_is_neither_listed_nor_served() {
    let scene = Scene::new();
    scene.file("x", b"x");
    let mut share = scene.share(&["x"]);
    let hash = scene.info_hash("x");
    let removed = scene.run(["rm", "x"]).expect(0);
    assert_eq!(removed.out, format!("removed x  {hash}\n"));
    share.wait_err("shoal-peer: warning: x was removed from the tracker, and is no longer served");
    share.end().expect(0);
    assert_eq!(scene.run(["ls"]).expect(0).out, "");
    let again = scene.run(["rm", "x"]).expect(3);
    assert!(
        again
            .err
            .starts_with("shoal-peer: rm x: the tracker does not know it ("),
        "{again:?}"
    );
}
