//! Pieces that were wrong and came from several senders: who sent which block, as a digest, until the piece is right.
//!
//! When such a piece is right at last, every block that was something else before convicts its sender, and nobody else
//! (libtorrent calls it smart ban). Whoever sent one block in two forms is convicted before that. What is remembered is
//! bounded; what has to be forgotten is charged to all of its senders instead (see [`Swarm::distrust`]).
//!
//! Invariants: `oldest_first` holds each piece of `failures` once, and `digest_count` is the number of their digests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::pieces::{Sender, Sent};
use super::{PeerKey, Swarm};
use crate::base::{Digest20, Time, Verdict};

/// Pieces that are remembered.
pub(super) const SUSPECTS_MAX: usize = 1_024;
/// Digests that are remembered, some 28 bytes each.
pub(super) const DIGESTS_MAX: usize = 131_072;
/// What a piece that failed beyond remembering costs each of its senders; one that is right gives back one. Whoever is
/// down to the minimum is banned (libtorrent's numbers; but nobody saves up).
const TRUST_LOST: i8 = 2;
const TRUST_MIN: i8 = -7;

/// Whether the digests of a piece's blocks are wanted with the verdict on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// Its sender is known: it has one.
    Never,
    /// It has several senders.
    IfWrong,
    /// It has been wrong before.
    Always,
}

impl Digests {
    /// What `make` makes, if it is wanted now that the verdict is known; else none.
    pub fn if_wanted(
        self,
        verdict: &Verdict,
        make: impl FnOnce() -> Vec<Digest20>,
    ) -> Vec<Digest20> {
        match (self, verdict) {
            (Self::Never, _) | (_, Verdict::Unwritten(_)) | (Self::IfWrong, Verdict::Good) => {
                Vec::new()
            }
            (Self::IfWrong, Verdict::Wrong) | (Self::Always, _) => make(),
        }
    }
}

/// How it is known that a peer sent wrong bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It alone sent the piece.
    SoleSender,
    /// It sent a block whose digest is not that of the block.
    Block {
        /// Which block of the piece.
        block: u32,
        /// The SHA-1 of what it sent.
        digest: Digest20,
    },
    /// Too many pieces were wrong of which it was one of the senders.
    Record,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoleSender => f.write_str("it sent all of it"),
            Self::Block { block, .. } => write!(f, "it sent block {block} otherwise than it is"),
            Self::Record => f.write_str("too much was wrong of which it sent a part"),
        }
    }
}

/// A block that somebody sent.
#[derive(Clone, Copy, Debug)]
struct Sample {
    block: u32,
    sender: u16,
    digest: Digest20,
}

impl Sample {
    fn key(&self) -> (u32, u16) {
        (self.block, self.sender)
    }
}

/// The blocks of a piece that was wrong.
#[derive(Debug, Default)]
struct Failure {
    senders: Vec<Sender>,
    /// By block and sender.
    samples: Vec<Sample>,
}

impl Failure {
    fn digest_of(&self, block: u32, place: usize) -> Option<&Digest20> {
        let key = (block, place as u16);
        let found = self.samples.binary_search_by_key(&key, Sample::key);
        found.ok().map(|at| &self.samples[at].digest)
    }

    fn place_of(&self, sender: &Sender) -> Option<usize> {
        self.senders.iter().position(|other| other.is(sender))
    }
}

/// Somebody who sent a wrong block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Liar {
    pub sender: Sender,
    pub proof: Proof,
}

/// Every piece under suspicion.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    failures: BTreeMap<u32, Failure>,
    oldest_first: VecDeque<u32>,
    digest_count: usize,
}

impl Suspects {
    /// Whether no piece is under suspicion.
    pub(super) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether `piece` is under suspicion.
    pub(super) fn contains(&self, piece: u32) -> bool {
        self.failures.contains_key(&piece)
    }

    /// The pieces under suspicion.
    pub(super) fn pieces(&self) -> impl Iterator<Item = u32> + '_ {
        self.failures.keys().copied()
    }

    /// Whether `sender` sent some of `piece` when it was wrong.
    pub(super) fn names(&self, piece: u32, sender: &Sender) -> bool {
        let failure = self.failures.get(&piece);
        failure.is_some_and(|failure| failure.place_of(sender).is_some())
    }

    /// Whether `sender` sent some of a piece that was wrong.
    pub(super) fn name_anywhere(&self, sender: &Sender) -> bool {
        let mut failures = self.failures.values();
        failures.any(|failure| failure.place_of(sender).is_some())
    }

    /// Remembers who sent what of `piece`, which was wrong; says who sent one block in two forms.
    pub(super) fn failed(&mut self, piece: u32, sent: &Sent, digests: &[Digest20]) -> Vec<Liar> {
        if !self.contains(piece) {
            self.oldest_first.push_back(piece);
        }
        let failure = self.failures.entry(piece).or_default();
        let (mut liars, mut samples) = (Vec::new(), Vec::new());
        for (block, (&sender, &digest)) in sent.by_block.iter().zip(digests).enumerate() {
            let (block, sender) = (block as u32, sent.senders[usize::from(sender)]);
            let place = failure.place_of(&sender).unwrap_or_else(|| {
                failure.senders.push(sender);
                failure.senders.len() - 1
            });
            match failure.digest_of(block, place) {
                Some(earlier) if *earlier == digest => {}
                Some(_) => note(&mut liars, sender, block, digest),
                None => samples.push(Sample {
                    block,
                    sender: place as u16,
                    digest,
                }),
            }
        }
        self.digest_count += samples.len();
        failure.samples.append(&mut samples);
        failure.samples.sort_unstable_by_key(Sample::key);
        liars
    }

    /// `piece` is right, and these are its blocks: says who had sent others.
    pub(super) fn passed(&mut self, piece: u32, digests: &[Digest20]) -> Vec<Liar> {
        let Some(failure) = self.forget_piece(piece) else {
            return Vec::new();
        };
        let mut liars = Vec::new();
        for sample in &failure.samples {
            let right = digests.get(sample.block as usize);
            if right.is_some_and(|right| *right != sample.digest) {
                let sender = failure.senders[usize::from(sample.sender)];
                note(&mut liars, sender, sample.block, sample.digest);
            }
        }
        liars
    }

    /// `sender` is banned: what it sent needs no more judging.
    pub(super) fn forget_sender(&mut self, sender: &Sender) {
        for failure in self.failures.values_mut() {
            let Some(place) = failure.place_of(sender) else {
                continue;
            };
            let before = failure.samples.len();
            failure
                .samples
                .retain(|sample| usize::from(sample.sender) != place);
            self.digest_count -= before - failure.samples.len();
        }
        let cleared = |failure: &Failure| failure.samples.is_empty();
        let pieces = self.failures.iter().filter(|(_, failure)| cleared(failure));
        let pieces: Vec<u32> = pieces.map(|(&piece, _)| piece).collect();
        for piece in pieces {
            self.forget_piece(piece);
        }
    }

    /// Forgets the oldest piece if there is too much to remember; says who had sent it.
    pub(super) fn shrink(&mut self) -> Option<Vec<Sender>> {
        if self.failures.len() <= SUSPECTS_MAX && self.digest_count <= DIGESTS_MAX {
            return None;
        }
        let oldest = *self.oldest_first.front()?;
        self.forget_piece(oldest).map(|failure| failure.senders)
    }

    fn forget_piece(&mut self, piece: u32) -> Option<Failure> {
        let failure = self.failures.remove(&piece)?;
        self.oldest_first.retain(|&other| other != piece);
        self.digest_count -= failure.samples.len();
        Some(failure)
    }

    /// Asserts the invariants of the type.
    pub(super) fn check(&self) {
        let count: usize = self.failures.values().map(|f| f.samples.len()).sum();
        assert_eq!(count, self.digest_count);
        let mut pieces: Vec<u32> = self.oldest_first.iter().copied().collect();
        pieces.sort_unstable();
        assert!(pieces.into_iter().eq(self.pieces()));
        assert!(self.failures.len() <= SUSPECTS_MAX && self.digest_count <= DIGESTS_MAX);
    }
}

fn note(liars: &mut Vec<Liar>, sender: Sender, block: u32, digest: Digest20) {
    if !liars.iter().any(|liar| liar.sender.is(&sender)) {
        let proof = Proof::Block { block, digest };
        liars.push(Liar { sender, proof });
    }
}

impl Swarm {
    /// Which digests are wanted with the verdict on a piece that was sent so.
    pub(super) fn digests_wanted(&self, piece: u32, sent: &Sent) -> Digests {
        if self.suspects.contains(piece) {
            Digests::Always
        } else if sent.senders.len() > 1 {
            Digests::IfWrong
        } else {
            Digests::Never
        }
    }

    /// A piece is wrong: whoever is convicted by that is banned.
    pub(super) fn blame(&mut self, piece: u32, sent: &Sent, digests: &[Digest20]) {
        if let [sender] = sent.senders[..] {
            return self.ban(sender, piece, Proof::SoleSender);
        }
        if digests.is_empty() {
            return self.distrust(&sent.senders, piece);
        }
        for liar in self.suspects.failed(piece, sent, digests) {
            self.ban(liar.sender, piece, liar.proof);
        }
        // What a peer sent that was banned meanwhile needs no judging.
        for sender in &sent.senders {
            if self.ledger.is_banned(Some(sender.id), sender.addr) {
                self.suspects.forget_sender(sender);
            }
        }
        while let Some(senders) = self.suspects.shrink() {
            self.distrust(&senders, piece);
        }
    }

    /// A piece is right: whoever sent other blocks of it before is banned, and whoever sent it now is trusted more.
    pub(super) fn acquit(&mut self, piece: u32, sent: &Sent, digests: &[Digest20]) {
        if self.suspects.contains(piece) {
            for liar in self.suspects.passed(piece, digests) {
                self.ban(liar.sender, piece, liar.proof);
            }
            self.hungry = true;
        }
        for (_, peer) in &mut self.peers {
            if peer.trust < 0 && sent.senders.iter().any(|s| s.is(&peer.sender())) {
                peer.trust += 1;
            }
        }
    }

    /// A piece was wrong, and nobody will know who is to blame: each of its senders is trusted less.
    fn distrust(&mut self, senders: &[Sender], piece: u32) {
        for sender in senders {
            let mut peers = self.peers.iter_mut().map(|(_, peer)| peer);
            let Some(peer) = peers.find(|peer| peer.sender().is(sender)) else {
                continue;
            };
            peer.trust = (peer.trust - TRUST_LOST).max(TRUST_MIN);
            if peer.trust == TRUST_MIN {
                self.ban(*sender, piece, Proof::Record);
            }
        }
    }

    /// Whether a peer sent some of a piece that was wrong, and it is not known yet whether that was its fault. What it
    /// sends meanwhile it sends alone.
    pub(super) fn is_on_parole(&self, key: PeerKey) -> bool {
        let peer = &self.peers[key.slot()];
        peer.trust < 0 || !self.suspects.is_empty() && self.suspects.name_anywhere(&peer.sender())
    }

    /// A suspect piece that a peer should send before anything else: it is another's word against those who sent it.
    pub(super) fn suspect_to_ask(&self, key: PeerKey) -> Option<u32> {
        let peer = &self.peers[key.slot()];
        let mut pieces = self.suspects.pieces();
        pieces.find(|&piece| {
            self.picker.is_wanted(piece)
                && peer.has.get(piece)
                && !self.suspects.names(piece, &peer.sender())
        })
    }

    /// The suspect pieces that a peer is not asked for: it sent some of them, and somebody else could.
    pub(super) fn suspects_not_to_ask(&self, now: Time, key: PeerKey) -> Vec<u32> {
        let sender = self.peers[key.slot()].sender();
        let pieces = self.suspects.pieces().filter(|&piece| {
            self.picker.is_wanted(piece)
                && self.suspects.names(piece, &sender)
                && self.has_other_source(now, key, piece, |other| {
                    !self
                        .suspects
                        .names(piece, &self.peers[other.slot()].sender())
                })
        });
        pieces.collect()
    }

    /// What a banned peer sent of pieces that are still arriving is asked of others, before it spoils them.
    pub(super) fn discard_blocks_of(&mut self, sender: &Sender) {
        for at in 0..self.arriving.len() {
            let piece = self.arriving[at];
            if self
                .arriving(piece)
                .is_some_and(|arriving| arriving.is_suspect)
            {
                // It begins anew when the link is gone.
                continue;
            }
            let count = self.with_arriving(piece, |arriving| arriving.discard(sender));
            if count == 0 {
                continue;
            }
            let bytes = count * self.geometry.block_len();
            self.counts.wasted_bytes += u64::from(bytes.min(self.geometry.piece_len(piece)));
            let owner = self.arriving(piece).and_then(|arriving| arriving.owner);
            if owner.is_some_and(|owner| self.peers[owner.slot()].current != Some(piece)) {
                self.with_arriving(piece, |arriving| {
                    arriving.owner = None;
                    arriving.is_exclusive = false;
                });
            }
            self.hungry = true;
        }
    }
}
