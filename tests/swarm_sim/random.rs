//! Small scenarios in which anything may happen.

use std::time::Duration;

use shoal::base::Rng;
use shoal::sim::Scenario;
use shoal::swarm::{Order, PeerOrder, Reason};

use crate::{SECOND, last, run, seeds};

/// A small scenario in which anything may happen.
fn random_scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let mut one_in = |n: usize| rng.below(n) == 0;
    let mut scenario = Scenario {
        seed,
        both_dial: one_in(2),
        leave_when_done: one_in(4),
        plain_one_in: if one_in(3) { 3 } else { 0 },
        order: if one_in(3) {
            Order::Random
        } else {
            Order::RarestFirst
        },
        peer_order: if one_in(3) {
            PeerOrder::RoundRobin
        } else {
            PeerOrder::Random
        },
        poisoner_count: usize::from(one_in(3)),
        ..Scenario::default()
    };
    let mut often = |n: usize, max: usize| if rng.below(n) == 0 { rng.below(max) } else { 0 };
    scenario.reset_count = often(2, 30);
    scenario.silence_count = often(3, 4);
    scenario.crash_count = often(3, 4);
    scenario.slow_count = often(3, 2);
    scenario.linger = if scenario.silence_count > 0 {
        200 * SECOND
    } else {
        20 * SECOND
    };
    scenario.seed_count = 1 + rng.below(2);
    scenario.getter_count = 2 + rng.below(8);
    scenario.piece_length = 1 << (16 + rng.below(4));
    scenario.total_len = 1 + rng.below(4 << 20) as u64;
    scenario.pool_bytes = (4 << rng.below(5)) * scenario.piece_length as usize;
    scenario.upload_slots_max = 1 + rng.below(8);
    scenario.up_bytes_per_second = 1 << (18 + rng.below(7));
    scenario.join_span = Duration::from_millis(rng.below(3_000) as u64);
    scenario.latency = Duration::from_micros(50 + rng.below(20_000) as u64);
    scenario.latency_jitter = Duration::from_micros(rng.below(10_000) as u64);
    scenario.check_every = 1 + rng.below(50) as u64;
    if rng.below(4) == 0 {
        scenario.whole_piece_bytes_max = 0;
    }
    scenario
}

#[test]
fn whatever_happens_everybody_finishes() {
    for seed in seeds(1_000) {
        let scenario = random_scenario(seed);
        let outcome = run(&scenario);
        let blamed = |reason: &Reason| !matches!(reason, Reason::CorruptPiece | Reason::Silent);
        let faults = outcome.faults.iter().filter(|(_, reason)| blamed(reason));
        assert_eq!(faults.count(), 0, "{:?}", outcome.faults);
        let spans = scenario.join_span + scenario.fault_span + 20 * SECOND;
        let silence = if scenario.silence_count > 0 {
            200 * SECOND
        } else {
            Duration::ZERO
        };
        let in_time = 10.0 * scenario.bound().as_secs_f64() + (spans + silence).as_secs_f64();
        assert!(
            last(&outcome) < in_time,
            "{} of {in_time} s",
            last(&outcome)
        );
    }
}
