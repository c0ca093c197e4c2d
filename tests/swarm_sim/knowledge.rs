//! What nodes do with what the tracker knows of the whole swarm: the rarest pieces first, and the last copies saved.

use std::cell::RefCell;
use std::rc::Rc;

use shoal::sim::{Figures, Scenario, Simulation};
use shoal::swarm::Watch;

use crate::{SECOND, run, run_undisturbed, seeds};

/// Larger than what one node sees, and slow enough for the tracker's counts to be of use, unless `rate` is large.
fn partly_seen(rate: u64, watch: Watch, seed: u64) -> Scenario {
    Scenario {
        total_len: 64 << 20,
        up_bytes_per_second: rate,
        links_max: 8,
        links_wanted: 8,
        watch,
        time_max: 10_000 * SECOND,
        ..Scenario::cascade(31, seed)
    }
}

fn account(scenario: &Scenario) -> Vec<String> {
    let told = Rc::new(RefCell::new(Vec::new()));
    let listener = told.clone();
    Simulation::run_traced(scenario, move |line| {
        listener.borrow_mut().push(line.to_owned());
    });
    told.take()
}

fn count(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn nodes_ask_for_counts_where_they_are_of_use_and_no_longer_when_they_are_complete() {
    let slow = account(&partly_seen(1 << 20, Watch::IfOfUse, 1));
    let (on, off) = ("asks for all counts: true", "asks for all counts: false");
    println!("{} ask, {} end it", count(&slow, on), count(&slow, off));
    assert!(count(&slow, on) >= 15 && count(&slow, off) >= 15);
    assert!(count(&slow, "rare in the swarm") > 0 && count(&slow, "rare here") > 0);
    let swift = account(&partly_seen(125_000_000, Watch::IfOfUse, 1));
    assert_eq!(count(&swift, "rare in the swarm"), 0);
    let never = account(&partly_seen(1 << 20, Watch::Never, 1));
    assert_eq!((count(&never, on), count(&never, off)), (0, 0));
    assert!(count(&never, "rare here") > 0 && count(&never, "dialled: ") > 0);
}

#[test]
fn who_knows_the_whole_swarm_is_no_slower() {
    let mean = |watch| {
        let of_seed = |seed| {
            let scenario = partly_seen(1 << 20, watch, seed);
            Figures::of(&scenario, &run_undisturbed(&scenario)).last
        };
        let all: Vec<f64> = seeds(4).into_iter().map(of_seed).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let (without, with) = (mean(Watch::Never), mean(Watch::IfOfUse));
    println!("last / bound without {without:.3}, with {with:.3}");
    assert!(with < without * 1.02, "{with:.3} beside {without:.3}");
}

#[test]
fn counts_survive_a_swarm_in_which_much_goes_wrong() {
    for seed in seeds(5) {
        let scenario = Scenario {
            seed,
            total_len: 16 << 20,
            getter_count: 16,
            links_max: 5,
            links_wanted: 5,
            up_bytes_per_second: 2 << 20,
            watch: Watch::Always,
            reset_count: 20,
            crash_count: 3,
            fault_span: 8 * SECOND,
            check_every: 20,
            ..Scenario::default()
        };
        run(&scenario);
    }
}

/// Whether some never finish, and how many: the seeds leave when one copy is out, and one getter in 20 is lost in each
/// second.
fn stuck(watch: Watch, links: usize, seed: u64) -> usize {
    let scenario = Scenario {
        total_len: 16 << 20,
        piece_length: 1 << 18,
        links_max: links,
        links_wanted: links,
        up_bytes_per_second: 1 << 20,
        seed_up_bytes_per_second: Some(8 << 20),
        seeds_leave: true,
        loss_percent_per_minute: 300,
        watch,
        time_max: 60 * SECOND,
        ..Scenario::cascade(24, seed)
    };
    Simulation::run(&scenario).waiting().len()
}

#[test]
fn no_more_are_stuck_who_look_for_last_copies() {
    for links in [40, 8] {
        let all = |watch| -> Vec<usize> {
            let of_seed = |seed| stuck(watch, links, seed);
            seeds(100).into_iter().map(of_seed).collect()
        };
        let (without, with) = (all(Watch::Never), all(Watch::IfOfUse));
        let total = |stuck: &[usize]| stuck.iter().sum::<usize>();
        let runs = |stuck: &[usize]| stuck.iter().filter(|&&count| count > 0).count();
        println!(
            "{links} links: {} stuck in {} runs without, {} in {} with",
            total(&without),
            runs(&without),
            total(&with),
            runs(&with)
        );
        assert!(total(&with) <= total(&without), "{links} links");
    }
}
