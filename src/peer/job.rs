//! What all jobs have in common: what they are told, what they work with, and how one is chosen.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::errand::{Files, Hashing, Outcome, Work};
use super::get::Get;
use super::list::List;
use super::pace::Pace;
use super::remove::Remove;
use super::seed::Seed;
use super::share::Share;
use super::shell::Shell;
use super::status::Status;
use super::torrent::{Create, Export, Show};
use super::transfer::{News, Transfer};
use super::verify::Verify;
use super::wire_link::Links;
use super::{Failure as TrackerFailure, OwnedReply, OwnedRequest};
use crate::base::{Bitfield, Time};
use crate::cli::{Content, Event, ExitCode, Failure, HashPurpose, LinkRow};
use crate::swarm::Config;
use crate::wire::metainfo::Metainfo;
use crate::wire::native::ErrorCode;

/// How long a job that has left waits for the tracker to say that it heard so.
pub(super) const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// Why conns are closed at the end.
pub(super) const LEAVING: &str = "we are leaving";

/// What a job works with while it is told something.
pub(super) struct Context<'a> {
    pub now: Time,
    pub job: usize,
    pub shell: &'a mut Shell,
    pub links: &'a mut Links,
    /// The job's content in transfer, once there is one.
    pub transfer: &'a mut Option<Transfer>,
}

impl Context<'_> {
    pub(super) fn submit(&mut self, work: Work) {
        self.shell.submit(self.job, work);
    }

    pub(super) fn ask(&mut self, tag: u8, request: OwnedRequest) {
        self.shell.ask(self.job, tag, request);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.shell.tell(self.now, event);
    }

    /// Tells how far a hashing is.
    pub(super) fn tell_hashing(
        &mut self,
        hashing: &Hashing,
        pace: &mut Pace,
        name: &str,
        purpose: HashPurpose,
    ) {
        let (done_bytes, size) = hashing.bytes();
        let event = Event::Hashing {
            content: self.job,
            name: name.to_owned(),
            purpose,
            done_bytes,
            size,
            bytes_per_s: pace.update(self.now, done_bytes),
        };
        self.tell(event);
    }

    pub(super) fn fail(&mut self, failure: &Failure) {
        self.shell.fail(self.now, Some(self.job), failure);
    }

    /// Begins to fetch or to serve.
    pub(super) fn begin_transfer(
        &mut self,
        meta: std::sync::Arc<Metainfo>,
        files: Files,
        have: Bitfield,
        config: Config,
    ) {
        let mut transfer = Transfer::new(self.job, meta, files, have, config, self.shell);
        transfer.join(self.shell);
        self.shell.announces.set_totals(self.job, transfer.totals());
        *self.transfer = Some(transfer);
    }

    /// Closes the links and says good-bye to the trackers. Returns whether the native one will answer.
    pub(super) fn end_transfer(&mut self) -> bool {
        self.announce_stop();
        let Some(transfer) = self.transfer else {
            return false;
        };
        transfer.swarm.stop();
        self.links.close_all(self.job, LEAVING, self.shell);
        transfer.leave(self.now, self.shell)
    }

    /// Lets the swarm's outputs take effect.
    pub(super) fn drain(&mut self) {
        if let Some(transfer) = self.transfer {
            transfer.drain(self.now, self.shell, self.links);
        }
    }
}

/// One job.
pub(super) enum Job {
    Get(Box<Get>),
    Share(Box<Share>),
    Seed(Box<Seed>),
    Create(Box<Create>),
    Show(Show),
    Export(Box<Export>),
    List(List),
    Status(Status),
    Verify(Verify),
    Remove(Remove),
}

/// Calls the same method of whichever job it is.
macro_rules! each {
    ($job:expr, $inner:ident => $call:expr, $($other:pat => $otherwise:expr),+) => {
        match $job {
            $($other => $otherwise,)+
            Job::Get($inner) => $call,
            Job::Share($inner) => $call,
            Job::Seed($inner) => $call,
            Job::Export($inner) => $call,
            Job::List($inner) => $call,
            Job::Status($inner) => $call,
            Job::Verify($inner) => $call,
            Job::Remove($inner) => $call,
        }
    };
}

impl Job {
    /// The command begins.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Get(get) => get.start(cx),
            Self::Share(share) => share.start(cx),
            Self::Seed(seed) => seed.start(cx),
            Self::Create(create) => create.start(cx),
            Self::Show(show) => show.start(cx),
            Self::Status(status) => status.start(cx),
            Self::Verify(verify) => verify.start(cx),
            Self::Remove(remove) => remove.start(cx),
            Self::List(_) | Self::Export(_) => {}
        }
    }

    /// The tracker answered HELLO, for the first time or again.
    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        each!(self, job => job.ready(cx), Self::Create(_) | Self::Show(_) => {});
    }

    /// The tracker was never there, and the command goes on without it.
    pub(super) fn without_tracker(&mut self, cx: &mut Context<'_>) {
        if let Self::Seed(seed) = self {
            seed.without_tracker(cx);
        }
    }

    /// The tracker answered.
    pub(super) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        each!(self, job => job.replied(cx, tag, reply), Self::Create(_) | Self::Show(_) => {});
    }

    /// The tracker refused, or is gone.
    pub(super) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        each!(self, job => job.refused(cx, tag, why), Self::Create(_) | Self::Show(_) => {});
    }

    /// A worker is done.
    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        match self {
            Self::Get(get) => get.done(cx, outcome),
            Self::Share(share) => share.done(cx, outcome),
            Self::Seed(seed) => seed.done(cx, outcome),
            Self::Create(create) => create.done(cx, outcome),
            Self::Show(show) => show.done(cx, outcome),
            Self::Export(export) => export.done(cx, outcome),
            Self::Verify(verify) => verify.done(cx, outcome),
            Self::Status(status) => status.done(cx, outcome),
            Self::Remove(remove) => remove.done(cx, outcome),
            Self::List(_) => {}
        }
    }

    /// Its transfer has news.
    pub(super) fn news(&mut self, cx: &mut Context<'_>, news: News) {
        if let Self::Get(get) = self {
            get.news(cx, news);
        }
    }

    /// Other trackers named peers of its content before it has a transfer.
    pub(super) fn found_peers(&mut self, cx: &mut Context<'_>, peers: &[SocketAddr]) {
        if let Self::Get(get) = self {
            get.found_peers(cx, peers);
        }
    }

    /// The info dictionary that it searched for is here.
    pub(super) fn found_info(&mut self, cx: &mut Context<'_>, info: &[u8]) {
        if let Self::Get(get) = self {
            get.found_info(cx, info);
        }
    }

    /// The tracker was told to forget its content.
    pub(super) fn removed(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Get(get) => get.removed(cx),
            Self::Share(share) => share.removed(cx),
            Self::Seed(seed) => seed.removed(cx),
            _ => {}
        }
    }

    /// Its deadline has come.
    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Get(get) => get.handle_timeout(cx),
            Self::Share(share) => share.handle_timeout(cx),
            Self::Seed(seed) => seed.handle_timeout(cx),
            Self::Status(status) => status.handle_timeout(cx),
            _ => {}
        }
    }

    /// When its next deadline comes.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        match self {
            Self::Get(get) => get.poll_timeout(),
            Self::Share(share) => share.poll_timeout(),
            Self::Seed(seed) => seed.poll_timeout(),
            Self::Status(status) => status.poll_timeout(),
            _ => None,
        }
    }

    /// It is time to tell how things stand.
    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Get(get) => get.progress(cx),
            Self::Share(share) => share.progress(cx),
            Self::Seed(seed) => seed.progress(cx),
            Self::Create(create) => create.progress(cx),
            Self::Verify(verify) => verify.progress(cx),
            _ => {}
        }
    }

    /// The user wants it to end.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        each!(self, job => job.stop(cx),
            Self::Create(create) => create.stop(cx),
            Self::Show(show) => show.stop(cx));
    }

    /// There will never be a tracker: lets go of the workers.
    pub(super) fn abandon(&self) {
        match self {
            Self::Share(share) => share.abandon(),
            Self::Seed(seed) => seed.abandon(),
            _ => {}
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Get(get) => get.is_over,
            Self::Share(share) => share.is_over(),
            Self::Seed(seed) => seed.is_over(),
            Self::Create(create) => create.is_over,
            Self::Show(show) => show.is_over,
            Self::Export(export) => export.is_over,
            Self::List(list) => list.is_over,
            Self::Status(status) => status.is_over,
            Self::Verify(verify) => verify.is_over,
            Self::Remove(remove) => remove.is_over,
        }
    }

    /// Whether it can do nothing without the tracker.
    pub(super) fn needs_tracker(&self) -> bool {
        match self {
            Self::List(_) | Self::Remove(_) => true,
            Self::Status(status) => !status.is_watching(),
            Self::Verify(verify) => verify.is_searching(),
            Self::Export(export) => export.is_searching(),
            _ => false,
        }
    }

    /// What it does, for messages: `get vm.qcow2`.
    pub(super) fn what(&self) -> String {
        each!(self, job => job.what(),
            Self::Create(create) => create.what(),
            Self::Show(show) => show.what())
    }
}

/// What a content is, as the reporter shows it.
pub(super) fn about(meta: &Metainfo) -> Content {
    Content {
        name: meta.name().to_owned(),
        info_hash: meta.info_hash(),
        size: meta.total_len(),
        pieces: meta.piece_count(),
        piece_bytes: meta.piece_length(),
        files: meta.files().len() as u32,
    }
}

/// The links of a transfer, as the reporter shows them, the most useful first.
pub(super) fn link_rows(transfer: &Transfer) -> Vec<LinkRow> {
    let pieces = u64::from(transfer.meta.piece_count().max(1));
    let mut rows: Vec<LinkRow> = transfer
        .swarm
        .links()
        .map(|link| LinkRow {
            addr: link.addr,
            percent: (u64::from(link.pieces_had) * 100 / pieces) as u32,
            down_bytes_per_s: link.down_bytes_per_second,
            up_bytes_per_s: link.up_bytes_per_second,
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.down_bytes_per_s + row.up_bytes_per_s));
    rows
}

/// The failure that a tracker's refusal means.
pub(super) fn refusal(what: &str, why: &TrackerFailure) -> Failure {
    let (code, remedy) = match why {
        TrackerFailure::Refused { code, .. } => match code {
            ErrorCode::NotFound => (ExitCode::NotFound, "see shoal-peer ls for what there is"),
            ErrorCode::Unauthorised => (
                ExitCode::Refused,
                "do it from the machine that registered it, or from the tracker's",
            ),
            ErrorCode::TooLarge => (
                ExitCode::Refused,
                "choose a larger --piece-size, or share fewer files",
            ),
            ErrorCode::Version => (
                ExitCode::Refused,
                "bring shoal-peer and shoal-tracker to one version",
            ),
            _ => (ExitCode::Refused, "try again later"),
        },
        TrackerFailure::ConnectionLost => (ExitCode::Network, "is shoal-tracker running?"),
        TrackerFailure::QueueFull => (ExitCode::Other, "ask for fewer at a time"),
    };
    Failure::new(code, what, why.to_string()).with_remedy(remedy)
}

/// Whether the tracker says that it does not know something.
pub(super) fn is_not_found(why: &TrackerFailure) -> bool {
    matches!(
        why,
        TrackerFailure::Refused {
            code: ErrorCode::NotFound,
            ..
        }
    )
}

/// The failure of what a signal stopped.
pub(super) fn unfinished(what: &str) -> Failure {
    Failure::new(ExitCode::Unfinished, what, "stopped before it was done")
}

/// Whether the tracker says that it will later do what it does not do now.
pub(super) fn is_busy(why: &TrackerFailure) -> bool {
    let busy = |code: &ErrorCode| matches!(code, ErrorCode::Busy | ErrorCode::RateLimited);
    matches!(why, TrackerFailure::Refused { code, .. } if busy(code))
}

/// The failure of a shared or checked file that cannot be read.
pub(super) fn read_failure(what: &str, error: &io::Error) -> Failure {
    let (code, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (ExitCode::Io, "check the path"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => (
            ExitCode::Io,
            "rename it, replace it by a regular file, or leave it out",
        ),
        _ => (ExitCode::Io, "check the file and its permissions"),
    };
    Failure::new(code, what, error.to_string()).with_remedy(remedy)
}
