//! `get`: find, make a place, fetch, check, name; and stop without losing what is here.

mod ending;
mod search;
mod staying;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Bitfield, Time};
use crate::cli::{
    Event, ExitCode, Failure, GetConfig, HashPurpose, PeerChoice, PieceOrder, Progress, Seeding,
    What,
};
use crate::peer::errand::{Files, Hashes, Hashing, Outcome, Work};
use crate::peer::finder::{Finder, Found};
use crate::peer::job::{Context, about, is_not_found, link_rows};
use crate::peer::pace::Pace;
use crate::peer::place::{Place, Prepared};
use crate::peer::transfer::News;
use crate::peer::{Failure as TrackerFailure, OwnedReply, tag};
use crate::storage::{BitsFile, PartFiles, PieceHasher, matching_pieces};
use crate::swarm::{Order, PeerOrder};
use crate::wire::metainfo::Metainfo;
use crate::wire::native::Request;

use staying::Stay;

/// The record is saved after this much new data, or this long after the first new piece.
const SAVE_BYTES: u64 = 256 << 20;
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How many times in `--stall` it is looked at whether something arrived: the end may come so much late.
const STALL_CHECKS: u32 = 8;
/// How often a content that was removed is looked at, whether anybody is left who has it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One content that is fetched.
pub(in crate::peer) struct Get {
    config: Arc<GetConfig>,
    place: Place,
    title: String,
    finder: Finder,
    /// Peers that were named before there is a transfer.
    known_peers: Vec<SocketAddr>,
    stage: Stage,
    meta: Option<Arc<Metainfo>>,
    files: Option<Arc<PartFiles>>,
    /// The record; `None` before there is one, and while a worker has it.
    bits: Option<BitsFile>,
    timeout_at: Option<Time>,
    /// When something last arrived, and how much had arrived then.
    moved_at: Time,
    moved_bytes: u64,
    /// When that was last looked at.
    checked_at: Time,
    save_at: Option<Time>,
    /// Until when the tracker may answer our good-bye.
    leave_at: Option<Time>,
    /// When to see whether anybody is left, once the tracker was told to forget the content.
    look_at: Option<Time>,
    saved_have: u32,
    /// The whole files were compared with their SHA-256.
    is_compared: bool,
    /// All of it went to stdout.
    is_passed: bool,
    stopped: bool,
    down_rate: Pace,
    up_rate: Pace,
    hash_rate: Pace,
    pub is_over: bool,
}

enum Stage {
    Finding,
    Preparing,
    /// Hashing what an earlier run left.
    Resuming {
        have: Bitfield,
        doubtful: Bitfield,
        hashing: Hashing,
    },
    Fetching,
    /// Everything is here; the record is on its way back from a worker.
    Closing,
    /// Comparing the whole files.
    Checking(Hashing),
    Finishing,
    Serving(Stay),
    /// Saving what is here, then leaving.
    Stopping,
    Leaving,
}

impl Get {
    pub(in crate::peer) fn new(now: Time, config: Arc<GetConfig>, what: What) -> Self {
        let several = config.whats.len() > 1;
        let place = Place {
            target: config.target.clone(),
            several,
            overwrite: config.overwrite,
        };
        let finder = Finder::new("get", what, true);
        Self {
            timeout_at: config.timeout.map(|timeout| now + timeout),
            title: finder.title().to_owned(),
            config,
            place,
            finder,
            known_peers: Vec::new(),
            stage: Stage::Finding,
            meta: None,
            files: None,
            bits: None,
            moved_at: now,
            moved_bytes: 0,
            checked_at: now,
            save_at: None,
            leave_at: None,
            look_at: None,
            saved_have: 0,
            is_compared: false,
            is_passed: false,
            stopped: false,
            down_rate: Pace::since(now),
            up_rate: Pace::since(now),
            hash_rate: Pace::since(now),
            is_over: false,
        }
    }

    pub(in crate::peer) fn what(&self) -> String {
        self.title.clone()
    }

    pub(in crate::peer) fn start(&mut self, cx: &mut Context<'_>) {
        self.finder.start(cx);
    }

    pub(in crate::peer) fn ready(&mut self, cx: &mut Context<'_>) {
        match self.stage {
            Stage::Finding => self.finder.ask(cx),
            Stage::Fetching | Stage::Closing | Stage::Serving(_) => {
                if let Some(transfer) = cx.transfer {
                    transfer.join(cx.shell);
                }
            }
            _ => {}
        }
    }

    pub(in crate::peer) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        match tag {
            tag::FIND if matches!(self.stage, Stage::Finding) => {
                let found = self.finder.replied(cx, reply);
                self.found(cx, found);
            }
            tag::LEAVE => self.is_over = true,
            tag::REGISTER => {
                if let Some(transfer) = cx.transfer {
                    transfer.join(cx.shell);
                }
            }
            tag::STATS => {
                if let OwnedReply::Stats(stats) = reply {
                    self.told_stats(cx, stats);
                }
            }
            tag::JOIN | tag::PEERS | tag::AVAIL => {
                if let Some(transfer) = cx.transfer {
                    transfer.replied(cx.now, cx.shell.tracker.batch, reply);
                }
                cx.drain();
                if matches!(self.stage, Stage::Leaving) {
                    self.leave(cx);
                }
            }
            _ => {}
        }
    }

    pub(in crate::peer) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        match tag {
            tag::FIND if matches!(self.stage, Stage::Finding) => {
                let found = self.finder.refused(cx, why);
                self.found(cx, found);
            }
            tag::LEAVE => self.is_over = true,
            tag::JOIN if matches!(self.stage, Stage::Leaving) => self.is_over = true,
            tag::AVAIL => {
                if let Some(transfer) = cx.transfer {
                    transfer.not_told();
                }
            }
            tag::JOIN => {
                let Some(transfer) = cx.transfer else { return };
                transfer.join_failed(cx.now, why);
                if is_not_found(why) && !transfer.removed && self.finder.is_registered() {
                    // The tracker lost it: whoever holds the description gives it back.
                    let chunk = transfer.meta.info().to_vec();
                    let total = chunk.len() as u32;
                    let request = Request::Register {
                        total,
                        chunk: chunk.into(),
                        more: false,
                    };
                    cx.ask(tag::REGISTER, request);
                }
            }
            _ => {}
        }
    }

    fn found(&mut self, cx: &mut Context<'_>, found: Option<Result<Found, Failure>>) {
        match found {
            None | Some(Ok(Found::Entry(_))) => {}
            Some(Err(failure)) => self.give_up(cx, &failure),
            Some(Ok(Found::Meta(meta))) => {
                if self.config.sha256.is_some() && !meta.is_single() {
                    let why = "--sha256 is for a content of one file, and this is a folder";
                    let failure = Failure::new(ExitCode::Usage, &self.title, why);
                    return self.give_up(cx, &failure.with_remedy("use --check instead"));
                }
                self.known_peers.extend(cx.end_search());
                let place = self.place.clone();
                cx.submit(Work::Prepare {
                    place,
                    meta: meta.clone(),
                });
                self.meta = Some(meta);
                self.stage = Stage::Preparing;
            }
        }
    }

    pub(in crate::peer) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Prepared(Ok(prepared)) => self.prepared(cx, prepared),
            Outcome::Prepared(Err(failure)) => {
                // There is no place to wait for any more.
                self.stage = Stage::Finding;
                self.give_up(cx, &failure);
                self.is_over = true;
            }
            Outcome::Hashed(Some(result)) => self.hashed(cx, result),
            Outcome::Judged { good: true } => {
                self.save_at.get_or_insert(cx.now + SAVE_EVERY);
                let fresh =
                    cx.transfer.as_ref().map_or(0, |t| t.swarm.have().count()) - self.saved_have;
                let piece_length = self.meta.as_ref().map_or(0, |meta| meta.piece_length());
                if u64::from(fresh) * u64::from(piece_length) >= SAVE_BYTES {
                    self.save(cx);
                }
                self.go_on(cx);
            }
            Outcome::Judged { good: false } => self.go_on(cx),
            Outcome::Saved { bits, result } => {
                self.bits = Some(bits);
                match result {
                    Ok(()) => self.go_on(cx),
                    Err(error) => self.unsaved(cx, &error),
                }
            }
            Outcome::Finished(result) => self.finished(cx, result),
            Outcome::Read(Err(error)) => self.disk_failed(cx, &error),
            outcome if matches!(self.stage, Stage::Finding) && !self.is_over => {
                let found = self.finder.done(cx, outcome);
                self.found(cx, found);
            }
            _ => {}
        }
    }

    fn prepared(&mut self, cx: &mut Context<'_>, prepared: Prepared) {
        let Prepared {
            files,
            bits,
            have,
            doubtful,
            layout,
        } = prepared;
        self.files = Some(files.clone());
        self.bits = bits;
        if self.stopped {
            self.is_over = true;
        } else if doubtful.is_empty() {
            self.fetch(cx, have);
        } else {
            let content = Files::Part(files).content();
            let hashing = Hashing::Pieces(Arc::new(PieceHasher::new(content, layout, &doubtful)));
            cx.shell.submit_hashing(cx.job, &hashing);
            self.hash_rate = Pace::since(cx.now);
            self.stage = Stage::Resuming {
                have,
                doubtful,
                hashing,
            };
        }
    }

    fn hashed(&mut self, cx: &mut Context<'_>, result: io::Result<Hashes>) {
        if self.stopped {
            self.is_over |= !matches!(self.stage, Stage::Stopping | Stage::Leaving);
            return;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Finding);
        match (stage, result) {
            (
                Stage::Resuming {
                    mut have, doubtful, ..
                },
                Ok(Hashes::Pieces(found)),
            ) => {
                let meta = self
                    .meta
                    .as_ref()
                    .expect("a place is made for a known content");
                let expected: Vec<u8> = (0..meta.piece_count())
                    .flat_map(|piece| meta.piece_hash(piece))
                    .collect();
                matching_pieces(&found, &expected, &doubtful)
                    .ones()
                    .for_each(|piece| {
                        have.set(piece);
                    });
                self.fetch(cx, have);
            }
            (Stage::Checking(_), Ok(Hashes::Content(hashes))) => self.compare(cx, &hashes.files),
            (_, Ok(_)) => unreachable!("each hashing brings what it was begun for"),
            (stage, Err(error)) => {
                self.stage = stage;
                self.disk_failed(cx, &error);
            }
        }
    }

    /// Everything is known of what is here: the rest is fetched.
    fn fetch(&mut self, cx: &mut Context<'_>, have: Bitfield) {
        let meta = self
            .meta
            .clone()
            .expect("a place is made for a known content");
        let files = self.files.clone().expect("it was just opened");
        let (content, about, count) = (cx.job, about(&meta), have.count());
        cx.tell(Event::Start {
            content,
            about,
            have: count,
        });
        self.moved_at = cx.now;
        self.checked_at = cx.now;
        (self.down_rate, self.up_rate) = (Pace::since(cx.now), Pace::since(cx.now));
        let complete = have.is_all();
        let mut config = cx.shell.swarm_config();
        config.order = match self.config.order {
            PieceOrder::Rarest => Order::RarestFirst,
            PieceOrder::Random => Order::Random,
            PieceOrder::Sequential => Order::Sequential,
        };
        config.peer_order = match self.config.peers {
            PeerChoice::Auto => PeerOrder::Auto,
            PeerChoice::Random => PeerOrder::Random,
            PeerChoice::RoundRobin => PeerOrder::RoundRobin,
            PeerChoice::Bandwidth => PeerOrder::Bandwidth,
            PeerChoice::Availability => PeerOrder::Availability,
            PeerChoice::Proximity => PeerOrder::Proximity,
        };
        cx.begin_transfer(meta, Files::Part(files), have, config);
        self.announce(cx);
        self.stage = Stage::Fetching;
        if self.passes_through()
            && let Some(transfer) = cx.transfer
            && let Err(error) = transfer.pass_on(cx.shell)
        {
            return self.disk_failed(cx, &error);
        }
        if complete {
            self.complete(cx);
        }
    }

    pub(in crate::peer) fn news(&mut self, cx: &mut Context<'_>, news: News) {
        let content = cx.job;
        match news {
            News::FirstPiece => cx.tell(Event::FirstPiece { content }),
            News::Complete => self.complete(cx),
            News::Unwritten(error) => self.disk_failed(cx, &error),
            News::Passed(passed) => self.passed(cx, passed),
        }
    }

    pub(in crate::peer) fn poll_timeout(&self) -> Option<Time> {
        match &self.stage {
            _ if self.is_over => None,
            Stage::Leaving => self.leave_at,
            _ if self.stopped => None,
            Stage::Serving(stay) => stay.look_at(),
            _ => [
                self.due_at(),
                self.checks_at(),
                self.looks_at(),
                self.save_at,
            ]
            .into_iter()
            .flatten()
            .min(),
        }
    }

    /// When `--timeout` runs out; what has everything is not late any more.
    fn due_at(&self) -> Option<Time> {
        let complete = matches!(
            self.stage,
            Stage::Finishing | Stage::Serving(_) | Stage::Leaving
        );
        self.timeout_at.filter(|_| !complete)
    }

    /// When `--stall` runs out, if nothing arrives until then.
    fn stalls_at(&self) -> Option<Time> {
        let waiting = matches!(self.stage, Stage::Finding | Stage::Fetching);
        waiting.then(|| self.moved_at + self.config.stall)
    }

    /// When to see whether something arrived.
    fn checks_at(&self) -> Option<Time> {
        let every = self.config.stall / STALL_CHECKS;
        self.stalls_at().map(|at| at.min(self.checked_at + every))
    }

    /// When to see whether anybody is left.
    fn looks_at(&self) -> Option<Time> {
        self.look_at
            .filter(|_| matches!(self.stage, Stage::Fetching))
    }

    pub(in crate::peer) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.poll_timeout().is_none_or(|at| at > cx.now) {
            return;
        }
        if matches!(self.stage, Stage::Leaving) {
            self.is_over = true;
            return;
        }
        if matches!(self.stage, Stage::Serving(_)) {
            return self.look_whether_to_stay(cx);
        }
        if self.save_at.is_some_and(|at| at <= cx.now) {
            self.save_at = None;
            self.save(cx);
        }
        if self.looks_at().is_some_and(|at| at <= cx.now) {
            self.look_at = Some(cx.now + LOOK_EVERY);
            if cx
                .transfer
                .as_ref()
                .is_none_or(|t| t.swarm.link_count() == 0)
            {
                let why = "it was removed from the tracker, and nobody is left who has it";
                let failure = Failure::new(ExitCode::NotFound, &self.title, why);
                return self.give_up(cx, &failure.with_remedy("have it shared again"));
            }
        }
        self.checked_at = cx.now;
        let counts = cx.transfer.as_ref().map(|t| t.swarm.counts());
        let searched = cx.links.searches.arrived_bytes(cx.job);
        let bytes = counts.map_or(searched, |counts| counts.down_bytes);
        if bytes != self.moved_bytes {
            self.moved_bytes = bytes;
            self.moved_at = cx.now;
        }
        if self.due_at().is_some_and(|at| at <= cx.now) {
            let why = "it took longer than --timeout allows";
            let failure = Failure::new(ExitCode::Timeout, &self.title, why);
            let remedy = "run it again: it goes on where it stopped";
            return self.give_up(cx, &failure.with_remedy(remedy));
        }
        if self.stalls_at().is_some_and(|at| at <= cx.now) {
            let why = "nothing arrived for as long as --stall allows";
            let failure = Failure::new(ExitCode::Stalled, &self.title, why);
            let remedy = "is anybody sharing it? see shoal-peer status";
            self.give_up(cx, &failure.with_remedy(remedy));
        }
    }

    pub(in crate::peer) fn progress(&mut self, cx: &mut Context<'_>) {
        let content = cx.job;
        let hashing = match &self.stage {
            Stage::Resuming { hashing, .. } => Some((hashing, HashPurpose::Resume)),
            Stage::Checking(hashing) => Some((hashing, HashPurpose::Check)),
            _ => None,
        };
        if let Some((hashing, purpose)) = hashing {
            let name = self.meta.as_ref().map_or("", |meta| meta.name());
            return cx.tell_hashing(hashing, &mut self.hash_rate, name, purpose);
        }
        let wants_links = cx.shell.reporter.wants_links();
        let Some(transfer) = cx.transfer.as_ref() else {
            return;
        };
        let (swarm, counts) = (&transfer.swarm, transfer.swarm.counts());
        let down_bytes_per_s = self.down_rate.update(cx.now, counts.down_bytes);
        let up_bytes_per_s = self.up_rate.update(cx.now, counts.up_bytes);
        let pieces = swarm.have().len();
        let peers_full = swarm
            .links()
            .filter(|link| link.pieces_had == pieces)
            .count() as u32;
        let peers = swarm.link_count() as u32;
        if matches!(self.stage, Stage::Serving(_)) {
            let seeding = Seeding {
                up_bytes_per_s,
                up_bytes: counts.up_bytes,
                peers,
                fleet: None,
            };
            cx.tell(Event::Seeding { content, seeding });
        } else if matches!(self.stage, Stage::Fetching) {
            let have_bytes = swarm.have_bytes();
            let left = swarm.geometry().total_len() - have_bytes;
            let progress = Progress {
                have: swarm.have().count(),
                have_bytes,
                down_bytes_per_s,
                up_bytes_per_s,
                eta_s: left.checked_div(down_bytes_per_s),
                peers,
                peers_full,
                min_avail: swarm.least_copies(),
                links: if wants_links {
                    link_rows(transfer)
                } else {
                    Vec::new()
                },
            };
            cx.tell(Event::Progress { content, progress });
        }
    }
}
