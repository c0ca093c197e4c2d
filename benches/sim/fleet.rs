//! The gates of fleet service: S1 to S4 and S9 to S14.

use std::time::Duration;

use shoal::sim::{Scenario, Simulation};
use shoal::swarm::{Order, PeerOrder, Watch};

use crate::gate::{Check, Gate, Results, Run, Size, Variant};

const MIB: u64 = 1 << 20;

/// What the last getter may take, as a share of the bound, by pieces: below the first, as much as of that.
const LAST_BY_PIECES: [(u32, f64); 6] = [
    (64, 1.35),
    (128, 1.18),
    (256, 1.12),
    (512, 1.06),
    (1_024, 1.04),
    (2_048, 1.03),
];

/// All gates of this file.
pub(crate) fn gates() -> Vec<Gate> {
    vec![
        cascade("s1-31", 31),
        cascade("s1-127", 127),
        cascade("s1-1000", 1_000),
        pieces(),
        orders(),
        widths(),
        slow_peers(),
        churn(),
        poison(),
        staggered(),
        racks(),
        real_protocol(),
    ]
}

fn whole_pieces(size: Size) -> Scenario {
    Scenario {
        total_len: u64::from(size.pieces) * MIB,
        ..Scenario::cascade(size.getters, size.seed)
    }
}

/// The same in blocks of 16 KiB, 16 to a piece, at 10 MB/s.
fn blocks(size: Size) -> Scenario {
    Scenario {
        total_len: u64::from(size.pieces) << 18,
        piece_length: 1 << 18,
        in_whole_pieces: false,
        up_bytes_per_second: 10_000_000,
        ..Scenario::cascade(size.getters, size.seed)
    }
}

fn last_max(pieces: u32) -> f64 {
    let at_most = LAST_BY_PIECES
        .iter()
        .rev()
        .find(|(count, _)| *count <= pieces);
    at_most.unwrap_or(&LAST_BY_PIECES[0]).1
}

fn cascade(name: &'static str, getters: usize) -> Gate {
    Gate {
        name,
        says: "one seed, getters that start together",
        variants: vec![Variant {
            name: "",
            getters,
            pieces: 512,
            scenario: whole_pieces,
        }],
        judge: |results| {
            let scenario = results.scenario(0);
            let pieces = scenario.geometry().piece_count().min(512);
            let more = if scenario.getter_count > 127 {
                0.02
            } else {
                0.0
            };
            vec![
                Check::at_most("last / bound", results.last(0), last_max(pieces) + more),
                Check::at_least(
                    "utilisation",
                    results.least(0, |r| r.figures.utilisation),
                    0.93,
                ),
                Check::at_most(
                    "seed copies",
                    results.most(0, |r| r.figures.seed_copies),
                    1.10,
                ),
                Check::at_most(
                    "duplicates",
                    results.most(0, |r| r.figures.duplicates),
                    0.01,
                ),
            ]
        },
    }
}

fn pieces() -> Gate {
    let variant = |name, pieces| Variant {
        name,
        getters: 127,
        pieces,
        scenario: whole_pieces,
    };
    Gate {
        name: "s2",
        says: "the more pieces, the nearer to the bound",
        variants: vec![
            variant("64", 64),
            variant("128", 128),
            variant("256", 256),
            variant("512", 512),
            variant("1024", 1_024),
            variant("2048", 2_048),
        ],
        judge: |results| {
            let mut checks = Vec::new();
            for variant in 0..results.0.len() {
                let pieces = results.scenario(variant).geometry().piece_count();
                let what = format!("last / bound, {pieces} pieces");
                checks.push(Check::at_most(
                    what,
                    results.last(variant),
                    last_max(pieces),
                ));
                if variant > 0 {
                    let mean = |variant| results.mean(variant, |r| r.figures.last);
                    let what = format!("the same, beside {} pieces", results.pieces(variant - 1));
                    let ratio = mean(variant) / mean(variant - 1);
                    checks.push(Check::at_most(what, ratio, 1.002));
                }
            }
            checks
        },
    }
}

impl Results {
    fn pieces(&self, variant: usize) -> u32 {
        self.scenario(variant).geometry().piece_count()
    }
}

fn orders() -> Gate {
    let variant = |name, scenario| Variant {
        name,
        getters: 255,
        pieces: 400,
        scenario,
    };
    Gate {
        name: "s3",
        says: "which piece next: what the seed steers, the rarest, any, a window in order, by all counts",
        variants: vec![
            variant("steered", whole_pieces),
            variant("rarest", |size| Scenario {
                seeds_suggest: false,
                ..whole_pieces(size)
            }),
            variant("random", |size| Scenario {
                seeds_suggest: false,
                order: Order::Random,
                ..whole_pieces(size)
            }),
            variant("in-order", |size| Scenario {
                order: Order::Sequential,
                ..whole_pieces(size)
            }),
            // Eight pieces a second: slow enough for the tracker's counts not to be too old.
            variant("slow", |size| Scenario {
                up_bytes_per_second: 8 * MIB,
                watch: Watch::Never,
                ..whole_pieces(size)
            }),
            variant("global", |size| Scenario {
                up_bytes_per_second: 8 * MIB,
                watch: Watch::Always,
                ..whole_pieces(size)
            }),
        ],
        judge: |results| {
            let ratio = |one, other| results.last(one) / results.last(other);
            let mean = |variant| results.mean(variant, |r| r.figures.last);
            vec![
                Check::at_most("global counts / steered alone", mean(5) / mean(4), 1.02),
                Check::at_most("steered / rarest", ratio(0, 1), 1.02),
                // Both are at what the fleet can do: equal but for what seeds differ by.
                Check::at_most("rarest / random", mean(1) / mean(2), 1.01),
                Check::at_most("random / a window in order", ratio(2, 3), 0.5),
            ]
        },
    }
}

fn widths() -> Gate {
    /// In blocks, eight to a piece, everybody a neighbour of everybody.
    fn of_width(size: Size, turns: Option<usize>) -> Scenario {
        Scenario {
            turns,
            total_len: u64::from(size.pieces) << 17,
            piece_length: 1 << 17,
            links_max: size.getters,
            links_wanted: size.getters,
            upload_slots_max: size.getters,
            ..blocks(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 127,
        pieces: 256,
        scenario,
    };
    Gate {
        name: "s4",
        says: "how many pieces are sent at a time",
        variants: vec![
            variant("default", |size| of_width(size, None)),
            variant("1", |size| of_width(size, Some(1))),
            variant("2", |size| of_width(size, Some(2))),
            variant("4", |size| of_width(size, Some(4))),
            variant("8", |size| of_width(size, Some(8))),
            variant("all", |size| of_width(size, Some(1_000))),
        ],
        judge: |results| {
            let all = results.least(5, |r| r.figures.last);
            vec![
                Check::at_most("last / bound, default", results.last(0), 1.12),
                Check::at_least("all at once / two", all / results.last(2), 1.5),
            ]
        },
    }
}

fn slow_peers() -> Gate {
    fn scenario(size: Size) -> Scenario {
        Scenario {
            slow_count: size.getters / 10,
            ..blocks(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 100,
        pieces: 512,
        scenario,
    };
    Gate {
        name: "s9",
        says: "one in ten has a tenth of the uplink",
        variants: vec![
            variant("", scenario as fn(Size) -> Scenario),
            variant("no-end-game", |size| Scenario {
                end_game: false,
                ..scenario(size)
            }),
        ],
        judge: |results| {
            let last = |variant| results.mean(variant, |r| r.figures.last);
            vec![
                Check::at_most("mean / bound", results.most(0, |r| r.figures.mean), 1.1),
                Check::at_most("last / bound", results.last(0), 1.3),
                Check::at_least("last without end game / with", last(1) / last(0), 1.01),
            ]
        },
    }
}

fn churn() -> Gate {
    fn scenario(size: Size) -> Scenario {
        Scenario {
            up_bytes_per_second: 5_000_000,
            leave_when_done: true,
            time_max: Duration::from_secs(3_600),
            ..whole_pieces(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 100,
        pieces: 512,
        scenario,
    };
    Gate {
        name: "s10",
        says: "getters leave when they are done, and are lost",
        variants: vec![
            variant("leave", scenario as fn(Size) -> Scenario),
            variant("lost", |size| Scenario {
                loss_percent_per_minute: 10,
                ..scenario(size)
            }),
        ],
        judge: |results| {
            let alone = |run: &Run| run.outcome.alone_time_max.as_secs_f64();
            let lost = |run: &Run| run.outcome.is_lost.iter().filter(|&&lost| lost).count() as f64;
            vec![
                Check::at_most("seconds alone, all leave", results.most(0, alone), 5.0),
                Check::at_most("seconds alone, some are lost", results.most(1, alone), 5.0),
                Check::at_least("lost", results.least(1, lost), 1.0),
            ]
        },
    }
}

fn poison() -> Gate {
    fn scenario(size: Size, percent: usize) -> Scenario {
        Scenario {
            poisoner_count: (size.getters * percent / 100).max(1),
            spoil_one_in: 16,
            ..blocks(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 100,
        pieces: 256,
        scenario,
    };
    Gate {
        name: "s11",
        says: "some flip bytes in one block of 16",
        variants: vec![
            variant("1", |size| scenario(size, 1)),
            variant("3", |size| scenario(size, 3)),
            variant("5", |size| scenario(size, 5)),
        ],
        judge: |results| {
            let mut checks = Vec::new();
            for (variant, percent) in [1, 3, 5].into_iter().enumerate() {
                let failed = |run: &Run| f64::from(run.outcome.failed_by_one_max);
                let overhead = |run: &Run| {
                    let needed = run.scenario.total_len * run.scenario.getter_count as u64;
                    run.outcome.down_bytes() as f64 / needed as f64 - 1.0
                };
                let what = format!("pieces one node lost to one, {percent} %");
                checks.push(Check::at_most(what, results.most(variant, failed), 3.0));
                let what = format!("overhead, {percent} %");
                checks.push(Check::at_most(what, results.most(variant, overhead), 0.05));
            }
            checks
        },
    }
}

fn staggered() -> Gate {
    Gate {
        name: "s12",
        says: "getters join during twice the time that a copy takes",
        variants: vec![Variant {
            name: "",
            getters: 200,
            pieces: 512,
            scenario: |size| {
                let scenario = whole_pieces(size);
                let copy = scenario.total_len as f64 / scenario.up_bytes_per_second as f64;
                Scenario {
                    join_span: Duration::from_secs_f64(2.0 * copy),
                    ..scenario
                }
            },
        }],
        judge: |results| {
            let time = |run: &Run| {
                let times = run.outcome.times(run.scenario.contributors());
                let copy = run.scenario.total_len as f64 / run.scenario.up_bytes_per_second as f64;
                times.iter().sum::<f64>() / times.len() as f64 / copy
            };
            vec![Check::at_most(
                "mean time / copy time",
                results.most(0, time),
                1.3,
            )]
        },
    }
}

fn racks() -> Gate {
    fn racks_of(size: Size, peer_order: PeerOrder) -> Scenario {
        Scenario {
            rack_count: 4,
            peer_order,
            ..blocks(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 127,
        pieces: 256,
        scenario,
    };
    Gate {
        name: "s13",
        says: "four racks that share uplinks, four times too narrow",
        variants: vec![
            variant("any", |size| racks_of(size, PeerOrder::Random)),
            variant("near", |size| racks_of(size, PeerOrder::Proximity)),
        ],
        judge: |results| {
            let copies = |run: &Run| {
                let most = run.outcome.rack_down_bytes.iter().max();
                *most.expect("there are racks") as f64 / run.scenario.total_len as f64
            };
            let slower = results.last(1) / results.last(0);
            vec![
                Check::at_most("copies into a rack", results.most(1, copies), 1.3),
                Check::at_most("time / any", slower, 1.1),
            ]
        },
    }
}

fn real_protocol() -> Gate {
    fn scenario(size: Size) -> Scenario {
        Scenario {
            in_whole_pieces: false,
            is_encoded: true,
            latency_jitter: Duration::ZERO,
            ..whole_pieces(size)
        }
    }
    let variant = |name, scenario| Variant {
        name,
        getters: 31,
        pieces: 512,
        scenario,
    };
    Gate {
        name: "s14",
        says: "the same in blocks of 16 KiB, every message encoded and decoded",
        variants: vec![
            variant("", scenario as fn(Size) -> Scenario),
            variant("coarse", |size| Scenario {
                latency_jitter: Duration::ZERO,
                ..whole_pieces(size)
            }),
        ],
        judge: |results| {
            let ratio = results.mean(0, |r| r.figures.last) / results.mean(1, |r| r.figures.last);
            let first = &results.0[0][0];
            let again = Simulation::run(&first.scenario).hash == first.outcome.hash;
            vec![
                Check::between("last / that of whole pieces", ratio, (0.95, 1.05)),
                Check::at_least("a seed replays itself", f64::from(again), 1.0),
            ]
        },
    }
}
