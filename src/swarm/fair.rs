//! Tit for tat: whoever gives is given (Cohen, "Incentives Build Robustness in BitTorrent", 2003).
//!
//! There are few slots. While we fetch, all but one go to those who sent us most in the last two rounds, and one goes
//! round among the others, so that everybody can show what it gives: newcomers, who have nothing to give yet, are three
//! times as likely to be tried. Whoever sent nothing in two rounds has no claim, however long it has been unchoked
//! (Cohen's anti-snubbing); what such peers leave free goes to further trials. Those are tried first who owe us least, and
//! of two, the one that has more of what we lack: who never gives has little. Debtors, who took a piece and gave hardly
//! anything, have one slot at most between them, even if others are free, and are sent only what nobody else asks for: our
//! uplink is what others give for. When we have everything nobody gives us anything, and the slots go round among all; but
//! whoever keeps to itself what it got of us comes after those from whom others have it (as super seeding does, BEP 16).
//!
//! It owns the rounds and the ranking. A free slot is given at once, between rounds too.

use std::cmp::Reverse;
use std::time::Duration;

use super::notes::Favour;
use super::peer::PeerKey;
use super::{Account, Policy, Swarm};
use crate::base::{Rate, Time};

/// Slots: three for those who give most, and one for trials (Cohen's numbers).
const SLOTS_MAX: usize = 4;
/// How long a round lasts where a peer is not of our kind (Cohen's interval; aria2 leaves after two changes in 5 s).
const ROUND_TIME: Duration = Duration::from_secs(10);
/// Among our own, on a fast network, a round lasts at least so long, and at least as long as a piece for each slot.
const ROUND_TIME_MIN: Duration = Duration::from_secs(1);
/// Rounds that a trial lasts (Cohen: 30 s).
const CHANCE_ROUNDS: u32 = 3;
/// A seed passes a slot on when a round is over and the piece is whole, but waits no longer for that than this.
const SEED_SLOT_TIME_MAX: Duration = Duration::from_secs(300);
/// A peer with so many pieces that we sent it and that nobody else has got keeps them to itself.
const KEPT_MIN: usize = 2;
/// The latest pieces of each peer that are watched for that.
const HANDED_MAX: usize = 8;
/// After so long it is served all the same: perhaps nobody can reach it.
const KEEPER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Debts are counted in such parts of a piece.
const DEBT_PARTS: u64 = 8;
/// Whoever has fewer pieces than this has nothing to give yet.
const BEGINNER_PIECES: u32 = 4;
/// How many times as likely a newcomer is to be tried (BEP 3).
const NEWCOMER_WEIGHT: usize = 3;

/// What a peer gave us of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gave {
    /// Payload bytes in this round.
    pub latest: u64,
    /// The same in the round before.
    before: u64,
    /// It had a slot once.
    pub was_tried: bool,
}

impl Gave {
    fn bytes(self) -> u64 {
        self.latest + self.before
    }
}

impl Swarm {
    /// How many peers may be unchoked at a time.
    pub(super) fn slots_max(&self) -> usize {
        match self.config.policy {
            Policy::Fleet => self.config.upload_slots_max,
            Policy::Fair => self.config.upload_slots_max.min(SLOTS_MAX),
        }
    }

    /// How long a trial lasts.
    pub(super) fn chance_time(&self) -> Duration {
        match self.config.policy {
            Policy::Fleet => Duration::ZERO,
            Policy::Fair => self.round_time() * CHANCE_ROUNDS,
        }
    }

    fn round_time(&self) -> Duration {
        let are_native = self.peers.iter().all(|(_, peer)| peer.hello.id.is_native());
        match self.pieces_time() {
            Some(time) if are_native => time.clamp(ROUND_TIME_MIN, ROUND_TIME),
            _ => ROUND_TIME,
        }
    }

    /// Whether a peer is to keep its slot until it has the piece that it gets: a part of one it cannot pass on, and another
    /// would be sent the same again.
    pub(super) fn is_to_finish(&self, now: Time, key: PeerKey) -> bool {
        let since = self.peers[key.slot()].choke_changed_at;
        let is_patient = self.config.policy == Policy::Fair && self.is_complete();
        is_patient && self.has_turn(key) && now.since(since) < SEED_SLOT_TIME_MAX
    }

    /// A peer got a whole piece of us: if we have everything and its time is over, its slot is another's.
    pub(super) fn pass_on_after_piece(&mut self, now: Time, key: PeerKey) {
        if self.config.policy != Policy::Fair || !self.is_complete() {
            return;
        }
        let peer = &self.peers[key.slot()];
        let is_over = now.since(peer.choke_changed_at) >= self.round_time();
        if peer.am_choking || !is_over || peer.choke_kept_until > now {
            return;
        }
        let first = self.waiting(now).first().copied();
        let gives_way =
            |waiter: &PeerKey| self.is_keeper(now, key) || !self.is_keeper(now, *waiter);
        if let Some(waiter) = first.filter(gives_way) {
            self.choke(now, key);
            self.unchoke(now, waiter, Favour::Turn);
        }
    }

    /// A peer has got a whole piece of us.
    pub(super) fn note_handed(&mut self, key: PeerKey, piece: u32) {
        if self.config.policy == Policy::Fair && self.is_complete() {
            let handed = &mut self.peers[key.slot()].handed;
            handed.retain(|&piece| self.picker.availability(piece) < 2);
            if handed.len() == HANDED_MAX {
                handed.remove(0);
            }
            handed.push(piece);
        }
    }

    /// Whether a peer waits for a slot until all have one who pass on what they get of us.
    pub(super) fn is_keeper(&self, now: Time, key: PeerKey) -> bool {
        let peer = &self.peers[key.slot()];
        let is_kept = |piece: &&u32| self.picker.availability(**piece) < 2;
        let has_waited = peer.am_choking && now.since(peer.waiting_since) >= KEEPER_WAIT_MAX;
        self.config.policy == Policy::Fair
            && self.is_complete()
            && !has_waited
            && peer.handed.iter().filter(is_kept).count() >= KEPT_MIN
    }

    /// Whether a peer is asked for the piece that it suggested before what others left: a slot of a seed lasts no longer
    /// than a piece, and that piece is nowhere else.
    pub(super) fn is_to_take_suggested(&self, key: PeerKey) -> bool {
        let peer = &self.peers[key.slot()];
        let is_wanted = |piece: u32| self.picker.is_wanted(piece) && peer.has.get(piece);
        self.config.policy == Policy::Fair && peer.suggested.is_some_and(is_wanted)
    }

    /// Slots come and go: pieces that were asked for, and of which nothing came, are chosen anew, each by how rare it is.
    pub(super) fn give_back_untouched(&mut self, now: Time) {
        if self.config.policy != Policy::Fair {
            return;
        }
        let is_untouched = |piece: &u32| {
            let arriving = self.arriving(*piece).expect("it is in the list");
            arriving.owner.is_none() && arriving.is_untouched()
        };
        let untouched: Vec<u32> = self.arriving.iter().copied().filter(is_untouched).collect();
        for piece in untouched {
            self.abandon(now, piece);
        }
    }

    /// How long our uplink takes for one piece for each slot, if it is in use.
    fn pieces_time(&self) -> Option<Duration> {
        let rates = self.peers.iter().map(|(_, peer)| &peer.up);
        let rate: f64 = rates.filter_map(Rate::bytes_per_second).sum();
        let bytes = f64::from(self.geometry.piece_len(0)) * self.slots_max() as f64;
        (rate >= 1.0).then(|| Duration::from_secs_f64((bytes / rate).min(3600.0)))
    }

    /// The policy has changed: the first round begins.
    pub(super) fn begin_rounds(&mut self, now: Time) {
        self.round_began_at = Time::ZERO;
        self.rotate(now);
    }

    /// Time has passed: if the round is over, slots go to those who deserve them now.
    pub(super) fn next_round(&mut self, now: Time) {
        self.wake_last();
        let round_time = self.round_time();
        let is_seed = self.wants_nothing();
        if is_seed || now.since(self.round_began_at) < round_time {
            self.take_idle_slots(now);
            self.fill_slots(now, None);
            if is_seed {
                self.take_turns(now, round_time);
            }
            return;
        }
        self.round_began_at = now;
        self.pass_on_slots(now);
        for (_, peer) in &mut self.peers {
            peer.gave.before = std::mem::take(&mut peer.gave.latest);
        }
    }

    /// Takes the slots of those who want nothing any more, as far as others wait for them.
    fn take_idle_slots(&mut self, now: Time) {
        let waiting_count = self.waiting(now).len();
        let is_idle = |key: &PeerKey| {
            let peer = &self.peers[key.slot()];
            peer.has_slot() && !peer.is_interested && peer.choke_kept_until <= now
        };
        let idle: Vec<PeerKey> = self.keys().filter(is_idle).take(waiting_count).collect();
        idle.into_iter().for_each(|key| self.choke(now, key));
    }

    /// Gives slots that became free between rounds to those who gave most of those who wait; if none did, to anybody, or
    /// whoever never gives, and so waits longest, would have them all.
    pub(super) fn give_free_slots(&mut self, now: Time) {
        let is_taken = |key: &PeerKey| self.peers[key.slot()].has_slot();
        let mut chosen: Vec<PeerKey> = self.keys().filter(is_taken).collect();
        let slots = self.slots_max();
        let free = slots.saturating_sub(chosen.len());
        let givers = self.givers(now).into_iter();
        let givers: Vec<PeerKey> = givers
            .filter(|key| self.peers[key.slot()].am_choking)
            .take(free)
            .collect();
        chosen.extend(givers);
        self.try_others(now, slots, &mut chosen);
        self.give_slots(now, &chosen);
    }

    fn pass_on_slots(&mut self, now: Time) {
        // Slots that cannot be taken away yet.
        let is_kept = |key: &PeerKey| {
            let peer = &self.peers[key.slot()];
            peer.has_slot() && peer.choke_kept_until > now
        };
        let mut chosen: Vec<PeerKey> = self.keys().filter(is_kept).collect();
        let slots = self.slots_max();
        for key in self.givers(now) {
            if chosen.len() + 1 >= slots {
                break;
            }
            chosen.push(key);
            self.peers[key.slot()].favoured_until = Time::ZERO;
        }
        let is_on_trial = |key: &PeerKey| {
            let peer = &self.peers[key.slot()];
            peer.is_interested && !peer.am_choking && peer.favoured_until > now
        };
        let mut on_trial: Vec<PeerKey> = self
            .keys()
            .filter(|key| !chosen.contains(key) && is_on_trial(key))
            .collect();
        // If too many are on trial, those that began last stay.
        on_trial.sort_by_key(|key| Reverse(self.peers[key.slot()].favoured_until));
        let free = slots.saturating_sub(chosen.len());
        chosen.extend(on_trial.into_iter().take(free));
        self.try_others(now, slots, &mut chosen);
        self.give_slots(now, &chosen);
    }

    /// Those who gave most first, as far as their choke state may change.
    fn givers(&self, now: Time) -> Vec<PeerKey> {
        let mut givers: Vec<PeerKey> = self
            .keys()
            .filter(|key| {
                let peer = &self.peers[key.slot()];
                let may_change = peer.choke_kept_until <= now;
                peer.is_interested && may_change && peer.gave.bytes() > 0
            })
            .collect();
        givers.sort_by_key(|key| {
            let peer = &self.peers[key.slot()];
            (Reverse(peer.gave.bytes()), peer.am_choking, *key)
        });
        givers
    }

    /// Fills up the slots with others, of whom debtors get one at most.
    fn try_others(&mut self, now: Time, slots: usize, chosen: &mut Vec<PeerKey>) {
        let mut waiting = self.waiting(now);
        waiting.retain(|key| !chosen.contains(key));
        while chosen.len() < slots {
            if chosen.iter().any(|key| self.is_debtor(*key)) {
                waiting.retain(|key| !self.is_debtor(*key));
            }
            let Some(key) = self.draw(&waiting) else {
                return;
            };
            waiting.retain(|other| *other != key);
            chosen.push(key);
        }
    }

    /// Who is tried: of two drawn at random among those who owe us least, the one that is of more use to us. Whoever has
    /// nothing to give yet comes before both.
    fn draw(&mut self, waiting: &[PeerKey]) -> Option<PeerKey> {
        let least = waiting.iter().map(|&key| self.debt(key)).min()?;
        let mut hats = Vec::new();
        for &key in waiting.iter().filter(|&&key| self.debt(key) == least) {
            let is_new = !self.peers[key.slot()].gave.was_tried;
            let count = if is_new { NEWCOMER_WEIGHT } else { 1 };
            hats.extend(std::iter::repeat_n(key, count));
        }
        let use_of = |key: PeerKey| {
            let peer = &self.peers[key.slot()];
            let is_beginner = peer.has.count() < BEGINNER_PIECES;
            (is_beginner, peer.wanted_count)
        };
        let first = hats[self.rng.below(hats.len())];
        let second = hats[self.rng.below(hats.len())];
        Some(if use_of(second) > use_of(first) {
            second
        } else {
            first
        })
    }

    fn account_of(&self, key: PeerKey) -> Account {
        self.ledger.accounts()[self.peers[key.slot()].account as usize]
    }

    /// How much more a peer took of us than it gave, in parts of a piece.
    fn debt(&self, key: PeerKey) -> u64 {
        let account = self.account_of(key);
        let part = (u64::from(self.geometry.piece_len(0)) / DEBT_PARTS).max(1);
        account.up_bytes.saturating_sub(account.down_bytes) / part
    }

    /// Whether a peer took a piece of us and gave hardly anything.
    fn is_debtor(&self, key: PeerKey) -> bool {
        let account = self.account_of(key);
        let piece = u64::from(self.geometry.piece_len(0));
        account.up_bytes >= piece && account.down_bytes < account.up_bytes / DEBT_PARTS
    }

    /// Whether what a peer asks for waits: it is a debtor, and somebody asks who is none.
    pub(super) fn comes_last(&self, key: PeerKey) -> bool {
        let asks = |other: PeerKey| !self.peers[other.slot()].requests.is_empty();
        self.config.policy == Policy::Fair
            && self.is_debtor(key)
            && self
                .keys()
                .any(|other| asks(other) && !self.is_debtor(other))
    }

    /// Somebody asks for nothing more, or owes no more: those who came last may have their turn.
    pub(super) fn wake_last(&mut self) {
        if self.config.policy == Policy::Fair && !self.is_complete() {
            let asks = |key: &PeerKey| !self.peers[key.slot()].requests.is_empty();
            let last: Vec<PeerKey> = self.keys().filter(asks).collect();
            last.into_iter().for_each(|key| self.wake(key));
        }
    }

    /// Chokes whoever was not chosen, if others need its slot, and unchokes the chosen.
    fn give_slots(&mut self, now: Time, chosen: &[PeerKey]) {
        let is_choking = |key: &PeerKey| self.peers[key.slot()].am_choking;
        let news: Vec<PeerKey> = chosen.iter().copied().filter(is_choking).collect();
        let mut losers: Vec<PeerKey> = self
            .keys()
            .filter(|key| {
                let peer = &self.peers[key.slot()];
                peer.has_slot() && !chosen.contains(key)
            })
            .collect();
        // First those who want nothing, then those who gave least.
        losers.sort_by_key(|key| {
            let peer = &self.peers[key.slot()];
            (peer.is_interested, peer.gave.bytes(), *key)
        });
        let wanted = self.slots_taken() + news.len();
        let excess = wanted.saturating_sub(self.slots_max());
        let is_debtor_new = news.iter().any(|key| self.is_debtor(*key));
        for (at, key) in losers.into_iter().enumerate() {
            if at < excess || is_debtor_new && self.is_debtor(key) {
                self.choke(now, key);
            }
        }
        for key in news {
            let bytes = self.peers[key.slot()].gave.bytes();
            let favour = if bytes > 0 {
                Favour::Gave { bytes }
            } else {
                Favour::Chance
            };
            self.unchoke(now, key, favour);
        }
    }
}
