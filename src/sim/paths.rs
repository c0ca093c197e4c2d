//! What lies between two nodes and is shared: the conn itself where it is slow, the uplinks of racks, the downlink.
//!
//! Each takes in one block at a time. What is on its way to a conn's other side is limited, as by a window, so a sender
//! whose blocks pile up somewhere turns to other conns. There are such places only where a request asks for a block: a
//! whole piece would pass them as one lump.

use std::time::Duration;

use super::network::{Side, Wire};
use super::{Scenario, Simulation};
use crate::base::Time;
use crate::wire::peer::BlockRequest;

/// Payload that a conn takes before its other side has taken it in.
const CONN_BYTES_MAX: u32 = 256 << 10;

/// When the uplinks of the racks are free again, out of each and into it.
#[derive(Debug)]
pub(super) struct Racks {
    out_free_at: Vec<Time>,
    in_free_at: Vec<Time>,
}

impl Racks {
    /// All are free.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let free = vec![Time::ZERO; scenario.rack_count];
        Self {
            out_free_at: free.clone(),
            in_free_at: free,
        }
    }
}

/// Lets `len` bytes that are there at `at` pass a place that takes in `rate` bytes per second and is free at `free_at`.
fn pass(free_at: &mut Time, at: Time, len: u32, rate: u64) -> Time {
    let time = Duration::from_nanos(u64::from(len) * 1_000_000_000 / rate);
    *free_at = (*free_at).max(at) + time;
    *free_at
}

impl Scenario {
    /// Whether blocks may pile up behind their sender's uplink.
    fn has_narrow_paths(&self) -> bool {
        self.down_bytes_per_second.is_some() || self.slow_link_one_in > 0 || self.rack_count > 1
    }

    /// Asserts that the parts of the scenario fit together.
    pub(super) fn check(&self) {
        assert!(
            !self.in_whole_pieces || !self.has_narrow_paths() && !self.is_encoded,
            "whole pieces pass no narrow paths and no wire"
        );
        assert!(self.free_rider_count <= self.getter_count && self.rack_count > 0);
        assert!(self.seed_count > 0, "somebody has the content");
    }
}

impl Simulation {
    /// Whether a conn takes no more payload for a side that has not taken in what is on its way.
    pub(super) fn is_full(&self, conn: usize, to: Side) -> bool {
        self.scenario.has_narrow_paths()
            && self.conns[conn].end(to).in_flight_bytes >= CONN_BYTES_MAX
    }

    /// Sends a block that leaves the node at `leaves_at`, and arrives when all on its way have taken it in.
    pub(super) fn send_block(
        &mut self,
        leaves_at: Time,
        conn: usize,
        from: Side,
        (request, spoilt): (BlockRequest, bool),
    ) {
        let mut leaves_at = leaves_at;
        if self.scenario.has_narrow_paths() {
            leaves_at = self.take_path(leaves_at, conn, from, request.len);
            self.conns[conn].end_mut(from.other()).in_flight_bytes += request.len;
        }
        let what = Wire::Block {
            request,
            spoilt,
            number: None,
        };
        self.send_at(leaves_at, conn, from, what);
    }

    fn take_path(&mut self, leaves_at: Time, conn: usize, from: Side, len: u32) -> Time {
        let scenario = &self.scenario;
        let latency = self.conns[conn].latency;
        let sender = self.conns[conn].end(from).node;
        let end = self.conns[conn].end_mut(from.other());
        let receiver = end.node;
        let mut at = leaves_at;
        if let Some(rate) = end.slow_bytes_per_second {
            at = pass(&mut end.conn_free_at, at, len, rate);
        }
        let (source, target) = (scenario.rack_of(sender), scenario.rack_of(receiver));
        if let Some(rate) = scenario.rack_bytes_per_second()
            && source != target
        {
            at = pass(&mut self.racks.out_free_at[source], at, len, rate);
            at = pass(&mut self.racks.in_free_at[target], at, len, rate);
            self.outcome.rack_down_bytes[target] += u64::from(len);
        }
        if let Some(rate) = scenario.down_bytes_per_second {
            let downlink = &mut self.nodes[receiver].downlink_free_at;
            let arrives_at = pass(downlink, at + latency, len, rate);
            at = Time::ZERO + arrives_at.since(Time::ZERO).saturating_sub(latency);
        }
        at
    }

    /// The other side has taken a block in: its sender may send more.
    pub(super) fn taken_in(&mut self, conn: usize, to: Side, request: BlockRequest) {
        let was_full = self.is_full(conn, to);
        let end = self.conns[conn].end_mut(to);
        end.in_flight_bytes = end.in_flight_bytes.saturating_sub(request.len);
        if was_full && !self.is_full(conn, to) {
            let sender = *self.conns[conn].end(to.other());
            if let Some(key) = sender.key.filter(|_| sender.is_open) {
                self.nodes[sender.node].make_ready(key);
                self.settle(sender.node);
            }
        }
    }
}
