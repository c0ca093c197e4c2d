//! What is wrong with a command line, and what it says of itself.

use crate::program::{peer, run, tracker_command};

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_wrong_command_line_is_refused_with_its_flag_value_and_remedy() {
    for (line, shown) in [
        ("", "no command given (see shoal-peer help)"),
        ("fetch x", "\"fetch\" is no command (see shoal-peer help)"),
        ("get", "get: WHAT... expected (see shoal-peer help get)"),
        (
            "get x --output",
            "get: --output: needs a value (see shoal-peer help get)",
        ),
        (
            "get x --json=yes",
            "get: --json: takes no value (see shoal-peer help get)",
        ),
        (
            "share x --down 3M",
            "share: --down: no such option (see shoal-peer help share)",
        ),
        (
            "--seed none get x",
            "--seed: no such option (see shoal-peer help)",
        ),
        (
            "get x --seed ratio",
            "get: --seed: \"ratio\" is not none, auto, forever, ratio:R (like 1.5) or time:DUR (like 10m) \
             (see shoal-peer help get)",
        ),
        (
            "share x --piece-size 3M",
            "share: --piece-size: \"3M\" is not a power of two from 16K to 512M (see shoal-peer help share)",
        ),
        (
            "share x y -n z",
            "share: --name: \"z\" cannot name several PATHs (see shoal-peer help share)",
        ),
        (
            "ls a b",
            "ls: \"b\" is one operand too many (see shoal-peer help ls)",
        ),
        (
            "ls --json x --order rarest",
            "ls: --order: no such option (see shoal-peer help ls)",
        ),
        (
            "-t :1 ls",
            "ls: --tracker: \":1\" is not HOST or HOST:PORT (see shoal-peer help ls)",
        ),
        (
            "-t a ls -t b",
            "ls: --tracker: given more than once (see shoal-peer help ls)",
        ),
        (
            "status x --expect 1 --hosts f",
            "status: --expect: cannot be combined with --hosts (see shoal-peer help status)",
        ),
        (
            "verify x",
            "verify: WHAT PATH expected (see shoal-peer help verify)",
        ),
        (
            "help nothing",
            "help: \"nothing\" is no command (see shoal-peer help help)",
        ),
    ] {
        let ended = run(peer("127.0.0.1:1"), words(line)).expect(28);
        assert_eq!(ended.err, format!("shoal-peer: {shown}\n"));
        let is_json = line.contains("--json ");
        assert_eq!(ended.out.lines().count(), usize::from(is_json), "{line}");
    }
}

#[test]
fn without_a_tracker_nothing_is_tried() {
    let ended = run(peer(""), ["ls"]).expect(28);
    let shown = "shoal-peer: ls: no tracker given (set -t HOST:PORT or SHOAL_TRACKER)\n";
    assert_eq!(ended.err, shown);
    let ended = run(peer("tr:0"), ["ls"]).expect(28);
    let shown = "shoal-peer: ls: SHOAL_TRACKER: \"tr:0\" is not HOST or HOST:PORT (see shoal-peer help ls)\n";
    assert_eq!(ended.err, shown);
}

#[test]
fn a_word_that_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let ended = run(
        peer("tr"),
        [OsStr::new("share"), OsStr::from_bytes(b"a\x1b\xff")],
    )
    .expect(28);
    let shown = "shoal-peer: \"a\\u{1b}\u{fffd}\" is not UTF-8 (see shoal-peer help)\n";
    assert_eq!(ended.err, shown);
}

#[test]
fn help_and_version_go_to_stdout_and_win() {
    for (line, begin) in [
        ("help", "Usage: shoal-peer "),
        ("-h", "Usage: shoal-peer "),
        ("help get", "Usage: shoal-peer get "),
        ("get --nonsense -h", "Usage: shoal-peer get "),
        ("--json get x --help", "Usage: shoal-peer get "),
        ("-V", "shoal-peer 0.1.0\n"),
        ("get x --version", "shoal-peer 0.1.0\n"),
    ] {
        let ended = run(peer(""), words(line)).expect(0);
        assert!(ended.out.starts_with(begin), "{line}: {}", ended.out);
        assert_eq!(ended.err, "", "{line}");
    }
    let ended = run(tracker_command(&["--help"]), [""; 0]).expect(0);
    assert!(
        ended.out.starts_with("Usage: shoal-tracker "),
        "{}",
        ended.out
    );
    let ended = run(tracker_command(&["-V"]), [""; 0]).expect(0);
    assert_eq!(
        (ended.out.as_str(), ended.err.as_str()),
        ("shoal-tracker 0.1.0\n", "")
    );
}

#[test]
fn a_tracker_that_is_not_there_is_named_with_the_remedy() {
    let remedy = "is shoal-tracker running? set -t or SHOAL_TRACKER";
    for line in [
        "-t 127.0.0.1:1 get x",
        "get -t 127.0.0.1:1 x",
        "get x --tracker=127.0.0.1:1",
    ] {
        let ended = run(peer("127.0.0.1:2"), words(line)).expect(6);
        let why = "no tracker at 127.0.0.1:1: connection refused";
        assert_eq!(ended.err, format!("shoal-peer: get x: {why} ({remedy})\n"));
        assert_eq!(ended.out, "");
    }
    let ended = run(peer("127.0.0.1:2"), ["ls"]).expect(6);
    assert!(
        ended
            .err
            .starts_with("shoal-peer: ls: no tracker at 127.0.0.1:2: "),
        "{ended:?}"
    );
}

#[test]
fn a_name_that_does_not_resolve_is_no_tracker() {
    // No resolver has to be asked for a name with an empty label.
    let ended = run(peer("no..where:7"), ["get", "x"]).expect(19);
    let begin = "shoal-peer: get x: no such host: no..where: ";
    let end = " (check the name in -t or SHOAL_TRACKER)\n";
    assert!(
        ended.err.starts_with(begin) && ended.err.ends_with(end),
        "{ended:?}"
    );
}
