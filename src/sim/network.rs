//! Conns: dialled in one round trip, in order, with one latency, until they are closed, cut or silent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::encoded::Decoders;
use super::trace::Name;
use super::{Event, Simulation};
use crate::base::{PeerId, Time};
use crate::swarm::{Hello, Input, PeerKey, Reason};
use crate::wire::peer::{BlockRequest, Message};

/// How long a dial may take, handshakes included.
const DIAL_TIME_MAX: Duration = Duration::from_secs(10);

/// One of the two sides of a conn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// What a conn carries.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    Handshake {
        id: PeerId,
        fast: bool,
    },
    Possession(Box<[u8]>),
    Message(Message<'static>),
    /// The head of a long block, whose bytes follow.
    Head(BlockRequest),
    Block {
        request: BlockRequest,
        spoilt: bool,
        /// Of a long block: its number.
        number: Option<u64>,
    },
    Closed,
}

impl Wire {
    /// A number for the outcome's hash.
    fn digest(&self) -> u64 {
        match self {
            Self::Handshake { id, .. } => u64::from(id.0[19]),
            Self::Possession(bytes) => 0x100 + bytes.len() as u64,
            Self::Message(message) => {
                let (id, piece, begin) = match *message {
                    Message::Have { piece } => (4, piece, 0),
                    Message::Request(r) => (6, r.piece, r.begin),
                    Message::Cancel(r) => (8, r.piece, r.begin),
                    Message::Suggest { piece } => (13, piece, 0),
                    Message::Reject(r) => (16, r.piece, r.begin),
                    Message::Choke => (0, 0, 0),
                    Message::Unchoke => (1, 0, 0),
                    Message::Interested => (2, 0, 0),
                    Message::NotInterested => (3, 0, 0),
                    _ => (99, 0, 0),
                };
                (id << 56) ^ u64::from(piece) << 32 ^ u64::from(begin)
            }
            Self::Head(request) => 0x200 + u64::from(request.piece),
            Self::Block {
                request, spoilt, ..
            } => u64::from(request.piece) << 32 | u64::from(request.begin) | u64::from(*spoilt),
            Self::Closed => 0xff,
        }
    }
}

/// One side's view of a conn.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub node: usize,
    /// The link that it carries, once the handshakes are done.
    pub key: Option<PeerKey>,
    pub is_open: bool,
    /// When the last thing sent to this side arrives: nothing arrives before it.
    arrives_at: Time,
    /// Payload bytes on their way to this side.
    pub in_flight_bytes: u32,
    /// What the conn carries to this side, in bytes per second, if it is slow, and when that is free again.
    pub slow_bytes_per_second: Option<u64>,
    pub conn_free_at: Time,
}

/// A conn.
#[derive(Debug)]
pub(super) struct Conn {
    ends: [End; 2],
    pub latency: Duration,
    pub is_silent: bool,
    /// Where everything is encoded: what decodes it.
    pub decoders: Option<Box<Decoders>>,
}

impl Conn {
    pub(super) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Whether it carries a link on both sides.
    pub(super) fn is_linked(&self) -> bool {
        self.ends.iter().all(|end| end.is_open && end.key.is_some())
    }
}

/// Where a node listens: those of one rack share a prefix.
pub(super) fn addr_of(node: usize, rack: usize) -> SocketAddr {
    let number = u16::try_from(node + 1).expect("fewer than 65,536 nodes");
    let rack = u8::try_from(rack).expect("fewer than 256 racks");
    let [high, low] = number.to_be_bytes();
    ([10, rack, high, low], 6881).into()
}

/// The node that listens at `addr`.
pub(super) fn node_at(addr: SocketAddr) -> usize {
    let IpAddr::V4(ip) = addr.ip() else {
        panic!("nobody was ever named at {addr}");
    };
    let [_, _, high, low] = ip.octets();
    usize::from(u16::from_be_bytes([high, low])) - 1
}

impl Simulation {
    /// A node dials an address.
    pub(super) fn dial(&mut self, node: usize, addr: SocketAddr) {
        let other = node_at(addr);
        let latency = self.scenario.latency + self.random_within(self.scenario.latency_jitter);
        let one_in = self.scenario.slow_link_one_in;
        let is_slow = one_in > 0 && self.rng.below(one_in) == 0;
        let slow_bytes_per_second = is_slow.then_some(self.scenario.up_bytes_per_second / 10);
        let end = |node| End {
            node,
            key: None,
            is_open: true,
            arrives_at: Time::ZERO,
            in_flight_bytes: 0,
            slow_bytes_per_second,
            conn_free_at: Time::ZERO,
        };
        let conn = self.conns.len();
        let pieces = self.scenario.geometry().piece_count();
        self.outcome.dial_count += 1;
        self.conns.push(Conn {
            ends: [end(node), end(other)],
            latency,
            is_silent: false,
            decoders: self
                .scenario
                .is_encoded
                .then(|| Decoders::new(pieces).into()),
        });
        self.conns[conn].end_mut(Side::Acceptor).is_open = false;
        self.schedule(latency * 2, Event::Opened { conn });
        self.schedule(DIAL_TIME_MAX, Event::DialTimeout { conn });
    }

    /// The answer to a dial is back: a conn, or a refusal.
    pub(super) fn opened(&mut self, conn: usize) {
        let [dialler, acceptor] = self.conns[conn].ends;
        if !dialler.is_open {
            return;
        }
        if !self.nodes[acceptor.node].is_up {
            return self.end_dial(conn);
        }
        self.conns[conn].end_mut(Side::Acceptor).is_open = true;
        self.send_handshake(conn, Side::Dialler);
    }

    pub(super) fn dial_timed_out(&mut self, conn: usize) {
        let dialler = self.conns[conn].end(Side::Dialler);
        if dialler.is_open && dialler.key.is_none() {
            self.end_dial(conn);
        }
    }

    fn end_dial(&mut self, conn: usize) {
        let [dialler, acceptor] = self.conns[conn].ends;
        self.close(conn, Side::Dialler);
        let addr = self.nodes[acceptor.node].addr;
        self.input(dialler.node, Input::DialFailed { addr });
    }

    fn send_handshake(&mut self, conn: usize, from: Side) {
        let node = &self.nodes[self.conns[conn].end(from).node];
        let (id, fast) = (node.id, node.is_fast);
        self.send(conn, from, Wire::Handshake { id, fast });
    }

    /// Sends `what` at once; it arrives after all that was sent before it.
    pub(super) fn send(&mut self, conn: usize, from: Side, what: Wire) {
        self.send_at(self.now, conn, from, what);
    }

    /// Sends a long block: its head now, its end when the last byte has left. What is told meanwhile goes between its
    /// parts, so it does not wait for the end.
    pub(super) fn send_long(
        &mut self,
        leaves_at: Time,
        conn: usize,
        from: Side,
        (request, spoilt): (BlockRequest, bool),
        number: u64,
    ) {
        self.send(conn, from, Wire::Head(request));
        let (to, latency) = (from.other(), self.conns[conn].latency);
        let number = Some(number);
        let what = Wire::Block {
            request,
            spoilt,
            number,
        };
        self.schedule_at(leaves_at + latency, Event::Deliver { conn, to, what });
    }

    /// Sends what leaves the node at `leaves_at`.
    pub(super) fn send_at(&mut self, leaves_at: Time, conn: usize, from: Side, what: Wire) {
        let to = from.other();
        let latency = self.conns[conn].latency;
        let end = self.conns[conn].end_mut(to);
        end.arrives_at = end.arrives_at.max(leaves_at + latency);
        let at = end.arrives_at;
        self.schedule_at(at, Event::Deliver { conn, to, what });
    }

    /// One side closes a conn; the other hears of it.
    pub(super) fn close(&mut self, conn: usize, side: Side) {
        let end = self.conns[conn].end_mut(side);
        if std::mem::replace(&mut end.is_open, false) {
            let (node, key) = (end.node, end.key);
            if let Some(key) = key {
                self.nodes[node].unlink(key);
                self.watch_links(node);
            }
            self.send(conn, side, Wire::Closed);
        }
    }

    /// Something arrives.
    pub(super) fn deliver(&mut self, conn: usize, to: Side, what: Wire) {
        let end = *self.conns[conn].end(to);
        if !end.is_open || self.conns[conn].is_silent {
            return;
        }
        self.fold((end.node as u64) << 48 ^ what.digest());
        self.pass_through_wire(conn, to, &what);
        match (what, end.key) {
            (Wire::Handshake { id, fast }, _) => self.shake(conn, to, id, fast),
            (Wire::Closed, key) => self.hung_up(conn, to, key),
            (_, None) => unreachable!("the handshake comes first"),
            (Wire::Possession(bytes), Some(peer)) => {
                let message = Message::Bitfield { bytes: &bytes };
                self.input(end.node, Input::Received { peer, message });
            }
            (Wire::Message(message), Some(peer)) => {
                if let Message::Cancel(request) = message {
                    self.cut_short(end.node, conn, request);
                }
                self.input(end.node, Input::Received { peer, message });
            }
            (Wire::Head(request), Some(peer)) => {
                let swarm = &mut self.nodes[end.node].swarm;
                if let Err(reason) = swarm.block_started(self.now, peer, request) {
                    self.note(end.node, reason);
                    self.close(conn, to);
                    self.input(end.node, Input::Disconnected { peer });
                } else {
                    self.settle(end.node);
                }
            }
            (
                Wire::Block {
                    request,
                    spoilt,
                    number,
                },
                Some(peer),
            ) => {
                if number.is_some_and(|number| self.cut_blocks.remove(&number)) {
                    return;
                }
                self.taken_in(conn, to, request);
                let block = request;
                let landed = Input::Landed {
                    peer,
                    block,
                    spoilt,
                };
                let wasted =
                    |simulation: &Self| simulation.nodes[end.node].swarm.counts().wasted_bytes;
                let before = wasted(self);
                self.nodes[end.node].swarm.handle_input(self.now, landed);
                if spoilt && wasted(self) == before {
                    self.note_spoilt(end.node, peer, request.piece);
                }
                self.settle(end.node);
            }
        }
    }

    fn hung_up(&mut self, conn: usize, side: Side, key: Option<PeerKey>) {
        let node = self.conns[conn].end(side).node;
        match (key, side) {
            (Some(peer), _) => {
                self.close(conn, side);
                self.input(node, Input::Disconnected { peer });
            }
            (None, Side::Dialler) => self.end_dial(conn),
            (None, Side::Acceptor) => self.close(conn, side),
        }
    }

    /// The other side's handshake is here: the swarm takes the link or refuses it.
    fn shake(&mut self, conn: usize, side: Side, id: PeerId, fast: bool) {
        let node = self.conns[conn].end(side).node;
        let other = self.conns[conn].end(side.other()).node;
        let dialled = side == Side::Dialler;
        let mut remote = self.nodes[other].addr;
        if !dialled {
            remote.set_port(32_768 + (conn % 28_000) as u16);
        }
        let fast = fast && self.nodes[node].is_fast;
        let hello = Hello {
            id,
            remote,
            dialled,
            fast,
            greeted_at: self.now,
        };
        match self.nodes[node].swarm.connect(self.now, hello) {
            Ok(key) => {
                self.tell(node, format_args!("is linked to {}", Name(other)));
                self.conns[conn].end_mut(side).key = Some(key);
                self.nodes[node].link(key, conn, side);
                self.watch_links(node);
                if side == Side::Acceptor {
                    self.send_handshake(conn, side);
                }
            }
            Err(reason) => {
                self.tell(node, format_args!("refuses {}: {reason}", Name(other)));
                self.note(node, reason);
                self.close(conn, side);
            }
        }
        self.settle(node);
    }

    /// Remembers why a link was closed or refused.
    pub(super) fn note(&mut self, node: usize, reason: Reason) {
        match reason {
            Reason::Duplicate => self.outcome.duplicate_count += 1,
            Reason::BothComplete | Reason::Full | Reason::Banned => {}
            reason => self.outcome.faults.push((node, reason)),
        }
    }
}
