//! Whether what is shown still changes: who serves while nobody asks has no news, and need not be asked for any.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, Seeding};
use crate::base::Time;

/// How long everything stays the same until it counts as settled: longer than any form waits before it tells a change.
const SETTLED_AFTER: Duration = Duration::from_secs(11);

/// How the contents stood last that are served, and since when.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<usize, (Time, Seeding)>);

impl Standings {
    /// Takes note of what is told. Whatever does not say how a content is served may change anything.
    pub(super) fn note(&mut self, now: Time, event: &Event) {
        let Event::Seeding { content, seeding } = event else {
            return self.0.clear();
        };
        let is_same = |(_, last): &(Time, Seeding)| last == seeding;
        if !self.0.get(content).is_some_and(is_same) {
            self.0.insert(*content, (now, seeding.clone()));
        }
    }

    /// Whether nothing new has been told for long.
    pub(super) fn are_settled(&self, now: Time) -> bool {
        let is_settled = |(since, _): &(Time, Seeding)| now.since(*since) >= SETTLED_AFTER;
        !self.0.is_empty() && self.0.values().all(is_settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeding(content: usize, peers: u32) -> Event {
        let seeding = Seeding {
            peers,
            ..Seeding::default()
        };
        Event::Seeding { content, seeding }
    }

    #[test]
    fn contents_are_settled_when_all_of_them_stood_still_for_long() {
        let mut standings = Standings::default();
        let at = |secs| Time::ZERO + Duration::from_secs(secs);
        assert!(!standings.are_settled(at(20)), "nothing is known yet");
        standings.note(at(0), &seeding(0, 0));
        standings.note(at(5), &seeding(1, 0));
        for secs in 0..16 {
            standings.note(at(secs), &seeding(0, 0));
            assert!(!standings.are_settled(at(secs)), "after {secs} s");
        }
        assert!(standings.are_settled(at(16)));
        standings.note(at(17), &seeding(1, 1));
        assert!(!standings.are_settled(at(18)), "a peer came");
        assert!(standings.are_settled(at(28)));
        standings.note(at(29), &Event::Note("something else".to_owned()));
        assert!(!standings.are_settled(at(60)));
    }
}
