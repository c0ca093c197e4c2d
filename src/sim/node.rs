//! One node: a swarm, its uplink, its workers, and what it told us of itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::network::{Side, Wire, addr_of, node_at};
use super::outcome::Life;
use super::trace::Name;
use super::tracker::Question;
use super::watch::Watch;
use super::{Event, Scenario, Simulation};
use crate::base::{Bitfield, BufferPool, PeerId, Rng, Time};
use crate::swarm::{Config, Input, Output, PeerKey, Run, Swarm, Upload};
use crate::wire::peer::{BlockRequest, Message};

/// Timers in a row at one moment after which a node is said to spin.
const SPINS_MAX: u32 = 100;

/// A link, and the conn that carries it.
#[derive(Clone, Copy, Debug)]
struct Link {
    key: PeerKey,
    conn: usize,
    side: Side,
    /// It stands among those for whom there may be something to send.
    is_ready: bool,
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
    /// Runs on its disk in which bytes are wrong, and the blocks that hold them.
    pub spoilt_runs: BTreeMap<Run, Vec<u32>>,
    timer_at: Option<Time>,
    spin_count: u32,
    pub joined_at: Option<Time>,
    pub completed_at: Option<Time>,
    lacked_bytes: u64,
    pub watch: Watch,
}

impl Node {
    pub(super) fn new(index: usize, scenario: &Scenario, rng: &mut Rng, notes: bool) -> Self {
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
        let (swarm, pool) = new_swarm(index, id, have, scenario, rng.next_u64(), notes);
        Self {
            id,
            addr: addr_of(index, scenario.rack_of(index)),
            is_fast: scenario.plain_one_in == 0 || rng.below(scenario.plain_one_in) > 0,
            is_seed,
            is_poisoner: is_seed && index >= scenario.seed_count,
            is_up: false,
            life: 0,
            swarm,
            pool,
            up_bytes_per_second: scenario.uplink_of(index),
            links: Vec::new(),
            downlink_free_at: Time::ZERO,
            ready: VecDeque::new(),
            sending: None,
            spoilt_runs: BTreeMap::new(),
            timer_at: None,
            spin_count: 0,
            joined_at: None,
            completed_at: None,
            lacked_bytes: 0,
            watch: Watch::default(),
        }
    }

    /// Whether any conn carries a link of it.
    pub(super) fn has_links(&self) -> bool {
        self.links.iter().any(Option::is_some)
    }

    /// Bytes on loan from its pool.
    pub(super) fn lent_bytes(&self) -> usize {
        self.pool.bytes_lent()
    }

    /// A conn carries a link from now on.
    pub(super) fn link(&mut self, key: PeerKey, conn: usize, side: Side) {
        if self.links.len() <= key.slot() {
            self.links.resize(key.slot() + 1, None);
        }
        self.links[key.slot()] = Some(Link {
            key,
            conn,
            side,
            is_ready: false,
        });
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
        let link = self.links.get_mut(peer.slot()).and_then(Option::as_mut);
        if let Some(link) = link.filter(|link| link.key == peer && !link.is_ready) {
            link.is_ready = true;
            self.ready.push_back(peer);
        }
    }

    /// The link of a peer whose turn to be looked at has come, if it still stands.
    fn take_ready(&mut self, peer: PeerKey) -> Option<Link> {
        let link = self.links.get_mut(peer.slot())?.as_mut();
        let link = link.filter(|link| link.key == peer)?;
        link.is_ready = false;
        Some(*link)
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

fn new_swarm(
    index: usize,
    id: PeerId,
    have: Bitfield,
    scenario: &Scenario,
    seed: u64,
    notes: bool,
) -> (Swarm, BufferPool) {
    let pool = BufferPool::phantom(scenario.pool_bytes);
    let mut config = Config::new(id, seed, pool.clone());
    config.order = scenario.order;
    config.peer_order = scenario.peer_order;
    config.links_max = scenario.links_max;
    config.links_wanted = scenario.links_wanted;
    config.upload_slots_max = scenario.upload_slots_max;
    config.whole_piece_bytes_max = scenario.whole_piece_bytes_max;
    config.notes = notes;
    config.policy = scenario.policy;
    config.watch = scenario.watch;
    config.end_game = scenario.end_game;
    config.suggests = scenario.seeds_suggest;
    if let Some(turns) = scenario.turns {
        (config.turns_min, config.turns_max) = (turns, turns);
    }
    if scenario.free_riders().contains(&index) {
        config.upload_slots_max = 0;
        if scenario.large_view {
            config.links_max = scenario.node_count();
            config.links_wanted = scenario.node_count();
        }
    }
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
        (node.swarm, node.pool) = new_swarm(
            index,
            node.id,
            have.clone(),
            &self.scenario,
            seed,
            self.trace.is_on(),
        );
        if node.swarm.is_complete() && node.completed_at.is_none() {
            node.completed_at = Some(self.now);
            self.unfinished_count -= 1;
        }
        self.tell(index, format_args!("starts with {} pieces", have.count()));
        self.outcome.started_at[index].get_or_insert(self.now);
        self.watch_links(index);
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
            self.tell_notes(node);
            while let Some(output) = self.nodes[node].swarm.poll_output() {
                self.act(node, output);
            }
            if !self.pump(node) {
                break;
            }
        }
        self.arm(node);
        self.check_step(node);
    }

    /// The node at the other end of a link.
    pub(super) fn other_end(&self, node: usize, peer: PeerKey) -> Option<usize> {
        let link = self.nodes[node].link_of(peer)?;
        Some(self.conns[link.conn].end(link.side.other()).node)
    }

    fn act(&mut self, node: usize, output: Output) {
        let lent = self.nodes[node].lent_bytes();
        self.outcome.pool_bytes_peak = self.outcome.pool_bytes_peak.max(lent);
        match output {
            Output::Open { peer } => self.tell_possession(node, peer),
            Output::Send { peer, message } => self.send_message(node, peer, message),
            Output::Broadcast { piece } => {
                self.tell(node, format_args!("has piece {piece}"));
                self.note_copy(piece);
                for (conn, side) in self.nodes[node].conns() {
                    self.send(conn, side, Wire::Message(Message::Have { piece }));
                }
            }
            // The nodes are members of one tracker, and never ask to be told.
            Output::Exchange { .. } => {}
            Output::Upload { peer } => self.nodes[node].make_ready(peer),
            Output::Check { .. }
            | Output::Write { .. }
            | Output::Verify { .. }
            | Output::Load { .. } => {
                self.give_to_worker(node, output);
            }
            Output::Connect { addr } => self.dial(node, addr),
            Output::Disconnect { peer, reason } => {
                if let Some(link) = self.nodes[node].link_of(peer) {
                    self.note(node, reason);
                    if let Some(other) = self.other_end(node, peer) {
                        self.tell(node, format_args!("parts from {}: {reason}", Name(other)));
                    }
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
            Output::Watch { is_on } => {
                self.tell(node, format_args!("asks for all counts: {is_on}"));
                self.ask(node, Question::Watch(is_on));
            }
            Output::Accuse { addr, piece, proof } => {
                let other = Name(node_at(addr));
                self.tell(
                    node,
                    format_args!("bans {other} for piece {piece}: {proof}"),
                );
                self.note_accused(node, addr);
                self.ask(node, Question::Accuse(addr));
            }
            Output::Complete => self.completed(node),
            Output::Failed(error) => panic!("no disk fails here: {error}"),
        }
    }

    fn completed(&mut self, node: usize) {
        self.tell(node, format_args!("has everything"));
        if self.nodes[node].completed_at.replace(self.now).is_none() {
            self.unfinished_count -= 1;
        }
        self.watch_links(node);
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

    fn send_message(&mut self, node: usize, peer: PeerKey, message: Message<'static>) {
        let Some(link) = self.nodes[node].link_of(peer) else {
            return;
        };
        if let (Message::Request(_), Some(joined_at)) = (message, self.nodes[node].joined_at) {
            let after = self.now.since(joined_at);
            self.outcome.first_request_after[node].get_or_insert(after);
        }
        self.tell_message(node, peer, &message);
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
            let Some(link) = self.nodes[node].take_ready(key) else {
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
            sender.make_ready(key);
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
        self.tell(index, format_args!("is gone"));
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
        self.watch_links(index);
        self.ask(index, Question::Gone);
    }
}
