//! Who is told how the counts of pieces change, and what has changed since it was told last.
//!
//! Owns the subscriptions of all members and, for each content that has any, the latest changes of its counts. A content
//! that nobody subscribed to costs nothing. What is told may get lost: each push says from which version it counts, so
//! whoever missed one asks for the counts again.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::completions::Serial;
use super::{Client, Refusal, Registry, SWARM};
use crate::base::Time;
use crate::wire::native::{AVAIL_PERIOD_MS_MIN, AvailDelta, PIECE_EVERY};

/// Changes that are remembered for each content; whoever is farther behind asks for the counts again.
pub(super) const CHANGES_MAX: usize = 65_536;

/// The latest changes of the counts of one content.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// All changes since this version are here.
    since: u32,
    latest: VecDeque<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    version: u32,
    piece: u32,
    delta: i16,
}

impl Changes {
    /// Nothing has changed since `version`.
    pub(super) fn new(version: u32) -> Self {
        Self {
            since: version,
            latest: VecDeque::new(),
        }
    }

    /// The count of `piece`, or of every one, changed with `version`.
    pub(super) fn note(&mut self, version: u32, piece: u32, delta: i16) {
        if self.latest.len() == CHANGES_MAX
            && let Some(oldest) = self.latest.pop_front()
        {
            self.since = oldest.version;
        }
        self.latest.push_back(Change {
            version,
            piece,
            delta,
        });
    }

    /// Something changed with `version`, and nobody says what.
    pub(super) fn lose(&mut self, version: u32) {
        *self = Self::new(version);
    }

    /// What changed between `base` and `version`, by piece; `None` if that is not known any more.
    fn between(&self, base: u32, version: u32) -> Option<Vec<AvailDelta>> {
        if version.wrapping_sub(base) > version.wrapping_sub(self.since) {
            return None;
        }
        let age = |change: &&Change| version.wrapping_sub(change.version);
        let news = self.latest.iter().rev();
        let mut deltas = BTreeMap::new();
        for change in news.take_while(|change| age(change) < version.wrapping_sub(base)) {
            let delta = deltas.entry(change.piece).or_insert(0i16);
            *delta = delta.saturating_add(change.delta);
        }
        let deltas = deltas.into_iter().filter(|(_, delta)| *delta != 0);
        Some(
            deltas
                .map(|(piece, delta)| AvailDelta { piece, delta })
                .collect(),
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    serial: Serial,
    period: Duration,
    due_at: Time,
    /// The version that was told last.
    base: u32,
}

/// A push to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailTold {
    /// Who is told.
    pub client: Client,
    /// Its membership.
    pub slot: u32,
    /// The version from which the changes count: if it is not the receiver's, the receiver asks for all counts again.
    pub base: u32,
    /// The version to which they lead.
    pub version: u32,
    /// The changes, by piece.
    pub deltas: Rc<[AvailDelta]>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    of: BTreeMap<(Client, u32), Subscription>,
    /// No subscription is due before this.
    next_at: Option<Time>,
}

impl Subscriptions {
    /// When the next one may be due.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.next_at
    }

    fn has_any(&self, serial: Serial) -> bool {
        self.of
            .values()
            .any(|subscription| subscription.serial == serial)
    }
}

impl Registry {
    /// A member wants to be told every `period_ms` (at least [`AVAIL_PERIOD_MS_MIN`]) how the counts have changed, from now
    /// on; with 0 it no longer wants that.
    pub fn subscribe(
        &mut self,
        client: Client,
        slot: u32,
        period_ms: u16,
        now: Time,
    ) -> Result<(), Refusal> {
        let (serial, _) = self.place(client, slot)?;
        if period_ms == 0 {
            self.unsubscribe(client, slot);
            return Ok(());
        }
        let members = self.swarms.get_mut(&serial).expect(SWARM);
        let base = members.watch_counts();
        let period = Duration::from_millis(period_ms.max(AVAIL_PERIOD_MS_MIN).into());
        let due_at = now + period;
        let subscription = Subscription {
            serial,
            period,
            due_at,
            base,
        };
        self.subscriptions.of.insert((client, slot), subscription);
        let next_at = self.subscriptions.next_at.unwrap_or(due_at);
        self.subscriptions.next_at = Some(next_at.min(due_at));
        Ok(())
    }

    /// A membership no longer wants to be told, or ends.
    pub(super) fn unsubscribe(&mut self, client: Client, slot: u32) {
        let Some(gone) = self.subscriptions.of.remove(&(client, slot)) else {
            return;
        };
        if !self.subscriptions.has_any(gone.serial)
            && let Some(members) = self.swarms.get_mut(&gone.serial)
        {
            members.forget_changes();
        }
    }

    /// What members are to be told of the counts now: each at most once in its period, and nothing if nothing changed.
    pub fn take_avail_told(&mut self, now: Time) -> Vec<AvailTold> {
        let mut told = Vec::new();
        if self.subscriptions.next_at.is_none_or(|at| at > now) {
            return told;
        }
        let mut next_at = None::<Time>;
        // Members of one content mostly ask for the same.
        let mut last: Option<(Serial, u32, Rc<[AvailDelta]>)> = None;
        for (&(client, slot), subscription) in &mut self.subscriptions.of {
            let serial = subscription.serial;
            let availability = self.swarms[&serial].availability();
            let version = availability.version();
            if subscription.due_at <= now {
                subscription.due_at = now + subscription.period;
                let base = std::mem::replace(&mut subscription.base, version);
                if base != version {
                    let deltas = match &last {
                        Some((of, from, deltas)) if (*of, *from) == (serial, base) => {
                            Some(deltas.clone())
                        }
                        _ => availability
                            .changes()
                            .and_then(|changes| changes.between(base, version))
                            .map(Rc::from),
                    };
                    // A base that is not the receiver's makes it ask again.
                    let known_base = if deltas.is_some() { base } else { version };
                    let deltas = deltas.unwrap_or_default();
                    if known_base == base {
                        last = Some((serial, base, deltas.clone()));
                    }
                    told.push(AvailTold {
                        client,
                        slot,
                        base: known_base,
                        version,
                        deltas,
                    });
                }
            }
            next_at = Some(next_at.map_or(subscription.due_at, |at| at.min(subscription.due_at)));
        }
        self.subscriptions.next_at = next_at;
        told
    }

    /// Asserts that every subscription is a member's, and that changes are noted only where there is one.
    pub(super) fn check_subscriptions(&self) {
        for (&(client, slot), subscription) in &self.subscriptions.of {
            let place = self.place(client, slot).expect("a member's");
            assert_eq!(place.0, subscription.serial);
        }
        for (&serial, members) in &self.swarms {
            let is_watched = members.availability().changes().is_some();
            assert_eq!(is_watched, self.subscriptions.has_any(serial));
        }
    }
}

/// Applies what a member was told to the counts that it knows; the reader's side, for tests and simulations.
pub fn apply_deltas(counts: &mut [u16], deltas: &[AvailDelta]) {
    for delta in deltas {
        let all = delta.piece == PIECE_EVERY;
        let (first, count) = if all {
            (0, counts.len())
        } else {
            (delta.piece as usize, 1)
        };
        for number in counts.iter_mut().skip(first).take(count) {
            *number = number.saturating_add_signed(delta.delta);
        }
    }
}
