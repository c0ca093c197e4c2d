//! From a path to a content: look at what lies there, hash it, describe it.
//!
//! Owns the hashing until its end or until it is cancelled. Registers nothing and writes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use super::errand::{Files, Hashes, Hashing, Outcome, Work};
use super::job::{Context, read_failure};
use super::pace::Pace;
use crate::base::{Bitfield, Time};
use crate::cli::{ExitCode, Failure, HashPurpose};
use crate::storage::{ContentHasher, ContentHashes, Layout, PieceHasher, Scan, SharedFiles};
use crate::wire::info_builder::{Content, NewFile, info_dictionary, piece_length_for};
use crate::wire::metainfo::{INFO_BYTES_MAX, Metainfo, PIECES_MAX};

/// How a content is to be described.
#[derive(Clone, Debug)]
pub(super) struct MakeOptions {
    /// Its name, if not that of the path.
    pub name: Option<String>,
    /// Bytes per piece, if not chosen by size.
    pub piece_bytes: Option<u32>,
    /// Whether whole-file digests are wanted.
    pub sha256: bool,
    /// Whether peers are to be had from its trackers only.
    pub is_private: bool,
}

/// A content that was described.
pub(super) struct Made {
    pub meta: Arc<Metainfo>,
    pub files: Arc<SharedFiles>,
}

/// The way from a path to a content.
pub(super) struct Maker {
    /// For messages: `share vm.qcow2`.
    title: String,
    path: PathBuf,
    options: MakeOptions,
    stage: Stage,
    rate: Pace,
}

enum Stage {
    Scanning,
    Hashing(Begun),
    Over,
}

/// What is being hashed.
struct Begun {
    scan: Scan,
    files: Arc<SharedFiles>,
    hashing: Hashing,
    piece_length: u32,
}

impl Maker {
    pub(super) fn new(now: Time, title: String, path: PathBuf, options: MakeOptions) -> Self {
        Self {
            title,
            path,
            options,
            stage: Stage::Scanning,
            rate: Pace::since(now),
        }
    }

    pub(super) fn start(&self, cx: &mut Context<'_>) {
        let path = self.path.clone();
        cx.submit(Work::Scan { path });
    }

    /// Takes what a worker did; a result once there is one, and only once.
    pub(super) fn done(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Outcome,
    ) -> Option<Result<Made, Failure>> {
        let made = match (std::mem::replace(&mut self.stage, Stage::Over), outcome) {
            (Stage::Scanning, Outcome::Scanned(Ok((scan, files)))) => {
                self.scanned(cx, scan, files).map(|begun| {
                    self.stage = Stage::Hashing(begun);
                    None
                })
            }
            (Stage::Hashing(begun), Outcome::Hashed(Some(Ok(hashes)))) => {
                self.hashed(begun, hashes).map(Some)
            }
            (Stage::Scanning, Outcome::Scanned(Err(error)))
            | (Stage::Hashing(_), Outcome::Hashed(Some(Err(error)))) => {
                Err(read_failure(&self.title, &error))
            }
            (stage, _) => {
                self.stage = stage;
                Ok(None)
            }
        };
        made.transpose()
    }

    fn scanned(
        &mut self,
        cx: &mut Context<'_>,
        scan: Scan,
        files: Arc<SharedFiles>,
    ) -> Result<Begun, Failure> {
        let total: u64 = scan.files.iter().map(|file| file.len).sum();
        let chosen = self.options.piece_bytes;
        let piece_length = chosen.unwrap_or_else(|| piece_length_for(total));
        if scan.files.is_empty() {
            let failure = Failure::new(ExitCode::Io, &self.title, "there is no file in it");
            return Err(failure.with_remedy("name a folder that has files"));
        }
        if total.div_ceil(piece_length.into()) > PIECES_MAX as u64 {
            let why = format!("it would have more than {PIECES_MAX} pieces");
            let failure = Failure::new(ExitCode::UnacceptableTorrent, &self.title, why);
            return Err(failure.with_remedy("choose a larger --piece-size"));
        }
        let lens = scan.files.iter().map(|file| file.len);
        let layout = Layout::new(piece_length, lens).expect("sizes of real files add up");
        let content = Files::Shared(files.clone()).content();
        let hashing = if self.options.sha256 {
            Hashing::Content(Arc::new(ContentHasher::new(content, &layout, true)))
        } else {
            let all = Bitfield::all(layout.piece_count());
            Hashing::Pieces(Arc::new(PieceHasher::new(content, layout, &all)))
        };
        cx.shell.submit_hashing(cx.job, &hashing);
        self.rate = Pace::since(cx.now);
        Ok(Begun {
            scan,
            files,
            hashing,
            piece_length,
        })
    }

    fn hashed(&self, begun: Begun, hashes: Hashes) -> Result<Made, Failure> {
        let info = self.info_of(&begun, hashes);
        let read = if info.len() > INFO_BYTES_MAX {
            Err("its description exceeds 32 MiB: choose a larger --piece-size".to_owned())
        } else {
            Metainfo::from_info(&info).map_err(|error| error.to_string())
        };
        let made = read.map(|meta| Made {
            meta: Arc::new(meta),
            files: begun.files,
        });
        made.map_err(|why| {
            let failure = Failure::new(ExitCode::UnacceptableTorrent, &self.title, why);
            failure.with_remedy("rename what has such a name, or use --name")
        })
    }

    fn info_of(&self, begun: &Begun, hashes: Hashes) -> Vec<u8> {
        let (scan, piece_length) = (&begun.scan, begun.piece_length);
        let name = self.options.name.as_deref().unwrap_or(&scan.name);
        let is_private = self.options.is_private;
        let ContentHashes {
            pieces,
            files: digests,
        } = match hashes {
            Hashes::Content(hashes) => hashes,
            Hashes::Pieces(pieces) => ContentHashes {
                pieces,
                files: Vec::new(),
            },
        };
        let sha256 = |at: usize| digests.get(at).copied();
        if scan.single {
            let content = Content::Single {
                len: scan.files[0].len,
                sha256: sha256(0),
            };
            return info_dictionary(name, piece_length, &pieces, content, is_private);
        }
        let files: Vec<NewFile> = scan
            .files
            .iter()
            .enumerate()
            .map(|(at, file)| NewFile {
                path: file.path.clone(),
                len: file.len,
                sha256: sha256(at),
            })
            .collect();
        let content = Content::Files(&files);
        info_dictionary(name, piece_length, &pieces, content, is_private)
    }

    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        if let Stage::Hashing(Begun { scan, hashing, .. }) = &self.stage {
            cx.tell_hashing(hashing, &mut self.rate, &scan.name, HashPurpose::Share);
        }
    }

    /// Lets go of the workers: nothing will come of it.
    pub(super) fn cancel(&mut self) {
        self.abandon();
        self.stage = Stage::Over;
    }

    /// Makes the workers stop soon.
    pub(super) fn abandon(&self) {
        if let Stage::Hashing(begun) = &self.stage {
            begun.hashing.cancel();
        }
    }
}
