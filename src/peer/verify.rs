//! `verify`: reads a copy and compares every piece and every whole file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::errand::{Files, Hashes, Hashing, Outcome, Work};
use super::finder::{Finder, Found};
use super::job::{Context, read_failure, unfinished};
use super::pace::Pace;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::{Bitfield, Time};
use crate::cli::{BadRow, Event, ExitCode, Failure, HashPurpose, Summary, VerifyConfig};
use crate::storage::{ContentHasher, ContentHashes, PieceHasher, SharedFiles, matching_pieces};
use crate::wire::metainfo::Metainfo;

/// The one job of `verify`.
pub(super) struct Verify {
    finder: Finder,
    path: PathBuf,
    meta: Option<Arc<Metainfo>>,
    hashing: Option<Hashing>,
    pace: Pace,
    read_count: u32,
    bad_count: u32,
    pub is_over: bool,
}

impl Verify {
    pub(super) fn new(now: Time, config: VerifyConfig) -> Self {
        Self {
            finder: Finder::new("verify", config.what, true),
            path: config.path,
            meta: None,
            hashing: None,
            pace: Pace::since(now),
            read_count: 0,
            bad_count: 0,
            is_over: false,
        }
    }

    /// Whether it does not know yet what the copy should be.
    pub(super) fn is_searching(&self) -> bool {
        self.meta.is_none()
    }

    pub(super) fn what(&self) -> String {
        self.finder.title().to_owned()
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        self.finder.start(cx);
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        if self.meta.is_none() {
            self.finder.ask(cx);
        }
    }

    pub(super) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        if tag == tag::FIND && self.meta.is_none() {
            let found = self.finder.replied(cx, reply);
            self.found(cx, found);
        }
    }

    pub(super) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        if tag == tag::FIND && self.meta.is_none() {
            let found = self.finder.refused(cx, why);
            self.found(cx, found);
        }
    }

    fn found(&mut self, cx: &mut Context<'_>, found: Option<Result<Found, Failure>>) {
        match found {
            None | Some(Ok(Found::Entry(_))) => {}
            Some(Ok(Found::Meta(meta))) => {
                cx.submit(Work::Open {
                    path: self.path.clone(),
                    meta: meta.clone(),
                });
                self.meta = Some(meta);
            }
            Some(Err(failure)) => self.give_up(cx, &failure),
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        if !self.is_over {
            cx.fail(failure);
        }
        self.is_over = true;
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Opened(Ok(files)) => self.hash(cx, files),
            Outcome::Opened(Err(error)) => self.unlike(cx, &error),
            Outcome::Hashed(Some(Ok(Hashes::Content(hashes)))) => self.compare(cx, &hashes),
            Outcome::Hashed(Some(Ok(Hashes::Pieces(pieces)))) => {
                let files = Vec::new();
                self.compare(cx, &ContentHashes { pieces, files });
            }
            Outcome::Hashed(Some(Err(error))) if !self.is_over => {
                let failure = read_failure(&self.what(), &error);
                self.give_up(cx, &failure);
            }
            outcome if self.meta.is_none() => {
                let found = self.finder.done(cx, outcome);
                self.found(cx, found);
            }
            _ => {}
        }
    }

    /// A copy whose files are missing or of another size is a wrong copy; one that cannot be read is a failure.
    fn unlike(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        let unreadable = matches!(error.kind(), io::ErrorKind::PermissionDenied);
        if unreadable {
            let failure = read_failure(&self.what(), error);
            return self.give_up(cx, &failure);
        }
        let failure = Failure::new(ExitCode::Checksum, self.what(), error.to_string());
        let path = self.path.clone();
        let named = format!("{}: ", path.display());
        let why = failure.why.strip_prefix(&named).unwrap_or(&failure.why);
        let why = why.to_owned();
        cx.tell(Event::Bad(BadRow::File { path, why }));
        self.give_up(cx, &failure.with_remedy("fetch it again"));
    }

    fn hash(&mut self, cx: &mut Context<'_>, files: Arc<SharedFiles>) {
        let meta = self
            .meta
            .as_ref()
            .expect("it was opened for a known content");
        let layout = super::place::layout(meta);
        let content = Files::Shared(files).content();
        // Without a digest to compare, hashing whole files would only cost the most of the time.
        let hashing = if meta.files().iter().any(|file| file.sha256.is_some()) {
            Hashing::Content(Arc::new(ContentHasher::new(content, &layout, true)))
        } else {
            let all = Bitfield::all(meta.piece_count());
            Hashing::Pieces(Arc::new(PieceHasher::new(content, layout, &all)))
        };
        cx.shell.submit_hashing(cx.job, &hashing);
        self.pace = Pace::since(cx.now);
        self.hashing = Some(hashing);
    }

    fn compare(&mut self, cx: &mut Context<'_>, hashes: &ContentHashes) {
        let meta = self.meta.clone().expect("it was hashed as a known content");
        let expected: Vec<u8> = (0..meta.piece_count())
            .flat_map(|piece| meta.piece_hash(piece))
            .collect();
        let all = Bitfield::all(meta.piece_count());
        let matching = matching_pieces(&hashes.pieces, &expected, &all);
        for piece in matching.zeros() {
            let offset = u64::from(piece) * u64::from(meta.piece_length());
            let bytes = meta.piece_len(piece);
            cx.tell(Event::Bad(BadRow::Piece {
                piece,
                offset,
                bytes,
            }));
        }
        let mut files_bad = 0;
        for (file, digest) in meta.files().iter().zip(&hashes.files) {
            if file.sha256.is_some_and(|expected| expected != *digest) && !file.is_padding {
                files_bad += 1;
                let path = if meta.is_single() {
                    self.path.clone()
                } else {
                    file.path.iter().collect()
                };
                let why = "its SHA-256 is another".to_owned();
                cx.tell(Event::Bad(BadRow::File { path, why }));
            }
        }
        self.read_count = meta.piece_count();
        self.bad_count = meta.piece_count() - matching.count();
        if self.bad_count > 0 || files_bad > 0 {
            let why = match self.bad_count {
                0 => "all pieces match, and a SHA-256 does not".to_owned(),
                bad => format!("{bad} of {} pieces differ", meta.piece_count()),
            };
            let failure = Failure::new(ExitCode::Checksum, self.what(), why);
            cx.fail(&failure.with_remedy("fetch it again"));
        }
        self.is_over = true;
    }

    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        let (Some(hashing), Some(meta)) = (&self.hashing, &self.meta) else {
            return;
        };
        cx.tell_hashing(hashing, &mut self.pace, meta.name(), HashPurpose::Check);
    }

    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        if let Some(hashing) = &self.hashing {
            hashing.cancel();
        }
        let failure = unfinished(&self.what());
        self.give_up(cx, &failure);
    }

    /// What the summary says.
    pub(super) fn summary(&self) -> Summary {
        Summary::Verify {
            pieces: self.read_count,
            pieces_bad: self.bad_count,
        }
    }
}
