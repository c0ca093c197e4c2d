//! The gate S11: peers that hold everything and flip bytes in some of the blocks that they send.

use shoal::base::Rng;
use shoal::sim::{Outcome, Scenario};

use super::{run, seeds};

/// What was fetched beyond what was lacked, as a part of that.
fn overhead(outcome: &Outcome) -> f64 {
    let lives = || outcome.lives.iter().flatten();
    let lacked: u64 = lives().map(|life| life.lacked_bytes).sum();
    let down: u64 = lives().map(|life| life.down_bytes).sum();
    (down - lacked) as f64 / lacked as f64
}

/// Runs a scenario in which somebody poisons: all finish with what is right, nobody honest is banned, and of each poisoner
/// no node takes more than three pieces that fail.
fn run_poisoned(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario);
    let failed = outcome.failed_by_one_max;
    assert!(failed <= 3, "{failed} pieces failed for one poisoner");
    outcome
}

#[test]
fn every_poisoner_is_banned_within_three_of_its_pieces_and_costs_little() {
    for seed in seeds(5) {
        // Two to five in a hundred.
        let poisoner_count = 1 + seed as usize % 2;
        let scenario = Scenario {
            seed,
            total_len: 48 << 20,
            getter_count: 40,
            poisoner_count,
            spoil_one_in: 16,
            check_every: 5_000,
            ..Scenario::default()
        };
        let outcome = run_poisoned(&scenario);
        let (overhead, failures) = (overhead(&outcome), outcome.hash_fail_count);
        println!("overhead {:.2} %, {failures} failures", overhead * 100.0);
        assert!(failures > 0, "nobody was poisoned");
        assert!(overhead <= 0.05, "{overhead}");
    }
}

#[test]
fn of_several_senders_only_who_lied_is_banned() {
    let mut failures = 0;
    for seed in seeds(10) {
        let scenario = Scenario {
            seed,
            total_len: 6 << 20,
            piece_length: 1 << 20,
            seed_count: 3,
            poisoner_count: 2,
            spoil_one_in: 16,
            getter_count: 6,
            // All that serve a node share its few pieces, as they come in runs.
            whole_piece_bytes_max: 0,
            check_every: 20,
            ..Scenario::default()
        };
        failures += run_poisoned(&scenario).hash_fail_count;
    }
    assert!(failures > 0, "nobody was poisoned");
}

#[test]
fn in_small_swarms_of_any_shape_only_poisoners_are_banned() {
    for seed in seeds(40) {
        let mut rng = Rng::new(seed);
        let mut between = |least: usize, most: usize| least + rng.below(most - least + 1);
        let scenario = Scenario {
            piece_length: 1 << between(15, 19),
            total_len: between(1 << 20, 12 << 20) as u64,
            poisoner_count: between(1, 3),
            spoil_one_in: between(2, 40),
            getter_count: between(2, 12),
            slow_count: between(0, 1),
            reset_count: between(0, 10),
            crash_count: between(0, 2),
            up_bytes_per_second: 1 << between(20, 24),
            whole_piece_bytes_max: if between(0, 3) == 0 { 0 } else { 16 << 20 },
            check_every: 20,
            ..Scenario::default()
        };
        let scenario = Scenario { seed, ..scenario };
        // A crash makes a node forget whom it banned.
        if scenario.crash_count == 0 {
            run_poisoned(&scenario);
        } else {
            run(&scenario);
        }
    }
}
