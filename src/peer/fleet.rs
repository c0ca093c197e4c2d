//! How far all others are with a content, as the tracker's figures tell it: asked for now and then while somebody is
//! linked or served, and once more after.

use std::time::Duration;

use crate::base::Time;
use crate::cli::Fleet;
use crate::wire::native::Stats;

/// How often the tracker is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What is known of the fleet, and when to ask again.
#[derive(Debug, Default)]
pub(super) struct FleetWatch {
    pub fleet: Option<Fleet>,
    asked_at: Option<Time>,
    /// Somebody was linked, or was served between two looks, since the tracker was last asked.
    stale: bool,
    up_bytes: u64,
}

impl FleetWatch {
    /// Whether the tracker is to be asked now that we have served `up_bytes` in all; the caller then asks.
    pub(super) fn is_due(&mut self, now: Time, is_linked: bool, up_bytes: u64) -> bool {
        self.stale |= is_linked || up_bytes != self.up_bytes;
        self.up_bytes = up_bytes;
        let due = self.stale && self.asked_at.is_none_or(|at| now.since(at) >= ASK_EVERY);
        if due {
            self.asked_at = Some(now);
            self.stale = is_linked;
        }
        due
    }

    /// Takes the tracker's figures.
    pub(super) fn take(&mut self, stats: &Stats) {
        self.fleet = fleet_of(stats);
    }
}

/// Those who fetched it or do; seeds are not counted, unless they fetched it while the tracker knew it.
fn fleet_of(stats: &Stats) -> Option<Fleet> {
    let members = stats.completed.saturating_add(stats.leechers);
    if members == 0 {
        return None;
    }
    let copies = f64::from(stats.copies_mean_256) / 256.0;
    let fetched = (copies - f64::from(stats.seeds)).clamp(0.0, f64::from(stats.leechers));
    Some(Fleet {
        complete: stats.completed,
        members,
        mean_percent: (f64::from(stats.completed) + fetched) / f64::from(members) * 100.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_left_complete_count_and_sharers_do_not() {
        let stats = Stats {
            seeds: 1,
            leechers: 3,
            copies_mean_256: 256 + 384,
            completed: 1,
            ..Stats::default()
        };
        let fleet = fleet_of(&stats).expect("there are some");
        assert_eq!((fleet.complete, fleet.members), (1, 4));
        assert!((fleet.mean_percent - 62.5).abs() < 1e-9, "{fleet:?}");
        let alone = Stats {
            seeds: 2,
            copies_mean_256: 512,
            ..Stats::default()
        };
        assert_eq!(fleet_of(&alone), None);
    }

    #[test]
    fn the_tracker_is_asked_while_somebody_is_linked_and_once_after() {
        let mut watch = FleetWatch::default();
        let at = |secs| Time::from_nanos(secs * 1_000_000_000);
        let asked: Vec<u64> = (1..20)
            .filter(|&secs| {
                let up_bytes = if secs < 12 { 0 } else { 7 };
                watch.is_due(at(secs), (4..=7).contains(&secs), up_bytes)
            })
            .collect();
        assert_eq!(asked, [4, 6, 8, 12]);
    }
}
