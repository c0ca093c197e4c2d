//! Who finished which content, and when: kept after the connection has ended, so that a roll-out can be counted.
//!
//! Owns the records and their limits. Never asks what time it is, and never knows who is connected.
//!
//! Invariants (`check`):
//! 1. At most [`COMPLETIONS_MAX`] records, the oldest go first; at most one per content and peer, the first one.
//! 2. `by_peer` and `by_age` name exactly the records of `rows`, and `counts` counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::PeerId;

/// Records that are kept (PROTOCOL.md).
pub const COMPLETIONS_MAX: usize = 100_000;
/// Seconds that a record is kept (PROTOCOL.md: 7 days).
pub const COMPLETION_AGE_SECS_MAX: u64 = 7 * 24 * 3600;

/// A content, by its place in the order of registration.
pub(super) type Serial = u32;

/// One member that finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What it called itself.
    pub peer_id: PeerId,
    /// The machine that it ran on, as it said.
    pub host: Arc<str>,
    /// Seconds since 1970.
    pub completed_at: u64,
}

/// The records of all contents.
#[derive(Debug, Default)]
pub(super) struct Completions {
    rows: BTreeMap<(Serial, u32), Completion>,
    by_peer: BTreeMap<(Serial, PeerId), u32>,
    by_age: BTreeSet<(u64, Serial, u32)>,
    /// How many records each content has.
    counts: BTreeMap<Serial, u32>,
    version: u64,
}

impl Completions {
    /// Records that a member finished, and says whether that was news.
    pub(super) fn remember(&mut self, content: Serial, completion: Completion) -> bool {
        let peer = (content, completion.peer_id);
        if self.by_peer.contains_key(&peer) {
            return false;
        }
        let last = self.of(content, 0).next_back();
        let Some(number) = last.map_or(Some(1), |(number, _)| number.checked_add(1)) else {
            return false;
        };
        if self.rows.len() == COMPLETIONS_MAX {
            self.forget_oldest();
        }
        self.by_peer.insert(peer, number);
        self.by_age
            .insert((completion.completed_at, content, number));
        self.rows.insert((content, number), completion);
        *self.counts.entry(content).or_default() += 1;
        self.version += 1;
        true
    }

    /// When a peer finished a content.
    pub(super) fn completed_at(&self, content: Serial, peer_id: PeerId) -> Option<u64> {
        let number = *self.by_peer.get(&(content, peer_id))?;
        self.rows
            .get(&(content, number))
            .map(|row| row.completed_at)
    }

    /// The records of a content with numbers above `after`, ascending. Numbers begin at 1.
    pub(super) fn of(
        &self,
        content: Serial,
        after: u32,
    ) -> impl DoubleEndedIterator<Item = (u32, &Completion)> {
        let range = (content, after.saturating_add(1))..=(content, u32::MAX);
        self.rows
            .range(range)
            .map(|(&(_, number), row)| (number, row))
    }

    /// Changes with every record that comes or goes.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// How many records a content has.
    pub(super) fn count(&self, content: Serial) -> u32 {
        self.counts.get(&content).copied().unwrap_or(0)
    }

    /// All records, by content.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Serial, &Completion)> {
        self.rows
            .iter()
            .map(|(&(content, _), completion)| (content, completion))
    }

    /// Forgets what is too old at `now` (seconds since 1970), and says whether anything was.
    pub(super) fn expire(&mut self, now: u64) -> bool {
        let before = self.rows.len();
        while let Some(&(completed_at, ..)) = self.by_age.first() {
            if completed_at.saturating_add(COMPLETION_AGE_SECS_MAX) > now {
                break;
            }
            self.forget_oldest();
        }
        self.rows.len() < before
    }

    /// Forgets a content.
    pub(super) fn forget_content(&mut self, content: Serial) {
        let numbers: Vec<u32> = self.of(content, 0).map(|(number, _)| number).collect();
        for number in numbers {
            self.forget(content, number);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(&(_, content, number)) = self.by_age.first() {
            self.forget(content, number);
        }
    }

    fn forget(&mut self, content: Serial, number: u32) {
        if let Some(row) = self.rows.remove(&(content, number)) {
            self.version += 1;
            self.by_peer.remove(&(content, row.peer_id));
            self.by_age.remove(&(row.completed_at, content, number));
            if let Some(count) = self.counts.get_mut(&content) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&content);
                }
            }
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.rows.len() <= COMPLETIONS_MAX);
        assert_eq!(self.rows.len(), self.by_peer.len());
        assert_eq!(self.rows.len(), self.by_age.len());
        assert_eq!(self.rows.len(), self.counts.values().sum::<u32>() as usize);
        for (&content, &count) in &self.counts {
            assert_eq!(self.of(content, 0).count(), count as usize);
        }
        for (&(content, number), row) in &self.rows {
            assert_eq!(self.by_peer[&(content, row.peer_id)], number);
            assert!(self.by_age.contains(&(row.completed_at, content, number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(peer: u32, completed_at: u64) -> Completion {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&peer.to_be_bytes());
        Completion {
            peer_id: PeerId(id),
            host: format!("host{peer}").into(),
            completed_at,
        }
    }

    #[test]
    fn the_first_completion_of_a_peer_counts() {
        let mut completions = Completions::default();
        assert!(completions.remember(1, completion(7, 100)));
        assert!(!completions.remember(1, completion(7, 200)));
        assert!(completions.remember(2, completion(7, 300)));
        let peer_id = completion(7, 0).peer_id;
        assert_eq!(completions.completed_at(1, peer_id), Some(100));
        assert_eq!(completions.completed_at(2, peer_id), Some(300));
        assert_eq!(completions.completed_at(3, peer_id), None);
        completions.check();
    }

    #[test]
    fn old_records_and_forgotten_contents_go() {
        let mut completions = Completions::default();
        for peer in 0..10 {
            completions.remember(1 + peer % 2, completion(peer, u64::from(peer)));
        }
        assert!(completions.expire(COMPLETION_AGE_SECS_MAX + 4));
        assert!(!completions.expire(COMPLETION_AGE_SECS_MAX + 4));
        assert_eq!(completions.iter().count(), 5);
        completions.forget_content(1);
        let left: Vec<u64> = completions
            .iter()
            .map(|(_, row)| row.completed_at)
            .collect();
        assert_eq!(left, [5, 7, 9]);
        completions.check();
    }

    #[test]
    fn the_oldest_record_makes_room_for_one_more() {
        let mut completions = Completions::default();
        for peer in 0..=COMPLETIONS_MAX as u32 {
            assert!(completions.remember(peer % 3, completion(peer, 1000 + u64::from(peer))));
        }
        assert_eq!(completions.iter().count(), COMPLETIONS_MAX);
        assert_eq!(completions.completed_at(0, completion(0, 0).peer_id), None);
        completions.check();
    }
}
