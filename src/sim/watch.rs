//! What is watched while a run goes on: nodes without links, poisoners at work, and what must hold after every step.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Simulation;
use super::network::node_at;
use crate::base::Time;
use crate::swarm::PeerKey;

/// What is known of one node that the node itself need not know.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Since when it has no link although it lacks something.
    alone_since: Option<Time>,
    /// Nodes whose wrong blocks are in a piece, by piece.
    spoilers: BTreeMap<u32, Vec<usize>>,
    /// Pieces that failed, by the node that spoilt them.
    failed_by: BTreeMap<usize, u32>,
}

impl Simulation {
    /// A node started, completed or stopped, or its links changed: whether it is alone now.
    pub(super) fn watch_links(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let is_alone = node.is_up && node.completed_at.is_none() && !node.has_links();
        if is_alone {
            node.watch.alone_since.get_or_insert(self.now);
        } else if let Some(since) = node.watch.alone_since.take() {
            let time = self.now.since(since);
            self.outcome.alone_time_max = self.outcome.alone_time_max.max(time);
        }
    }

    /// Nodes that are alone when all is over were alone until then.
    pub(super) fn conclude_watch(&mut self) {
        for node in &self.nodes {
            let since = node.watch.alone_since.unwrap_or(self.now);
            let time = self.now.since(since);
            self.outcome.alone_time_max = self.outcome.alone_time_max.max(time);
        }
    }

    /// A block of `piece` whose bytes are wrong came to a node, and is part of that piece.
    pub(super) fn note_spoilt(&mut self, index: usize, from: PeerKey, piece: u32) {
        let Some(spoiler) = self.other_end(index, from) else {
            return;
        };
        let spoilers = self.nodes[index].watch.spoilers.entry(piece).or_default();
        if !spoilers.contains(&spoiler) {
            spoilers.push(spoiler);
        }
    }

    /// A piece was judged at a node.
    pub(super) fn note_judged(&mut self, index: usize, piece: u32, is_wrong: bool) {
        let watch = &mut self.nodes[index].watch;
        let spoilers = watch.spoilers.remove(&piece).unwrap_or_default();
        if is_wrong {
            let what = format_args!("finds piece {piece} wrong, spoilt by nodes {spoilers:?}");
            self.trace.tell(self.now, index, what);
        }
        for spoiler in spoilers.into_iter().filter(|_| is_wrong) {
            let failed = watch.failed_by.entry(spoiler).or_default();
            *failed += 1;
            self.outcome.failed_by_one_max = self.outcome.failed_by_one_max.max(*failed);
        }
    }

    /// A node was accused of having spoilt a piece. Where every step is checked, none may be that is honest.
    pub(super) fn note_accused(&mut self, by: usize, addr: SocketAddr) {
        let accused = node_at(addr);
        self.outcome.accusation_counts[accused] += 1;
        assert!(
            self.scenario.check_every == 0 || self.nodes[accused].is_poisoner,
            "node {by} accuses node {accused}, which is honest"
        );
    }

    /// Asserts, after every so many events, what must hold of the node that an event touched.
    pub(super) fn check_step(&self, index: usize) {
        let every = self.scenario.check_every;
        if every == 0 || !self.outcome.event_count.is_multiple_of(every) {
            return;
        }
        let node = &self.nodes[index];
        node.swarm.check();
        for (number, other) in self.nodes.iter().enumerate() {
            let ledger = node.swarm.ledger();
            assert!(
                other.is_poisoner || !ledger.is_banned(Some(other.id), other.addr),
                "node {index} bans node {number}, which is honest"
            );
        }
        let mut others: Vec<usize> = node
            .conns()
            .into_iter()
            .map(|(conn, side)| self.conns[conn].end(side.other()).node)
            .collect();
        others.sort_unstable();
        let doubled = others.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(doubled, None, "two links of node {index} to one other");
        let lent = node.lent_bytes();
        assert!(lent <= self.pool_bytes_max(), "{lent} bytes on loan");
    }

    /// Most bytes that a node may have on loan.
    pub(super) fn pool_bytes_max(&self) -> usize {
        let total_len = self.scenario.geometry().total_len();
        let one_piece = total_len.min(self.scenario.piece_length.into());
        self.scenario.pool_bytes.max(one_piece as usize)
    }
}
