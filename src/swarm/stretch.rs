//! Long requests: several blocks of a piece that are asked for, and sent, at once.
//!
//! Two of our kind agree on them (`sh_block` of the extension handshake); nobody else sees one. They save messages and
//! system calls where much goes fast. All else is done block by block: a block of a long request may be taken back, and
//! lands on its own.

use std::ops::Range;

use super::peer::{Peer, PeerKey};
use super::pieces::Arriving;
use super::{Geometry, Swarm};
use crate::wire::peer::BlockRequest;

/// The longest request that we make and serve, in bytes: a run of the upload cache holds two.
pub const REQUEST_BYTES_MAX: u32 = 128 << 10;
/// A request asks for no more than comes in so many seconds, so that limited and slow peers serve smoothly.
const REQUEST_SECONDS: f64 = 0.02;

impl Peer {
    /// How many blocks one request to it may ask for; a power of two.
    fn stretch_blocks(&self, geometry: &Geometry) -> u32 {
        let bytes_max = self.request_bytes_max.min(REQUEST_BYTES_MAX);
        let pace = self.down.bytes_per_second().unwrap_or(0.0);
        let bytes = (pace * REQUEST_SECONDS).min(f64::from(bytes_max)) as u32;
        if self.is_snubbed {
            return 1;
        }
        1 << (bytes / geometry.block_len()).max(1).ilog2()
    }

    /// The longest request that it and we may make of one another.
    pub(super) fn may_request_bytes(&self, geometry: &Geometry) -> u32 {
        let agreed = if self.request_bytes_max > 0 {
            REQUEST_BYTES_MAX
        } else {
            0
        };
        agreed.max(geometry.block_len())
    }

    /// Takes a request of it back, or a block of one. What is left of a long one waits on.
    pub(super) fn drop_request(&mut self, geometry: &Geometry, request: BlockRequest) -> bool {
        let holds = |waiting: &BlockRequest| {
            waiting.piece == request.piece
                && waiting.begin <= request.begin
                && request.end() <= waiting.end()
        };
        let Some(at) = self.requests.iter().position(holds) else {
            return false;
        };
        let whole = self.requests[at];
        if whole != request && geometry.blocks_of(request).is_none() {
            return false;
        }
        self.requests.remove(at);
        let end = request.end() as u32;
        let rest = [(end, whole.end() as u32), (whole.begin, request.begin)];
        for (begin, end) in rest.into_iter().filter(|(begin, end)| begin < end) {
            let part = BlockRequest {
                begin,
                len: end - begin,
                ..whole
            };
            self.requests.insert(at, part);
        }
        true
    }
}

impl Swarm {
    /// The longest block that a peer may send.
    pub fn block_bytes_max(&self, key: PeerKey) -> u32 {
        let agreed = self
            .peer(key)
            .map(|peer| peer.may_request_bytes(&self.geometry));
        agreed.unwrap_or_else(|| self.geometry.block_len())
    }

    /// The blocks that are asked of a peer together with `block`, which is to be asked of it: those after it that nobody
    /// was asked for either, as far as one request goes. Long requests end where one of full length would, so that what
    /// was cut short once is not for ever.
    pub(super) fn stretch(&self, key: PeerKey, piece: u32, block: u32) -> Range<u32> {
        let count_max = self.peers[key.slot()].stretch_blocks(&self.geometry);
        let is_unasked = |arriving: &&Arriving| count_max > 1 && arriving.is_unasked(block);
        let Some(arriving) = self.arriving(piece).filter(is_unasked) else {
            return block..block + 1;
        };
        let is_free = |block: u32| arriving.is_unasked(block) && arriving.has_home(block);
        let end = (block / count_max + 1) * count_max;
        let end = end.min(arriving.blocks.len() as u32);
        block..(block + 1..end).find(|&next| !is_free(next)).unwrap_or(end)
    }
}
