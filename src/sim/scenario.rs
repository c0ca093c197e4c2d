//! What is simulated: who takes part, what they have, what goes wrong.

use std::ops::Range;
use std::time::Duration;

use crate::swarm::{Geometry, Order, PeerOrder, Policy, WHOLE_PIECE_BYTES_MAX, Watch};

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
    /// Every message between nodes is encoded and decoded; only where a request asks for a block.
    pub is_encoded: bool,
    /// Nodes that hold everything at the start.
    pub seed_count: usize,
    /// Further nodes that hold everything, and spoil one block in `spoil_one_in`.
    pub poisoner_count: usize,
    /// How often a poisoner spoils a block.
    pub spoil_one_in: usize,
    /// Nodes that fetch.
    pub getter_count: usize,
    /// Of them, the last so many never upload anything: they choke everybody.
    pub free_rider_count: usize,
    /// Free riders take as many links as there are, and look for all of them.
    pub large_view: bool,
    /// The time within which the nodes that fetch join.
    pub join_span: Duration,
    /// One way of every conn, at least.
    pub latency: Duration,
    /// What a conn's latency may have on top, at most.
    pub latency_jitter: Duration,
    /// Uplink of a node, in bytes per second.
    pub up_bytes_per_second: u64,
    /// Uplink of a seed, if it is another.
    pub seed_up_bytes_per_second: Option<u64>,
    /// Uplinks of the nodes that fetch: so many of them with so many bytes per second each, from the first on.
    pub uplinks: Vec<(usize, u64)>,
    /// Downlink of a node, in bytes per second, if it has a limit; only where a request asks for a block.
    pub down_bytes_per_second: Option<u64>,
    /// Of the nodes that fetch, how many of the first have a tenth of their uplink.
    pub slow_count: usize,
    /// One conn in so many carries a tenth of an uplink; 0 is none. Only where a request asks for a block.
    pub slow_link_one_in: usize,
    /// Racks, among which the nodes are dealt out; 1 is no racks. Only where a request asks for a block.
    pub rack_count: usize,
    /// How many times what leaves a rack at once, or enters it, would fit into what its nodes can send.
    pub oversubscription: u64,
    /// One node in so many does not speak the fast extension; 0 is none.
    pub plain_one_in: usize,
    /// The buffer pool of each node, in bytes.
    pub pool_bytes: usize,
    /// Links of each node.
    pub links_max: usize,
    /// Links that each node looks for.
    pub links_wanted: usize,
    /// Pieces of more bytes than this are written before they are checked.
    pub whole_piece_bytes_max: u32,
    /// Whom the nodes serve.
    pub policy: Policy,
    /// Pieces that a node sends at a time, if that is not left to it.
    pub turns: Option<usize>,
    /// The last blocks are asked for twice.
    pub end_game: bool,
    /// Seeds tell which piece to ask for next.
    pub seeds_suggest: bool,
    /// When nodes ask the tracker how many copies there are.
    pub watch: Watch,
    /// Seeds leave when the others together have one copy.
    pub seeds_leave: bool,
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
    /// Of the nodes that fetch, how many in a hundred crash in a minute and stay away; those that have everything do not.
    pub loss_percent_per_minute: usize,
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
            is_encoded: false,
            seed_count: 1,
            poisoner_count: 0,
            spoil_one_in: 20,
            getter_count: 4,
            free_rider_count: 0,
            large_view: false,
            join_span: Duration::from_millis(20),
            latency: Duration::from_micros(500),
            latency_jitter: Duration::from_micros(250),
            up_bytes_per_second: 10 << 20,
            seed_up_bytes_per_second: None,
            uplinks: Vec::new(),
            down_bytes_per_second: None,
            slow_count: 0,
            slow_link_one_in: 0,
            rack_count: 1,
            oversubscription: 4,
            plain_one_in: 0,
            pool_bytes: 64 << 20,
            links_max: 80,
            links_wanted: 40,
            whole_piece_bytes_max: WHOLE_PIECE_BYTES_MAX,
            policy: Policy::Fleet,
            turns: None,
            end_game: true,
            seeds_suggest: true,
            watch: Watch::default(),
            seeds_leave: false,
            upload_slots_max: 32,
            both_dial: false,
            reset_count: 0,
            silence_count: 0,
            crash_count: 0,
            loss_percent_per_minute: 0,
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

    /// The nodes that spoil what they send.
    pub fn poisoners(&self) -> Range<usize> {
        self.seed_count..self.first_getter()
    }

    /// The nodes that fetch and upload.
    pub fn contributors(&self) -> Range<usize> {
        self.first_getter()..self.node_count() - self.free_rider_count
    }

    /// The nodes that fetch and never upload.
    pub fn free_riders(&self) -> Range<usize> {
        self.node_count() - self.free_rider_count..self.node_count()
    }

    /// The uplink of a node, in bytes per second.
    pub fn uplink_of(&self, node: usize) -> u64 {
        if node < self.seed_count {
            return self
                .seed_up_bytes_per_second
                .unwrap_or(self.up_bytes_per_second);
        }
        let Some(mut getter) = node.checked_sub(self.first_getter()) else {
            return self.up_bytes_per_second;
        };
        let slowness = if getter < self.slow_count { 10 } else { 1 };
        for &(count, rate) in &self.uplinks {
            if getter < count {
                return rate / slowness;
            }
            getter -= count;
        }
        self.up_bytes_per_second / slowness
    }

    /// The rack of a node.
    pub fn rack_of(&self, node: usize) -> usize {
        node % self.rack_count
    }

    /// What enters a rack, or leaves it, in bytes per second; `None` if there are no racks.
    pub fn rack_bytes_per_second(&self) -> Option<u64> {
        let nodes = self.node_count().div_ceil(self.rack_count) as u64;
        (self.rack_count > 1).then(|| nodes * self.up_bytes_per_second / self.oversubscription)
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
