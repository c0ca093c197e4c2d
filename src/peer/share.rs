//! `share`: look, hash, register, serve; and stop serving what has changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::errand::{Files, Hashes, Hashing, Outcome, Work};
use super::fleet::FleetWatch;
use super::job::{
    Context, LEAVE_TIME_MAX, about, is_busy, is_not_found, read_failure, refusal, unfinished,
};
use super::pace::Pace;
use super::shell::unexpected;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::{Bitfield, Time};
use crate::cli::{Event, ExitCode, Failure, HashPurpose, Seeding, ShareConfig};
use crate::storage::{ContentHasher, ContentHashes, Layout, PieceHasher, Scan, SharedFiles};
use crate::wire::info_builder::{Content, NewFile, canonical_info, piece_length_for};
use crate::wire::metainfo::{INFO_BYTES_MAX, Metainfo, PIECES_MAX};
use crate::wire::native::Request;

/// How often the shared files are looked at, whether they are still what they were.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// And this much rarer for each file, so that looking at many costs next to nothing.
const LOOK_EVERY_PER_FILE: Duration = Duration::from_millis(2);

/// One path that is shared.
pub(super) struct Share {
    config: Arc<ShareConfig>,
    path: PathBuf,
    stage: Stage,
    look_at: Option<Time>,
    /// It is stopped: until when the tracker may answer our good-bye.
    leave_at: Option<Time>,
    hash_rate: Pace,
    up_rate: Pace,
    fleet: FleetWatch,
    pub is_over: bool,
}

enum Stage {
    Scanning,
    Hashing {
        scan: Scan,
        files: Arc<SharedFiles>,
        hashing: Hashing,
        piece_length: u32,
    },
    /// Ready to be registered, or registered.
    Registering {
        meta: Arc<Metainfo>,
        files: Arc<SharedFiles>,
    },
    Serving,
    Over,
}

impl Share {
    pub(super) fn new(now: Time, config: Arc<ShareConfig>, path: PathBuf) -> Self {
        Self {
            config,
            path,
            stage: Stage::Scanning,
            look_at: None,
            leave_at: None,
            hash_rate: Pace::since(now),
            up_rate: Pace::since(now),
            fleet: FleetWatch::default(),
            is_over: false,
        }
    }

    pub(super) fn what(&self) -> String {
        format!("share {}", self.path.display())
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        cx.submit(Work::Scan {
            path: self.path.clone(),
        });
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        match &self.stage {
            Stage::Registering { meta, .. } => register(cx, meta),
            Stage::Serving => {
                if let Some(transfer) = cx.transfer {
                    transfer.join(cx.shell);
                }
            }
            Stage::Scanning | Stage::Hashing { .. } | Stage::Over => {}
        }
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Scanned(Ok((scan, files))) => self.scanned(cx, scan, files),
            Outcome::Hashed(Some(Ok(hashes))) => self.hashed(cx, hashes),
            Outcome::Hashed(Some(Err(_))) if self.is_over => {}
            Outcome::Scanned(Err(error)) | Outcome::Hashed(Some(Err(error))) => {
                self.give_up(cx, &read_failure(&self.what(), &error));
            }
            Outcome::Looked(Err(error)) | Outcome::Read(Err(error)) => {
                let why = format!("{error}; it is no longer served");
                let failure = Failure::new(ExitCode::Io, self.what(), why);
                self.give_up(
                    cx,
                    &failure.with_remedy("share it again to serve what it is now"),
                );
            }
            _ => {}
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        if self.is_over || self.leave_at.is_some() {
            return;
        }
        cx.fail(failure);
        self.wind_down(cx);
    }

    fn scanned(&mut self, cx: &mut Context<'_>, scan: Scan, files: Arc<SharedFiles>) {
        if self.is_over {
            return;
        }
        let total: u64 = scan.files.iter().map(|file| file.len).sum();
        let piece_length = self
            .config
            .piece_bytes
            .unwrap_or_else(|| piece_length_for(total));
        if scan.files.is_empty() {
            let failure = Failure::new(ExitCode::Io, self.what(), "there is no file in it");
            return self.give_up(cx, &failure.with_remedy("share a folder that has files"));
        }
        if total.div_ceil(piece_length.into()) > PIECES_MAX as u64 {
            let why = format!("it would have more than {PIECES_MAX} pieces");
            let failure = Failure::new(ExitCode::UnacceptableTorrent, self.what(), why);
            return self.give_up(cx, &failure.with_remedy("choose a larger --piece-size"));
        }
        let lens = scan.files.iter().map(|file| file.len);
        let layout = Layout::new(piece_length, lens).expect("sizes of real files add up");
        let content = Files::Shared(files.clone()).content();
        let hashing = if self.config.sha256 {
            Hashing::Content(Arc::new(ContentHasher::new(content, &layout, true)))
        } else {
            let all = Bitfield::all(layout.piece_count());
            Hashing::Pieces(Arc::new(PieceHasher::new(content, layout, &all)))
        };
        cx.shell.submit_hashing(cx.job, &hashing);
        self.hash_rate = Pace::since(cx.now);
        self.stage = Stage::Hashing {
            scan,
            files,
            hashing,
            piece_length,
        };
    }

    fn hashed(&mut self, cx: &mut Context<'_>, hashes: Hashes) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Hashing {
            scan,
            files,
            piece_length,
            ..
        } = stage
        else {
            return;
        };
        let name = self.config.name.as_deref().unwrap_or(&scan.name);
        let info = info_of(name, &scan, piece_length, hashes);
        let read = if info.len() > INFO_BYTES_MAX {
            Err("its description exceeds 32 MiB: choose a larger --piece-size".to_owned())
        } else {
            Metainfo::from_info(&info).map_err(|error| error.to_string())
        };
        match read {
            Ok(meta) => {
                let meta = Arc::new(meta);
                if cx.shell.tracker.client.is_ready() {
                    register(cx, &meta);
                }
                self.stage = Stage::Registering { meta, files };
            }
            Err(why) => {
                let failure = Failure::new(ExitCode::UnacceptableTorrent, self.what(), why);
                self.give_up(
                    cx,
                    &failure.with_remedy("rename what has such a name, or use --name"),
                );
            }
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
            (tag::STATS, OwnedReply::Stats(stats)) => self.fleet.take(stats),
            (tag::BAD_PEER | tag::HAVE_BATCH, _) => {}
            (_, reply) => {
                let failure = unexpected(&self.what(), reply);
                self.give_up(cx, &failure);
            }
        }
    }

    fn registered(&mut self, cx: &mut Context<'_>, info_hash: crate::base::InfoHash) {
        match std::mem::replace(&mut self.stage, Stage::Serving) {
            Stage::Registering { meta, .. } if meta.info_hash() != info_hash => {
                let why = "the tracker registered it under another info-hash";
                let failure = Failure::new(ExitCode::Other, self.what(), why);
                self.give_up(cx, &failure);
            }
            Stage::Registering { meta, files } => {
                let tracker = cx.shell.tracker.name();
                let (content, about) = (cx.job, about(&meta));
                cx.tell(Event::Shared {
                    content,
                    about,
                    tracker,
                });
                let all = Bitfield::all(meta.piece_count());
                let config = cx.shell.swarm_config();
                cx.begin_transfer(meta, Files::Shared(files), all, config);
                self.look_at = Some(cx.now + look_every(cx));
                self.up_rate = Pace::since(cx.now);
            }
            // Registered again after the tracker had lost it.
            Stage::Serving => {
                if let Some(transfer) = cx.transfer {
                    transfer.join(cx.shell);
                }
            }
            stage => self.stage = stage,
        }
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
            self.give_up(cx, &refusal(&self.what(), why));
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
        self.look_at.or(self.leave_at)
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.look_at.is_some_and(|at| at <= cx.now) {
            self.look_at = Some(cx.now + look_every(cx));
            if let Some(Files::Shared(files)) = cx.transfer.as_ref().map(|t| t.files.clone()) {
                cx.submit(Work::Look { files });
            }
        }
        self.is_over |= self.leave_at.is_some_and(|at| at <= cx.now);
    }

    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        let content = cx.job;
        match &self.stage {
            Stage::Hashing { scan, hashing, .. } => {
                cx.tell_hashing(hashing, &mut self.hash_rate, &scan.name, HashPurpose::Share);
            }
            Stage::Serving => {
                let Some(transfer) = cx.transfer.as_ref() else {
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
            Stage::Scanning | Stage::Registering { .. } | Stage::Over => {}
        }
    }

    /// The user stops it: unfinished, unless it is served.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        if self.is_over || matches!(self.stage, Stage::Over) {
            return;
        }
        if !matches!(self.stage, Stage::Serving) {
            cx.fail(&unfinished(&self.what()));
        }
        self.wind_down(cx);
    }

    /// Lets go of the workers at once: nothing will come of it.
    pub(super) fn abandon(&self) {
        if let Stage::Hashing { hashing, .. } = &self.stage {
            hashing.cancel();
        }
    }

    fn wind_down(&mut self, cx: &mut Context<'_>) {
        self.abandon();
        self.stage = Stage::Over;
        self.look_at = None;
        self.leave_at.get_or_insert(cx.now + LEAVE_TIME_MAX);
        self.is_over = !cx.end_transfer();
    }
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

fn info_of(name: &str, scan: &Scan, piece_length: u32, hashes: Hashes) -> Vec<u8> {
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
        return canonical_info(name, piece_length, &pieces, content);
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
    canonical_info(name, piece_length, &pieces, Content::Files(&files))
}
