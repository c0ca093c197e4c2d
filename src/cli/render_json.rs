//! The JSON form: one object per line, fields in the order in which CLI.md shows them.
//!
//! Escapes in strings, beyond what JSON asks, what could steer a terminal; the value of the string stays the same. Says a
//! progress line per content at most once a second.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::ExitCode;
use super::event::{BadRow, Content, Event, FileRow, MemberRow, PeerTotal, Seeding, Summary};
use super::output::{Outputs, Stream};
use super::report::{Moment, Outcome};
use crate::base::{Escaped, Time, hex};

/// The least time between two progress lines of a content.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What the JSON form remembers.
#[derive(Debug, Default)]
pub(super) struct JsonForm {
    /// When the last progress line of a content was said.
    said_at: BTreeMap<usize, Time>,
    /// The members as last told: while watching, only changes are told.
    members: BTreeSet<MemberRow>,
    /// Whether several contents end one by one before the summary.
    several: bool,
}

impl JsonForm {
    /// `several`: whether the command was given more than one content.
    pub(super) fn new(several: bool) -> Self {
        Self {
            several,
            ..Self::default()
        }
    }

    pub(super) fn event(&mut self, at: &Moment<'_>, event: &Event, out: &mut Outputs) {
        match event {
            Event::Start { about, have, .. } => say(out, "start", start(about, *have)),
            Event::FirstPiece { content } => say(
                out,
                "first_piece",
                FirstPiece {
                    t: at.seconds(),
                    name: at.name(*content),
                },
            ),
            Event::Shared {
                about,
                have,
                magnet,
                torrent,
                ..
            } => say(
                out,
                "shared",
                Served {
                    about: shared(about),
                    have: *have,
                    magnet,
                    torrent: torrent
                        .as_ref()
                        .map(|path| path.to_string_lossy().into_owned()),
                },
            ),
            Event::Written { path, row, .. } => {
                let path = path.to_string_lossy().into_owned();
                say(out, "torrent", row.fields(Some(path)));
            }
            Event::Torrent(row) => {
                say(out, "torrent", row.fields(None));
                let entries = row.entries.iter();
                entries.for_each(|entry| say(out, "torrent_file", entry.fields()));
            }
            Event::Progress { .. } | Event::Hashing { .. } | Event::Seeding { .. } => {
                self.progress(at, event, out);
            }
            Event::Done { content, path, .. } if self.several => {
                let done = Done {
                    t: at.seconds(),
                    name: at.name(*content),
                    ok: true,
                    code: 0,
                    error: None,
                    path: Some(path.to_string_lossy().into_owned()),
                };
                say(out, "done", done);
            }
            Event::File(row) => say(out, "file", file(row)),
            Event::Members(rows) => self.members(rows, out),
            Event::Bad(row) => bad(row, out),
            Event::Removed { name, info_hash } => say(
                out,
                "removed",
                Removed {
                    name,
                    info_hash: info_hash.to_string(),
                },
            ),
            Event::Done { .. } | Event::Note(_) | Event::Warning(_) => {}
        }
    }

    /// One of several contents failed.
    pub(super) fn failed(
        &mut self,
        at: &Moment<'_>,
        content: usize,
        code: ExitCode,
        error: &str,
        out: &mut Outputs,
    ) {
        if self.several {
            let done = Done {
                t: at.seconds(),
                name: at.name(content),
                ok: false,
                code: code.number(),
                error: Some(error),
                path: None,
            };
            say(out, "done", done);
        }
    }

    pub(super) fn summary(
        &self,
        at: &Moment<'_>,
        outcome: &Outcome<'_>,
        summary: &Summary,
        out: &mut Outputs,
    ) {
        let totals = match summary {
            Summary::Plain => Totals::Plain { secs: at.seconds() },
            Summary::Get {
                down_bytes,
                up_bytes,
                hash_fail,
                peers,
            } => Totals::Get {
                path: outcome.path.map(|path| path.to_string_lossy().into_owned()),
                secs: at.seconds(),
                down_bytes: *down_bytes,
                up_bytes: *up_bytes,
                hash_fail: *hash_fail,
                peers: peers.iter().map(Peer::from).collect(),
            },
            Summary::Share { up_bytes, peers } => Totals::Share {
                secs: at.seconds(),
                up_bytes: *up_bytes,
                peers: peers.iter().map(Peer::from).collect(),
            },
            Summary::Torrent { info_hash, magnet } => Totals::Torrent {
                path: outcome.path.map(|path| path.to_string_lossy().into_owned()),
                secs: at.seconds(),
                info_hash: info_hash.map(|hash| hash.to_string()),
                magnet: magnet.as_deref(),
            },
            Summary::Status { fleet, missing } => Totals::Status {
                secs: at.seconds(),
                complete: fleet.complete,
                members: fleet.members,
                mean_percent: tenths(fleet.mean_percent),
                missing,
            },
            Summary::Verify { pieces, pieces_bad } => Totals::Verify {
                secs: at.seconds(),
                pieces: *pieces,
                pieces_bad: *pieces_bad,
            },
        };
        let line = SummaryLine {
            ok: outcome.code.is_ok(),
            code: outcome.code.number(),
            error: outcome.error,
            totals,
        };
        say(out, "summary", line);
    }

    fn progress(&mut self, at: &Moment<'_>, event: &Event, out: &mut Outputs) {
        let (content, kind, fields) = match event {
            Event::Progress { content, progress } => (
                *content,
                "progress",
                Standing::Download {
                    t: at.seconds(),
                    have: progress.have,
                    down_bytes_per_s: progress.down_bytes_per_s,
                    up_bytes_per_s: progress.up_bytes_per_s,
                    eta_s: progress.eta_s,
                    peers: progress.peers,
                    min_avail: progress.min_avail,
                    name: at.name(*content),
                },
            ),
            Event::Hashing {
                content,
                name,
                purpose,
                done_bytes,
                size,
                bytes_per_s,
            } => (
                *content,
                "hashing",
                Standing::Hashing {
                    t: at.seconds(),
                    purpose: *purpose,
                    done_bytes: *done_bytes,
                    size: *size,
                    bytes_per_s: *bytes_per_s,
                    name,
                },
            ),
            Event::Seeding { content, seeding } => (
                *content,
                "seeding",
                standing_of_seeding(at, *content, seeding),
            ),
            other => unreachable!("{other:?} is no progress"),
        };
        let due = self
            .said_at
            .get(&content)
            .is_none_or(|said| at.now.since(*said) >= PROGRESS_INTERVAL);
        if due && at.progress() {
            self.said_at.insert(content, at.now);
            out.push(Stream::Stdout, line(kind, fields), true);
        }
    }

    fn members(&mut self, rows: &[MemberRow], out: &mut Outputs) {
        for row in rows {
            if !self.members.contains(row) {
                say(out, "member", member(row));
            }
        }
        self.members = rows.iter().cloned().collect();
    }
}

/// A line with the marks that every object begins with.
#[derive(Serialize)]
struct Line<T> {
    v: u8,
    event: &'static str,
    #[serde(flatten)]
    fields: T,
}

#[derive(Serialize)]
struct Start<'a> {
    name: &'a str,
    info_hash: String,
    size: u64,
    pieces: u32,
    have: u32,
}

#[derive(Serialize)]
struct FirstPiece<'a> {
    t: f64,
    name: &'a str,
}

#[derive(Serialize)]
struct Shared<'a> {
    name: &'a str,
    info_hash: String,
    size: u64,
    pieces: u32,
    piece_length: u32,
    files: u32,
}

#[derive(Serialize)]
struct Served<'a> {
    #[serde(flatten)]
    about: Shared<'a>,
    have: u32,
    magnet: &'a str,
    torrent: Option<String>,
}

#[derive(Serialize)]
struct Done<'a> {
    t: f64,
    name: &'a str,
    ok: bool,
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    path: Option<String>,
}

/// How something stands, in its three kinds.
#[derive(Serialize)]
#[serde(untagged)]
enum Standing<'a> {
    Download {
        t: f64,
        have: u32,
        down_bytes_per_s: u64,
        up_bytes_per_s: u64,
        eta_s: Option<u64>,
        peers: u32,
        min_avail: u32,
        name: &'a str,
    },
    Hashing {
        t: f64,
        purpose: super::event::HashPurpose,
        done_bytes: u64,
        size: u64,
        bytes_per_s: u64,
        name: &'a str,
    },
    Seeding {
        t: f64,
        up_bytes_per_s: u64,
        up_bytes: u64,
        peers: u32,
        complete: Option<u32>,
        members: Option<u32>,
        mean_percent: Option<f64>,
        name: &'a str,
    },
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    about: Shared<'a>,
    seeds: u32,
    leechers: u32,
    min_avail: u32,
    sha256: Option<String>,
    registered_at: u64,
}

#[derive(Serialize)]
struct Member<'a> {
    host: &'a str,
    addrs: Vec<String>,
    have: u32,
    pieces: u32,
    complete: bool,
    completed_at: Option<u64>,
    connected: bool,
}

#[derive(Serialize)]
struct BadPiece {
    piece: u32,
    offset: u64,
    bytes: u32,
}

#[derive(Serialize)]
struct BadFile<'a> {
    path: String,
    why: &'a str,
}

#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
    info_hash: String,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    ok: bool,
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    totals: Totals<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Totals<'a> {
    Plain {
        secs: f64,
    },
    Get {
        path: Option<String>,
        secs: f64,
        down_bytes: u64,
        up_bytes: u64,
        hash_fail: u32,
        peers: Vec<Peer>,
    },
    Share {
        secs: f64,
        up_bytes: u64,
        peers: Vec<Peer>,
    },
    Torrent {
        path: Option<String>,
        secs: f64,
        info_hash: Option<String>,
        magnet: Option<&'a str>,
    },
    Status {
        secs: f64,
        complete: u32,
        members: u32,
        mean_percent: f64,
        missing: &'a [String],
    },
    Verify {
        secs: f64,
        pieces: u32,
        pieces_bad: u32,
    },
}

#[derive(Serialize)]
struct Peer {
    addr: String,
    down_bytes: u64,
    up_bytes: u64,
    /// Only where it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    banned: bool,
}

impl From<&PeerTotal> for Peer {
    fn from(total: &PeerTotal) -> Self {
        Self {
            addr: total.addr.to_string(),
            down_bytes: total.down_bytes,
            up_bytes: total.up_bytes,
            banned: total.is_banned,
        }
    }
}

fn start(about: &Content, have: u32) -> Start<'_> {
    Start {
        name: &about.name,
        info_hash: about.info_hash.to_string(),
        size: about.size,
        pieces: about.pieces,
        have,
    }
}

fn shared(about: &Content) -> Shared<'_> {
    Shared {
        name: &about.name,
        info_hash: about.info_hash.to_string(),
        size: about.size,
        pieces: about.pieces,
        piece_length: about.piece_bytes,
        files: about.files,
    }
}

fn standing_of_seeding<'a>(at: &Moment<'a>, content: usize, seeding: &Seeding) -> Standing<'a> {
    Standing::Seeding {
        t: at.seconds(),
        up_bytes_per_s: seeding.up_bytes_per_s,
        up_bytes: seeding.up_bytes,
        peers: seeding.peers,
        complete: seeding.fleet.map(|fleet| fleet.complete),
        members: seeding.fleet.map(|fleet| fleet.members),
        mean_percent: seeding.fleet.map(|fleet| tenths(fleet.mean_percent)),
        name: at.name(content),
    }
}

fn file(row: &FileRow) -> File<'_> {
    File {
        about: shared(&row.about),
        seeds: row.seeds,
        leechers: row.leechers,
        min_avail: row.min_avail,
        sha256: row.sha256.map(|digest| hex(&digest)),
        registered_at: row.registered_at,
    }
}

fn member(row: &MemberRow) -> Member<'_> {
    Member {
        host: &row.host,
        addrs: row.addrs.iter().map(ToString::to_string).collect(),
        have: row.have,
        pieces: row.pieces,
        complete: row.complete,
        completed_at: row.completed_at,
        connected: row.connected,
    }
}

fn bad(row: &BadRow, out: &mut Outputs) {
    match row {
        BadRow::Piece {
            piece,
            offset,
            bytes,
        } => say(
            out,
            "bad_piece",
            BadPiece {
                piece: *piece,
                offset: *offset,
                bytes: *bytes,
            },
        ),
        BadRow::File { path, why } => say(
            out,
            "bad_file",
            BadFile {
                path: path.to_string_lossy().into_owned(),
                why,
            },
        ),
    }
}

/// Rounded to a tenth: more digits of a mean say nothing.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn say(out: &mut Outputs, event: &'static str, fields: impl Serialize) {
    out.push(Stream::Stdout, line(event, fields), false);
}

fn line(event: &'static str, fields: impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, TerminalSafe);
    Line {
        v: 1,
        event,
        fields,
    }
    .serialize(&mut serializer)
    .expect("strings, numbers and lists of them have a JSON form, and a Vec takes any");
    bytes.push(b'\n');
    bytes
}

/// Compact JSON whose strings spell out what [`Escaped`] would escape.
struct TerminalSafe;

impl Formatter for TerminalSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            let mut utf8 = [0; 4];
            let text = character.encode_utf8(&mut utf8);
            if !character.is_ascii_graphic() && Escaped(text).to_string() != *text {
                let mut utf16 = [0; 2];
                for unit in character.encode_utf16(&mut utf16) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                writer.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    }
}
