//! What a scenario may ask for does what it says: uplinks, downlinks, racks, free riders, losses.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use shoal::sim::{Figures, Scenario, Simulation};
use shoal::swarm::{PeerOrder, Policy};

use crate::{SECOND, last, run, run_undisturbed, seeds};

#[test]
fn downlinks_bound_the_time() {
    let scenario = Scenario {
        down_bytes_per_second: Some(2 << 20),
        check_every: 10,
        ..Scenario::default()
    };
    assert_eq!(scenario.bound(), 4 * SECOND);
    let took = last(&run(&scenario));
    assert!((4.0..6.0).contains(&took), "{took} s");
}

#[test]
fn who_has_a_faster_uplink_uploads_more() {
    let scenario = Scenario {
        total_len: 32 << 20,
        seed_up_bytes_per_second: Some(4 << 20),
        uplinks: vec![(4, 1 << 20), (4, 8 << 20)],
        getter_count: 8,
        check_every: 100,
        ..Scenario::default()
    };
    let rates: Vec<u64> = (0..9).map(|node| scenario.uplink_of(node) >> 20).collect();
    assert_eq!(rates, [4, 1, 1, 1, 1, 8, 8, 8, 8]);
    let outcome = run(&scenario);
    let sum = |nodes: std::ops::Range<usize>| outcome.up_bytes[nodes].iter().sum::<u64>();
    assert!(sum(5..9) > 3 * sum(1..5), "{:?}", outcome.up_bytes);
}

#[test]
fn free_riders_upload_nothing_and_finish_all_the_same() {
    for policy in [Policy::Fleet, Policy::Fair] {
        for large_view in [false, true] {
            let scenario = Scenario {
                getter_count: 10,
                free_rider_count: 3,
                large_view,
                policy,
                check_every: 20,
                ..Scenario::default()
            };
            assert_eq!(scenario.free_riders(), 8..11);
            let outcome = run(&scenario);
            assert_eq!(outcome.up_bytes[8..], [0; 3]);
            assert!(outcome.up_bytes[1..8].iter().all(|&bytes| bytes > 0));
        }
    }
}

#[test]
fn several_seeds_are_as_near_to_the_bound_as_one() {
    for seed_count in [2, 4] {
        for seed in seeds(2) {
            let scenario = Scenario {
                total_len: 128 << 20,
                seed_count,
                ..Scenario::cascade(15, seed)
            };
            let figures = Figures::of(&scenario, &run(&scenario));
            assert!(
                figures.last <= 1.12,
                "{seed_count} seeds, seed {seed}: {figures:?}"
            );
        }
    }
}

#[test]
fn what_crosses_racks_is_counted_and_shares_their_uplinks() {
    let scenario = Scenario {
        getter_count: 11,
        rack_count: 3,
        check_every: 100,
        ..Scenario::default()
    };
    let outcome = run(&scenario);
    let crossed: u64 = outcome.rack_down_bytes.iter().sum();
    assert!(crossed >= 2 * scenario.total_len, "{crossed}");
    assert!(crossed < outcome.down_bytes());
    let apart = Scenario {
        oversubscription: 40,
        ..scenario.clone()
    };
    assert!(last(&run(&apart)) > 2.0 * last(&outcome));
}

#[test]
fn what_a_near_peer_has_is_not_fetched_from_afar() {
    for seed in seeds(3) {
        let scenario = Scenario {
            seed,
            total_len: 32 << 20,
            getter_count: 31,
            rack_count: 4,
            check_every: 1_000,
            ..Scenario::default()
        };
        let crossed = |peer_order| {
            let scenario = Scenario {
                peer_order,
                ..scenario.clone()
            };
            let outcome = run(&scenario);
            let most = outcome.rack_down_bytes.iter().max();
            let copies = *most.expect("racks") as f64 / scenario.total_len as f64;
            println!("{copies:.2} copies into a rack, {:.2} s", last(&outcome));
            copies
        };
        let (any, near) = (crossed(PeerOrder::Random), crossed(PeerOrder::Proximity));
        assert!(near < 0.5 * any, "{near} against {any}");
    }
}

#[test]
fn slow_links_hold_up_nobody_for_long() {
    for seed in seeds(5) {
        let scenario = Scenario {
            seed,
            getter_count: 10,
            slow_link_one_in: 4,
            check_every: 20,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        assert!(last(&outcome) < 3.0 * scenario.bound().as_secs_f64());
    }
}

#[test]
fn who_is_lost_for_good_is_not_waited_for_and_leaves_nobody_alone() {
    let mut lost = 0;
    for seed in seeds(5) {
        let scenario = Scenario {
            seed,
            total_len: 32 << 20,
            up_bytes_per_second: 1 << 20,
            getter_count: 20,
            loss_percent_per_minute: 40,
            check_every: 50,
            ..Scenario::default()
        };
        let outcome = run(&scenario);
        lost += outcome.is_lost.iter().filter(|&&is_lost| is_lost).count();
        assert!(
            outcome.alone_time_max < 5 * SECOND,
            "{:?}",
            outcome.alone_time_max
        );
    }
    assert!(lost > 5, "{lost} were lost");
}

#[test]
fn the_time_of_who_joins_late_counts_from_then_on() {
    let scenario = Scenario {
        join_span: Duration::from_secs(20),
        ..Scenario::default()
    };
    let outcome = run_undisturbed(&scenario);
    let times = outcome.times(scenario.contributors());
    assert_eq!(times.len(), 4);
    assert!(times.iter().all(|&time| time < 4.0), "{times:?}");
}

#[test]
fn a_trace_tells_who_asks_whom_for_what_and_why_and_changes_nothing() {
    let scenario = Scenario {
        poisoner_count: 1,
        check_every: 0,
        ..Scenario::default()
    };
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    let traced = Simulation::run_traced(&scenario, move |line| {
        heard.borrow_mut().push(line.to_owned());
    });
    assert_eq!(traced, Simulation::run(&scenario));
    let lines = lines.borrow();
    let tells = |what: &str| lines.iter().any(|line| line.contains(what));
    assert!(tells("n2: is a getter with 10485760 bytes/s up, in rack 0"));
    assert!(tells("n2: n0 is asked for piece"));
    assert!(tells(": suggested") && tells("rare here") && tells("any of the first"));
    assert!(tells("n0: n2 is served piece"));
    assert!(tells("n2: bans n1 for piece"));
    assert!(tells("n2: has everything"));
}

/// A wide area network on which a copy takes a thousand seconds.
fn wide(seed: u64) -> Scenario {
    let total_len = 128 << 17;
    Scenario {
        total_len,
        piece_length: 1 << 17,
        in_whole_pieces: false,
        up_bytes_per_second: total_len / 1_000,
        seed_up_bytes_per_second: Some(4 * total_len / 1_000),
        latency: Duration::from_millis(20),
        latency_jitter: Duration::from_millis(30),
        policy: Policy::Fair,
        time_max: Duration::from_secs(10_000),
        ..Scenario::cascade(50, seed)
    }
}

#[test]
fn tit_for_tat_makes_those_wait_who_never_upload() {
    for seed in seeds(2) {
        let scenario = Scenario {
            free_rider_count: 10,
            leave_when_done: true,
            ..wide(seed)
        };
        let outcome = Simulation::run(&scenario);
        let mean = |nodes: std::ops::Range<usize>| {
            let times = outcome.times(nodes);
            times.iter().sum::<f64>() / times.len() as f64
        };
        let contributors = mean(scenario.contributors());
        let ratio = mean(scenario.free_riders()) / contributors;
        assert!(ratio >= 2.5, "seed {seed}: {ratio}");
        assert!(contributors <= 1_150.0, "seed {seed}: {contributors}");
    }
}

#[test]
fn a_seed_under_tit_for_tat_sends_whole_pieces_and_each_once_before_any_twice() {
    let scenario = Scenario {
        seed_up_bytes_per_second: None,
        getter_count: 20,
        ..wide(1)
    };
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&lines);
    Simulation::run_traced(&scenario, move |line| {
        if line.contains(" n0: ") {
            heard.borrow_mut().push(line.to_owned());
        }
    });
    let (mut served, mut pieces) = (std::collections::BTreeSet::new(), Vec::new());
    for line in lines.borrow().iter() {
        // In the end game, what others sent meanwhile is refused when it is taken back.
        if pieces.len() == 128 {
            break;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[2..] {
            [peer, "is", "served", "piece", piece, ..] => {
                let piece = piece.trim_end_matches(':').to_owned();
                pieces.push(piece.clone());
                served.insert((peer.to_owned(), piece));
            }
            [peer, "is", "refused", "piece", piece] => {
                let is_cut = served.contains(&(peer.to_owned(), piece.to_owned()));
                assert!(!is_cut, "{line}");
            }
            _ => {}
        }
    }
    let distinct: std::collections::BTreeSet<&String> = pieces.iter().collect();
    assert!(distinct.len() >= 122, "{} of 128", distinct.len());
}
