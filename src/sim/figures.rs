//! The figures by which a run is judged, against the bound that no schedule can beat.

use std::time::Duration;

use super::{Outcome, Scenario};

/// One run in numbers. Times are shares of the bound (see [`Scenario::bound`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// When the last getter had everything.
    pub last: f64,
    /// When the getters had everything, on average.
    pub mean: f64,
    /// The part of all uplinks that carried payload, from the start to the last completion.
    pub utilisation: f64,
    /// Copies of the content that the seeds sent.
    pub seed_copies: f64,
    /// The part of the received payload that came in vain.
    pub duplicates: f64,
    /// Jain's index of the completion times: 1 is equal.
    pub jain: f64,
}

impl Figures {
    /// The figures of `outcome`, in which every getter must have got everything.
    pub fn of(scenario: &Scenario, outcome: &Outcome) -> Self {
        let times = outcome.times(scenario.first_getter()..scenario.node_count());
        let count = times.len() as f64;
        let (sum, squares) = (
            times.iter().sum::<f64>(),
            times.iter().map(|t| t * t).sum::<f64>(),
        );
        let last = times.iter().copied().fold(0.0, f64::max);
        let bound = scenario.bound().as_secs_f64();
        let sent_by = |nodes: std::ops::Range<usize>| -> u64 {
            let unsent: u64 = outcome.unsent_bytes[nodes.clone()].iter().sum();
            outcome.up_bytes[nodes].iter().sum::<u64>() - unsent
        };
        let sent = sent_by(0..scenario.node_count());
        let by_seeds = sent_by(0..scenario.first_getter());
        let in_vain = outcome.wasted_bytes() + outcome.cut_bytes;
        let down = outcome.down_bytes() + outcome.cut_bytes;
        let could_send = scenario.uplinks_bytes_per_second() * last;
        Self {
            last: last / bound,
            mean: sum / count / bound,
            utilisation: sent as f64 / could_send,
            seed_copies: by_seeds as f64 / scenario.total_len as f64,
            duplicates: in_vain as f64 / down as f64,
            jain: sum * sum / (count * squares),
        }
    }
}

impl Scenario {
    /// What all uplinks together carry, in bytes per second; free riders have none.
    pub fn uplinks_bytes_per_second(&self) -> f64 {
        let nodes = 0..self.node_count() - self.free_rider_count;
        nodes.map(|node| self.uplink_of(node)).sum::<u64>() as f64
    }

    /// No schedule is faster than this (Kumar and Ross 2006): some seed must send a whole copy, every getter must take one
    /// in, and all uplinks together must bring forth as many copies as there are getters. Poisoners do not count.
    pub fn bound(&self) -> Duration {
        let total = self.total_len as f64;
        let sent_once = total / (self.uplink_of(0) * self.seed_count as u64) as f64;
        let poisoned = self.up_bytes_per_second * self.poisoner_count as u64;
        let uplinks = self.uplinks_bytes_per_second() - poisoned as f64;
        let shared = total * self.getter_count as f64 / uplinks;
        let narrowest = [self.down_bytes_per_second, self.rack_bytes_per_second()];
        let narrow = narrowest.into_iter().flatten().min();
        let taken_in = narrow.map_or(0.0, |rate| total / rate as f64);
        Duration::from_secs_f64(shared.max(sent_once).max(taken_in))
    }

    /// The scenario of the first gate, S1: one seed, `getter_count` getters that start together, equal uplinks, 512 pieces
    /// of 1 MiB at 1 Gb/s, a request asking for a piece.
    pub fn cascade(getter_count: usize, seed: u64) -> Self {
        Self {
            seed,
            getter_count,
            total_len: 512 << 20,
            piece_length: 1 << 20,
            in_whole_pieces: true,
            up_bytes_per_second: 125_000_000,
            latency: Duration::from_micros(100),
            latency_jitter: Duration::from_micros(100),
            pool_bytes: 256 << 20,
            join_span: Duration::ZERO,
            links_max: 40,
            check_every: 0,
            ..Self::default()
        }
    }
}
