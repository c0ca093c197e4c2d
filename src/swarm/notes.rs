//! What a swarm decides and why, for whoever follows it: which piece is asked of whom, who is served, who is given up.
//!
//! It owns the notes that nobody has taken yet, and collects none unless the configuration asks for them. It decides
//! nothing.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Swarm;
use super::peer::PeerKey;
use crate::base::Time;

/// Why a block is asked of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// It goes on with what was begun: not worth a note.
    #[default]
    Rest,
    /// The piece was wrong when others sent it: who of them lied is known when this peer has sent it alone.
    Suspect,
    /// A reader needs the piece next.
    InTurn,
    /// The peer told us to ask for this piece.
    Suggested,
    /// We have hardly any piece yet, so any will do.
    First,
    /// Any piece will do, as the user chose.
    Any,
    /// Of no piece that the peer has do fewer neighbours have a copy.
    RareHere {
        /// How many hold it, beside those that hold everything.
        holders: u16,
    },
    /// Of no piece that the peer has are there fewer copies in the whole swarm, by what the tracker told and by what
    /// neighbours got since.
    RareInSwarm {
        /// How many there are, as the tracker told.
        copies: u16,
        /// How many neighbours hold it, beside those that hold everything.
        holders: u16,
    },
    /// Whoever was to send the rest of the piece is gone or does not.
    Orphan,
    /// Nothing else is left to ask of this peer than a block of a piece that is another's task.
    Shared,
    /// Nothing else is left than a piece that waits at another peer: whoever begins first sends it.
    Waiting,
    /// The end game: the block was asked of another peer as well.
    EndGame,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest => f.write_str("the rest"),
            Self::Suspect => f.write_str("it was wrong when others sent it"),
            Self::InTurn => f.write_str("needed next by a reader"),
            Self::Suggested => f.write_str("suggested"),
            Self::First => f.write_str("any of the first"),
            Self::Any => f.write_str("any of all"),
            Self::RareHere { holders } => write!(f, "rare here, {holders} hold it"),
            Self::RareInSwarm { copies, holders } => {
                write!(f, "rare in the swarm, {copies} copies, {holders} here")
            }
            Self::Orphan => f.write_str("left by another"),
            Self::Shared => f.write_str("shared, no other is left"),
            Self::Waiting => f.write_str("waits at another as well"),
            Self::EndGame => f.write_str("end game"),
        }
    }
}

/// What was decided of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is asked for a block, and maybe for the rest of its piece after it.
    Ask {
        /// Which piece.
        piece: u32,
        /// Which of its blocks.
        block: u32,
        /// Why this one.
        why: Why,
    },
    /// Its turn begins.
    Serve {
        /// Which piece it gets.
        piece: u32,
        /// How often that piece was handed out before.
        sent: u16,
        /// Pieces that the peer has.
        pieces: u32,
        /// How long it waited.
        waited: Duration,
    },
    /// It may ask.
    Unchoke {
        /// Why it.
        favour: Favour,
    },
    /// It may ask no longer.
    Choke,
    /// It let its requests wait too long: they move to others.
    Snub,
    /// It is told to ask for a piece of which we have the last copy.
    Rescue {
        /// Which piece.
        piece: u32,
    },
    /// It is dialled.
    Dial {
        /// Why it is dialled before others.
        lure: Lure,
    },
}

/// Why a contact is dialled before others that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lure {
    /// Somebody is, at random.
    Chance,
    /// It is its turn.
    Turn,
    /// It sent fastest, or is yet to show how fast it is.
    Rate {
        /// What it sent at last, in bytes per second.
        bytes_per_second: Option<u64>,
    },
    /// It has most of the content.
    Share {
        /// What part, in 1/65535.
        share: u32,
    },
    /// It is nearest.
    Nearness {
        /// How near, from 0 to 3.
        proximity: u8,
    },
}

impl fmt::Display for Lure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chance => f.write_str("any that is due"),
            Self::Turn => f.write_str("it is its turn"),
            Self::Rate {
                bytes_per_second: None,
            } => f.write_str("to see how fast it is"),
            Self::Rate {
                bytes_per_second: Some(rate),
            } => write!(f, "it sent fastest, {rate} bytes/s"),
            Self::Share { share } => {
                write!(f, "it has most, {} % of the content", share * 100 / 65_535)
            }
            Self::Nearness { proximity } => write!(f, "it is nearest, {proximity} of 3"),
        }
    }
}

/// Why a peer is given a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Favour {
    /// One was free.
    Free,
    /// It is among those who gave most.
    Gave {
        /// Payload bytes that it sent in the last two rounds.
        bytes: u64,
    },
    /// Somebody is, at random, to show what it can give.
    Chance,
    /// It waited longest.
    Turn,
}

impl fmt::Display for Favour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("a slot is free"),
            Self::Gave { bytes } => write!(f, "it gave {bytes} bytes of late"),
            Self::Chance => f.write_str("to try it"),
            Self::Turn => f.write_str("it waited longest"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ask { piece, block, why } => {
                write!(f, "asked for piece {piece} from block {block}: {why}")
            }
            Self::Serve {
                piece,
                sent,
                pieces,
                waited,
            } => write!(
                f,
                "served piece {piece}: handed out {sent} times before, it has {pieces} and waited {waited:?}"
            ),
            Self::Unchoke { favour } => write!(f, "unchoked: {favour}"),
            Self::Choke => f.write_str("choked"),
            Self::Snub => f.write_str("waited for no longer"),
            Self::Rescue { piece } => {
                write!(f, "told to ask for piece {piece}: nobody else has it")
            }
            Self::Dial { lure } => write!(f, "dialled: {lure}"),
        }
    }
}

/// Something that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Of whom: where it listens, or the far end of its conn.
    pub addr: SocketAddr,
    /// What.
    pub decision: Decision,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.addr, self.decision)
    }
}

/// The notes, if any are wanted.
#[derive(Debug, Default)]
pub(super) struct Notes {
    is_on: bool,
    /// Why the next block is asked for.
    why: Why,
    notes: VecDeque<Note>,
}

impl Notes {
    /// Collects nothing unless `is_on`.
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            ..Self::default()
        }
    }

    /// What is chosen next is chosen for this reason.
    pub(super) fn because(&mut self, why: Why) {
        self.why = why;
    }
}

impl Swarm {
    /// The next note, if there is any. See [`Config::notes`](super::Config::notes).
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.notes.pop_front()
    }

    fn note(&mut self, key: PeerKey, decision: Decision) {
        let addr = self.peers[key.slot()].addr;
        self.notes.notes.push_back(Note { addr, decision });
    }

    pub(super) fn note_dialled(&mut self, addr: SocketAddr, lure: Lure) {
        if self.notes.is_on {
            let decision = Decision::Dial { lure };
            self.notes.notes.push_back(Note { addr, decision });
        }
    }

    pub(super) fn note_rescue(&mut self, key: PeerKey, piece: u32) {
        if self.notes.is_on {
            self.note(key, Decision::Rescue { piece });
        }
    }

    pub(super) fn note_asked(&mut self, key: PeerKey, piece: u32, block: u32) {
        let why = std::mem::take(&mut self.notes.why);
        if self.notes.is_on && why != Why::Rest {
            self.note(key, Decision::Ask { piece, block, why });
        }
    }

    pub(super) fn note_served(&mut self, now: Time, key: PeerKey, piece: u32, sent: u16) {
        if self.notes.is_on {
            let peer = &self.peers[key.slot()];
            let serve = Decision::Serve {
                piece,
                sent,
                pieces: peer.has.count(),
                waited: now.since(peer.asks_since),
            };
            self.note(key, serve);
        }
    }

    pub(super) fn note_unchoked(&mut self, key: PeerKey, favour: Favour) {
        if self.notes.is_on {
            self.note(key, Decision::Unchoke { favour });
        }
    }

    pub(super) fn note_choked(&mut self, key: PeerKey) {
        if self.notes.is_on {
            self.note(key, Decision::Choke);
        }
    }

    pub(super) fn note_snubbed(&mut self, key: PeerKey) {
        if self.notes.is_on {
            self.note(key, Decision::Snub);
        }
    }
}
