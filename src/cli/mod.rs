//! The command line: what was asked for, how it is told, and what the program exits with.
//!
//! The way in has two steps: words are read by one table of options per command, then become a `Config` of values
//! that need no further check ([`parse_peer`], [`parse_tracker`]). The way out is the [`Reporter`]: typed [`Event`]s
//! become a terminal's block, a pipe's lines or JSON, and wait to be written.
//!
//! Knows no files, sockets or threads, and writes nothing itself; the environment is handed in.

mod args;
mod columns;
mod event;
mod exit;
mod failure;
mod help;
mod journal;
mod limits;
mod lines;
mod output;
mod peer_config;
mod policy;
mod render_json;
mod render_pipe;
mod render_terminal;
mod report;
mod screen;
mod seeding;
mod settled;
mod table;
mod torrent_config;
mod torrent_row;
mod tracker_config;
pub mod units;
mod value;

pub use args::{Environment, wants_json};
pub use event::{
    BadRow, Content, Event, FileRow, Fleet, HashPurpose, LinkRow, MemberRow, PeerTotal, Progress,
    Seeding, Summary,
};
pub use exit::ExitCode;
pub use failure::Failure;
pub use journal::keep_log;
pub use limits::RateLimits;
pub use output::{Output, Stream, log_level};
pub use peer_config::{
    ADVERTISED_COUNT_MAX, Expectation, GetConfig, ListConfig, PeerChoice, PeerCommand, PeerGlobals,
    PeerInvocation, PieceOrder, ReachConfig, RemoveConfig, STALL_DEFAULT, ShareConfig,
    StatusConfig, Target, TrackerUse, VerifyConfig, parse_peer,
};
pub use report::{OutputConfig, Reporter};
pub use screen::{Screen, Streams};
pub use seeding::{SeedEnd, SeedMode};
pub use torrent_config::{CreateConfig, ExportConfig, SeedConfig, ShowConfig};
pub use torrent_row::{TorrentEntry, TorrentRow};
pub use tracker_config::{
    CONNS_PER_IP_DEFAULT, INTERVAL_DEFAULT, NUMWANT_DEFAULT, TrackerConfig, TrackerInvocation,
    UdpFront, parse_tracker,
};
pub use value::{Advertised, TRACKER_PORT, TrackerAddr, What};
