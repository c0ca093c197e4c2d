//! `--json`: every line an object with its fields in order, and one summary at the end of everything.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::program::{Ended, Scene, noise, peer, run, sparse};

/// The names of an object's fields, in the order in which they stand.
struct Fields(Vec<String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Fields(names))
            }
        }
        from.deserialize_map(Names)
    }
}

/// Checks the rules that hold for every output, and gives the lines by event: fields in order, and values.
#[track_caller]
fn lines(ended: &Ended) -> Vec<(String, String, Value)> {
    let lines: Vec<_> = ended
        .out
        .lines()
        .map(|line| {
            let Fields(names) =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let value: Value = serde_json::from_str(line).expect("an object");
            assert_eq!(value["v"], 1, "{line}");
            let event = value["event"].as_str().expect("an event").to_owned();
            (event, names.join(" "), value)
        })
        .collect();
    let summaries = lines
        .iter()
        .filter(|(event, ..)| event == "summary")
        .count();
    let last = lines.last().expect("something");
    assert!(summaries == 1 && last.0 == "summary", "{ended:?}");
    assert_eq!(
        last.2["code"].as_i64(),
        ended.code.map(i64::from),
        "{ended:?}"
    );
    assert_eq!(last.2["ok"], ended.code == Some(0));
    assert_eq!(last.2.get("error").is_some(), ended.code != Some(0));
    lines
}

#[track_caller]
fn fields_of<'a>(lines: &'a [(String, String, Value)], event: &str) -> &'a str {
    let line = lines.iter().find(|(kind, ..)| kind == event);
    &line.unwrap_or_else(|| panic!("no {event} in {lines:?}")).1
}

const GET_SUMMARY: &str = "v event ok code path secs down_bytes up_bytes hash_fail peers";
const GET_FAILED: &str = "v event ok code error path secs down_bytes up_bytes hash_fail peers";

#[test]
fn a_download_tells_its_start_first_piece_progress_and_summary() {
    let scene = Scene::new();
    sparse(&scene.path("zeros"), 256 << 20);
    let _share = scene.share(&["zeros"]);
    let ended = scene
        .run(["get", "zeros", "-o", "copy", "--json"])
        .expect(0);
    let all = lines(&ended);
    assert_eq!(
        fields_of(&all, "start"),
        "v event name info_hash size pieces have"
    );
    assert_eq!(all[0].2["size"], 256 << 20);
    assert_eq!(all[0].2["pieces"], 2048);
    assert!(fields_of(&all, "first_piece").starts_with("v event t"));
    for (_, fields, progress) in all.iter().filter(|(event, ..)| event == "progress") {
        let begin = "v event t have down_bytes_per_s up_bytes_per_s eta_s peers min_avail";
        assert!(fields.starts_with(begin), "{fields}");
        assert!(
            progress["down_bytes_per_s"].as_u64() > Some(0),
            "{progress}"
        );
    }
    let (_, fields, summary) = all.last().expect("a summary");
    assert_eq!(fields, GET_SUMMARY);
    assert_eq!(summary["path"], "copy");
    assert_eq!(summary["down_bytes"], 256 << 20);
    assert_eq!(summary["hash_fail"], 0);
    let Fields(peer) = serde_json::from_value(summary["peers"][0].clone()).expect("a peer");
    assert_eq!(peer.len(), 3);
    assert!(ended.out.contains("{\"addr\":\"127.0.0.1:"), "{ended:?}");
    assert_eq!(ended.err, "");
}

#[test]
fn several_downloads_end_one_by_one_and_have_one_summary() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    scene.file("in/y", b"y");
    let _share = scene.share(&["in/x", "in/y"]);
    let ended = scene
        .run(["--json", "get", "x", "nothing", "y", "-o", "out"])
        .expect(3);
    let all = lines(&ended);
    let done: Vec<(&Value, &Value)> = all
        .iter()
        .filter(|(event, ..)| event == "done")
        .map(|(_, _, done)| (&done["name"], &done["ok"]))
        .collect();
    assert_eq!(done.len(), 3, "{ended:?}");
    assert!(
        done.contains(&(&"nothing".into(), &false.into()))
            && done.contains(&(&"y".into(), &true.into()))
    );
    assert_eq!(all.last().expect("a summary").2["path"], "out");
}

#[test]
fn a_failure_ends_with_a_summary() {
    let scene = Scene::new();
    scene.file("x", b"x");
    let _share = scene.share(&["x"]);
    for (words, code, fields) in [
        (&["get", "nothing"][..], 3, GET_FAILED),
        (&["get", "x"], 13, GET_FAILED),
        (
            &["share", "nothing"],
            17,
            "v event ok code error secs up_bytes peers",
        ),
        (&["ls", "--bogus"], 28, "v event ok code error secs"),
        (&["get"], 28, "v event ok code error secs"),
        (
            &["status", "x", "--expect", "2"],
            33,
            "v event ok code error secs complete members mean_percent missing",
        ),
        (
            &["verify", "x", "nowhere"],
            32,
            "v event ok code error secs pieces pieces_bad",
        ),
        (&["rm", "nothing"], 3, "v event ok code error secs"),
    ] {
        let ended = scene.run([words, &["--json"]].concat()).expect(code);
        let all = lines(&ended);
        let (_, found, summary) = all.last().expect("a summary");
        assert_eq!(found, fields, "{words:?}");
        let error = summary["error"].as_str().expect("text");
        assert!(
            ended.err.contains(&format!("shoal-peer: {error}\n")),
            "{ended:?}"
        );
    }
    lines(&run(peer("127.0.0.1:1"), ["get", "x", "--json"]).expect(6));
    lines(&run(peer(""), ["--json", "ls"]).expect(28));
}

#[test]
fn rows_come_before_the_summary() {
    let scene = Scene::new();
    scene.file("x", &noise(300_000));
    scene.file("bad", &noise(300_000)[1..]);
    let _share = scene.share(&["x"]);
    let file = "v event name info_hash size pieces piece_length files seeds leechers min_avail sha256 registered_at";
    let member = "v event host addrs have pieces complete completed_at connected";
    for (words, code, event, fields) in [
        (&["ls"][..], 0, "file", file),
        (&["status", "x"], 0, "member", member),
        (&["verify", "x", "bad"], 32, "bad_file", "v event path why"),
        (&["rm", "x"], 0, "removed", "v event name info_hash"),
    ] {
        let ended = scene.run([&["--json"], words].concat()).expect(code);
        assert_eq!(fields_of(&lines(&ended), event), fields);
    }
}

#[test]
fn a_share_ends_with_whom_it_served() {
    let scene = Scene::new();
    scene.file("in/x", &noise(300_000));
    let mut share = scene.start(["share", "--json", "in/x"]);
    share.wait_out("\"event\":\"shared\"");
    scene.run(["get", "x"]).expect(0);
    share.wait_out("\"event\":\"seeding\"");
    share.send(Signal::SIGINT);
    let ended = share.end().expect(0);
    let all = lines(&ended);
    assert_eq!(
        fields_of(&all, "shared"),
        "v event name info_hash size pieces piece_length files have magnet torrent"
    );
    assert!(
        fields_of(&all, "seeding")
            .starts_with("v event t up_bytes_per_s up_bytes peers complete members mean_percent")
    );
    let (_, fields, summary) = all.last().expect("a summary");
    assert_eq!(fields, "v event ok code secs up_bytes peers");
    assert_eq!(summary["up_bytes"], 300_000);
    assert_eq!(summary["peers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn signals_end_with_a_summary_too() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    drop(scene.share(&["in/x"]));
    let mut get = scene.start(["get", "x", "--json"]);
    get.wait_out("\"event\":\"start\"");
    get.send(Signal::SIGTERM);
    lines(&get.end().expect(7));
    sparse(&scene.path("huge"), 1 << 40);
    let mut share = scene.start(["share", "--json", "huge"]);
    share.wait_out("\"event\":\"hashing\"");
    share.send(Signal::SIGTERM);
    lines(&share.end().expect(7));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let scene = Scene::new();
    scene.file("x", b"x");
    let mut share = scene.peer();
    share
        .args(["share", "--json", "x"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = share.spawn().expect("built");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("\"shared\"") {
        line.clear();
        assert!(out.read_line(&mut line).expect("text") > 0, "it ended");
    }
    drop(out);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(0));
}
