//! What to tell the tracker, and when: verified pieces in batches, and a call for more peers.

use std::time::Duration;

use crate::base::Time;

/// Pieces in one report (the native protocol's limit).
pub const REPORT_PIECES_MAX: usize = 4_096;
/// How long to wait before asking again for peers, at first and at most.
const ASK_AFTER_MIN: Duration = Duration::from_secs(2);
const ASK_AFTER_MAX: Duration = Duration::from_secs(30);

/// The tracker's view of us, and how far behind it is.
#[derive(Debug)]
pub(super) struct Announcer {
    batch: Duration,
    verified: Vec<u32>,
    report_at: Option<Time>,
    ask_after: Duration,
    ask_at: Option<Time>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self {
            batch: Duration::from_millis(250),
            verified: Vec::new(),
            report_at: None,
            ask_after: ASK_AFTER_MIN,
            ask_at: None,
        }
    }
}

impl Announcer {
    /// How long reports are collected before they go, as the tracker wishes.
    pub(super) fn set_batch(&mut self, batch: Duration) {
        self.batch = batch;
    }

    /// How long reports are collected.
    pub(super) fn batch(&self) -> Duration {
        self.batch
    }

    /// We joined. What was verified since the bitmap was sent is not in it, so whatever is noted here is reported soon:
    /// a report may repeat what the bitmap said.
    pub(super) fn joined(&mut self, now: Time) {
        if !self.verified.is_empty() {
            self.report_at.get_or_insert(now + self.batch);
        }
        self.ask_after = ASK_AFTER_MIN;
        self.ask_at = None;
    }

    /// We lack peers: from now on it is time, sooner or later, to ask for more.
    pub(super) fn lacking(&mut self, now: Time) {
        self.ask_at.get_or_insert(now + self.ask_after);
    }

    /// `piece` is verified.
    pub(super) fn verified(&mut self, now: Time, piece: u32) {
        self.verified.push(piece);
        self.report_at.get_or_insert(now + self.batch);
    }

    /// Everything is verified: report at once.
    pub(super) fn hurry(&mut self, now: Time) {
        if !self.verified.is_empty() {
            self.report_at = Some(now);
        }
    }

    /// Moves what is to be reported into `pieces`, as much as one report takes.
    pub(super) fn take(&mut self, now: Time, pieces: &mut Vec<u32>) {
        let count = self.verified.len().min(REPORT_PIECES_MAX);
        pieces.extend(self.verified.drain(..count));
        self.report_at = (!self.verified.is_empty()).then_some(now);
    }

    /// Whether a report is due; it is then the caller's to take.
    pub(super) fn report_is_due(&mut self, now: Time) -> bool {
        let due = self.report_at.is_some_and(|at| at <= now);
        if due {
            self.report_at = None;
        }
        due
    }

    /// Whether to ask for more peers now, given that we lack some; each time it waits longer.
    pub(super) fn ask_is_due(&mut self, now: Time) -> bool {
        if self.ask_at.is_none_or(|at| at > now) {
            return false;
        }
        self.ask_after = (self.ask_after * 2).min(ASK_AFTER_MAX);
        self.ask_at = Some(now + self.ask_after);
        true
    }

    /// We have peers enough.
    pub(super) fn satisfied(&mut self) {
        self.ask_at = None;
        self.ask_after = ASK_AFTER_MIN;
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        [self.report_at, self.ask_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_pieces_are_reported_together_a_moment_after_the_first() {
        let (mut announcer, start) = (Announcer::default(), Time::ZERO);
        announcer.verified(start, 1);
        announcer.verified(start + Duration::from_millis(200), 2);
        let due = announcer.next_due().expect("a report is waiting");
        assert_eq!(due.since(start), Duration::from_millis(250));
        assert!(!announcer.report_is_due(start));
        assert!(announcer.report_is_due(due));
        let mut pieces = Vec::new();
        announcer.take(due, &mut pieces);
        assert_eq!(pieces, [1, 2]);
        assert_eq!(announcer.next_due(), None);
    }

    #[test]
    fn a_long_report_is_split() {
        let mut announcer = Announcer::default();
        (0..5000).for_each(|piece| announcer.verified(Time::ZERO, piece));
        let mut pieces = Vec::new();
        announcer.take(Time::ZERO, &mut pieces);
        assert_eq!(pieces.len(), REPORT_PIECES_MAX);
        assert!(
            announcer.report_is_due(Time::ZERO),
            "the rest follows at once"
        );
    }

    #[test]
    fn what_is_verified_while_we_join_is_reported() {
        let mut announcer = Announcer::default();
        announcer.verified(Time::ZERO, 7);
        assert!(announcer.report_is_due(Time::MAX), "and nobody takes it");
        announcer.joined(Time::ZERO);
        let due = announcer.next_due().expect("a report is waiting");
        assert!(announcer.report_is_due(due));
        let mut pieces = Vec::new();
        announcer.take(due, &mut pieces);
        assert_eq!(pieces, [7]);
    }

    #[test]
    fn calls_for_peers_grow_rarer() {
        let (mut announcer, mut now) = (Announcer::default(), Time::ZERO);
        let mut calls = Vec::new();
        announcer.lacking(now);
        for second in 0..120 {
            if announcer.ask_is_due(now) {
                calls.push(second);
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(calls, [2, 6, 14, 30, 60, 90]);
        announcer.satisfied();
        assert_eq!(announcer.next_due(), None);
    }
}
