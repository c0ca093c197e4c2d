//! The native protocol: one request in, one answer out.
//!
//! Owns the order of things on one connection (HELLO first, then anything) and the translation between frames and the
//! registry. What has to wait for the disk goes on in [`super::durable`].

use std::net::SocketAddr;
use std::time::Duration;

use super::TrackerService;
use super::conns::{Conns, INTERVAL_SECS};
use super::newcomers::FRAMES_PER_SLICE;
use crate::base::{PeerId, Time, canonical};
use crate::reactor::{Closed, ConnId};
use crate::registry::{Caller, Client, Joining, Refusal, Registry, Told};
use crate::wire::native::{
    AvailCounts, BadPeer, ErrorCode, FRAME_BYTES_MAX, FrameDecoder, FrameHead, HaveBatch, Hello,
    HelloReply, ItemWriter, Join, JoinReply, List, ListEntry, Member, MemberEntry,
    PAGE_ENTRIES_MAX, PeerChange, Push, PushedMember, Refusal as BadRequest, Reply, Request,
};

/// A refusal, and when to ask again.
pub(super) struct Refused {
    pub(super) code: ErrorCode,
    pub(super) retry_ms: u32,
    pub(super) text: String,
}

/// When to ask again, where we know nothing better.
pub(super) const RETRY_MS: u32 = 1000;

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        Self {
            code,
            retry_ms: if code == ErrorCode::Busy { RETRY_MS } else { 0 },
            text: refusal.to_string(),
        }
    }
}

impl Refused {
    /// A refusal that no waiting cures.
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            retry_ms: 0,
            text: text.into(),
        }
    }

    /// A refusal for now.
    pub(super) fn busy(text: &str) -> Self {
        Self {
            code: ErrorCode::Busy,
            retry_ms: RETRY_MS,
            text: text.into(),
        }
    }
}

impl TrackerService {
    /// Whether a connection takes no further request now, and then whether it goes on at all. Where it has too much to
    /// read, `input` is kept until it has read.
    pub(super) fn holds_back(&mut self, id: ConnId, input: &[u8], now: Time) -> Option<bool> {
        match self.conns.get(id) {
            None => Some(false),
            Some(conn) if conn.is_closing() => Some(false),
            Some(conn) if !conn.may_read() => {
                self.conns.pause(id, input, now);
                Some(true)
            }
            Some(_) => None,
        }
    }

    /// Answers the frames in `input`, until its connection has too much to read; says whether it goes on.
    pub(super) fn feed_native(
        &mut self,
        now: Time,
        id: ConnId,
        decoder: &mut FrameDecoder,
        mut input: &[u8],
    ) -> bool {
        loop {
            if let Some(goes_on) = self.holds_back(id, input, now) {
                return goes_on;
            }
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => self.frame(now, id, frame.head, frame.payload),
                Ok(None) => return true,
                Err(error) => {
                    self.fault(id, 0, &error.into());
                    return false;
                }
            }
        }
    }

    fn frame(&mut self, now: Time, id: ConnId, head: FrameHead, payload: &[u8]) {
        let request_id = head.request_id;
        let request = match Request::decode(head.kind, head.flags, payload) {
            Ok(request) => request,
            Err(refusal) if refusal.closes() || self.client(id).is_none() => {
                return self.fault(id, request_id, &refusal);
            }
            Err(refusal) => {
                let refused = Refused::new(refusal.code(), refusal.to_string());
                return self.refuse(id, request_id, &refused);
            }
        };
        let outcome = match (self.client(id), request) {
            (None, Request::Hello(hello)) => {
                self.hello(id, request_id, &hello);
                Ok(())
            }
            (Some(client), request) if !matches!(request, Request::Hello(_)) => {
                self.request(now, id, client, request_id, request)
            }
            _ => Err(Refusal::Invalid("HELLO comes first, and once").into()),
        };
        if let Err(refused) = outcome {
            self.refuse(id, request_id, &refused);
        }
        self.tell_parts();
    }

    fn client(&self, id: ConnId) -> Option<Client> {
        self.conns.get(id)?.client
    }

    /// Sends a frame that was not to be understood its ERROR, and closes the connection.
    fn fault(&mut self, id: ConnId, request_id: u32, refusal: &BadRequest) {
        let code = match refusal.code() {
            ErrorCode::Version => ErrorCode::Version,
            _ => ErrorCode::BadFrame,
        };
        let text = refusal.to_string();
        send_error(&mut self.conns, id, request_id, &Refused::new(code, text));
        self.conns.close(id, Closed::Fault("a bad frame"));
    }

    /// Answers with an ERROR, and closes the connection if it broke the protocol.
    pub(super) fn refuse(&mut self, id: ConnId, request_id: u32, refused: &Refused) {
        send_error(&mut self.conns, id, request_id, refused);
        if refused.code == ErrorCode::BadFrame {
            self.conns
                .close(id, Closed::Fault("a request that breaks the protocol"));
        }
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, id: ConnId, request_id: u32, reply: &Reply<'_>) {
        self.conns.send(id, |out| reply.encode(request_id, out));
    }

    fn hello(&mut self, id: ConnId, request_id: u32, hello: &Hello<'_>) {
        let Some(remote) = self.conns.get(id).map(|conn| conn.remote) else {
            return;
        };
        let listens_at: Vec<SocketAddr> = hello.addrs.iter().collect();
        let client = self.registry.connect(Caller {
            peer_id: hello.peer_id,
            source: remote.ip(),
            listens_at: &listens_at,
            host: &hello.host,
            zone: &hello.zone,
        });
        self.conns.greet(id, client);
        let reply = Reply::Hello(HelloReply {
            batch_ms: self.registry.batch_ms(),
            interval_s: INTERVAL_SECS,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            policy: self.policy,
            seen_addr: canonical(remote),
        });
        self.reply(id, request_id, &reply);
    }

    fn request(
        &mut self,
        now: Time,
        id: ConnId,
        client: Client,
        request_id: u32,
        request: Request<'_>,
    ) -> Result<(), Refused> {
        match request {
            Request::Register { total, chunk, more } => {
                self.register(now, id, request_id, total, &chunk, more)?;
            }
            Request::GetInfo { info_hash, offset } => {
                self.info(id, request_id, info_hash, offset)?;
            }
            Request::Unregister { info_hash } => self.unregister(id, request_id, info_hash)?,
            Request::Join(join) => self.join(now, id, client, request_id, join)?,
            Request::HaveBatch(batch) => self.have_batch(now, id, client, request_id, &batch)?,
            Request::Leave { slot, .. } => {
                self.registry.leave(client, slot)?;
                self.reply(id, request_id, &Reply::Leave);
            }
            Request::AvailSub { slot, period_ms } => {
                self.registry.subscribe(client, slot, period_ms, now)?;
                self.reply(id, request_id, &Reply::AvailSub);
            }
            Request::BadPeer(report) => self.bad_peer(id, client, request_id, &report)?,
            Request::Ping(number) => self.reply(id, request_id, &Reply::Pong(number)),
            Request::Lookup { by, key } => {
                let entries = self.registry.lookup(by, &key)?;
                let reply = Reply::Lookup(List::lent(&entries));
                self.conns.send(id, |out| reply.encode(request_id, out));
            }
            request => self.query(id, client, request_id, request)?,
        }
        Ok(())
    }

    fn join(
        &mut self,
        now: Time,
        id: ConnId,
        client: Client,
        request_id: u32,
        join: Join<'_>,
    ) -> Result<(), Refused> {
        let joining = Joining {
            hash: join.info_hash,
            left: join.left,
            have: join.have,
            want: join.want,
            role: join.role,
        };
        let joined = self.registry.join(client, &joining, super::wall_secs())?;
        let part = self.registry.part(client, joined.slot)?;
        let reply = Reply::Join(JoinReply {
            slot: joined.slot,
            members: List::lent(&joined.members),
            partition_index: part.0,
            partition_of: part.1,
        });
        self.reply(id, request_id, &reply);
        self.tell(now, joined.told);
        Ok(())
    }

    /// Pushes to members how the counts of pieces have changed, where that is due. To who has too much unread that is lost.
    pub(super) fn tell_counts(&mut self, now: Time) {
        for told in self.registry.take_avail_told(now) {
            let push = Push::Avail {
                slot: told.slot,
                base: told.base,
                version: told.version,
                deltas: List::lent(&told.deltas),
            };
            self.conns.push(told.client, |out| push.encode(out));
        }
    }

    /// Tells the seeds of a content whose seeds changed which parts of the pieces they offer first: the push names all that
    /// share them, in order.
    pub(super) fn tell_parts(&mut self) {
        for told in self.registry.take_parts() {
            let seed = |peer_id: &PeerId| PushedMember {
                change: PeerChange::Partition,
                member: Member::complete(*peer_id),
            };
            let members: Vec<PushedMember> = told.seeds.iter().map(seed).collect();
            let push = Push::Peers {
                slot: told.slot,
                members: List::lent(&members),
            };
            self.conns.push(told.client, |out| push.encode(out));
        }
    }

    /// Lets members be told of a newcomer soon.
    pub(super) fn tell(&mut self, now: Time, told: Vec<Told>) {
        for told in told {
            if let Some(id) = self.conns.of(told.client) {
                self.newcomers.add(now, id, &told);
            }
        }
    }

    /// Pushes newcomers to those who are told of them, where that is due. To who has too much unread that is lost.
    pub(super) fn tell_newcomers(&mut self, now: Time) {
        let pause = Duration::from_millis(self.registry.batch_ms().into());
        let mut members = std::mem::take(&mut self.pushed);
        for _ in 0..FRAMES_PER_SLICE {
            let Some(receiver) = self.newcomers.take(now, pause, &mut members) else {
                break;
            };
            // Its connection may have ended meanwhile, or its membership.
            let Some(client) = self.client(receiver.conn) else {
                continue;
            };
            if (self.registry).is_member(client, receiver.slot, receiver.content) {
                let push = Push::Peers {
                    slot: receiver.slot,
                    members: List::lent(&members),
                };
                self.conns.push(client, |out| push.encode(out));
            }
        }
        self.pushed = members;
    }

    fn have_batch(
        &mut self,
        now: Time,
        id: ConnId,
        client: Client,
        request_id: u32,
        batch: &HaveBatch<'_>,
    ) -> Result<(), Refused> {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.take_batch(batch.slot, now)
                .map_err(|retry_ms| Refused {
                    code: ErrorCode::RateLimited,
                    retry_ms,
                    text: "more than eight batches a second".into(),
                })?;
        }
        let items: Vec<_> = batch.items.iter().collect();
        let items = items.into_iter();
        let now_secs = super::wall_secs();
        self.registry
            .have_batch(client, batch.slot, batch.down, items, now_secs)?;
        if batch.wants_reply {
            self.reply(id, request_id, &Reply::HaveBatch);
        }
        Ok(())
    }

    fn bad_peer(
        &mut self,
        id: ConnId,
        client: Client,
        request_id: u32,
        report: &BadPeer,
    ) -> Result<(), Refused> {
        if self.registry.accuse(client, report.slot, report.addr)? {
            log::info!("{} is withheld from a swarm", report.addr);
        }
        self.reply(id, request_id, &Reply::BadPeer);
        Ok(())
    }

    /// Answers a request that only asks.
    fn query(
        &mut self,
        id: ConnId,
        client: Client,
        request_id: u32,
        request: Request<'_>,
    ) -> Result<(), Refused> {
        match request {
            Request::AvailQuery { slot, first, count } => {
                let (version, counts) = self.registry.counts(client, slot, first, count)?;
                let reply = Reply::Avail(AvailCounts {
                    version,
                    unknown: self.registry.unknown(client, slot)?,
                    counts: List::lent(&counts),
                });
                self.reply(id, request_id, &reply);
            }
            Request::Peers {
                slot,
                want,
                missing,
            } => {
                let members = self.registry.peers(client, slot, want, missing.as_ref())?;
                self.reply(id, request_id, &Reply::Peers(List::lent(&members)));
            }
            Request::Stats { slot } => {
                let stats = self.registry.stats(client, slot)?;
                self.reply(id, request_id, &Reply::Stats(stats));
            }
            Request::List {
                cursor,
                limit,
                glob,
            } => {
                let (registry, limit) = (&self.registry, page_limit(limit));
                self.conns.send(id, |out| {
                    put_list(out, request_id, registry, cursor, limit, &glob);
                });
            }
            Request::Members {
                info_hash,
                cursor,
                limit,
                with_bitmaps,
            } => {
                let mut rows = self
                    .registry
                    .members_of(client, info_hash, cursor, with_bitmaps)?;
                self.conns.send(id, |out| {
                    let mut page: ItemWriter<'_, MemberEntry<'_>> =
                        ItemWriter::members(out, request_id);
                    let limit = page_limit(limit);
                    let rest = rows.find(|(_, row)| page.count() == limit || !page.push(row));
                    page.continue_at(rest.map_or(0, |(cursor, _)| cursor));
                    page.finish();
                });
            }
            _ => {
                return Err(Refused::new(
                    ErrorCode::UnknownType,
                    "unknown type of request",
                ));
            }
        }
        Ok(())
    }
}

/// Sends an ERROR.
fn send_error(conns: &mut Conns, id: ConnId, request_id: u32, refused: &Refused) {
    let reply = Reply::Error {
        code: refused.code,
        retry_ms: refused.retry_ms,
        text: refused.text.as_str().into(),
    };
    conns.send(id, |out| reply.encode(request_id, out));
}

/// How many rows a page has that was asked for with this limit; 0 leaves it to us.
fn page_limit(limit: u16) -> usize {
    match limit {
        0 => usize::from(PAGE_ENTRIES_MAX),
        limit => usize::from(limit),
    }
}

fn put_list(
    out: &mut Vec<u8>,
    request_id: u32,
    registry: &Registry,
    cursor: u32,
    limit: usize,
    glob: &str,
) {
    let (next, entries) = registry.list(cursor, limit, glob);
    let mut writer: ItemWriter<'_, ListEntry<'_>> = ItemWriter::list(out, request_id);
    writer.continue_at(next);
    for (at, entry) in entries {
        if !writer.push(&entry) {
            writer.continue_at(at);
            break;
        }
    }
    writer.finish();
}
