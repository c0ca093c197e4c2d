//! What goes wrong: conns are cut or fall silent, nodes crash and come back.

use std::time::Duration;

use super::network::Side;
use super::trace::Name;
use super::{Event, Simulation};

/// How often nodes may be lost.
const LOSSES_EVERY: Duration = Duration::from_secs(1);
/// How long a crashed node is away, at least.
const AWAY_TIME_MIN: Duration = Duration::from_millis(500);

impl Simulation {
    /// Spreads the faults over their span.
    pub(super) fn plan_faults(&mut self) {
        for _ in 0..self.scenario.reset_count {
            let after = self.random_within(self.scenario.fault_span);
            self.schedule(after, Event::Reset);
        }
        for _ in 0..self.scenario.silence_count {
            let after = self.random_within(self.scenario.fault_span);
            self.schedule(after, Event::Silence);
        }
        for _ in 0..self.scenario.crash_count {
            let after = self.random_within(self.scenario.fault_span);
            self.schedule(after, Event::Crash);
        }
        if self.scenario.loss_percent_per_minute > 0 {
            self.schedule(LOSSES_EVERY, Event::Losses);
        }
    }

    /// Each node that fetches is lost with the probability that falls to a second.
    pub(super) fn lose_some(&mut self) {
        for node in self.scenario.first_getter()..self.nodes.len() {
            let is_hit = self.rng.below(60 * 100) < self.scenario.loss_percent_per_minute;
            let is_fetching = self.nodes[node].is_up && self.nodes[node].completed_at.is_none();
            if is_hit && is_fetching {
                self.stop(node);
                self.outcome.is_lost[node] = true;
                self.unfinished_count -= 1;
            }
        }
        self.schedule(LOSSES_EVERY, Event::Losses);
    }

    /// A node that fetches got a piece: it was the last of the first copy, maybe.
    pub(super) fn note_copy(&mut self, piece: u32) {
        if self.scenario.seeds_leave && self.copied.set(piece) && self.copied.is_all() {
            for node in 0..self.scenario.seed_count {
                self.schedule(Duration::ZERO, Event::Leave { node });
            }
        }
    }

    /// A conn that carries a link and was not struck yet.
    fn some_conn(&mut self) -> Option<usize> {
        let live: Vec<usize> = (0..self.conns.len())
            .filter(|&conn| self.conns[conn].is_linked() && !self.conns[conn].is_silent)
            .collect();
        self.rng.pick(&live).copied()
    }

    pub(super) fn reset_one(&mut self) {
        if let Some(conn) = self.some_conn() {
            let side = if self.rng.below(2) == 0 {
                Side::Dialler
            } else {
                Side::Acceptor
            };
            let end = *self.conns[conn].end(side);
            self.tell(end.node, format_args!("loses a conn, which is cut"));
            self.close(conn, side);
            let peer = end.key.expect("only conns with links are struck");
            self.input(end.node, crate::swarm::Input::Disconnected { peer });
        }
    }

    pub(super) fn silence_one(&mut self) {
        if let Some(conn) = self.some_conn() {
            self.conns[conn].is_silent = true;
            let [one, other] =
                [Side::Dialler, Side::Acceptor].map(|side| self.conns[conn].end(side).node);
            self.tell(
                one,
                format_args!("hears nothing any more of {}, nor it of it", Name(other)),
            );
        }
    }

    pub(super) fn crash_one(&mut self) {
        let fetching: Vec<usize> = (self.scenario.first_getter()..self.nodes.len())
            .filter(|&node| self.nodes[node].is_up && self.nodes[node].completed_at.is_none())
            .collect();
        if let Some(&node) = self.rng.pick(&fetching) {
            self.stop(node);
            let away = AWAY_TIME_MIN + self.random_within(AWAY_TIME_MIN);
            self.schedule(away, Event::Start { node });
        }
    }
}
