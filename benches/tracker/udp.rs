//! Announces over UDP: a few sockets, each with a fixed number of announces that wait for their answer.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use shoal::base::Rng;

use crate::measured::{Measured, Span, Watch};
use crate::population::Population;
use crate::server::Server;

/// Sockets, and announces that wait on each.
const LANES: usize = 4;
const WINDOW: usize = 32;
/// Members wanted of each announce.
pub(crate) const WANT: u32 = 30;
/// After this long an announce is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(250);
/// How often is looked for those.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);

const ANNOUNCE_BYTES: usize = 98;
const REPLY_BYTES_MAX: usize = 2048;
/// How long a connection id is used (BEP 15).
const ID_AGE_MAX: Duration = Duration::from_secs(60);
/// The first bytes of a connect (BEP 15).
const PROTOCOL_ID: u64 = 0x0417_2710_1980;

/// A load on one server.
pub(crate) struct UdpLoad<'a> {
    population: &'a Population,
    lanes: Vec<Lane>,
    rng: Rng,
    answered: u64,
    named: u64,
    record_bytes: u64,
}

struct Lane {
    socket: UdpSocket,
    connection_id: [u8; 8],
    id_since: Instant,
    slots: [Slot; WINDOW],
    headers: MultiHeaders<()>,
    /// The next peer of a fill; `None` outside of one.
    fill_next: Option<u64>,
    out: Vec<u8>,
    /// Where replies land.
    space: Vec<u8>,
}

/// A place for an announce that waits.
#[derive(Clone, Copy)]
struct Slot {
    peer: u64,
    sent_at: Instant,
    round: u16,
    waits: bool,
}

impl<'a> UdpLoad<'a> {
    pub(crate) fn new(population: &'a Population, server: SocketAddr) -> Self {
        let lanes = (0..LANES).map(|_| Lane::connect(server));
        Self {
            population,
            lanes: lanes.collect(),
            rng: Rng::new(1),
            answered: 0,
            named: 0,
            record_bytes: if server.is_ipv6() { 18 } else { 6 },
        }
    }

    /// Announces every peer once, as one that has just begun.
    pub(crate) fn fill(&mut self) {
        for (first, lane) in self.lanes.iter_mut().enumerate() {
            lane.fill_next = Some(first as u64);
        }
        let goal = self.answered + self.population.peers();
        let mut last = (self.answered, Instant::now());
        while self.answered < goal {
            self.turn(Instant::now());
            if self.answered != last.0 {
                last = (self.answered, Instant::now());
            }
            assert!(last.1.elapsed() < PATIENCE, "the server answers no more");
        }
        for lane in &mut self.lanes {
            lane.fill_next = None;
        }
    }

    /// Announces random peers for a while.
    pub(crate) fn run(&mut self, server: &Server, span: Span) -> Measured {
        let begun = Instant::now();
        while begun.elapsed() < span.warm {
            self.turn(Instant::now());
        }
        let (answered, named) = (self.answered, self.named);
        let watch = Watch::begin(server);
        let begun = Instant::now();
        while begun.elapsed() < span.measured {
            self.turn(Instant::now());
        }
        let measured = watch.end(server, self.answered - answered, self.named - named);
        self.drain();
        measured
    }

    /// Waits for what is still to come, so that the next load finds an idle server.
    fn drain(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            for at in 0..self.lanes.len() {
                self.receive(at);
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        for at in 0..self.lanes.len() {
            self.lanes[at].renew(now);
            self.send(at, now);
            self.receive(at);
        }
    }

    fn send(&mut self, at: usize, now: Instant) {
        let lane = &mut self.lanes[at];
        lane.out.clear();
        for place in 0..WINDOW {
            let slot = &mut lane.slots[place];
            if slot.waits {
                if now.saturating_duration_since(slot.sent_at) < RESEND_AFTER + LOOK_EVERY {
                    continue;
                }
            } else {
                let peers = self.population.peers();
                slot.peer = match &mut lane.fill_next {
                    Some(next) if *next >= peers => continue,
                    Some(next) => std::mem::replace(next, *next + LANES as u64),
                    None => self.rng.below(peers as usize) as u64,
                };
                slot.round = slot.round.wrapping_add(1);
                slot.waits = true;
            }
            slot.sent_at = now;
            let transaction = u32::from(slot.round) << 16 | place as u32;
            let is_first = lane.fill_next.is_some();
            let announce = announce(self.population, slot.peer, is_first);
            lane.out.extend_from_slice(&lane.connection_id);
            lane.out.extend_from_slice(&1u32.to_be_bytes());
            lane.out.extend_from_slice(&transaction.to_be_bytes());
            lane.out.extend_from_slice(&announce);
        }
        lane.flush();
    }

    fn receive(&mut self, at: usize) {
        let lane = &mut self.lanes[at];
        let mut places: Vec<_> = lane
            .space
            .chunks_mut(REPLY_BYTES_MAX)
            .map(|place| [IoSliceMut::new(place)])
            .collect();
        let received = recvmmsg(
            lane.socket.as_raw_fd(),
            &mut lane.headers,
            places.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        for message in received.into_iter().flatten() {
            let bytes = message.iovs().next().unwrap_or_default();
            let (Some(1), Some(transaction)) = (number(bytes, 0), number(bytes, 4)) else {
                panic!("the server refuses: {:?}", String::from_utf8_lossy(bytes));
            };
            let place = transaction as usize & 0xffff;
            let Some(slot) = lane.slots.get_mut(place) else {
                continue;
            };
            if slot.waits && slot.round == (transaction >> 16) as u16 {
                slot.waits = false;
                self.answered += 1;
                self.named += (bytes.len() as u64 - 20) / self.record_bytes;
            }
        }
    }
}

impl Lane {
    /// A socket that has its connection id.
    fn connect(server: SocketAddr) -> Self {
        let local: SocketAddr = if server.is_ipv6() {
            "[::1]:0".parse().expect("an address")
        } else {
            "127.0.0.1:0".parse().expect("an address")
        };
        let socket = UdpSocket::bind(local).expect("a port");
        socket.connect(server).expect("loopback is there");
        for set in [
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &(4 << 20)),
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::SndBuf, &(4 << 20)),
        ] {
            set.expect("a buffer");
        }
        let connection_id = connection_id(&socket);
        socket.set_nonblocking(true).expect("fcntl");
        let idle = Slot {
            peer: 0,
            sent_at: Instant::now(),
            round: 0,
            waits: false,
        };
        Self {
            socket,
            connection_id,
            id_since: Instant::now(),
            slots: [idle; WINDOW],
            headers: MultiHeaders::preallocate(WINDOW, None),
            fill_next: None,
            out: Vec::new(),
            space: vec![0; WINDOW * REPLY_BYTES_MAX],
        }
    }

    /// Asks for another connection id when this one is old. Answers that come meanwhile are lost, and asked for again.
    fn renew(&mut self, now: Instant) {
        if now.saturating_duration_since(self.id_since) > ID_AGE_MAX {
            self.socket.set_nonblocking(false).expect("fcntl");
            self.connection_id = connection_id(&self.socket);
            self.socket.set_nonblocking(true).expect("fcntl");
            self.id_since = now;
        }
    }

    fn flush(&mut self) {
        let slices: Vec<_> = self
            .out
            .chunks(ANNOUNCE_BYTES)
            .map(|announce| [IoSlice::new(announce)])
            .collect();
        let nothing: [ControlMessage<'_>; 0] = [];
        let mut sent = 0;
        while sent < slices.len() {
            let outcome = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                slices[sent..].iter(),
                [None; WINDOW],
                nothing,
                MsgFlags::empty(),
            );
            match outcome {
                Ok(some) => sent += some.count(),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("a socket failed: {error}"),
            }
        }
    }
}

/// Asks for a connection id until one comes.
fn connection_id(socket: &UdpSocket) -> [u8; 8] {
    let mut request = Vec::new();
    request.extend_from_slice(&PROTOCOL_ID.to_be_bytes());
    request.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7]);
    let patience = Some(Duration::from_millis(300));
    socket.set_read_timeout(patience).expect("a timeout");
    for _ in 0..20 {
        socket.send(&request).expect("loopback takes it");
        let mut reply = [0; REPLY_BYTES_MAX];
        while let Ok(count) = socket.recv(&mut reply) {
            if count == 16 && reply[..8] == [0, 0, 0, 0, 0, 0, 0, 7] {
                return reply[8..16].try_into().expect("8 bytes");
            }
        }
    }
    panic!("the server gives no connection id");
}

/// An announce, from its hash on.
fn announce(population: &Population, peer: u64, is_first: bool) -> [u8; ANNOUNCE_BYTES - 16] {
    let mut bytes = [0; ANNOUNCE_BYTES - 16];
    bytes[..20].copy_from_slice(population.hash(peer));
    bytes[20..40].copy_from_slice(&population.peer_id(peer));
    bytes[48..56].copy_from_slice(&population.left(peer).to_be_bytes());
    bytes[67] = if is_first { 2 } else { 0 };
    bytes[72..76].copy_from_slice(&(peer as u32).to_be_bytes());
    bytes[76..80].copy_from_slice(&WANT.to_be_bytes());
    bytes[80..82].copy_from_slice(&population.port(peer).to_be_bytes());
    bytes
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
