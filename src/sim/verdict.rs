//! The end of a run: what must hold in every one, and the figures of this one.

use super::network::Side;
use super::{Outcome, Simulation};

impl Simulation {
    /// Asserts what must hold at the end of every run, and gathers the outcome.
    pub(super) fn conclude(mut self) -> Outcome {
        for index in 0..self.nodes.len() {
            self.nodes[index].swarm.check();
            if self.nodes[index].is_up {
                self.note_life(index);
            }
            let node = &self.nodes[index];
            self.outcome.completed_at[index] = node.completed_at;
        }
        self.check_pool();
        self.conclude_watch();
        for free_rider in self.scenario.free_riders() {
            assert_eq!(self.outcome.up_bytes[free_rider], 0, "it never uploads");
        }
        if !self.scenario.linger.is_zero() && self.finished_at.is_some() {
            self.check_links();
            let have = self
                .nodes
                .iter()
                .map(|node| node.is_up.then(|| node.swarm.have()));
            let have: Vec<_> = have.collect();
            self.tracker.check(self.scenario.geometry(), &have);
        }
        self.outcome
    }

    /// Notes what a node did in the life that ends.
    pub(super) fn note_life(&mut self, index: usize) {
        let swarm = &self.nodes[index].swarm;
        let (counts, life) = (swarm.counts(), self.nodes[index].this_life());
        self.outcome.lives[index].push(life);
        self.outcome.up_bytes[index] += counts.up_bytes;
        self.outcome.hash_fail_count += counts.hash_fail_count;
        self.outcome.stall_count += counts.stall_count;
        for (banned, other) in self.nodes.iter().enumerate() {
            let ban = swarm.ledger().is_banned(Some(other.id), other.addr);
            self.outcome.ban_counts[banned] += usize::from(ban);
        }
    }

    fn check_pool(&self) {
        let bytes_max = self.pool_bytes_max();
        let peak = self.outcome.pool_bytes_peak;
        assert!(peak <= bytes_max, "{peak} bytes on loan of {bytes_max}");
    }

    /// A pair has one conn at most, and both sides know it; conns that fell silent are excused.
    fn check_links(&self) {
        let mut pairs = Vec::new();
        for conn in self.conns.iter().filter(|conn| !conn.is_silent) {
            let (one, other) = (conn.end(Side::Dialler), conn.end(Side::Acceptor));
            let links = [one, other].map(|end| end.is_open && end.key.is_some());
            assert_eq!(links[0], links[1], "nodes {} and {}", one.node, other.node);
            if links[0] {
                pairs.push((one.node.min(other.node), one.node.max(other.node)));
            }
        }
        pairs.sort_unstable();
        let doubled = pairs.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(doubled, None, "two conns between one pair");
    }
}
