//! What an announce costs the tracker, beside Debian's opentracker and beside responders that know nothing.
//!
//! Under `cargo bench` it measures UDP, HTTP with and without keep-alive, the native protocol, and memory: every server
//! stays alive on the first core, the load is on the second and goes to one server after the other, so that what disturbs
//! one disturbs all. Prints medians with least and most, and ratios; `-- --quick` takes less of everything, and a name
//! (`udp`, `http`, `native`, `memory`) takes only that part. Under `cargo test` it asks a real tracker a few things once
//! and prints a hash of what it said. Linux only: it reads /proc.

mod bare;
#[path = "../../tests/common/free.rs"]
mod free;
mod http;
mod measured;
mod native;
mod population;
#[path = "../common/rows.rs"]
mod rows;
mod server;
mod small;
mod udp;
mod usage;

use std::time::Duration;

use http::HttpLoad;
use measured::{Measured, Span, Spread};
use native::NativeLoad;
use population::Population;
use server::{LOAD_CORE, Server, pin};
use udp::UdpLoad;

/// What the report calls all this.
const BENCH: &str = "tracker";

/// The most native connections: nearly all that the usual limit of 20,000 open files leaves room for.
const CONNS_MAX: usize = 19_500;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    span: Span,
    is_quick: bool,
}

/// Measures one part and prints what it found.
type Measure = fn(Effort);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, mode, addr] = &args[..]
        && flag == "--bare"
    {
        return bare::run(mode, addr.parse().expect("an address"));
    }
    let is_given = |flag: &str| args.iter().any(|arg| arg == flag);
    if is_given("--list") {
        return println!("tracker: bench");
    }
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if !is_given("--bench") {
        return small::run();
    }
    let is_quick = is_given("--quick");
    let effort = Effort {
        // Many short ones: what disturbs a run shall disturb few.
        rounds: if is_quick { 9 } else { 35 },
        span: Span {
            warm: Duration::from_millis(50),
            measured: Duration::from_millis(300),
        },
        is_quick,
    };
    shoal::reactor::raise_nofile_limit().expect("as many files as allowed");
    pin(LOAD_CORE);
    let parts: [(&str, Measure); 4] = [
        ("udp", measure_udp),
        ("http", measure_http),
        ("native", measure_native),
        ("memory", measure_memory),
    ];
    let is_named = |name: &str| parts.iter().any(|(part, _)| *part == name) || name == "tracker";
    if let Some(stranger) = words.iter().find(|word| !is_named(word)) {
        return eprintln!("tracker: no part is called {stranger}");
    }
    for (name, measure) in parts {
        if words.is_empty() || words.iter().any(|word| *word == name || *word == "tracker") {
            measure(effort);
        }
    }
}

/// Servers under one kind of load, with their runs.
struct Contest {
    title: String,
    rows: Vec<(&'static str, Vec<Measured>)>,
}

impl Contest {
    /// Loads one after the other, round by round.
    fn run(
        title: String,
        effort: Effort,
        loads: &mut [(&'static str, &mut dyn FnMut() -> Measured)],
    ) -> Self {
        let mut rows: Vec<_> = loads.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for _ in 0..effort.rounds {
            for ((_, load), (_, runs)) in loads.iter_mut().zip(&mut rows) {
                runs.push(load());
            }
        }
        Self { title, rows }
    }

    /// A line for each server; the first is ours, to which the others are compared.
    fn print(&self) {
        println!("\n{}", self.title);
        println!(
            "{:14} {:>26} {:>28} {:>6} {:>6} {:>6}  calm",
            "", "CPU µs per answer", "thousand answers a second", "peers", "core", "load"
        );
        for (name, runs) in &self.rows {
            let (cpu, rate) = (
                Spread::of(runs, |run| run.cpu_us),
                Spread::of(runs, |run| run.rate / 1e3),
            );
            println!(
                "{name:14} {:10.2} ({:5.2} to {:5.2}) {:12.1} ({:5.1} to {:5.1}) {:6.1} {:5.0}% {:5.0}%  {} of {}",
                cpu.median,
                cpu.least,
                cpu.most,
                rate.median,
                rate.least,
                rate.most,
                Spread::of(runs, |run| run.peers).median,
                Spread::of(runs, |run| run.busy).median * 100.0,
                Spread::of(runs, |run| run.load_busy).median * 100.0,
                runs.iter().filter(|run| run.is_calm()).count(),
                runs.len(),
            );
        }
        self.tell();
        let (_, ours) = &self.rows[0];
        for (name, theirs) in &self.rows[1..] {
            // Round by round, so that a slow minute counts for both.
            let pairs: Vec<(Measured, Measured)> =
                ours.iter().copied().zip(theirs.iter().copied()).collect();
            let middle = |value: &dyn Fn(&(Measured, Measured)) -> f64| {
                let mut values: Vec<f64> = pairs.iter().map(value).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            println!(
                "shoal to {name}: {:.2} times the rate, {:.2} times the CPU, {:+.2} µs",
                middle(&|(ours, theirs)| ours.rate / theirs.rate),
                middle(&|(ours, theirs)| ours.cpu_us / theirs.cpu_us),
                middle(&|(ours, theirs)| ours.cpu_us - theirs.cpu_us),
            );
        }
    }
}

impl Contest {
    /// Leaves the figures for the report, undisturbed runs alone if there are some of everybody.
    fn tell(&self) {
        let rounds = self.rows[0].1.len();
        let is_calm = |round: &usize| self.rows.iter().all(|(_, runs)| runs[*round].is_calm());
        let calm: Vec<usize> = (0..rounds).filter(is_calm).collect();
        let of = if calm.is_empty() {
            (0..rounds).collect()
        } else {
            calm
        };
        for (who, runs) in &self.rows {
            let values = |value: fn(&Measured) -> f64| -> Vec<f64> {
                of.iter().map(|&round| value(&runs[round])).collect()
            };
            rows::put(BENCH, &self.title, who, "CPU µs", &values(|run| run.cpu_us));
            let rates = values(|run| run.rate / 1e3);
            rows::put(BENCH, &self.title, who, "thousand/s", &rates);
        }
    }
}

fn measure_udp(effort: Effort) {
    let population = Population::new(10_000, 100);
    let ours = Server::ours("127.0.0.1:0");
    let bare = Server::bare("udp");
    let rival = Server::opentracker(&population)
        .map_err(|why| println!("{why}"))
        .ok();
    let mut our_load = UdpLoad::new(&population, ours.addr);
    let mut bare_load = UdpLoad::new(&population, bare.addr);
    let mut rival_load = rival
        .as_ref()
        .map(|rival| UdpLoad::new(&population, rival.addr));
    our_load.fill();
    if let Some(load) = &mut rival_load {
        load.fill();
    }
    let mut run_ours = || our_load.run(&ours, effort.span);
    let mut run_bare = || bare_load.run(&bare, effort.span);
    let mut loads: Vec<(&'static str, &mut dyn FnMut() -> Measured)> =
        vec![("shoal", &mut run_ours), ("bare", &mut run_bare)];
    let mut run_rival = || match (&mut rival_load, &rival) {
        (Some(load), Some(rival)) => load.run(rival, effort.span),
        _ => Measured::default(),
    };
    if rival.is_some() {
        loads.push(("opentracker", &mut run_rival));
    }
    let title = format!(
        "UDP announce, 1 M peers in 10,000 swarms, {} wanted",
        udp::WANT
    );
    Contest::run(title, effort, &mut loads).print();
    print_memory("shoal", &ours, population.peers());
    if let Some(rival) = &rival {
        print_memory("opentracker", rival, population.peers());
    }
}

fn print_memory(name: &str, server: &Server, peers: u64) {
    println!(
        "{name}: {:.1} B resident per peer",
        server.grown_bytes() / peers as f64
    );
}

fn measure_http(effort: Effort) {
    let population = Population::new(2_000, 50);
    let ours = Server::ours("127.0.0.1:0");
    let rival = Server::opentracker(&population)
        .map_err(|why| println!("{why}"))
        .ok();
    UdpLoad::new(&population, ours.addr).fill();
    if let Some(rival) = &rival {
        UdpLoad::new(&population, rival.addr).fill();
    }
    for (keeps_alive, mode, title) in [
        (true, "http", "HTTP announce, kept alive, 64 connections"),
        (false, "http-close", "HTTP announce, one connection each"),
    ] {
        let bare = Server::bare(mode);
        let mut our_load = HttpLoad::new(&population, ours.addr, keeps_alive);
        let mut bare_load = HttpLoad::new(&population, bare.addr, keeps_alive);
        // It closes every connection, whatever it is asked.
        let mut rival_load = rival
            .as_ref()
            .filter(|_| !keeps_alive)
            .map(|rival| HttpLoad::new(&population, rival.addr, false));
        let mut run_ours = || our_load.run(&ours, effort.span);
        let mut run_bare = || bare_load.run(&bare, effort.span);
        let mut loads: Vec<(&'static str, &mut dyn FnMut() -> Measured)> =
            vec![("shoal", &mut run_ours), ("bare", &mut run_bare)];
        let has_rival = rival_load.is_some();
        let mut run_rival = || match (&mut rival_load, &rival) {
            (Some(load), Some(rival)) => load.run(rival, effort.span),
            _ => Measured::default(),
        };
        if has_rival {
            loads.push(("opentracker", &mut run_rival));
        }
        let title = format!(
            "{title}, 100,000 peers in 2,000 swarms, {} wanted",
            udp::WANT
        );
        Contest::run(title, effort, &mut loads).print();
    }
}

fn measure_native(effort: Effort) {
    println!("\nNative");
    for conns in [1_000, 5_000, CONNS_MAX] {
        measure_idle(conns);
    }
    let server = Server::ours("127.0.0.1:0");
    let mut load = NativeLoad::connect(server.addr, 1000);
    let steps: &[usize] = if effort.is_quick {
        &[1_000, 10_000]
    } else {
        &[1_000, 5_000, 10_000, CONNS_MAX]
    };
    for &conns in steps {
        load.grow(conns);
        let joined = load.join(&server);
        let member_bytes = server.grown_bytes() / conns as f64;
        let rejoined = load.rejoin(&server, 2_000);
        let span = Duration::from_secs(if effort.is_quick { 3 } else { 10 });
        let reported = load.report(&server, span);
        println!(
            "{conns:6} members: {member_bytes:5.0} B resident each; JOIN {:.1} µs, \
             LEAVE and JOIN {:.1} µs; one HAVE_BATCH a second from each: {:.1} µs, {:.1} % of a core",
            joined.cpu_us,
            rejoined.cpu_us,
            reported.cpu_us,
            reported.busy * 100.0,
        );
        tell_native(conns, member_bytes, &[joined, rejoined, reported]);
    }
    let idle = measured::Watch::begin(&server);
    std::thread::sleep(Duration::from_secs(2));
    let idle = idle.end(&server, 1, 0);
    println!("idle for 2 s: {:.3} ms of CPU", idle.cpu_us / 1e3);
    let part = [idle.busy * 100.0];
    rows::put(BENCH, "native, idle", rows::OURS, "% of a core", &part);
}

/// Connections that said HELLO and nothing more, on a tracker of their own.
fn measure_idle(conns: usize) {
    let server = Server::ours("127.0.0.1:0");
    let _load = NativeLoad::connect(server.addr, conns);
    let bytes = server.grown_bytes() / conns as f64;
    println!("{conns:6} idle connections: {bytes:5.0} B resident each");
    let (case, size) = (
        "memory, idle native connections",
        ("native connections", conns as f64),
    );
    rows::put_at(BENCH, case, size, rows::OURS, "B a connection", &[bytes]);
}

/// Leaves what so many native members cost for the report.
fn tell_native(conns: usize, member_bytes: f64, [joined, rejoined, reported]: &[Measured; 3]) {
    let size = ("native connections", conns as f64);
    let tell = |case: &str, unit: &str, value: f64| {
        rows::put_at(BENCH, case, size, rows::OURS, unit, &[value]);
    };
    tell("native JOIN", "CPU µs", joined.cpu_us);
    tell("native LEAVE and JOIN", "CPU µs", rejoined.cpu_us);
    tell("native HAVE_BATCH", "CPU µs", reported.cpu_us);
    tell("memory, native members", "B a connection", member_bytes);
    let busy = reported.busy * 100.0;
    tell(
        "native, a HAVE_BATCH a second from each",
        "% of a core",
        busy,
    );
}

/// Growth, and the long tail.
fn measure_memory(effort: Effort) {
    println!("\nMemory and growth by UDP");
    let mut steps = vec![(1_000_000, 1), (10_000, 100)];
    if !effort.is_quick {
        steps.extend([(10_000, 1), (100, 100), (50_000, 100), (16, 60_000)]);
    }
    for (torrents, peers_each) in steps {
        let population = Population::new(torrents, peers_each);
        let mut servers = vec![("shoal", Server::ours("127.0.0.1:0"))];
        if !effort.is_quick {
            match Server::opentracker(&population) {
                Ok(rival) => servers.push(("opentracker", rival)),
                Err(why) => println!("{why}"),
            }
        }
        let peers = population.peers() as f64;
        for (name, server) in &servers {
            let mut load = UdpLoad::new(&population, server.addr);
            let watch = measured::Watch::begin(server);
            load.fill();
            let filled = watch.end(server, population.peers(), 0);
            let runs: Vec<Measured> = (0..3).map(|_| load.run(server, effort.span)).collect();
            println!(
                "{torrents:8} swarms of {peers_each:6}: {name:12} {:6.1} B per peer, filled with {:5.2} µs each, announces {:5.2} µs",
                server.grown_bytes() / peers,
                filled.cpu_us,
                Spread::of(&runs, |run| run.cpu_us).median,
            );
            let tell = |case: &str, unit: &str, values: &[f64]| {
                let case = format!("{case}, swarms of {peers_each}");
                rows::put_at(BENCH, &case, ("peers", peers), name, unit, values);
            };
            let cpu: Vec<f64> = runs.iter().map(|run| run.cpu_us).collect();
            tell("memory", "B a peer", &[server.grown_bytes() / peers]);
            tell("announce again", "CPU µs", &cpu);
            tell("announce first", "CPU µs", &[filled.cpu_us]);
        }
    }
}
