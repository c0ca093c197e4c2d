//! Monotonic time as a value, and a fixed table of deadlines.

use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A moment, in nanoseconds since an origin that only the program's shell knows.
///
/// The core never asks what time it is: it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the origin.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// One optional deadline for each of `N` kinds of timer; a machine's timers are kinds, not heap objects.
#[derive(Clone, Debug)]
pub struct Deadlines<const N: usize>([Option<Time>; N]);

impl<const N: usize> Default for Deadlines<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

impl<const N: usize> Deadlines<N> {
    /// Arms timer `kind` for `at`, replacing what was armed.
    pub fn set(&mut self, kind: usize, at: Time) {
        self.0[kind] = Some(at);
    }

    /// Arms timer `kind` for `at` unless it is armed already.
    pub fn set_if_idle(&mut self, kind: usize, at: Time) {
        self.0[kind].get_or_insert(at);
    }

    /// Arms timer `kind` for `at`, unless it is due earlier.
    pub fn bring_forward(&mut self, kind: usize, at: Time) {
        let deadline = self.0[kind].get_or_insert(at);
        *deadline = at.min(*deadline);
    }

    /// Disarms timer `kind`.
    pub fn clear(&mut self, kind: usize) {
        self.0[kind] = None;
    }

    /// When timer `kind` is due, if it is armed.
    pub fn at(&self, kind: usize) -> Option<Time> {
        self.0[kind]
    }

    /// The earliest armed deadline.
    pub fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Disarms timer `kind` and says so, if it was due at `now`.
    pub fn take_due(&mut self, kind: usize, now: Time) -> bool {
        let due = self.0[kind].is_some_and(|at| at <= now);
        if due {
            self.0[kind] = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_instead_of_wrapping() {
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
        assert_eq!(Time::ZERO.since(Time::MAX), Duration::ZERO);
        assert_eq!(
            (Time::ZERO + Duration::from_millis(5)).since(Time::ZERO),
            Duration::from_millis(5)
        );
    }

    #[test]
    fn a_deadline_is_taken_once_and_only_when_due() {
        let mut deadlines = Deadlines::<2>::default();
        deadlines.set(1, Time::from_nanos(10));
        deadlines.set_if_idle(1, Time::from_nanos(5));
        deadlines.bring_forward(1, Time::from_nanos(20));
        assert_eq!(deadlines.next(), Some(Time::from_nanos(10)));
        assert!(!deadlines.take_due(1, Time::from_nanos(9)));
        assert!(deadlines.take_due(1, Time::from_nanos(10)));
        assert!(!deadlines.take_due(1, Time::from_nanos(11)));
        assert_eq!(deadlines.next(), None);
    }
}
