//! A live swarm, told by bytes what its peers say and do: its invariants hold, and what it says is well-formed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use shoal::base::{Bitfield, BufferPool, Digest20, PeerId, Time, Verdict};
use shoal::swarm::{Config, Found, Geometry, Hello, Input, Output, PeerKey, Said, Swarm, Upload};
use shoal::wire::extension::{EXTENDED_HANDSHAKE, ExtendedHandshake, Extension};
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Message, put_piece_header};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event};
use shoal::wire::peer_exchange::PeerExchange;

/// Steps after which a session has told enough.
const STEPS_MAX: usize = 400;
/// The invariants are asserted after so many steps, since that costs more than they do.
const CHECK_EVERY: usize = 4;
const LINKS_MAX: usize = 4;
/// Timers within a minute; what waits for room is tried again every 20 ms.
const TIMERS_MAX: usize = 10_000;
/// What every byte of a right block is.
const RIGHT: u8 = 0x11;

/// What is left of the input.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// One link, and what the swarm asked of it.
struct Link {
    key: PeerKey,
    decoder: Decoder,
    asked: VecDeque<BlockRequest>,
}

/// Something that stands for the digest of each block.
fn digests(bytes: &[u8]) -> Vec<Digest20> {
    let blocks = bytes.chunks(BLOCK_LEN as usize);
    let digest = |block: &[u8]| {
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        let mut digest = [0; 20];
        digest[..8].copy_from_slice(&sum.to_be_bytes());
        digest
    };
    blocks.map(digest).collect()
}

struct World {
    swarm: Swarm,
    now: Time,
    pieces: u32,
    links: Vec<Link>,
    peers_met: u8,
    work: Vec<Output>,
    uploads: Vec<Upload>,
    /// Where the swarm dials.
    dials: VecDeque<SocketAddr>,
    /// Wrong blocks of a large piece that were written, by piece and begin of their run.
    spoilt: Vec<(u32, u32)>,
}

/// The first byte is what kind of content it is; then each step is a byte that says what happens, and what belongs to it.
pub fn session(data: &[u8]) {
    let mut script = Script(data);
    let mut world = World::new(script.byte());
    for step in 0..STEPS_MAX {
        if script.0.is_empty() {
            break;
        }
        world.step(&mut script);
        world.drain();
        if step % CHECK_EVERY == 0 {
            world.swarm.check();
        }
    }
    world.swarm.check();
}

impl World {
    fn new(kind: u8) -> Self {
        let piece_length = [BLOCK_LEN, 2 * BLOCK_LEN, BLOCK_LEN + 5, 300 << 10][kind as usize % 4];
        let pieces = 2 + u32::from(kind / 4 % 4);
        let total_len = u64::from(piece_length) * u64::from(pieces) - 3;
        let mut config = Config::new(PeerId([9; 20]), kind.into(), BufferPool::new(2 << 20));
        config.whole_piece_bytes_max = 100 << 10;
        config.waiting_requests_max = 20;
        config.upload_slots_max = 2;
        config.arriving_bytes_max = 600 << 10;
        let have = match kind / 16 % 4 {
            0 => Bitfield::all(pieces),
            1 => {
                let mut one = Bitfield::none(pieces);
                one.set(1);
                one
            }
            _ => Bitfield::none(pieces),
        };
        Self {
            swarm: Swarm::new(config, Geometry::new(total_len, piece_length), have),
            now: Time::ZERO + Duration::from_secs(1),
            pieces,
            links: Vec::new(),
            peers_met: 0,
            work: Vec::new(),
            uploads: Vec::new(),
            dials: VecDeque::new(),
            spoilt: Vec::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        if what.is_multiple_of(16) || self.links.is_empty() {
            return self.arrive(what);
        }
        let at = usize::from(what / 16) % self.links.len();
        match what % 16 {
            1..=6 => self.say(at, script),
            7..=10 => self.answer(at, script.byte()),
            11 => {
                let count = usize::from(script.byte());
                let bytes = script.bytes(count).to_vec();
                self.feed(at, &bytes);
            }
            12 => {
                if let Some(addr) = self.dials.pop_front() {
                    let failed = Input::DialFailed { addr };
                    self.swarm.handle_input(self.now, failed);
                }
                let millis = u64::from(script.byte()).pow(2);
                self.pass(Duration::from_millis(millis));
            }
            13 => self.work_one(script.byte()),
            14 => {
                let key = self.links[at].key;
                self.uploads.truncate(4);
                self.uploads.extend(self.swarm.next_upload(self.now, key));
            }
            _ => self.drop_link(at),
        }
    }

    fn arrive(&mut self, what: u8) {
        if self.links.len() == LINKS_MAX {
            return;
        }
        self.peers_met = self.peers_met.wrapping_add(1) % 32;
        let hello = Hello {
            id: PeerId([self.peers_met; 20]),
            remote: ([10, 0, 0, self.peers_met], 40_000).into(),
            dialled: what & 0x80 != 0,
            fast: what & 0x40 == 0,
            greeted_at: self.now,
        };
        let Ok(key) = self.swarm.connect(self.now, hello) else {
            return;
        };
        let mut decoder = Decoder::new(DecoderLimits {
            piece_count: Some(self.pieces),
            ..DecoderLimits::default()
        });
        let mut greeting = Vec::new();
        shoal::wire::peer::Handshake::new(shoal::base::InfoHash([1; 20]), hello.id)
            .encode(&mut greeting);
        let greeted = decoder.decode(&mut &greeting[..]);
        assert!(matches!(greeted, Ok(Some(Event::Handshake(_)))));
        let asked = VecDeque::new();
        self.links.push(Link {
            key,
            decoder,
            asked,
        });
    }

    /// The peer says something that is well-formed, be it right or wrong.
    fn say(&mut self, at: usize, script: &mut Script<'_>) {
        let (what, number) = (script.byte(), script.byte());
        let piece = u32::from(number % 8);
        let block = BlockRequest {
            piece,
            begin: u32::from(number / 8 % 8) * BLOCK_LEN,
            len: if number < 128 {
                BLOCK_LEN
            } else {
                u32::from(number)
            },
        };
        let bits = [number];
        let exchange = PeerExchange {
            added: vec![shoal::wire::peer_exchange::ExchangedPeer {
                addr: address_of(number),
                flags: what,
            }],
            dropped: vec![address_of(what)],
        };
        let mut payload = Vec::new();
        exchange.encode(&mut payload);
        let message = match what % 20 {
            0 => Message::Choke,
            1 => Message::Unchoke,
            2 => Message::Interested,
            3 => Message::NotInterested,
            4 => Message::Have { piece },
            5 => Message::Bitfield { bytes: &bits },
            6 | 7 => Message::Request(block),
            8 => Message::Cancel(block),
            9 => Message::HaveAll,
            10 => Message::HaveNone,
            11 => Message::Reject(self.links[at].asked.front().copied().unwrap_or(block)),
            12 => Message::Suggest { piece },
            13 => Message::AllowedFast { piece },
            14 => Message::KeepAlive,
            15 => Message::Extended {
                id: EXTENDED_HANDSHAKE,
                payload: b"d1:md6:ut_pexi1ee1:pi6881e4:reqqi3e11:upload_onlyi1ee",
            },
            16 => Message::Extended {
                id: EXTENDED_HANDSHAKE,
                payload: b"d1:md6:ut_pexi1eee",
            },
            17 => Message::Extended {
                id: Extension::DontHave.id(),
                payload: &piece.to_be_bytes(),
            },
            18 => Message::Extended {
                id: Extension::PeerExchange.id(),
                payload: &payload,
            },
            _ => return self.find(number),
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.feed(at, &bytes);
    }

    /// A tracker names a peer.
    fn find(&mut self, number: u8) {
        let found = [Found {
            id: (number.is_multiple_of(2)).then_some(PeerId([number % 32; 20])),
            addrs: vec![address_of(number)],
            is_seed: number.is_multiple_of(3),
            ..Found::default()
        }];
        let peers = &found;
        self.swarm.handle_input(self.now, Input::Found { peers });
    }

    /// The peer sends a block that it was asked for, all of it or the start, right or wrong.
    fn answer(&mut self, at: usize, how: u8) {
        let link = &mut self.links[at];
        if link.asked.is_empty() || link.decoder.payload_remaining() > 0 {
            let rest = link.decoder.payload_remaining();
            return self.feed(at, &vec![RIGHT; rest]);
        }
        let which = usize::from(how / 8) % link.asked.len();
        let request = link.asked.remove(which).expect("there are so many");
        let mut bytes = Vec::new();
        put_piece_header(&mut bytes, request.piece, request.begin, request.len);
        let head = bytes.len();
        let fill = if how.is_multiple_of(8) { !RIGHT } else { RIGHT };
        bytes.resize(head + request.len as usize, fill);
        if how % 8 == 1 {
            bytes.truncate(head + request.len as usize / 2);
        }
        self.feed(at, &bytes);
    }

    fn feed(&mut self, at: usize, mut bytes: &[u8]) {
        let (now, key) = (self.now, self.links[at].key);
        let swarm = &mut self.swarm;
        let mut is_gone = false;
        while !is_gone {
            match self.links[at].decoder.decode(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Event::Message(Message::Extended { id, payload }))) => {
                    extended(now, swarm, key, id, payload);
                }
                Ok(Some(Event::Message(message))) => {
                    swarm.handle_input(now, Input::Received { peer: key, message });
                }
                Ok(Some(Event::PieceStart { piece, begin, len })) => {
                    let request = BlockRequest { piece, begin, len };
                    is_gone = swarm.block_started(now, key, request).is_err();
                }
                Ok(Some(Event::Payload(payload))) => swarm.land_copy(now, key, payload),
                Ok(Some(Event::PieceEnd)) => {}
                Ok(Some(Event::Handshake(_))) => unreachable!("it was said before"),
                Err(_) => is_gone = true,
            }
        }
        if is_gone {
            self.drop_link(at);
        }
    }

    fn drop_link(&mut self, at: usize) {
        let peer = self.links.swap_remove(at).key;
        let gone = Input::Disconnected { peer };
        self.swarm.handle_input(self.now, gone);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..TIMERS_MAX {
            let Some(at) = self.swarm.poll_timeout().filter(|&at| at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.swarm.handle_timeout(self.now);
            self.drain();
        }
        panic!("its timers never end");
    }

    /// A worker does one of the things that wait for it.
    fn work_one(&mut self, which: u8) {
        if self.work.is_empty() {
            return;
        }
        let at = usize::from(which / 2) % self.work.len();
        let works = which % 16 != 1;
        let input = match self.work.swap_remove(at) {
            Output::Check { piece, buffer, .. } => Input::Checked {
                piece,
                verdict: verdict(buffer.bytes().iter().all(|&byte| byte == RIGHT)),
                digests: digests(buffer.bytes()),
                buffer,
            },
            Output::Write { run, buffer } => {
                let key = (run.piece, run.begin);
                self.spoilt.retain(|&spoilt| spoilt != key);
                if buffer.bytes().iter().any(|&byte| byte != RIGHT) {
                    self.spoilt.push(key);
                }
                let failed = || Err(std::io::ErrorKind::StorageFull.into());
                let result = if works { Ok(()) } else { failed() };
                Input::Written {
                    run,
                    buffer,
                    result,
                }
            }
            Output::Verify { piece, .. } => Input::Verified {
                piece,
                verdict: verdict(self.spoilt.iter().all(|spoilt| spoilt.0 != piece)),
                // As if it could not be read once more.
                digests: Vec::new(),
            },
            Output::Load { run, buffer } => Input::Loaded {
                run,
                buffer,
                ok: works,
            },
            _ => unreachable!("no other work is kept"),
        };
        self.swarm.handle_input(self.now, input);
    }

    fn drain(&mut self) {
        while let Some(output) = self.swarm.poll_output() {
            match output {
                Output::Send { peer, message } => {
                    let mut bytes = Vec::new();
                    message.encode(&mut bytes);
                    let link = self.links.iter_mut().find(|link| link.key == peer);
                    match (link, message) {
                        (Some(link), Message::Request(request)) => link.asked.push_back(request),
                        (Some(link), Message::Cancel(request)) => {
                            link.asked.retain(|&asked| asked != request);
                        }
                        _ => {}
                    }
                }
                Output::Exchange { message, .. } => {
                    let mut payload = Vec::new();
                    message.encode(&mut payload);
                    let read = PeerExchange::decode(&payload).expect("our own message");
                    assert_eq!(read.added.len(), message.added.len());
                }
                Output::Connect { addr } => {
                    self.dials.push_back(addr);
                    self.dials.truncate(40);
                }
                Output::Disconnect { peer, .. } => {
                    if let Some(at) = self.links.iter().position(|link| link.key == peer) {
                        self.drop_link(at);
                    }
                }
                Output::Check { .. }
                | Output::Write { .. }
                | Output::Verify { .. }
                | Output::Load { .. } => self.work.push(output),
                _ => {}
            }
        }
        assert!(self.work.len() < 2_000, "work without end");
    }
}

/// Tells the swarm what an extended message says.
fn extended(now: Time, swarm: &mut Swarm, peer: PeerKey, id: u8, payload: &[u8]) {
    if id == EXTENDED_HANDSHAKE {
        let Ok(theirs) = ExtendedHandshake::decode(payload) else {
            return;
        };
        let exchange_id = theirs.id_of(Extension::PeerExchange);
        let said = Said {
            requests_max: theirs.reqq,
            request_bytes_max: theirs.request_bytes_max,
            port: theirs.port,
            is_upload_only: theirs.upload_only,
            wants_exchange: exchange_id.map(|id| id != 0),
        };
        return swarm.handle_input(now, Input::Extended { peer, said });
    }
    match Extension::from_id(id) {
        Some(Extension::DontHave) => {
            if let Ok(index) = payload.try_into() {
                let piece = u32::from_be_bytes(index);
                swarm.handle_input(now, Input::Lost { peer, piece });
            }
        }
        Some(Extension::PeerExchange) => {
            if let Ok(message) = &PeerExchange::decode(payload) {
                swarm.handle_input(now, Input::Exchanged { peer, message });
            }
        }
        _ => {}
    }
}

/// Where peer `number` listens.
fn address_of(number: u8) -> SocketAddr {
    ([10, 0, 0, number % 32], 6881).into()
}

fn verdict(is_good: bool) -> Verdict {
    if is_good {
        Verdict::Good
    } else {
        Verdict::Wrong
    }
}

pub fn session_samples() -> Vec<Vec<u8>> {
    // A source that serves everything, with a worker that does its work.
    let mut fetch = vec![2 * 16 + 1, 0, 1, 9, 0, 1, 1, 0];
    for _ in 0..40 {
        fetch.extend([7, 3, 13, 0]);
    }
    let large = [vec![2 * 16 + 3], fetch[1..].repeat(4)].concat();
    // A sink that asks, is served, and chokes.
    let mut serve = vec![1, 0, 1, 10, 0, 1, 2, 0];
    for number in 0..16 {
        serve.extend([1, 6, number, 14, 13, 0, 14]);
    }
    serve.extend([1, 8, 3, 12, 200, 15]);
    // Peers that tell of others, over minutes.
    let mut gossip = vec![
        2 * 16,
        0,
        0,
        1,
        16,
        0,
        17,
        16,
        0,
        1,
        18,
        7,
        1,
        9,
        0,
        17,
        18,
        8,
    ];
    for number in 0..10 {
        gossip.extend([12, 255, 1, 18, number, 17, 17, 1, 1, 19, number, 0]);
    }
    // Two sources of which one lies and one falls silent.
    let mut lies = vec![2 * 16 + 2, 0, 0x40, 1, 9, 0, 1, 1, 0, 17, 5, 0xf0, 17, 1, 0];
    for _ in 0..20 {
        lies.extend([7, 0, 23, 1, 13, 0, 12, 60]);
    }
    vec![fetch, large, serve, gossip, lies]
}
