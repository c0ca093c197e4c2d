//! `torrent show`: what a `.torrent` file says. Speaks to nobody.

use super::{entries_of, row_of};
use crate::cli::{Event, ShowConfig, TorrentRow};
use crate::peer::errand::{Outcome, Work};
use crate::peer::finder::torrent_failure;
use crate::peer::job::{Context, unfinished};

/// The one job of `torrent show`.
pub(in crate::peer) struct Show {
    config: ShowConfig,
    pub is_over: bool,
}

impl Show {
    pub(in crate::peer) fn new(config: ShowConfig) -> Self {
        Self {
            config,
            is_over: false,
        }
    }

    pub(in crate::peer) fn what(&self) -> String {
        format!("torrent show {}", self.config.file.display())
    }

    pub(in crate::peer) fn start(&mut self, cx: &mut Context<'_>) {
        let path = self.config.file.clone();
        cx.submit(Work::ReadTorrent { path });
    }

    pub(in crate::peer) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        let Outcome::Torrent(read) = outcome else {
            return;
        };
        match read {
            Ok(torrent) => {
                let row = TorrentRow {
                    entries: entries_of(&torrent),
                    ..row_of(&torrent)
                };
                cx.tell(Event::Torrent(Box::new(row)));
            }
            Err(error) => cx.fail(&torrent_failure(&self.what(), &error)),
        }
        self.is_over = true;
    }

    pub(in crate::peer) fn stop(&mut self, cx: &mut Context<'_>) {
        if !self.is_over {
            cx.fail(&unfinished(&self.what()));
        }
        self.is_over = true;
    }
}
