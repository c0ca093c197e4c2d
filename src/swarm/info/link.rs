//! One link of the search for an info dictionary: what it claims, what it owes.

use std::net::SocketAddr;
use std::time::Duration;

use super::claim::Source;
use crate::base::Time;
use crate::swarm::{Hello, PeerKey, Reason};

/// How long a link may leave its requests unanswered.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a link may have nothing to offer.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Link {
    pub generation: u32,
    pub hello: Hello,
    /// Where it listens, as far as that is known.
    pub listens_at: Option<SocketAddr>,
    /// The number that it gave `ut_metadata`.
    pub id: Option<u8>,
    pub claim: Option<u32>,
    pub asked: Vec<Asked>,
    /// Since when it owes an answer, or something to ask it for.
    pub waiting_since: Time,
    pub refused_until: Option<Time>,
    pub refusal_count: u32,
    /// How often its address had failed when the link came up.
    pub failure_count: u32,
    /// A piece came of it.
    pub has_delivered: bool,
    /// How often it was asked alone.
    pub sole_count: u32,
    pub is_leaving: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub piece: u32,
    /// The claim has begun again since, and the answer is of no use.
    pub is_stale: bool,
}

impl Link {
    pub(super) fn key(&self, slot: usize) -> PeerKey {
        PeerKey {
            slot: slot as u32,
            generation: self.generation,
        }
    }

    pub(super) fn source(&self, key: PeerKey) -> Source {
        Source {
            key,
            id: self.hello.id,
            addr: self.listens_at.unwrap_or(self.hello.remote),
        }
    }

    /// Whether it can be asked for a dictionary of this size.
    pub(super) fn offers(&self, size: u32) -> bool {
        self.claim == Some(size) && self.id.is_some() && !self.is_leaving
    }

    pub(super) fn take_asked(&mut self, piece: u32) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.piece == piece)?;
        Some(self.asked.swap_remove(at))
    }

    /// When it has been waited for long enough; a link that waits for its turn may wait.
    pub(super) fn due(&self) -> Time {
        if self.is_leaving {
            Time::MAX
        } else if !self.asked.is_empty() {
            self.waiting_since + ANSWER_TIME_MAX
        } else if self.claim.is_some() && self.id.is_some() {
            Time::MAX
        } else {
            self.waiting_since + IDLE_TIME_MAX
        }
    }

    pub(super) fn lateness(&self) -> Reason {
        if self.asked.is_empty() {
            Reason::NoMetadata
        } else {
            Reason::Silent
        }
    }
}
