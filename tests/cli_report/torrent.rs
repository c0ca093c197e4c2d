//! What a `.torrent` file says, in each form.

use shoal::cli::{Event, Stream, Summary, TorrentEntry, TorrentRow};

use crate::{JSON, PIPES, PLAIN, Run, about, at};

fn torrent_row() -> TorrentRow {
    TorrentRow {
        about: about("d\u{1b}"),
        is_private: true,
        tiers: vec![vec!["udp://a:1".to_owned(), "udp://b:1".to_owned()]],
        comment: Some("\u{202e}".to_owned()),
        sha256: None,
        magnet: "magnet:?xt=x".to_owned(),
        entries: vec![TorrentEntry {
            path: "a/\nb".to_owned(),
            size: 5,
            sha256: Some([0xab; 32]),
        }],
    }
}

#[test]
fn json_lines_of_a_torrent_file_are_these_byte_for_byte() {
    let mut run = Run::new(JSON, PIPES);
    let row = Box::new(torrent_row());
    run.say(0.0, Event::Torrent(row.clone())).say(
        0.0,
        Event::Written {
            content: 0,
            path: "x.torrent".into(),
            row,
        },
    );
    let summary = Summary::Torrent {
        info_hash: Some(about("x").info_hash),
        magnet: Some("magnet:?xt=x".to_owned()),
    };
    run.0.finish(at(1.0), &summary);
    let (hash, digest) = ("4f".repeat(20), "ab".repeat(32));
    let said = format!(
        r#""name":"d\u001b","info_hash":"{hash}","size":8589934592,"pieces":2048,"piece_length":4194304,"files":1,"private":true,"trackers":[["udp://a:1","udp://b:1"]],"comment":"\u202e","sha256":null,"magnet":"magnet:?xt=x"}}"#
    );
    assert_eq!(
        run.lines(Stream::Stdout),
        [
            format!(r#"{{"v":1,"event":"torrent",{said}"#),
            format!(
                r#"{{"v":1,"event":"torrent_file","path":"a/\nb","size":5,"sha256":"{digest}"}}"#
            ),
            format!(r#"{{"v":1,"event":"torrent","path":"x.torrent",{said}"#),
            format!(
                r#"{{"v":1,"event":"summary","ok":true,"code":0,"path":"x.torrent","secs":1.0,"info_hash":"{hash}","magnet":"magnet:?xt=x"}}"#
            ),
        ]
    );
}

#[test]
fn a_torrent_file_is_shown_in_lines_that_steer_no_terminal() {
    let mut run = Run::new(PLAIN, PIPES);
    let row = Box::new(torrent_row());
    run.say(0.0, Event::Torrent(row.clone())).say(
        0.0,
        Event::Written {
            content: 0,
            path: "x.torrent".into(),
            row,
        },
    );
    run.0.finish(at(1.0), &Summary::Plain);
    let outputs = run.outputs();
    let of = |stream| {
        let mine = outputs.iter().filter(|output| output.stream == stream);
        let texts = mine.map(|output| String::from_utf8(output.bytes.clone()).unwrap());
        texts.collect::<String>()
    };
    let hash = "4f".repeat(20);
    let shown = [
        "x.torrent",
        "name       d\\u{1b}",
        &format!("info-hash  {hash}"),
        "size       8.00 GiB (8589934592 bytes)",
        "pieces     2048 × 4 MiB",
        "files      1",
        "           a/\\u{a}b  5 B",
        "trackers   udp://a:1  udp://b:1",
        "private    yes",
        "comment    \\u{202e}",
        "magnet     magnet:?xt=x",
        "",
    ];
    assert_eq!(of(Stream::Stdout), shown.join("\n"));
    let told = "wrote x.torrent  d\\u{1b}  8.00 GiB  2048 × 4 MiB  4f4f4f4f…\nmagnet:?xt=x\n";
    assert_eq!(of(Stream::Stderr), told);
}
