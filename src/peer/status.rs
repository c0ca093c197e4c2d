//! `status`: which machine has what, and whether all that should have it do.

use std::time::Duration;

use super::errand::{Outcome, Work};
use super::finder::{Finder, Found};
use super::job::{Context, read_failure, refusal, unfinished};
use super::shell::unexpected;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::{InfoHash, Time};
use crate::cli::{Event, ExitCode, Expectation, Failure, Fleet, MemberRow, StatusConfig, Summary};
use crate::wire::native::{MemberEntry, PAGE_ENTRIES_MAX, Request};

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The one job of `status`.
pub(super) struct Status {
    finder: Finder,
    expect: Expectation,
    watch: bool,
    hosts: Option<Vec<String>>,
    found: Option<(InfoHash, u32)>,
    cursor: u32,
    /// Rows of the look that is under way, and of the last whole one.
    rows: Vec<MemberRow>,
    seen: Vec<MemberRow>,
    /// There was a whole look.
    looked: bool,
    look_at: Option<Time>,
    pub is_over: bool,
}

impl Status {
    pub(super) fn new(config: StatusConfig) -> Self {
        Self {
            finder: Finder::new("status", config.what, false),
            expect: config.expect,
            watch: config.watch,
            hosts: None,
            found: None,
            cursor: 0,
            rows: Vec::new(),
            seen: Vec::new(),
            looked: false,
            look_at: None,
            is_over: false,
        }
    }

    /// Whether it goes on until it is stopped or its expectation is met.
    pub(super) fn is_watching(&self) -> bool {
        self.watch
    }

    pub(super) fn what(&self) -> String {
        self.finder.title().to_owned()
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        self.finder.start(cx);
        if let Expectation::Hosts(path) = &self.expect {
            cx.submit(Work::ReadHosts { path: path.clone() });
        }
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        match self.found {
            None if self.is_waiting_for_hosts() => {}
            None => self.finder.ask(cx),
            Some((info_hash, _)) => {
                let (cursor, limit) = (self.cursor, PAGE_ENTRIES_MAX);
                cx.ask(
                    tag::MEMBERS,
                    Request::Members {
                        info_hash,
                        cursor,
                        limit,
                        with_bitmaps: false,
                    },
                );
            }
        }
    }

    fn is_waiting_for_hosts(&self) -> bool {
        matches!(self.expect, Expectation::Hosts(_)) && self.hosts.is_none()
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Hosts(Ok(hosts)) => {
                self.hosts = Some(hosts);
                if cx.shell.tracker.client.is_ready() {
                    self.ready(cx);
                }
            }
            Outcome::Hosts(Err(error)) => {
                cx.fail(&read_failure(&self.what(), &error));
                self.is_over = true;
            }
            outcome => {
                let found = self.finder.done(cx, outcome);
                self.found(cx, found);
            }
        }
    }

    pub(super) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        if tag == tag::FIND {
            let found = self.finder.replied(cx, reply);
            return self.found(cx, found);
        }
        let (
            OwnedReply::Members {
                next_cursor,
                entries,
            },
            Some((_, pieces)),
        ) = (&reply, self.found)
        else {
            cx.fail(&unexpected(&self.what(), reply));
            self.is_over = true;
            return;
        };
        self.rows
            .extend(entries.iter().map(|entry| row(&entry, pieces)));
        self.cursor = *next_cursor;
        if *next_cursor == 0 {
            self.looked(cx);
        } else {
            self.ready(cx);
        }
    }

    pub(super) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        if tag == tag::FIND {
            let found = self.finder.refused(cx, why);
            self.found(cx, found);
        } else if *why == TrackerFailure::ConnectionLost {
            self.rows.clear();
            self.cursor = 0;
        } else {
            cx.fail(&refusal(&self.what(), why));
            self.is_over = true;
        }
    }

    fn found(&mut self, cx: &mut Context<'_>, found: Option<Result<Found, Failure>>) {
        if let Some(entry) = cx.entry_or_fail(found, &mut self.is_over) {
            self.found = Some((entry.info_hash, entry.pieces));
            self.ready(cx);
        }
    }

    /// All pages are here: show them, and judge them.
    fn looked(&mut self, cx: &mut Context<'_>) {
        self.seen = std::mem::take(&mut self.rows);
        self.looked = true;
        cx.tell(Event::Members(self.seen.clone()));
        let met = self.is_met();
        let wants_more = self.watch && !(met && self.expect != Expectation::Nothing);
        if wants_more {
            self.look_at = Some(cx.now + WATCH_EVERY);
            return;
        }
        if !met {
            self.say_unmet(cx);
        }
        self.is_over = true;
    }

    fn say_unmet(&self, cx: &mut Context<'_>) {
        let why = match &self.expect {
            Expectation::Count(count) => {
                format!(
                    "{} of {count} expected machines are complete",
                    self.complete_count()
                )
            }
            _ => format!("not complete: {}", self.missing().join(", ")),
        };
        let failure = Failure::new(ExitCode::ExpectationUnmet, self.what(), why);
        cx.fail(&failure.with_remedy("wait for it with --watch"));
    }

    fn complete_count(&self) -> usize {
        self.seen.iter().filter(|row| row.complete).count()
    }

    /// Hosts that should be complete and are not.
    fn missing(&self) -> Vec<String> {
        let complete = |host: &&String| {
            self.seen
                .iter()
                .any(|row| row.complete && row.host == **host)
        };
        self.hosts
            .iter()
            .flatten()
            .filter(|host| !complete(host))
            .cloned()
            .collect()
    }

    fn is_met(&self) -> bool {
        match &self.expect {
            Expectation::Nothing => true,
            Expectation::Count(count) => self.complete_count() >= *count as usize,
            Expectation::Hosts(_) => self.missing().is_empty(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.look_at
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.look_at.is_some_and(|at| at <= cx.now) {
            self.look_at = None;
            if cx.shell.tracker.client.is_ready() {
                self.ready(cx);
            }
        }
    }

    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        if !self.is_over && !self.looked {
            cx.fail(&unfinished(&self.what()));
        } else if !self.is_over && !self.is_met() {
            self.say_unmet(cx);
        }
        self.is_over = true;
    }

    /// What the summary says.
    pub(super) fn summary(&self) -> Summary {
        let mean = |rows: &[MemberRow]| {
            let share =
                |row: &MemberRow| f64::from(row.have) / f64::from(row.pieces.max(1)) * 100.0;
            if rows.is_empty() {
                0.0
            } else {
                rows.iter().map(share).sum::<f64>() / rows.len() as f64
            }
        };
        let fleet = Fleet {
            complete: self.complete_count() as u32,
            members: self.seen.len() as u32,
            mean_percent: mean(&self.seen),
        };
        Summary::Status {
            fleet,
            missing: self.missing(),
        }
    }
}

fn row(entry: &MemberEntry<'_>, pieces: u32) -> MemberRow {
    MemberRow {
        host: entry.host.clone().into_owned(),
        addrs: entry.member.addrs.iter().collect(),
        have: entry.pieces_had,
        pieces,
        complete: entry.completed_at != 0 || entry.pieces_had == pieces,
        completed_at: (entry.completed_at != 0).then_some(entry.completed_at),
        connected: entry.connected,
    }
}
