//! A token bucket: how many bytes may go now, so that a rate holds over any stretch of time.

use std::time::Duration;

use super::Time;

/// What may go at once at any rate: a few blocks.
const BURST_BYTES_MIN: u64 = 64 << 10;
/// Otherwise so much of the rate: enough that a program which turns late loses nothing.
const BURST_TIME: Duration = Duration::from_millis(50);

const NANOS_PER_S: i128 = 1_000_000_000;

/// The tokens of one rate, a token for each byte.
///
/// In any stretch of time no more than `rate × time + burst` is there to be taken. What has to go although there is
/// nothing left makes a debt, of at most the burst, that is paid first.
#[derive(Clone, Debug)]
pub struct Bucket {
    bytes_per_s: u64,
    burst_bytes: u64,
    /// Bytes times 10^9, so that nothing is lost to rounding, however often one looks.
    level: i128,
    at: Time,
}

impl Bucket {
    /// A full bucket. The rate is at least one byte per second.
    pub fn new(bytes_per_s: u64) -> Self {
        assert!(bytes_per_s > 0, "nothing would ever go");
        let of_rate = u128::from(bytes_per_s) * BURST_TIME.as_nanos() / NANOS_PER_S as u128;
        let burst_bytes = BURST_BYTES_MIN.max(u64::try_from(of_rate).unwrap_or(u64::MAX));
        Self {
            bytes_per_s,
            burst_bytes,
            level: i128::from(burst_bytes) * NANOS_PER_S,
            at: Time::ZERO,
        }
    }

    /// The rate, in bytes per second.
    pub fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s
    }

    /// The most that may go at once, in bytes.
    pub fn burst_bytes(&self) -> u64 {
        self.burst_bytes
    }

    /// How many bytes may go at `now`.
    pub fn available(&mut self, now: Time) -> u64 {
        let elapsed = now.since(self.at).as_nanos() as i128;
        self.at = self.at.max(now);
        let full = i128::from(self.burst_bytes) * NANOS_PER_S;
        self.level = (self.level + i128::from(self.bytes_per_s) * elapsed).min(full);
        (self.level / NANOS_PER_S).max(0) as u64
    }

    /// So many bytes went at `now`, whether they were there or not.
    pub fn take(&mut self, now: Time, bytes: u64) {
        self.available(now);
        let debt_max = i128::from(self.burst_bytes) * NANOS_PER_S;
        self.level = (self.level - i128::from(bytes) * NANOS_PER_S).max(-debt_max);
    }

    /// When `bytes` will be there, if none are taken until then; of more than the burst, when that is.
    pub fn ready_at(&self, bytes: u64) -> Time {
        let wanted = i128::from(bytes.min(self.burst_bytes)) * NANOS_PER_S;
        let lacking = (wanted - self.level).max(0);
        let rate = i128::from(self.bytes_per_s);
        let nanos = (lacking + rate - 1) / rate;
        self.at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn the_burst_is_small_at_every_rate() {
        assert_eq!(Bucket::new(1).burst_bytes(), 64 << 10);
        assert_eq!(Bucket::new(1 << 20).burst_bytes(), 64 << 10);
        assert_eq!(Bucket::new(1 << 30).burst_bytes(), (1 << 30) / 20);
        assert_eq!(Bucket::new(u64::MAX).burst_bytes(), u64::MAX / 20);
    }

    #[test]
    fn a_debt_is_paid_before_anything_goes_and_ends() {
        let mut bucket = Bucket::new(1000);
        bucket.take(at(0), 1 << 40);
        assert_eq!(bucket.available(at(0)), 0);
        assert_eq!(bucket.ready_at(0), at(65_536_000_000));
        assert_eq!(bucket.available(at(65_536_000_000)), 0);
        assert_eq!(bucket.available(at(65_537_000_000)), 1);
    }

    proptest! {
        /// Beside it a model that adds up what any rate allows from each moment on.
        #[test]
        fn never_gives_more_than_rate_and_burst_and_is_ready_when_it_says(
            bytes_per_s in 1u64..1 << 34,
            steps in proptest::collection::vec((0u64..200_000_000, 0u64..1 << 22), 1..200),
        ) {
            let mut bucket = Bucket::new(bytes_per_s);
            let (rate, burst) = (u128::from(bytes_per_s), u128::from(bucket.burst_bytes()));
            let mut now = 0;
            let mut taken: Vec<(u64, u128)> = Vec::new();
            for (pause, wish) in steps {
                now += pause;
                let bytes = bucket.available(at(now)).min(wish);
                bucket.take(at(now), bytes);
                taken.push((now, u128::from(bytes)));
                let mut sum = 0;
                for &(then, bytes) in taken.iter().rev() {
                    sum += bytes;
                    let allowed = rate * u128::from(now - then) / 1_000_000_000 + burst + 1;
                    prop_assert!(sum <= allowed, "{sum} of {allowed} bytes");
                }
                let wanted = wish.min(bucket.burst_bytes());
                let ready = bucket.ready_at(wanted);
                prop_assert!(bucket.clone().available(ready) >= wanted);
                if ready > at(now) {
                    let earlier = at(ready.as_nanos() - 1);
                    prop_assert!(bucket.clone().available(earlier.max(at(now))) < wanted);
                }
                now = now.max(ready.as_nanos().min(now + 1_000_000_000));
            }
        }

        #[test]
        fn looking_often_changes_nothing(
            bytes_per_s in 1u64..1 << 40, looks in proptest::collection::vec(1u64..1000, 1..100),
        ) {
            let mut often = Bucket::new(bytes_per_s);
            often.take(at(0), often.burst_bytes());
            let mut once = often.clone();
            let mut now = 0;
            for pause in looks {
                now += pause;
                often.available(at(now));
            }
            prop_assert_eq!(often.available(at(now)), once.available(at(now)));
        }
    }
}
