//! What happens by itself: stalls, silence, keep-alives, dials, reports.

use std::time::Duration;

use super::links::Reason;
use super::peer::{Peer, PeerKey};
use super::{Output, Swarm};
use crate::base::Time;
use crate::wire::peer::Message;

/// Looks at every link.
pub(super) const SWEEP: usize = 0;
/// Passes slots on.
pub(super) const ROTATE: usize = 1;
/// Dials who is due.
const DIAL: usize = 2;
/// Retries that for which there was no room.
pub(super) const STARVED: usize = 3;
/// Gives the cache back when nobody downloads from us.
pub(super) const CACHE_IDLE: usize = 4;
/// Asks others for pieces that wait.
pub(super) const STANDBY: usize = 5;
/// Tells peers of others.
pub(super) const EXCHANGE: usize = 6;
/// Serves others than those who take nothing.
pub(super) const TURNS: usize = 7;
/// Number of kinds.
pub(super) const KINDS: usize = 8;

/// Silence after which a keep-alive goes out (BEP 3 says two minutes at most; others close after 120 to 180 s).
const KEEPALIVE_AFTER: Duration = Duration::from_secs(100);
/// Silence after which a link is closed.
const SILENCE_MAX: Duration = Duration::from_secs(180);
/// Silence after which a link is closed that let requests wait too long.
const DEBTOR_SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long a request that was taken back may still be answered.
const CANCELLED_TIME: Duration = Duration::from_secs(30);
/// Links are not looked at more often than this.
const SWEEP_EVERY_MIN: Duration = Duration::from_millis(250);
/// While anything is missing, it is looked at least so often for what the whole swarm lacks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// An idle cache is given back after this.
pub(super) const CACHE_IDLE_AFTER: Duration = Duration::from_secs(3);

impl Swarm {
    pub(super) fn run_timers(&mut self, now: Time) {
        if self.deadlines.take_due(SWEEP, now) {
            self.sweep(now);
        }
        if self.deadlines.take_due(ROTATE, now) {
            self.rotate(now);
        }
        if self.deadlines.take_due(DIAL, now) {
            self.contacts_changed = true;
        }
        if self.deadlines.take_due(STARVED, now) {
            self.feed_starved();
        }
        self.hungry |= self.deadlines.take_due(STANDBY, now);
        if self.deadlines.take_due(CACHE_IDLE, now) {
            self.cache.clear();
            if self.cache.bytes() > 0 {
                self.deadlines.set(CACHE_IDLE, now + CACHE_IDLE_AFTER);
            }
        }
        if self.deadlines.take_due(TURNS, now) {
            self.serve(now);
        }
        if self.deadlines.take_due(EXCHANGE, now) {
            self.tell_of_peers(now);
        }
        if self.announcer.report_is_due(now) {
            self.outputs.push_back(Output::Report);
        }
        if self.lacks_peers() && self.announcer.ask_is_due(now) {
            self.outputs.push_back(Output::WantPeers);
        }
    }

    /// Arms what the last change calls for.
    pub(super) fn arm_timers(&mut self, now: Time) {
        if !self.peers.is_empty() {
            self.deadlines.set_if_idle(SWEEP, now + SWEEP_EVERY_MIN);
        }
    }

    /// Links or contacts changed: whether more contacts would help.
    pub(super) fn note_lack(&mut self, now: Time) {
        if self.lacks_peers() {
            self.announcer.lacking(now);
        } else {
            self.announcer.satisfied();
        }
    }

    /// Dials, and arms the next dial.
    pub(super) fn arm_dial(&mut self) {
        match self.contacts.next_due(self.wants_nothing()) {
            Some(at) if self.wants_links() => self.deadlines.set(DIAL, at),
            _ => self.deadlines.clear(DIAL),
        }
    }

    /// Our own limit keeps what a peer sends from being read, or does so no longer: while it does, the peer owes nothing.
    pub fn hold(&mut self, now: Time, key: PeerKey, is_held: bool) {
        let Some(peer) = self.peer_mut(key) else {
            return;
        };
        peer.is_held = is_held;
        if !is_held {
            (peer.progress_at, peer.received_at) = (now, now);
            let stall_time = peer.stall_time();
            self.deadlines.bring_forward(SWEEP, now + stall_time);
        }
    }

    fn sweep(&mut self, now: Time) {
        let mut next = Time::MAX;
        let keys: Vec<PeerKey> = self.keys().collect();
        for key in keys {
            next = next.min(self.tend(now, key));
        }
        self.watch(now);
        self.look_for_last_copies();
        // In the end game, more and more are asked for what does not come.
        self.hungry |= self.picker.wanted_count() == 0 && !self.arriving.is_empty();
        if !self.wants_nothing() {
            next = next.min(now + WATCH_EVERY);
        }
        if next < Time::MAX {
            self.deadlines.set(SWEEP, next.max(now + SWEEP_EVERY_MIN));
        }
    }

    /// Does what is due on one link, and says when to look again.
    fn tend(&mut self, now: Time, key: PeerKey) -> Time {
        let peer = &mut self.peers[key.slot()];
        while peer
            .cancelled
            .front()
            .is_some_and(|asked| now.since(asked.at) > CANCELLED_TIME)
        {
            peer.cancelled.pop_front();
        }
        peer.down.roll(now);
        peer.up.roll(now);
        // Whoever lets us wait answers at least what we take back, unless its conn is dead.
        let silence_max = if peer.is_snubbed {
            DEBTOR_SILENCE_MAX
        } else {
            SILENCE_MAX
        };
        if peer.received_at + silence_max <= now && !peer.is_held {
            self.disconnect(key, Reason::Silent);
            return Time::MAX;
        }
        if peer.sent_at + KEEPALIVE_AFTER <= now {
            peer.sent_at = now;
            self.send(key, Message::KeepAlive);
        }
        let peer = &self.peers[key.slot()];
        if peer.stalls_at().is_some_and(|at| at <= now) {
            self.snub(now, key);
        }
        let peer = &mut self.peers[key.slot()];
        if peer.resume_at > Time::ZERO && peer.resume_at <= now {
            peer.resume_at = Time::ZERO;
            self.hungry = true;
        }
        self.peers[key.slot()].next_look(now)
    }
}

impl Peer {
    /// When something is next due on this link.
    fn next_look(&self, now: Time) -> Time {
        let busy = !self.asked.is_empty() || !self.requests.is_empty();
        let stall = self.stalls_at().unwrap_or(Time::MAX);
        let resume = if self.resume_at > now {
            self.resume_at
        } else {
            Time::MAX
        };
        let rates = if busy {
            now + Duration::from_secs(1)
        } else {
            Time::MAX
        };
        let silence = match self.is_held {
            true => Time::MAX,
            false => self.received_at + SILENCE_MAX,
        };
        let keepalive = self.sent_at + KEEPALIVE_AFTER;
        stall.min(resume).min(rates).min(silence).min(keepalive)
    }
}
