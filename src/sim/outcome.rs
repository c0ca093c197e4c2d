//! What came of a scenario.

use std::ops::Range;
use std::time::Duration;

use crate::base::Time;
use crate::swarm::Reason;

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
    /// When each node first started.
    pub started_at: Vec<Option<Time>>,
    /// When each node had everything; `None` if it never did.
    pub completed_at: Vec<Option<Time>>,
    /// Whether each node was lost before it had everything.
    pub is_lost: Vec<bool>,
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
    /// Payload bytes that each rack took in from others.
    pub rack_down_bytes: Vec<u64>,
    /// The longest time for which a node that lacked something had no link.
    pub alone_time_max: Duration,
    /// Most pieces that failed at one node because of what one poisoner sent.
    pub failed_by_one_max: u32,
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
    pub(super) fn new(node_count: usize, rack_count: usize) -> Self {
        Self {
            hash: 0,
            event_count: 0,
            started_at: vec![None; node_count],
            completed_at: vec![None; node_count],
            is_lost: vec![false; node_count],
            first_request_after: vec![None; node_count],
            lives: vec![Vec::new(); node_count],
            up_bytes: vec![0; node_count],
            unsent_bytes: vec![0; node_count],
            cut_bytes: 0,
            rack_down_bytes: vec![0; rack_count],
            alone_time_max: Duration::ZERO,
            failed_by_one_max: 0,
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

    /// When the last node had everything that was not lost; `None` if one never did.
    pub fn last_completed_at(&self) -> Option<Time> {
        let nodes = self.completed_at.iter().zip(&self.is_lost);
        let lasting = nodes.filter(|(at, is_lost)| at.is_some() || !**is_lost);
        let times: Option<Vec<Time>> = lasting.map(|(at, _)| *at).collect();
        times?.into_iter().max()
    }

    /// Nodes that neither had everything in the end nor were lost.
    pub fn waiting(&self) -> Vec<usize> {
        let nodes = 0..self.completed_at.len();
        nodes
            .filter(|&node| self.completed_at[node].is_none() && !self.is_lost[node])
            .collect()
    }

    /// How long each of `nodes` took from its start until it had everything, in seconds; those that were lost are left out.
    pub fn times(&self, nodes: Range<usize>) -> Vec<f64> {
        let time = |node: usize| {
            let start = self.started_at[node].expect("it started before it had everything");
            Some(self.completed_at[node]?.since(start).as_secs_f64())
        };
        nodes.filter_map(time).collect()
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
