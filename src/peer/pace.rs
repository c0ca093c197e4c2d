//! A rate, from totals that are looked at now and then.

use std::time::Duration;

use crate::base::Time;

/// What lies this far back counts half.
const HALF_LIFE: Duration = Duration::from_millis(250);

/// A moving average of bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    at: Time,
    total: u64,
    bytes_per_s: f64,
    /// Whether there is an average to move.
    measured: bool,
}

impl Pace {
    /// Nothing has gone yet.
    pub(super) fn since(now: Time) -> Self {
        Self {
            at: now,
            total: 0,
            bytes_per_s: 0.0,
            measured: false,
        }
    }

    /// Bytes per second of late, now that `total` bytes have gone in all.
    pub(super) fn update(&mut self, now: Time, total: u64) -> u64 {
        let seconds = now.since(self.at).as_secs_f64();
        if seconds > 0.0 {
            let latest = total.saturating_sub(self.total) as f64 / seconds;
            let old = 0.5_f64.powf(seconds / HALF_LIFE.as_secs_f64());
            let weight = if self.measured { 1.0 - old } else { 1.0 };
            self.bytes_per_s += (latest - self.bytes_per_s) * weight;
            self.measured = true;
            self.at = now;
            self.total = total;
        }
        self.bytes_per_s as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_tells_what_went_before_it() {
        let start = Time::from_nanos(5);
        let mut pace = Pace::since(start);
        assert_eq!(pace.update(start, 0), 0);
        let second = Duration::from_secs(1);
        assert_eq!(pace.update(start + second, 1_000), 1_000);
        assert_eq!(pace.update(start + second, 1_000), 1_000);
        let later = pace.update(start + second * 2, 1_000);
        assert!((60..65).contains(&later), "{later}: a sixteenth is left");
    }

    #[test]
    fn many_looks_and_few_agree() {
        let rate_of = |step: Duration| {
            let (mut pace, mut now, mut total) = (Pace::since(Time::ZERO), Time::ZERO, 0);
            while total < 4_000_000 {
                now += step;
                total += step.as_millis() as u64 * 1_000;
                pace.update(now, total);
            }
            pace.update(now, total)
        };
        for millis in [10, 100, 1_000] {
            let rate = rate_of(Duration::from_millis(millis));
            assert!((999_000..=1_001_000).contains(&rate), "{millis} ms: {rate}");
        }
    }
}
