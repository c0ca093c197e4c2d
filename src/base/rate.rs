//! How fast bytes go, smoothed.

use std::time::Duration;

use super::Time;

/// A moving average of bytes per second, over windows of a quarter of a second.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    window_start: Time,
    window_bytes: u64,
    bytes_per_second: f64,
    measured: bool,
}

impl Rate {
    const WINDOW: Duration = Duration::from_millis(250);

    /// Counts `bytes` that went at `now`.
    pub fn add(&mut self, now: Time, bytes: usize) {
        self.roll(now);
        self.window_bytes += bytes as u64;
    }

    /// Bytes per second, or `None` before the first window is full.
    pub fn bytes_per_second(&self) -> Option<f64> {
        self.measured.then_some(self.bytes_per_second)
    }

    /// Closes the window if it is over.
    pub fn roll(&mut self, now: Time) {
        if self.window_start == Time::ZERO {
            self.window_start = now;
        }
        let elapsed = now.since(self.window_start);
        if elapsed < Self::WINDOW {
            return;
        }
        let latest = self.window_bytes as f64 / elapsed.as_secs_f64();
        let weight = if self.measured { 0.5 } else { 1.0 };
        self.bytes_per_second += (latest - self.bytes_per_second) * weight;
        self.measured = true;
        self.window_start = now;
        self.window_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_on_a_steady_rate() {
        let (mut rate, mut now) = (Rate::default(), Time::from_nanos(1));
        assert_eq!(rate.bytes_per_second(), None);
        for _ in 0..100 {
            now += Duration::from_millis(50);
            rate.add(now, 5000);
        }
        let measured = rate
            .bytes_per_second()
            .expect("five seconds are many windows");
        assert!((measured - 100_000.0).abs() < 2_000.0, "{measured}");
    }
}
