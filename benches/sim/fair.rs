//! The gates of tit for tat: S5 to S8.

use std::time::Duration;

use shoal::sim::Scenario;
use shoal::swarm::Policy;

use crate::gate::{Check, Gate, Run, Size, Variant};

/// Cohen's slots: three for who gives most, one for anybody.
const SLOTS: usize = 4;
/// How long a copy takes through one uplink.
const COPY_SECONDS: u64 = 1_000;

/// All gates of this file.
pub(crate) fn gates() -> Vec<Gate> {
    vec![wide_area(), starved_seed(), free_riders(), classes()]
}

/// A wide area network: a copy takes a thousand seconds, and whoever gives is given.
fn wide(size: Size) -> Scenario {
    let total_len = u64::from(size.pieces) << 17;
    let up = total_len / COPY_SECONDS;
    Scenario {
        total_len,
        piece_length: 1 << 17,
        in_whole_pieces: false,
        up_bytes_per_second: up,
        seed_up_bytes_per_second: Some(4 * up),
        latency: Duration::from_millis(20),
        latency_jitter: Duration::from_millis(30),
        policy: Policy::Fair,
        upload_slots_max: SLOTS,
        time_max: Duration::from_secs(100 * COPY_SECONDS),
        ..Scenario::cascade(size.getters, size.seed)
    }
}

/// The same through a seed that is no faster than the others.
fn starved(size: Size) -> Scenario {
    Scenario {
        seed_up_bytes_per_second: None,
        ..wide(size)
    }
}

fn wide_area() -> Gate {
    let variant = |name, scenario| Variant {
        name,
        getters: 300,
        pieces: 400,
        scenario,
    };
    Gate {
        name: "s5",
        says: "tit for tat, a seed four times as fast as the others",
        variants: vec![
            variant("", wide as fn(Size) -> Scenario),
            variant("degree-6", |size| Scenario {
                links_max: 6,
                ..wide(size)
            }),
        ],
        judge: |results| {
            let last = |variant| results.mean(variant, |r| r.figures.last);
            vec![
                Check::at_most("last / bound", results.last(0), 1.12),
                Check::at_least(
                    "utilisation",
                    results.least(0, |r| r.figures.utilisation),
                    0.92,
                ),
                Check::at_least("six links / forty", last(1) / last(0), 1.0),
            ]
        },
    }
}

fn starved_seed() -> Gate {
    Gate {
        name: "s6",
        says: "tit for tat, a seed as fast as the others",
        variants: vec![Variant {
            name: "",
            getters: 300,
            pieces: 400,
            scenario: starved,
        }],
        judge: |results| {
            vec![
                Check::at_most("last / bound", results.last(0), 1.25),
                Check::at_most(
                    "seed copies",
                    results.most(0, |r| r.figures.seed_copies),
                    1.2,
                ),
            ]
        },
    }
}

fn mean_time(run: &Run, nodes: std::ops::Range<usize>) -> f64 {
    let times = run.outcome.times(nodes);
    times.iter().sum::<f64>() / times.len() as f64
}

/// How much longer those take that never upload than the others.
fn ratio(run: &Run) -> f64 {
    let contributors = mean_time(run, run.scenario.contributors());
    mean_time(run, run.scenario.free_riders()) / contributors
}

/// How much longer free riders are to take, where that is possible.
const FREE_RIDERS_WAIT: f64 = 2.5;

/// How much longer free riders can take at most, if contributors give them nothing and leave when they have everything,
/// after about the time of a copy through one uplink. Until then the seed, which is as fast as four others, gives each of
/// N getters 4/N of a copy; then the free riders, N/5, have it for themselves. With few getters that is soon.
fn ratio_max(scenario: &Scenario) -> f64 {
    let (getters, seed) = (scenario.getter_count as f64, 4.0);
    let (left, share) = (
        1.0 - seed / getters,
        seed / scenario.free_rider_count as f64,
    );
    1.0 + left / share
}

fn free_riders() -> Gate {
    fn nobody(size: Size) -> Scenario {
        Scenario {
            leave_when_done: true,
            ..wide(size)
        }
    }
    fn one_in_five(size: Size) -> Scenario {
        Scenario {
            free_rider_count: size.getters / 5,
            ..nobody(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 200,
        pieces: 400,
        scenario,
    };
    Gate {
        name: "s7",
        says: "one in five never uploads",
        variants: vec![
            variant("", one_in_five as fn(Size) -> Scenario),
            variant("none", nobody),
            variant("fleet", |size| Scenario {
                policy: Policy::Fleet,
                upload_slots_max: 32,
                ..one_in_five(size)
            }),
            variant("large-view", |size| Scenario {
                large_view: true,
                ..one_in_five(size)
            }),
        ],
        judge: |results| {
            let mean = |run: &Run| mean_time(run, run.scenario.contributors());
            let with = results.most(0, mean) / results.least(1, mean);
            let (least, most) = (results.least(2, ratio), results.most(2, ratio));
            let apart = FREE_RIDERS_WAIT.min(0.8 * ratio_max(results.scenario(0)));
            vec![
                Check::at_most("contributors / without free riders", with, 1.2),
                Check::at_least("free riders / contributors", results.least(0, ratio), apart),
                Check::between("the same in a fleet, least", least, (0.9, 1.1)),
                Check::between("the same in a fleet, most", most, (0.9, 1.1)),
                Check::at_least("the same with a large view", results.least(3, ratio), 1.2),
            ]
        },
    }
}

fn classes() -> Gate {
    fn scenario(size: Size, seed_kilobytes: u64) -> Scenario {
        let third = size.getters / 3;
        Scenario {
            total_len: u64::from(size.pieces) << 18,
            piece_length: 1 << 18,
            up_bytes_per_second: 200_000,
            uplinks: vec![(third, 20_000), (third, 50_000)],
            seed_up_bytes_per_second: Some(seed_kilobytes * 1_000),
            links_max: 80,
            ..wide(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 39,
        pieces: 453,
        scenario,
    };
    Gate {
        name: "s8",
        says: "uplinks of 20, 50 and 200 kB/s",
        variants: vec![
            variant("seed-200", |size| scenario(size, 200)),
            variant("seed-100", |size| scenario(size, 100)),
        ],
        judge: |results| {
            let ratio = |run: &Run| {
                let (first, third) = (run.scenario.first_getter(), run.scenario.getter_count / 3);
                let slow = mean_time(run, first..first + third);
                slow / mean_time(run, first + 2 * third..run.scenario.node_count())
            };
            let utilisation = |variant| results.least(variant, |r| r.figures.utilisation);
            vec![
                Check::at_least("slow / fast, seed 200", results.least(0, ratio), 1.3),
                Check::at_least("utilisation, seed 200", utilisation(0), 0.9),
                Check::at_most("slow / fast, seed 100", results.most(1, ratio), 1.15),
                Check::at_least("utilisation, seed 100", utilisation(1), 0.8),
            ]
        },
    }
}
