//! What a command has to tell: events, rows and the closing summary, as values without form.
//!
//! Names, paths and hosts are raw here; every form escapes them where it shows them. All speeds are bytes per second, all
//! sizes bytes, all counts of pieces pieces.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::torrent_row::TorrentRow;
use crate::base::{Digest32, InfoHash};

/// Something that happened. `content` numbers the contents of one command from zero.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A download begins, or goes on with what is there.
    Start {
        /// Which content.
        content: usize,
        /// What the tracker told of it.
        about: Content,
        /// Pieces that are verified already.
        have: u32,
    },
    /// The first piece of a download was verified.
    FirstPiece {
        /// Which content.
        content: usize,
    },
    /// How a download stands.
    Progress {
        /// Which content.
        content: usize,
        /// How it stands.
        progress: Progress,
    },
    /// A download is complete, and renamed to its own name.
    Done {
        /// Which content.
        content: usize,
        /// The final path.
        path: PathBuf,
        /// Bytes that came from others in this run.
        down_bytes: u64,
        /// Whether the whole-file SHA-256 was compared too.
        sha256_checked: bool,
    },
    /// How the reading and hashing of a file stands.
    Hashing {
        /// Which content.
        content: usize,
        /// Its name.
        name: String,
        /// Why it is read.
        purpose: HashPurpose,
        /// Bytes read.
        done_bytes: u64,
        /// Bytes to read in all.
        size: u64,
        /// Speed of late.
        bytes_per_s: u64,
    },
    /// A content is served, and registered where there is a native tracker.
    Shared {
        /// Which content.
        content: usize,
        /// What is served.
        about: Content,
        /// Pieces that are served.
        have: u32,
        /// The native tracker as others should name it: `tr:6969`, if it is registered with one.
        tracker: Option<String>,
        /// The magnet link.
        magnet: String,
        /// The `.torrent` file that says the same, if one was asked for.
        torrent: Option<PathBuf>,
    },
    /// A `.torrent` file was written.
    Written {
        /// Which content.
        content: usize,
        /// Its path.
        path: PathBuf,
        /// What it says.
        row: Box<TorrentRow>,
    },
    /// The row of `torrent show`.
    Torrent(Box<TorrentRow>),
    /// How the serving of a complete content stands.
    Seeding {
        /// Which content.
        content: usize,
        /// How it stands.
        seeding: Seeding,
    },
    /// A line that some would like to read.
    Note(String),
    /// A line that everyone should read.
    Warning(String),
    /// A row of `ls`.
    File(FileRow),
    /// The members of a content, all of them; while watching, again and again.
    Members(Vec<MemberRow>),
    /// A row of `verify`: something that does not match.
    Bad(BadRow),
    /// The row of `rm`.
    Removed {
        /// Its name.
        name: String,
        /// Its info-hash.
        info_hash: InfoHash,
    },
}

/// What a content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its name.
    pub name: String,
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// Its size.
    pub size: u64,
    /// Number of pieces.
    pub pieces: u32,
    /// Bytes of every piece but the last.
    pub piece_bytes: u32,
    /// Number of files.
    pub files: u32,
}

/// How a download stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Verified pieces.
    pub have: u32,
    /// Bytes of the verified pieces.
    pub have_bytes: u64,
    /// Payload that arrives.
    pub down_bytes_per_s: u64,
    /// Payload that leaves.
    pub up_bytes_per_s: u64,
    /// Seconds until completion at this speed, if that can be said.
    pub eta_s: Option<u64>,
    /// Linked peers.
    pub peers: u32,
    /// Those of them that hold everything.
    pub peers_full: u32,
    /// Copies of the piece that the fewest peers hold.
    pub min_avail: u32,
    /// The peers, most useful first; needed only where [`super::Reporter::wants_links`] says so.
    pub links: Vec<LinkRow>,
}

/// How one linked peer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// Its address.
    pub addr: SocketAddr,
    /// Its share of the content in per cent.
    pub percent: u32,
    /// Payload from it.
    pub down_bytes_per_s: u64,
    /// Payload to it.
    pub up_bytes_per_s: u64,
}

/// Why a file is read and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashPurpose {
    /// To share it.
    Share,
    /// To find out what an interrupted download left.
    Resume,
    /// To compare the finished file once more, or a copy.
    Check,
}

/// How the serving of a complete content stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seeding {
    /// Payload that leaves.
    pub up_bytes_per_s: u64,
    /// Payload that left in this run.
    pub up_bytes: u64,
    /// Linked peers.
    pub peers: u32,
    /// What the tracker says of all members, if it said something.
    pub fleet: Option<Fleet>,
}

/// How far all members of a content are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fleet {
    /// Members that are complete, ourselves not counted.
    pub complete: u32,
    /// Members, ourselves not counted.
    pub members: u32,
    /// Mean share of the content that they hold, in per cent.
    pub mean_percent: f64,
}

/// A content as the tracker lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// What it is.
    pub about: Content,
    /// Members that hold everything.
    pub seeds: u32,
    /// Members that do not.
    pub leechers: u32,
    /// Copies of the piece that the fewest members hold.
    pub min_avail: u32,
    /// The SHA-256 of its only file, if known.
    pub sha256: Option<Digest32>,
    /// When it was registered, in seconds since 1970.
    pub registered_at: u64,
}

/// A machine that has, had or fetches a content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberRow {
    /// What the machine calls itself.
    pub host: String,
    /// Where it can be dialled.
    pub addrs: Vec<SocketAddr>,
    /// Pieces it holds.
    pub have: u32,
    /// Pieces there are.
    pub pieces: u32,
    /// Whether it holds everything, or once did.
    pub complete: bool,
    /// When it became complete, in seconds since 1970, if it did while the tracker knew it.
    pub completed_at: Option<u64>,
    /// Whether it is there now.
    pub connected: bool,
}

/// Something that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRow {
    /// A piece has another SHA-1.
    Piece {
        /// Its index.
        piece: u32,
        /// Where it begins in the content.
        offset: u64,
        /// Its length.
        bytes: u32,
    },
    /// A file is missing, has another size or another SHA-256.
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Payload exchanged with one peer in the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTotal {
    /// Its address.
    pub addr: SocketAddr,
    /// From it.
    pub down_bytes: u64,
    /// To it.
    pub up_bytes: u64,
    /// Whether it was banned for wrong bytes.
    pub is_banned: bool,
}

/// What a command ends with; outcome, path and time are known to the reporter.
#[derive(Clone, Debug, PartialEq)]
pub enum Summary {
    /// It ended before it began, or its rows say everything (`ls`, `rm`).
    Plain,
    /// `get`.
    Get {
        /// Payload that arrived.
        down_bytes: u64,
        /// Payload that left.
        up_bytes: u64,
        /// Pieces that arrived wrong.
        hash_fail: u32,
        /// The peers of all contents together.
        peers: Vec<PeerTotal>,
    },
    /// `share`.
    Share {
        /// Payload that left.
        up_bytes: u64,
        /// The peers of all contents together.
        peers: Vec<PeerTotal>,
    },
    /// `torrent create` and `torrent export`.
    Torrent {
        /// The content that the file describes, if it was written.
        info_hash: Option<InfoHash>,
        /// Its magnet link.
        magnet: Option<String>,
    },
    /// `status`.
    Status {
        /// How far all members are.
        fleet: Fleet,
        /// Expected hosts that are not complete.
        missing: Vec<String>,
    },
    /// `verify`.
    Verify {
        /// Pieces that were read.
        pieces: u32,
        /// Those of them that do not match.
        pieces_bad: u32,
    },
}
