//! A tracker with all fronts, and clients that speak HTTP and UDP over plain sockets.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shoal::base::{InfoHash, PeerId};
use shoal::wire::announce::{Announce, AnnounceEvent};
use shoal::wire::http::reply::{AnnounceOutcome, AnnounceReply};
use shoal::wire::udp::{self, Options, Reply, ReplyBody, Request, RequestBody};

use crate::harness::{PATIENCE, Tracker, info};

/// How long silence lasts before it counts as such.
const SILENCE: Duration = Duration::from_millis(300);

/// Starts a tracker on a free port of every address, with these options besides.
pub(crate) fn start(options: &[&str]) -> Tracker {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
    command.args(["--listen", "[::]:0"]).args(options);
    Tracker::spawn(command)
}

/// A tracker that knows one content of 8 pieces, and that content.
pub(crate) fn start_with_content() -> (Tracker, InfoHash) {
    let mut tracker = start(&[]);
    tracker.addr = at_v4(&tracker);
    let (bytes, hash) = info("content", 8);
    tracker.client(200).register(&bytes);
    (tracker, hash)
}

/// Where the tracker is reached over IPv4.
pub(crate) fn at_v4(tracker: &Tracker) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], tracker.addr.port()))
}

/// Where the tracker is reached over IPv6.
pub(crate) fn at_v6(tracker: &Tracker) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], tracker.addr.port()))
}

/// An announce of peer `number`, which listens on port 1000 + `number` and misses everything.
pub(crate) fn announce(info_hash: InfoHash, number: u8) -> Announce {
    Announce {
        info_hash,
        peer_id: PeerId([number; 20]),
        port: 1000 + u16::from(number),
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: AnnounceEvent::Started,
        want: None,
        key: 7,
        ip: None,
    }
}

/// The ports of the peers that were named, ascending.
pub(crate) fn ports(addrs: impl IntoIterator<Item = SocketAddr>) -> Vec<u16> {
    let mut ports: Vec<_> = addrs.into_iter().map(|addr| addr.port()).collect();
    ports.sort_unstable();
    ports
}

/// The target of an announce.
pub(crate) fn target(announce: &Announce, more: &str) -> String {
    let event = match announce.event {
        AnnounceEvent::None => "",
        AnnounceEvent::Started => "started",
        AnnounceEvent::Completed => "completed",
        AnnounceEvent::Stopped => "stopped",
        AnnounceEvent::Paused => "paused",
    };
    format!(
        "/announce?info_hash={}&peer_id={}&port={}&uploaded=0&downloaded=0&left={}&event={event}{more}",
        encoded(&announce.info_hash.0),
        encoded(&announce.peer_id.0),
        announce.port,
        announce.left,
    )
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

/// A response: its status line and headers, and its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().expect("a status")
    }

    /// What an announce came to.
    pub(crate) fn outcome(&self) -> AnnounceOutcome {
        assert_eq!(self.status(), 200, "{self:?}");
        AnnounceOutcome::decode(&self.body).expect("a bencoded body")
    }
}

/// A connection that speaks HTTP.
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the tracker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let read = Vec::new();
        Self { stream, read }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// The next response, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Response> {
        let head_len = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more()?,
            }
        };
        let head = String::from_utf8(self.read[..head_len].to_vec()).expect("a text");
        let len = head.split("Content-Length: ").nth(1).expect("a length");
        let len: usize = len
            .split('\r')
            .next()
            .expect("one")
            .parse()
            .expect("a number");
        while self.read.len() < head_len + len {
            self.more()?;
        }
        let body = self.read[head_len..][..len].to_vec();
        self.read.drain(..head_len + len);
        Some(Response { head, body })
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the tracker is silent: {error}"),
        }
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n\r\n").as_bytes());
        self.next().expect("a response")
    }

    pub(crate) fn announce(&mut self, announce: &Announce) -> AnnounceReply {
        self.announce_with(announce, "")
    }

    pub(crate) fn announce_with(&mut self, announce: &Announce, more: &str) -> AnnounceReply {
        match self.get(&target(announce, more)).outcome() {
            AnnounceOutcome::Taken(reply) => reply,
            refused @ AnnounceOutcome::Refused { .. } => panic!("{refused:?}"),
        }
    }
}

/// A socket that speaks UDP.
pub(crate) struct Udp {
    pub(crate) socket: UdpSocket,
    is_v6: bool,
    transaction: u32,
    pub(crate) connection_id: u64,
}

impl Udp {
    /// A socket at `ip` that knows the tracker, but has no connection id.
    pub(crate) fn open(ip: IpAddr, tracker: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a port");
        socket.connect(tracker).expect("loopback");
        Self {
            socket,
            is_v6: ip.is_ipv6(),
            transaction: 1,
            connection_id: 0,
        }
    }

    /// The same with a connection id.
    pub(crate) fn connect(ip: IpAddr, tracker: SocketAddr) -> Self {
        let mut udp = Self::open(ip, tracker);
        match udp.ask(RequestBody::Connect) {
            ReplyBody::Connect { connection_id } => udp.connection_id = connection_id,
            other => panic!("{other:?}"),
        }
        udp
    }

    pub(crate) fn send(&mut self, body: RequestBody<'_>) {
        self.transaction += 1;
        let mut bytes = Vec::new();
        let transaction = self.transaction;
        Request { transaction, body }.put(&mut bytes);
        self.socket.send(&bytes).expect("it goes out");
    }

    pub(crate) fn ask(&mut self, body: RequestBody<'_>) -> ReplyBody {
        self.send(body);
        let bytes = self.receive(PATIENCE).expect("the tracker answers");
        let reply = Reply::decode(&bytes, self.is_v6).expect("a reply");
        assert_eq!(reply.transaction, self.transaction);
        reply.body
    }

    /// The next datagram, if one comes in time.
    pub(crate) fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.socket
            .set_read_timeout(Some(patience))
            .expect("a timeout");
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).ok()?;
        Some(buffer[..count].to_vec())
    }

    /// Whether nothing comes.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.receive(SILENCE).is_none()
    }

    /// The body of an announce.
    pub(crate) fn body(&self, announce: Announce) -> RequestBody<'static> {
        RequestBody::Announce {
            connection_id: self.connection_id,
            announce,
            options: Options::default(),
        }
    }

    pub(crate) fn announce(&mut self, announce: &Announce) -> udp::AnnounceReply {
        match self.ask(self.body(*announce)) {
            ReplyBody::Announce(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
}

/// A number of `/proc/PID/FILE`: the first word behind `key`.
pub(crate) fn proc_number(tracker: &Tracker, file: &str, key: &str) -> u64 {
    let path = format!("/proc/{}/{file}", tracker.child.id());
    let text = std::fs::read_to_string(Path::new(&path)).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect("a number")
}
