//! What runs in `shoal-peer`: links, swarm, workers and the tracker's client behind one service.
//!
//! [`run`] carries out one command. A command is one or more *jobs*, one for each content (`get`, `share`) or one in
//! all; each job is a small state machine that is told what the tracker and the workers answered. The service owns the
//! sockets' side, the jobs own the meaning. Nothing here blocks: whatever may wait is an errand of the worker pool.

mod announce;
mod errand;
mod extensions;
mod finder;
mod fleet;
mod get;
mod job;
mod list;
mod maker;
mod pace;
mod place;
mod refuser;
mod remove;
mod run;
mod search;
mod seed;
mod seeder;
mod service;
mod share;
mod shell;
mod status;
mod summary;
mod throttle;
mod torrent;
mod tracker_client;
mod tracker_link;
mod transfer;
mod verify;
mod wire_link;

pub use run::{report_failure, run};
pub use tracker_client::{
    CountsChanged, Event, Failure, HelloConfig, OwnedReply, OwnedRequest, TrackerClient,
};

/// What a job asked the tracker for; the reply bears the same tag.
mod tag {
    pub(super) const JOIN: u8 = 0;
    pub(super) const LEAVE: u8 = 1;
    pub(super) const PEERS: u8 = 2;
    pub(super) const BAD_PEER: u8 = 3;
    pub(super) const HAVE_BATCH: u8 = 4;
    pub(super) const FIND: u8 = 5;
    pub(super) const REGISTER: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const MEMBERS: u8 = 8;
    pub(super) const UNREGISTER: u8 = 9;
    pub(super) const STATS: u8 = 10;
    pub(super) const AVAIL: u8 = 11;
}
