//! Everybody's uplink limited, as on a network whose uplinks are slower than its machines: how near the last completion
//! comes to the physical bound.
//!
//! Rivals are measured in turn with us where there are few getters, with what they take to start (aria2 about 2 s) in their
//! time.

use crate::content::Place;
use crate::place::MIB;
use crate::rivals::Rival;
use crate::swarm::{self, Found, Plan};
use crate::torrents::{Cast, Client, carry};
use crate::{BENCH, RUNS, number, numbers, rows};

/// Each uplink, in bytes per second: 20 MiB/s.
const UP: u64 = 20 * MIB;
const SIZE_MIB: u64 = 256;
/// What every run is to stay under, as a multiple of the bound.
const RATIO_MAX: f64 = 1.15;
/// With how many getters we are measured, and up to how many rivals are: as many as they can be had for on one machine.
const GETTERS: [usize; 2] = [8, 24];
const RIVALS_GETTERS_MAX: usize = 8;

/// Measures every swarm and prints each run.
pub(crate) fn measure(rivals: &[Rival]) {
    let runs = number("SHOAL_BENCH_RUNS").unwrap_or(RUNS);
    let mib = number("SHOAL_BENCH_SWARM_MIB").map_or(SIZE_MIB, |mib| mib as u64);
    for getters in numbers("SHOAL_BENCH_GETTERS").unwrap_or_else(|| GETTERS.to_vec()) {
        let place = Place::new(mib * MIB * (getters as u64 + 2));
        let piece_len = place.fill(mib * MIB);
        let plan = Plan {
            sharer_up: UP,
            getter_ups: vec![UP; getters],
            ..Plan::default()
        };
        let bound = plan.bound(mib * MIB);
        println!(
            "1 → {getters}, {mib} MiB, every uplink {} MiB/s, bound {bound:.1} s",
            UP / MIB
        );
        println!("{}", Found::HEADING);
        let beside = if getters <= RIVALS_GETTERS_MAX {
            rivals
        } else {
            &[]
        };
        let mut found = vec![(rows::OURS.to_owned(), Vec::new())];
        found.extend(beside.iter().map(|rival| (rival.to_string(), Vec::new())));
        for _ in 0..runs {
            let ours = swarm::run(&place, &plan);
            println!("{}", ours.line(rows::OURS, bound));
            found[0].1.push(ours.last_and_mean(0..getters).0 / bound);
            for (rival, (name, ratios)) in beside.iter().zip(&mut found[1..]) {
                let ratio = run_rival(&place, *rival, getters, piece_len) / bound;
                println!("{name:18} {ratio:10.3}");
                ratios.push(ratio);
            }
        }
        let case = format!("1 → {getters}, capped");
        for (name, ratios) in &found {
            rows::put(BENCH, &case, name, "of the bound", ratios);
        }
        let worst = found[0].1.iter().copied().fold(0.0, f64::max);
        rows::put(
            BENCH,
            &case,
            rows::OURS,
            "of the bound, the worst run",
            &[worst],
        );
        let verdict = if worst <= RATIO_MAX { "met" } else { "missed" };
        println!("shoal: worst of {runs} runs {worst:.3}; {RATIO_MAX} is {verdict}\n");
    }
}

/// Seconds until a rival's last getter was complete.
fn run_rival(place: &Place, rival: Rival, getters: usize, piece_len: u64) -> f64 {
    let cast = Cast {
        seeder: Client::Rival(rival),
        getter: Client::Rival(rival),
        getters,
    };
    let secs = carry(place, cast, piece_len, UP).secs;
    secs.into_iter().fold(0.0, f64::max)
}
