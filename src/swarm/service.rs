//! Whom to serve which piece next.
//!
//! Many peers are unchoked and ask; few are served at a time. A *turn* is one piece for one peer: it is finished before
//! the next begins, so that pieces are whole somewhere else as early as possible and are passed on from there. With
//! everybody served at once, each piece would be in many places in part and in none whole.
//!
//! It owns the turns and the count of how often each piece was handed out. Requests stay with their peers.

use std::cmp::Reverse;
use std::time::Duration;

use super::peer::PeerKey;
use super::width::Width;
use super::{Output, Policy, Swarm, timers};
use crate::base::Time;
use crate::wire::peer::{BlockRequest, Message};

/// How long a turn is kept for a peer that has not asked for the rest of its piece.
const TURN_IDLE_MAX: Duration = Duration::from_millis(50);
/// How long a turn keeps others waiting whose peer takes nothing: it does not read, or its pieces come from a slow disk.
/// On a slow uplink it is counted in the time of blocks.
const TURN_STALL_TIME: Duration = Duration::from_millis(50);
const TURN_STALL_BLOCKS: u32 = 8;
/// Whoever waits longer than this comes first, however much it has (others' requests time out after 20 to 25 s).
const WAIT_MAX: Duration = Duration::from_secs(5);

/// One piece for one peer.
#[derive(Clone, Copy, Debug)]
struct Turn {
    peer: PeerKey,
    piece: u32,
    sent_bytes: u32,
    used_at: Time,
}

/// The turns, and what was handed out.
#[derive(Debug)]
pub(super) struct Service {
    turns: Vec<Turn>,
    width: Width,
    /// How often each piece was handed out or promised.
    spread: Vec<u16>,
    /// How often each piece was handed out.
    sent: Vec<u16>,
    /// The pieces that we offer first: of so many parts, this one.
    part: (u32, u32),
}

impl Service {
    /// No turns yet, of a content of `piece_count` pieces.
    pub(super) fn new(piece_count: u32, width: Width) -> Self {
        Self {
            turns: Vec::new(),
            width,
            spread: vec![0; piece_count as usize],
            sent: vec![0; piece_count as usize],
            part: (0, 1),
        }
    }

    /// Copies of a piece that went out, `by_us`: one more if another seed begins with it.
    fn copies(&self, piece: u32, by_us: &[u16]) -> u16 {
        let (index, of) = self.part;
        let is_ours = piece % of == index;
        by_us[piece as usize].max(u16::from(!is_ours))
    }

    fn turn_of(&self, peer: PeerKey) -> Option<usize> {
        self.turns.iter().position(|turn| turn.peer == peer)
    }
}

impl Swarm {
    /// Whether pieces are finished one after the other. Tit for tat shares our uplink among those that it unchoked, so that
    /// what they give is judged alike; but a seed is to hand out whole pieces and none twice under either policy.
    fn serves_in_turns(&self) -> bool {
        self.config.policy == Policy::Fleet || self.is_complete()
    }

    /// Several seeds offer parts of the pieces first: we the `index`th of `of` parts. When that part is out, what fewest
    /// neighbours hold comes next, whosever part it is.
    pub fn set_part(&mut self, index: u16, of: u16) {
        self.service.part = (u32::from(index), u32::from(of.max(1)));
    }

    /// Which of a peer's requests is answered next, if it is its turn.
    pub(super) fn next_request(&self, key: PeerKey) -> Option<usize> {
        let requests = &self.peer(key)?.requests;
        if !self.serves_in_turns() {
            return (!requests.is_empty() && !self.comes_last(key)).then_some(0);
        }
        let turn = self.service.turns[self.service.turn_of(key)?];
        requests.iter().position(|r| r.piece == turn.piece)
    }

    /// A request came, or one fewer waits, or somebody left: gives the turns that are free.
    pub(super) fn serve(&mut self, now: Time) {
        if !self.serves_in_turns() {
            return;
        }
        while self.active_turn_count(now) < self.service.width.turns() {
            let Some(key) = self.next_waiter(now) else {
                self.service.width.nobody_waits();
                return;
            };
            self.begin_turn(now, key);
        }
        self.deadlines
            .set_if_idle(timers::TURNS, now + self.turn_stall_time());
    }

    fn turn_stall_time(&self) -> Duration {
        let block_time = self.service.width.block_time(self.geometry.block_len());
        block_time.map_or(TURN_STALL_TIME, |time| {
            TURN_STALL_TIME.max(time * TURN_STALL_BLOCKS)
        })
    }

    /// Ends the turns of which nothing will come, and counts those that go on.
    fn active_turn_count(&mut self, now: Time) -> usize {
        let mut active = 0;
        let stall_time = self.turn_stall_time();
        let peers = &self.peers;
        self.service.turns.retain(|turn| {
            let peer = &peers[turn.peer.slot()];
            if peer.requests.iter().any(|r| r.piece == turn.piece) {
                active += usize::from(now.since(turn.used_at) < stall_time);
                return true;
            }
            peer.requests.is_empty() && now.since(turn.used_at) < TURN_IDLE_MAX
        });
        active
    }

    /// The peer that is served next: whoever waits too long; then, if we have everything, for the piece that we sent least;
    /// then who has the fewest pieces; then who waits longest.
    fn next_waiter(&self, now: Time) -> Option<PeerKey> {
        let waits = |key: &PeerKey| {
            !self.peers[key.slot()].requests.is_empty() && self.service.turn_of(*key).is_none()
        };
        self.keys().filter(waits).min_by_key(|key| {
            let peer = &self.peers[key.slot()];
            let overdue = now.since(peer.asks_since) > WAIT_MAX;
            let is_alike = overdue || self.config.policy == Policy::Fair;
            let pieces = if is_alike { 0 } else { peer.has.count() };
            let first = self.next_of(*key).filter(|_| self.is_complete());
            let service = &self.service;
            let sent = first.map_or(0, |first| service.copies(first.piece, &service.sent));
            let sent = sent + u16::from(!self.asks_for_last_copy(*key));
            let is_keeper = self.is_keeper(now, *key);
            (Reverse(overdue), is_keeper, sent, pieces, peer.asks_since)
        })
    }

    /// How many peers get a piece now.
    pub(super) fn turns_with(&self, piece: u32) -> usize {
        let turns = self.service.turns.iter();
        turns.filter(|turn| turn.piece == piece).count()
    }

    fn begin_turn(&mut self, now: Time, key: PeerKey) {
        let request = self.next_of(key).expect("it waits");
        let piece = request.piece;
        let peer = &mut self.peers[key.slot()];
        if peer
            .promised
            .take_if(|promised| *promised == piece)
            .is_none()
        {
            let spread = &mut self.service.spread[piece as usize];
            *spread = spread.saturating_add(1);
        }
        let sent = self.service.sent[piece as usize];
        self.service.sent[piece as usize] = sent.saturating_add(1);
        self.note_served(now, key, piece, sent);
        self.service.turns.push(Turn {
            peer: key,
            piece,
            sent_bytes: 0,
            used_at: now,
        });
        self.promise(key);
        self.preload(request);
        self.wake(key);
    }

    /// The request of a peer that is answered first. A seed under tit for tat, whose slots last no longer than a piece,
    /// takes the piece that it promised, or else the one that its peers need most of what they ask for.
    fn next_of(&self, key: PeerKey) -> Option<BlockRequest> {
        let peer = &self.peers[key.slot()];
        if self.config.policy == Policy::Fleet || !self.is_complete() {
            return self.first_request(key);
        }
        let under_way = self.under_way();
        let rank = |request: &&BlockRequest| {
            let is_promised = peer.promised == Some(request.piece);
            (!is_promised, self.rank(&under_way, request.piece))
        };
        peer.requests.iter().min_by_key(rank).copied()
    }

    /// How little a piece is needed: those of the lowest rank are handed out first.
    fn rank(&self, under_way: &[u32], piece: u32) -> (u16, u16) {
        let copies = self.service.copies(piece, &self.service.spread);
        let held = self.picker.availability(piece);
        if self.config.policy == Policy::Fleet {
            return (copies, held);
        }
        let comes = under_way.iter().filter(|&&other| other == piece).count() as u16;
        ((held + comes).max(copies.min(1)), copies)
    }

    /// The pieces that are being sent or are promised.
    fn under_way(&self) -> Vec<u32> {
        let sent = self.service.turns.iter().map(|turn| turn.piece);
        let promised = self.peers.iter().filter_map(|(_, peer)| peer.promised);
        sent.chain(promised).collect()
    }

    /// A peer will not ask for what was promised to it: another one is to get it.
    pub(super) fn break_promise(&mut self, key: PeerKey) {
        if self.config.policy == Policy::Fair
            && let Some(piece) = self.peers[key.slot()].promised.take()
        {
            let spread = &mut self.service.spread[piece as usize];
            *spread = spread.saturating_sub(1);
        }
    }

    /// There may be something to send to a peer.
    pub(super) fn wake(&mut self, key: PeerKey) {
        let last = self.outputs.back();
        if !matches!(last, Some(Output::Upload { peer }) if *peer == key) {
            self.outputs.push_back(Output::Upload { peer: key });
        }
    }

    /// A block of a turn went out; the turn ends with the piece.
    pub(super) fn count_turn(&mut self, now: Time, key: PeerKey, request: BlockRequest) {
        let Some(at) = self.service.turn_of(key) else {
            return;
        };
        let turn = &mut self.service.turns[at];
        turn.sent_bytes += request.len;
        turn.used_at = now;
        self.service.width.sent(now, request.len);
        if turn.sent_bytes >= self.geometry.piece_len(turn.piece) {
            let piece = turn.piece;
            self.service.turns.remove(at);
            self.peers[key.slot()].asks_since = now;
            self.note_handed(key, piece);
            self.pass_on_after_piece(now, key);
        }
        self.serve(now);
    }

    /// Whether a peer is in the middle of a piece.
    pub(super) fn has_turn(&self, key: PeerKey) -> bool {
        self.service.turn_of(key).is_some()
    }

    /// A link is going: its turns end.
    pub(super) fn service_lost(&mut self, key: PeerKey) {
        self.wake_last();
        self.break_promise(key);
        self.service.turns.retain(|turn| turn.peer != key);
    }

    /// Nobody is being served any more; what was handed out stays counted.
    pub(super) fn forget_turns(&mut self) {
        self.service.turns.clear();
    }

    /// A peer is no longer served.
    pub(super) fn end_turns(&mut self, now: Time, key: PeerKey) {
        self.service.turns.retain(|turn| turn.peer != key);
        self.serve(now);
    }

    /// Tells a peer which piece it should ask for next: the one that was handed out least, so that no piece goes out twice
    /// before all went out once, if we have everything; else one of which we have the last copy.
    pub(super) fn promise(&mut self, key: PeerKey) {
        let peer = &self.peers[key.slot()];
        if !self.config.suggests || !peer.hello.fast || peer.has.is_all() {
            return;
        }
        if peer.promised.is_some_and(|piece| !peer.has.get(piece)) {
            return;
        }
        let piece = if self.is_complete() {
            self.least_spread(key)
        } else {
            self.last_copy_for(key)
        };
        let Some(piece) = piece else {
            return;
        };
        let spread = &mut self.service.spread[piece as usize];
        *spread = spread.saturating_add(1);
        self.peers[key.slot()].promised = Some(piece);
        self.send(key, Message::Suggest { piece });
    }

    fn least_spread(&mut self, key: PeerKey) -> Option<u32> {
        let offset = self.rng.below(self.have.len() as usize) as u32;
        let peer = &self.peers[key.slot()];
        let under_way = self.under_way();
        let rank = |&piece: &u32| self.rank(&under_way, piece);
        let lacked = (offset..self.have.len()).chain(0..offset);
        lacked
            .filter(|&piece| !peer.has.get(piece))
            .min_by_key(rank)
    }

    /// How often a piece was handed out or promised.
    pub(super) fn spread(&mut self, piece: u32) -> &mut u16 {
        &mut self.service.spread[piece as usize]
    }
}
