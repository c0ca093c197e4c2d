//! Whole swarms under virtual time, judged: the gates S1 to S14, their figures and their completion curves.
//!
//! `make sim` runs them all, draws into `target/sim` and fails if a gate does. Names on the command line choose:
//! `cargo bench --bench sim -- s1-31 s7`, and `list` names them. The environment changes what is run:
//!
//! - `SHOAL_SEEDS=n` runs n seeds of each scenario instead of five, and `SHOAL_FIRST_SEED=n` begins with seed n;
//! - `SHOAL_GETTERS=n` and `SHOAL_PIECES=n` change the size of each scenario, as far as it has one;
//! - `SHOAL_JOBS=n` runs n at a time instead of as many as there are processors;
//! - `SHOAL_TRACE=1` writes an account of each run beside the curves: when, who, what, why.
//!
//! Under `cargo test` one small swarm is run, and the hash of its outcome printed: whoever makes the code faster sees
//! whether it still does the same.

mod curves;
mod fair;
mod fleet;
mod gate;
mod runner;
mod table;

use std::process::ExitCode;

use shoal::sim::{Figures, Scenario, Simulation};

use gate::{Gate, Results, checks_of_all};
use runner::Settings;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        small();
        return ExitCode::SUCCESS;
    }
    let names: Vec<String> = args
        .into_iter()
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let gates: Vec<Gate> = fleet::gates().into_iter().chain(fair::gates()).collect();
    if names == ["list"] {
        table::print_list(&gates);
        return ExitCode::SUCCESS;
    }
    let settings = Settings::from_environment();
    let chosen = match choose(&gates, &names) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            eprintln!("there is no gate {unknown}; `list` names them");
            return ExitCode::FAILURE;
        }
    };
    table::print_head();
    let mut failed = Vec::new();
    runner::run(&chosen, settings, |gate, variants, runs| {
        let name = gate.name;
        let complete = variants.len() == gate.variants.len();
        let results = match runs {
            Ok(runs) => Results(runs),
            Err(replays) => {
                table::print_broken(gate, &replays);
                return failed.push(name);
            }
        };
        let mut checks = checks_of_all(&results);
        if complete && checks.is_empty() {
            checks = (gate.judge)(&results);
        }
        for (variant, runs) in variants.iter().zip(&results.0) {
            let name = gate.name_of(variant);
            table::print_runs(&name, runs);
            curves::draw(&settings.folder().join(format!("{name}.svg")), &name, runs);
        }
        table::print_checks(gate, &checks);
        if checks.iter().any(|check| !check.passes()) {
            table::print_replay(gate, variants, &results);
            failed.push(name);
        }
    });
    println!("completion curves: {}", settings.folder().display());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(" "));
    ExitCode::FAILURE
}

/// The gates that `names` name, each with those of its variants that are to be run; all if there are no names.
fn choose<'a>(gates: &'a [Gate], names: &[String]) -> Result<Vec<runner::Chosen<'a>>, String> {
    let fits =
        |name: &String, called: &str| called == name || called.starts_with(&format!("{name}-"));
    let is_known = |name: &&String| {
        gates.iter().any(|gate| {
            fits(name, gate.name) || gate.variants.iter().any(|v| gate.name_of(v) == **name)
        })
    };
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(unknown.clone());
    }
    let mut chosen = Vec::new();
    for gate in gates {
        let whole = names.is_empty() || names.iter().any(|name| fits(name, gate.name));
        let named = |variant: &gate::Variant| whole || names.contains(&gate.name_of(variant));
        let variants: Vec<gate::Variant> = gate.variants.iter().copied().filter(named).collect();
        if !variants.is_empty() {
            chosen.push(runner::Chosen { gate, variants });
        }
    }
    Ok(chosen)
}

/// One small swarm: its figures are printed without a time, so that runs can be compared.
fn small() {
    let scenario = Scenario {
        total_len: 32 << 20,
        ..Scenario::cascade(31, 1)
    };
    let outcome = Simulation::run(&scenario);
    let last = Figures::of(&scenario, &outcome).last;
    println!(
        "sim: 31 getters, last {last:.3}, outcome {:016x}",
        outcome.hash
    );
}
