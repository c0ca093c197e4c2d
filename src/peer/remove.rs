//! `rm`: makes the tracker forget a content.

use super::errand::Outcome;
use super::finder::{Finder, Found};
use super::job::{Context, refusal, unfinished};
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::InfoHash;
use crate::cli::{Event, Failure, RemoveConfig};
use crate::wire::native::Request;

/// The one job of `rm`.
pub(super) struct Remove {
    finder: Finder,
    found: Option<(InfoHash, String)>,
    pub is_over: bool,
}

impl Remove {
    pub(super) fn new(config: RemoveConfig) -> Self {
        Self {
            finder: Finder::new("rm", config.what, false),
            found: None,
            is_over: false,
        }
    }

    pub(super) fn what(&self) -> String {
        self.finder.title().to_owned()
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        self.finder.start(cx);
    }

    pub(super) fn done(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        let found = self.finder.done(cx, outcome);
        self.found(cx, found);
    }

    pub(super) fn ready(&mut self, cx: &mut Context<'_>) {
        match self.found {
            None => self.finder.ask(cx),
            Some((info_hash, _)) => cx.ask(tag::UNREGISTER, Request::Unregister { info_hash }),
        }
    }

    pub(super) fn replied(&mut self, cx: &mut Context<'_>, tag: u8, reply: &OwnedReply) {
        if tag == tag::FIND {
            let found = self.finder.replied(cx, reply);
            self.found(cx, found);
        } else if let Some((info_hash, name)) = self.found.take() {
            cx.tell(Event::Removed { name, info_hash });
            self.is_over = true;
        }
    }

    /// The user stops it.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        if !self.is_over {
            cx.fail(&unfinished(&self.what()));
        }
        self.is_over = true;
    }

    pub(super) fn refused(&mut self, cx: &mut Context<'_>, tag: u8, why: &TrackerFailure) {
        if tag == tag::FIND {
            let found = self.finder.refused(cx, why);
            self.found(cx, found);
        } else if *why != TrackerFailure::ConnectionLost {
            cx.fail(&refusal(&self.what(), why));
            self.is_over = true;
        }
    }

    fn found(&mut self, cx: &mut Context<'_>, found: Option<Result<Found, Failure>>) {
        if let Some(entry) = cx.entry_or_fail(found, &mut self.is_over) {
            self.found = Some((entry.info_hash, entry.name));
            self.ready(cx);
        }
    }
}
