//! Swarms in which not all is well: somebody is slow, is killed, lies, takes and does not give, or is far away.
//!
//! Each part is one swarm of 8 getters (`SHOAL_BENCH_GETTERS`) whose uplinks are limited, and is judged by the bound of what
//! its links could do. A liar's uplink does not count as one.

use std::time::Duration;

use crate::content::Place;
use crate::net::{Net, has_spaces};
use crate::place::MIB;
use crate::swarm::{self, Found, Killed, Plan};
use crate::{BENCH, number, numbers, rows};

const RUNS: usize = 3;
const SIZE_MIB: u64 = 128;
/// The uplinks, in bytes per second: so that two cores can do the work of 8, and half of that for more.
const UP: u64 = 20 * MIB;
const UP_OF_MANY: u64 = 10 * MIB;
const FEW_GETTERS_MAX: usize = 8;
/// Of the pieces of a liar this share is wrong.
const LIES: f64 = 0.25;
/// Free riders send no more than the least that can be asked for, and tit for tat takes some rounds to see it.
const RIDER_UP: u64 = 1 << 10;
const RIDERS: usize = 2;
const GIVER_UP: u64 = 4 * MIB;
/// Each direction of each shaped link: 100 Mbit/s; and how long a packet is under way on a link that is far.
const LINK_BYTES_PER_S: u64 = 12_500_000;
const LINK_MS: u64 = 20;

/// Names of the parts.
const PARTS: [&str; 7] = [
    "slow", "killed", "resumed", "lying", "riders", "far", "shaped",
];

/// Measures the parts that are wanted.
pub(crate) fn measure(is_quick: bool, wanted: impl Fn(&str) -> bool) {
    let wanted: Vec<&str> = PARTS.into_iter().filter(|part| wanted(part)).collect();
    if wanted.is_empty() {
        return;
    }
    let all = numbers("SHOAL_BENCH_GETTERS").unwrap_or_else(|| vec![FEW_GETTERS_MAX]);
    let mib = number("SHOAL_BENCH_SWARM_MIB").map_or(SIZE_MIB, |mib| mib as u64);
    let runs = number("SHOAL_BENCH_RUNS").unwrap_or(RUNS);
    let (mib, runs) = if is_quick { (32, 1) } else { (mib, runs) };
    for getters in all {
        let place = Place::new(mib * MIB * (getters as u64 + 4));
        place.fill(mib * MIB);
        let bench = Bench {
            place: &place,
            getters,
            runs,
            bytes: mib * MIB,
        };
        println!("1 → {getters}, {mib} MiB, not all well");
        println!("{}", Found::HEADING);
        for part in &wanted {
            match *part {
                "riders" => bench.riders(),
                "shaped" => bench.shaped(),
                part => bench.run(part, &bench.plan(part)),
            }
        }
        println!();
    }
}

/// Small swarms with somebody killed and somebody lying, and one over links that are shaped where that can be done.
pub(crate) fn small(place: &Place) {
    let bench = Bench {
        place,
        getters: 3,
        runs: 1,
        bytes: 8 * MIB,
    };
    let resumed = swarm::run(place, &bench.plan("resumed"));
    assert!(resumed.kept.is_some(), "nobody was started again");
    let lied = swarm::run(place, &bench.plan("lying"));
    lied.assert_justice();
    println!("transfer: 8 MiB to 3, one killed and started again, one liar");
}

/// What the parts have in common.
struct Bench<'a> {
    place: &'a Place,
    getters: usize,
    runs: usize,
    bytes: u64,
}

impl Bench<'_> {
    fn up(&self) -> u64 {
        if self.getters <= FEW_GETTERS_MAX {
            UP
        } else {
            UP_OF_MANY
        }
    }

    fn plan(&self, part: &str) -> Plan<'static> {
        let mut plan = Plan {
            sharer_up: self.up(),
            getter_ups: vec![self.up(); self.getters],
            ..Plan::default()
        };
        match part {
            "slow" => plan.getter_ups[0] /= 10,
            "killed" => plan.killed = Killed::ForGood,
            "resumed" => plan.killed = Killed::AndStartedAgain,
            "far" => plan.delay = Some(Duration::from_millis(LINK_MS)),
            "lying" => plan.lies = Some(LIES),
            other => unreachable!("{other} is no part"),
        }
        plan
    }

    /// Runs a plan some times, and leaves what came of it for the report.
    fn run(&self, name: &str, plan: &Plan<'_>) {
        let bound = plan.bound(self.bytes);
        let mut ratios = Vec::new();
        for _ in 0..self.runs {
            let found = swarm::run(self.place, plan);
            println!("{}", found.line(name, bound));
            found.assert_justice();
            ratios.push(found.last_and_mean(0..self.getters).0 / bound);
        }
        let case = format!("1 → {}, {name}", self.getters);
        rows::put(BENCH, &case, rows::OURS, "of the bound", &ratios);
    }

    /// Two who give nothing among those who give, with tit for tat and without; and who gives alone.
    fn riders(&self) {
        let givers = self.getters;
        let all = givers + RIDERS;
        let mut alone = Vec::new();
        for (policy, riders) in [("fair", 0), ("fair", RIDERS), ("fleet", RIDERS)] {
            let mut plan = Plan {
                policy: Some(policy),
                sharer_up: GIVER_UP,
                getter_ups: vec![GIVER_UP; givers],
                ..Plan::default()
            };
            plan.getter_ups.resize(givers + riders, RIDER_UP);
            let bound = plan.bound(self.bytes);
            let found = swarm::run(self.place, &plan);
            println!(
                "{}",
                found.line(&format!("{policy}, {riders} riders"), bound)
            );
            let (_, giving) = found.last_and_mean(0..givers);
            if riders == 0 {
                alone.push(giving);
                continue;
            }
            let (_, riding) = found.last_and_mean(givers..all);
            let (slowed, cost) = (riding / giving, giving / alone[0]);
            println!(
                "  riders take {slowed:.2} × as long as who gives, who takes {cost:.2} × as long as alone with tit for tat"
            );
            let case = format!("{givers} give and {riders} do not, {policy}");
            rows::put(
                BENCH,
                &case,
                rows::OURS,
                "times as long without giving",
                &[slowed],
            );
            rows::put(
                BENCH,
                &case,
                rows::OURS,
                "times as long as without riders",
                &[cost],
            );
        }
    }

    /// Machines of their own, with links that the kernel shapes.
    fn shaped(&self) {
        if !has_spaces() {
            return;
        }
        let net = Net::spaces(self.getters as u8 + 2);
        let Some(name) = shape(&net, self.getters + 2) else {
            return println!(
                "shaped: not run: tc cannot limit links here (iproute2, and a kernel with tbf)"
            );
        };
        let plan = Plan {
            sharer_up: LINK_BYTES_PER_S,
            getter_ups: vec![LINK_BYTES_PER_S; self.getters],
            down: Some(LINK_BYTES_PER_S),
            net: Some(&net),
            ..Plan::default()
        };
        self.run(name, &plan);
    }
}

/// Limits every link in both directions, with latency where the kernel can do that; what to call it.
fn shape(net: &Net, machines: usize) -> Option<&'static str> {
    let rate = format!("{}bit", LINK_BYTES_PER_S * 8);
    let bucket =
        |dev: &str| format!("qdisc add dev {dev} root tbf rate {rate} burst 128kb latency 50ms\n");
    for number in 1..=machines {
        if !net.shape(&bucket(&format!("port{number}"))) {
            return None;
        }
    }
    let far = format!("qdisc add dev eth0 root netem delay {LINK_MS}ms rate {rate} limit 10000\n");
    let is_far = (0..machines).all(|at| net.host(at).shape(&far));
    if is_far {
        return Some("shaped, 20 ms");
    }
    println!("shaped: without latency: this kernel has no netem");
    let is_near = (0..machines).all(|at| net.host(at).shape(&bucket("eth0")));
    is_near.then_some("shaped")
}

impl Found {
    /// Panics unless every deceived getter banned the liar, and nobody anybody else.
    fn assert_justice(&self) {
        assert_eq!(self.convicted, self.deceived, "a liar went free");
        assert_eq!(self.wrong_bans, 0, "an honest peer was banned");
    }
}
