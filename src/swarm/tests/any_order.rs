//! Peers that do anything at any time, byte by byte: the invariants hold, nobody honest is blamed, and when they behave
//! the content arrives. A failure prints its seed; `SHOAL_SEED` replays one.

use std::collections::BTreeMap;

use super::*;

/// The last piece has one whole block, and one of a single byte.
const LAST_LEN: u32 = BLOCK_LEN + 1;
/// A piece that is written before it is checked, if runs are the largest that are not: two runs, and a block and a bit.
const LARGE_LEN: u32 = 2 * RUN_BYTES + BLOCK_LEN + 5;

/// One peer, as the other end of a link.
#[derive(Debug)]
struct Remote {
    key: PeerKey,
    fast: bool,
    lies: bool,
    chokes: bool,
    /// It serves long requests, and is fast enough to be sent some.
    serves_long: bool,
    /// What we asked of it.
    queue: VecDeque<BlockRequest>,
    /// The block that it is sending, what it has sent of it, and whether those bytes are wrong.
    sending: Option<(BlockRequest, u32, bool)>,
}

impl Remote {
    /// Takes a block out of what we asked of it; whether it was there.
    fn cancel(&mut self, block: BlockRequest) -> bool {
        let holds = |queued: &BlockRequest| {
            let (begin, end) = (u64::from(block.begin), block.end());
            queued.piece == block.piece && u64::from(queued.begin) <= begin && end <= queued.end()
        };
        let Some(at) = self.queue.iter().position(holds) else {
            return false;
        };
        let whole = self.queue.remove(at).expect("it was just seen");
        let blocks = (whole.begin..whole.end() as u32).step_by(BLOCK_LEN as usize);
        for begin in blocks.filter(|&begin| begin != block.begin) {
            let len = BLOCK_LEN.min(whole.end() as u32 - begin);
            self.queue.push_back(BlockRequest {
                begin,
                len,
                ..whole
            });
        }
        true
    }
}

struct World {
    rig: Rig,
    rng: Rng,
    pieces: u32,
    /// What was written of large pieces.
    disk: BTreeMap<Run, Vec<u8>>,
    remotes: Vec<Remote>,
    next_number: u8,
    /// What is queued on our conns.
    uploads: Vec<Upload>,
    /// The last bytes of the liars' addresses.
    liars: Vec<u8>,
    /// Blocks come once in so many turns.
    pace: usize,
    /// The last version of counts that the tracker told.
    version: u32,
}

/// What every byte of a block is.
fn byte_of(request: BlockRequest) -> u8 {
    (request.piece * 4 + request.begin / BLOCK_LEN + 1) as u8
}

impl World {
    fn new(seed: u64, pieces: u32, piece_len: u32) -> Self {
        let mut rng = Rng::new(seed);
        let mut config = config();
        config.seed = rng.next_u64();
        config.upload_slots_max = 1 + rng.below(4);
        config.watch = *rng
            .pick(&[Watch::Never, Watch::IfOfUse, Watch::Always])
            .expect("three");
        config.links_wanted = 2 + rng.below(40);
        config.whole_piece_bytes_max = RUN_BYTES;
        let unit = piece_len.min(RUN_BYTES) as usize;
        config.pool = BufferPool::new((2 + rng.below(12)) * unit);
        config.arriving_bytes_max = (1 + rng.below(6)) * unit;
        config.cache_bytes_max = (1 + rng.below(4)) * unit;
        let pace = 1 + rng.below(12);
        let mut rig = Rig::getter(pieces);
        let total_len = piece_len * (pieces - 1) + LAST_LEN;
        let geometry = Geometry::new(total_len.into(), piece_len);
        rig.swarm = Swarm::new(config, geometry, Bitfield::none(pieces));
        Self {
            rig,
            rng,
            pieces,
            disk: BTreeMap::new(),
            remotes: Vec::new(),
            next_number: 1,
            uploads: Vec::new(),
            liars: Vec::new(),
            pace,
            version: 0,
        }
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.rng.below(n) == 0
    }

    /// Passes on what the swarm said, and what it closed.
    fn pass_on(&mut self) {
        for (peer, message) in std::mem::take(&mut self.rig.sent) {
            let Some(remote) = self.remotes.iter_mut().find(|remote| remote.key == peer) else {
                continue;
            };
            match message {
                Message::Request(request) if remote.chokes && remote.fast => {
                    self.rig.receive(peer, Message::Reject(request));
                }
                Message::Request(request) if !remote.chokes => remote.queue.push_back(request),
                Message::Cancel(request) if remote.cancel(request) && remote.fast => {
                    self.rig.receive(peer, Message::Reject(request));
                }
                _ => {}
            }
        }
        for (peer, reason) in std::mem::take(&mut self.rig.closed) {
            let was_liar = self.remotes.iter().any(|r| r.key == peer && r.lies);
            assert!(
                was_liar && reason == Reason::CorruptPiece
                    || matches!(reason, Reason::BothComplete | Reason::Silent),
                "an honest link was closed: {reason}"
            );
            self.remotes.retain(|remote| remote.key != peer);
        }
        for output in &self.rig.rest {
            if let Output::Accuse { addr, .. } = output {
                let std::net::IpAddr::V4(ip) = addr.ip() else {
                    unreachable!("all are v4");
                };
                assert!(self.liars.contains(&ip.octets()[3]), "{addr} is honest");
            }
        }
    }

    fn arrive(&mut self, lies: bool, has_all: bool) {
        let number = self.next_number;
        self.next_number += 1;
        let fast = has_all || !self.one_in(3);
        let key = self.rig.link(number, fast);
        if lies {
            self.liars.push(number);
        }
        if has_all {
            self.rig.receive(key, Message::HaveAll);
        } else {
            let bytes = [(self.rng.below(1 << self.pieces) << (8 - self.pieces)) as u8];
            self.rig.receive(key, Message::Bitfield { bytes: &bytes });
        }
        let (queue, sending) = (VecDeque::new(), None);
        self.remotes.push(Remote {
            key,
            fast,
            lies,
            chokes: true,
            serves_long: false,
            queue,
            sending,
        });
        if self.one_in(2) {
            let said = Said {
                request_bytes_max: Some(REQUEST_BYTES_MAX >> self.rng.below(3)),
                ..Said::default()
            };
            self.rig.input(Input::Extended { peer: key, said });
            let remote = self.remotes.last_mut();
            remote.expect("it was just added").serves_long = true;
        }
        if !self.one_in(4) {
            self.choke(self.remotes.len() - 1, false);
        }
    }

    fn choke(&mut self, at: usize, chokes: bool) {
        let remote = &mut self.remotes[at];
        let (key, fast) = (remote.key, remote.fast);
        remote.chokes = chokes;
        if !chokes {
            return self.rig.receive(key, Message::Unchoke);
        }
        let dropped = std::mem::take(&mut remote.queue);
        self.rig.receive(key, Message::Choke);
        for request in dropped.into_iter().filter(|_| fast) {
            self.rig.receive(key, Message::Reject(request));
        }
    }

    /// A peer sends some bytes of what it owes.
    fn send_some(&mut self, at: usize, bytes_max: usize) {
        let now = self.rig.now;
        let remote = &mut self.remotes[at];
        let key = remote.key;
        if remote.sending.is_none() {
            let Some(request) = remote.queue.pop_front() else {
                return;
            };
            let wrong = remote.lies && self.rng.below(3) == 0;
            remote.sending = Some((request, 0, wrong));
            let started = self.rig.swarm.block_started(now, key, request);
            assert_eq!(started, Ok(()));
        }
        let (request, sent, wrong) = remote.sending.take().expect("it was just seen to");
        if remote.serves_long {
            self.rig.be_fast(key);
        }
        let count = ((request.len - sent) as usize).min(1 + self.rng.below(bytes_max));
        let count = count.min(self.rig.swarm.landing_len(key));
        if let Some(place) = self.rig.swarm.landing(key) {
            for (begin, byte) in (request.begin + sent..).zip(&mut place[..count]) {
                let block = BlockRequest { begin, ..request };
                *byte = if wrong { 0xee } else { byte_of(block) };
            }
        }
        self.rig.swarm.landed(now, key, count);
        let sent = sent + count as u32;
        if sent < request.len {
            remote.sending = Some((request, sent, wrong));
        }
        self.rig.drain();
    }

    /// A worker does one of the things that wait for it.
    fn work_one(&mut self) {
        let waits = |output: &Output| {
            matches!(
                output,
                Output::Check { .. } | Output::Write { .. } | Output::Verify { .. }
            )
        };
        let waiting = self.rig.rest.iter().enumerate();
        let waiting: Vec<usize> = waiting
            .filter(|(_, o)| waits(o))
            .map(|(at, _)| at)
            .collect();
        let Some(&at) = self.rng.pick(&waiting) else {
            return;
        };
        match self.rig.rest.swap_remove(at) {
            Output::Check {
                piece,
                buffer,
                digests,
            } => {
                let (verdict, all) = self.judge(piece, |block| {
                    &buffer.bytes()[block.begin as usize..block.end() as usize]
                });
                let digests = digests.if_wanted(&verdict, || all);
                self.rig.input(Input::Checked {
                    piece,
                    verdict,
                    digests,
                    buffer,
                });
            }
            Output::Write { run, buffer } => {
                let fails = self.one_in(100);
                let result = if fails {
                    Err(io::ErrorKind::StorageFull.into())
                } else {
                    self.disk.insert(run, buffer.bytes().to_vec());
                    Ok(())
                };
                self.rig.input(Input::Written {
                    run,
                    buffer,
                    result,
                });
            }
            Output::Verify { piece, digests } => {
                let (verdict, all) = self.judge(piece, |block| {
                    let run = Run::of(piece, block.begin);
                    let begin = (block.begin - run.begin) as usize;
                    &self.disk[&run][begin..begin + block.len as usize]
                });
                let digests = digests.if_wanted(&verdict, || all);
                self.rig.input(Input::Verified {
                    piece,
                    verdict,
                    digests,
                });
            }
            _ => unreachable!("only work was chosen"),
        }
    }

    /// What a worker finds of a piece: a verdict, and something that stands for the digest of each block.
    fn judge<'a>(
        &self,
        piece: u32,
        bytes_of: impl Fn(BlockRequest) -> &'a [u8],
    ) -> (Verdict, Vec<Digest20>) {
        let geometry = self.rig.swarm.geometry();
        let blocks = (0..geometry.block_count(piece)).map(|index| geometry.block(piece, index));
        let mut is_good = true;
        let mut digests = Vec::new();
        for block in blocks {
            let (good, bytes) = (byte_of(block), bytes_of(block));
            is_good &= bytes.iter().all(|&byte| byte == good);
            let sum = bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
            let mut digest = [0; 20];
            digest[..8].copy_from_slice(&sum.to_be_bytes());
            digests.push(digest);
        }
        let verdict = if is_good {
            Verdict::Good
        } else {
            Verdict::Wrong
        };
        (verdict, digests)
    }

    /// A peer asks something of us, or gets it, or takes it back.
    fn download(&mut self, at: usize) {
        let (key, now) = (self.remotes[at].key, self.rig.now);
        let piece = self.rng.below(self.pieces as usize) as u32;
        let geometry = *self.rig.swarm.geometry();
        let mut request = geometry.block(piece, 0);
        if self.remotes[at].serves_long && self.one_in(2) {
            let blocks = geometry
                .block_count(piece)
                .min(REQUEST_BYTES_MAX / BLOCK_LEN);
            request = geometry.stretch(piece, &(0..blocks));
        }
        let may_ask = self.remotes[at].fast;
        match self.rng.below(8) {
            0 => self.rig.receive(key, Message::Interested),
            1 => self.rig.receive(key, Message::NotInterested),
            2 => self
                .rig
                .receive(key, Message::Cancel(geometry.block(piece, 0))),
            3 | 4 if may_ask => self.rig.receive(key, Message::Request(request)),
            5 => self.uploads.clear(),
            _ => {
                self.uploads.extend(self.rig.swarm.next_upload(now, key));
                self.rig.drain();
            }
        }
    }

    fn load_one(&mut self) {
        let is_load = |output: &Output| matches!(output, Output::Load { .. });
        let Some(at) = self.rig.rest.iter().position(is_load) else {
            return;
        };
        if let Output::Load { run, buffer } = self.rig.rest.remove(at) {
            assert!(
                self.rig.swarm.have().get(run.piece),
                "it is not ours to read"
            );
            let ok = true;
            self.rig.input(Input::Loaded { run, buffer, ok });
        }
    }

    /// The tracker says something, and mostly the truth.
    fn hear_tracker(&mut self) {
        let batch = Duration::from_millis(250);
        let (base, pieces) = (self.version, self.pieces as usize);
        self.version += u32::from(self.one_in(2));
        let version = self.version;
        match self.rng.below(12) {
            0 => self.rig.input(Input::Joined { batch }),
            1 => {
                self.rig.swarm.forget_counts();
                self.rig.drain();
            }
            2..=5 => {
                let count = if self.one_in(10) { pieces + 1 } else { pieces };
                let counts: Vec<u16> = (0..count).map(|_| self.rng.below(90) as u16).collect();
                let counts = &counts;
                self.rig.input(Input::Counted { version, counts });
            }
            _ => {
                let deltas: Vec<AvailDelta> = (0..self.rng.below(4))
                    .map(|_| AvailDelta {
                        piece: match self.rng.below(12) {
                            0 => crate::wire::native::PIECE_EVERY,
                            1 if self.rng.below(9) == 0 => self.pieces,
                            _ => self.rng.below(pieces) as u32,
                        },
                        delta: self.rng.below(20) as i16 - 8,
                    })
                    .collect();
                let deltas = &deltas;
                self.rig.input(Input::CountsChanged {
                    base,
                    version,
                    deltas,
                });
            }
        }
    }

    fn step(&mut self) {
        let count = self.remotes.len();
        let at = if count == 0 { 0 } else { self.rng.below(count) };
        match self.rng.below(40) {
            0 if self.next_number < 80 => {
                let (lies, has_all) = (self.one_in(4), self.one_in(2));
                self.arrive(lies, has_all);
            }
            1 => {
                let seconds_max = if self.one_in(4) { 15 } else { 1 };
                let nanos = self.rng.below(seconds_max * 1_000_000_000);
                self.rig.pass(Duration::from_nanos(nanos as u64));
            }
            2..=5 => self.work_one(),
            6 => self.load_one(),
            15 if self.one_in(2) => self.hear_tracker(),
            _ if count == 0 => {}
            7 => {
                let peer = self.remotes.swap_remove(at).key;
                self.rig.input(Input::Disconnected { peer });
            }
            8 => {
                let chokes = self.one_in(2);
                self.choke(at, chokes);
            }
            9 => {
                let (peer, piece) = (self.remotes[at].key, self.rng.below(self.pieces as usize));
                let piece = piece as u32;
                self.rig.receive(peer, Message::Have { piece });
            }
            10..=13 => self.download(at),
            14..=17 => self.send_some(at, 100),
            _ if self.one_in(self.pace) => self.send_some(at, 40_000),
            _ => {}
        }
        self.pass_on();
    }

    /// From now on everybody does what it should.
    fn finish(&mut self) {
        self.uploads.clear();
        self.arrive(false, true);
        self.choke(self.remotes.len() - 1, false);
        for _ in 0..20_000 {
            if self.rig.swarm.is_complete() {
                return;
            }
            for at in (0..self.remotes.len()).rev() {
                if at < self.remotes.len() {
                    self.send_some(at, 40_000);
                    self.pass_on();
                }
            }
            self.work_one();
            self.load_one();
            self.pass_on();
            self.rig.pass(Duration::from_millis(10));
            self.pass_on();
        }
        panic!("it does not finish: {:#?}", self.rig.swarm);
    }
}

fn run_seeds(count: u64, pieces: u32, piece_len: u32) {
    let seeds = match std::env::var("SHOAL_SEED") {
        Ok(seed) => vec![seed.parse().expect("SHOAL_SEED is a number")],
        Err(_) => (1..=count).collect(),
    };
    for seed in seeds {
        println!("SHOAL_SEED={seed}");
        let mut world = World::new(seed, pieces, piece_len);
        for _ in 0..world.rng.below(3_000) {
            world.step();
        }
        world.finish();
    }
}

#[test]
fn whatever_peers_do_in_whatever_order_the_content_arrives() {
    run_seeds(300, 6, PIECE_LEN);
}

#[test]
fn whatever_peers_do_in_whatever_order_large_pieces_arrive() {
    run_seeds(150, 4, LARGE_LEN);
}
