//! How many copies of each piece there are in the whole swarm, as the tracker tells those who ask to be told.
//!
//! Neighbours are a sample of a large swarm: a piece that few of them hold may be common elsewhere, and one that many
//! hold may be about to be lost. This owns the tracker's counts, and decides when they are worth asking for. It never
//! talks to the tracker: [`Output::Watch`] says what to ask, and what comes of it is an input.
//!
//! Counts are old when they come: reports are collected for a while, and so are changes. In the meantime a swarm with fast
//! links has handed on dozens of pieces, and counts that are dozens of pieces old only mislead. And a seed that hands out
//! what it handed out least leaves nothing to improve: whoever has links to such a one, or to everybody, knows enough. So
//! they are asked for only where a piece takes long and nobody who has everything is near. There they show which pieces are
//! about to be lost; they make nothing faster (simulated, 31 nodes of 8 links each at 1 MiB/s: 1.172 times the bound with
//! counts, 1.168 without).

use std::time::Duration;

use super::{Order, Output, Swarm};
use crate::base::Time;
use crate::wire::native::{AVAIL_COUNTS_MAX, AVAIL_PERIOD_MS_MIN, AvailDelta, PIECE_EVERY};

/// When the tracker is asked to tell how many copies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Never, nor are last copies looked for.
    Never,
    /// While there are members that are no neighbours, no neighbour has everything, and what is told is not too old.
    #[default]
    IfOfUse,
    /// As long as anything is missing.
    Always,
}

/// How often changes are told: as often as the protocol allows.
const PERIOD: Duration = Duration::from_millis(AVAIL_PERIOD_MS_MIN as u64);
/// What is told may be as old as so many pieces take, or it does more harm than good.
const AGE_PIECES_MAX: f64 = 4.0;
/// All counts are asked for, and all pieces put in order, no more often than this.
const ANEW_EVERY: Duration = Duration::from_secs(1);
/// Copies elsewhere weigh less than those of neighbours, by the power of two that they reach, and at most so much: they say
/// which of the pieces that are rare here are rare indeed. If all went by the counts of the whole swarm alone, all would ask
/// the same few holders for the same piece.
const WEIGHT_MAX: u32 = 3;

/// How many pieces one request for counts asks for at most; a content of more is asked for in several.
pub const COUNTS_MAX: u32 = AVAIL_COUNTS_MAX;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing is told.
    #[default]
    Off,
    /// All counts were asked for; those that came have this version.
    Asked { version: Option<u32> },
    /// The counts are those of this version.
    Known { version: u32 },
    /// Something was missed: changes come that cannot be applied, until all counts are asked for again.
    Stale,
}

/// What the tracker told.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    state: State,
    /// We are a member at a tracker that may tell.
    is_told: bool,
    /// Copies of each piece, those of members that hold everything included.
    counts: Vec<u16>,
    /// When the counts were asked for last, or the membership began.
    asked_at: Time,
    ordered_at: Time,
}

impl Swarm {
    /// We are a member, and nothing was asked of this membership yet. In a moment it will be known how fast pieces come.
    pub(super) fn may_watch(&mut self, now: Time) {
        self.forget_counts();
        self.knowledge.is_told = true;
        self.knowledge.asked_at = now;
    }

    /// The tracker tells nothing, or no longer: the connection to it is lost, or it does not know how.
    pub fn forget_counts(&mut self) {
        self.knowledge.is_told = false;
        self.knowledge.state = State::Off;
        self.knowledge.counts.clear();
        self.picker.forget_elsewhere();
    }

    /// Copies of a piece in the whole swarm, as the tracker knew them a moment ago; `None` if that is not known.
    pub fn copies(&self, piece: u32) -> Option<u16> {
        self.knows_copies()
            .then(|| self.knowledge.counts[piece as usize])
    }

    /// Whether the counts are known.
    pub(super) fn knows_copies(&self) -> bool {
        matches!(self.knowledge.state, State::Known { .. })
    }

    /// Whether the tracker has been asked to tell how many copies there are.
    pub fn is_watching(&self) -> bool {
        self.knowledge.state != State::Off
    }

    /// Asks to be told, or no longer, as it is of use.
    pub(super) fn watch(&mut self, now: Time) {
        let is_wanted = self.knowledge.is_told && self.wants_copies();
        match self.knowledge.state {
            State::Off | State::Stale
                if is_wanted && now.since(self.knowledge.asked_at) >= ANEW_EVERY =>
            {
                self.knowledge.asked_at = now;
                self.knowledge.state = State::Asked { version: None };
                self.knowledge.counts.clear();
                self.outputs.push_back(Output::Watch { is_on: true });
            }
            State::Asked { .. } | State::Known { .. } | State::Stale if !is_wanted => {
                self.knowledge.state = State::Off;
                self.knowledge.counts.clear();
                self.picker.forget_elsewhere();
                self.outputs.push_back(Output::Watch { is_on: false });
            }
            _ => {}
        }
    }

    fn wants_copies(&self) -> bool {
        if self.wants_nothing() || self.config.order == Order::Random {
            return false;
        }
        match self.config.watch {
            Watch::Never => false,
            Watch::IfOfUse => {
                let is_steered = self.whole_count > 0;
                !is_steered && !self.sees_all() && self.age_in_pieces() <= AGE_PIECES_MAX
            }
            Watch::Always => true,
        }
    }

    /// How many pieces go by while a piece that somebody got becomes known here. Who is asked already is asked a while
    /// longer, lest it be asked again and again.
    fn age_in_pieces(&self) -> f64 {
        let rates = self.peers.iter();
        let rates = rates.filter_map(|(_, peer)| peer.down.bytes_per_second());
        let piece_len = self.geometry.piece_len(0).max(1);
        let pieces_per_second = rates.sum::<f64>() / f64::from(piece_len);
        // A report waits half its time on the average, and so does what is told of it.
        let age = (self.announcer.batch() + PERIOD) / 2;
        let slack = if self.is_watching() { 0.5 } else { 1.0 };
        age.as_secs_f64() * pieces_per_second * slack
    }

    /// The tracker told the counts of the next pieces, of those that were asked for.
    pub(super) fn counted(&mut self, now: Time, version: u32, counts: &[u16]) {
        let State::Asked { version: first } = self.knowledge.state else {
            return;
        };
        let pieces = self.have.len() as usize;
        let known = &mut self.knowledge.counts;
        let expected = (pieces - known.len()).min(COUNTS_MAX as usize);
        if counts.len() != expected || first.is_some_and(|first| first != version) {
            return self.knowledge.state = State::Stale;
        }
        known.reserve_exact(pieces - known.len());
        known.extend_from_slice(counts);
        if known.len() < pieces {
            let version = Some(version);
            return self.knowledge.state = State::Asked { version };
        }
        self.knowledge.state = State::Known { version };
        self.order_anew(now);
    }

    /// The tracker told how the counts changed from version `base` to `version`.
    pub(super) fn counts_changed(
        &mut self,
        now: Time,
        (base, version): (u32, u32),
        deltas: &[AvailDelta],
    ) {
        let known = State::Known { version: base };
        let pieces = self.have.len();
        let is_piece = |delta: &AvailDelta| delta.piece < pieces || delta.piece == PIECE_EVERY;
        match self.knowledge.state {
            state if state == known && deltas.iter().all(is_piece) => {}
            State::Known { .. } => return self.knowledge.state = State::Stale,
            _ => return,
        }
        self.knowledge.state = State::Known { version };
        for &AvailDelta { piece, delta } in deltas {
            if piece == PIECE_EVERY {
                let counts = self.knowledge.counts.iter_mut();
                counts.for_each(|count| *count = count.saturating_add_signed(delta));
            } else {
                let count = &mut self.knowledge.counts[piece as usize];
                *count = count.saturating_add_signed(delta);
                self.place_anew(piece);
            }
        }
        if now.since(self.knowledge.ordered_at) >= ANEW_EVERY {
            self.order_anew(now);
        }
    }

    fn place_anew(&mut self, piece: u32) {
        let neighbours = u32::from(self.picker.availability(piece)) + self.whole_count;
        let weight = self.knowledge.weight(piece, neighbours);
        self.picker.set_elsewhere(piece, weight);
    }

    /// Puts all pieces in order by what is known now: neighbours have come and gone since.
    fn order_anew(&mut self, now: Time) {
        self.knowledge.ordered_at = now;
        let (knowledge, whole_count) = (&self.knowledge, self.whole_count);
        self.picker.set_all_elsewhere(|piece, availability| {
            knowledge.weight(piece, u32::from(availability) + whole_count)
        });
    }

    /// Whether we have links to all members that we know of, so that nobody can tell us more than they do.
    pub(super) fn sees_all(&self) -> bool {
        self.wants_links() && self.contacts.open_count(false) == 0
    }
}

impl Knowledge {
    /// What the copies of a piece weigh that are elsewhere, if so many `neighbours` hold it.
    fn weight(&self, piece: u32, neighbours: u32) -> u8 {
        let count = u32::from(self.counts[piece as usize]);
        let elsewhere = count.saturating_sub(neighbours);
        (u32::BITS - elsewhere.leading_zeros()).min(WEIGHT_MAX) as u8
    }
}
