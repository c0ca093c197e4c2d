//! Whole swarms under virtual time: figures of every scenario against the bound, and completion curves.
//!
//! `cargo bench --bench sim` runs the gates' scenarios and draws into `target/sim`; `cargo bench --bench sim -- NAME...`
//! only those whose name begins so. `SHOAL_SEEDS=n` runs n seeds of each. Under `cargo test` one small swarm is run.

use std::time::Instant;

use shoal::sim::{Figures, Scenario, Simulation};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let seeds: u64 = std::env::var("SHOAL_SEEDS").map_or(1, |n| n.parse().expect("a number"));
    println!(
        "{:<24} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>9} {:>7}",
        "scenario", "last", "mean", "util", "seed", "dup", "jain", "events", "s"
    );
    for n in [31, 127, 1000] {
        let name = format!("s1-{n}");
        if !names.is_empty() && !names.iter().any(|w| **w == name) {
            continue;
        }
        for seed in 1..=seeds {
            let scenario = Scenario::cascade(n, seed);
            let start = Instant::now();
            let outcome = Simulation::run(&scenario);
            let f = Figures::of(&scenario, &outcome);
            if std::env::var("DBG").is_ok() {
                let mb = |v: u64| v as f64 / scenario.total_len as f64;
                println!("sent {:.3} unsent {:.3} cut {:.3} down {:.3} wasted {:.3}", mb(outcome.up_bytes.iter().sum()), mb(outcome.unsent_bytes.iter().sum()), mb(outcome.cut_bytes), mb(outcome.down_bytes()), mb(outcome.wasted_bytes()));
            }
            println!(
                "{:<24} {:>6.3} {:>6.3} {:>6.3} {:>6.3} {:>6.4} {:>6.4} {:>9} {:>7.2} stalls {} {:?}",
                format!("{name} seed {seed}"),
                f.last, f.mean, f.utilisation, f.seed_copies, f.duplicates, f.jain,
                outcome.event_count, start.elapsed().as_secs_f64(), outcome.stall_count, outcome.faults
            );
        }
    }
}
