//! The network without sockets: the [`Swarm`](crate::swarm::Swarm) and the [`Registry`](crate::registry::Registry)
//! that run in production, under virtual time.
//!
//! It owns an event heap ordered by time and sequence, conns with one latency each, a serial uplink for each node,
//! workers with fixed service times, phantom payload, and faults. It writes nothing and prints nothing: its callers
//! judge the [`Outcome`].
//!
//! Invariants:
//! 1. everything random comes from the scenario's seed, so equal scenarios give equal outcomes, hash included;
//! 2. what one side of a conn sends arrives at the other in the order in which it was sent, or not at all;
//! 3. a node sends one block at a time, at the rate of its uplink;
//! 4. a crashed node's timers, workers and conns are dead: what was scheduled for them misses.

mod encoded;
mod faults;
mod figures;
mod network;
mod node;
mod outcome;
mod paths;
mod queue;
mod scenario;
mod trace;
mod tracker;
mod verdict;
mod watch;
mod workers;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{Bitfield, PieceBuf, Rng, Time};
use crate::swarm::Run;
pub use figures::Figures;
use network::{Conn, Side, Wire};
use node::Node;
pub use outcome::{Life, Outcome};
use paths::Racks;
use queue::{Queue, Scheduled};
pub use scenario::Scenario;
use trace::Trace;
use tracker::{Answer, Question, Tracker};

/// Something that will happen.
#[derive(Debug)]
enum Event {
    /// A node starts, for the first time or again.
    Start { node: usize },
    /// A dialled conn is open at the dialler's side, if there is somebody at the other.
    Opened { conn: usize },
    /// A dial has taken long enough.
    DialTimeout { conn: usize },
    /// Something arrives at one side of a conn.
    Deliver { conn: usize, to: Side, what: Wire },
    /// A node's timer may be due.
    Timer { node: usize, life: u32 },
    /// A node's uplink is free again.
    UplinkFree { node: usize, number: u64 },
    /// A worker has checked a piece.
    Checked {
        node: usize,
        life: u32,
        piece: u32,
        buffer: PieceBuf,
    },
    /// A worker has written a run of a large piece.
    Written {
        node: usize,
        life: u32,
        run: Run,
        buffer: PieceBuf,
    },
    /// A worker has read a large piece back.
    Verified { node: usize, life: u32, piece: u32 },
    /// A worker has read a run.
    Loaded {
        node: usize,
        life: u32,
        run: Run,
        buffer: PieceBuf,
    },
    /// Something arrives at the tracker.
    Asked { node: usize, question: Question },
    /// The tracker's answer arrives at a node.
    Answered {
        node: usize,
        life: u32,
        answer: Answer,
    },
    /// The tracker may have to tell how counts have changed.
    Tell,
    /// One conn is cut.
    Reset,
    /// One conn falls silent.
    Silence,
    /// One node that fetches crashes, and comes back.
    Crash,
    /// Some nodes that fetch are lost, maybe.
    Losses,
    /// A node that has everything leaves.
    Leave { node: usize },
}

/// A run in progress.
#[derive(Debug)]
pub struct Simulation {
    scenario: Scenario,
    rng: Rng,
    now: Time,
    queue: Queue,
    nodes: Vec<Node>,
    conns: Vec<Conn>,
    /// Blocks that were sent.
    block_count: u64,
    /// Long blocks that were cut short: their ends never arrive.
    cut_blocks: BTreeSet<u64>,
    /// The pieces that nodes have got since the start.
    copied: Bitfield,
    racks: Racks,
    tracker: Tracker,
    trace: Trace,
    outcome: Outcome,
    /// Nodes that never had everything.
    unfinished_count: usize,
    /// When the last node had everything.
    finished_at: Option<Time>,
}

/// Events after which a run is called endless.
const EVENTS_MAX: u64 = 200_000_000;

impl Simulation {
    /// Runs `scenario` to its end, and judges what must hold in every run.
    pub fn run(scenario: &Scenario) -> Outcome {
        Self::new(scenario.clone(), Trace::off()).play()
    }

    /// The same, and each line of an account of it goes to `listener`: when, who, what, why.
    pub fn run_traced(scenario: &Scenario, listener: impl FnMut(&str) + 'static) -> Outcome {
        let mut simulation = Self::new(scenario.clone(), Trace::to(Box::new(listener)));
        simulation.tell_cast();
        simulation.play()
    }

    fn play(mut self) -> Outcome {
        while let Some(Scheduled { at, event, .. }) = self.queue.pop() {
            self.now = at;
            if self.is_over() {
                break;
            }
            self.outcome.event_count += 1;
            assert!(self.outcome.event_count < EVENTS_MAX, "it never ends");
            self.fold(at.as_nanos());
            self.happen(event);
        }
        self.conclude()
    }

    fn new(scenario: Scenario, trace: Trace) -> Self {
        scenario.check();
        let mut rng = Rng::new(scenario.seed);
        let nodes: Vec<Node> = (0..scenario.node_count())
            .map(|index| Node::new(index, &scenario, &mut rng, trace.is_on()))
            .collect();
        let tracker = Tracker::new(&scenario);
        let mut simulation = Self {
            rng,
            now: Time::ZERO,
            queue: Queue::new(),
            outcome: Outcome::new(nodes.len(), scenario.rack_count),
            unfinished_count: nodes.len(),
            nodes,
            conns: Vec::new(),
            block_count: 0,
            cut_blocks: BTreeSet::new(),
            copied: Bitfield::none(scenario.geometry().piece_count()),
            racks: Racks::new(&scenario),
            tracker,
            trace,
            finished_at: None,
            scenario,
        };
        simulation.plan_starts();
        simulation.plan_faults();
        simulation
    }

    /// Seeds start at once, the others within the span in which they join.
    fn plan_starts(&mut self) {
        for node in 0..self.nodes.len() {
            let after = if self.nodes[node].is_seed {
                Duration::ZERO
            } else {
                self.random_within(self.scenario.join_span)
            };
            self.schedule(after, Event::Start { node });
        }
    }

    /// A random duration below `span`.
    fn random_within(&mut self, span: Duration) -> Duration {
        let nanos = usize::try_from(span.as_nanos()).expect("spans are a few minutes");
        Duration::from_nanos(self.rng.below(nanos.max(1)) as u64)
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Time, event: Event) {
        self.queue.push(at, event);
    }

    /// Makes `value` part of the outcome's hash.
    fn fold(&mut self, value: u64) {
        let mixed = (self.outcome.hash.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.outcome.hash = mixed ^ (mixed >> 29);
    }

    fn is_over(&mut self) -> bool {
        if self.finished_at.is_none() && self.unfinished_count == 0 {
            self.finished_at = Some(self.now);
        }
        let end = match self.finished_at {
            Some(at) => at + self.scenario.linger,
            None => Time::ZERO + self.scenario.time_max,
        };
        self.now > end
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { node } => self.start(node),
            Event::Opened { conn } => self.opened(conn),
            Event::DialTimeout { conn } => self.dial_timed_out(conn),
            Event::Deliver { conn, to, what } => self.deliver(conn, to, what),
            Event::Timer { node, life } => self.timer(node, life),
            Event::UplinkFree { node, number } => self.uplink_free(node, number),
            Event::Checked {
                node,
                life,
                piece,
                buffer,
            } => self.checked(node, life, piece, buffer),
            Event::Written {
                node,
                life,
                run,
                buffer,
            } => self.written(node, life, run, buffer),
            Event::Verified { node, life, piece } => self.verified(node, life, piece),
            Event::Loaded {
                node,
                life,
                run,
                buffer,
            } => self.loaded(node, life, run, buffer),
            Event::Asked { node, question } => self.asked(node, question),
            Event::Answered { node, life, answer } => self.answered(node, life, answer),
            Event::Tell => self.tell_changes(),
            Event::Reset => self.reset_one(),
            Event::Silence => self.silence_one(),
            Event::Crash => self.crash_one(),
            Event::Losses => self.lose_some(),
            Event::Leave { node } => self.stop(node),
        }
    }
}
