//! What we know of one peer while its link lasts: flags, what it has, what we asked of it, what it asks of us.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Geometry;
use super::exchange::Exchange;
use super::fair::Gave;
use super::pieces::Sender;
use super::standby::Standby;
use crate::base::{Bitfield, PeerId, Rate, Time};
use crate::wire::peer::BlockRequest;

/// Names one link for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerKey {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl PeerKey {
    /// A small index, used again after the link is gone.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// What the handshakes of a new link said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the other side calls itself.
    pub id: PeerId,
    /// The other end of the conn.
    pub remote: SocketAddr,
    /// Whether we opened the conn.
    pub dialled: bool,
    /// Whether both sides speak the fast extension (BEP 6).
    pub fast: bool,
    /// When our handshake went out on it.
    pub greeted_at: Time,
}

/// What a peer says of itself in an extension handshake; a later one changes what it mentions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Requests that it takes at a time (`reqq`).
    pub requests_max: Option<u32>,
    /// The longest request that it serves, in bytes (`sh_block`).
    pub request_bytes_max: Option<u32>,
    /// Where it listens (`p`).
    pub port: Option<u16>,
    /// It will not download (BEP 21).
    pub is_upload_only: Option<bool>,
    /// It wants to be told of peers (BEP 11).
    pub wants_exchange: Option<bool>,
}

/// A request of ours that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub piece: u32,
    pub block: u32,
    pub at: Time,
}

impl Asked {
    /// Whether it asks for this block.
    pub(super) fn is_for(&self, piece: u32, block: u32) -> bool {
        (self.piece, self.block) == (piece, block)
    }
}

/// What is coming in on a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    /// The blocks at hand, which have the same fate; the first is that whose bytes are coming in.
    pub request: BlockRequest,
    /// Bytes that came of them.
    pub filled: u32,
    /// Where they go.
    pub goes: Goes,
    /// Bytes of blocks that follow in the same message.
    pub rest: u32,
}

impl Incoming {
    /// The blocks at hand with those that follow in the same message.
    pub(super) fn whole(self) -> BlockRequest {
        BlockRequest {
            len: self.request.len + self.rest,
            ..self.request
        }
    }
}

/// Where the bytes of an incoming block go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// To their place in the piece's buffer.
    InPlace,
    /// To the link's side buffer, since another peer is writing the block into its place.
    Aside,
    /// Nowhere: nobody needs them.
    Away,
}

/// Asked ahead of all peers of which it is not known yet how fast they are.
const FIRST_PIPELINE_BYTES: f64 = 1048576.0;
/// Blocks that are asked for before a turn begins, of a piece that is longer: the rest follows while it lasts.
const TURN_PIPELINE_BLOCKS: usize = 64;
/// Requests taken back that are remembered for each link.
const CANCELLED_MAX: usize = 1_024;
/// How far ahead of a peer's pace we ask, and the fewest bytes in flight to a peer in good standing.
struct Pipeline {
    seconds: f64,
    bytes_min: f64,
}

/// Among our own (on a LAN 128 KiB hide a turn of the loop).
const NATIVE_PIPELINE: Pipeline = Pipeline {
    seconds: 0.4,
    bytes_min: 131072.0,
};
/// Others answer at a pace of their own: Transmission reads and writes every 0.5 s, aria2 turns once a second at worst.
/// A pipeline that is shorter than that is all that they ever serve, and so never grows. Libtorrent asks 3 s ahead,
/// Transmission at least for 32 blocks.
const FOREIGN_PIPELINE: Pipeline = Pipeline {
    seconds: 3.0,
    bytes_min: 524288.0,
};

/// One link.
#[derive(Debug)]
pub(super) struct Peer {
    pub generation: u32,
    pub hello: Hello,
    /// Where it listens, or the far end of its conn if that is not known.
    pub addr: SocketAddr,
    /// How near it is, from 0 to 3.
    pub proximity: u8,
    /// Index of that address's account in the swarm's ledger.
    pub account: u32,
    pub has: Bitfield,
    /// Counted as one that holds everything, not piece by piece.
    pub counted_whole: bool,
    /// Its possession message came: from now on a bitfield is news, and HAVE_ALL and HAVE_NONE are refused.
    pub possession_known: bool,
    /// Pieces that it has and we have not.
    pub wanted_count: u32,

    pub am_choking: bool,
    pub am_interested: bool,
    pub is_choking: bool,
    pub is_interested: bool,
    pub is_upload_only: bool,
    /// When our choke state last changed.
    pub choke_changed_at: Time,
    /// Before this it does not change again.
    pub choke_kept_until: Time,
    /// Since when it is interested and choked.
    pub waiting_since: Time,
    /// What it gave us of late.
    pub gave: Gave,
    /// Until when it has a slot whatever it gives.
    pub favoured_until: Time,

    /// Requests it takes at a time (`reqq` of BEP 10).
    pub requests_max: usize,
    /// The longest request that it serves (`sh_block`); 0 if it said nothing of it, and serves blocks.
    pub request_bytes_max: u32,
    pub asked: VecDeque<Asked>,
    /// Requests that were taken back, and when; they may still be answered.
    pub cancelled: VecDeque<Asked>,
    /// The arriving piece that is this peer's task.
    pub current: Option<u32>,
    /// The piece of the last block that it began to send.
    pub run: Option<u32>,
    pub incoming: Option<Incoming>,
    /// Memory for a block that another peer is landing already.
    pub side: Box<[u8]>,
    /// It let requests wait too long, and gets one at a time until it delivers.
    pub is_snubbed: bool,
    /// What it sends is not read: our own limit does not allow it just now.
    pub is_held: bool,
    /// When payload last came, or the first request went to an idle peer.
    pub progress_at: Time,
    /// It rejected a request although it has us unchoked, and is asked nothing before this.
    pub resume_at: Time,
    /// Blocks and rejects that came unasked.
    pub unasked_count: u32,
    /// Falls with pieces that were wrong of which it sent a part, when nobody will know whose fault that was.
    pub trust: i8,

    /// What it asks of us.
    pub requests: VecDeque<BlockRequest>,
    /// Since when it waits for its turn.
    pub asks_since: Time,
    /// The latest pieces that it got of us and that nobody else was seen to have, under tit for tat while we have everything.
    pub handed: Vec<u32>,
    /// The piece that we told it to ask for next.
    pub promised: Option<u32>,
    /// The piece that it told us to ask for next (BEP 6).
    pub suggested: Option<u32>,
    /// An arriving piece that others were asked for as well: whoever begins to send it first is its sender.
    pub standby: Option<Standby>,
    /// Requests of it that were refused.
    pub refused_count: u32,

    pub exchange: Exchange,
    pub received_at: Time,
    pub sent_at: Time,
    pub down: Rate,
    pub up: Rate,
}

impl Peer {
    pub(super) fn new(now: Time, generation: u32, hello: Hello, account: u32, pieces: u32) -> Self {
        Self {
            generation,
            hello,
            addr: hello.remote,
            proximity: 0,
            account,
            has: Bitfield::none(pieces),
            counted_whole: false,
            possession_known: false,
            wanted_count: 0,
            am_choking: true,
            am_interested: false,
            is_choking: true,
            is_interested: false,
            is_upload_only: false,
            choke_changed_at: now,
            choke_kept_until: Time::ZERO,
            waiting_since: Time::MAX,
            gave: Gave::default(),
            favoured_until: Time::ZERO,
            requests_max: 250,
            request_bytes_max: 0,
            asked: VecDeque::new(),
            cancelled: VecDeque::new(),
            current: None,
            run: None,
            incoming: None,
            side: Box::default(),
            is_snubbed: false,
            is_held: false,
            progress_at: now,
            resume_at: Time::ZERO,
            unasked_count: 0,
            trust: 0,
            requests: VecDeque::new(),
            asks_since: now,
            handed: Vec::new(),
            promised: None,
            suggested: None,
            standby: None,
            refused_count: 0,
            exchange: Exchange::default(),
            received_at: now,
            sent_at: now,
            down: Rate::default(),
            up: Rate::default(),
        }
    }

    /// Remembers a request that is taken back, so that an answer under way harms nobody.
    pub(super) fn take_back(&mut self, now: Time, asked: Asked) {
        if self.cancelled.len() == CANCELLED_MAX {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back(Asked { at: now, ..asked });
    }

    /// Enough to ban it when it is gone.
    pub(super) fn sender(&self) -> Sender {
        Sender {
            id: self.hello.id,
            addr: self.addr,
        }
    }

    /// Takes back all that was asked of it of a piece, in that order.
    pub(super) fn take_back_all(&mut self, now: Time, piece: u32) -> Vec<Asked> {
        if !self.asked.iter().any(|asked| asked.piece == piece) {
            return Vec::new();
        }
        let asked = std::mem::take(&mut self.asked).into_iter();
        let (lost, kept): (Vec<Asked>, Vec<Asked>) = asked.partition(|asked| asked.piece == piece);
        self.asked = kept.into();
        for &asked in &lost {
            self.take_back(now, asked);
        }
        lost
    }

    /// Whether it takes up one of our slots; to send to who wants nothing costs nothing.
    pub(super) fn has_slot(&self) -> bool {
        !self.am_choking && !self.is_upload_only
    }

    /// Whether requests may go to it now.
    pub(super) fn is_servable(&self) -> bool {
        !self.is_choking && self.am_interested
    }

    /// How many requests should be in flight to it: what it sends in a moment and at least a piece, within what it and we
    /// allow. Before its pace is known, it is one of `source_count` that share a first guess.
    pub(super) fn pipeline_blocks(
        &self,
        requests_max: usize,
        geometry: &Geometry,
        source_count: impl FnOnce() -> usize,
    ) -> usize {
        if self.is_snubbed {
            return 1;
        }
        let blocks_max = requests_max.min(self.requests_max).max(1);
        let pipeline = if self.hello.id.is_native() {
            NATIVE_PIPELINE
        } else {
            FOREIGN_PIPELINE
        };
        let ahead_bytes = match self.down.bytes_per_second() {
            None => FIRST_PIPELINE_BYTES / source_count().max(1) as f64,
            Some(rate) => (rate * pipeline.seconds).max(pipeline.bytes_min),
        };
        let ahead = ahead_bytes / f64::from(geometry.block_len());
        let piece = geometry.blocks_max().min(TURN_PIPELINE_BLOCKS);
        (ahead as usize).max(piece).min(blocks_max)
    }

    /// How long it may leave requests without payload before they move elsewhere.
    pub(super) fn stall_time(&self) -> Duration {
        let Some(rate) = self.down.bytes_per_second().filter(|&rate| rate > 0.0) else {
            return STALL_TIME_MAX;
        };
        let per_block = f64::from(crate::wire::peer::BLOCK_LEN) / rate;
        Duration::from_secs_f64((4.0 * per_block).clamp(0.0, STALL_TIME_MAX.as_secs_f64()))
            .max(STALL_TIME_MIN)
    }

    /// When its silence becomes a stall, if it owes us anything. While a piece waits for its turn, nothing is to come.
    pub(super) fn stalls_at(&self) -> Option<Time> {
        let first = self.asked.front().filter(|_| !self.is_held)?;
        let time = if self.run == Some(first.piece) {
            self.stall_time()
        } else {
            TURN_TIME_MAX
        };
        Some(self.progress_at + time)
    }
}

/// Bounds of the stall time: four times the usual time of a block, on a LAN (ALGORITHMS of the field: 0.5 to 10 s; the
/// lower bound is raised so that a peer whose machine is busy for a moment is not punished).
const STALL_TIME_MIN: Duration = Duration::from_secs(2);
const STALL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a peer may leave a piece waiting of which it sent nothing (others give up after 20 to 25 s).
const TURN_TIME_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        let hello = Hello {
            id: PeerId([1; 20]),
            remote: ([127, 0, 0, 1], 1).into(),
            dialled: true,
            fast: true,
            greeted_at: Time::ZERO,
        };
        Peer::new(Time::ZERO, 0, hello, 0, 8)
    }

    #[test]
    fn the_pipeline_follows_the_pace_within_its_bounds() {
        let mut peer = peer();
        let geometry = Geometry::new(1 << 24, 1 << 20);
        let blocks = |peer: &Peer| peer.pipeline_blocks(256, &geometry, || 1);
        assert_eq!(blocks(&peer), 64);
        let mut now = Time::from_nanos(1);
        for _ in 0..40 {
            now += Duration::from_millis(50);
            peer.down.add(now, 50 << 20);
        }
        assert_eq!(blocks(&peer), 250);
        peer.requests_max = 5;
        assert_eq!(blocks(&peer), 5);
        peer.is_snubbed = true;
        assert_eq!(blocks(&peer), 1);
    }

    #[test]
    fn a_peer_that_serves_what_it_was_asked_every_half_second_is_asked_for_ever_more() {
        let mut peer = peer();
        let geometry = Geometry::new(1 << 24, 1 << 16);
        assert!(!peer.hello.id.is_native());
        let (mut now, mut asked) = (Time::from_nanos(1), 8);
        for _ in 0..20 {
            now += Duration::from_millis(500);
            peer.down.add(now, asked << 14);
            asked = peer.pipeline_blocks(256, &geometry, || 1);
        }
        assert_eq!(asked, 250);
    }

    #[test]
    fn a_slow_peer_is_given_more_time_than_a_fast_one() {
        let mut slow = peer();
        assert_eq!(slow.stall_time(), STALL_TIME_MAX);
        let mut now = Time::from_nanos(1);
        for _ in 0..40 {
            now += Duration::from_millis(500);
            slow.down.add(now, 8 << 10);
        }
        assert!(
            slow.stall_time() > STALL_TIME_MIN,
            "{:?}",
            slow.stall_time()
        );
        let mut fast = peer();
        for _ in 0..40 {
            now += Duration::from_millis(50);
            fast.down.add(now, 8 << 20);
        }
        assert_eq!(fast.stall_time(), STALL_TIME_MIN);
        assert_eq!(fast.stalls_at(), None, "it owes nothing");
    }
}
