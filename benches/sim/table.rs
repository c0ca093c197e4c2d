//! The table: a line for each scenario with the worst figures of its seeds, then what its gate asks for.

use crate::gate::{Check, Gate, Results, Run, Variant};
use crate::runner::replay;

/// Heads the columns.
pub(crate) fn print_head() {
    println!("Of all seeds the worst; times are shares of the bound that no schedule can beat.");
    println!(
        "{:<16} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>9} {:>7}",
        "scenario", "seeds", "last", "mean", "util", "copies", "dup %", "jain", "events", "s each"
    );
}

/// The figures of one scenario.
pub(crate) fn print_runs(name: &str, runs: &[Run]) {
    let most = |figure: fn(&Run) -> f64| runs.iter().map(figure).fold(f64::MIN, f64::max);
    let least = |figure: fn(&Run) -> f64| runs.iter().map(figure).fold(f64::MAX, f64::min);
    println!(
        "{name:<16} {:>5} {:>6.3} {:>6.3} {:>6.3} {:>6.3} {:>6.2} {:>7.4} {:>9} {:>7.1}",
        runs.len(),
        most(|run| run.figures.last),
        most(|run| run.figures.mean),
        least(|run| run.figures.utilisation),
        most(|run| run.figures.seed_copies),
        most(|run| run.figures.duplicates) * 100.0,
        least(|run| run.figures.jain),
        runs.iter()
            .map(|run| run.outcome.event_count)
            .max()
            .unwrap_or(0),
        most(|run| run.seconds),
    );
}

/// What a gate asks for, and whether it gets it.
pub(crate) fn print_checks(gate: &Gate, checks: &[Check]) {
    for check in checks {
        let verdict = if check.passes() { "pass" } else { "FAIL" };
        let (name, what, value, limit) = (gate.name, &check.what, check.value, check.limit_text());
        println!("  {verdict} {name:<8} {what:<42} {value:>8.3}  {limit}");
    }
}

/// How to run the worst seeds of a gate again.
pub(crate) fn print_replay(gate: &Gate, variants: &[Variant], results: &Results) {
    for (variant, runs) in variants.iter().zip(&results.0) {
        let worst = runs
            .iter()
            .max_by(|a, b| a.figures.last.total_cmp(&b.figures.last))
            .expect("each variant was run");
        let command = replay(&gate.name_of(variant), worst.scenario.seed);
        println!("       its slowest again: {command}");
    }
}

/// Runs broke off: an assertion of the simulator or of the swarm failed.
pub(crate) fn print_broken(gate: &Gate, replays: &[String]) {
    for replay in replays {
        println!("  FAIL {:<8} broke off; again: {replay}", gate.name);
    }
}

/// All gates and their scenarios.
pub(crate) fn print_list(gates: &[Gate]) {
    for gate in gates {
        println!("{}: {}", gate.name, gate.says);
        for variant in &gate.variants {
            let (getters, pieces) = (variant.getters, variant.pieces);
            println!(
                "  {:<20} {getters} getters, {pieces} pieces",
                gate.name_of(variant)
            );
        }
    }
}
