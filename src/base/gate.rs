//! A rate that many share: who may move how much now, and who waits in line for it.
//!
//! Whoever is refused waits in line until it is named by [`Gate::wake`], in the order of refusals, with a grant of its
//! own: whoever takes much cannot keep the others waiting. Nobody is woken for less than is worth it, and while nobody
//! waits there is nothing to wake for.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Bucket, Time};

/// The least that is worth moving: a block of 16 KiB and its head.
pub const GRAIN_BYTES: u64 = (16 << 10) + 13;
/// Those in line are woken once there is so much of the rate, so that a high rate takes few turns of the loop.
const WAKE_TIME: Duration = Duration::from_millis(5);

/// A limit on what all users of it move together; a user is named by a `K`.
#[derive(Debug)]
pub struct Gate<K> {
    /// Nothing: there is no limit.
    bucket: Option<Bucket>,
    /// Who was refused, in that order, and not named since.
    waiting: VecDeque<K>,
    /// Who was named last, and what is left of its grant.
    granted: Vec<(K, u64)>,
}

impl<K: Copy + Eq> Gate<K> {
    /// A gate for a rate, or one that stands open.
    pub fn new(bytes_per_s: Option<u64>) -> Self {
        Self {
            bucket: bytes_per_s.map(Bucket::new),
            waiting: VecDeque::new(),
            granted: Vec::new(),
        }
    }

    /// Whether there is no limit.
    pub fn is_open(&self) -> bool {
        self.bucket.is_none()
    }

    /// How many bytes `key` may move at `now`: at least [`GRAIN_BYTES`], or none, and then it stands in line.
    pub fn ask(&mut self, now: Time, key: K) -> u64 {
        let Some(bucket) = &mut self.bucket else {
            return u64::MAX;
        };
        let available = bucket.available(now);
        let own = self.granted.iter().position(|(other, _)| *other == key);
        let allowed = match own {
            Some(at) => self.granted[at].1.min(available),
            None if self.waiting.is_empty() => {
                let promised: u64 = self.granted.iter().map(|(_, bytes)| bytes).sum();
                available.saturating_sub(promised)
            }
            None => 0,
        };
        if allowed >= GRAIN_BYTES {
            return allowed;
        }
        if let Some(at) = own {
            self.granted.swap_remove(at);
        }
        if !self.waiting.contains(&key) {
            self.waiting.push_back(key);
        }
        0
    }

    /// `key` moved so many bytes, allowed or not.
    pub fn take(&mut self, now: Time, key: K, bytes: u64) {
        let Some(bucket) = &mut self.bucket else {
            return;
        };
        bucket.take(now, bytes);
        if let Some((_, left)) = self.granted.iter_mut().find(|(other, _)| *other == key) {
            *left = left.saturating_sub(bytes);
        }
    }

    /// `key` is gone.
    pub fn forget(&mut self, key: K) {
        self.waiting.retain(|other| *other != key);
        self.granted.retain(|(other, _)| *other != key);
    }

    /// When [`Gate::wake`] is to be called, if anybody waits.
    pub fn wake_at(&self) -> Option<Time> {
        let bucket = self.bucket.as_ref().filter(|_| !self.waiting.is_empty())?;
        Some(bucket.ready_at(wake_bytes(bucket)))
    }

    /// Names those whose turn it is, if it is time: each may ask now, and is granted its share.
    pub fn wake(&mut self, now: Time, named: &mut Vec<K>) {
        if self.wake_at().is_none_or(|at| at > now) {
            return;
        }
        let bucket = self.bucket.as_mut().expect("somebody waits for it");
        // In whole grains, or each would leave a rest that is worth nothing. Who gets none now is first next time.
        let grains = (bucket.available(now) / GRAIN_BYTES) as usize;
        let (each, more) = (grains / self.waiting.len(), grains % self.waiting.len());
        let count = if each == 0 { more } else { self.waiting.len() };
        self.granted.clear();
        for (place, key) in self.waiting.drain(..count).enumerate() {
            let grains = each + usize::from(place < more);
            self.granted.push((key, grains as u64 * GRAIN_BYTES));
            named.push(key);
        }
    }
}

/// What is worth waking somebody for.
fn wake_bytes(bucket: &Bucket) -> u64 {
    let rate = u128::from(bucket.bytes_per_s());
    let bytes = rate * WAKE_TIME.as_nanos() / Duration::from_secs(1).as_nanos();
    (bytes as u64).clamp(GRAIN_BYTES, bucket.burst_bytes() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    /// Everybody moves all that it may, whenever it is named, until `end`. What each moved, and how often it was woken.
    fn run(
        bytes_per_s: u64,
        users: u32,
        appetite: impl Fn(u32) -> u64,
        end: Time,
    ) -> (Vec<u64>, u32) {
        let mut gate = Gate::new(Some(bytes_per_s));
        let mut moved = vec![0; users as usize];
        let mut named: Vec<u32> = (0..users).collect();
        let (mut now, mut wakes) = (Time::ZERO, 0);
        while now < end {
            for key in named.drain(..) {
                loop {
                    let bytes = gate.ask(now, key).min(appetite(key));
                    if bytes == 0 {
                        break;
                    }
                    gate.take(now, key, bytes);
                    moved[key as usize] += bytes;
                }
            }
            now = gate.wake_at().expect("everybody wants more");
            wakes += 1;
            gate.wake(now, &mut named);
            assert!(!named.is_empty(), "woken for nothing");
        }
        (moved, wakes)
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut gate = Gate::new(None);
        assert!(gate.is_open());
        assert_eq!(gate.ask(at(0), 1), u64::MAX);
        gate.take(at(0), 1, u64::MAX);
        assert_eq!(gate.ask(at(0), 1), u64::MAX);
        assert_eq!(gate.wake_at(), None);
    }

    #[test]
    fn whoever_comes_later_stands_behind_those_who_wait() {
        let mut gate = Gate::new(Some(1 << 20));
        gate.take(at(0), 0, 64 << 10);
        assert_eq!((gate.ask(at(0), 1), gate.ask(at(0), 2)), (0, 0));
        let later = gate.wake_at().expect("two wait");
        assert_eq!(gate.ask(later, 3), 0, "there is enough, but not for it");
        let mut named = Vec::new();
        gate.wake(later, &mut named);
        assert_eq!(named, [1]);
        assert_eq!(gate.ask(later, 3), 0);
        assert!(gate.ask(later, 1) >= GRAIN_BYTES);
        gate.forget(2);
        gate.take(later, 1, GRAIN_BYTES);
        let later = gate.wake_at().expect("one waits");
        gate.wake(later, &mut named);
        assert_eq!(named, [1, 3]);
    }

    #[test]
    fn a_grant_that_is_not_used_is_there_for_the_next() {
        let mut gate = Gate::new(Some(1 << 20));
        gate.take(at(0), 0, 64 << 10);
        let mut named = Vec::new();
        for key in [1, 2] {
            assert_eq!(gate.ask(at(0), key), 0);
        }
        gate.wake(at(1_000_000_000), &mut named);
        assert_eq!(named, [1, 2]);
        assert_eq!(gate.ask(at(1_000_000_000), 3), 0, "all is promised");
        assert_eq!(gate.wake_at(), Some(at(1_000_000_000)), "at once");
        gate.wake(at(1_000_000_000), &mut named);
        assert_eq!(named, [1, 2, 3]);
        assert_eq!(gate.ask(at(1_000_000_000), 3), 3 * GRAIN_BYTES);
    }

    #[test]
    fn a_high_rate_takes_few_turns_and_a_low_one_takes_few_as_well() {
        let second = at(1_000_000_000);
        for (rate, wakes_max) in [(1 << 20, 70), (1 << 30, 210), (20 << 20, 260)] {
            let (moved, wakes) = run(rate, 8, |_| u64::MAX, second);
            assert!(wakes <= wakes_max, "{wakes} turns at {rate}");
            let moved: u64 = moved.iter().sum();
            assert!(moved as f64 > rate as f64 * 0.99, "{moved} at {rate}");
        }
    }

    proptest! {
        #[test]
        fn uses_the_rate_never_more_and_starves_nobody(
            bytes_per_s in 1u64 << 10..1 << 31, users in 1u32..40, greedy in 0u32..40,
        ) {
            // Long enough that everybody's turn comes ten times.
            let seconds = (u64::from(users) * GRAIN_BYTES * 10).div_ceil(bytes_per_s).max(1);
            let end = at(seconds * 1_000_000_000);
            let appetite = |key| if key == greedy { u64::MAX } else { GRAIN_BYTES };
            let (moved, wakes) = run(bytes_per_s, users, appetite, end);
            let (sum, burst) = (moved.iter().sum::<u64>(), Bucket::new(bytes_per_s).burst_bytes());
            prop_assert!(sum <= bytes_per_s * seconds + burst, "{sum}");
            prop_assert!(sum + burst >= bytes_per_s * seconds, "{sum}");
            prop_assert!(u64::from(wakes) <= 400 * seconds + 40);
            let least = moved.iter().min().expect("some");
            let most = moved.iter().max().expect("some");
            prop_assert!(*least > 0 && least * 8 + burst >= *most, "{moved:?}");
        }
    }
}
