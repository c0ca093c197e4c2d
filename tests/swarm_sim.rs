//! Whole swarms in the simulator.

use std::time::Duration;

use shoal::sim::{Scenario, Simulation};

#[test]
fn explore() {
    let scenario = Scenario {
        getter_count: 30,
        total_len: 64 << 20,
        piece_length: 1 << 18,
        check_every: 0,
        linger: Duration::from_secs(100),
        seed: std::env::var("SHOAL_SEED").map_or(1, |s| s.parse().unwrap()),
        ..Scenario::default()
    };
    let start = std::time::Instant::now();
    let outcome = Simulation::run(&scenario);
    println!(
        "{:?} events {} dials {} dup {} stalls {} idle {} faults {:?} bound {:?} last {:?} wasted {:.4} up0 {:.2}",
        start.elapsed(),
        outcome.event_count,
        outcome.dial_count,
        outcome.duplicate_count,
        outcome.stall_count,
        outcome.idle_timer_count,
        outcome.faults,
        scenario.bound(),
        outcome.last_completed_at().map(|t| t.as_secs_f64()),
        outcome.wasted_bytes() as f64 / outcome.down_bytes() as f64,
        outcome.up_bytes[0] as f64 / scenario.total_len as f64
    );
    println!("{:?}", outcome.first_request_after);
    println!(
        "{:?}",
        outcome
            .completed_at
            .iter()
            .map(|t| t.unwrap().as_secs_f64())
            .collect::<Vec<_>>()
    );
}
