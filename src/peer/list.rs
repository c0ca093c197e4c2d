//! `ls`: what the tracker knows, page by page.

use super::job::{Context, refusal, unfinished};
use super::shell::unexpected;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::cli::{Content, Event, FileRow, ListConfig};
use crate::wire::native::{ListEntry, PAGE_ENTRIES_MAX, Request};

/// The one job of `ls`.
pub(super) struct List {
    glob: String,
    cursor: u32,
    pub is_over: bool,
}

impl List {
    pub(super) fn new(config: ListConfig) -> Self {
        Self {
            glob: config.glob.unwrap_or_default(),
            cursor: 0,
            is_over: false,
        }
    }

    pub(super) fn what(&self) -> String {
        "ls".to_owned()
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        let glob = self.glob.clone().into();
        cx.ask(
            tag::LIST,
            Request::List {
                cursor: self.cursor,
                limit: PAGE_ENTRIES_MAX,
                glob,
            },
        );
    }

    pub(super) fn replied(&mut self, cx: &mut Context<'_>, _: u8, reply: &OwnedReply) {
        let OwnedReply::List {
            next_cursor,
            entries,
        } = reply
        else {
            cx.fail(&unexpected(&self.what(), reply));
            self.is_over = true;
            return;
        };
        for entry in entries.iter() {
            cx.tell(Event::File(row(&entry)));
        }
        self.cursor = *next_cursor;
        if self.cursor == 0 {
            self.is_over = true;
        } else {
            self.ready(cx);
        }
    }

    /// The user stops it.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        if !self.is_over {
            cx.fail(&unfinished(&self.what()));
        }
        self.is_over = true;
    }

    pub(super) fn refused(&mut self, cx: &mut Context<'_>, _: u8, why: &TrackerFailure) {
        if *why != TrackerFailure::ConnectionLost {
            cx.fail(&refusal(&self.what(), why));
            self.is_over = true;
        }
    }
}

fn row(listed: &ListEntry<'_>) -> FileRow {
    let entry = &listed.entry;
    FileRow {
        about: Content {
            name: entry.name.clone().into_owned(),
            info_hash: entry.info_hash,
            size: entry.size,
            pieces: entry.n_pieces,
            piece_bytes: entry.piece_len,
            files: entry.n_files,
        },
        seeds: listed.seeds,
        leechers: listed.leechers,
        min_avail: listed.copies_min,
        sha256: entry.sha256,
        registered_at: entry.registered_at,
    }
}
