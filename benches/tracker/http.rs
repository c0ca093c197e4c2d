//! Announces over HTTP: a number of connections, each with one request under way, kept open or made anew for each.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use shoal::base::Rng;

use crate::measured::{Measured, Span, Watch};
use crate::population::Population;
use crate::server::Server;
use crate::udp::WANT;

const CONNS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// A load on one server.
pub(crate) struct HttpLoad<'a> {
    population: &'a Population,
    /// `population`'s hashes, percent-encoded.
    spelt: Vec<String>,
    server: SocketAddr,
    keeps_alive: bool,
    poll: Poll,
    events: Events,
    conns: Vec<Conn>,
    rng: Rng,
    request: Vec<u8>,
    answered: u64,
    named: u64,
    last_at: Instant,
}

struct Conn {
    stream: TcpStream,
    /// Bytes of the reply so far.
    reply: Vec<u8>,
    asks: bool,
}

impl<'a> HttpLoad<'a> {
    pub(crate) fn new(population: &'a Population, server: SocketAddr, keeps_alive: bool) -> Self {
        let spell = |hash: &[u8; 20]| hash.iter().map(|byte| format!("%{byte:02x}")).collect();
        let poll = Poll::new().expect("a poll");
        let conns = (0..CONNS).map(|at| Conn::open(server, at, &poll)).collect();
        Self {
            population,
            spelt: population.hashes().iter().map(spell).collect(),
            server,
            keeps_alive,
            poll,
            events: Events::with_capacity(CONNS),
            conns,
            rng: Rng::new(1),
            request: Vec::new(),
            answered: 0,
            named: 0,
            last_at: Instant::now(),
        }
    }

    /// Announces random peers for a while.
    pub(crate) fn run(&mut self, server: &Server, span: Span) -> Measured {
        self.last_at = Instant::now();
        for at in 0..CONNS {
            if !self.conns[at].asks {
                self.ask(at);
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < span.warm {
            self.turn();
        }
        let (answered, named) = (self.answered, self.named);
        let watch = Watch::begin(server);
        let begun = Instant::now();
        while begun.elapsed() < span.measured {
            self.turn();
        }
        watch.end(server, self.answered - answered, self.named - named)
    }

    fn turn(&mut self) {
        let polled = self.poll.poll(&mut self.events, Some(Duration::ZERO));
        if polled.is_err() {
            return;
        }
        assert!(
            self.last_at.elapsed() < PATIENCE,
            "the server answers no more"
        );
        let ready: Vec<(usize, bool)> = self
            .events
            .iter()
            .map(|event| (event.token().0, event.is_readable()))
            .collect();
        for (at, is_readable) in ready {
            if is_readable {
                self.read(at);
            }
            if !self.conns[at].asks {
                self.ask(at);
            }
        }
    }

    fn ask(&mut self, at: usize) {
        let peer = self.rng.below(self.population.peers() as usize) as u64;
        self.put_request(peer);
        // If it is not connected yet, another event comes.
        if let Ok(count) = self.conns[at].stream.write(&self.request) {
            assert_eq!(count, self.request.len(), "a request fits into a socket");
            self.conns[at].asks = true;
        }
    }

    fn put_request(&mut self, peer: u64) {
        let hash = &self.spelt[(peer % self.spelt.len() as u64) as usize];
        let connection = if self.keeps_alive {
            "keep-alive"
        } else {
            "close"
        };
        self.request.clear();
        let put = write!(
            self.request,
            "GET /announce?info_hash={hash}&peer_id=-BE0001-{peer:012x}&port={}&uploaded=0&downloaded=0&left={}\
             &compact=1&numwant={WANT} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {connection}\r\n\r\n",
            self.population.port(peer),
            self.population.left(peer),
        );
        put.expect("memory takes everything");
    }

    fn read(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let mut buffer = [0; 8192];
        match conn.stream.read(&mut buffer) {
            Ok(0) => return self.reopen(at),
            Ok(count) => conn.reply.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.reopen(at),
        }
        let Some(len) = reply_len(&conn.reply).filter(|len| conn.reply.len() >= *len) else {
            return;
        };
        assert_eq!(len, conn.reply.len(), "one answer to one request");
        assert!(
            conn.reply.starts_with(b"HTTP/1.1 200") && find(&conn.reply, b"failure").is_none(),
            "the server refuses: {:?}",
            String::from_utf8_lossy(&conn.reply)
        );
        self.named += peers_named(&conn.reply);
        self.answered += 1;
        self.last_at = Instant::now();
        conn.reply.clear();
        conn.asks = false;
        if !self.keeps_alive {
            self.reopen(at);
        }
    }

    fn reopen(&mut self, at: usize) {
        assert!(
            !self.conns[at].asks,
            "the server closed instead of an answer"
        );
        self.conns[at] = Conn::open(self.server, at, &self.poll);
    }
}

impl Conn {
    fn open(server: SocketAddr, at: usize, poll: &Poll) -> Self {
        let mut stream = TcpStream::connect(server).expect("loopback is there");
        stream.set_nodelay(true).expect("no delay");
        // Closing resets: otherwise all ports would soon rest in TIME_WAIT.
        let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.expect("a linger");
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = poll.registry().register(&mut stream, Token(at), both);
        registered.expect("it is registered");
        Self {
            stream,
            reply: Vec::new(),
            asks: false,
        }
    }
}

/// Bytes of the whole reply, once its head is there.
fn reply_len(reply: &[u8]) -> Option<usize> {
    let head = find(reply, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&reply[..head])
        .ok()?
        .to_ascii_lowercase();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    Some(head + line.trim().parse::<usize>().ok()?)
}

/// Members in a compact reply.
fn peers_named(reply: &[u8]) -> u64 {
    let count = |key: &[u8], record: u64| {
        let digits = &reply[find(reply, key)? + key.len()..];
        let end = digits.iter().position(|&byte| byte == b':')?;
        let bytes: u64 = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
        Some(bytes / record)
    };
    count(b"5:peers", 6).unwrap_or(0) + count(b"6:peers6", 18).unwrap_or(0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
