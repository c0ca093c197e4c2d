//! From what the user typed to one content: reads the file that describes it, or asks the tracker for it, and for its
//! info dictionary where that is needed; of a magnet link it asks peers as well.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::announce::Totals;
use super::errand::{Outcome, TorrentError, Work};
use super::job::{Context, read_failure, refusal};
use super::seeder::tiers_beside;
use super::shell::unexpected;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::InfoHash;
use crate::cli::{Event, ExitCode, Failure, What};
use crate::wire::metainfo::{Metainfo, MetainfoError};
use crate::wire::native::{LookupBy, LookupEntry, Request};

/// The search for one content.
#[derive(Debug)]
pub(super) struct Finder {
    what: What,
    /// For messages: `get vm.qcow2`.
    title: String,
    /// Whether the info dictionary is wanted too.
    with_info: bool,
    stage: Stage,
    /// The trackers that the file or the link names, in their tiers.
    pub tiers: Vec<Vec<String>>,
    /// The native tracker gave us the description.
    is_registered: bool,
}

#[derive(Debug)]
enum Stage {
    /// This file says it.
    File,
    ByName(String),
    ByHash(String),
    Info(InfoHash),
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Entry(Entry),
    Meta(Arc<Metainfo>),
}

/// What the tracker says of a content.
#[derive(Debug)]
pub(super) struct Entry {
    pub info_hash: InfoHash,
    pub name: String,
    pub pieces: u32,
}

impl Context<'_> {
    /// The entry, if one was found; a failure is told, and is the end.
    pub(super) fn entry_or_fail(
        &mut self,
        found: Option<Result<Found, Failure>>,
        is_over: &mut bool,
    ) -> Option<Entry> {
        match found? {
            Ok(Found::Entry(entry)) => Some(entry),
            Ok(Found::Meta(_)) => None,
            Err(failure) => {
                self.fail(&failure);
                *is_over = true;
                None
            }
        }
    }
}

impl Finder {
    pub(super) fn new(command: &str, what: What, with_info: bool) -> Self {
        let title = format!("{command} {what}");
        let mut tiers = Vec::new();
        let stage = match &what {
            What::Name(name) => Stage::ByName(name.clone()),
            What::PrefixOrName(text) => Stage::ByName(text.clone()),
            What::Hash(hash) => Stage::ByHash(hash.to_string()),
            What::Torrent(_) => Stage::File,
            What::Magnet(magnet) => {
                // Each tracker of a link is a tier of its own, as in every client.
                tiers.extend(magnet.trackers.iter().map(|url| vec![url.clone()]));
                Stage::ByHash(magnet.info_hash.to_string())
            }
        };
        Self {
            what,
            title,
            with_info,
            stage,
            tiers,
            is_registered: false,
        }
    }

    /// Begins with what needs no tracker.
    pub(super) fn start(&self, cx: &mut Context<'_>) {
        match &self.what {
            What::Torrent(path) => cx.submit(Work::ReadTorrent { path: path.clone() }),
            What::Magnet(magnet) if self.with_info => {
                let title = &self.title;
                cx.tell(Event::Note(format!("{title}: asking peers what it is")));
                cx.begin_search(magnet.info_hash, &magnet.peers);
                let tracker = cx.shell.tracker.addr.as_ref();
                let tiers = tiers_beside(tracker, &self.tiers);
                cx.announce(magnet.info_hash, &tiers, Totals::default());
            }
            _ => {}
        }
    }

    /// Whether the content is the native tracker's to know, so that it is given back to one that lost it. What came from
    /// elsewhere is its publisher's to register.
    pub(super) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Whether peers are asked, too.
    fn is_searching(&self) -> bool {
        self.with_info && matches!(self.what, What::Magnet(_))
    }

    /// Takes the info dictionary that peers gave us, whose hash is right.
    pub(super) fn found_info(&self, info: &[u8]) -> Result<Found, Failure> {
        self.read_info(info)
    }

    /// Takes what a worker did; `None` if it was something else, or if there is more to ask.
    pub(super) fn done(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Outcome,
    ) -> Option<Result<Found, Failure>> {
        let Outcome::Torrent(read) = outcome else {
            return None;
        };
        let torrent = match read {
            Ok(torrent) => *torrent,
            Err(error) => return Some(Err(torrent_failure(&self.title, &error))),
        };
        self.tiers = torrent.tiers;
        if self.with_info {
            return Some(Ok(Found::Meta(Arc::new(torrent.meta))));
        }
        self.stage = Stage::ByHash(torrent.meta.info_hash().to_string());
        if cx.shell.tracker.client.is_ready() {
            self.ask(cx);
        }
        None
    }

    /// For messages.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Asks, or asks again after the tracker was lost.
    pub(super) fn ask(&self, cx: &mut Context<'_>) {
        let by = |by, key: &str| Request::Lookup {
            by,
            key: key.to_owned().into(),
        };
        let request = match &self.stage {
            Stage::File => return,
            Stage::ByName(name) => by(LookupBy::Name, name),
            Stage::ByHash(hash) => by(LookupBy::Hash, hash),
            Stage::Info(info_hash) => Request::GetInfo {
                info_hash: *info_hash,
                offset: 0,
            },
        };
        cx.ask(tag::FIND, request);
    }

    /// Takes the tracker's answer; `None` while there is more to ask.
    pub(super) fn replied(
        &mut self,
        cx: &mut Context<'_>,
        reply: &OwnedReply,
    ) -> Option<Result<Found, Failure>> {
        match (&self.stage, reply) {
            (Stage::ByName(_) | Stage::ByHash(_), OwnedReply::Lookup(entries)) => {
                match entries.iter().next() {
                    Some(entry) => self.found(cx, &entry),
                    None => self.try_otherwise(cx),
                }
            }
            (Stage::Info(expected), OwnedReply::Info { bytes, .. }) => {
                if InfoHash(Sha1::digest(bytes).into()) == *expected {
                    self.is_registered = true;
                    return Some(self.read_info(bytes));
                }
                let why = "the tracker sent the description of another content";
                let failure = Failure::new(ExitCode::UnreadableTorrent, &self.title, why);
                self.fail(failure)
            }
            _ => self.fail(unexpected(&self.title, reply)),
        }
    }

    /// Takes the tracker's refusal.
    pub(super) fn refused(
        &mut self,
        cx: &mut Context<'_>,
        why: &TrackerFailure,
    ) -> Option<Result<Found, Failure>> {
        match why {
            // The next connection asks again.
            TrackerFailure::ConnectionLost => None,
            // A hash that is not known is no refusal: this one has more to say.
            why if super::job::is_not_found(why) && !matches!(self.stage, Stage::ByHash(_)) => {
                self.try_otherwise(cx)
            }
            why => self.fail(refusal(&self.title, why)),
        }
    }

    /// The tracker is of no use; that is the end, unless peers are asked, too.
    fn fail(&self, failure: Failure) -> Option<Result<Found, Failure>> {
        if self.is_searching() {
            log::info!("{failure}; peers are asked for it");
            return None;
        }
        Some(Err(failure))
    }

    fn found(
        &mut self,
        cx: &mut Context<'_>,
        entry: &LookupEntry<'_>,
    ) -> Option<Result<Found, Failure>> {
        if self.with_info {
            self.stage = Stage::Info(entry.info_hash);
            self.ask(cx);
            return None;
        }
        let name = entry.name.clone().into_owned();
        Some(Ok(Found::Entry(Entry {
            info_hash: entry.info_hash,
            name,
            pieces: entry.n_pieces,
        })))
    }

    /// What is no name may be the beginning of a hash.
    fn try_otherwise(&mut self, cx: &mut Context<'_>) -> Option<Result<Found, Failure>> {
        if let (Stage::ByName(_), What::PrefixOrName(text)) = (&self.stage, &self.what) {
            self.stage = Stage::ByHash(text.clone());
            self.ask(cx);
            return None;
        }
        let (why, remedy) = match self.what {
            What::PrefixOrName(_) => (
                "the tracker knows no such name, and no single info-hash that begins so",
                "see shoal-peer ls for what there is, or give more digits",
            ),
            What::Name(_) | What::Hash(_) | What::Torrent(_) | What::Magnet(_) => (
                "the tracker does not know it",
                "see shoal-peer ls for what there is",
            ),
        };
        let failure = Failure::new(ExitCode::NotFound, &self.title, why);
        self.fail(failure.with_remedy(remedy))
    }

    fn read_info(&self, bytes: &[u8]) -> Result<Found, Failure> {
        let meta = Metainfo::from_info(bytes).map_err(|error| {
            Failure::new(code_of(error), &self.title, error.to_string())
                .with_remedy("have it shared again")
        })?;
        Ok(Found::Meta(Arc::new(meta)))
    }
}

/// The failure of a `.torrent` file that is not to be had.
pub(super) fn torrent_failure(what: &str, error: &TorrentError) -> Failure {
    match error {
        TorrentError::Io(error) => read_failure(what, error),
        TorrentError::Refused(error) => {
            let failure = Failure::new(code_of(*error), what, error.to_string());
            failure.with_remedy("have it made again")
        }
    }
}

fn code_of(error: MetainfoError) -> ExitCode {
    match error {
        MetainfoError::Unreadable(_) => ExitCode::UnreadableTorrent,
        MetainfoError::NotAcceptable(_) => ExitCode::UnacceptableTorrent,
    }
}
