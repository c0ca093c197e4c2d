//! The tracker's binary, and a client that speaks the native protocol over a plain socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shoal::base::{InfoHash, PeerId};
use shoal::wire::info_builder::{Content, canonical_info};
use shoal::wire::native::{
    Bitmap, ErrorCode, FrameDecoder, HaveBatch, HaveItem, HaveState, Hello, Join, JoinReply, List,
    Push, Reply, Request, Role,
};

/// Longer than anything takes here: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running tracker, killed when it is dropped.
pub(crate) struct Tracker {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) start_line: String,
}

impl Tracker {
    /// Starts one on a free port of 127.0.0.1.
    pub(crate) fn start(state: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
        command.args(["--listen", "127.0.0.1:0", "--udp", "off", "--admin", "off"]);
        if let Some(state) = state {
            command.arg("--state").arg(state);
        }
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        command.env_remove("STATE_DIRECTORY").stdout(Stdio::piped());
        let mut child = command.spawn().expect("the tracker starts");
        let mut start_line = String::new();
        let stdout = child.stdout.take().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut start_line);
        read.expect("a start line");
        let addr = start_line.split(' ').nth(3).expect("an address");
        Self {
            addr: addr.trim().parse().expect("an address"),
            child,
            start_line,
        }
    }

    /// Sends a signal that lets the tracker end by itself, and returns its exit code.
    pub(crate) fn stop(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }

    /// Kills the tracker at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn client(&self, number: u8) -> Client {
        let mut client = Client::connect(self.addr);
        client.hello(number);
        client
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the tracker sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Reply(u32, Reply<'static>),
    Push(OwnPush),
}

/// A push without the borrow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OwnPush {
    Joined(u32, Vec<PeerId>),
    Removed(u32),
    /// Slot, base, version, and the changes by piece.
    Counts(u32, u32, u32, Vec<(u32, i16)>),
}

/// A connection to the tracker.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    decoder: FrameDecoder,
    frames: Vec<Frame>,
    request_id: u32,
    pub(crate) pushes: Vec<OwnPush>,
}

pub(crate) fn peer_id(number: u8) -> PeerId {
    PeerId([number; 20])
}

/// An info dictionary of `pieces` pieces of 64 KiB, and its hash.
pub(crate) fn info(name: &str, pieces: u32) -> (Vec<u8>, InfoHash) {
    let content = Content::Single {
        len: u64::from(pieces) * 65536,
        sha256: Some([7; 32]),
    };
    let bytes = canonical_info(name, 65536, &vec![1; pieces as usize * 20], content);
    let metainfo = shoal::wire::metainfo::Metainfo::from_info(&bytes).expect("canonical");
    (bytes, metainfo.info_hash())
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the tracker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            decoder: FrameDecoder::default(),
            frames: Vec::new(),
            request_id: 0,
            pushes: Vec::new(),
        }
    }

    /// HELLO of a client that listens on 127.0.0.1, port 1000 + `number`.
    pub(crate) fn hello(&mut self, number: u8) -> Reply<'static> {
        let addrs = [SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(number)))];
        let mut hello = Hello::new(peer_id(number), &addrs);
        hello.host = format!("host{number}").into();
        self.ask(Request::Hello(hello))
    }

    pub(crate) fn send(&mut self, request: &Request<'_>) -> u32 {
        self.request_id += 1;
        let mut bytes = Vec::new();
        request.encode(self.request_id, &mut bytes);
        self.stream.write_all(&bytes).expect("sent");
        self.request_id
    }

    /// Sends a request and waits for its answer; pushes that come first are kept.
    pub(crate) fn ask(&mut self, request: Request<'_>) -> Reply<'static> {
        let id = self.send(&request);
        loop {
            match self.next() {
                Some(Frame::Reply(of, reply)) if of == id => return reply,
                Some(Frame::Push(push)) => self.pushes.push(push),
                other => panic!("instead of an answer to {request:?}: {other:?}"),
            }
        }
    }

    /// The code of the ERROR that answers a request.
    pub(crate) fn refused(&mut self, request: Request<'_>) -> ErrorCode {
        match self.ask(request) {
            Reply::Error { code, .. } => code,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The next frame, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 64 << 10];
        while self.frames.is_empty() {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the tracker is silent: {error}"),
            };
            let mut input = &buffer[..count];
            while let Some(frame) = self.decoder.decode(&mut input).expect("whole frames") {
                let (head, payload) = (frame.head, frame.payload);
                self.frames.push(if Push::is_kind(head.kind) {
                    let push = Push::decode(head.kind, head.flags, payload).expect("a push");
                    Frame::Push(own(&push))
                } else {
                    let reply = Reply::decode(head.kind, head.flags, payload).expect("a reply");
                    Frame::Reply(head.request_id, reply.into_owned())
                });
            }
        }
        Some(self.frames.remove(0))
    }

    pub(crate) fn next_push(&mut self) -> OwnPush {
        if !self.pushes.is_empty() {
            return self.pushes.remove(0);
        }
        match self.next() {
            Some(Frame::Push(push)) => push,
            other => panic!("instead of a push: {other:?}"),
        }
    }

    /// Whether the tracker closes the connection without another frame.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.next().is_none()
    }

    pub(crate) fn register(&mut self, info: &[u8]) -> Reply<'static> {
        self.ask(Request::Register {
            total: info.len() as u32,
            chunk: info.into(),
            more: false,
        })
    }

    /// Joins with nothing, or with everything.
    pub(crate) fn join(
        &mut self,
        info_hash: InfoHash,
        pieces: u32,
        has_all: bool,
    ) -> JoinReply<'static> {
        let reply = self.ask(Request::Join(Join {
            info_hash,
            left: if has_all {
                0
            } else {
                u64::from(pieces) * 65536
            },
            have: if has_all { Bitmap::All } else { Bitmap::None },
            want: 50,
            role: if has_all { Role::Seed } else { Role::Leech },
        }));
        match reply {
            Reply::Join(joined) => joined,
            other => panic!("not joined: {other:?}"),
        }
    }

    /// Reports pieces as had, and waits until that is known.
    pub(crate) fn have(&mut self, slot: u32, pieces: std::ops::Range<u32>) -> Reply<'static> {
        let state = HaveState::Have;
        let items: Vec<HaveItem> = pieces.map(|piece| HaveItem { piece, state }).collect();
        self.ask(Request::HaveBatch(HaveBatch {
            slot,
            up: 0,
            down: 0,
            items: List::lent(&items),
            wants_reply: true,
        }))
    }
}

fn own(push: &Push<'_>) -> OwnPush {
    match push {
        Push::Peers { slot, members } => {
            let ids = members.iter().map(|pushed| pushed.member.peer_id);
            OwnPush::Joined(*slot, ids.collect())
        }
        Push::Removed { slot } => OwnPush::Removed(*slot),
        Push::Avail {
            slot,
            base,
            version,
            deltas,
        } => {
            let deltas = deltas.iter().map(|change| (change.piece, change.delta));
            OwnPush::Counts(*slot, *base, *version, deltas.collect())
        }
    }
}

/// Asks again and again until the answer is yes: for what the tracker learns on another connection.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to be");
    }
}
