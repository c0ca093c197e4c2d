//! What will happen, by time and, at one time, in the order in which it was scheduled.
//!
//! A ring of buckets holds the near future and a heap what is beyond it: most of what happens is a message that arrives
//! within a millisecond, and a heap of all of them would be searched through the memory of the whole run.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Event;
use crate::base::Time;

/// Time that a bucket covers, as a power of two in nanoseconds: 16 us.
const BUCKET_NANOS_LOG2: u32 = 14;
/// Buckets in the ring, which covers 67 ms.
const BUCKETS: usize = 4_096;

/// Something that will happen.
#[derive(Debug)]
pub(super) struct Scheduled {
    /// When.
    pub at: Time,
    sequence: u64,
    /// What.
    pub event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

/// The queue. Nothing may be scheduled before what was taken last.
#[derive(Debug)]
pub(super) struct Queue {
    sequence: u64,
    /// The bucket that is being emptied, by its number since the origin.
    current: u64,
    /// What was in it when it was begun, the next last.
    sorted: Vec<Scheduled>,
    /// What came into it since.
    now: BinaryHeap<Reverse<Scheduled>>,
    ring: Vec<Vec<Scheduled>>,
    ring_count: usize,
    later: BinaryHeap<Reverse<Scheduled>>,
}

fn bucket_of(at: Time) -> u64 {
    at.as_nanos() >> BUCKET_NANOS_LOG2
}

impl Queue {
    /// Nothing will happen.
    pub(super) fn new() -> Self {
        Self {
            sequence: 0,
            current: 0,
            sorted: Vec::new(),
            now: BinaryHeap::new(),
            ring: (0..BUCKETS).map(|_| Vec::new()).collect(),
            ring_count: 0,
            later: BinaryHeap::new(),
        }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.place(Scheduled {
            at,
            sequence,
            event,
        });
    }

    fn place(&mut self, scheduled: Scheduled) {
        let bucket = bucket_of(scheduled.at);
        if bucket <= self.current {
            self.now.push(Reverse(scheduled));
        } else if bucket < self.current + BUCKETS as u64 {
            self.ring[bucket as usize % BUCKETS].push(scheduled);
            self.ring_count += 1;
        } else {
            self.later.push(Reverse(scheduled));
        }
    }

    /// Takes the next event.
    pub(super) fn pop(&mut self) -> Option<Scheduled> {
        while self.now.is_empty() && self.sorted.is_empty() {
            self.advance()?;
        }
        match (self.sorted.last(), self.now.peek()) {
            (Some(next), Some(Reverse(newer))) if newer < next => {}
            (Some(_), _) => return self.sorted.pop(),
            (None, _) => {}
        }
        self.now.pop().map(|Reverse(next)| next)
    }

    /// Goes on to the next bucket, or to the first that is not empty if the ring is.
    fn advance(&mut self) -> Option<()> {
        self.current += 1;
        if self.ring_count == 0 {
            let Reverse(first) = self.later.peek()?;
            self.current = bucket_of(first.at);
        }
        let horizon = self.current + BUCKETS as u64;
        while let Some(Reverse(first)) = self.later.peek()
            && bucket_of(first.at) < horizon
        {
            let Reverse(scheduled) = self.later.pop().expect("it was just seen");
            self.place(scheduled);
        }
        let bucket = &mut self.ring[self.current as usize % BUCKETS];
        self.ring_count -= bucket.len();
        self.sorted.append(bucket);
        let next_last = |s: &Scheduled| Reverse((s.at, s.sequence));
        self.sorted.sort_unstable_by_key(next_last);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::Rng;

    #[test]
    fn gives_everything_back_by_time_and_then_by_order() {
        let (mut queue, mut rng, mut now) = (Queue::new(), Rng::new(1), Time::ZERO);
        let (mut pushed, mut popped) = (0, Vec::new());
        for _ in 0..20_000 {
            if rng.below(2) == 0 {
                let spans = [1, 1_000, 100_000, 100_000_000, 10_000_000_000];
                let span = spans[rng.below(spans.len())];
                let at = now + Duration::from_nanos(rng.below(span) as u64);
                queue.push(at, Event::Start { node: pushed });
                pushed += 1;
            } else if let Some(next) = queue.pop() {
                assert!(next.at >= now);
                now = next.at;
                popped.push((next.at, next.sequence));
            }
        }
        popped.extend(std::iter::from_fn(|| queue.pop()).map(|next| (next.at, next.sequence)));
        assert_eq!(popped.len(), pushed);
        assert!(popped.is_sorted(), "in order, even at one time");
    }
}
