//! Serving what lies on disk: register it, be a member, watch the files, and leave.
//!
//! Owns a content from the moment in which it is known what of it may be served. Stops serving as soon as a file is no
//! longer what it was.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::errand::{Files, Outcome, Work};
use super::fleet::FleetWatch;
use super::job::{Context, LEAVE_TIME_MAX, about, is_busy, is_not_found, refusal, unfinished};
use super::pace::Pace;
use super::shell::unexpected;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::{Bitfield, InfoHash, Time};
use crate::cli::{Event, ExitCode, Failure, SeedEnd, Seeding, TrackerAddr};
use crate::storage::SharedFiles;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::Metainfo;
use crate::wire::native::{Request, Stats};

/// How often the shared files are looked at, whether they are still what they were.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// And this much rarer for each file, so that looking at many costs next to nothing.
const LOOK_EVERY_PER_FILE: Duration = Duration::from_millis(2);

/// How often the tracker is asked whether enough others are complete.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What is to be served.
pub(super) struct Served {
    pub meta: Arc<Metainfo>,
    pub files: Arc<SharedFiles>,
    /// The pieces that match.
    pub have: Bitfield,
    /// The trackers that others may ask, in their tiers.
    pub tiers: Vec<Vec<String>>,
    /// Those of them that are told of it over HTTP and UDP: not the native one.
    pub announced: Vec<Vec<String>>,
    /// The `.torrent` file that was written.
    pub torrent: Option<PathBuf>,
}

/// One content that is served.
pub(super) struct Seeder {
    /// For messages: `share vm.qcow2`.
    title: String,
    /// What is served, for messages.
    path: PathBuf,
    stage: Stage,
    look_at: Option<Time>,
    /// It is stopped: until when the tracker may answer our good-bye.
    leave_at: Option<Time>,
    up_rate: Pace,
    fleet: FleetWatch,
    /// How many others are to be complete before it ends.
    until: Option<u32>,
    /// When to ask the tracker how many are.
    count_at: Option<Time>,
    pub is_over: bool,
}

enum Stage {
    /// Nothing is there to be served yet.
    Idle,
    /// To be registered; it is served when that is done.
    Registering(Served),
    Serving,
    Over,
}

impl Seeder {
    pub(super) fn new(now: Time, title: String, path: PathBuf) -> Self {
        Self {
            title,
            path,
            stage: Stage::Idle,
            look_at: None,
            leave_at: None,
            up_rate: Pace::since(now),
            fleet: FleetWatch::default(),
            until: None,
            count_at: None,
            is_over: false,
        }
    }

    /// It ends once so many others are complete.
    pub(super) fn serve_until(&mut self, others: Option<u32>) {
        self.until = others;
    }

    /// For messages.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Whether it has begun to serve, or to register for it.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }

    /// Whether others are served.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Serving)
    }

    /// Registers a content and serves it; without a native tracker it is served at once.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, served: Served) {
        if cx.shell.tracker.is_absent() && !cx.shell.tracker.is_required() {
            return self.serve(cx, served, false);
        }
        if cx.shell.tracker.client.is_ready() {
            register(cx, &served.meta);
        }
        self.stage = Stage::Registering(served);
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        match &self.stage {
            Stage::Registering(served) => register(cx, &served.meta),
            Stage::Serving => {
                if let Some(transfer) = cx.transfer {
                    transfer.join(cx.shell);
                }
            }
            Stage::Idle | Stage::Over => {}
        }
    }

    /// The tracker is not there, and it goes without.
    pub(super) fn without_tracker(&mut self, cx: &mut Context<'_>) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Registering(served) => self.serve(cx, served, false),
            stage => self.stage = stage,
        }
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if let Outcome::Looked(Err(error)) | Outcome::Read(Err(error)) = outcome {
            let why = format!("{error}; it is no longer served");
            let failure = Failure::new(ExitCode::Io, &self.title, why);
            let remedy = "share it again to serve what it is now";
            self.give_up(cx, &failure.with_remedy(remedy));
        }
    }

    pub(super) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        match (tag, reply) {
            (tag::REGISTER, OwnedReply::Register { info_hash, .. }) => {
                self.registered(cx, *info_hash);
            }
            (tag::JOIN | tag::PEERS, reply) => {
                if let Some(transfer) = cx.transfer {
                    transfer.replied(cx.now, cx.shell.tracker.batch, reply);
                }
                cx.drain();
                if self.leave_at.is_some() {
                    self.wind_down(cx);
                }
            }
            (tag::LEAVE, _) => self.is_over = true,
            (tag::STATS, OwnedReply::Stats(stats)) => {
                self.fleet.take(stats);
                self.count(cx, stats);
            }
            (tag::BAD_PEER | tag::HAVE_BATCH, _) => {}
            (_, reply) => {
                let failure = unexpected(&self.title, reply);
                self.give_up(cx, &failure);
            }
        }
    }

    /// Ends if as many others are complete as the user waits for: those who fetched it, or who have it anyway.
    fn count(&mut self, cx: &mut Context<'_>, stats: &Stats) {
        let others = stats.completed.max(stats.seeds.saturating_sub(1));
        if self.is_serving() && self.until.is_some_and(|until| others >= until) {
            let (content, why) = (cx.job, SeedEnd::OthersComplete);
            cx.tell(Event::Left { content, why });
            self.wind_down(cx);
        }
    }

    fn registered(&mut self, cx: &mut Context<'_>, info_hash: InfoHash) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Registering(served) if served.meta.info_hash() != info_hash => {
                let why = "the tracker registered it under another info-hash";
                let failure = Failure::new(ExitCode::Other, &self.title, why);
                self.give_up(cx, &failure);
            }
            Stage::Registering(served) => self.serve(cx, served, true),
            // Registered again after the tracker had lost it, or for the first time since it is there.
            stage => {
                self.stage = stage;
                if let Some(transfer) = cx.transfer
                    && self.is_serving()
                {
                    transfer.join(cx.shell);
                }
            }
        }
    }

    fn serve(&mut self, cx: &mut Context<'_>, served: Served, is_registered: bool) {
        let Served {
            meta,
            files,
            have,
            tiers,
            announced,
            torrent,
        } = served;
        let tracker = cx.shell.tracker.addr.as_ref().filter(|_| is_registered);
        cx.tell(Event::Shared {
            content: cx.job,
            about: about(&meta),
            have: have.count(),
            tracker: tracker.map(ToString::to_string),
            magnet: magnet_of(&meta, &tiers),
            torrent,
        });
        let mut config = cx.shell.swarm_config();
        config.is_upload_only = true;
        cx.begin_transfer(meta, Files::Shared(files), have, config);
        cx.announce_transfer(&announced);
        self.look_at = Some(cx.now + look_every(cx));
        self.up_rate = Pace::since(cx.now);
        self.count_at = self.until.map(|_| cx.now + COUNT_EVERY);
        self.stage = Stage::Serving;
    }

    pub(super) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        if tag == tag::LEAVE || self.is_over || self.leave_at.is_some() {
            self.is_over = true;
            return;
        }
        if tag == tag::JOIN
            && let Some(transfer) = cx.transfer
        {
            transfer.join_failed(cx.now, why);
            if is_not_found(why) && !transfer.removed {
                let meta = transfer.meta.clone();
                register(cx, &meta);
            }
            return;
        }
        if tag == tag::REGISTER
            && let Some(transfer) = cx.transfer
            && is_busy(why)
        {
            // It was registered once, and will be again by way of the next JOIN.
            return transfer.join_failed(cx.now, why);
        }
        if tag == tag::REGISTER && *why != TrackerFailure::ConnectionLost {
            self.give_up(cx, &refusal(&self.title, why));
        }
    }

    pub(super) fn removed(&mut self, cx: &mut Context<'_>) {
        let text = format!(
            "{} was removed from the tracker, and is no longer served",
            self.path.display()
        );
        cx.tell(Event::Warning(text));
        self.wind_down(cx);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let times = [self.look_at.or(self.leave_at), self.count_at];
        times.into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.look_at.is_some_and(|at| at <= cx.now) {
            self.look_at = Some(cx.now + look_every(cx));
            if let Some(Files::Shared(files)) = cx.transfer.as_ref().map(|t| t.files.clone()) {
                cx.submit(Work::Look { files });
            }
        }
        if self.count_at.is_some_and(|at| at <= cx.now) {
            self.count_at = Some(cx.now + COUNT_EVERY);
            if let Some(transfer) = cx.transfer {
                transfer.ask_stats(cx.shell);
            }
        }
        self.is_over |= self.leave_at.is_some_and(|at| at <= cx.now);
    }

    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        let content = cx.job;
        let Some(transfer) = cx.transfer.as_ref().filter(|_| self.is_serving()) else {
            return;
        };
        let up_bytes = transfer.swarm.counts().up_bytes;
        let peers = transfer.swarm.link_count() as u32;
        if self.fleet.is_due(cx.now, peers > 0, up_bytes) {
            transfer.ask_stats(cx.shell);
        }
        let seeding = Seeding {
            up_bytes_per_s: self.up_rate.update(cx.now, up_bytes),
            up_bytes,
            peers,
            fleet: self.fleet.fleet,
        };
        cx.tell(Event::Seeding { content, seeding });
    }

    /// The user stops it: unfinished, unless it is served.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        if self.is_over || matches!(self.stage, Stage::Over) {
            return;
        }
        if !self.is_serving() {
            cx.fail(&unfinished(&self.title));
        }
        self.wind_down(cx);
    }

    /// Says why it ends, once, and ends.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        if self.is_over || self.leave_at.is_some() {
            return;
        }
        cx.fail(failure);
        self.wind_down(cx);
    }

    /// Closes the links and says good-bye.
    pub(super) fn wind_down(&mut self, cx: &mut Context<'_>) {
        self.stage = Stage::Over;
        (self.look_at, self.count_at) = (None, None);
        self.leave_at.get_or_insert(cx.now + LEAVE_TIME_MAX);
        self.is_over = !cx.end_transfer();
    }
}

/// The link of a content and all of its trackers.
pub(super) fn magnet_of(meta: &Metainfo, tiers: &[Vec<String>]) -> String {
    let mut magnet = Magnet::new(meta.info_hash());
    magnet.name = Some(meta.name().to_owned());
    for url in tiers.iter().flatten() {
        if !magnet.trackers.contains(url) {
            magnet.trackers.push(url.clone());
        }
    }
    magnet.to_string()
}

/// Where others find a content that is registered with `tracker`, and at `more` trackers: each once, its own first.
pub(super) fn tiers_with(tracker: Option<&TrackerAddr>, more: &[Vec<String>]) -> Vec<Vec<String>> {
    let own = tracker.map(TrackerAddr::announce_urls);
    own.into_iter().chain(tiers_beside(tracker, more)).collect()
}

/// The tiers without the URLs of the native tracker, which is told in its own way.
pub(super) fn tiers_beside(
    tracker: Option<&TrackerAddr>,
    tiers: &[Vec<String>],
) -> Vec<Vec<String>> {
    let own = tracker.map_or_else(Vec::new, TrackerAddr::announce_urls);
    let others = |tier: &Vec<String>| -> Vec<String> {
        let urls = tier.iter().filter(|url| !own.contains(url));
        urls.cloned().collect()
    };
    let tiers = tiers.iter().map(others);
    tiers.filter(|tier| !tier.is_empty()).collect()
}

fn look_every(cx: &Context<'_>) -> Duration {
    let files = cx
        .transfer
        .as_ref()
        .map_or(0, |transfer| transfer.meta.files().len());
    LOOK_EVERY + LOOK_EVERY_PER_FILE * files as u32
}

fn register(cx: &mut Context<'_>, meta: &Metainfo) {
    let chunk = meta.info().to_vec();
    let request = Request::Register {
        total: chunk.len() as u32,
        chunk: chunk.into(),
        more: false,
    };
    cx.ask(tag::REGISTER, request);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tracker_is_named_once_and_the_native_one_first() {
        let tracker = "tr:1".parse().expect("an address");
        let tier = |urls: &[&str]| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
        let more = [
            tier(&["udp://a:1", "udp://tr:1"]),
            tier(&["http://tr:1/announce"]),
        ];
        let own = tier(&["http://tr:1/announce", "udp://tr:1"]);
        assert_eq!(
            tiers_with(Some(&tracker), &more),
            [own, tier(&["udp://a:1"])]
        );
        assert_eq!(tiers_with(None, &more), more);
        assert!(tiers_with(None, &[]).is_empty());
    }
}
