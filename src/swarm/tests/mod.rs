//! A swarm alone, told by hand what happens.

mod any_order;
mod exchange;
mod fair;
mod fetching;
mod foreign;
mod knowledge;
mod large;
mod linking;
mod preference;
mod refusals;
mod rescue;
mod sequence;
mod serving;
mod stretch;
mod suspects;

use super::*;
use crate::base::{BufferPool, PeerId};
use crate::wire::peer::BLOCK_LEN;

/// Four blocks to a piece.
const PIECE_LEN: u32 = 4 * BLOCK_LEN;
const SECOND: Duration = Duration::from_secs(1);

/// A swarm, the time, and what it wanted done and nobody looked at yet.
struct Rig {
    swarm: Swarm,
    now: Time,
    sent: Vec<(PeerKey, Message<'static>)>,
    closed: Vec<(PeerKey, Reason)>,
    rest: Vec<Output>,
}

/// The id of peer `number`, a program like ours.
fn id(number: u8) -> PeerId {
    PeerId::from_random([number; 12])
}

/// The id of a peer that is not of our kind.
fn foreign_id(number: u8) -> PeerId {
    let mut id = PeerId([number; 20]);
    id.0[..8].copy_from_slice(b"-LT2080-");
    id
}

/// Where peer `number` listens.
fn addr(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 6881).into()
}

fn found(number: u8) -> Found {
    Found {
        id: Some(id(number)),
        addrs: vec![addr(number)],
        is_seed: false,
        ..Found::default()
    }
}

fn config() -> Config {
    Config::new(id(100), 1, BufferPool::new(1 << 20))
}

impl Rig {
    fn new(config: Config, have: Bitfield) -> Self {
        let total_len = u64::from(have.len()) * u64::from(PIECE_LEN);
        Self {
            swarm: Swarm::new(config, Geometry::new(total_len, PIECE_LEN), have),
            now: Time::ZERO + SECOND,
            sent: Vec::new(),
            closed: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// Has nothing of `pieces` pieces.
    fn getter(pieces: u32) -> Self {
        Self::new(config(), Bitfield::none(pieces))
    }

    /// Has all of `pieces` pieces.
    fn seed(pieces: u32) -> Self {
        Self::new(config(), Bitfield::all(pieces))
    }

    /// Takes in what the swarm wants done. Links that it closes are gone at once.
    fn drain(&mut self) {
        while let Some(output) = self.swarm.poll_output() {
            match output {
                Output::Send { peer, message } => self.sent.push((peer, message)),
                Output::Disconnect { peer, reason } => {
                    self.closed.push((peer, reason));
                    let gone = Input::Disconnected { peer };
                    self.swarm.handle_input(self.now, gone);
                }
                output => self.rest.push(output),
            }
        }
        self.swarm.check();
    }

    fn input(&mut self, input: Input<'_>) {
        self.swarm.handle_input(self.now, input);
        self.drain();
    }

    fn receive(&mut self, peer: PeerKey, message: Message<'_>) {
        self.input(Input::Received { peer, message });
    }

    /// Lets time pass, timers included.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.swarm.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.swarm.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn try_link(&mut self, hello: Hello) -> Result<PeerKey, Reason> {
        let result = self.swarm.connect(self.now, hello);
        self.drain();
        result
    }

    /// Peer `number` dialled us and has said nothing yet.
    fn link(&mut self, number: u8, fast: bool) -> PeerKey {
        self.link_as(id(number), number, fast)
    }

    /// The same, of a peer that is not of our kind.
    fn link_foreign(&mut self, number: u8) -> PeerKey {
        self.link_as(foreign_id(number), number, true)
    }

    fn link_as(&mut self, id: PeerId, number: u8, fast: bool) -> PeerKey {
        let hello = Hello {
            id,
            remote: ([10, 0, 0, number], 40_000).into(),
            dialled: false,
            fast,
            greeted_at: self.now,
        };
        self.try_link(hello).expect("it is welcome")
    }

    /// A peer serves long requests.
    fn agree(&mut self, peer: PeerKey) {
        let said = Said {
            request_bytes_max: Some(REQUEST_BYTES_MAX),
            ..Said::default()
        };
        self.input(Input::Extended { peer, said });
    }

    /// A peer sent a lot in the last moment.
    fn be_fast(&mut self, peer: PeerKey) {
        let mut down = crate::base::Rate::default();
        down.add(Time::from_nanos(1), 1 << 30);
        down.roll(self.now);
        self.swarm.peers[peer.slot()].down = down;
    }

    /// Peer `number` has everything, and serves us.
    fn source(&mut self, number: u8) -> PeerKey {
        let key = self.link(number, true);
        self.receive(key, Message::HaveAll);
        self.receive(key, Message::Unchoke);
        key
    }

    /// Peer `number` has these pieces, and serves us.
    fn holder(&mut self, number: u8, pieces: &[u32]) -> PeerKey {
        let key = self.link(number, true);
        let mut has = Bitfield::none(self.swarm.have().len());
        for &piece in pieces {
            has.set(piece);
        }
        let bytes = has.as_bytes();
        self.receive(key, Message::Bitfield { bytes });
        self.receive(key, Message::Unchoke);
        key
    }

    /// Peer `number` has nothing, and wants something.
    fn sink(&mut self, number: u8) -> PeerKey {
        let key = self.link(number, true);
        self.receive(key, Message::HaveNone);
        self.receive(key, Message::Interested);
        key
    }

    /// Messages to a peer since this was last asked.
    fn told(&mut self, peer: PeerKey) -> Vec<Message<'static>> {
        let sent = std::mem::take(&mut self.sent);
        let (told, kept): (Vec<_>, Vec<_>) = sent.into_iter().partition(|&(to, _)| to == peer);
        self.sent = kept;
        told.into_iter().map(|(_, message)| message).collect()
    }

    /// Blocks asked of a peer since this was last asked.
    fn asked(&mut self, peer: PeerKey) -> Vec<BlockRequest> {
        let told = self.told(peer).into_iter();
        told.filter_map(|message| match message {
            Message::Request(request) => Some(request),
            _ => None,
        })
        .collect()
    }

    /// Blocks rejected since this was last asked.
    fn rejected(&mut self, peer: PeerKey) -> Vec<BlockRequest> {
        let told = self.told(peer).into_iter();
        told.filter_map(|message| match message {
            Message::Reject(request) => Some(request),
            _ => None,
        })
        .collect()
    }

    /// A whole block arrives.
    fn land(&mut self, peer: PeerKey, block: BlockRequest) {
        let spoilt = false;
        self.input(Input::Landed {
            peer,
            block,
            spoilt,
        });
    }

    /// Everything that was asked of a peer arrives.
    fn land_all(&mut self, peer: PeerKey) {
        for block in self.asked(peer) {
            self.land(peer, block);
        }
    }

    /// The pieces that wait for a worker, with their buffers.
    fn take_checks(&mut self) -> Vec<(u32, PieceBuf)> {
        let (mut checks, mut kept) = (Vec::new(), Vec::new());
        for output in self.rest.drain(..) {
            match output {
                Output::Check { piece, buffer, .. } => checks.push((piece, buffer)),
                output => kept.push(output),
            }
        }
        self.rest = kept;
        checks
    }

    /// A worker finds every piece that waits for it good, or wrong in every block.
    fn judge(&mut self, is_good: bool) -> usize {
        let all: Vec<u32> = (0..PIECE_LEN / BLOCK_LEN).collect();
        self.judge_spoilt(if is_good { &[] } else { &all })
    }

    /// A worker finds these blocks wrong in every piece that waits for it.
    fn judge_spoilt(&mut self, spoilt: &[u32]) -> usize {
        let checks = self.take_checks();
        let count = checks.len();
        for (piece, buffer) in checks {
            let verdict = if spoilt.is_empty() {
                Verdict::Good
            } else {
                Verdict::Wrong
            };
            let digest = |block| [u8::from(spoilt.contains(&block)); 20];
            let digests = (0..self.swarm.geometry.block_count(piece)).map(digest);
            self.input(Input::Checked {
                piece,
                verdict,
                digests: digests.collect(),
                buffer,
            });
        }
        count
    }

    /// Whether `wanted` picks one of the outputs that nobody looked at; they are forgotten.
    fn wants(&mut self, wanted: impl Fn(&Output) -> bool) -> bool {
        let outputs = std::mem::take(&mut self.rest);
        outputs.iter().any(wanted)
    }

    /// A worker reads every run that was sent for.
    fn load_all(&mut self) {
        for output in std::mem::take(&mut self.rest) {
            if let Output::Load { run, buffer } = output {
                let ok = true;
                self.input(Input::Loaded { run, buffer, ok });
            }
        }
    }
}

/// Block `index` of `piece`.
fn block(piece: u32, index: u32) -> BlockRequest {
    BlockRequest {
        piece,
        begin: index * BLOCK_LEN,
        len: BLOCK_LEN,
    }
}
