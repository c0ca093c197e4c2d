//! The BitTorrent conns: their handshakes, their decoders, and what they have yet to send.
//!
//! A conn becomes a link when both handshakes are there and the swarm admits it. The bytes of a block go from the
//! socket to their place in the piece's buffer; the swarm is told where they are, never given them.

mod greeting;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::extensions::{self, Extensions};
use super::search::Searches;
use super::shell::{Dial, Shell};
use super::throttle::Throttle;
use super::transfer::Transfer;
use crate::base::{PeerId, Time};
use crate::cli::RateLimits;
use crate::reactor::{Closed, Command, ConnId, Outbox};
use crate::swarm::{Input, PeerKey, Swarm};
use crate::wire::extension::Extension;
use crate::wire::peer::{BlockRequest, Message, put_piece_header};
use crate::wire::peer_decoder::{Decoder, Event};
use crate::wire::peer_exchange::PeerExchange;

/// Control bytes that may wait for a peer that does not read; a bit field and thousands of requests fit.
const CONTROL_BYTES_MAX: usize = 1 << 20;
/// Control memory that a link keeps when all is sent.
const OUT_BYTES_KEPT: usize = 16 << 10;

/// What is needed of a conn's other end.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    remote: SocketAddr,
    stage: Stage,
    decoder: Decoder,
    /// Control bytes to be sent.
    out: Vec<u8>,
    /// What both speak of the extension protocol, if the other side speaks it.
    extensions: Option<Extensions>,
    /// When it was opened.
    opened_at: Time,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Waiting for the other side's handshake; `Some` if we dialled it, and for whom.
    Greeting(Option<Dial>),
    /// A link of the search for an info dictionary.
    Asking { job: usize, key: PeerKey },
    /// A link of a swarm.
    Linked { job: usize, key: PeerKey },
}

/// All BitTorrent conns.
#[derive(Debug)]
pub(super) struct Links {
    id: PeerId,
    listen_port: u16,
    /// By the conn's slot.
    links: Vec<Option<Link>>,
    /// By job and the peer's slot.
    conns: Vec<Vec<Option<ConnId>>>,
    dials: BTreeMap<u64, Dial>,
    next_dial: u64,
    /// When each conn must have finished its handshake, oldest first.
    greetings: VecDeque<(Time, ConnId)>,
    /// Conns that have not finished it.
    greeting_count: usize,
    /// Used again for the head of every block.
    header: Vec<u8>,
    /// For jobs without an info dictionary.
    pub searches: Searches,
    /// What all of them may move.
    pub(super) throttle: Throttle,
}

impl Links {
    pub(super) fn new(id: PeerId, listen_port: u16, limits: RateLimits) -> Self {
        Self {
            id,
            listen_port,
            links: Vec::new(),
            conns: Vec::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            greetings: VecDeque::new(),
            greeting_count: 0,
            header: Vec::new(),
            searches: Searches::new(listen_port),
            throttle: Throttle::new(limits),
        }
    }

    /// Takes in bytes of a conn.
    pub(super) fn received(
        &mut self,
        now: Time,
        conn: ConnId,
        mut bytes: &[u8],
        transfers: &mut [Option<Transfer>],
        shell: &mut Shell,
    ) -> Result<Option<usize>, Closed> {
        let stage = self.link(conn).map(|link| link.stage);
        self.throttle.down.take(now, conn, bytes.len() as u64);
        if matches!(stage, Some(Stage::Greeting(_)))
            && !self.greet(now, conn, &mut bytes, transfers, shell)?
        {
            return Ok(None);
        }
        let Some(link) = link_of(&mut self.links, conn) else {
            return Ok(None);
        };
        let (job, key) = match link.stage {
            Stage::Greeting(_) => return Ok(None),
            Stage::Linked { job, key } => (job, key),
            Stage::Asking { job, key } => {
                let decoder = &mut link.decoder;
                return self.searches.received(now, (job, key), decoder, bytes);
            }
        };
        let Some(transfer) = &mut transfers[job] else {
            return Ok(None);
        };
        let (swarm, info_len) = (&mut transfer.swarm, transfer.meta.info().len());
        while let Some(event) = link
            .decoder
            .decode(&mut bytes)
            .map_err(|error| Closed::Fault(error.reason()))?
        {
            match event {
                Event::Handshake(_) => return Err(Closed::Fault("a second handshake")),
                Event::Message(Message::Extended { id, payload }) => {
                    let Some(extensions) = &mut link.extensions else {
                        continue;
                    };
                    if id == Extension::Metadata.id() {
                        extensions.info.received(payload, info_len, &mut link.out)?;
                        shell.touch(conn);
                    } else {
                        extensions.received(now, swarm, key, id, payload)?;
                        let limits = link.decoder.limits_mut();
                        limits.block_bytes_max = swarm.block_bytes_max(key);
                    }
                }
                Event::Message(message) => {
                    swarm.handle_input(now, Input::Received { peer: key, message });
                }
                Event::PieceStart { piece, begin, len } => {
                    let request = BlockRequest { piece, begin, len };
                    let started = swarm.block_started(now, key, request);
                    started.map_err(|reason| Closed::Fault(reason.text()))?;
                }
                Event::Payload(payload) => swarm.land_copy(now, key, payload),
                Event::PieceEnd => {}
            }
        }
        Ok(Some(job))
    }

    fn enter(&mut self, job: usize, key: PeerKey, conn: ConnId) {
        if self.conns.len() <= job {
            self.conns.resize_with(job + 1, Vec::new);
        }
        let conns = &mut self.conns[job];
        if conns.len() <= key.slot() {
            conns.resize(key.slot() + 1, None);
        }
        conns[key.slot()] = Some(conn);
    }

    /// Where the next bytes of a conn belong, if it is inside a block that somebody needs.
    pub(super) fn landing<'a>(
        &self,
        conn: ConnId,
        transfers: &'a mut [Option<Transfer>],
    ) -> Option<&'a mut [u8]> {
        let link = self.link(conn)?;
        let Stage::Linked { job, key } = link.stage else {
            return None;
        };
        if link.decoder.payload_remaining() == 0 {
            return None;
        }
        transfers[job].as_mut()?.swarm.landing(key)
    }

    /// `count` bytes were read to where [`Links::landing`] said.
    pub(super) fn landed(
        &mut self,
        now: Time,
        conn: ConnId,
        count: usize,
        transfers: &mut [Option<Transfer>],
    ) -> Option<usize> {
        self.throttle.down.take(now, conn, count as u64);
        let link = self.link_mut(conn)?;
        let Stage::Linked { job, key } = link.stage else {
            return None;
        };
        let swarm = &mut transfers[job].as_mut()?.swarm;
        link.decoder.payload_landed(count);
        swarm.landed(now, key, count);
        Some(job)
    }

    /// Appends what a conn has to send: control first, then blocks while there is room.
    pub(super) fn refill(
        &mut self,
        now: Time,
        conn: ConnId,
        out: &mut Outbox,
        transfers: &mut [Option<Transfer>],
        shell: &mut Shell,
    ) {
        let Some(link) = self.link_mut(conn) else {
            return;
        };
        if out.control_len() + link.out.len() > CONTROL_BYTES_MAX {
            let why = Closed::Fault("it does not read what it asks for");
            shell.commands.push_back(Command::Close(conn, why));
            return;
        }
        let queued = out.len();
        out.control(&link.out);
        link.out.clear();
        link.out.shrink_to(OUT_BYTES_KEPT);
        let linked = match link.stage {
            Stage::Linked { job, key } => transfers[job].as_mut().zip(Some(key)),
            _ => None,
        };
        if let (Some(extensions), Some((transfer, _))) = (&mut link.extensions, &linked) {
            extensions.info.send(transfer.meta.info(), out);
        }
        let up = &mut self.throttle.up;
        up.take(now, conn, (out.len() - queued) as u64);
        let Some((transfer, key)) = linked else {
            return;
        };
        let mut header = std::mem::take(&mut self.header);
        while out.wants_bulk() && transfer.swarm.has_upload(key) && up.ask(now, conn) > 0 {
            let Some(upload) = transfer.swarm.next_upload(now, key) else {
                break;
            };
            let BlockRequest { piece, begin, len } = upload.request;
            header.clear();
            put_piece_header(&mut header, piece, begin, len);
            up.take(now, conn, header.len() as u64 + u64::from(len));
            out.control(&header);
            out.payload(upload.buf, upload.range);
        }
        self.header = header;
        transfer.drain(now, shell, self);
    }

    /// A conn is gone. The job is returned whose swarm lost a link or a dial by it.
    pub(super) fn closed(
        &mut self,
        now: Time,
        conn: ConnId,
        why: &Closed,
        transfers: &mut [Option<Transfer>],
    ) -> Option<usize> {
        let link = self
            .links
            .get_mut(conn.slot())?
            .take_if(|link| link.conn == conn)?;
        self.throttle.forget(conn);
        match why {
            Closed::Fault(_) => log::info!("{}: closed: {why}", link.remote),
            _ => log::debug!("{}: closed: {why}", link.remote),
        }
        match link.stage {
            Stage::Greeting(dial) => {
                self.greeting_count -= 1;
                let dial = dial?;
                self.dial_failed(now, dial, transfers);
                Some(dial.job)
            }
            Stage::Linked { job, key } | Stage::Asking { job, key } => {
                let entry = &mut self.conns[job][key.slot()];
                entry.take_if(|entry| *entry == conn);
                if matches!(link.stage, Stage::Asking { .. }) {
                    self.searches.disconnected(now, job, key);
                    return Some(job);
                }
                let swarm = &mut transfers[job].as_mut()?.swarm;
                swarm.handle_input(now, Input::Disconnected { peer: key });
                Some(job)
            }
        }
    }

    /// Queues a message.
    pub(super) fn send(
        &mut self,
        job: usize,
        peer: PeerKey,
        message: &Message<'_>,
        shell: &mut Shell,
    ) {
        self.put(job, peer, shell, |out| message.encode(out));
    }

    /// Queues what `put` appends.
    pub(super) fn put(
        &mut self,
        job: usize,
        peer: PeerKey,
        shell: &mut Shell,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(link) = self.conn_of(job, peer).and_then(|conn| self.link_mut(conn)) else {
            return;
        };
        if link.out.is_empty() {
            shell.touch(link.conn);
        }
        put(&mut link.out);
    }

    /// Queues what opens a link: what we have, and who we are.
    pub(super) fn open_message(
        &mut self,
        job: usize,
        peer: PeerKey,
        (swarm, info_len): (&Swarm, usize),
        shell: &mut Shell,
    ) {
        let listen_port = self.listen_port;
        let Some(link) = self.conn_of(job, peer).and_then(|conn| self.link_mut(conn)) else {
            return;
        };
        let have = swarm.have();
        let fast = swarm.is_fast(peer);
        let possession = match have {
            _ if fast && have.is_all() => Some(Message::HaveAll),
            _ if fast && have.is_empty() => Some(Message::HaveNone),
            _ if have.is_empty() => None,
            _ => Some(Message::Bitfield {
                bytes: have.as_bytes(),
            }),
        };
        if let Some(message) = possession {
            message.encode(&mut link.out);
        }
        if link.extensions.is_some() {
            let own = (listen_port, info_len);
            extensions::put_handshake(swarm, own, link.remote, &mut link.out);
        }
        shell.touch(link.conn);
    }

    /// Introduces us anew to every link of a job, since what we say of ourselves has changed.
    pub(super) fn introduce_again(
        &mut self,
        job: usize,
        (swarm, info_len): (&Swarm, usize),
        shell: &mut Shell,
    ) {
        for link in self.links.iter_mut().flatten() {
            let of_job = matches!(link.stage, Stage::Linked { job: other, .. } if other == job);
            if of_job && link.extensions.is_some() {
                let own = (self.listen_port, info_len);
                extensions::put_handshake(swarm, own, link.remote, &mut link.out);
                shell.touch(link.conn);
            }
        }
    }

    /// Queues a message of peer exchange.
    pub(super) fn send_exchange(
        &mut self,
        job: usize,
        peer: PeerKey,
        message: &PeerExchange,
        shell: &mut Shell,
    ) {
        let Some(link) = self.conn_of(job, peer).and_then(|conn| self.link_mut(conn)) else {
            return;
        };
        if let Some(extensions) = &link.extensions {
            extensions.put_exchange(message, &mut link.out);
            shell.touch(link.conn);
        }
    }

    /// There may be something to upload to a peer.
    pub(super) fn touch(&mut self, job: usize, peer: PeerKey, shell: &mut Shell) {
        if let Some(conn) = self.conn_of(job, peer) {
            shell.touch(conn);
        }
    }

    /// The conn of a peer.
    pub(super) fn conn_of(&self, job: usize, peer: PeerKey) -> Option<ConnId> {
        let conn = (*self.conns.get(job)?.get(peer.slot())?)?;
        let stage = self.link(conn)?.stage;
        matches!(stage, Stage::Linked { key, .. } | Stage::Asking { key, .. } if key == peer)
            .then_some(conn)
    }

    /// The far end of a conn, for people.
    pub(super) fn remote_of(&self, conn: ConnId) -> SocketAddr {
        self.link(conn)
            .map_or_else(|| ([0, 0, 0, 0], 0).into(), |link| link.remote)
    }

    /// Closes every conn of a job.
    pub(super) fn close_all(&self, job: usize, why: &'static str, shell: &mut Shell) {
        for link in self.links.iter().flatten() {
            let of_job = match link.stage {
                Stage::Linked { job: other, .. } | Stage::Asking { job: other, .. } => other == job,
                Stage::Greeting(dial) => dial.is_some_and(|dial| dial.job == job),
            };
            if of_job {
                let why = Closed::Local(why);
                shell.commands.push_back(Command::Close(link.conn, why));
            }
        }
    }

    /// Whether it is one of ours.
    pub(super) fn is_link(&self, conn: ConnId) -> bool {
        self.link(conn).is_some()
    }

    /// Of which swarm a conn is which link, if it is one.
    pub(super) fn linked(&self, conn: ConnId) -> Option<(usize, PeerKey)> {
        match self.link(conn)?.stage {
            Stage::Linked { job, key } => Some((job, key)),
            _ => None,
        }
    }

    fn link(&self, conn: ConnId) -> Option<&Link> {
        self.links
            .get(conn.slot())?
            .as_ref()
            .filter(|link| link.conn == conn)
    }

    fn link_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        link_of(&mut self.links, conn)
    }
}

fn link_of(links: &mut [Option<Link>], conn: ConnId) -> Option<&mut Link> {
    let link = links.get_mut(conn.slot())?.as_mut();
    link.filter(|link| link.conn == conn)
}
