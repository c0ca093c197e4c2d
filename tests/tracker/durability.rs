//! What the tracker answered survives its end, however that came.

use std::path::Path;
use std::process::{Command, Stdio};

use harness::{Tracker, info};
use shoal::base::InfoHash;
use shoal::wire::native::{ErrorCode, LookupBy, Reply, Request};

use super::harness;

fn file_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

fn is_known(tracker: &Tracker, hash: InfoHash) -> bool {
    let mut client = tracker.client(200);
    let Reply::Lookup(found) = client.ask(Request::Lookup {
        by: LookupBy::Hash,
        key: hash.to_string().into(),
    }) else {
        panic!("no answer");
    };
    !found.is_empty()
}

#[test]
fn a_restart_serves_what_was_registered() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    let (bytes, hash) = info("kept", 100);
    let tracker = Tracker::start(Some(&state));
    assert!(
        tracker.start_line.ends_with("(0 files)\n"),
        "{}",
        tracker.start_line
    );
    let mut client = tracker.client(1);
    client.register(&bytes);
    let slot = client.join(hash, 100, false).slot;
    client.have(slot, 0..100);
    assert_eq!(tracker.stop("-TERM"), Some(0));
    assert_eq!(
        file_names(&state),
        [format!("{hash}.torrent"), "completions".into()]
    );

    let tracker = Tracker::start(Some(&state));
    assert!(
        tracker.start_line.ends_with("(1 file)\n"),
        "{}",
        tracker.start_line
    );
    let mut client = tracker.client(2);
    let request = Request::GetInfo {
        info_hash: hash,
        offset: 5,
    };
    let Reply::Info { bytes: part, .. } = client.ask(request) else {
        panic!("no answer");
    };
    assert_eq!(&*part, &bytes[5..]);
    let members = Request::Members {
        info_hash: hash,
        cursor: 0,
        limit: 10,
        with_bitmaps: false,
    };
    let Reply::Members { entries, .. } = client.ask(members) else {
        panic!("no answer");
    };
    let row = entries.iter().next().expect("the completion is remembered");
    assert_eq!((&*row.host, row.connected), ("host1", false));
    assert_eq!(
        client.ask(Request::Unregister { info_hash: hash }),
        Reply::Unregister
    );
    assert_eq!(tracker.stop("-INT"), Some(0));
    assert_eq!(file_names(&state), ["completions"]);
}

#[test]
fn a_kill_behind_the_answer_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut hashes = Vec::new();
    for round in 0..5 {
        let tracker = Tracker::start(Some(dir.path()));
        let (bytes, hash) = info(&format!("file{round}"), 50);
        let reply = tracker.client(1).register(&bytes);
        tracker.kill();
        assert!(
            matches!(reply, Reply::Register { exists: false, .. }),
            "{reply:?}"
        );
        hashes.push(hash);
    }
    let tracker = Tracker::start(Some(dir.path()));
    assert!(hashes.iter().all(|&hash| is_known(&tracker, hash)));
}

#[test]
fn torn_and_foreign_files_are_skipped_and_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, hash) = info("whole", 10);
    Tracker::start(Some(dir.path())).client(1).register(&bytes);
    let whole = dir.path().join(format!("{hash}.torrent"));
    let kept = std::fs::read(&whole).expect("registered");
    let torn = format!("{}.torrent", "1".repeat(40));
    std::fs::write(dir.path().join(&torn), &kept[..kept.len() / 2]).expect("written");
    std::fs::write(dir.path().join("other.torrent.new"), b"begun").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
    command.args(["-l", "127.0.0.1:0", "-s"]).arg(dir.path());
    let log = tempfile::NamedTempFile::new().expect("a file");
    command.stderr(log.reopen().expect("a file"));
    let tracker = Tracker::spawn(command);
    assert!(is_known(&tracker, hash));
    assert!(tracker.start_line.ends_with("(1 file)\n"));
    let said = std::fs::read_to_string(log.path()).expect("a log");
    assert!(said.contains(&torn), "{said}");
    assert_eq!(file_names(dir.path()), [torn, format!("{hash}.torrent")]);
}

#[test]
fn a_second_tracker_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let _first = Tracker::start(Some(dir.path()));
    let second = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"))
        .args(["-l", "127.0.0.1:0", "-s"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(17));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&*dir.path().to_string_lossy()), "{said}");
}

#[test]
fn what_cannot_be_kept_is_not_registered() {
    let dir = tempfile::tempdir().expect("a folder");
    let tracker = Tracker::start(Some(dir.path()));
    let (bytes, hash) = info("unlucky", 10);
    // A folder stands where the file would go.
    std::fs::create_dir(dir.path().join(format!("{hash}.torrent"))).expect("made");
    let mut client = tracker.client(1);
    let reply = client.register(&bytes);
    let Reply::Error { code, text, .. } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(code, ErrorCode::Busy);
    assert!(text.contains("disk"), "{text}");
    assert!(!is_known(&tracker, hash));
    let (bytes, hash) = info("lucky", 10);
    client.register(&bytes);
    assert!(is_known(&tracker, hash));
}

#[test]
fn a_full_disk_refuses_a_registration_and_half_registers_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    // A limit on the length of files stands for a full disk; the signal that it sends is ignored.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" -l 127.0.0.1:0 -s \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_shoal-tracker")]);
    let tracker = Tracker::spawn({
        command.arg(dir.path()).stderr(Stdio::null());
        command
    });
    let (long, long_hash) = info("long", 2000);
    let (short, short_hash) = info("short", 10);
    let mut client = tracker.client(1);
    let reply = client.register(&long);
    assert!(
        matches!(&reply, Reply::Error { text, .. } if text.contains("full")),
        "{reply:?}"
    );
    assert!(matches!(client.register(&short), Reply::Register { .. }));
    assert!(!is_known(&tracker, long_hash) && is_known(&tracker, short_hash));
    assert_eq!(file_names(dir.path()), [format!("{short_hash}.torrent")]);
}
