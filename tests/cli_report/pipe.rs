//! The pipe form, and what goes to which stream.

use shoal::cli::{
    BadRow, Event, ExitCode, Failure, Fleet, OutputConfig, PeerTotal, Stream, Streams, Summary,
};

use crate::{
    PIPES, PLAIN, Run, TERMINAL, about, at, done, file, get_summary, member, progress, seeding,
    start,
};

#[test]
fn a_pipe_gets_the_facts_on_stderr_and_the_path_on_stdout() {
    let mut run = Run::new(PLAIN, PIPES);
    run.say(0.0, start(0, "vm.qcow2"))
        .say(0.1, progress(0, 0))
        .say(12.0, progress(0, 1290))
        .say(19.4, done(0, "/data/vm\u{1b}.qcow2"));
    run.0.finish(at(19.4), &get_summary());
    let outputs = run.outputs();
    let of = |stream| {
        let outputs = outputs.iter().filter(move |output| output.stream == stream);
        let bytes: Vec<u8> = outputs.flat_map(|output| output.bytes.clone()).collect();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(
        of(Stream::Stderr),
        "get  vm.qcow2  8.00 GiB  2048 × 4 MiB  4f4f4f4f…\n\
         vm.qcow2  62%  5.04/8.00 GiB  ↓412 ↑388 MiB/s  ETA 0:08  14 peers (2 full) · rarest piece ×3\n\
         done vm.qcow2  8.00 GiB in 0:19 (422 MiB/s), verified\n"
    );
    // Data is not escaped: a script has to find the file.
    assert_eq!(of(Stream::Stdout), "/data/vm\u{1b}.qcow2\n");
}

#[test]
fn a_pipe_gets_a_line_per_10_seconds_and_per_10_per_cent() {
    let mut run = Run::new(PLAIN, PIPES);
    run.say(0.0, start(0, "vm"));
    run.outputs();
    // 100 per cent in 5 s: a line per tenth. The first news says nothing that the start has not said.
    for tick in 0..=100 {
        run.say(f64::from(tick) / 20.0, progress(0, tick * 2048 / 100));
    }
    let shares = |lines: Vec<String>| -> Vec<String> {
        lines
            .iter()
            .map(|line| line.split("  ").nth(1).unwrap().to_owned())
            .collect()
    };
    let fast = shares(run.lines(Stream::Stderr));
    assert_eq!(fast.len(), 10, "{fast:?}");
    assert_eq!(fast.last().map(String::as_str), Some("100%"));
    // Nothing in 60 s: a line per 10 s.
    let mut run = Run::new(PLAIN, PIPES);
    run.say(0.0, start(0, "vm"));
    run.outputs();
    for tick in 0..=240 {
        run.say(f64::from(tick) / 4.0, progress(0, 1));
    }
    let slow = shares(run.lines(Stream::Stderr));
    assert_eq!(slow, ["0%"; 6]);
}

#[test]
fn a_pipe_hears_of_serving_only_what_is_new() {
    let mut run = Run::new(PLAIN, PIPES);
    run.say(
        0.0,
        Event::Shared {
            content: 0,
            about: about("vm.qcow2"),
            have: 2048,
            tracker: Some("tr:6969".to_owned()),
            magnet: "magnet:?xt=x".to_owned(),
            torrent: None,
        },
    );
    assert_eq!(
        run.lines(Stream::Stderr),
        [
            "shared  vm.qcow2  8.00 GiB  2048 × 4 MiB  4f4f4f4f…",
            "get it: shoal-peer -t tr:6969 get vm.qcow2",
            "    or: magnet:?xt=x",
        ]
    );
    for second in 0..100 {
        run.say(f64::from(second), seeding(1 << 30));
    }
    run.say(100.0, seeding(36_077_725_286))
        .say(101.0, seeding(1 << 36));
    assert_eq!(
        run.lines(Stream::Stderr),
        [
            "seeding  vm.qcow2  ↑812 MiB/s → 6 peers · fleet 3/40 complete, mean 61% · ratio 0.1",
            "seeding  vm.qcow2  ↑812 MiB/s → 6 peers · fleet 3/40 complete, mean 61% · ratio 4.2",
        ]
    );
    let peers = vec![PeerTotal {
        addr: "10.0.0.1:1".parse().unwrap(),
        down_bytes: 0,
        up_bytes: 9,
        is_banned: false,
    }];
    run.0.finish(
        at(3723.0),
        &Summary::Share {
            up_bytes: 7 << 30,
            peers,
        },
    );
    assert_eq!(
        run.lines(Stream::Stderr),
        ["served 7.00 GiB to 1 peer in 1:02:03"]
    );
}

#[test]
fn quiet_leaves_errors_warnings_and_results() {
    let quiet = OutputConfig {
        quiet: true,
        ..PLAIN
    };
    for streams in [PIPES, TERMINAL] {
        let mut run = Run::new(quiet, streams);
        assert_eq!(run.0.progress_interval(), None);
        run.say(0.0, start(0, "vm"))
            .say(20.0, progress(0, 2000))
            .say(20.0, Event::Note("by the way".to_owned()))
            .say(20.0, Event::Warning("the disk is slow\u{7}".to_owned()));
        run.0.fail(
            at(20.0),
            None,
            &Failure::new(ExitCode::Io, "get vm", "unreadable"),
        );
        let stderr = run.text(Stream::Stderr).replace('\r', "");
        assert_eq!(
            stderr,
            "shoal-peer: warning: the disk is slow\\u{7}\nshoal-peer: get vm: unreadable\n"
        );
    }
    let mut run = Run::new(quiet, PIPES);
    run.say(0.0, start(0, "vm")).say(1.0, done(0, "vm"));
    assert_eq!(run.text(Stream::Stdout), "vm\n");
}

#[test]
fn the_path_goes_to_stdout_whenever_somebody_may_read_it() {
    let captured = Streams {
        stdout_is_terminal: false,
        ..TERMINAL
    };
    let logged = Streams {
        stdout_is_terminal: true,
        ..PIPES
    };
    for (streams, expected) in [
        (PIPES, "vm\n"),
        (captured, "vm\n"),
        (logged, "vm\n"),
        (TERMINAL, ""),
    ] {
        let mut run = Run::new(PLAIN, streams);
        run.say(0.0, start(0, "vm")).say(1.0, done(0, "vm"));
        assert_eq!(run.text(Stream::Stdout), expected, "{streams:?}");
    }
}

#[test]
fn tables_go_to_stdout_at_the_end() {
    for streams in [PIPES, TERMINAL] {
        let mut run = Run::new(PLAIN, streams);
        run.say(0.0, Event::File(file("a\u{1b}")))
            .say(0.0, Event::File(file("bbb")));
        assert_eq!(run.outputs(), []);
        run.0.finish(at(0.0), &Summary::Plain);
        let lines = run.lines(Stream::Stdout);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("NAME         SIZE"), "{}", lines[0]);
        assert!(lines[1].starts_with("a\\u{1b}  8.00"), "{}", lines[1]);
        assert!(lines[2].starts_with("bbb      8.00"), "{}", lines[2]);
    }
}

#[test]
fn status_ends_with_the_members_and_who_is_missing() {
    let mut run = Run::new(PLAIN, PIPES);
    let rows = vec![member("node-1", 2048), member("node-2", 1024)];
    run.say(0.0, Event::Members(rows));
    run.outputs();
    let fleet = Fleet {
        complete: 1,
        members: 2,
        mean_percent: 75.0,
    };
    run.0.finish(
        at(0.0),
        &Summary::Status {
            fleet,
            missing: vec!["node-2\u{1b}".to_owned()],
        },
    );
    let outputs = run.outputs();
    assert_eq!(outputs.len(), 4);
    let last = String::from_utf8(outputs[3].bytes.clone()).unwrap();
    assert_eq!(last, "1/2 complete, mean 75%, missing: node-2\\u{1b}\n");
}

#[test]
fn verify_names_what_does_not_match() {
    let mut run = Run::new(PLAIN, PIPES);
    run.say(
        0.0,
        Event::Bad(BadRow::Piece {
            piece: 17,
            offset: 71_303_168,
            bytes: 4_194_304,
        }),
    )
    .say(
        0.0,
        Event::Bad(BadRow::File {
            path: "a\n".into(),
            why: "another SHA-256".to_owned(),
        }),
    );
    run.0.finish(
        at(0.0),
        &Summary::Verify {
            pieces: 20,
            pieces_bad: 1,
        },
    );
    let outputs = run.outputs();
    let text: Vec<_> = outputs
        .iter()
        .map(|o| String::from_utf8(o.bytes.clone()).unwrap())
        .collect();
    assert_eq!(
        text,
        [
            "bad piece 17 at 71303168, 4194304 bytes\n",
            "bad file a\\u{a}: another SHA-256\n",
            "1 of 20 pieces do not match\n",
        ]
    );
}
