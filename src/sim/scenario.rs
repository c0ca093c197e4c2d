//! What is simulated, and what came of it.

use std::time::Duration;

use crate::base::Time;
use crate::swarm::{Geometry, Order, PeerOrder, Reason, WHOLE_PIECE_BYTES_MAX};

/// What is simulated. Nodes are numbered: seeds first, then poisoners, then those that fetch.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seed of everything random.
    pub seed: u64,
    /// Bytes of the content.
    pub total_len: u64,
    /// Bytes of a piece.
    pub piece_length: u32,
    /// A request asks for a whole piece, not for a block: large swarms are simulated so.
    pub in_whole_pieces: bool,
    /// Nodes that hold everything at the start.
    pub seed_count: usize,
    /// Further nodes that hold everything, and spoil one block in `spoil_one_in`.
    pub poisoner_count: usize,
    /// How often a poisoner spoils a block.
    pub spoil_one_in: usize,
    /// Nodes that fetch.
    pub getter_count: usize,
    /// The time within which the nodes that fetch join.
    pub join_span: Duration,
    /// One way of every conn, at least.
    pub latency: Duration,
    /// What a conn's latency may have on top, at most.
    pub latency_jitter: Duration,
    /// Uplink of a node, in bytes per second.
    pub up_bytes_per_second: u64,
    /// Downlink of a node, in bytes per second, if it has a limit; only where a request asks for a block.
    pub down_bytes_per_second: Option<u64>,
    /// Of the nodes that fetch, how many have a tenth of that.
    pub slow_count: usize,
    /// One node in so many does not speak the fast extension; 0 is none.
    pub plain_one_in: usize,
    /// The buffer pool of each node, in bytes.
    pub pool_bytes: usize,
    /// Links of each node.
    pub links_max: usize,
    /// Pieces of more bytes than this are written before they are checked.
    pub whole_piece_bytes_max: u32,
    /// Upload slots of each node.
    pub upload_slots_max: usize,
    /// Members that hear of a newcomer dial it at once, so that both dial.
    pub both_dial: bool,
    /// Conns that are cut.
    pub reset_count: usize,
    /// Conns on which nothing arrives any more.
    pub silence_count: usize,
    /// Nodes that crash while they fetch, and come back with the pieces that they had.
    pub crash_count: usize,
    /// The time within which the faults strike.
    pub fault_span: Duration,
    /// Nodes leave when they have everything.
    pub leave_when_done: bool,
    /// How pieces are chosen.
    pub order: Order,
    /// How peers are chosen.
    pub peer_order: PeerOrder,
    /// The run is given up after this much virtual time.
    pub time_max: Duration,
    /// How long the run goes on when all have everything.
    pub linger: Duration,
    /// The invariants of the node that an event touched are checked after every so many events; 0 is never.
    pub check_every: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            total_len: 8 << 20,
            piece_length: 1 << 18,
            in_whole_pieces: false,
            seed_count: 1,
            poisoner_count: 0,
            spoil_one_in: 20,
            getter_count: 4,
            join_span: Duration::from_millis(20),
            latency: Duration::from_micros(500),
            latency_jitter: Duration::from_micros(250),
            up_bytes_per_second: 10 << 20,
            down_bytes_per_second: None,
            slow_count: 0,
            plain_one_in: 0,
            pool_bytes: 64 << 20,
            links_max: 80,
            whole_piece_bytes_max: WHOLE_PIECE_BYTES_MAX,
            upload_slots_max: 32,
            both_dial: false,
            reset_count: 0,
            silence_count: 0,
            crash_count: 0,
            fault_span: Duration::from_secs(2),
            leave_when_done: false,
            order: Order::default(),
            peer_order: PeerOrder::default(),
            time_max: Duration::from_secs(600),
            linger: Duration::ZERO,
            check_every: 1,
        }
    }
}

impl Scenario {
    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.seed_count + self.poisoner_count + self.getter_count
    }

    /// The first node that fetches.
    pub fn first_getter(&self) -> usize {
        self.seed_count + self.poisoner_count
    }

    /// The sizes of the content.
    pub fn geometry(&self) -> Geometry {
        let geometry = Geometry::new(self.total_len, self.piece_length);
        if self.in_whole_pieces {
            geometry.in_whole_pieces()
        } else {
            geometry
        }
    }
}

/// What a node fetched between a start and the next crash, or the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Bytes of the pieces that it had not at the start.
    pub lacked_bytes: u64,
    /// Payload bytes that it received.
    pub down_bytes: u64,
    /// Payload bytes that it received in vain.
    pub wasted_bytes: u64,
}

/// What came of a scenario. Lists have one entry for each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Folds every event, in order: equal runs have equal hashes.
    pub hash: u64,
    /// Events that happened.
    pub event_count: u64,
    /// When each node had everything; `None` if it never did.
    pub completed_at: Vec<Option<Time>>,
    /// How long after the tracker's first answer each node sent its first request.
    pub first_request_after: Vec<Option<Duration>>,
    /// What each node fetched, life by life.
    pub lives: Vec<Vec<Life>>,
    /// Payload bytes that each node sent.
    pub up_bytes: Vec<u64>,
    /// Payload bytes that each node did not send after all, of long blocks that were cut short.
    pub unsent_bytes: Vec<u64>,
    /// Payload bytes that had left of long blocks that were cut short.
    pub cut_bytes: u64,
    /// How often each node was banned by another.
    pub ban_counts: Vec<usize>,
    /// How often each node was accused before the tracker.
    pub accusation_counts: Vec<usize>,
    /// Pieces that failed their check, over all nodes.
    pub hash_fail_count: u64,
    /// Times that a peer let its requests wait too long, over all nodes.
    pub stall_count: u64,
    /// Conns that were dialled.
    pub dial_count: u64,
    /// Why links were closed or refused, with the node that did it; what is nobody's fault is left out.
    pub faults: Vec<(usize, Reason)>,
    /// Conns that gave way to another one between the same two.
    pub duplicate_count: u64,
    /// Timers that fired in the second half of the time after all had everything.
    pub idle_timer_count: u64,
    /// Most bytes on loan from a node's pool.
    pub pool_bytes_peak: usize,
}

impl Outcome {
    pub(super) fn new(node_count: usize) -> Self {
        Self {
            hash: 0,
            event_count: 0,
            completed_at: vec![None; node_count],
            first_request_after: vec![None; node_count],
            lives: vec![Vec::new(); node_count],
            up_bytes: vec![0; node_count],
            unsent_bytes: vec![0; node_count],
            cut_bytes: 0,
            ban_counts: vec![0; node_count],
            accusation_counts: vec![0; node_count],
            hash_fail_count: 0,
            stall_count: 0,
            dial_count: 0,
            faults: Vec::new(),
            duplicate_count: 0,
            idle_timer_count: 0,
            pool_bytes_peak: 0,
        }
    }

    /// When the last node had everything; `None` if one never did.
    pub fn last_completed_at(&self) -> Option<Time> {
        let times: Option<Vec<Time>> = self.completed_at.iter().copied().collect();
        times?.into_iter().max()
    }

    /// Payload bytes received in vain, over all nodes.
    pub fn wasted_bytes(&self) -> u64 {
        self.lives
            .iter()
            .flatten()
            .map(|life| life.wasted_bytes)
            .sum()
    }

    /// Payload bytes received, over all nodes.
    pub fn down_bytes(&self) -> u64 {
        self.lives
            .iter()
            .flatten()
            .map(|life| life.down_bytes)
            .sum()
    }
}
