//! `torrent export`: writes a `.torrent` file of a content that the native tracker knows.

use std::path::PathBuf;
use std::sync::Arc;

use super::{CREATED_BY, default_path, row_of, write_failure};
use crate::cli::{Event, ExportConfig, Failure, Summary, TorrentRow};
use crate::peer::errand::{Outcome, Work};
use crate::peer::finder::{Finder, Found};
use crate::peer::job::{Context, unfinished};
use crate::peer::seeder::tiers_with;
use crate::peer::{Failure as TrackerFailure, OwnedReply, tag};
use crate::wire::metainfo::Metainfo;
use crate::wire::torrent::{Extras, Torrent, torrent_file};

/// The one job of `torrent export`.
pub(in crate::peer) struct Export {
    finder: Finder,
    file: Option<PathBuf>,
    /// What the file says, and where it goes, once that is known.
    row: Option<(TorrentRow, PathBuf)>,
    is_written: bool,
    pub is_over: bool,
}

impl Export {
    pub(in crate::peer) fn new(config: ExportConfig) -> Self {
        Self {
            finder: Finder::new("torrent export", config.what, true),
            file: config.file,
            row: None,
            is_written: false,
            is_over: false,
        }
    }

    pub(in crate::peer) fn what(&self) -> String {
        self.finder.title().to_owned()
    }

    pub(in crate::peer) fn ready(&mut self, cx: &mut Context<'_>) {
        if self.row.is_none() {
            self.finder.ask(cx);
        }
    }

    pub(in crate::peer) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        if tag == tag::FIND && self.row.is_none() {
            let found = self.finder.replied(cx, reply);
            self.found(cx, found);
        }
    }

    pub(in crate::peer) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        if tag == tag::FIND && self.row.is_none() {
            let found = self.finder.refused(cx, why);
            self.found(cx, found);
        }
    }

    fn found(&mut self, cx: &mut Context<'_>, found: Option<Result<Found, Failure>>) {
        match found {
            None | Some(Ok(Found::Entry(_))) => {}
            Some(Ok(Found::Meta(meta))) => self.write(cx, meta),
            Some(Err(failure)) => self.give_up(cx, &failure),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, meta: Arc<Metainfo>) {
        let torrent = Torrent {
            tiers: tiers_with(cx.shell.tracker.addr.as_ref(), &self.finder.tiers),
            meta: Arc::unwrap_or_clone(meta),
            comment: None,
        };
        let extras = Extras {
            tiers: &torrent.tiers,
            created_by: Some(CREATED_BY),
            ..Extras::default()
        };
        let bytes = torrent_file(torrent.meta.info(), &extras);
        let own = || default_path(torrent.meta.name());
        let path = self.file.clone().unwrap_or_else(own);
        self.row = Some((row_of(&torrent), path.clone()));
        cx.submit(Work::WriteTorrent {
            path,
            bytes,
            same_is_fine: false,
        });
    }

    pub(in crate::peer) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        let (Outcome::TorrentWritten(written), false) = (outcome, self.is_over) else {
            return;
        };
        match (written, self.row.clone()) {
            (Ok(()), Some((row, path))) => {
                let (content, row) = (cx.job, Box::new(row));
                cx.tell(Event::Written { content, path, row });
                self.is_written = true;
                self.is_over = true;
            }
            (Err(error), _) => self.give_up(cx, &write_failure(&self.what(), &error)),
            (Ok(()), None) => unreachable!("it was written because it was known"),
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        cx.fail(failure);
        self.is_over = true;
    }

    /// Whether it waits for the tracker.
    pub(in crate::peer) fn is_searching(&self) -> bool {
        self.row.is_none()
    }

    pub(in crate::peer) fn stop(&mut self, cx: &mut Context<'_>) {
        if !self.is_over {
            let failure = unfinished(&self.what());
            self.give_up(cx, &failure);
        }
    }

    /// What the summary says.
    pub(in crate::peer) fn summary(&self) -> Summary {
        let row = self.row.as_ref().filter(|_| self.is_written);
        Summary::Torrent {
            info_hash: row.map(|(row, _)| row.about.info_hash),
            magnet: row.map(|(row, _)| row.magnet.clone()),
        }
    }
}
