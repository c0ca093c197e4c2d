//! Peers that do as a test says: members of the swarm at the real tracker, whose links answer as a script has it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use shoal::base::{InfoHash, PeerId};
use shoal::wire::extension::ExtendedHandshake;
use shoal::wire::native::{
    Bitmap, ErrorCode, FrameDecoder, Hello, Join, Member, Push, Reply, Request, Role, WANT_MAX,
};
use shoal::wire::peer::{BlockRequest, Handshake, Message, put_piece_header};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event};

use super::Content;

/// A connection to the tracker.
pub(crate) struct Native {
    stream: TcpStream,
    decoder: FrameDecoder,
    replies: VecDeque<(u32, Reply<'static>)>,
    last_id: u32,
    pub(crate) id: PeerId,
}

/// Bytes of an info dictionary that go into one frame.
const CHUNK_BYTES: usize = 512 << 10;

static NEXT: AtomicUsize = AtomicUsize::new(1);

fn new_id() -> PeerId {
    let number = NEXT.fetch_add(1, Ordering::Relaxed) as u64;
    let mut random = *b"scripted____";
    random[4..].copy_from_slice(&(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
    PeerId::from_random(random)
}

impl Native {
    /// Says HELLO, as one that listens at `addrs`.
    pub(crate) fn connect(tracker: &str, addrs: &[SocketAddr]) -> Self {
        let id = new_id();
        let mut native = Self {
            stream: TcpStream::connect(tracker).expect("a tracker"),
            decoder: FrameDecoder::default(),
            replies: VecDeque::new(),
            last_id: 0,
            id,
        };
        let reply = native.ask(&Request::Hello(Hello::new(id, addrs)));
        assert!(matches!(reply, Reply::Hello(_)), "{reply:?}");
        native
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Reply<'static> {
        self.last_id += 1;
        let mut out = Vec::new();
        request.encode(self.last_id, &mut out);
        self.stream.write_all(&out).expect("the tracker reads");
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some((id, reply)) = self.replies.pop_front() {
                assert_eq!(id, self.last_id, "one request at a time");
                return reply;
            }
            let count = self.stream.read(&mut buffer).expect("the tracker answers");
            assert!(count > 0, "the tracker closed the connection");
            let mut bytes = &buffer[..count];
            while let Some(frame) = self.decoder.decode(&mut bytes).expect("its protocol") {
                let head = frame.head;
                if Push::is_kind(head.kind) {
                    continue;
                }
                let reply = Reply::decode(head.kind, head.flags, frame.payload);
                let reply = reply.expect("its protocol").into_owned();
                self.replies.push_back((head.request_id, reply));
            }
        }
    }

    /// Registers an info dictionary, in chunks if it is long.
    pub(crate) fn register(&mut self, info: &[u8]) -> Result<InfoHash, ErrorCode> {
        let register = |chunk: &[u8], more| Request::Register {
            total: info.len() as u32,
            chunk: chunk.to_vec().into(),
            more,
        };
        let mut rest = info;
        while rest.len() > CHUNK_BYTES {
            let mut out = Vec::new();
            register(&rest[..CHUNK_BYTES], true).encode(self.last_id + 1, &mut out);
            self.stream.write_all(&out).expect("the tracker reads");
            rest = &rest[CHUNK_BYTES..];
        }
        match self.ask(&register(rest, false)) {
            Reply::Register { info_hash, .. } => Ok(info_hash),
            Reply::Error { code, .. } => Err(code),
            reply => panic!("{reply:?}"),
        }
    }

    /// Joins as one that has everything, or nothing; says who else is there.
    pub(crate) fn join(&mut self, content: &Content, is_seed: bool) -> (u32, Vec<Member>) {
        let (have, left, role) = if is_seed {
            (Bitmap::All, 0, Role::Seed)
        } else {
            (Bitmap::None, content.meta.total_len(), Role::Leech)
        };
        let info_hash = content.meta.info_hash();
        let join = Join {
            info_hash,
            left,
            have,
            want: WANT_MAX,
            role,
        };
        match self.ask(&Request::Join(join)) {
            Reply::Join(reply) => (reply.slot, reply.members.iter().collect()),
            reply => panic!("{reply:?}"),
        }
    }
}

/// A BitTorrent link with blocking reads.
pub(crate) struct Link {
    stream: TcpStream,
    decoder: Decoder,
    buffer: Vec<u8>,
    unread: Vec<u8>,
}

/// What the other side of a link said.
#[derive(Debug)]
pub(crate) enum Said {
    Request(BlockRequest),
    Block,
    Unchoke,
    Other,
    Gone,
}

impl Link {
    /// Dials, and exchanges handshakes.
    pub(crate) fn dial(addr: SocketAddr, content: &Content, id: PeerId) -> Self {
        let stream = TcpStream::connect(addr).expect("it listens");
        let mut link = Self::over(stream, content);
        link.greet(content, id);
        link
    }

    fn over(stream: TcpStream, content: &Content) -> Self {
        let limits = DecoderLimits {
            piece_count: Some(content.meta.piece_count()),
            ..DecoderLimits::default()
        };
        Self {
            stream,
            decoder: Decoder::new(limits),
            buffer: vec![0; 64 << 10],
            unread: Vec::new(),
        }
    }

    fn greet(&mut self, content: &Content, id: PeerId) {
        let mut out = Vec::new();
        Handshake::new(content.meta.info_hash(), id).encode(&mut out);
        self.write(&out);
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn send(&mut self, message: &Message<'_>) -> bool {
        let mut out = Vec::new();
        message.encode(&mut out);
        self.write(&out)
    }

    pub(crate) fn send_block(&mut self, request: BlockRequest, bytes: &[u8]) -> bool {
        let mut out = Vec::new();
        put_piece_header(&mut out, request.piece, request.begin, request.len);
        out.extend_from_slice(bytes);
        self.write(&out)
    }

    /// Waits for what the other side says next.
    pub(crate) fn next(&mut self) -> Said {
        loop {
            let mut input = self.unread.as_slice();
            let event = self.decoder.decode(&mut input);
            let said = match event {
                Err(_) => Some(Said::Gone),
                Ok(Some(Event::Message(Message::Request(request)))) => Some(Said::Request(request)),
                Ok(Some(Event::Message(Message::Unchoke))) => Some(Said::Unchoke),
                Ok(Some(Event::PieceEnd)) => Some(Said::Block),
                Ok(Some(_)) => Some(Said::Other),
                Ok(None) => None,
            };
            let taken = self.unread.len() - input.len();
            self.unread.drain(..taken);
            if let Some(said) = said {
                return said;
            }
            match self.stream.read(&mut self.buffer) {
                Ok(count) if count > 0 => self.unread.extend_from_slice(&self.buffer[..count]),
                _ => return Said::Gone,
            }
        }
    }
}

/// How a scripted seed answers one request.
pub(crate) enum Answer {
    /// As it should.
    Right,
    /// With other bytes.
    Wrong,
    /// By saying that there will be none.
    Reject,
    /// Not at all.
    Silence,
    /// As it should, and with blocks that nobody asked for.
    Lavish,
    /// With the first half of the block, and then with nothing more.
    Half,
}

/// Lets so many requests pass, and the others when it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    left: Mutex<usize>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new(requests: usize) -> Arc<Self> {
        Arc::new(Self {
            left: Mutex::new(requests),
            opened: Condvar::new(),
        })
    }

    pub(crate) fn open(&self) {
        *self.left.lock().expect("nobody panics with it") = usize::MAX;
        self.opened.notify_all();
    }

    pub(crate) fn close(&self) {
        *self.left.lock().expect("nobody panics with it") = 0;
    }

    pub(crate) fn pass(&self) {
        let mut left = self.left.lock().expect("nobody panics with it");
        while *left == 0 {
            left = self.opened.wait(left).expect("nobody panics with it");
        }
        if *left != usize::MAX {
            *left -= 1;
        }
    }
}

type Script = dyn Fn(BlockRequest) -> Answer + Send + Sync;

struct Shared {
    content: Arc<Content>,
    script: Box<Script>,
    /// Says that it serves requests that are so long, in bytes.
    request_bytes_max: Option<u32>,
    id: PeerId,
    requests: AtomicUsize,
    links: Mutex<Vec<TcpStream>>,
}

/// A member of the swarm that says it has everything.
pub(crate) struct Seeder {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    native: Option<Native>,
}

impl Seeder {
    /// Registers the content, joins its swarm, and answers each request as `script` says.
    pub(crate) fn start(
        tracker: &str,
        content: &Arc<Content>,
        script: impl Fn(BlockRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_long(tracker, content, None, script)
    }

    /// The same, of one that says how long requests may be.
    pub(crate) fn start_long(
        tracker: &str,
        content: &Arc<Content>,
        request_bytes_max: Option<u32>,
        script: impl Fn(BlockRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let mut native = Native::connect(tracker, &[addr]);
        let registered = native.register(content.meta.info());
        assert_eq!(registered, Ok(content.meta.info_hash()));
        let shared = Arc::new(Shared {
            content: content.clone(),
            script: Box::new(script),
            request_bytes_max,
            id: native.id,
            requests: AtomicUsize::new(0),
            links: Mutex::default(),
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = stream.try_clone().expect("a second handle");
                of_thread.links.lock().expect("no panics").push(kept);
                let shared = of_thread.clone();
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        native.join(content, true);
        Self {
            addr,
            shared,
            native: Some(native),
        }
    }

    /// How many requests came.
    pub(crate) fn request_count(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Asks the tracker something.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Reply<'static> {
        self.native.as_mut().expect("it is joined").ask(request)
    }
}

impl Drop for Seeder {
    fn drop(&mut self) {
        self.native = None;
        for link in self.shared.links.lock().expect("no panics").drain(..) {
            let _ = link.shutdown(Shutdown::Both);
        }
    }
}

/// Answers one link until it ends.
fn serve(shared: &Shared, stream: TcpStream) {
    let content = &shared.content;
    let mut link = Link::over(stream, content);
    link.greet(content, shared.id);
    link.send(&Message::HaveAll);
    if shared.request_bytes_max.is_some() {
        let mut out = Vec::new();
        let handshake = ExtendedHandshake {
            request_bytes_max: shared.request_bytes_max,
            ..ExtendedHandshake::default()
        };
        handshake.encode(&mut out);
        link.write(&out);
    }
    link.send(&Message::Unchoke);
    loop {
        let request = match link.next() {
            Said::Request(request) => request,
            Said::Gone => return,
            _ => continue,
        };
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let right = content.block(request.piece, request.begin, request.len);
        let goes_on = match (shared.script)(request) {
            Answer::Right => link.send_block(request, right),
            Answer::Wrong => {
                let wrong: Vec<u8> = right.iter().map(|byte| !byte).collect();
                link.send_block(request, &wrong)
            }
            Answer::Reject => link.send(&Message::Reject(request)),
            Answer::Silence => true,
            Answer::Half => {
                let mut out = Vec::new();
                put_piece_header(&mut out, request.piece, request.begin, request.len);
                out.extend_from_slice(&right[..right.len() / 2]);
                link.write(&out);
                while !matches!(link.next(), Said::Gone) {}
                false
            }
            Answer::Lavish => lavish(&mut link, content, request),
        };
        if !goes_on {
            return;
        }
    }
}

/// The right block, and twice what nobody asked for any more: the same block with other bytes.
fn lavish(link: &mut Link, content: &Content, request: BlockRequest) -> bool {
    let right = content.block(request.piece, request.begin, request.len);
    let wrong: Vec<u8> = right.iter().map(|byte| !byte).collect();
    link.send_block(request, right)
        && link.send_block(request, &wrong)
        && link.send_block(request, &wrong)
}
