//! What a swarm may use, and how it chooses.

use super::{Order, PeerOrder, Policy, WHOLE_PIECE_BYTES_MAX, Watch};
use crate::base::{BufferPool, PeerId};

/// What a swarm may use, and how it chooses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our own peer id.
    pub id: PeerId,
    /// Seed of all random choices.
    pub seed: u64,
    /// Where buffers come from; shared by all swarms of the program.
    pub pool: BufferPool,
    /// Most bytes in arriving and checked pieces, one piece excepted.
    pub arriving_bytes_max: usize,
    /// Pieces of more bytes than this are written before they are checked.
    pub whole_piece_bytes_max: u32,
    /// Most bytes in the upload cache.
    pub cache_bytes_max: usize,
    /// Which piece is asked for next.
    pub order: Order,
    /// Whether the tracker is asked how many copies of each piece there are in the whole swarm.
    pub watch: Watch,
    /// Whom to dial and to ask first.
    pub peer_order: PeerOrder,
    /// Whom to serve.
    pub policy: Policy,
    /// Pieces that are sent at a time, at least (see `width` for the figures behind the default).
    pub turns_min: usize,
    /// The same, at most, where the least do not fill the uplink.
    pub turns_max: usize,
    /// Whether we tell peers which piece to ask for next, once we have everything (BEP 6).
    pub suggests: bool,
    /// Whether the last blocks are asked for twice.
    pub end_game: bool,
    /// Requests in flight to one peer.
    pub requests_max: usize,
    /// Links at a time.
    pub links_max: usize,
    /// Links that we look for; beyond them we take what comes.
    pub links_wanted: usize,
    /// Links at a time to one IP address that is not loopback.
    pub links_per_ip_max: usize,
    /// Whether peers tell us of others, and we tell them (BEP 11): not for a private torrent (BEP 27).
    pub exchange: bool,
    /// Peers unchoked at a time.
    pub upload_slots_max: usize,
    /// Requests of one peer that wait; further ones are rejected (libtorrent's limit).
    pub waiting_requests_max: usize,
    /// Whether decisions are noted: see [`Swarm::poll_note`].
    pub notes: bool,
    /// Whether what is missing stays missing (BEP 21): only what is here is served.
    pub is_upload_only: bool,
}

impl Config {
    /// The defaults for a peer called `id` that draws on `pool`: up to three quarters of it for what arrives,
    /// up to half for what is uploaded.
    pub fn new(id: PeerId, seed: u64, pool: BufferPool) -> Self {
        let bytes = pool.bytes_max();
        Self {
            id,
            seed,
            pool,
            arriving_bytes_max: bytes / 4 * 3,
            whole_piece_bytes_max: WHOLE_PIECE_BYTES_MAX,
            cache_bytes_max: bytes / 2,
            order: Order::RarestFirst,
            watch: Watch::IfOfUse,
            peer_order: PeerOrder::Random,
            policy: Policy::Fleet,
            turns_min: 3,
            turns_max: 32,
            suggests: true,
            end_game: true,
            requests_max: 256,
            links_max: 80,
            links_wanted: 40,
            links_per_ip_max: 20,
            exchange: true,
            upload_slots_max: 32,
            waiting_requests_max: 2_000,
            notes: false,
            is_upload_only: false,
        }
    }
}
