//! One node: a swarm, its uplink, its workers, and what it told us of itself.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::network::{Side, Wire, node_at};
use super::scenario::Life;
use super::tracker::Question;
use super::{Event, Scenario, Simulation};
use crate::base::{Bitfield, BufferPool, PeerId, PieceBuf, Rng, Time, Verdict};
use crate::swarm::{Config, Input, Output, PeerKey, Run, Swarm, Upload};
use crate::wire::peer::{BlockRequest, Message};

/// How long a worker takes to hash and write a piece.
const CHECK_TIME: Duration = Duration::from_micros(500);
/// How long a worker takes to write a run of a large piece.
const WRITE_TIME: Duration = Duration::from_micros(200);
/// How long a worker takes to read a run.
const LOAD_TIME: Duration = Duration::from_micros(100);
/// Timers in a row at one moment after which a node is said to spin.
const SPINS_MAX: u32 = 100;

/// A link, and the conn that carries it.
#[derive(Clone, Copy, Debug)]
struct Link {
    key: PeerKey,
    conn: usize,
    side: Side,
}

/// What is on its way out.
#[derive(Debug)]
struct Sending {
    /// It holds its buffer until it is gone.
    upload: Upload,
    conn: usize,
    began_at: Time,
    /// Its number among the blocks of all nodes.
    number: u64,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub id: PeerId,
    pub addr: SocketAddr,
    pub is_fast: bool,
    pub is_seed: bool,
    pub is_poisoner: bool,
    pub is_up: bool,
    /// Counts the starts: what was scheduled in an earlier life misses.
    pub life: u32,
    pub swarm: Swarm,
    pool: BufferPool,
    up_bytes_per_second: u64,
    /// By slot of the key.
    links: Vec<Option<Link>>,
    /// When its downlink has taken in what is on its way.
    pub downlink_free_at: Time,
    /// For whom there may be something to send, in turn.
    ready: VecDeque<PeerKey>,
    sending: Option<Sending>,
    /// Runs on its disk whose bytes are wrong.
    spoilt_runs: BTreeSet<Run>,
    timer_at: Option<Time>,
    spin_count: u32,
    pub joined_at: Option<Time>,
    pub completed_at: Option<Time>,
    lacked_bytes: u64,
}

impl Node {
    pub(super) fn new(index: usize, scenario: &Scenario, rng: &mut Rng) -> Self {
        let [_, a, b, c] = (index as u32 + 1).to_be_bytes();
        let is_seed = index < scenario.first_getter();
        let pieces = scenario.geometry().piece_count();
        let have = if is_seed {
            Bitfield::all(pieces)
        } else {
            Bitfield::none(pieces)
        };
        let mut random = [0; 12];
        random[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
        random[11] = index as u8;
        let id = PeerId::from_random(random);
        let slow = scenario.first_getter()..scenario.first_getter() + scenario.slow_count;
        let slowness = if slow.contains(&index) { 10 } else { 1 };
        let (swarm, pool) = new_swarm(id, have, scenario, rng.next_u64());
        Self {
            id,
            addr: ([10, a, b, c], 6881).into(),
            is_fast: scenario.plain_one_in == 0 || rng.below(scenario.plain_one_in) > 0,
            is_seed,
            is_poisoner: is_seed && index >= scenario.seed_count,
            is_up: false,
            life: 0,
            swarm,
            pool,
            up_bytes_per_second: scenario.up_bytes_per_second / slowness,
            links: Vec::new(),
            downlink_free_at: Time::ZERO,
            ready: VecDeque::new(),
            sending: None,
            spoilt_runs: BTreeSet::new(),
            timer_at: None,
            spin_count: 0,
            joined_at: None,
            completed_at: None,
            lacked_bytes: 0,
        }
    }

    /// A conn carries a link from now on.
    pub(super) fn link(&mut self, key: PeerKey, conn: usize, side: Side) {
        if self.links.len() <= key.slot() {
            self.links.resize(key.slot() + 1, None);
        }
        self.links[key.slot()] = Some(Link { key, conn, side });
    }

    /// It no longer does.
    pub(super) fn unlink(&mut self, key: PeerKey) {
        if self.link_of(key).is_some() {
            self.links[key.slot()] = None;
        }
    }

    fn link_of(&self, key: PeerKey) -> Option<Link> {
        let link = *self.links.get(key.slot())?;
        link.filter(|link| link.key == key)
    }

    /// There may be something to send to a peer.
    pub(super) fn make_ready(&mut self, peer: PeerKey) {
        if !self.ready.contains(&peer) {
            self.ready.push_back(peer);
        }
    }

    /// The conns that carry its links, and its sides of them.
    pub(super) fn conns(&self) -> Vec<(usize, Side)> {
        let links = self.links.iter().flatten();
        links.map(|link| (link.conn, link.side)).collect()
    }

    /// What it fetched since it started.
    pub(super) fn this_life(&self) -> Life {
        let counts = self.swarm.counts();
        Life {
            lacked_bytes: self.lacked_bytes,
            down_bytes: counts.down_bytes,
            wasted_bytes: counts.wasted_bytes,
        }
    }
}

fn new_swarm(id: PeerId, have: Bitfield, scenario: &Scenario, seed: u64) -> (Swarm, BufferPool) {
    let pool = BufferPool::phantom(scenario.pool_bytes);
    let mut config = Config::new(id, seed, pool.clone());
    config.order = scenario.order;
    config.peer_order = scenario.peer_order;
    config.links_max = scenario.links_max;
    config.upload_slots_max = scenario.upload_slots_max;
    config.whole_piece_bytes_max = scenario.whole_piece_bytes_max;
    (Swarm::new(config, scenario.geometry(), have), pool)
}

impl Simulation {
    /// A node starts with the pieces that it has, and joins.
    pub(super) fn start(&mut self, index: usize) {
        let seed = self.rng.next_u64();
        let geometry = self.scenario.geometry();
        let node = &mut self.nodes[index];
        let have = node.swarm.have().clone();
        let missing = have.zeros().map(|p| u64::from(geometry.piece_len(p)));
        node.lacked_bytes = missing.sum();
        node.life += 1;
        node.is_up = true;
        (node.swarm, node.pool) = new_swarm(node.id, have.clone(), &self.scenario, seed);
        if node.swarm.is_complete() && node.completed_at.is_none() {
            node.completed_at = Some(self.now);
            self.unfinished_count -= 1;
        }
        self.ask(index, Question::Join(have));
    }

    /// Tells a node what happened, and does what it wants done.
    pub(super) fn input(&mut self, node: usize, input: Input<'_>) {
        self.nodes[node].swarm.handle_input(self.now, input);
        self.settle(node);
    }

    /// Does what a node wants done, until it wants nothing more.
    pub(super) fn settle(&mut self, node: usize) {
        loop {
            while let Some(output) = self.nodes[node].swarm.poll_output() {
                self.act(node, output);
            }
            if !self.pump(node) {
                break;
            }
        }
        self.arm(node);
        let lent = self.nodes[node].pool.bytes_lent();
        self.outcome.pool_bytes_peak = self.outcome.pool_bytes_peak.max(lent);
        let every = self.scenario.check_every;
        if every > 0 && self.outcome.event_count.is_multiple_of(every) {
            self.nodes[node].swarm.check();
        }
    }

    fn act(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Open { peer } => self.tell_possession(node, peer),
            Output::Send { peer, message } => self.tell(node, peer, message),
            Output::Broadcast { piece } => {
                for (conn, side) in self.nodes[node].conns() {
                    self.send(conn, side, Wire::Message(Message::Have { piece }));
                }
            }
            // The nodes are members of one tracker, and never ask to be told.
            Output::Exchange { .. } => {}
            Output::Upload { peer } => self.nodes[node].make_ready(peer),
            Output::Check { piece, buffer } => {
                let checked = Event::Checked {
                    node,
                    life,
                    piece,
                    buffer,
                };
                self.schedule(CHECK_TIME, checked);
            }
            Output::Write { run, buffer } => {
                let written = Event::Written {
                    node,
                    life,
                    run,
                    buffer,
                };
                self.schedule(WRITE_TIME, written);
            }
            Output::Verify { piece } => {
                self.schedule(CHECK_TIME, Event::Verified { node, life, piece });
            }
            Output::Load { run, buffer } => {
                let loaded = Event::Loaded {
                    node,
                    life,
                    run,
                    buffer,
                };
                self.schedule(LOAD_TIME, loaded);
            }
            Output::Connect { addr } => self.dial(node, addr),
            Output::Disconnect { peer, reason } => {
                if let Some(link) = self.nodes[node].link_of(peer) {
                    self.note(node, reason);
                    self.close(link.conn, link.side);
                    let gone = Input::Disconnected { peer };
                    self.nodes[node].swarm.handle_input(self.now, gone);
                }
            }
            Output::Report => {
                let mut pieces = Vec::new();
                self.nodes[node].swarm.take_report(self.now, &mut pieces);
                self.ask(node, Question::Report(pieces));
            }
            Output::WantPeers => self.ask(node, Question::WantPeers),
            Output::Accuse { addr, .. } => {
                self.outcome.accusation_counts[node_at(addr)] += 1;
                self.ask(node, Question::Accuse(addr));
            }
            Output::Complete => self.completed(node),
            Output::Failed(error) => panic!("no disk fails here: {error}"),
        }
    }

    fn completed(&mut self, node: usize) {
        if self.nodes[node].completed_at.replace(self.now).is_none() {
            self.unfinished_count -= 1;
        }
        if self.scenario.leave_when_done {
            let after = Duration::from_secs(1) + self.random_within(Duration::from_millis(100));
            self.schedule(after, Event::Leave { node });
        }
    }

    fn tell_possession(&mut self, node: usize, peer: PeerKey) {
        let Some(link) = self.nodes[node].link_of(peer) else {
            return;
        };
        let both_fast = self.nodes[node].is_fast && {
            let other = self.conns[link.conn].end(link.side.other()).node;
            self.nodes[other].is_fast
        };
        let have = self.nodes[node].swarm.have();
        let what = match (both_fast, have.is_all(), have.is_empty()) {
            (true, true, _) => Wire::Message(Message::HaveAll),
            (true, _, true) => Wire::Message(Message::HaveNone),
            (false, _, true) => return,
            _ => Wire::Possession(have.as_bytes().into()),
        };
        self.send(link.conn, link.side, what);
    }

    fn tell(&mut self, node: usize, peer: PeerKey, message: Message<'static>) {
        let Some(link) = self.nodes[node].link_of(peer) else {
            return;
        };
        if let (Message::Request(_), Some(joined_at)) = (message, self.nodes[node].joined_at) {
            let after = self.now.since(joined_at);
            self.outcome.first_request_after[node].get_or_insert(after);
        }
        self.send(link.conn, link.side, Wire::Message(message));
    }

    /// Sends the next block, if the uplink is free and there is one; says whether the node may want something done.
    fn pump(&mut self, node: usize) -> bool {
        let mut asked = false;
        while self.nodes[node].sending.is_none() {
            let Some(key) = self.nodes[node].ready.pop_front() else {
                break;
            };
            asked = true;
            let Some(link) = self.nodes[node].link_of(key) else {
                continue;
            };
            if self.is_full(link.conn, link.side.other()) {
                continue;
            }
            let Some(upload) = self.nodes[node].swarm.next_upload(self.now, key) else {
                continue;
            };
            let spoilt =
                self.nodes[node].is_poisoner && self.rng.below(self.scenario.spoil_one_in) == 0;
            let sender = &mut self.nodes[node];
            sender.ready.push_back(key);
            let request = upload.request;
            let nanos = u64::from(request.len) * 1_000_000_000 / sender.up_bytes_per_second;
            let leaves_at = self.now + Duration::from_nanos(nanos);
            let (conn, side) = (link.conn, link.side);
            self.block_count += 1;
            let number = self.block_count;
            sender.sending = Some(Sending {
                upload,
                conn,
                began_at: self.now,
                number,
            });
            self.schedule_at(leaves_at, Event::UplinkFree { node, number });
            if self.scenario.in_whole_pieces {
                self.send_long(leaves_at, conn, side, (request, spoilt), number);
            } else {
                self.send_block(leaves_at, conn, side, (request, spoilt));
            }
        }
        asked
    }

    pub(super) fn uplink_free(&mut self, node: usize, number: u64) {
        let sending = &mut self.nodes[node].sending;
        if sending
            .take_if(|sending| sending.number == number)
            .is_some()
        {
            self.settle(node);
        }
    }

    /// A request is taken back while its answer, a long one, is on its way out: the rest of it stays here.
    pub(super) fn cut_short(&mut self, node: usize, conn: usize, request: BlockRequest) {
        let is_it =
            |sending: &mut Sending| sending.conn == conn && sending.upload.request == request;
        if !self.scenario.in_whole_pieces {
            return;
        }
        let Some(cut) = self.nodes[node].sending.take_if(is_it) else {
            return;
        };
        let seconds = self.now.since(cut.began_at).as_secs_f64();
        let sent = seconds * self.nodes[node].up_bytes_per_second as f64;
        self.outcome.cut_bytes += sent as u64;
        self.outcome.unsent_bytes[node] += u64::from(request.len) - sent as u64;
        self.cut_blocks.insert(cut.number);
    }

    pub(super) fn checked(&mut self, node: usize, life: u32, piece: u32, buffer: PieceBuf) {
        if self.nodes[node].life != life {
            return;
        }
        let verdict = if buffer.is_spoilt() {
            Verdict::Wrong
        } else {
            Verdict::Good
        };
        self.input(
            node,
            Input::Checked {
                piece,
                verdict,
                buffer,
            },
        );
    }

    pub(super) fn written(&mut self, index: usize, life: u32, run: Run, buffer: PieceBuf) {
        let node = &mut self.nodes[index];
        if node.life != life {
            return;
        }
        if buffer.is_spoilt() {
            node.spoilt_runs.insert(run);
        } else {
            node.spoilt_runs.remove(&run);
        }
        let result = Ok(());
        self.input(
            index,
            Input::Written {
                run,
                buffer,
                result,
            },
        );
    }

    /// A large piece is what its runs on disk are.
    pub(super) fn verified(&mut self, node: usize, life: u32, piece: u32) {
        if self.nodes[node].life != life {
            return;
        }
        let is_wrong = self.nodes[node]
            .spoilt_runs
            .iter()
            .any(|run| run.piece == piece);
        let verdict = if is_wrong {
            Verdict::Wrong
        } else {
            Verdict::Good
        };
        self.input(node, Input::Verified { piece, verdict });
    }

    pub(super) fn loaded(&mut self, node: usize, life: u32, run: Run, buffer: PieceBuf) {
        if self.nodes[node].life == life {
            let ok = true;
            self.input(node, Input::Loaded { run, buffer, ok });
        }
    }

    fn arm(&mut self, node: usize) {
        let Some(at) = self.nodes[node].swarm.poll_timeout() else {
            return;
        };
        let (at, life) = (at.max(self.now), self.nodes[node].life);
        if self.nodes[node].timer_at.is_none_or(|armed| at < armed) {
            self.nodes[node].timer_at = Some(at);
            self.schedule_at(at, Event::Timer { node, life });
        }
    }

    pub(super) fn timer(&mut self, index: usize, life: u32) {
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.life != life || node.timer_at != Some(now) {
            return;
        }
        node.timer_at = None;
        if node.swarm.poll_timeout().is_some_and(|at| at <= now) {
            node.swarm.handle_timeout(now);
            let still_due = node.swarm.poll_timeout().is_some_and(|at| at <= now);
            node.spin_count = if still_due { node.spin_count + 1 } else { 0 };
            assert!(node.spin_count < SPINS_MAX, "node {index} spins");
            let half = self.scenario.linger / 2;
            if self.finished_at.is_some_and(|at| now > at + half) {
                self.outcome.idle_timer_count += 1;
            }
        }
        self.settle(index);
    }

    /// A node is gone from one moment to the next; others hear of it.
    pub(super) fn stop(&mut self, index: usize) {
        if !self.nodes[index].is_up {
            return;
        }
        self.note_life(index);
        for (conn, side) in self.nodes[index].conns() {
            self.close(conn, side);
        }
        for conn in 0..self.conns.len() {
            let dialler = self.conns[conn].end(Side::Dialler);
            if dialler.node == index && dialler.is_open {
                self.close(conn, Side::Dialler);
            }
            let acceptor = self.conns[conn].end(Side::Acceptor);
            if acceptor.node == index && acceptor.is_open {
                self.close(conn, Side::Acceptor);
            }
        }
        let node = &mut self.nodes[index];
        node.is_up = false;
        node.life += 1;
        node.ready.clear();
        node.links.clear();
        node.sending = None;
        node.timer_at = None;
        self.ask(index, Question::Gone);
    }
}
