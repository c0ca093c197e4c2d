//! One peer's conversation with the tracker, as a pure machine: no sockets, and it is told the time.
//!
//! Owns the request ids, what is in flight and what waits, the HELLO that opens every connection, the PING that keeps a
//! silent one, and the back-off between connections. It splits a REGISTER into chunks, and puts an info dictionary
//! together from as many GET_INFOs as it takes. It never remembers a swarm: after a lost connection everything that was
//! asked has failed, and its owner joins again at the next [`Event::Ready`].
//!
//! Invariants:
//! 1. HELLO is the first frame of a connection; what was asked meanwhile follows without waiting for its reply.
//! 2. At most [`REQUESTS_IN_FLIGHT_MAX`] requests are without their reply.
//! 3. Every request that wants a reply ends in exactly one [`Event::Reply`] or [`Event::Failed`].

mod asked;
mod event;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use asked::{Asked, Assembly, InFlight, Task, Want};
pub use event::{CountsChanged, Event, Failure, HelloConfig, OwnedReply, OwnedRequest};

use crate::base::{Rng, Time};
use crate::wire::WireError;
use crate::wire::native::{
    ErrorCode, Frame, FrameDecoder, Hello, HelloReply, INFO_BYTES_MAX, Push, REPLY_BIT,
    REQUESTS_IN_FLIGHT_MAX, Reply, Request, kind,
};

/// Requests that wait for their turn.
const WAITING_MAX: usize = 4096;
/// Unanswered requests whose tokens are kept, because an ERROR may still name them.
const UNANSWERED_MAX: usize = 16;
/// Bytes that one `fill` appends before it stops at the end of a frame.
const FILL_BYTES_MAX: usize = 256 << 10;
/// The pause before the second attempt to connect; it doubles from there.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A tracker that does not answer HELLO for so long is not there.
const HELLO_REPLY_MAX: Duration = Duration::from_secs(10);
/// After so many intervals without a byte from the tracker the connection is lost.
const INTERVALS_SILENT_MAX: u32 = 3;

/// The machine: see the module.
#[derive(Debug)]
pub struct TrackerClient {
    hello: HelloConfig,
    rng: Rng,
    link: Link,
    backoff: Duration,
    /// Before this the tracker does not want to see us again.
    retry_at: Time,
    decoder: FrameDecoder,
    last_id: u32,
    waiting: VecDeque<Asked>,
    in_flight: Vec<InFlight>,
    /// Ids and tokens of the last requests that wanted no reply.
    unanswered: VecDeque<(u32, u64)>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Link {
    /// There is no connection until this moment.
    Down(Time),
    /// The owner was told to connect.
    Dialling,
    Up(Up),
    /// The owner was told to close.
    Doomed,
}

#[derive(Debug)]
struct Up {
    hello_sent: bool,
    /// From the reply to HELLO.
    interval: Option<Duration>,
    ping_due: bool,
    since: Time,
    sent_at: Time,
    heard_at: Time,
}

impl TrackerClient {
    /// A client that wants to connect at once. `rng` spreads the attempts of many peers to connect again.
    pub fn new(hello: HelloConfig, rng: Rng) -> Self {
        Self {
            hello,
            rng,
            link: Link::Down(Time::ZERO),
            backoff: BACKOFF_MIN,
            retry_at: Time::ZERO,
            decoder: FrameDecoder::default(),
            last_id: 0,
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            unanswered: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks the tracker; the outcome is an event with this `token`.
    ///
    /// A REGISTER holds the whole info dictionary, and is sent in chunks. A GET_INFO is answered with everything from
    /// its offset on. A HAVE_BATCH that wants no reply has an outcome only if it fails.
    pub fn request(&mut self, token: u64, request: OwnedRequest) {
        if self.waiting.len() >= WAITING_MAX {
            return self.fail(token, Failure::QueueFull);
        }
        let want = match request {
            Request::Register { chunk, .. } if chunk.len() > INFO_BYTES_MAX as usize => {
                let why = Failure::Refused {
                    code: ErrorCode::TooLarge,
                    retry_ms: 0,
                    text: "the info dictionary is longer than the protocol allows".into(),
                };
                return self.fail(token, why);
            }
            Request::Register { chunk, .. } => Want::Register(chunk),
            Request::GetInfo { info_hash, offset } => Want::Info(Assembly {
                info_hash,
                from: offset,
                total: None,
                bytes: Vec::new(),
            }),
            request => Want::Plain(request),
        };
        self.waiting.push_back(Asked { token, want });
    }

    /// Whether to connect now. It says so once: what comes of it is told by `connected` or `disconnected`.
    pub fn poll_connect(&mut self, now: Time) -> bool {
        let due = matches!(self.link, Link::Down(at) if at <= now);
        if due {
            self.link = Link::Dialling;
        }
        due
    }

    /// A connection is there.
    pub fn connected(&mut self, now: Time) {
        self.decoder = FrameDecoder::default();
        self.link = Link::Up(Up {
            hello_sent: false,
            interval: None,
            ping_due: false,
            since: now,
            sent_at: now,
            heard_at: now,
        });
    }

    /// The connection is gone, or did not come about. Whatever was asked has failed.
    pub fn disconnected(&mut self, now: Time) {
        let half = self.backoff / 2;
        let jitter = self.rng.below(half.as_nanos() as usize + 1) as u64;
        let pause = half + Duration::from_nanos(jitter);
        self.link = Link::Down((now + pause).max(self.retry_at));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.decoder = FrameDecoder::default();
        self.unanswered.clear();
        for in_flight in std::mem::take(&mut self.in_flight) {
            if let Some(token) = in_flight.task.token() {
                self.fail(token, Failure::ConnectionLost);
            }
        }
        for asked in std::mem::take(&mut self.waiting) {
            self.fail(asked.token, Failure::ConnectionLost);
        }
    }

    /// Whether the tracker has answered HELLO on the present connection.
    pub fn is_ready(&self) -> bool {
        matches!(&self.link, Link::Up(up) if up.interval.is_some())
    }

    /// Bytes came from the tracker. After an error close the connection: the tracker broke its protocol.
    pub fn received(&mut self, now: Time, bytes: &[u8]) -> Result<(), WireError> {
        let Link::Up(up) = &mut self.link else {
            return Ok(());
        };
        up.heard_at = now;
        let mut decoder = std::mem::take(&mut self.decoder);
        let result = self.take_frames(now, &mut decoder, bytes);
        self.decoder = decoder;
        result
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether `fill` would append something.
    pub fn has_output(&self) -> bool {
        let Link::Up(up) = &self.link else {
            return false;
        };
        let ping = up.ping_due && self.has_room();
        !up.hello_sent || ping || self.sending().is_some() || self.sendable().is_some()
    }

    /// Appends frames that may go out now: at most a few hundred KiB, so ask again while there [is output].
    ///
    /// [is output]: Self::has_output
    pub fn fill(&mut self, now: Time, out: &mut Vec<u8>) {
        let before = out.len();
        while out.len() - before < FILL_BYTES_MAX && self.fill_one(out) {}
        if let (Link::Up(up), true) = (&mut self.link, out.len() > before) {
            up.sent_at = now;
        }
    }

    /// When to call `handle_timeout` and `poll_connect`.
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.link {
            Link::Down(at) => Some(*at),
            Link::Up(up) => {
                let ping_at = self.ping_at(up).unwrap_or(Time::MAX);
                Some(ping_at.min(up.lost_at()))
            }
            Link::Dialling | Link::Doomed => None,
        }
    }

    /// The moment of `poll_timeout` has come; there may be output or an event now.
    pub fn handle_timeout(&mut self, now: Time) {
        let Link::Up(up) = &self.link else {
            return;
        };
        let ping = self.ping_at(up).is_some_and(|at| at <= now);
        if up.lost_at() <= now {
            self.link = Link::Doomed;
            self.events.push_back(Event::Silent);
        } else if let (Link::Up(up), true) = (&mut self.link, ping) {
            up.ping_due = true;
        }
    }

    fn fail(&mut self, token: u64, why: Failure) {
        self.events.push_back(Event::Failed { token, why });
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < REQUESTS_IN_FLIGHT_MAX
    }

    /// When a PING is due, unless one is under way.
    fn ping_at(&self, up: &Up) -> Option<Time> {
        let under_way = self.in_flight.iter().any(|f| matches!(f.task, Task::Ping));
        match up.interval {
            Some(interval) if !up.ping_due && !under_way => {
                Some(up.sent_at.min(up.heard_at) + interval)
            }
            _ => None,
        }
    }

    /// The REGISTER whose chunks are not all sent: the tracker puts one together at a time.
    fn sending(&self) -> Option<usize> {
        let unsent = |f: &InFlight| matches!(f.task, Task::Register { next: Some(_), .. });
        self.in_flight.iter().position(unsent)
    }

    /// The first waiting request that may go out.
    fn sendable(&self) -> Option<usize> {
        let room = self.has_room();
        let sending = self.sending().is_some();
        self.waiting.iter().position(|asked| match &asked.want {
            Want::Plain(request) => room || !request.wants_reply(),
            Want::Register(_) => room && !sending,
            Want::Info(_) => room,
        })
    }

    /// Appends one frame, if one may go out.
    fn fill_one(&mut self, out: &mut Vec<u8>) -> bool {
        let room = self.has_room();
        let Link::Up(up) = &mut self.link else {
            return false;
        };
        if !up.hello_sent {
            up.hello_sent = true;
            self.put_hello(out);
        } else if up.ping_due && room {
            up.ping_due = false;
            let id = self.next_id();
            Request::Ping(u64::from(id)).encode(id, out);
            self.await_reply(id, Task::Ping);
        } else if let Some(at) = self.sending() {
            self.in_flight[at].put_chunk(out);
        } else if let Some(asked) = self.sendable().and_then(|at| self.waiting.remove(at)) {
            self.start(asked, out);
        } else {
            return false;
        }
        true
    }

    fn put_hello(&mut self, out: &mut Vec<u8>) {
        let id = self.next_id();
        let config = &self.hello;
        let hello = Hello {
            host: config.host.as_str().into(),
            zone: config.zone.as_str().into(),
            token: config.token.as_str().into(),
            ..Hello::new(config.peer_id, &config.listen_addrs)
        };
        Request::Hello(hello).encode(id, out);
        self.await_reply(id, Task::Hello);
    }

    /// Sends the first frame of a request.
    fn start(&mut self, asked: Asked, out: &mut Vec<u8>) {
        let (id, token) = (self.next_id(), asked.token);
        match asked.want {
            Want::Plain(request) => {
                request.encode(id, out);
                let reply_kind = request.kind() | REPLY_BIT;
                if request.wants_reply() {
                    self.await_reply(id, Task::Plain { token, reply_kind });
                } else {
                    self.unanswered.truncate(UNANSWERED_MAX - 1);
                    self.unanswered.push_front((id, token));
                }
            }
            Want::Register(info) => {
                let next = Some(0);
                let mut in_flight = InFlight {
                    id,
                    task: Task::Register { token, info, next },
                };
                in_flight.put_chunk(out);
                self.in_flight.push(in_flight);
            }
            Want::Info(assembly) => {
                assembly.request().encode(id, out);
                self.await_reply(id, Task::Info { token, assembly });
            }
        }
    }

    fn await_reply(&mut self, id: u32, task: Task) {
        self.in_flight.push(InFlight { id, task });
    }

    /// Request ids start from 1: a push carries 0.
    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.last_id
    }

    fn take_frames(
        &mut self,
        now: Time,
        decoder: &mut FrameDecoder,
        mut bytes: &[u8],
    ) -> Result<(), WireError> {
        while let Some(frame) = decoder.decode(&mut bytes)? {
            if matches!(self.link, Link::Doomed) {
                break;
            }
            if Push::is_kind(frame.head.kind) {
                self.take_push(frame)?;
            } else {
                self.take_reply(now, frame)?;
            }
        }
        Ok(())
    }

    fn take_push(&mut self, frame: Frame<'_>) -> Result<(), WireError> {
        match Push::decode(frame.head.kind, frame.head.flags, frame.payload) {
            Ok(Push::Peers { slot, members }) => {
                let members = members.iter().collect();
                self.events.push_back(Event::PeersChanged { slot, members });
            }
            Ok(Push::Removed { slot }) => self.events.push_back(Event::Removed { slot }),
            Ok(Push::Avail {
                slot,
                base,
                version,
                deltas,
            }) => {
                let changed = CountsChanged {
                    slot,
                    base,
                    version,
                    deltas: deltas.iter().collect(),
                };
                self.events.push_back(Event::CountsChanged(changed));
            }
            Err(WireError::UnknownType) => {} // a later minor version's
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take_reply(&mut self, now: Time, frame: Frame<'_>) -> Result<(), WireError> {
        let id = frame.head.request_id;
        let Some(at) = self.in_flight.iter().position(|f| f.id == id) else {
            return self.take_late(frame);
        };
        let reply = Reply::decode(frame.head.kind, frame.head.flags, frame.payload)?;
        let task = self.in_flight.remove(at).task;
        if let Reply::Error {
            code,
            retry_ms,
            text,
        } = reply
        {
            self.take_error(now, &task, code, retry_ms, text.into_owned());
            return Ok(());
        }
        match (task, reply) {
            (Task::Hello, Reply::Hello(hello)) => self.take_hello(hello),
            (Task::Ping, Reply::Pong(_)) => {}
            (Task::Plain { token, reply_kind }, reply) if reply.kind() == reply_kind => {
                let reply = reply.into_owned();
                self.events.push_back(Event::Reply { token, reply });
            }
            (
                Task::Register {
                    token, next: None, ..
                },
                Reply::Register { info_hash, exists },
            ) => {
                let reply = Reply::Register { info_hash, exists };
                self.events.push_back(Event::Reply { token, reply });
            }
            (Task::Info { token, assembly }, Reply::Info { total, bytes }) => {
                self.take_info(token, assembly, total, &bytes)?;
            }
            (task, _) => {
                // The answer to another question: nobody knows what else is wrong, so the connection ends and fails it.
                self.await_reply(id, task);
                return Err(WireError::BadValue);
            }
        }
        Ok(())
    }

    /// Takes a reply that nobody waits for: only an ERROR to a request that wanted no reply means something.
    fn take_late(&mut self, frame: Frame<'_>) -> Result<(), WireError> {
        let id = frame.head.request_id;
        let at = self.unanswered.iter().position(|(of, _)| *of == id);
        let Some((_, token)) = at.and_then(|at| self.unanswered.remove(at)) else {
            return Ok(());
        };
        if frame.head.kind != kind::ERROR {
            return Ok(());
        }
        let reply = Reply::decode(frame.head.kind, frame.head.flags, frame.payload)?;
        if let Reply::Error {
            code,
            retry_ms,
            text,
        } = reply
        {
            let text = text.into_owned();
            let why = Failure::Refused {
                code,
                retry_ms,
                text,
            };
            self.fail(token, why);
        }
        Ok(())
    }

    fn take_error(&mut self, now: Time, task: &Task, code: ErrorCode, retry_ms: u32, text: String) {
        if let Some(token) = task.token() {
            let why = Failure::Refused {
                code,
                retry_ms,
                text,
            };
            self.fail(token, why);
        } else if matches!(task, Task::Hello) {
            self.retry_at = now + Duration::from_millis(u64::from(retry_ms));
            self.link = Link::Doomed;
            self.events.push_back(Event::Refused {
                code,
                retry_ms,
                text,
            });
        }
    }

    fn take_hello(&mut self, hello: HelloReply) {
        self.backoff = BACKOFF_MIN;
        if let Link::Up(up) = &mut self.link {
            up.interval = Some(Duration::from_secs(u64::from(hello.interval_s.max(1))));
        }
        self.events.push_back(Event::Ready(hello));
    }

    fn take_info(
        &mut self,
        token: u64,
        mut assembly: Assembly,
        total: u32,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        match assembly.add(total, bytes) {
            Ok(true) => {
                let bytes = assembly.bytes.into();
                let reply = Reply::Info { total, bytes };
                self.events.push_back(Event::Reply { token, reply });
                Ok(())
            }
            outcome => {
                let want = Want::Info(assembly);
                self.waiting.push_front(Asked { token, want });
                outcome.map(|_| ())
            }
        }
    }
}

impl Up {
    /// When the tracker has been silent for too long.
    fn lost_at(&self) -> Time {
        match self.interval {
            Some(interval) => self.heard_at + interval * INTERVALS_SILENT_MAX,
            None => self.since + HELLO_REPLY_MAX,
        }
    }
}
