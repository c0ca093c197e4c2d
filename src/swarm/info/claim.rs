//! One claimed size of an info dictionary, and the pieces that came for it.
//!
//! Peers that claim the same size fill one dictionary together until it turns out wrong; from then on it is taken whole
//! from one of them at a time, so that the one who sends it is the one to blame. Memory grows with what arrives.

use std::net::SocketAddr;

use crate::base::{PeerId, Time};
use crate::swarm::PeerKey;
use crate::wire::metadata::{metadata_piece_count, metadata_piece_range};

/// How many links are asked for the same piece at the end, when there is no other piece to ask for.
const ASKERS_MAX: u8 = 3;

/// Who sent a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub key: PeerKey,
    pub id: PeerId,
    pub addr: SocketAddr,
}

/// The dictionary as far as it came.
#[derive(Debug)]
pub(super) struct Claim {
    size: u32,
    slots: Vec<Slot>,
    missing_count: u32,
    /// Nobody has to be asked for what comes before.
    first_fresh: u32,
    /// It was wrong once, with several senders.
    pub is_divided: bool,
    /// The one that alone is asked.
    pub sole: Option<Sole>,
    /// While it is fetched: until when others of another size wait for it.
    pub turn_until: Option<Time>,
    /// How often it had its turn.
    pub turn_count: u32,
}

/// A link that alone is asked for everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sole {
    pub key: PeerKey,
    pub until: Time,
}

#[derive(Debug, Default)]
struct Slot {
    bytes: Option<(Source, Box<[u8]>)>,
    asker_count: u8,
}

impl Claim {
    /// `size` is at most [`crate::wire::metainfo::INFO_BYTES_MAX`], as every size that was decoded.
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            slots: Vec::new(),
            missing_count: metadata_piece_count(size),
            first_fresh: 0,
            is_divided: false,
            sole: None,
            turn_until: None,
            turn_count: 0,
        }
    }

    /// Whether it is being fetched.
    pub(super) fn is_active(&self) -> bool {
        self.turn_until.is_some()
    }

    /// Until when the one that alone is asked has time.
    pub(super) fn sole_until(&self) -> Option<Time> {
        self.sole.map(|sole| sole.until)
    }

    /// Whether this link may be asked.
    pub(super) fn asks(&self, key: PeerKey) -> bool {
        let is_sole = |sole: Sole| sole.key == key;
        self.is_active() && self.sole.map_or(!self.is_divided, is_sole)
    }

    /// Whether anything came.
    pub(super) fn is_begun(&self) -> bool {
        self.missing_count < metadata_piece_count(self.size)
    }

    /// Begins, or begins again.
    pub(super) fn restart(&mut self) {
        let count = metadata_piece_count(self.size);
        self.slots.clear();
        self.slots.resize_with(count as usize, Slot::default);
        self.missing_count = count;
        self.first_fresh = 0;
    }

    /// Drops what came, and waits for another turn.
    pub(super) fn suspend(&mut self) {
        self.restart();
        self.slots = Vec::new();
        self.sole = None;
        self.turn_until = None;
    }

    /// The next piece for a link, which `has_asked` for some already: one that nobody was asked for, or for an `idle` link
    /// one that is slow to come.
    pub(super) fn next(&mut self, idle: bool, has_asked: impl Fn(u32) -> bool) -> Option<u32> {
        let is_settled = |slot: &Slot| slot.bytes.is_some() || slot.asker_count > 0;
        while self.slot(self.first_fresh).is_some_and(is_settled) {
            self.first_fresh += 1;
        }
        let is_open = |piece: &u32| {
            let slot = &self.slots[*piece as usize];
            slot.bytes.is_none() && slot.asker_count < ASKERS_MAX && !has_asked(*piece)
        };
        let askers = |piece: &u32| self.slots[*piece as usize].asker_count;
        let count = self.slots.len() as u32;
        let fresh = (self.first_fresh..count).find(|piece| askers(piece) == 0 && is_open(piece));
        if fresh.is_some() || !idle {
            return fresh;
        }
        (0..count).filter(is_open).min_by_key(askers)
    }

    fn slot(&self, piece: u32) -> Option<&Slot> {
        self.slots.get(piece as usize)
    }

    /// A link was asked for a piece.
    pub(super) fn asked(&mut self, piece: u32) {
        if let Some(slot) = self.slots.get_mut(piece as usize) {
            slot.asker_count += 1;
        }
    }

    /// A link that was asked will not send the piece.
    pub(super) fn lost(&mut self, piece: u32) {
        if let Some(slot) = self.slots.get_mut(piece as usize) {
            slot.asker_count = slot.asker_count.saturating_sub(1);
            self.first_fresh = self.first_fresh.min(piece);
        }
    }

    /// A piece came. Returns whether it is of use.
    pub(super) fn arrived(&mut self, piece: u32, source: Source, bytes: &[u8]) -> bool {
        let Some(slot) = self.slots.get_mut(piece as usize) else {
            return false;
        };
        let fits = metadata_piece_range(self.size, piece).len() == bytes.len();
        if slot.bytes.is_some() || !fits {
            return false;
        }
        slot.bytes = Some((source, bytes.into()));
        self.missing_count -= 1;
        true
    }

    /// Everything, and whoever sent a part of it, once nothing is missing.
    pub(super) fn whole(&self) -> Option<(Vec<u8>, Vec<Source>)> {
        if self.missing_count > 0 || self.slots.is_empty() {
            return None;
        }
        let mut whole = Vec::with_capacity(self.size as usize);
        let mut sources: Vec<Source> = Vec::new();
        for (source, bytes) in self.slots.iter().filter_map(|slot| slot.bytes.as_ref()) {
            whole.extend_from_slice(bytes);
            if !sources.iter().any(|known| known.key == source.key) {
                sources.push(*source);
            }
        }
        Some((whole, sources))
    }

    /// How many links are asked for a piece.
    pub(super) fn asker_count(&self, piece: u32) -> u32 {
        self.slots[piece as usize].asker_count.into()
    }

    /// Bytes held.
    pub(super) fn bytes_held(&self) -> usize {
        let came = self.slots.iter().filter_map(|slot| slot.bytes.as_ref());
        came.map(|(_, bytes)| bytes.len()).sum()
    }
}
