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
/// Every so many pieces of a liar one is wrong: a number that is no multiple of the two seeds, who share the pieces.
const LIES_EVERY: usize = 3;
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
    // A liar that is slow to wake may be too late to lie.
    let is_heard = (0..5).any(|_| {
        let lied = swarm::run(place, &bench.plan("lying"));
        lied.assert_justice();
        lied.deceived > 0
    });
    assert!(is_heard, "the liar sends nothing wrong");
    println!("transfer: 8 MiB to 3, one killed and started again, one liar");
    if let Some((net, name)) = shaped_net(bench.getters + 2) {
        swarm::run(place, &bench.shaped_plan(&net));
        println!("transfer: 8 MiB to 3, {name}");
    }
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
            "lying" => plan.lies = Some(LIES_EVERY),
            other => unreachable!("{other} is no part"),
        }
        plan
    }

    /// Runs a plan some times, and leaves what came of it for the report.
    fn run(&self, name: &str, plan: &Plan<'_>) {
        let bound = plan.bound(self.bytes);
        let mut all = Vec::new();
        for _ in 0..self.runs {
            let found = swarm::run(self.place, plan);
            println!("{}", found.line(name, bound));
            found.assert_justice();
            all.push(found);
        }
        let case = format!("1 → {}, {name}", self.getters);
        let put = |unit: &str, value: &dyn Fn(&Found) -> f64| {
            let values: Vec<f64> = all.iter().map(value).collect();
            rows::put(BENCH, &case, rows::OURS, unit, &values);
        };
        put("of the bound", &|found| {
            found.last_and_mean(0..self.getters).0 / bound
        });
        put("copies from the sharer", &|found| found.sharer_copies);
        put("% twice", &|found| found.excess * 100.0);
        if plan.lies.is_some() {
            put("deceived", &|found| found.deceived as f64);
            put("deceived who banned the liar", &|found| {
                found.convicted as f64
            });
            put("bans of honest peers", &|found| found.wrong_bans as f64);
        }
    }

    /// Two who give nothing among those who give, with tit for tat and without; and who gives alone. Who is complete leaves.
    fn riders(&self) {
        let givers = self.getters;
        let mut found: [Vec<[f64; 2]>; 2] = Default::default();
        for _ in 0..self.runs {
            let (_, alone) = self.ride("fair", 0).last_and_mean(0..givers);
            for (policy, all) in ["fair", "fleet"].into_iter().zip(&mut found) {
                let swarm = self.ride(policy, RIDERS);
                let (_, giving) = swarm.last_and_mean(0..givers);
                let (_, riding) = swarm.last_and_mean(givers..givers + RIDERS);
                let (slowed, cost) = (riding / giving, giving / alone);
                println!(
                    "  who rides takes {slowed:.2} × as long as who gives, who takes {cost:.2} × as long as alone"
                );
                all.push([slowed, cost]);
            }
        }
        for (policy, all) in ["fair", "fleet"].into_iter().zip(found) {
            let case = format!("{givers} give and {RIDERS} do not, {policy}");
            let units = [
                "times as long without giving",
                "times as long as without riders",
            ];
            for (at, unit) in units.into_iter().enumerate() {
                let values: Vec<f64> = all.iter().map(|of_run| of_run[at]).collect();
                rows::put(BENCH, &case, rows::OURS, unit, &values);
            }
        }
    }

    /// One swarm with so many who give nothing.
    fn ride(&self, policy: &'static str, riders: usize) -> Found {
        let mut plan = Plan {
            policy: Some(policy),
            leaves: true,
            sharer_up: GIVER_UP,
            getter_ups: vec![GIVER_UP; self.getters],
            ..Plan::default()
        };
        plan.getter_ups.resize(self.getters + riders, RIDER_UP);
        let found = swarm::run(self.place, &plan);
        let name = format!("{policy}, {riders} ride");
        println!("{}", found.line(&name, plan.bound(self.bytes)));
        found.assert_justice();
        found
    }

    /// Machines of their own, with links that the kernel shapes.
    fn shaped(&self) {
        let Some((net, name)) = shaped_net(self.getters + 2) else {
            return;
        };
        self.run(name, &self.shaped_plan(&net));
    }

    fn shaped_plan<'a>(&self, net: &'a Net) -> Plan<'a> {
        Plan {
            sharer_up: LINK_BYTES_PER_S,
            getter_ups: vec![LINK_BYTES_PER_S; self.getters],
            down: Some(LINK_BYTES_PER_S),
            net: Some(net),
            ..Plan::default()
        }
    }
}

/// Machines with links that the kernel limits in both directions, and what to call that: with latency where it can do that
/// as well. Says so where they cannot be had.
fn shaped_net(machines: usize) -> Option<(Net, &'static str)> {
    if !has_spaces() {
        return None;
    }
    let net = Net::spaces(machines as u8);
    let rate = format!("{}bit", LINK_BYTES_PER_S * 8);
    let bucket =
        |dev: &str| format!("qdisc add dev {dev} root tbf rate {rate} burst 128kb latency 50ms\n");
    let far = format!("qdisc add dev eth0 root netem delay {LINK_MS}ms rate {rate} limit 10000\n");
    let on_all = |script: &str| (0..machines).all(|at| net.host(at).shape(script));
    let down: String = (1..=machines)
        .map(|number| bucket(&format!("port{number}")))
        .collect();
    if !net.shape(&down) {
        println!("shaped: not run: tc cannot limit links here (iproute2, and a kernel with tbf)");
    } else if on_all(&far) {
        return Some((net, "shaped, 20 ms"));
    } else if on_all(&bucket("eth0")) {
        return Some((net, "shaped"));
    }
    None
}

impl Found {
    /// Panics unless every deceived getter banned the liar, and nobody anybody else.
    fn assert_justice(&self) {
        assert_eq!(self.convicted, self.deceived, "a liar went free");
        assert_eq!(self.wrong_bans, 0, "an honest peer was banned");
    }
}
