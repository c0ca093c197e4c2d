//! The connections: what is spoken on each, what it has yet to send, whether it may be read, and when it is given up.
//!
//! Owns backlog and deadlines, and collects the commands for the loop. Knows frames and requests only as bytes.
//!
//! Invariants:
//! 1. Nothing is read from a connection with more than [`BACKLOG_BYTES_MAX`] bytes to send; pushes are dropped then.
//! 2. Every connection has one entry in `deadlines`, never later than the moment it must be looked at. Activity only
//!    moves what that look will find, so that a busy connection costs nothing there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::Time;
use crate::reactor::{Closed, Command, ConnId, Outbox};
use crate::registry::{Client, SLOTS_PER_CLIENT_MAX};
use crate::wire::http::head::HeadDecoder;
use crate::wire::native::{FrameDecoder, REQUESTS_IN_FLIGHT_MAX};

/// Bytes to send above which a connection is not read (PROTOCOL.md).
pub(super) const BACKLOG_BYTES_MAX: usize = 256 << 10;
/// How long such a connection may take nothing before it is closed.
const STALL: Duration = Duration::from_secs(30);
/// From the opening of a connection to its HELLO.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Seconds of silence after which a client sends PING.
pub(super) const INTERVAL_SECS: u32 = 60;
const SILENCE: Duration = Duration::from_secs(3 * INTERVAL_SECS as u64);
/// From the first byte of the head of a request to its last, or from the opening of the connection.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection stays open for another request.
const IDLE: Duration = Duration::from_secs(60);
/// From the first to the last chunk of a REGISTER.
const ASSEMBLY_WITHIN: Duration = Duration::from_secs(60);
/// HAVE_BATCHes of one membership: eight a second, and that many at once.
const BATCH_EVERY: Duration = Duration::from_millis(125);
const BATCHES_AT_ONCE: u32 = 32;

/// Queues that are kept for the next connection that sends, and bytes of each.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 4 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    /// The other end.
    pub(super) remote: SocketAddr,
    /// Who it is, once it said HELLO.
    pub(super) client: Option<Client>,
    pub(super) front: Front,
    /// Input that came before the connection was no longer read.
    pub(super) unread: Vec<u8>,
    /// Frames to send that the loop was not given.
    queue: Vec<u8>,
    /// Bytes to send that the loop has.
    out_bytes: usize,
    is_paused: bool,
    is_closing: bool,
    /// Requests that the helper works for.
    pub(super) in_flight: u8,
    /// The REGISTER that is arriving.
    pub(super) assembly: Option<Box<Assembly>>,
    /// A REGISTER that was refused before all of it had arrived.
    pub(super) refused: Option<u32>,
    opened_at: Time,
    heard_at: Time,
    progress_at: Time,
    /// Its entry in `deadlines`.
    due: Time,
    /// Per slot, when its HAVE_BATCHes so far would have come at the allowed pace.
    batch_times: Vec<Time>,
}

/// What is spoken on a connection, and what of it has arrived in part.
#[derive(Debug)]
pub(super) enum Front {
    /// Nothing has arrived.
    Unknown,
    Native(FrameDecoder),
    Http {
        decoder: HeadDecoder,
        /// Since when a head has been arriving.
        head_since: Option<Time>,
    },
    /// Lent to who reads it.
    Lent,
}

impl Front {
    /// What begins with this byte: the length of a native frame never begins with a letter.
    fn of(first: u8, opened_at: Time) -> Self {
        if first.is_ascii_uppercase() {
            Self::Http {
                decoder: HeadDecoder::default(),
                head_since: Some(opened_at),
            }
        } else {
            Self::Native(FrameDecoder::default())
        }
    }
}

/// An info dictionary that arrives in chunks.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) request_id: u32,
    /// Bytes of the whole.
    pub(super) total: u32,
    pub(super) bytes: Vec<u8>,
    begun_at: Time,
}

impl Assembly {
    /// One that begins now.
    pub(super) fn new(request_id: u32, total: u32, begun_at: Time) -> Box<Self> {
        Box::new(Self {
            request_id,
            total,
            bytes: Vec::new(),
            begun_at,
        })
    }
}

impl Conn {
    fn new(id: ConnId, remote: SocketAddr, now: Time) -> Self {
        Self {
            id,
            remote,
            client: None,
            front: Front::Unknown,
            unread: Vec::new(),
            queue: Vec::new(),
            out_bytes: 0,
            is_paused: false,
            is_closing: false,
            in_flight: 0,
            assembly: None,
            refused: None,
            opened_at: now,
            heard_at: now,
            progress_at: now,
            due: now + HELLO_WITHIN,
            batch_times: Vec::new(),
        }
    }

    fn backlog(&self) -> usize {
        self.queue.len() + self.out_bytes
    }

    /// Lends what has arrived in part, as what it is once `input` has come; nothing without input.
    pub(super) fn lend_front(&mut self, input: &[u8]) -> Front {
        if let (Front::Unknown, Some(&first)) = (&self.front, input.first()) {
            self.front = Front::of(first, self.opened_at);
        }
        std::mem::replace(&mut self.front, Front::Lent)
    }

    /// Whether it is closed at the end of this turn.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether more of its requests may be answered now.
    pub(super) fn may_read(&self) -> bool {
        !self.is_closing && self.backlog() <= BACKLOG_BYTES_MAX
    }

    /// Whether one more request may wait for the helper.
    pub(super) fn may_wait(&self) -> bool {
        usize::from(self.in_flight) < REQUESTS_IN_FLIGHT_MAX
    }

    /// Counts a HAVE_BATCH of `slot`, or says after how many milliseconds it may come.
    pub(super) fn take_batch(&mut self, slot: u32, now: Time) -> Result<(), u32> {
        let index = slot as usize;
        if index > SLOTS_PER_CLIENT_MAX {
            // There is no such slot, as the registry will say.
            return Ok(());
        }
        if index >= self.batch_times.len() {
            self.batch_times.resize(index + 1, Time::ZERO);
        }
        let time = self.batch_times[index].max(now);
        let ahead = time.since(now);
        if ahead >= BATCH_EVERY * BATCHES_AT_ONCE {
            return Err(BATCH_EVERY.as_millis() as u32);
        }
        self.batch_times[index] = time + BATCH_EVERY;
        Ok(())
    }

    /// When it is given up unless something happens, and why.
    fn deadline(&self) -> (Time, Closed) {
        let mut first = match self.front {
            Front::Http {
                head_since: Some(since),
                ..
            } => (since + HEAD_WITHIN, "a head took more than 10 s"),
            Front::Http { .. } => (self.heard_at + IDLE, "no request for 60 s"),
            _ if self.client.is_none() => (self.opened_at + HELLO_WITHIN, "no HELLO within 10 s"),
            _ => (self.heard_at + SILENCE, "silent for three intervals"),
        };
        if let Some(assembly) = &self.assembly {
            let at = assembly.begun_at + ASSEMBLY_WITHIN;
            first = first.min((at, "a REGISTER took more than 60 s"));
        }
        if self.is_paused {
            first = first.min((self.progress_at + STALL, "it read nothing for 30 s"));
        }
        (first.0, Closed::Fault(first.1))
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Conns {
    /// By the slot of their id.
    table: Vec<Option<Box<Conn>>>,
    /// The connection of each client, by the client's index.
    of_client: Vec<Option<ConnId>>,
    per_ip: BTreeMap<IpAddr, u32>,
    per_ip_max: u32,
    deadlines: BTreeSet<(Time, usize)>,
    commands: VecDeque<Command>,
    /// Empty queues.
    spares: Vec<Vec<u8>>,
}

impl Conns {
    /// No connections; an address may have `per_ip_max` of them, loopback any number.
    pub(super) fn new(per_ip_max: u32) -> Self {
        Self {
            table: Vec::new(),
            of_client: Vec::new(),
            per_ip: BTreeMap::new(),
            per_ip_max,
            deadlines: BTreeSet::new(),
            commands: VecDeque::new(),
            spares: Vec::new(),
        }
    }

    /// Takes a new connection, or says `false` because its address has too many.
    pub(super) fn open(&mut self, id: ConnId, remote: SocketAddr, now: Time) -> bool {
        let ip = remote.ip();
        if !ip.is_loopback() {
            let count = self.per_ip.entry(ip).or_default();
            if *count >= self.per_ip_max {
                return false;
            }
            *count += 1;
        }
        let conn = Box::new(Conn::new(id, remote, now));
        self.deadlines.insert((conn.due, id.slot()));
        if id.slot() >= self.table.len() {
            self.table.resize_with(id.slot() + 1, || None);
        }
        self.table[id.slot()] = Some(conn);
        true
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        self.get(id)?;
        let conn = self.table[id.slot()].take()?;
        self.deadlines.remove(&(conn.due, id.slot()));
        if let Some(count) = self.per_ip.get_mut(&conn.remote.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&conn.remote.ip());
            }
        }
        if let Some(client) = conn.client {
            self.of_client[client.index()] = None;
        }
        Some(conn)
    }

    /// The connection of this id, if it is still there.
    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        let conn = self.table.get(id.slot())?.as_deref()?;
        (conn.id == id).then_some(conn)
    }

    /// The connection of this id, if it is still there.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.table.get_mut(id.slot())?.as_deref_mut()?;
        (conn.id == id).then_some(conn)
    }

    /// The connection said HELLO.
    pub(super) fn greet(&mut self, id: ConnId, client: Client) {
        let Some(conn) = self.get_mut(id) else {
            return;
        };
        conn.client = Some(client);
        if client.index() >= self.of_client.len() {
            self.of_client.resize(client.index() + 1, None);
        }
        self.of_client[client.index()] = Some(id);
    }

    /// Something was heard from a connection.
    pub(super) fn heard(&mut self, id: ConnId, now: Time) {
        if let Some(conn) = self.get_mut(id) {
            conn.heard_at = now;
        }
    }

    /// Queues a frame that `put` appends.
    pub(super) fn send(&mut self, id: ConnId, put: impl FnOnce(&mut Vec<u8>)) {
        let conn = self.table.get_mut(id.slot()).and_then(Option::as_deref_mut);
        let Some(conn) = conn.filter(|conn| conn.id == id && !conn.is_closing) else {
            return;
        };
        if conn.queue.capacity() == 0 {
            conn.queue = self.spares.pop().unwrap_or_default();
        }
        put(&mut conn.queue);
        self.commands.push_back(Command::Dirty(id));
    }

    /// The connection of a client.
    pub(super) fn of(&self, client: Client) -> Option<ConnId> {
        self.of_client.get(client.index()).copied().flatten()
    }

    /// Queues a push for a client, unless it has too much to read already.
    pub(super) fn push(&mut self, client: Client, put: impl FnOnce(&mut Vec<u8>)) {
        if let Some(id) = self.of(client)
            && self.get(id).is_some_and(Conn::may_read)
        {
            self.send(id, put);
        }
    }

    /// Closes a connection after what is queued for it.
    pub(super) fn close(&mut self, id: ConnId, why: Closed) {
        if let Some(conn) = self.get_mut(id) {
            conn.is_closing = true;
            self.commands.push_back(Command::Close(id, why));
        }
    }

    /// Stops reading a connection that has too much to send; `rest` is input that already came.
    pub(super) fn pause(&mut self, id: ConnId, rest: &[u8], now: Time) {
        if let Some(conn) = self.get_mut(id) {
            conn.unread = rest.to_vec();
            if !conn.is_paused {
                (conn.is_paused, conn.progress_at) = (true, now);
            }
            self.rearm(id);
        }
    }

    /// Whether nothing is to be read from a connection now.
    pub(super) fn is_paused(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|conn| conn.is_paused)
    }

    /// Gives the loop what is queued, as soon as it has room for more.
    pub(super) fn refill(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(conn) = self.get_mut(id) else {
            return;
        };
        let queue = if out.wants_bulk() {
            std::mem::take(&mut conn.queue)
        } else {
            Vec::new()
        };
        out.control(&queue);
        conn.out_bytes = out.len();
        self.spare(queue);
    }

    /// Keeps the memory of a queue for the next connection that has something to send: an idle one holds none.
    fn spare(&mut self, mut queue: Vec<u8>) {
        let is_small = (1..=SPARE_BYTES_MAX).contains(&queue.capacity());
        if is_small && self.spares.len() < SPARES_MAX {
            queue.clear();
            self.spares.push(queue);
        }
    }

    /// Bytes left for the other end. Returns the input that waited, if its connection may be read again.
    pub(super) fn sent(&mut self, id: ConnId, count: usize, now: Time) -> Option<Vec<u8>> {
        let conn = self.get_mut(id)?;
        conn.out_bytes = conn.out_bytes.saturating_sub(count);
        conn.progress_at = now;
        if !conn.is_paused || !conn.may_read() {
            return None;
        }
        conn.is_paused = false;
        conn.heard_at = now;
        let unread = std::mem::take(&mut conn.unread);
        self.commands.push_back(Command::Resume(id));
        Some(unread)
    }

    /// Makes sure that a connection is looked at by its deadline.
    pub(super) fn rearm(&mut self, id: ConnId) {
        if let Some(conn) = self.get_mut(id) {
            let (old, new) = (conn.due, conn.deadline().0.min(conn.due));
            conn.due = new;
            self.deadlines.remove(&(old, id.slot()));
            self.deadlines.insert((new, id.slot()));
        }
    }

    /// Gives back what was lent of a connection, and makes sure that it is looked at in time.
    pub(super) fn keep_front(&mut self, id: ConnId, front: Front) {
        if let Some(conn) = self.get_mut(id) {
            let is_urgent = matches!(front, Front::Http { head_since: Some(since), .. }
                if since + HEAD_WITHIN < conn.due);
            conn.front = front;
            if is_urgent {
                self.rearm(id);
            }
        }
    }

    /// When a connection must be looked at next.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Looks at the connections whose moment has come, and closes those that are given up.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        while let Some(&(at, slot)) = self.deadlines.first() {
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(conn) = &mut self.table[slot] else {
                continue;
            };
            let (deadline, why) = conn.deadline();
            // One that is being closed is gone by the end of this turn; another is looked at again.
            conn.due = if deadline <= now {
                now + SILENCE
            } else {
                deadline
            };
            self.deadlines.insert((conn.due, slot));
            if deadline <= now {
                let id = conn.id;
                self.close(id, why);
            }
        }
    }

    /// Asks the loop to stop.
    pub(super) fn stop(&mut self) {
        self.commands.push_back(Command::Stop);
    }

    /// The next command for the loop.
    pub(super) fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;
    use crate::registry::{Caller, Config, Registry};

    fn id(slot: u32) -> ConnId {
        ConnId::for_test(slot, 1)
    }

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn remote(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 4000))
    }

    /// A client of some registry.
    fn client() -> Client {
        Registry::new(Config::new(1)).connect(Caller {
            peer_id: PeerId([1; 20]),
            source: remote(1).ip(),
            listens_at: &[],
            host: "",
            zone: "",
        })
    }

    /// One connection that said HELLO at zero.
    fn greeted() -> Conns {
        let mut conns = Conns::new(10);
        assert!(conns.open(id(0), remote(1), Time::ZERO));
        conns.greet(id(0), client());
        conns
    }

    /// When the connection is closed if nothing more happens, and why.
    fn end(conns: &mut Conns) -> (Time, String) {
        loop {
            let now = conns
                .next_deadline()
                .expect("every connection has a deadline");
            conns.handle_timeout(now);
            while let Some(command) = conns.poll_command() {
                if let Command::Close(_, why) = command {
                    return (now, why.to_string());
                }
            }
        }
    }

    #[test]
    fn who_does_not_say_hello_is_closed_after_ten_seconds_whatever_else_it_says() {
        let mut conns = Conns::new(10);
        assert!(conns.open(id(0), remote(1), at(5)));
        conns.heard(id(0), at(14));
        assert_eq!(end(&mut conns), (at(15), "no HELLO within 10 s".into()));
    }

    fn http(head_since: Option<Time>) -> Front {
        Front::Http {
            decoder: HeadDecoder::default(),
            head_since,
        }
    }

    #[test]
    fn a_slow_head_is_closed_after_ten_seconds_and_an_idle_connection_after_sixty() {
        let mut conns = Conns::new(10);
        assert!(conns.open(id(0), remote(1), at(5)));
        let front = conns.get_mut(id(0)).expect("open").lend_front(b"G");
        conns.keep_front(id(0), front);
        conns.heard(id(0), at(14));
        let slow = (at(15), "a head took more than 10 s".into());
        assert_eq!(end(&mut conns), slow);

        assert!(conns.open(id(1), remote(1), at(20)));
        conns.keep_front(id(1), http(None));
        conns.heard(id(1), at(100));
        let mut idle = Conns::new(10);
        std::mem::swap(&mut conns, &mut idle);
        assert!(idle.remove(id(0)).is_some());
        assert_eq!(end(&mut idle), (at(160), "no request for 60 s".into()));
    }

    #[test]
    fn a_head_that_begins_late_has_ten_seconds_too() {
        let mut conns = Conns::new(10);
        assert!(conns.open(id(0), remote(1), at(0)));
        conns.keep_front(id(0), http(None));
        conns.heard(id(0), at(50));
        conns.handle_timeout(at(10));
        conns.keep_front(id(0), http(Some(at(50))));
        assert_eq!(end(&mut conns).0, at(60));
    }

    #[test]
    fn the_first_byte_tells_what_is_spoken() {
        for (first, is_http) in [
            (0, false),
            (b'G', true),
            (b'P', true),
            (0x13, false),
            (b'g', false),
        ] {
            let front = Front::of(first, at(0));
            assert_eq!(matches!(front, Front::Http { .. }), is_http, "{first}");
        }
    }

    #[test]
    fn who_is_silent_for_three_intervals_is_closed() {
        let mut conns = greeted();
        conns.heard(id(0), at(100));
        assert_eq!(end(&mut conns).0, at(280));
    }

    #[test]
    fn a_register_that_never_ends_is_closed() {
        let mut conns = greeted();
        conns.get_mut(id(0)).expect("open").assembly = Some(Assembly::new(1, 100, at(20)));
        conns.rearm(id(0));
        conns.heard(id(0), at(79));
        assert_eq!(end(&mut conns).0, at(80));
    }

    #[test]
    fn who_reads_nothing_is_not_read_and_then_closed() {
        let mut conns = greeted();
        let mut out = Outbox::default();
        let frame = vec![0; 100 << 10];
        conns.send(id(0), |queue| queue.extend_from_slice(&frame));
        conns.refill(id(0), &mut out);
        assert!(conns.get(id(0)).expect("open").may_read());
        for _ in 0..3 {
            conns.send(id(0), |queue| queue.extend_from_slice(&frame));
        }
        assert!(!conns.get(id(0)).expect("open").may_read());
        conns.pause(id(0), b"more", at(10));
        assert!(conns.is_paused(id(0)));
        let queued = conns.get(id(0)).expect("open").backlog();
        conns.push(client(), |queue| queue.push(1));
        assert_eq!(
            conns.get(id(0)).expect("open").backlog(),
            queued,
            "pushes are dropped"
        );
        out.consume(10);
        assert_eq!(conns.sent(id(0), 10, at(25)), None);
        assert_eq!(end(&mut conns).0, at(55));
    }

    #[test]
    fn who_reads_again_is_read_again() {
        let mut conns = greeted();
        let mut out = Outbox::default();
        conns.send(id(0), |queue| queue.resize(300 << 10, 0));
        conns.refill(id(0), &mut out);
        conns.pause(id(0), b"more", at(10));
        out.consume(100 << 10);
        let unread = conns.sent(id(0), 100 << 10, at(12));
        assert_eq!(unread.as_deref(), Some(&b"more"[..]));
        assert!(!conns.is_paused(id(0)));
        let commands = std::iter::from_fn(|| conns.poll_command());
        assert!(
            commands
                .into_iter()
                .any(|command| matches!(command, Command::Resume(_)))
        );
        assert_eq!(end(&mut conns).0, at(192));
    }

    #[test]
    fn an_address_has_a_limit_and_loopback_has_none() {
        let mut conns = Conns::new(2);
        assert!(conns.open(id(0), remote(1), Time::ZERO));
        assert!(conns.open(id(1), remote(1), Time::ZERO));
        assert!(!conns.open(id(2), remote(1), Time::ZERO));
        assert!(conns.open(id(2), remote(2), Time::ZERO));
        assert!(conns.remove(id(0)).is_some());
        assert!(conns.remove(id(0)).is_none());
        assert!(conns.open(id(0), remote(1), Time::ZERO));
        for slot in 10..20 {
            assert!(conns.open(id(slot), ([127, 0, 0, 1], 5).into(), Time::ZERO));
        }
    }

    #[test]
    fn a_stale_id_misses() {
        let mut conns = greeted();
        assert!(conns.remove(id(0)).is_some());
        assert!(conns.open(ConnId::for_test(0, 2), remote(1), Time::ZERO));
        assert!(conns.get(id(0)).is_none());
        conns.close(id(0), Closed::End);
        assert!(conns.poll_command().is_none());
    }

    #[test]
    fn eight_batches_a_second_go_on_for_ever_and_nine_do_not() {
        let mut conns = greeted();
        let conn = conns.get_mut(id(0)).expect("open");
        let mut refused = |slot, per_second: u64| {
            let times = (0..1000).map(|n| Time::from_nanos(n * 1_000_000_000 / per_second));
            times
                .filter(|&time| conn.take_batch(slot, time).is_err())
                .count()
        };
        assert_eq!(refused(1, 8), 0);
        assert!(refused(2, 9) > 50);
        assert_eq!(
            refused(u32::MAX, 9),
            0,
            "no memory for a slot that cannot be"
        );
    }
}
