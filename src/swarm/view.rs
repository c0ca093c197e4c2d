//! What is seen of a swarm from outside: nothing here changes anything.

use std::net::SocketAddr;

use super::peer::PeerKey;
use super::pieces::PieceState;
use super::{Geometry, Ledger, Swarm};
use crate::base::Bitfield;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Payload bytes received.
    pub down_bytes: u64,
    /// Payload bytes handed out for sending.
    pub up_bytes: u64,
    /// Payload bytes received in vain.
    pub wasted_bytes: u64,
    /// Pieces that did not match their hash.
    pub hash_fail_count: u64,
    /// Times a peer let its requests wait too long.
    pub stall_count: u64,
}

/// A link, as seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct LinkView {
    /// Which.
    pub key: PeerKey,
    /// Where the peer listens.
    pub addr: SocketAddr,
    /// How many pieces it has.
    pub pieces_had: u32,
    /// What it sends us.
    pub down_bytes_per_second: u64,
    /// What we send it.
    pub up_bytes_per_second: u64,
    /// Whether it wants something of us.
    pub is_interested: bool,
}

impl Swarm {
    /// The pieces that are verified and written.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The sizes of the content.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether everything is here.
    pub fn is_complete(&self) -> bool {
        self.have.is_all()
    }

    /// Whether nothing more is wanted: everything is here, or only what is here is served.
    pub fn wants_nothing(&self) -> bool {
        self.config.is_upload_only || self.is_complete()
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What each address sent and got.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Copies of the rarest missing piece among our neighbours; of any piece, when none is missing.
    pub fn least_copies(&self) -> u32 {
        u32::from(self.picker.rarest().unwrap_or(0)) + self.whole_count
    }

    /// Every link: its key, where the peer listens, what part of the content it has, and its rates down and up.
    pub fn links(&self) -> impl Iterator<Item = LinkView> + '_ {
        self.peers.iter().map(|(slot, peer)| LinkView {
            key: PeerKey {
                slot: slot as u32,
                generation: peer.generation,
            },
            addr: peer.addr,
            pieces_had: peer.has.count(),
            down_bytes_per_second: peer.down.bytes_per_second().unwrap_or(0.0) as u64,
            up_bytes_per_second: peer.up.bytes_per_second().unwrap_or(0.0) as u64,
            is_interested: peer.is_interested,
        })
    }

    /// Whether a link speaks the fast extension.
    pub fn is_fast(&self, key: PeerKey) -> bool {
        self.peer(key).is_some_and(|peer| peer.hello.fast)
    }

    /// Bytes of the pieces that are verified and written.
    pub fn have_bytes(&self) -> u64 {
        let missing = |piece| u64::from(self.geometry.piece_len(piece));
        self.geometry.total_len() - self.have.zeros().map(missing).sum::<u64>()
    }

    /// Whether a worker still has a piece.
    pub fn is_checking(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, PieceState::Checking(_)))
    }

    /// Number of links.
    pub fn link_count(&self) -> usize {
        self.peers.len()
    }
}
