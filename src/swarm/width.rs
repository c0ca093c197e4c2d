//! How many turns are served at a time: as few as fill the uplink.
//!
//! One is best where our uplink is what limits us, and far too few where those who are served take less than it gives:
//! their downlinks are slow, or others send to them as well. The least number is a compromise between the two, and where
//! it is far too few, twice as many do much more, which is found out by trying: while others wait, another width is tried
//! for a moment from time to time. A small gain is no reason to go wider, because it is made at the cost of others who
//! send to the same peers, and because wide service makes pieces whole late.
//!
//! Last completion over bound in the simulator, for 1, 2, 3, 4 and 8 turns, and for 3 that may become 32 (in blocks):
//!
//! | getters, downlink | 1 | 2 | 3 | 4 | 8 | 3 to 32 |
//! |---|---|---|---|---|---|---|
//! | 31, no limit | 1.018 | 1.021 | 1.026 | 1.032 | 1.076 | 1.030 |
//! | 8, no limit | 1.004 | 1.006 | 1.009 | 1.014 | 1.057 | 1.006 |
//! | 8, like the uplink | 1.65 | 1.39 | 1.14 | 1.06 | 1.06 | 1.09 |
//! | 31, like the uplink | 2.38 | 1.80 | 1.58 | 1.47 | 1.36 | 1.52 |
//! | 31, half the uplink | 2.36 | 1.58 | 1.36 | 1.18 | 1.08 | 1.24 |
//! | 8, a tenth of the uplink | 1.80 | 1.23 | 1.05 | 1.02 | 1.01 | 1.02 |

use std::time::Duration;

use crate::base::Time;

/// How long a width is measured.
const WINDOW: Duration = Duration::from_millis(500);
/// By how much more must be sent with twice the width for it to be kept: half of what it would be if those who are served
/// were all that limits us.
const GAIN: f64 = 1.5;
/// What may be lost when half the width is kept.
const LOSS: f64 = 0.75;
/// Windows until the next trial, at first and at most: each trial that fails doubles them.
const PAUSE_MIN: u32 = 1;
const PAUSE_MAX: u32 = 32;

/// The number of turns at a time, and what is known of it.
#[derive(Debug)]
pub(super) struct Width {
    width: usize,
    width_min: usize,
    width_max: usize,
    /// The width that was kept so far, while another one is tried.
    kept: Option<usize>,
    /// Bytes per second that were sent with the width that was kept: lately, and at best.
    rate: f64,
    best_rate: f64,
    window_start: Option<Time>,
    window_bytes: u64,
    pause: u32,
    pause_left: u32,
    tries_less: bool,
}

impl Width {
    /// Between the two, the least at first.
    pub(super) fn new(width_min: usize, width_max: usize) -> Self {
        let width_min = width_min.max(1);
        Self {
            width: width_min,
            width_min,
            width_max: width_max.max(width_min),
            kept: None,
            rate: 0.0,
            best_rate: 0.0,
            window_start: None,
            window_bytes: 0,
            pause: PAUSE_MIN,
            pause_left: PAUSE_MIN,
            tries_less: false,
        }
    }

    /// How many turns there may be now.
    pub(super) fn turns(&self) -> usize {
        self.width
    }

    /// How long a block of `len` bytes takes, if that is known.
    pub(super) fn block_time(&self, len: u32) -> Option<Duration> {
        (self.rate > 0.0).then(|| Duration::from_secs_f64(f64::from(len) / self.rate))
    }

    /// Nobody waits: what is sent now says nothing of the width.
    pub(super) fn nobody_waits(&mut self) {
        self.window_start = None;
        self.window_bytes = 0;
    }

    /// Bytes went out while others waited.
    pub(super) fn sent(&mut self, now: Time, bytes: u32) {
        let start = *self.window_start.get_or_insert(now);
        self.window_bytes += u64::from(bytes);
        let elapsed = now.since(start);
        if elapsed >= WINDOW {
            let rate = self.window_bytes as f64 / elapsed.as_secs_f64();
            self.window_start = Some(now);
            self.window_bytes = 0;
            self.judge(rate);
        }
    }

    fn judge(&mut self, rate: f64) {
        match self.kept.take() {
            None => {
                self.rate = rate;
                self.best_rate = self.best_rate.max(rate);
                self.pause_left = self.pause_left.saturating_sub(1);
                if self.pause_left == 0 {
                    self.begin_trial();
                }
            }
            Some(kept) => {
                let least = if self.width > kept {
                    self.best_rate * GAIN
                } else {
                    self.rate * LOSS
                };
                if rate >= least {
                    (self.rate, self.best_rate) = (rate, rate);
                    self.pause = PAUSE_MIN;
                    self.pause_left = self.pause;
                } else {
                    self.tries_less = self.width > kept;
                    self.width = kept;
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                    self.pause_left = self.pause;
                }
            }
        }
    }

    /// Tries twice or half as many turns.
    fn begin_trial(&mut self) {
        let less = self.tries_less && self.width > self.width_min;
        let other = if less {
            (self.width / 2).max(self.width_min)
        } else {
            self.width * 2
        };
        self.tries_less = less;
        if other <= self.width_max {
            self.kept = Some(self.width);
            self.width = other;
        } else {
            self.tries_less = true;
            self.pause_left = self.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `seconds` pass in which `rate_of` says what is sent with a width; returns the mean width.
    fn run(width: &mut Width, now: &mut Time, seconds: u32, rate_of: impl Fn(usize) -> u32) -> f64 {
        let mut sum = 0;
        for _ in 0..seconds * 100 {
            *now += Duration::from_millis(10);
            sum += width.turns();
            width.sent(*now, rate_of(width.turns()) / 100);
        }
        sum as f64 / f64::from(seconds * 100)
    }

    #[test]
    fn stays_at_one_where_the_uplink_is_the_limit() {
        let (mut width, mut now) = (Width::new(1, 32), Time::ZERO);
        let mean = run(&mut width, &mut now, 60, |_| 10 << 20);
        assert!(mean < 1.25, "{mean}");
    }

    #[test]
    fn grows_until_the_uplink_is_full_and_shrinks_when_fewer_fill_it() {
        let (mut width, mut now) = (Width::new(1, 32), Time::ZERO);
        let slow = |turns: usize| (turns as u32 * (1 << 20)).min(10 << 20);
        run(&mut width, &mut now, 10, slow);
        let mean = run(&mut width, &mut now, 60, slow);
        assert!((8.0..20.0).contains(&mean), "{mean}");
        run(&mut width, &mut now, 120, |_| 10 << 20);
        let mean = run(&mut width, &mut now, 60, |_| 10 << 20);
        assert!(mean < 2.0, "{mean}");
    }

    #[test]
    fn what_is_sent_while_nobody_waits_says_nothing() {
        let (mut width, mut now) = (Width::new(1, 32), Time::ZERO);
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            width.sent(now, 1_000);
            width.nobody_waits();
        }
        assert_eq!(width.turns(), 1);
    }
}
