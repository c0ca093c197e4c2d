//! `share`: describe what lies at a path, write its `.torrent` file if that is wanted, register it, serve it.

use std::path::PathBuf;
use std::sync::Arc;

use super::errand::{Outcome, Work};
use super::job::Context;
use super::maker::{Made, MakeOptions, Maker};
use super::seeder::{Seeder, Served, tiers_with};
use super::torrent::write_failure;
use super::{Failure as TrackerFailure, OwnedReply};
use crate::base::{Bitfield, Time};
use crate::cli::{Failure, ShareConfig};
use crate::wire::torrent::{Extras, torrent_file};

/// One path that is shared.
pub(super) struct Share {
    config: Arc<ShareConfig>,
    maker: Maker,
    /// What waits until its `.torrent` file is written.
    described: Option<Served>,
    seeder: Seeder,
}

impl Share {
    pub(super) fn new(now: Time, config: Arc<ShareConfig>, path: PathBuf) -> Self {
        let title = format!("share {}", path.display());
        let options = MakeOptions {
            name: config.name.clone(),
            piece_bytes: config.piece_bytes,
            sha256: config.sha256,
            is_private: false,
        };
        let mut seeder = Seeder::new(now, title.clone(), path.clone());
        seeder.serve_until(config.until);
        Self {
            maker: Maker::new(now, title, path, options),
            described: None,
            seeder,
            config,
        }
    }

    pub(super) fn what(&self) -> String {
        self.seeder.title().to_owned()
    }

    pub(super) fn is_over(&self) -> bool {
        self.seeder.is_over
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        self.maker.start(cx);
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        self.seeder.ready(cx);
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        match outcome {
            Outcome::TorrentWritten(written) => self.written(cx, written),
            outcome if self.seeder.has_begun() => self.seeder.done(cx, outcome),
            outcome => match self.maker.done(cx, outcome) {
                Some(Ok(made)) => self.made(cx, made),
                Some(Err(failure)) => self.give_up(cx, &failure),
                None => {}
            },
        }
    }

    fn made(&mut self, cx: &mut Context<'_>, made: Made) {
        let tiers = tiers_with(cx.shell.tracker.addr.as_ref(), &[]);
        let served = Served {
            have: Bitfield::all(made.meta.piece_count()),
            meta: made.meta,
            files: made.files,
            tiers,
            announced: Vec::new(),
            torrent: self.config.torrent.clone(),
        };
        let Some(path) = served.torrent.clone() else {
            return self.seeder.begin(cx, served);
        };
        let extras = Extras {
            tiers: &served.tiers,
            created_by: Some(super::torrent::CREATED_BY),
            ..Extras::default()
        };
        let bytes = torrent_file(served.meta.info(), &extras);
        cx.submit(Work::WriteTorrent {
            path,
            bytes,
            same_is_fine: true,
        });
        self.described = Some(served);
    }

    fn written(&mut self, cx: &mut Context<'_>, written: std::io::Result<()>) {
        let Some(served) = self.described.take() else {
            return;
        };
        match written {
            Ok(()) => self.seeder.begin(cx, served),
            Err(error) => {
                let failure = write_failure(self.seeder.title(), &error);
                self.give_up(cx, &failure);
            }
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        self.maker.cancel();
        self.seeder.give_up(cx, failure);
    }

    pub(super) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        self.seeder.replied(cx, tag, reply);
    }

    pub(super) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        self.seeder.refused(cx, tag, why);
    }

    pub(super) fn removed(&mut self, cx: &mut Context<'_>) {
        self.seeder.removed(cx);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.seeder.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        self.seeder.handle_timeout(cx);
    }

    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        self.maker.progress(cx);
        self.seeder.progress(cx);
    }

    /// The user stops it: unfinished, unless it is served.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        self.maker.cancel();
        self.described = None;
        self.seeder.stop(cx);
    }

    /// Lets go of the workers at once: nothing will come of it.
    pub(super) fn abandon(&self) {
        self.maker.abandon();
    }
}
