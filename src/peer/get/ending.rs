//! How a download ends: saved, checked, named; or stopped with everything kept that is here.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Get, LOOK_EVERY, Stage};
use crate::base::hex;
use crate::cli::{Event, ExitCode, Failure, Target};
use crate::peer::errand::{Files, Hashing, Work};
use crate::peer::job::{Context, LEAVE_TIME_MAX, LEAVING};
use crate::peer::pace::Pace;
use crate::peer::place::{disk_failure, layout};
use crate::storage::ContentHasher;

impl Get {
    pub(super) fn complete(&mut self, cx: &mut Context<'_>) {
        if matches!(self.stage, Stage::Fetching) {
            self.stage = Stage::Closing;
            self.go_on(cx);
        }
    }

    /// Saves the record, unless a worker is doing so. Once everything is here the record is only in the way: the
    /// finishing takes it.
    pub(super) fn save(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.stage, Stage::Fetching | Stage::Stopping) {
            return;
        }
        let (Some(transfer), Some(meta), Some(files)) = (&cx.transfer, &self.meta, &self.files)
        else {
            return;
        };
        let Some(bits) = self.bits.take() else { return };
        self.save_at = None;
        let have = transfer.swarm.have().clone();
        self.saved_have = have.count();
        let (meta, files) = (meta.clone(), files.clone());
        cx.submit(Work::Save {
            bits,
            have,
            meta,
            files,
        });
    }

    /// Takes the next step of an ending, once what it waits for is there.
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>) {
        match self.stage {
            Stage::Closing if self.bits.is_some() || self.passes_through() => self.check(cx),
            Stage::Stopping if self.passes_through() => self.leave(cx),
            Stage::Stopping => {
                let Some(transfer) = cx.transfer.as_ref() else {
                    return;
                };
                let checking = transfer.swarm.is_checking();
                let saved = self.saved_have == transfer.swarm.have().count();
                if checking || self.bits.is_none() {
                    return;
                }
                if saved {
                    self.leave(cx);
                } else {
                    self.save(cx);
                }
            }
            _ => {}
        }
    }

    /// Reads the finished files once more, if that was asked for and there is something to compare with.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) {
        let meta = self.meta.as_ref().expect("it is fetched");
        let files = self.files.clone().expect("it is fetched");
        let known = meta.files().iter().any(|file| file.sha256.is_some());
        let wanted = self.config.check || self.config.sha256.is_some();
        if wanted && !known && self.config.sha256.is_none() {
            let text = format!(
                "{}: it was shared without SHA-256, so --check has nothing to compare",
                self.title
            );
            cx.tell(Event::Warning(text));
        }
        if !wanted || !(known || self.config.sha256.is_some()) {
            return self.finish(cx);
        }
        let layout = layout(meta);
        let content = Files::Part(files).content();
        let hashing = Hashing::Content(Arc::new(ContentHasher::new(content, &layout, false)));
        cx.shell.submit_hashing(cx.job, &hashing);
        self.hash_rate = Pace::since(cx.now);
        self.stage = Stage::Checking(hashing);
    }

    pub(super) fn compare(&mut self, cx: &mut Context<'_>, found: &[[u8; 32]]) {
        let meta = self.meta.clone().expect("it is fetched");
        for (file, digest) in meta.files().iter().zip(found) {
            let expected = self
                .config
                .sha256
                .or(file.sha256)
                .filter(|_| !file.is_padding);
            let Some(expected) = expected.filter(|expected| expected != digest) else {
                continue;
            };
            let why = format!(
                "the SHA-256 of {} is {}, and should be {}",
                file.path.join("/"),
                hex(digest),
                hex(&expected)
            );
            let failure = Failure::new(ExitCode::Checksum, &self.title, why);
            let remedy = match self.passes_through() {
                true => "what went to stdout is wrong; ask whoever shared it",
                false => "NAME.part is kept; ask whoever shared it",
            };
            return self.give_up(cx, &failure.with_remedy(remedy));
        }
        self.is_compared = true;
        self.finish(cx);
    }

    /// Whether it goes to stdout, and nothing of it is kept.
    pub(super) fn passes_through(&self) -> bool {
        self.config.target == Target::Stdout
    }

    /// Stdout has all of it, or takes no more.
    pub(super) fn passed(&mut self, cx: &mut Context<'_>, passed: io::Result<()>) {
        match passed {
            Ok(()) => {
                self.is_passed = true;
                if matches!(self.stage, Stage::Finishing) {
                    self.finish(cx);
                }
            }
            // Whoever read has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                cx.shell.hush();
                self.give_up(cx, &self.unfinished());
            }
            Err(error) => self.disk_failed(cx, &error),
        }
    }

    fn unfinished(&self) -> Failure {
        let why = "stopped before it was complete";
        let failure = Failure::new(ExitCode::Unfinished, &self.title, why);
        failure.with_remedy(if self.passes_through() {
            "run it again: it begins anew"
        } else {
            "run it again: it goes on where it stopped"
        })
    }

    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        if self.passes_through() {
            self.stage = Stage::Finishing;
            if self.is_passed {
                self.finished(cx, Ok("-".into()));
            }
            return;
        }
        let files = self.files.clone().expect("it is fetched");
        let bits = self.bits.take().expect("nothing else has the record now");
        cx.submit(Work::Finish {
            bits,
            files,
            overwrite: self.config.overwrite,
        });
        self.stage = Stage::Finishing;
    }

    pub(super) fn finished(&mut self, cx: &mut Context<'_>, result: io::Result<PathBuf>) {
        match result {
            Err(error) => {
                cx.fail(&disk_failure(&self.title, &error));
                self.stopped = true;
                self.leave(cx);
            }
            Ok(path) => {
                let down_bytes = cx
                    .transfer
                    .as_ref()
                    .map_or(0, |t| t.swarm.counts().down_bytes);
                let content = cx.job;
                cx.tell(Event::Done {
                    content,
                    path,
                    down_bytes,
                    sha256_checked: self.is_compared,
                });
                self.stay(cx);
            }
        }
    }

    pub(super) fn disk_failed(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        self.give_up(cx, &disk_failure(&self.title, error));
    }

    /// Ends with a failure; what is here is saved.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        if self.is_over || self.stopped {
            return;
        }
        cx.fail(failure);
        self.wind_down(cx);
    }

    /// Stops fetching, keeps what is here, and leaves.
    pub(super) fn wind_down(&mut self, cx: &mut Context<'_>) {
        self.stopped = true;
        match &self.stage {
            Stage::Resuming { hashing, .. } | Stage::Checking(hashing) => hashing.cancel(),
            _ => {}
        }
        if cx.transfer.is_none() {
            cx.end_search();
            // A worker may still be making the place; it is let go when it comes back.
            self.is_over = !matches!(self.stage, Stage::Preparing);
            return;
        }
        if let Some(transfer) = cx.transfer {
            transfer.swarm.stop();
        }
        cx.links.close_all(cx.job, LEAVING, cx.shell);
        match &self.stage {
            Stage::Serving(_) => return self.leave(cx),
            Stage::Finishing if !self.passes_through() => return,
            _ => {}
        }
        self.stage = Stage::Stopping;
        self.go_on(cx);
    }

    pub(super) fn leave(&mut self, cx: &mut Context<'_>) {
        self.stage = Stage::Leaving;
        self.is_over = !cx.end_transfer();
        self.leave_at.get_or_insert(cx.now + LEAVE_TIME_MAX);
    }

    /// The record could not be saved: once more while stopping, then the older one must do.
    pub(super) fn unsaved(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        if matches!(self.stage, Stage::Stopping) {
            self.leave(cx);
        } else {
            self.disk_failed(cx, error);
        }
    }

    pub(in crate::peer) fn removed(&mut self, cx: &mut Context<'_>) {
        let text = format!(
            "{}: it was removed from the tracker; the peers known so far are still asked",
            self.title
        );
        cx.tell(Event::Warning(text));
        self.look_at = Some(cx.now + LOOK_EVERY);
    }

    /// The user stops it: unfinished, unless everything is there.
    pub(in crate::peer) fn stop(&mut self, cx: &mut Context<'_>) {
        if self.stopped || self.is_over || matches!(self.stage, Stage::Leaving) {
            return;
        }
        if matches!(self.stage, Stage::Finishing) && !self.passes_through() {
            self.stopped = true;
            return;
        }
        if !matches!(self.stage, Stage::Serving(_)) {
            cx.fail(&self.unfinished());
        }
        self.wind_down(cx);
    }
}
