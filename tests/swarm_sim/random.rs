//! Small scenarios in which anything may happen: whatever a scenario may ask for is drawn by chance.

use std::time::Duration;

use shoal::base::Rng;
use shoal::sim::{Outcome, Scenario};
use shoal::swarm::{Order, PeerOrder, Policy, Reason};

use crate::{SECOND, last, run, seeds};

/// Numbers by chance.
struct Dice(Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0.below(n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Once in `n` times a number below `max`, else 0.
    fn seldom(&mut self, n: usize, max: usize) -> usize {
        if self.one_in(n) { self.below(max) } else { 0 }
    }
}

/// A small scenario in which anything may happen.
fn random_scenario(seed: u64) -> Scenario {
    let mut dice = Dice(Rng::new(seed));
    let mut scenario = Scenario {
        seed,
        seed_count: 1 + dice.below(2),
        getter_count: 2 + dice.below(8),
        poisoner_count: usize::from(dice.one_in(3)),
        both_dial: dice.one_in(2),
        plain_one_in: if dice.one_in(3) { 3 } else { 0 },
        join_span: Duration::from_millis(dice.below(3_000) as u64),
        latency: Duration::from_micros(50 + dice.below(20_000) as u64),
        latency_jitter: Duration::from_micros(dice.below(10_000) as u64),
        check_every: 1 + dice.below(50) as u64,
        piece_length: 1 << (16 + dice.below(4)),
        total_len: 1 + dice.below(4 << 20) as u64,
        ..Scenario::default()
    };
    scenario.pool_bytes = (4 << dice.below(5)) * scenario.piece_length as usize;
    if dice.one_in(4) {
        scenario.whole_piece_bytes_max = 0;
    }
    choose_strategies(&mut scenario, &mut dice);
    choose_paths(&mut scenario, &mut dice);
    choose_faults(&mut scenario, &mut dice);
    scenario
}

fn choose_strategies(scenario: &mut Scenario, dice: &mut Dice) {
    if dice.one_in(3) {
        scenario.order = Order::Random;
    }
    if dice.one_in(3) {
        scenario.peer_order = PeerOrder::RoundRobin;
    }
    if dice.one_in(3) {
        scenario.policy = Policy::Fair;
    }
    scenario.upload_slots_max = 1 + dice.below(8);
    if dice.one_in(2) {
        scenario.turns = Some(1 + dice.below(4));
    }
    scenario.end_game = !dice.one_in(4);
    scenario.seeds_suggest = !dice.one_in(4);
    if dice.one_in(4) {
        scenario.free_rider_count = dice.below(scenario.getter_count);
        scenario.large_view = dice.one_in(2);
    }
}

fn choose_paths(scenario: &mut Scenario, dice: &mut Dice) {
    let up = 1 << (18 + dice.below(7));
    scenario.up_bytes_per_second = up;
    if dice.one_in(4) {
        scenario.seed_up_bytes_per_second = Some(4 * up);
    }
    if dice.one_in(4) {
        scenario.uplinks = vec![(1, up / 2), (2, up * 4)];
    }
    if dice.one_in(4) {
        scenario.down_bytes_per_second = Some(up << dice.below(3));
    }
    if dice.one_in(4) {
        scenario.rack_count = 2 + dice.below(3);
    }
    scenario.slow_count = dice.seldom(3, 2);
    scenario.slow_link_one_in = dice.seldom(4, 8);
    scenario.is_encoded = dice.one_in(4);
}

fn choose_faults(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.leave_when_done = dice.one_in(4);
    scenario.reset_count = dice.seldom(2, 30);
    scenario.silence_count = dice.seldom(3, 4);
    scenario.crash_count = dice.seldom(3, 4);
    scenario.loss_percent_per_minute = dice.seldom(4, 200);
    scenario.linger = if scenario.silence_count > 0 {
        200 * SECOND
    } else {
        20 * SECOND
    };
}

/// How long the last getter may take, generously.
fn time_max(scenario: &Scenario) -> Duration {
    // Slots are passed on every ten seconds, and who never uploads may wait for the others to have everything.
    let patience = if scenario.policy == Policy::Fair {
        120 * SECOND
    } else {
        20 * SECOND
    };
    let silence = if scenario.silence_count > 0 {
        200 * SECOND
    } else {
        Duration::ZERO
    };
    let slowness = if scenario.slow_link_one_in > 0 { 10 } else { 1 };
    scenario.bound() * 10 * slowness + scenario.join_span + scenario.fault_span + patience + silence
}

fn judge(scenario: &Scenario, outcome: &Outcome) {
    let blamed = |reason: &Reason| !matches!(reason, Reason::CorruptPiece | Reason::Silent);
    let faults = outcome.faults.iter().filter(|(_, reason)| blamed(reason));
    assert_eq!(faults.count(), 0, "{:?}", outcome.faults);
    let (took, time_max) = (last(outcome), time_max(scenario).as_secs_f64());
    assert!(took < time_max, "{took} of {time_max} s");
    let alone = outcome.alone_time_max;
    assert!(alone < 5 * SECOND, "somebody was alone for {alone:?}");
}

#[test]
fn whatever_happens_everybody_finishes() {
    for seed in seeds(1_000) {
        let scenario = random_scenario(seed);
        judge(&scenario, &run(&scenario));
    }
}
