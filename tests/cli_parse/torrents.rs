//! Torrent files and magnet links on the command line, and the commands around them.

use std::path::PathBuf;

use shoal::cli::{PeerCommand, What};

use crate::{TRACKER, Variables, parse, refusal, run, run_with, share, shown};

#[test]
fn what_says_by_itself_where_it_is_needs_no_tracker() {
    let hash = "4f1c09aa".repeat(5);
    let link = format!("magnet:?xt=urn:btih:{hash}&tr=udp%3A%2F%2Fa%3A1");
    let tracker_of = |words: &[&str], variables| run_with(words, variables).0.tracker;
    for words in [
        &["get", "x.torrent", &link][..],
        &["seed", "x.torrent", "x"],
        &["torrent", "create", "x"],
        &["torrent", "show", "x"],
        &["verify", "x.torrent", "x"],
    ] {
        assert_eq!(tracker_of(words, &[]), None, "{words:?}");
    }
    // One that is of no use is not even read.
    let wrong: Variables<'_> = &[("SHOAL_TRACKER", "a:0")];
    assert_eq!(tracker_of(&["torrent", "create", "x"], wrong), None);
    assert_eq!(tracker_of(&["verify", "x.torrent", "x"], wrong), None);
    assert!(tracker_of(&["seed", "x.torrent", "x"], TRACKER).is_some());
    for words in [
        &["get", "x.torrent", "vm"][..],
        &["status", &link],
        &["rm", "x.torrent"],
        &["verify", &link, "x"],
        &["torrent", "export", &link],
    ] {
        let shown = refusal(words, &[]);
        let expected = ": no tracker given (set -t HOST:PORT or SHOAL_TRACKER)";
        assert!(shown.ends_with(expected), "{words:?}: {shown}");
    }
}

#[test]
fn a_bad_magnet_link_has_a_code_of_its_own() {
    for (words, shown) in [
        (
            &["get", "vm", "magnet:?dn=x"][..],
            "get: \"magnet:?dn=x\" is a magnet link without an info-hash (xt=urn:btih:…) (see shoal-peer help get)",
        ),
        (
            &["rm", "magnet:?xt=urn:btmh:1220"],
            "rm: \"magnet:?xt=urn:btmh:1220\" is a magnet link of a BitTorrent v2 hash alone (urn:btmh), which is not \
             supported (see shoal-peer help rm)",
        ),
    ] {
        let failure = parse(words, TRACKER).expect_err("a bad link");
        assert_eq!(failure.code.number(), 27);
        assert_eq!(failure.to_string(), shown);
    }
}

#[test]
fn torrent_create_takes_tiers_of_urls_and_of_shoal_trackers() {
    let (globals, command) = run(
        "torrent --json create -t udp://a:1,http://b/announce dir --tracker tr:7 --torrent x/y.torrent \
         --no-sha256 --private --piece-size 64K -n other --comment word",
    );
    assert!(globals.output.json && globals.tracker.is_none());
    let PeerCommand::Create(config) = command else {
        panic!("{command:?}")
    };
    let tiers = [
        ["udp://a:1", "http://b/announce"],
        ["http://tr:7/announce", "udp://tr:7"],
    ];
    assert_eq!(config.tiers, tiers);
    assert_eq!(config.path, PathBuf::from("dir"));
    assert_eq!(config.file, Some("x/y.torrent".into()));
    assert!(config.private && !config.sha256);
    assert_eq!(config.piece_bytes, Some(64 << 10));
    assert_eq!(config.name.as_deref(), Some("other"));
    assert_eq!(config.comment.as_deref(), Some("word"));
    let (_, command) = run("-t before torrent create dir -t after");
    let PeerCommand::Create(config) = command else {
        panic!("{command:?}")
    };
    assert_eq!(config.tiers.len(), 2, "{:?}", config.tiers);
    let (_, command) = run("torrent create dir");
    let PeerCommand::Create(config) = command else {
        panic!("{command:?}")
    };
    assert!(config.tiers.is_empty() && config.sha256 && config.file.is_none());
}

#[test]
fn commands_around_torrent_files_take_their_operands() {
    let (globals, command) = run("seed a.torrent dir -l 7000 --zone a");
    let PeerCommand::Seed(config) = command else {
        panic!("{command:?}")
    };
    assert!(globals.tracker.is_some());
    assert_eq!(
        (config.file, config.path),
        ("a.torrent".into(), "dir".into())
    );
    assert_eq!(config.reach.listen.port(), 7000);
    let (_, command) = run("torrent export vm --torrent x");
    let PeerCommand::Export(config) = command else {
        panic!("{command:?}")
    };
    assert_eq!(config.what, What::Name("vm".to_owned()));
    assert_eq!(config.file, Some("x".into()));
    assert_eq!(share("share x --torrent y").torrent, Some("y".into()));
    for (line, shown) in [
        (
            "share x y --torrent z",
            "share: --torrent: one file cannot describe several PATHs (see shoal-peer help share)",
        ),
        (
            "torrent",
            "torrent: no command given (see shoal-peer help torrent)",
        ),
        (
            "torrent delete x",
            "torrent: \"delete\" is no command (see shoal-peer help torrent)",
        ),
        (
            "torrent create",
            "torrent create: PATH expected (see shoal-peer help torrent create)",
        ),
        (
            "torrent create x --tracker a,udp://",
            "torrent create: --tracker: \"a,udp://\" is not a URL like udp://HOST:PORT, nor HOST:PORT (see shoal-peer help \
             torrent create)",
        ),
        (
            "torrent export x.torrent",
            "torrent export: WHAT is a .torrent file already (name the content, or give its info-hash)",
        ),
        (
            "help torrent create x",
            "help: \"x\" is one operand too many (see shoal-peer help help)",
        ),
        (
            "help torrent x",
            "help: \"torrent x\" is no command (see shoal-peer help help)",
        ),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(refusal(&words, TRACKER), shown);
    }
    let whole = shown("help torrent");
    assert!(whole.contains("create PATH") && whole == shown("torrent --help"));
    let one = shown("help torrent create");
    assert!(one.starts_with("Usage: shoal-peer torrent create [OPTIONS] PATH\n"));
    for line in [
        "torrent create -h",
        "torrent -h create",
        "-h torrent create",
    ] {
        assert_eq!(shown(line), one, "{line}");
    }
    assert!(!one.contains("HOST:PORT     the tracker"), "{one}");
}
