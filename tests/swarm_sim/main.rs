//! Whole swarms in the simulator: everybody finishes, whatever goes wrong, and nobody honest pays for it.
//!
//! A failure prints the scenario and the command that replays it. `SHOAL_SEED=n` runs only seed `n` of the tests that go
//! through many, and `SHOAL_TRACE=1` prints an account of each run: when, who, what, why.

mod features;
mod knowledge;
mod poison;
mod random;

use std::time::Duration;

use shoal::base::Rng;
use shoal::sim::{Outcome, Scenario, Simulation};
use shoal::swarm::{Order, PeerOrder};
use shoal::wire::peer::BLOCK_LEN;

const SECOND: Duration = Duration::from_secs(1);
const PEER_ORDERS: [PeerOrder; 6] = [
    PeerOrder::Auto,
    PeerOrder::Random,
    PeerOrder::RoundRobin,
    PeerOrder::Bandwidth,
    PeerOrder::Availability,
    PeerOrder::Proximity,
];

/// Runs a scenario and asserts what is asked of every run: all finish, and no honest node is banned or accused.
fn run(scenario: &Scenario) -> Outcome {
    println!("{scenario:?}");
    let thread = std::thread::current();
    println!(
        "again: SHOAL_SEED={} SHOAL_TRACE=1 cargo test --test swarm_sim -- --exact --nocapture {}",
        scenario.seed,
        thread.name().unwrap_or_default(),
    );
    let outcome = match std::env::var("SHOAL_TRACE") {
        Ok(_) => Simulation::run_traced(scenario, |line| println!("{line}")),
        Err(_) => Simulation::run(scenario),
    };
    assert_eq!(outcome.waiting(), [0; 0], "these never had everything");
    for node in 0..scenario.node_count() {
        if !scenario.poisoners().contains(&node) {
            assert_eq!(outcome.ban_counts[node], 0, "node {node} is honest");
            assert_eq!(outcome.accusation_counts[node], 0, "node {node} is honest");
        }
    }
    outcome
}

/// The same for a scenario in which nothing goes wrong: nothing is blamed on anybody, and little is fetched in vain.
fn run_undisturbed(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario);
    assert_eq!(outcome.faults, []);
    assert_eq!((outcome.hash_fail_count, outcome.stall_count), (0, 0));
    let (wasted, down) = (outcome.wasted_bytes(), outcome.down_bytes());
    let end_game = 4 * scenario.getter_count as u64 * u64::from(BLOCK_LEN);
    let wasted_max = (down / 50).max(end_game);
    assert!(
        wasted <= wasted_max,
        "{wasted} bytes of {down} came in vain"
    );
    outcome
}

fn last(outcome: &Outcome) -> f64 {
    let last = outcome.last_completed_at();
    last.expect("all had everything").as_secs_f64()
}

/// The seeds of a test that goes through many: `count` of them, or the one that the environment names.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SHOAL_SEED") {
        Ok(seed) => vec![seed.parse().expect("SHOAL_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn thirty_peers_finish_soon_and_hardly_anything_comes_twice() {
    for seed in seeds(3) {
        let scenario = Scenario {
            seed,
            total_len: 64 << 20,
            getter_count: 30,
            check_every: 2_000,
            ..Scenario::default()
        };
        let outcome = run_undisturbed(&scenario);
        let (last, bound) = (last(&outcome), scenario.bound().as_secs_f64());
        println!("{last:.2} s, bound {bound:.2} s");
        assert!(last < 1.12 * bound, "{last:.2} s, bound {bound:.2} s");
    }
}

#[test]
fn equal_seeds_give_equal_runs_and_other_seeds_other_ones() {
    let of_seed = |seed| {
        run(&Scenario {
            seed,
            poisoner_count: 1,
            reset_count: 5,
            crash_count: 1,
            check_every: 0,
            ..Scenario::default()
        })
    };
    let first = of_seed(7);
    assert_eq!(of_seed(7), first);
    assert_ne!(of_seed(8).hash, first.hash);
}

#[test]
fn conns_that_are_cut_cost_little() {
    for seed in seeds(10) {
        let scenario = Scenario {
            seed,
            getter_count: 10,
            reset_count: 60,
            check_every: 20,
            linger: 30 * SECOND,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        assert_eq!(outcome.faults, []);
        assert!(last(&outcome) < 4.0 * scenario.bound().as_secs_f64());
    }
}

#[test]
fn a_poisoner_is_the_only_one_banned_and_everybody_finishes() {
    for seed in seeds(10) {
        let scenario = Scenario {
            seed,
            total_len: 32 << 20,
            getter_count: 10,
            poisoner_count: 1,
            check_every: 100,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        assert_eq!(outcome.ban_counts[1], 10, "every getter bans the poisoner");
        assert!(outcome.hash_fail_count >= 10);
        assert!(last(&outcome) < 4.0 * scenario.bound().as_secs_f64());
    }
}

#[test]
fn links_that_fall_silent_do_not_hold_up_the_swarm() {
    for seed in seeds(10) {
        let scenario = Scenario {
            seed,
            getter_count: 10,
            silence_count: 15,
            check_every: 20,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        assert!(last(&outcome) < 30.0, "{} s", last(&outcome));
    }
}

#[test]
fn a_crashed_getter_comes_back_and_fetches_only_what_it_lacks() {
    let mut with_pieces = 0;
    for seed in seeds(10) {
        let scenario = Scenario {
            seed,
            getter_count: 6,
            crash_count: 3,
            check_every: 20,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        for lives in &outcome.lives {
            for life in &lives[1..] {
                with_pieces += usize::from(life.lacked_bytes < scenario.total_len);
                let useful = life.down_bytes - life.wasted_bytes;
                assert!(useful <= life.lacked_bytes, "{life:?}");
            }
        }
    }
    assert!(with_pieces > 5, "{with_pieces} came back with pieces");
}

#[test]
fn simultaneous_dials_leave_one_link_on_both_sides() {
    let mut duplicates = 0;
    for seed in seeds(1_000) {
        let scenario = Scenario {
            seed,
            total_len: 3 << 16,
            piece_length: 1 << 16,
            getter_count: 2,
            join_span: Duration::from_millis(1),
            latency_jitter: Duration::from_millis(1),
            both_dial: true,
            linger: 3 * SECOND,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        duplicates += outcome.duplicate_count;
        assert_eq!(outcome.dial_count, 6, "each dials the two others, once");
    }
    if std::env::var("SHOAL_SEED").is_err() {
        assert!(duplicates > 1_000, "only {duplicates} had to be resolved");
    }
}

#[test]
fn the_first_request_leaves_two_round_trips_after_the_trackers_answer() {
    let scenario = Scenario {
        latency: Duration::from_millis(20),
        latency_jitter: Duration::ZERO,
        join_span: SECOND,
        ..Scenario::default()
    };
    let outcome = run(&scenario);
    for after in &outcome.first_request_after[scenario.first_getter()..] {
        assert_eq!(*after, Some(4 * scenario.latency));
    }
}

#[test]
fn a_swarm_that_has_everything_rests() {
    let scenario = Scenario {
        getter_count: 10,
        linger: 600 * SECOND,
        ..Scenario::default()
    };
    let outcome = run_undisturbed(&scenario);
    let per_node = outcome.idle_timer_count as f64 / scenario.node_count() as f64;
    assert!(per_node <= 6.0, "{per_node} timers in five minutes");
}

#[test]
fn those_who_leave_when_they_are_done_hold_up_nobody() {
    for seed in seeds(5) {
        run(&Scenario {
            seed,
            getter_count: 10,
            join_span: 5 * SECOND,
            leave_when_done: true,
            check_every: 10,
            ..Scenario::default()
        });
    }
}

#[test]
fn slow_uplinks_hold_up_nobody_for_long() {
    for seed in seeds(5) {
        let scenario = Scenario {
            seed,
            getter_count: 10,
            slow_count: 2,
            check_every: 10,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        assert!(last(&outcome) < 4.0 * scenario.bound().as_secs_f64());
    }
}

#[test]
fn every_order_of_pieces_and_peers_finishes() {
    for order in [Order::RarestFirst, Order::Random] {
        for peer_order in PEER_ORDERS {
            run_undisturbed(&Scenario {
                getter_count: 8,
                rack_count: 2,
                oversubscription: 1,
                order,
                peer_order,
                check_every: 50,
                ..Scenario::default()
            });
        }
    }
}

#[test]
fn contents_of_every_shape_arrive() {
    let shapes = [
        (0, 1 << 16),
        (1, 1 << 16),
        (1 << 16, 1 << 16),
        ((1 << 16) - 1, 1 << 16),
        ((3 << 18) + 1, 1 << 18),
        ((3 << 18) + (1 << 14) + 1, 1 << 18),
        (5 << 24, 1 << 24),
    ];
    for (total_len, piece_length) in shapes {
        run_undisturbed(&Scenario {
            total_len,
            piece_length,
            check_every: 10,
            linger: 5 * SECOND,
            ..Scenario::default()
        });
    }
}

#[test]
fn a_piece_larger_than_its_share_of_the_pool_arrives_alone() {
    for pool_bytes in [1 << 20, 4 << 20, 5 << 20] {
        let scenario = Scenario {
            total_len: 20 << 20,
            piece_length: 4 << 20,
            getter_count: 3,
            pool_bytes,
            check_every: 10,
            ..Scenario::default()
        };
        run(&scenario);
    }
}

/// Three pieces that no node holds whole, and one that is as large as a held one may be.
fn large_pieces(seed: u64) -> Scenario {
    Scenario {
        seed,
        total_len: 3 * (17 << 20) + (16 << 20),
        piece_length: 17 << 20,
        up_bytes_per_second: 100 << 20,
        check_every: 500,
        ..Scenario::default()
    }
}

#[test]
fn pieces_that_nobody_can_hold_arrive_in_runs() {
    for seed in seeds(3) {
        for pool_bytes in [18 << 20, 64 << 20] {
            let scenario = Scenario {
                pool_bytes,
                ..large_pieces(seed)
            };
            let outcome = run_undisturbed(&scenario);
            assert!(outcome.pool_bytes_peak <= pool_bytes);
            assert!(last(&outcome) < 4.0 * scenario.bound().as_secs_f64());
        }
    }
}

#[test]
fn a_few_runs_of_memory_are_enough_for_pieces_of_any_size() {
    for seed in seeds(3) {
        let scenario = Scenario {
            total_len: 2 * (100 << 20) + 1,
            piece_length: 100 << 20,
            getter_count: 2,
            pool_bytes: 1 << 20,
            check_every: 5_000,
            ..large_pieces(seed)
        };
        let outcome = run(&scenario);
        assert!(outcome.pool_bytes_peak <= 1 << 20);
    }
}

#[test]
fn whatever_happens_large_pieces_arrive_and_nobody_honest_is_banned() {
    for seed in seeds(20) {
        let mut rng = Rng::new(seed);
        let mut up_to = |max: usize| rng.below(max + 1);
        let scenario = Scenario {
            total_len: (1 + up_to(1_500_000)) as u64,
            piece_length: 500_000,
            whole_piece_bytes_max: 400_000,
            pool_bytes: (1 + up_to(8)) << 18,
            poisoner_count: up_to(1),
            reset_count: up_to(20),
            silence_count: up_to(1),
            crash_count: up_to(2),
            slow_count: up_to(1),
            getter_count: 2 + up_to(4),
            up_bytes_per_second: 1 << 20,
            check_every: 20,
            linger: 200 * SECOND,
            ..Scenario::default()
        };
        let scenario = Scenario { seed, ..scenario };
        let outcome = run(&scenario);
        assert!(outcome.hash_fail_count == 0 || scenario.poisoner_count > 0);
    }
}

#[test]
fn a_poisoner_of_large_pieces_is_the_only_one_banned() {
    for seed in seeds(3) {
        let scenario = Scenario {
            poisoner_count: 1,
            spoil_one_in: 200,
            ..large_pieces(seed)
        };
        let outcome = run(&scenario);
        // Of four pieces, one getter or another may have taken none from it.
        assert!(outcome.ban_counts[1] >= 2, "it is banned");
    }
}
