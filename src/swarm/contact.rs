//! One remote peer that may be dialled: what it is called, where it listens, and when it is due.

use std::net::SocketAddr;
use std::time::Duration;

use super::PeerKey;
use super::preference::Merits;
use crate::base::{PeerId, Time};

/// Consecutive failures after which a contact is forgotten; the tracker names it again if it still lives.
pub(super) const FAILURES_MAX: u32 = 12;
/// The same for hearsay.
pub(super) const HEARSAY_FAILURES_MAX: u32 = 4;
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// For peers of our kind: their tracker says soon who has left.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// For others, whom a tracker names for half an hour after they left.
const FOREIGN_BACKOFF_MAX: Duration = Duration::from_secs(600);

/// A peer that the tracker named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What it calls itself, if that is known.
    pub id: Option<PeerId>,
    /// Where it listens.
    pub addrs: Vec<SocketAddr>,
    /// It holds everything.
    pub is_seed: bool,
    /// How near it is, from 0 to 3, as the tracker sees it.
    pub proximity: u8,
    /// What part of the content it has, in 1/65535.
    pub share: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Dialling(SocketAddr),
    Linked(PeerKey),
    /// It turned out to be ourselves, and is remembered so that it is dialled once only.
    Ourselves,
}

#[derive(Debug)]
pub(super) struct Contact {
    pub id: Option<PeerId>,
    pub addrs: Vec<SocketAddr>,
    pub next_addr: usize,
    /// It needs nothing of us once we have everything.
    pub is_seed: bool,
    /// Who told us of it, if nobody else did and there never was a link.
    pub told_by: Option<PeerKey>,
    pub failure_count: u32,
    pub dial_at: Time,
    pub linked_at: Time,
    pub state: State,
    pub merits: Merits,
}

impl Contact {
    pub(super) fn new(id: Option<PeerId>, is_seed: bool, dial_at: Time) -> Self {
        Self {
            id,
            addrs: Vec::new(),
            next_addr: 0,
            is_seed,
            told_by: None,
            failure_count: 0,
            dial_at,
            linked_at: Time::ZERO,
            state: State::Idle,
            merits: Merits::default(),
        }
    }

    /// Whether it may be the peer that is called `id`.
    pub(super) fn may_be(&self, id: Option<PeerId>) -> bool {
        id.is_none() || self.id.is_none() || self.id == id
    }

    pub(super) fn failures_max(&self) -> u32 {
        if self.told_by.is_some() {
            HEARSAY_FAILURES_MAX
        } else {
            FAILURES_MAX
        }
    }

    /// A link to it is up. Whether that is a success will be seen when it ends.
    pub(super) fn link(&mut self, now: Time, peer: PeerKey) {
        if self.state != State::Linked(peer) {
            self.state = State::Linked(peer);
            self.linked_at = now;
        }
        self.told_by = None;
    }

    /// How long to wait after so many failures.
    pub(super) fn backoff(&self) -> Duration {
        let backoff = BACKOFF_MIN * 2u32.pow(self.failure_count.min(20) - 1);
        let is_ours = self.id.is_some_and(|id| id.is_native());
        backoff.min(if is_ours {
            BACKOFF_MAX
        } else {
            FOREIGN_BACKOFF_MAX
        })
    }
}
