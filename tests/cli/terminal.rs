//! What is seen on a terminal: one block, redrawn, that leaves nothing behind.

use nix::sys::signal::Signal;

use crate::program::{Scene, noise, sparse};
use crate::screen::Shown;

fn shown(scene: &Scene, words: &[&str], columns: u16) -> Shown {
    let mut command = scene.peer();
    command.args(words);
    Shown::start(command, columns)
}

#[test]
fn hashing_is_one_line_with_a_bar() {
    let scene = Scene::new();
    sparse(&scene.path("huge"), 1 << 40);
    let mut share = shown(&scene, &["share", "huge"], 80);
    let lines = share.wait_until(|lines| lines.iter().any(|line| line.contains("iB/s  ETA ")));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("hashing ") && lines[0].contains("%  "),
        "{lines:?}"
    );
    share.send(Signal::SIGINT);
    let line = "shoal-peer: share huge: stopped before it was done";
    assert_eq!(share.end(), (Some(7), vec![line.to_owned()]));
}

#[test]
fn a_share_shows_its_fleet_and_leaves_four_lines() {
    let scene = Scene::new();
    scene.file("x", &noise(300_000));
    let mut share = shown(&scene, &["share", "-l", "127.0.0.1:0", "x"], 300);
    let lines = share.wait_until(|lines| {
        lines
            .last()
            .is_some_and(|line| line.starts_with("seeding "))
    });
    let hash = scene.info_hash("x");
    let shared = format!("shared  x  293 KiB  5 × 64 KiB  {}…", &hash[..8]);
    let hint = format!("get it: shoal-peer -t {} get x", scene.addr);
    let link = format!("    or: magnet:?xt=urn:btih:{hash}&dn=x&tr=http%3A%2F%2F");
    assert_eq!(lines[..2], [shared, hint]);
    assert!(lines[2].starts_with(&link), "{lines:?}");
    assert_eq!(lines[3..], ["seeding ↑0 B/s → 0 peers · ratio 0.0"]);
    let mut get = scene.start(["get", "x", "--seed", "forever", "-q", "-o", "copy"]);
    get.wait_out("copy");
    let fleet = " · fleet 1/1 complete, mean 100% · ratio 1.0";
    let lines = share.wait_until(|lines| lines.last().is_some_and(|line| line.ends_with(fleet)));
    assert!(
        lines.len() == 4 && lines[3].starts_with("seeding ↑"),
        "{lines:?}"
    );
    share.send(Signal::SIGINT);
    let (code, lines) = share.end();
    assert_eq!((code, lines.len()), (Some(0), 4), "{lines:?}");
    assert!(
        lines[3].starts_with("served 293 KiB to 1 peer in "),
        "{lines:?}"
    );
}

#[test]
fn a_download_shows_a_block_and_ends_with_one_line() {
    let scene = Scene::new();
    let bytes = noise(4 << 20);
    scene.file("in/x", &bytes);
    drop(scene.share(&["in/x"]));
    // Somebody who has a half and nobody who has the rest: the block stays as long as it is looked at.
    let mut part = bytes.clone();
    part[2 << 20..].fill(0);
    scene.file("half/x.part", &part);
    let mut half = scene.start(["get", "x", "-o", "half/", "--json"]);
    half.wait_out("\"event\":\"start\"");
    let args = ["get", "x", "-o", "copy/", "-v", "--seed", "none"];
    let mut get = shown(&scene, &args, 100);
    let lines = get.wait_until(|lines| {
        let at_half = lines.iter().any(|line| line.starts_with(" 50% ━"));
        at_half && lines.last().is_some_and(|line| line.contains("  50%  ↓"))
    });
    let block = &lines[lines.len() - 3..];
    assert!(
        block[0].contains("─  2.00/4.00 MiB  ↓") && block[0].contains("  ETA "),
        "{lines:?}"
    );
    assert_eq!(block[1], " 1 peer (0 full) · rarest piece ×0");
    assert!(
        block[2].starts_with(" 127.0.0.1:") || block[2].starts_with(" ["),
        "{lines:?}"
    );
    let _share = scene.share(&["in/x"]);
    let (code, lines) = get.end();
    let (last, others) = lines.split_last().expect("a line");
    assert!(
        last.starts_with("done x  4.00 MiB in ") && last.ends_with(", verified"),
        "{lines:?}"
    );
    assert!(
        others
            .iter()
            .all(|line| line.starts_with("first piece ") || line.starts_with("shoal-peer: info: ")),
        "the block is gone: {lines:?}"
    );
    assert_eq!(code, Some(0));
    half.end().expect(0);
    assert!(scene.read("copy/x") == bytes && scene.read("half/x") == bytes);
}

#[test]
fn a_narrow_terminal_is_not_overrun() {
    let scene = Scene::new();
    let name = "a name that is much longer than this terminal is wide";
    scene.file("dir/x", &noise(300_000));
    sparse(&scene.path(name), 256 << 20);
    drop(scene.share(&[name]));
    let _share = scene.share(&["dir"]);
    let mut get = shown(&scene, &["get", name, "dir", "-o", "again/"], 30);
    let lines = get.wait_until(|lines| {
        let last = lines.last();
        lines.iter().any(|line| line.starts_with("done dir"))
            && last.is_some_and(|line| line.starts_with(" 0 peers"))
    });
    let bars = lines
        .iter()
        .filter(|line| line.contains('─') || line.ends_with('…'));
    assert!(bars.count() <= 2, "the block is in one piece: {lines:?}");
}

#[test]
fn a_stopped_download_takes_its_block_away() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    drop(scene.share(&["in/x"]));
    let mut get = shown(&scene, &["get", "x"], 120);
    get.wait_until(|lines| lines.iter().any(|line| line.contains(" 0 peers (0 full)")));
    get.send(Signal::SIGINT);
    let (code, lines) = get.end();
    let line = "shoal-peer: get x: stopped before it was complete (run it again: it goes on where it stopped)";
    assert_eq!((code, lines), (Some(7), vec![line.to_owned()]));
}

#[test]
fn the_log_does_not_tear_the_block() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    drop(scene.share(&["in/x"]));
    let mut get = shown(&scene, &["get", "x", "-vvv"], 120);
    get.wait_until(|lines| {
        lines
            .last()
            .is_some_and(|line| line.contains(" 0 peers (0 full)"))
    });
    scene
        .run(["get", "x", "-o", "other", "--timeout", "1"])
        .expect(2);
    let is_log = |line: &String| {
        line.starts_with("shoal-peer: debug: ") || line.starts_with("shoal-peer: info: ")
    };
    let lines = get.wait_until(|lines| {
        lines.iter().any(is_log) && lines.last().is_some_and(|line| line.contains("peer"))
    });
    let bar = lines.iter().filter(|line| line.contains('─')).count();
    assert_eq!(bar, 1, "{lines:?}");
}

#[test]
fn a_path_on_a_terminal_is_part_of_the_talk() {
    let scene = Scene::new();
    let name = "a\u{1b}]0;owned\u{7}b";
    scene.file(name, b"x");
    let _share = scene.share(&[name]);
    let hash = scene.info_hash("*");
    let (code, lines) = shown(&scene, &["get", &hash, "-o", "copies/"], 100).end();
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");
    assert!(
        lines[0].starts_with("done a\\u{1b}]0;owned\\u{7}b  1 B in "),
        "{lines:?}"
    );
    for words in [
        &["ls"][..],
        &["status", &hash],
        &["verify", &hash, name],
        &["rm", &hash],
    ] {
        assert_eq!(shown(&scene, words, 120).end().0, Some(0), "{words:?}");
    }
}

#[test]
fn colour_is_left_out_where_it_is_not_wanted() {
    let scene = Scene::new();
    sparse(&scene.path("huge"), 1 << 40);
    for (no_color, painted) in [("", true), ("1", false)] {
        let mut command = scene.peer();
        command.args(["share", "huge"]).env("NO_COLOR", no_color);
        let mut share = Shown::start(command, 80);
        share.wait_until(|lines| lines.iter().any(|line| line.starts_with("hashing ")));
        assert_eq!(share.screen.painted, painted);
    }
}

#[test]
fn a_terminal_without_escape_sequences_gets_plain_lines() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    let _share = scene.share(&["in/x"]);
    for (words, dumb) in [
        (&["get", "x"][..], "dumb"),
        (&["get", "x", "--no-progress", "-o", "y"], "xterm"),
    ] {
        let mut command = scene.peer();
        command.args(words).env("TERM", dumb);
        let (code, lines) = Shown::start(command, 100).end();
        assert_eq!((code, lines.len()), (Some(0), 2), "{lines:?}");
        assert!(
            lines[0].starts_with("get  x  1 B") && lines[1].starts_with("done x  1 B"),
            "{lines:?}"
        );
    }
}

#[test]
fn a_watch_is_a_table_that_stays() {
    let scene = Scene::new();
    scene.file("x", b"x");
    let _share = scene.share(&["x"]);
    let mut watch = shown(&scene, &["status", "x", "--watch", "--expect", "2"], 120);
    let lines = watch.wait_until(|lines| lines.len() == 2);
    assert!(
        lines[0].starts_with("HOST ") && lines[1].contains("complete"),
        "{lines:?}"
    );
    scene.run(["get", "x", "-o", "y"]).expect(0);
    let (code, lines) = watch.end();
    assert_eq!((code, lines.len()), (Some(0), 4), "{lines:?}");
    assert_eq!(lines[3], "2/2 complete, mean 100%");
}
