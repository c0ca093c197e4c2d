//! `seed`: read a `.torrent` file, verify once what lies on disk, serve what matches.

use std::io;
use std::sync::Arc;

use super::errand::{Files, Hashes, Hashing, Outcome, TorrentError, Work};
use super::finder::torrent_failure;
use super::job::{Context, read_failure};
use super::pace::Pace;
use super::place::layout;
use super::seeder::{Seeder, Served, tiers_beside, tiers_with};
use super::{Failure as TrackerFailure, OwnedReply};
use crate::base::{Bitfield, Time};
use crate::cli::{Event, ExitCode, Failure, HashPurpose, SeedConfig};
use crate::storage::{PieceHasher, SharedFiles, matching_pieces};
use crate::wire::metainfo::Metainfo;
use crate::wire::torrent::Torrent;

/// The one job of `seed`.
pub(super) struct Seed {
    config: SeedConfig,
    stage: Stage,
    seeder: Seeder,
    rate: Pace,
}

enum Stage {
    Reading,
    Opening(Box<Torrent>),
    Checking(Checking),
    Over,
}

/// What is being verified.
struct Checking {
    meta: Arc<Metainfo>,
    tiers: Vec<Vec<String>>,
    files: Arc<SharedFiles>,
    /// The pieces of files that are there.
    wanted: Bitfield,
    hashing: Hashing,
}

impl Seed {
    pub(super) fn new(now: Time, config: SeedConfig) -> Self {
        let title = format!("seed {}", config.file.display());
        Self {
            stage: Stage::Reading,
            seeder: Seeder::new(now, title, config.path.clone()),
            rate: Pace::since(now),
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
        let path = self.config.file.clone();
        cx.submit(Work::ReadTorrent { path });
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        self.seeder.ready(cx);
    }

    pub(super) fn without_tracker(&mut self, cx: &mut Context<'_>) {
        self.seeder.without_tracker(cx);
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if self.seeder.has_begun() {
            return self.seeder.done(cx, outcome);
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let next = match (stage, outcome) {
            (Stage::Reading, Outcome::Torrent(read)) => self.read(cx, read),
            (Stage::Opening(torrent), Outcome::OpenedPresent(opened)) => {
                self.opened(cx, *torrent, opened)
            }
            (Stage::Checking(checking), Outcome::Hashed(Some(hashed))) => {
                self.hashed(cx, checking, hashed)
            }
            (stage, _) => Ok(stage),
        };
        match next {
            Ok(stage) => self.stage = stage,
            Err(failure) => self.seeder.give_up(cx, &failure),
        }
    }

    fn read(
        &self,
        cx: &mut Context<'_>,
        read: Result<Box<Torrent>, TorrentError>,
    ) -> Result<Stage, Failure> {
        let torrent = read.map_err(|error| torrent_failure(self.seeder.title(), &error))?;
        cx.submit(Work::OpenPresent {
            path: self.config.path.clone(),
            meta: Arc::new(torrent.meta.clone()),
        });
        Ok(Stage::Opening(torrent))
    }

    fn opened(
        &mut self,
        cx: &mut Context<'_>,
        torrent: Torrent,
        opened: io::Result<(Arc<SharedFiles>, Vec<usize>)>,
    ) -> Result<Stage, Failure> {
        let (files, absent) = opened.map_err(|error| match error.kind() {
            // The single file has another length.
            io::ErrorKind::InvalidData => self.unlike(&error.to_string()),
            _ => read_failure(self.seeder.title(), &error),
        })?;
        let meta = Arc::new(torrent.meta);
        let layout = layout(&meta);
        let mut wanted = Bitfield::all(meta.piece_count());
        for file in absent {
            layout.file_pieces(file).for_each(|piece| {
                wanted.clear(piece);
            });
        }
        let content = Files::Shared(files.clone()).content();
        let hashing = Hashing::Pieces(Arc::new(PieceHasher::new(content, layout, &wanted)));
        cx.shell.submit_hashing(cx.job, &hashing);
        self.rate = Pace::since(cx.now);
        Ok(Stage::Checking(Checking {
            meta,
            tiers: torrent.tiers,
            files,
            wanted,
            hashing,
        }))
    }

    fn hashed(
        &mut self,
        cx: &mut Context<'_>,
        checking: Checking,
        hashed: io::Result<Hashes>,
    ) -> Result<Stage, Failure> {
        let Checking {
            meta,
            tiers,
            files,
            wanted,
            ..
        } = checking;
        let found = match hashed {
            Ok(Hashes::Pieces(found)) => found,
            Ok(Hashes::Content(_)) => unreachable!("only pieces were asked for"),
            Err(error) => return Err(read_failure(self.seeder.title(), &error)),
        };
        let expected: Vec<u8> = (0..meta.piece_count())
            .flat_map(|piece| meta.piece_hash(piece))
            .collect();
        let have = matching_pieces(&found, &expected, &wanted);
        let missing = meta.piece_count() - have.count();
        if missing > 0 && have.is_empty() {
            return Err(self.unlike("no piece of it matches"));
        }
        if missing > 0 {
            cx.tell(Event::Warning(format!(
                "{missing} of {} pieces of {} are missing or differ: only the others are served",
                meta.piece_count(),
                self.config.path.display()
            )));
        }
        let tracker = cx.shell.tracker.addr.as_ref();
        let served = Served {
            tiers: tiers_with(tracker, &tiers),
            announced: tiers_beside(tracker, &tiers),
            meta,
            files,
            have,
            torrent: None,
        };
        self.seeder.begin(cx, served);
        Ok(Stage::Over)
    }

    fn unlike(&self, why: &str) -> Failure {
        let failure = Failure::new(ExitCode::Checksum, self.seeder.title(), why);
        failure.with_remedy("name the content itself, as it was when the file was made")
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
        if let Stage::Checking(checking) = &self.stage {
            let (hashing, name) = (&checking.hashing, checking.meta.name());
            cx.tell_hashing(hashing, &mut self.rate, name, HashPurpose::Check);
        }
        self.seeder.progress(cx);
    }

    /// The user stops it: unfinished, unless it is served.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        self.abandon();
        self.stage = Stage::Over;
        self.seeder.stop(cx);
    }

    /// Lets go of the workers at once: nothing will come of it.
    pub(super) fn abandon(&self) {
        if let Stage::Checking(checking) = &self.stage {
            checking.hashing.cancel();
        }
    }
}
