//! How long a finished download stays to serve others.
//!
//! What it depends on is looked at now and then: how many fetch it and how many copies there are, as the tracker counts
//! them or, without one, as the links show; and what was sent.

use std::time::Duration;

use super::{Get, Stage};
use crate::base::Time;
use crate::cli::{Event, SeedEnd, SeedMode};
use crate::peer::job::Context;
use crate::peer::transfer::Transfer;
use crate::wire::native::Stats;

/// The longest that [`SeedMode::Auto`] stays.
const AUTO_TIME_MAX: Duration = Duration::from_secs(30);
/// Copies of each piece that others hold when [`SeedMode::Auto`] may leave; ours comes to that.
const COPIES_OF_OTHERS: u32 = 2;
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long links are waited for where no tracker tells that somebody fetches it.
const LINKS_TIME: Duration = Duration::from_secs(2);

/// A finished download that is served.
#[derive(Debug)]
pub(super) struct Stay {
    mode: SeedMode,
    since: Time,
    look_at: Time,
    /// What the tracker said last.
    stats: Option<Stats>,
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
struct Seen {
    size: u64,
    up_bytes: u64,
    /// Linked peers that lack something.
    lacking_links: usize,
    /// Whether the tracker knows us, and so will tell.
    is_member: bool,
}

impl Stay {
    fn new(now: Time, mode: SeedMode) -> Self {
        Self {
            mode,
            since: now,
            look_at: now,
            stats: None,
        }
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Option<Time> {
        match self.mode {
            SeedMode::None | SeedMode::Forever => None,
            SeedMode::Time(time) => Some(self.since + time),
            SeedMode::Auto => Some(self.look_at.min(self.since + AUTO_TIME_MAX)),
            SeedMode::Ratio(_) => Some(self.look_at),
        }
    }

    /// Why it is time to leave, if it is.
    fn verdict(&self, now: Time, seen: Seen) -> Option<SeedEnd> {
        let stayed = now.since(self.since);
        match self.mode {
            SeedMode::None | SeedMode::Forever => None,
            SeedMode::Time(time) => (stayed >= time).then_some(SeedEnd::TimeOver),
            SeedMode::Ratio(thousandths) => {
                let wanted = u128::from(seen.size) * u128::from(thousandths);
                let sent = u128::from(seen.up_bytes) * 1000;
                (sent >= wanted).then_some(SeedEnd::RatioReached)
            }
            SeedMode::Auto if stayed >= AUTO_TIME_MAX => Some(SeedEnd::TimeOver),
            SeedMode::Auto => match &self.stats {
                Some(stats) if stats.leechers == 0 => Some(SeedEnd::NobodyFetches),
                Some(stats) if stats.copies_min > COPIES_OF_OTHERS => Some(SeedEnd::CopiesEnough),
                None if !seen.is_member && seen.lacking_links == 0 && stayed >= LINKS_TIME => {
                    Some(SeedEnd::NobodyFetches)
                }
                _ => None,
            },
        }
    }
}

impl Get {
    /// It is finished, and stays as long as the user wants.
    pub(super) fn stay(&mut self, cx: &mut Context<'_>) {
        let mode = self.config.seed.unwrap_or(SeedMode::None);
        if self.stopped || mode == SeedMode::None {
            return self.leave(cx);
        }
        self.stage = Stage::Serving(Stay::new(cx.now, mode));
        self.look_whether_to_stay(cx);
    }

    /// The tracker told how many fetch it.
    pub(super) fn told_stats(&mut self, cx: &mut Context<'_>, told: &Stats) {
        if let Stage::Serving(stay) = &mut self.stage {
            stay.stats = Some(*told);
            self.look_whether_to_stay(cx);
        }
    }

    /// Leaves if it is time.
    pub(super) fn look_whether_to_stay(&mut self, cx: &mut Context<'_>) {
        let Stage::Serving(stay) = &mut self.stage else {
            return;
        };
        let Some(transfer) = cx.transfer.as_ref() else {
            return;
        };
        if let Some(why) = stay.verdict(cx.now, seen(transfer)) {
            let content = cx.job;
            cx.tell(Event::Left { content, why });
            return self.leave(cx);
        }
        if stay.look_at <= cx.now {
            stay.look_at = cx.now + LOOK_EVERY;
            if stay.mode == SeedMode::Auto {
                transfer.ask_stats(cx.shell);
            }
        }
    }
}

fn seen(transfer: &Transfer) -> Seen {
    let swarm = &transfer.swarm;
    let pieces = swarm.have().len();
    let lacks = swarm.links().filter(|link| link.pieces_had < pieces);
    Seen {
        size: transfer.meta.total_len(),
        up_bytes: swarm.counts().up_bytes,
        lacking_links: lacks.count(),
        is_member: transfer.is_in_swarm(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen = Seen {
        size: 1000,
        up_bytes: 0,
        lacking_links: 1,
        is_member: true,
    };

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn stats(leechers: u32, copies_min: u32) -> Option<Stats> {
        Some(Stats {
            leechers,
            copies_min,
            ..Stats::default()
        })
    }

    #[test]
    fn a_time_and_a_ratio_end_when_they_are_reached() {
        let time = Stay::new(at(5), SeedMode::Time(Duration::from_secs(10)));
        assert_eq!(time.look_at(), Some(at(15)));
        assert_eq!(time.verdict(at(14), SEEN), None);
        assert_eq!(time.verdict(at(15), SEEN), Some(SeedEnd::TimeOver));
        let ratio = Stay::new(at(5), SeedMode::Ratio(1500));
        let sent = |up_bytes| ratio.verdict(at(999), Seen { up_bytes, ..SEEN });
        assert_eq!(
            (sent(1499), sent(1500)),
            (None, Some(SeedEnd::RatioReached))
        );
        let forever = Stay::new(at(5), SeedMode::Forever);
        assert_eq!(
            (forever.look_at(), forever.verdict(at(1 << 30), SEEN)),
            (None, None)
        );
    }

    #[test]
    fn auto_stays_while_it_helps_and_no_longer_than_half_a_minute() {
        let mut stay = Stay::new(at(0), SeedMode::Auto);
        assert_eq!(stay.verdict(at(3), SEEN), None, "nothing is known yet");
        for (told, end) in [
            (stats(1, 1), None),
            (stats(1, 2), None),
            (stats(1, 3), Some(SeedEnd::CopiesEnough)),
            (stats(0, 1), Some(SeedEnd::NobodyFetches)),
        ] {
            stay.stats = told;
            assert_eq!(stay.verdict(at(3), SEEN), end);
        }
        stay.stats = stats(7, 1);
        assert_eq!(stay.verdict(at(30), SEEN), Some(SeedEnd::TimeOver));
    }

    #[test]
    fn without_a_tracker_auto_goes_by_its_links() {
        let stay = Stay::new(at(0), SeedMode::Auto);
        let alone = |lacking_links| Seen {
            is_member: false,
            lacking_links,
            ..SEEN
        };
        assert_eq!(
            stay.verdict(at(1), alone(0)),
            None,
            "they may be on their way"
        );
        assert_eq!(stay.verdict(at(2), alone(0)), Some(SeedEnd::NobodyFetches));
        assert_eq!(stay.verdict(at(29), alone(1)), None);
    }
}
