//! `torrent create`: describe what lies at a path in a `.torrent` file. Speaks to nobody.

use std::path::PathBuf;

use super::{CREATED_BY, default_path, row_of, write_failure};
use crate::base::Time;
use crate::cli::{CreateConfig, Event, Failure, Summary, TorrentRow};
use crate::peer::errand::{Outcome, Work};
use crate::peer::job::{Context, unfinished};
use crate::peer::maker::{Made, MakeOptions, Maker};
use crate::wire::torrent::{Extras, Torrent, torrent_file};

/// The one job of `torrent create`.
pub(in crate::peer) struct Create {
    title: String,
    config: CreateConfig,
    maker: Maker,
    /// What the file says, and where it goes, once that is known.
    row: Option<(TorrentRow, PathBuf)>,
    is_written: bool,
    pub is_over: bool,
}

impl Create {
    pub(in crate::peer) fn new(now: Time, config: CreateConfig) -> Self {
        let title = format!("torrent create {}", config.path.display());
        let options = MakeOptions {
            name: config.name.clone(),
            piece_bytes: config.piece_bytes,
            sha256: config.sha256,
            is_private: config.private,
        };
        Self {
            maker: Maker::new(now, title.clone(), config.path.clone(), options),
            title,
            config,
            row: None,
            is_written: false,
            is_over: false,
        }
    }

    pub(in crate::peer) fn what(&self) -> String {
        self.title.clone()
    }

    /// Where the file goes, as far as that is known before its content was looked at.
    fn path(&self) -> Option<PathBuf> {
        self.config.file.clone().or_else(|| {
            let own = || self.config.path.file_name()?.to_str().map(str::to_owned);
            let name = self.config.name.clone().or_else(own)?;
            Some(default_path(&name))
        })
    }

    /// What would be in vain is not begun: hashing may take long.
    pub(in crate::peer) fn start(&mut self, cx: &mut Context<'_>) {
        match self.path() {
            Some(path) => cx.submit(Work::FindVacant { path }),
            None => self.maker.start(cx),
        }
    }

    pub(in crate::peer) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if self.is_over {
            return;
        }
        match outcome {
            Outcome::Vacant(Ok(())) => self.maker.start(cx),
            Outcome::Vacant(Err(error)) => self.give_up(cx, &write_failure(&self.title, &error)),
            Outcome::TorrentWritten(Ok(())) => self.written(cx),
            Outcome::TorrentWritten(Err(error)) => {
                self.give_up(cx, &write_failure(&self.title, &error));
            }
            outcome => match self.maker.done(cx, outcome) {
                Some(Ok(made)) => self.made(cx, &made),
                Some(Err(failure)) => self.give_up(cx, &failure),
                None => {}
            },
        }
    }

    fn made(&mut self, cx: &mut Context<'_>, made: &Made) {
        let torrent = Torrent {
            meta: (*made.meta).clone(),
            tiers: self.config.tiers.clone(),
            comment: self.config.comment.clone(),
        };
        let extras = Extras {
            tiers: &torrent.tiers,
            comment: torrent.comment.as_deref(),
            created_by: Some(CREATED_BY),
            creation_date: None,
        };
        let bytes = torrent_file(made.meta.info(), &extras);
        let path = self
            .path()
            .unwrap_or_else(|| default_path(made.meta.name()));
        self.row = Some((row_of(&torrent), path.clone()));
        cx.submit(Work::WriteTorrent {
            path,
            bytes,
            same_is_fine: false,
        });
    }

    fn written(&mut self, cx: &mut Context<'_>) {
        if let Some((row, path)) = self.row.clone() {
            let has_trackers = !row.tiers.is_empty();
            cx.tell(Event::Written {
                content: cx.job,
                path,
                row: Box::new(row),
            });
            if !has_trackers {
                let text = "it names no tracker: whoever fetches it has to be told of a peer";
                cx.tell(Event::Note(text.to_owned()));
            }
        }
        self.is_written = true;
        self.is_over = true;
    }

    fn give_up(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        cx.fail(failure);
        self.is_over = true;
    }

    pub(in crate::peer) fn progress(&mut self, cx: &mut Context<'_>) {
        self.maker.progress(cx);
    }

    pub(in crate::peer) fn stop(&mut self, cx: &mut Context<'_>) {
        self.maker.cancel();
        if !self.is_over {
            let failure = unfinished(&self.title);
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
