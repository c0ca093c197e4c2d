//! How fast the real programs carry a file, and how whole swarms of them fare: tracker, sharer and getters on one machine.
//!
//! Under `cargo bench` it measures, in parts that can be named (`cargo bench --bench transfer -- mixed slow`):
//! - `memory`, `disk`: one getter and four, in turn with the programs of others; 256 MiB and 1 GiB (`SHOAL_BENCH_MIB`, a
//!   list); `growth`: how cost grows up to 64 getters, and up to 131,072 pieces;
//! - `mixed`: libtorrent in the other role, both ways;
//! - `capped`: how near swarms with limited uplinks come to what they could, beside others;
//! - `slow`, `killed`, `resumed`, `lying`, `riders`, `far`, `shaped`: the same where not all is well, together called `rough`.
//!
//! `SHOAL_BENCH_RUNS`, `SHOAL_BENCH_GETTERS` (a list) and `SHOAL_BENCH_SWARM_MIB` change how much that is, and `-- --quick`
//! takes less of it. Under `cargo test` small swarms do their work once, and a hash of what arrived is printed, so that less
//! work cannot pass as faster work. Every copy is compared with the original, outside of the time. Linux only: it reads
//! /proc.

mod capped;
mod content;
#[path = "../../tests/common/free.rs"]
mod free;
mod growth;
mod line;
#[path = "../../tests/interop/net.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod net;
mod pairs;
#[path = "../common/place.rs"]
mod place;
mod programs;
mod rivals;
mod rough;
mod row;
#[path = "../common/rows.rs"]
mod rows;
mod swarm;
mod torrents;
mod usage;

use content::Place;
use pairs::Job;
use place::MIB;
use rivals::Rival;

const BENCH: &str = "transfer";
const RUNS: usize = 5;
/// All parts but the rough ones, which `rough` names.
const PARTS: [&str; 5] = ["memory", "mixed", "disk", "growth", "capped"];
/// Parts that take long: with `--quick` they have to be named.
const LONG: [&str; 6] = ["disk", "growth", "capped", "riders", "far", "shaped"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_given = |flag: &str| args.iter().any(|arg| arg == flag);
    if is_given("--list") {
        return println!("transfer: bench");
    }
    // What is left of the arguments names parts, or, where cargo passes it to every bench, benches.
    let names: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let is_all = names.is_empty() || names.iter().any(|name| BENCH.contains(name));
    if !is_given("--bench") {
        if is_all {
            small();
        }
        return;
    }
    let is_quick = is_given("--quick");
    let is_left_out = |part: &str| is_quick && LONG.contains(&part);
    let wanted = |part: &str| names.contains(&part) || is_all && !is_left_out(part);
    if is_quick && is_all {
        println!("left out, since it is to be quick: {}", LONG.join(", "));
    }
    if PARTS.iter().any(|part| wanted(part)) {
        measure(is_quick, wanted);
    }
    rough::measure(is_quick, |part| wanted(part) || names.contains(&"rough"));
}

/// Everything once.
fn small() {
    let place = Place::new(8 * MIB * 8);
    place.fill(8 * MIB);
    pairs::run(&place, 2);
    println!("transfer: 8 MiB to 2, SHA-256 {}", place.sha256());
    rough::small(&place);
}

fn measure(is_quick: bool, wanted: impl Fn(&str) -> bool) {
    let runs = number("SHOAL_BENCH_RUNS").unwrap_or(RUNS);
    let sizes = numbers("SHOAL_BENCH_MIB").unwrap_or_else(|| vec![256, 1024]);
    let largest = *sizes.iter().max().expect("a size") as u64;
    let job = |mib, getters| Job { mib, getters, runs };
    let rivals = Rival::find();
    let place = Place::new(largest * MIB * 6);
    pairs::explain(&place, runs);
    if wanted("memory") {
        for &mib in &sizes {
            for &getters in if is_quick { &[1][..] } else { &[1, 4] } {
                pairs::compare(&place, job(mib as u64, getters), &rivals, "in memory");
            }
        }
    }
    if wanted("mixed") {
        pairs::mix(&place, job(largest, 1), &rivals);
    }
    if wanted("disk") {
        pairs::compare(&Place::on_disk(), job(largest, 1), &rivals, "on disk");
    }
    if wanted("growth") {
        growth::measure(&place, runs);
    }
    if wanted("capped") {
        capped::measure(&rivals);
    }
}

fn number(variable: &str) -> Option<usize> {
    numbers(variable)?.first().copied()
}

/// The numbers in a list of them.
fn numbers(variable: &str) -> Option<Vec<usize>> {
    let text = std::env::var(variable).ok()?;
    let read = |part: &str| part.parse().expect("a list of numbers");
    Some(text.split(',').map(read).collect())
}
