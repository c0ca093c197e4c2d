//! Members that speak the native protocol: what their batches of HAVE and their JOINs cost, and an idle connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use shoal::base::{InfoHash, PeerId, Rng};
use shoal::wire::info_builder::{Content, canonical_info};
use shoal::wire::metainfo::Metainfo;
use shoal::wire::native::{
    Bitmap, FrameDecoder, HaveBatch, HaveItem, HaveState, Hello, Join, LeaveReason, List, Request,
    Role,
};

use crate::measured::{Measured, Watch};
use crate::server::Server;

const PIECES: u32 = 2048;
const PIECE_BYTES: u64 = 64 << 10;
/// Members that a JOIN asks for.
const WANT: u16 = 50;
/// Pieces in one batch.
const BATCH_ITEMS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that said HELLO, on one content.
pub(crate) struct NativeLoad {
    server: SocketAddr,
    hash: InfoHash,
    members: Vec<Member>,
    rng: Rng,
    buffer: Vec<u8>,
}

struct Member {
    stream: TcpStream,
    decoder: FrameDecoder,
    slot: u32,
    /// The next piece that it will have.
    piece: u32,
}

impl NativeLoad {
    /// Registers a content and connects so many, none of them a member yet.
    pub(crate) fn connect(server: SocketAddr, conns: usize) -> Self {
        let content = Content::Single {
            len: u64::from(PIECES) * PIECE_BYTES,
            sha256: Some([7; 32]),
        };
        let hashes = vec![1; PIECES as usize * 20];
        let info = canonical_info("content.bin", PIECE_BYTES as u32, &hashes, content);
        let hash = Metainfo::from_info(&info).expect("canonical").info_hash();
        let mut load = Self {
            server,
            hash,
            members: Vec::new(),
            rng: Rng::new(1),
            buffer: vec![0; 64 << 10],
        };
        load.grow(conns.max(1));
        load.ask(
            0,
            &Request::Register {
                total: info.len() as u32,
                chunk: (&info[..]).into(),
                more: false,
            },
        );
        load
    }

    /// Connects more, until there are `conns`.
    pub(crate) fn grow(&mut self, conns: usize) {
        let first = self.members.len();
        for number in first..conns {
            let stream = TcpStream::connect(self.server).expect("the tracker listens");
            stream.set_nodelay(true).expect("no delay");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut id = [0; 20];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let port = 1024 + (number % 60_000) as u16;
            let addrs = [SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
            let mut hello = Hello::new(PeerId(id), &addrs);
            hello.host = format!("host{number}").into();
            self.members.push(Member {
                stream,
                decoder: FrameDecoder::default(),
                slot: 0,
                piece: 0,
            });
            self.send(number, &Request::Hello(hello));
        }
        (first..conns).for_each(|number| self.await_reply(number));
    }

    /// Lets every connection become a member that has nothing; what one JOIN cost.
    pub(crate) fn join(&mut self, server: &Server) -> Measured {
        let watch = Watch::begin(server);
        let fresh = self
            .members
            .iter()
            .filter(|member| member.slot == 0)
            .count();
        for number in 0..self.members.len() {
            if self.members[number].slot == 0 {
                self.join_one(number);
                self.members[number].slot = 1;
            }
        }
        let measured = watch.end(server, fresh as u64, 0);
        self.discard();
        measured
    }

    fn join_one(&mut self, number: usize) {
        self.ask(
            number,
            &Request::Join(Join {
                info_hash: self.hash,
                left: u64::from(PIECES) * PIECE_BYTES,
                have: Bitmap::None,
                want: WANT,
                role: Role::Leech,
            }),
        );
    }

    /// Members leave and join again, so many times; what one LEAVE and JOIN cost together.
    pub(crate) fn rejoin(&mut self, server: &Server, times: usize) -> Measured {
        let watch = Watch::begin(server);
        for _ in 0..times {
            let number = self.rng.below(self.members.len());
            let leave = Request::Leave {
                slot: 1,
                reason: LeaveReason::Stopped,
            };
            self.ask(number, &leave);
            self.join_one(number);
            self.members[number].piece = 0;
        }
        let measured = watch.end(server, times as u64, 0);
        self.discard();
        measured
    }

    /// Every member sends one batch a second, evenly spread, for so long.
    pub(crate) fn report(&mut self, server: &Server, span: Duration) -> Measured {
        let count = self.members.len();
        let watch = Watch::begin(server);
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < span {
            let due = (begun.elapsed().as_secs_f64() * count as f64) as usize;
            while sent < due {
                self.report_one(sent % count);
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        watch.end(server, sent as u64, 0)
    }

    fn report_one(&mut self, number: usize) {
        let member = &mut self.members[number];
        let from = member.piece;
        member.piece = (from + BATCH_ITEMS) % (PIECES - BATCH_ITEMS);
        let items: Vec<HaveItem> = (from..from + BATCH_ITEMS)
            .map(|piece| HaveItem {
                piece,
                state: HaveState::Have,
            })
            .collect();
        let slot = member.slot;
        self.send(
            number,
            &Request::HaveBatch(HaveBatch {
                slot,
                up: 0,
                down: 0,
                items: List::lent(&items),
                wants_reply: false,
            }),
        );
    }

    fn send(&mut self, number: usize, request: &Request<'_>) {
        let mut bytes = Vec::new();
        request.encode(1, &mut bytes);
        let sent = self.members[number].stream.write_all(&bytes);
        sent.expect("the tracker reads");
    }

    fn ask(&mut self, number: usize, request: &Request<'_>) {
        self.send(number, request);
        self.await_reply(number);
    }

    /// Waits for a reply; pushes that come first are passed over.
    fn await_reply(&mut self, number: usize) {
        while !self.members[number]
            .read(&mut self.buffer)
            .is_some_and(|is_there| is_there)
        {}
    }

    /// Reads and forgets what is left, pushes above all.
    fn discard(&mut self) {
        for member in &mut self.members {
            member.stream.set_nonblocking(true).expect("fcntl");
            while member.read(&mut self.buffer).is_some() {}
            member.stream.set_nonblocking(false).expect("fcntl");
        }
    }
}

impl Member {
    /// Reads once, and says whether a reply was there; `None` if nothing has come.
    fn read(&mut self, buffer: &mut [u8]) -> Option<bool> {
        let count = match self.stream.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("the tracker is silent: {error}"),
        };
        assert!(count > 0, "the tracker closed");
        let (mut input, mut is_there) = (&buffer[..count], false);
        while let Some(frame) = self.decoder.decode(&mut input).expect("whole frames") {
            is_there |= frame.head.request_id == 1;
        }
        Some(is_there)
    }
}
