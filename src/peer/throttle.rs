//! The limits on what all peers' conns move together, as the user set them.
//!
//! Out: blocks wait as requests until there are tokens for them, so that cancels find them and nothing queued holds up a
//! `have` or a request; what is no block goes at once and is paid for later. In: a conn that may not be read is parked,
//! with all that comes after it left to the window of its sender.
//!
//! The tracker's conns are not limited: what they carry is little, and everything waits for it.

use super::shell::Shell;
use super::transfer::Transfer;
use super::wire_link::Links;
use crate::base::{Gate, Time};
use crate::cli::RateLimits;
use crate::reactor::{Command, ConnId, Direction};

/// Both limits.
#[derive(Debug)]
pub(super) struct Throttle {
    pub up: Gate<ConnId>,
    pub down: Gate<ConnId>,
    /// Used again for those whose turn it is.
    named: Vec<ConnId>,
}

impl Throttle {
    pub(super) fn new(limits: RateLimits) -> Self {
        Self {
            up: Gate::new(limits.up_bytes_per_s),
            down: Gate::new(limits.down_bytes_per_s),
            named: Vec::new(),
        }
    }

    /// A conn is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.up.forget(conn);
        self.down.forget(conn);
    }

    /// When somebody's turn comes.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let wakes = [self.up.wake_at(), self.down.wake_at()];
        wakes.into_iter().flatten().min()
    }
}

impl Links {
    /// How many bytes may be read from a conn, or written to it.
    pub(super) fn budget(
        &mut self,
        now: Time,
        conn: ConnId,
        direction: Direction,
        transfers: &mut [Option<Transfer>],
    ) -> usize {
        if direction == Direction::Out || self.throttle.down.is_open() || !self.is_link(conn) {
            return usize::MAX;
        }
        let bytes = self.throttle.down.ask(now, conn);
        if bytes == 0 {
            self.hold(now, conn, true, transfers);
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Lets those go on whose turn it is.
    pub(super) fn let_go_on(
        &mut self,
        now: Time,
        transfers: &mut [Option<Transfer>],
        shell: &mut Shell,
    ) {
        let mut named = std::mem::take(&mut self.throttle.named);
        self.throttle.up.wake(now, &mut named);
        for conn in named.drain(..) {
            shell.touch(conn);
        }
        self.throttle.down.wake(now, &mut named);
        for conn in named.drain(..) {
            self.hold(now, conn, false, transfers);
            shell.commands.push_back(Command::Resume(conn));
        }
        self.throttle.named = named;
    }

    /// We do not read what a peer sends, or do so again: what does not come meanwhile is not its fault.
    fn hold(&self, now: Time, conn: ConnId, is_held: bool, transfers: &mut [Option<Transfer>]) {
        if let Some((job, key)) = self.linked(conn)
            && let Some(transfer) = &mut transfers[job]
        {
            transfer.swarm.hold(now, key, is_held);
        }
    }
}
