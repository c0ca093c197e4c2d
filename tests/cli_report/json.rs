//! The JSON form, and what all forms have in common at the end.

use std::time::Duration;

use shoal::base::InfoHash;
use shoal::cli::{BadRow, Event, ExitCode, Failure, Fleet, Output, Stream, Summary};

use crate::{
    JSON, PIPES, PLAIN, Run, TERMINAL, about, at, done, file, get_summary, hashing, member,
    progress, seeding, start,
};

#[test]
fn json_lines_of_get_are_these_byte_for_byte() {
    let mut run = Run::new(JSON, PIPES);
    run.say(0.0, start(0, "vm.qcow2"))
        .say(0.0412, Event::FirstPiece { content: 0 })
        .say(12.0, progress(0, 1290))
        .say(19.4, done(0, "/data/vm.qcow2"));
    assert_eq!(run.0.finish(at(19.4), &get_summary()), ExitCode::Ok);
    let hash = "4f".repeat(20);
    let expected = [
        &format!(
            r#"{{"v":1,"event":"start","name":"vm.qcow2","info_hash":"{hash}","size":8589934592,"pieces":2048,"have":0}}"#
        ),
        r#"{"v":1,"event":"first_piece","t":0.041,"name":"vm.qcow2"}"#,
        r#"{"v":1,"event":"progress","t":12.0,"have":1290,"down_bytes_per_s":431998976,"up_bytes_per_s":406847488,"eta_s":8,"peers":14,"min_avail":3,"name":"vm.qcow2"}"#,
        r#"{"v":1,"event":"summary","ok":true,"code":0,"path":"/data/vm.qcow2","secs":19.4,"down_bytes":8589934592,"up_bytes":7516192768,"hash_fail":0,"peers":[{"addr":"10.0.1.17:6881","down_bytes":5,"up_bytes":7}]}"#,
    ];
    let outputs = run.outputs();
    assert!(outputs.iter().all(|output| output.stream == Stream::Stdout));
    let lines: Vec<_> = outputs
        .iter()
        .map(|output| String::from_utf8(output.bytes.clone()).unwrap())
        .collect();
    assert_eq!(lines, expected.map(|line| format!("{line}\n")));
}

#[test]
fn the_summary_names_who_was_banned() {
    let mut run = Run::new(JSON, PIPES);
    let Summary::Get { mut peers, .. } = get_summary() else {
        unreachable!("it is one of get");
    };
    peers[0].is_banned = true;
    let summary = Summary::Get {
        down_bytes: 1,
        up_bytes: 2,
        hash_fail: 1,
        peers,
    };
    run.0.finish(at(1.0), &summary);
    let peer = r#"{"addr":"10.0.1.17:6881","down_bytes":5,"up_bytes":7,"banned":true}"#;
    assert!(run.text(Stream::Stdout).contains(peer));
}

#[test]
fn json_lines_of_share_are_these_byte_for_byte() {
    let mut run = Run::new(JSON, PIPES);
    run.say(1.0, hashing(1 << 30))
        .say(
            2.0,
            Event::Shared {
                content: 0,
                about: about("vm.qcow2"),
                have: 2048,
                tracker: Some("tr:6969".to_owned()),
                magnet: "magnet:?xt=x".to_owned(),
                torrent: Some("vm.torrent".into()),
            },
        )
        .say(3.0, seeding(7));
    let peers = vec![];
    run.0
        .finish(at(4.0), &Summary::Share { up_bytes: 7, peers });
    let hash = "4f".repeat(20);
    assert_eq!(
        run.lines(Stream::Stdout),
        [
            r#"{"v":1,"event":"hashing","t":1.0,"purpose":"share","done_bytes":1073741824,"size":8589934592,"bytes_per_s":1503238553,"name":"vm.qcow2"}"#,
            &format!(
                r#"{{"v":1,"event":"shared","name":"vm.qcow2","info_hash":"{hash}","size":8589934592,"pieces":2048,"piece_length":4194304,"files":1,"have":2048,"magnet":"magnet:?xt=x","torrent":"vm.torrent"}}"#
            ),
            r#"{"v":1,"event":"seeding","t":3.0,"up_bytes_per_s":851443712,"up_bytes":7,"peers":6,"complete":3,"members":40,"mean_percent":61.3,"name":"vm.qcow2"}"#,
            r#"{"v":1,"event":"summary","ok":true,"code":0,"secs":4.0,"up_bytes":7,"peers":[]}"#,
        ]
    );
}

#[test]
fn json_rows_are_these_byte_for_byte() {
    let mut run = Run::new(JSON, PIPES);
    let (hash, digest) = ("4f".repeat(20), "ab".repeat(32));
    let fleet = Fleet {
        complete: 1,
        members: 2,
        mean_percent: 50.0,
    };
    run.say(0.0, Event::File(file("vm")))
        .say(0.0, Event::Members(vec![member("a", 2048), member("b", 0)]))
        .say(
            0.0,
            Event::Bad(BadRow::Piece {
                piece: 1,
                offset: 4,
                bytes: 4,
            }),
        )
        .say(
            0.0,
            Event::Bad(BadRow::File {
                path: "x/y".into(),
                why: "missing".to_owned(),
            }),
        )
        .say(
            0.0,
            Event::Removed {
                name: "vm".to_owned(),
                info_hash: InfoHash([0x4f; 20]),
            },
        );
    run.0.finish(
        at(0.5),
        &Summary::Status {
            fleet,
            missing: vec!["b".to_owned()],
        },
    );
    assert_eq!(
        run.lines(Stream::Stdout),
        [
            &format!(
                r#"{{"v":1,"event":"file","name":"vm","info_hash":"{hash}","size":8589934592,"pieces":2048,"piece_length":4194304,"files":1,"seeds":1,"leechers":2,"min_avail":3,"sha256":"{digest}","registered_at":7}}"#
            ),
            r#"{"v":1,"event":"member","host":"a","addrs":["10.0.0.1:6881"],"have":2048,"pieces":2048,"complete":true,"completed_at":86400,"connected":true}"#,
            r#"{"v":1,"event":"member","host":"b","addrs":["10.0.0.1:6881"],"have":0,"pieces":2048,"complete":false,"completed_at":null,"connected":true}"#,
            r#"{"v":1,"event":"bad_piece","piece":1,"offset":4,"bytes":4}"#,
            r#"{"v":1,"event":"bad_file","path":"x/y","why":"missing"}"#,
            &format!(r#"{{"v":1,"event":"removed","name":"vm","info_hash":"{hash}"}}"#),
            r#"{"v":1,"event":"summary","ok":true,"code":0,"secs":0.5,"complete":1,"members":2,"mean_percent":50.0,"missing":["b"]}"#,
        ]
    );
}

#[test]
fn json_summaries_are_these_byte_for_byte() {
    for (summary, line) in [
        (
            Summary::Plain,
            r#"{"v":1,"event":"summary","ok":true,"code":0,"secs":1.0}"#,
        ),
        (
            Summary::Verify {
                pieces: 9,
                pieces_bad: 1,
            },
            r#"{"v":1,"event":"summary","ok":true,"code":0,"secs":1.0,"pieces":9,"pieces_bad":1}"#,
        ),
    ] {
        let mut run = Run::new(JSON, PIPES);
        run.0.finish(at(1.0), &summary);
        assert_eq!(run.lines(Stream::Stdout), [line]);
    }
}

#[test]
fn json_tells_progress_once_a_second_at_most() {
    let mut run = Run::new(JSON, PIPES);
    run.say(0.0, start(0, "vm.qcow2"));
    run.outputs();
    for tick in 0..50 {
        run.say(f64::from(tick) / 10.0, progress(0, tick));
    }
    let outputs = run.outputs();
    assert_eq!(outputs.len(), 5);
    assert!(outputs.iter().all(|output| output.droppable));
    assert_eq!(run.0.progress_interval(), Some(Duration::from_secs(1)));
}

#[test]
fn json_tells_only_the_members_that_changed_while_watching() {
    let mut run = Run::new(JSON, PIPES);
    run.say(0.0, Event::Members(vec![member("a", 1), member("b", 1)]));
    assert_eq!(run.lines(Stream::Stdout).len(), 2);
    run.say(1.0, Event::Members(vec![member("a", 1), member("b", 2)]));
    let lines = run.lines(Stream::Stdout);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(r#""host":"b""#));
}

#[test]
fn json_strings_steer_no_terminal_and_keep_their_value() {
    let name = "a\u{1b}[2J\u{9b}\u{202e}\"\\\n\u{7f} Grüße 世界 🦀";
    let mut run = Run::new(JSON, PIPES);
    run.say(0.0, start(0, name));
    let line = run.text(Stream::Stdout);
    assert!(
        line.contains(r#""name":"a\u001b[2J\u009b\u202e\"\\\n\u007f Grüße 世界 🦀""#),
        "{line}"
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["name"], name);
}

#[test]
fn a_failure_is_told_on_stderr_and_decides_the_summary() {
    let first = Failure::new(ExitCode::NotFound, "get x", "no such content");
    let second = Failure::new(ExitCode::Network, "get y", "gone");
    let mut run = Run::new(JSON, PIPES);
    run.0.fail(at(0.5), None, &first);
    run.0.fail(at(0.6), None, &second);
    assert_eq!(run.0.finish(at(1.0), &Summary::Plain), ExitCode::NotFound);
    let outputs = run.outputs();
    let text = |output: &Output| String::from_utf8(output.bytes.clone()).unwrap();
    assert_eq!(outputs[0].stream, Stream::Stderr);
    assert_eq!(text(&outputs[0]), "shoal-peer: get x: no such content\n");
    assert_eq!(text(&outputs[1]), "shoal-peer: get y: gone\n");
    assert_eq!(
        text(&outputs[2]),
        "{\"v\":1,\"event\":\"summary\",\"ok\":false,\"code\":3,\"error\":\"get x: no such content\",\"secs\":1.0}\n"
    );
    assert_eq!(outputs.len(), 3);
}

#[test]
fn a_failed_get_has_every_field_and_no_path() {
    let mut run = Run::new(JSON, PIPES);
    let why = "interrupted at 63%";
    run.0.fail(
        at(1.0),
        Some(0),
        &Failure::new(ExitCode::Unfinished, "get vm", why),
    );
    run.0.finish(at(1.0), &get_summary());
    assert_eq!(
        run.text(Stream::Stdout),
        "{\"v\":1,\"event\":\"summary\",\"ok\":false,\"code\":7,\"error\":\"get vm: interrupted at 63%\",\"path\":null,\
         \"secs\":1.0,\"down_bytes\":8589934592,\"up_bytes\":7516192768,\"hash_fail\":0,\
         \"peers\":[{\"addr\":\"10.0.1.17:6881\",\"down_bytes\":5,\"up_bytes\":7}]}\n"
    );
}

#[test]
fn nothing_follows_the_summary() {
    for (config, streams) in [(JSON, PIPES), (PLAIN, PIPES), (PLAIN, TERMINAL)] {
        let mut run = Run::new(config, streams);
        run.say(0.0, start(0, "vm"));
        run.0.finish(at(1.0), &get_summary());
        run.outputs();
        run.say(2.0, progress(0, 5)).say(2.0, done(0, "vm"));
        run.0
            .fail(at(2.0), None, &Failure::new(ExitCode::Io, "a", "b"));
        assert_eq!(run.0.finish(at(2.0), &Summary::Plain), ExitCode::Ok);
        assert_eq!(run.outputs(), []);
    }
}

#[test]
fn several_contents_end_one_by_one_in_json() {
    let mut run = Run::of_several(JSON, PIPES);
    run.say(0.0, start(0, "a"))
        .say(0.0, start(1, "b"))
        .say(0.0, start(2, "c"));
    run.outputs();
    run.say(1.0, done(1, "/data/b"));
    run.0.fail(
        at(2.0),
        Some(0),
        &Failure::new(ExitCode::Exists, "get a", "exists"),
    );
    run.say(3.0, done(2, "/data/c"));
    run.0.finish(
        at(3.0),
        &Summary::Get {
            down_bytes: 1,
            up_bytes: 2,
            hash_fail: 0,
            peers: vec![],
        },
    );
    assert_eq!(
        run.lines(Stream::Stdout),
        [
            r#"{"v":1,"event":"done","t":1.0,"name":"b","ok":true,"code":0,"path":"/data/b"}"#,
            r#"{"v":1,"event":"done","t":2.0,"name":"a","ok":false,"code":13,"error":"get a: exists","path":null}"#,
            r#"{"v":1,"event":"done","t":3.0,"name":"c","ok":true,"code":0,"path":"/data/c"}"#,
            r#"{"v":1,"event":"summary","ok":false,"code":13,"error":"get a: exists","path":"/data","secs":3.0,"down_bytes":1,"up_bytes":2,"hash_fail":0,"peers":[]}"#,
        ]
    );
}

#[test]
fn a_content_that_never_began_is_named_as_it_was_asked_for() {
    let mut run = Run::of_several(JSON, PIPES);
    let failure = Failure::new(ExitCode::NotFound, "get b", "no such content");
    run.0.fail(at(1.0), Some(1), &failure);
    assert_eq!(
        run.lines(Stream::Stdout),
        [
            r#"{"v":1,"event":"done","t":1.0,"name":"b","ok":false,"code":3,"error":"get b: no such content","path":null}"#
        ]
    );
}
