//! The poll loop: sockets of TCP and UDP, readiness, and nothing of what their bytes mean.
//!
//! One turn is nine phases, always in this order: wait; read the clock; mark what is ready; accept; read the ready conns, each
//! up to a budget; completions; timers, in every turn in which one is due; commands, then output of the dirty conns; closing.
//! A conn is read in the turn that accepts it, and registered at the end of that turn if it stays.
//!
//! Invariants:
//! 1. The poll is edge-triggered, so an edge is remembered until the system call says that nothing is left. What a budget
//!    cut off stays on a list of ours, and while a list is not empty the loop does not sleep.
//! 2. What may not go on (no budget, too many conns, no descriptors) is parked: on no list, so nothing spins, with its edge
//!    unread, so nothing is lost.
//! 3. Events are hints; only results of system calls decide.
//! 4. A conn is closed in the last phase alone, and every conn that the service accepted ends in exactly one `closed`.
//! 5. Nothing ticks: without events and deadlines the loop sleeps.

mod conn;
mod conns;
mod datagrams;
mod dial;
mod limits;
mod listen;
mod outbox;
mod service;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::base::Time;
use conn::{Moved, Turn};
use conns::Conns;
use datagrams::{Datagrams, Outgoing};
use dial::{Dial, DialDeadlines, FailedDial, Progress};
use listen::{Accepted, Listener};
use outbox::Spares;

pub use limits::{Limits, raise_nofile_limit};
pub use outbox::Outbox;
pub use service::{Admission, Closed, Command, ConnId, Direction, Origin, Service, Signal};
pub use signals::Signals;

/// Tokens from here on are not conns: the slot of a conn is never that high.
const TOKEN_RESERVED_MIN: usize = usize::MAX - 2 * LISTENERS_MAX - 4;
const TOKEN_WAKER: Token = Token(usize::MAX);
const TOKEN_SIGNALS: Token = Token(usize::MAX - 1);
const TOKEN_LISTENER_FIRST: usize = usize::MAX - 2;
const TOKEN_DATAGRAMS_FIRST: usize = TOKEN_LISTENER_FIRST - LISTENERS_MAX;

/// Listeners of one loop, and as many UDP sockets; two more send for [`Command::SendTo`].
const LISTENERS_MAX: usize = 1024;
/// How often a free TCP port is looked for whose number is free for UDP as well.
const BOTH_ATTEMPTS_MAX: usize = 16;

/// Events taken from one poll; more wait for the next turn.
const EVENTS_MAX: usize = 1024;

/// The one buffer that all conns read into what has no place yet.
const SCRATCH_BYTES: usize = 128 << 10;

const _: () = assert!(usize::BITS >= 64, "a token holds a slot and a generation");

/// The loop, its listeners and its conns.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    signals: Signals,
    listeners: Vec<Listener>,
    /// UDP sockets: those that are listened on, and those that send for [`Command::SendTo`].
    datagrams: Vec<Datagrams>,
    outgoing: Outgoing,
    conns: Conns,
    /// Conns that were accepted in this turn, of which the poll does not know yet.
    fresh: Vec<ConnId>,
    dial_deadlines: DialDeadlines,
    /// Dials that failed at once; the service is told at the end of the turn.
    failed_dials: Vec<FailedDial>,
    spares: Spares,
    scratch: Box<[u8]>,
    limits: Limits,
    origin: Instant,
    /// The clock reading of this turn.
    turn_now: Time,
    turns: u64,
    woken: bool,
    signalled: bool,
    stopping: bool,
    /// A command that was found after the commands of its turn were done.
    held: Option<Command>,
}

impl Reactor {
    /// A loop with no listeners. SIGINT and SIGTERM are blocked in this thread and in those it starts from now on: start the
    /// others afterwards, or call [`Signals::block`] before.
    ///
    /// # Errors
    /// What the system says when it gives no poll, waker or signal descriptor.
    pub fn new(limits: Limits) -> io::Result<Self> {
        assert!(
            limits.conns_max < u32::MAX as usize - 2 * LISTENERS_MAX - 4,
            "a slot has 32 bits"
        );
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), TOKEN_WAKER)?);
        let signals = Signals::open()?;
        poll.registry().register(
            &mut SourceFd(&signals.descriptor()),
            TOKEN_SIGNALS,
            Interest::READABLE,
        )?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            waker,
            signals,
            listeners: Vec::new(),
            datagrams: Vec::new(),
            outgoing: Outgoing::default(),
            conns: Conns::default(),
            fresh: Vec::new(),
            dial_deadlines: DialDeadlines::default(),
            failed_dials: Vec::new(),
            spares: Spares::default(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            limits,
            origin: Instant::now(),
            turn_now: Time::ZERO,
            turns: 0,
            woken: false,
            signalled: false,
            stopping: false,
            held: None,
        })
    }

    /// Listens on `addr` and returns the address that it became: port 0 is any free one, `[::]` takes IPv4 as well.
    ///
    /// # Errors
    /// `AddrInUse` if anything listens there already, whoever it belongs to; every error names the address.
    pub fn listen(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        self.add_listener(Listener::bind(addr)?)
    }

    /// Takes datagrams on `addr`, whose port must be a number: with SO_REUSEPORT two sockets could be given the same free
    /// one. `[::]` takes IPv4 as well.
    ///
    /// # Errors
    /// `AddrInUse` if anything has that port already, whoever it belongs to; every error names the address.
    pub fn listen_udp(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let socket = Datagrams::bind(addr)?;
        let local = socket.local;
        self.add_datagrams(socket)?;
        Ok(local)
    }

    /// Both on one number; of port 0, on a number that is free for both.
    ///
    /// # Errors
    /// Those of [`Self::listen`] and [`Self::listen_udp`].
    pub fn listen_both(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let mut attempts_left = BOTH_ATTEMPTS_MAX;
        loop {
            let listener = Listener::bind(addr)?;
            attempts_left -= 1;
            match Datagrams::bind(listener.local) {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && addr.port() == 0
                        && attempts_left > 0 => {}
                outcome => {
                    self.add_datagrams(outcome?)?;
                    return self.add_listener(listener);
                }
            }
        }
    }

    fn add_datagrams(&mut self, mut socket: Datagrams) -> io::Result<usize> {
        let index = self.datagrams.len();
        assert!(index < LISTENERS_MAX + 2, "a few sockets are enough");
        let token = Token(TOKEN_DATAGRAMS_FIRST - index);
        self.poll
            .registry()
            .register(&mut socket.socket, token, Interest::READABLE)?;
        self.datagrams.push(socket);
        Ok(index)
    }

    fn add_listener(&mut self, mut listener: Listener) -> io::Result<SocketAddr> {
        assert!(
            self.listeners.len() < LISTENERS_MAX,
            "a few listeners are enough"
        );
        let token = Token(TOKEN_LISTENER_FIRST - self.listeners.len());
        self.poll
            .registry()
            .register(&mut listener.socket, token, Interest::READABLE)?;
        let local = listener.local;
        self.listeners.push(listener);
        Ok(local)
    }

    /// The addresses that are listened on.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.local)
    }

    /// Conns open or being dialled.
    pub fn conns(&self) -> usize {
        self.conns.len()
    }

    /// Turns taken. An idle loop takes none.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The time now, on the clock that the service is told.
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// A function that any thread may call, so that `completions` is called soon. Calls that come close together count as one.
    pub fn wake_handle(&self) -> Arc<dyn Fn() + Send + Sync> {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || {
            if let Err(error) = waker.wake() {
                log::error!("cannot wake the loop: {error}");
            }
        })
    }

    /// Runs until [`Command::Stop`]; all conns are then closed. Listeners stay, and `run` may be called again.
    ///
    /// # Errors
    /// Only what the poll or the signal descriptor itself says. Conns and listeners fail on their own.
    pub fn run<V: Service>(&mut self, service: &mut V) -> io::Result<()> {
        self.stopping = false;
        while !self.stopping {
            self.turn(service)?;
        }
        self.held = None;
        Ok(())
    }

    /// The nine phases.
    fn turn<V: Service>(&mut self, service: &mut V) -> io::Result<()> {
        self.wait(service)?;
        self.turns += 1;
        self.turn_now = self.now();
        self.mark();
        self.accept(service);
        self.pump(service);
        if std::mem::take(&mut self.woken) {
            service.completions(self.turn_now);
        }
        self.timers(service)?;
        self.commands(service);
        self.flush(service);
        self.welcome();
        self.close(service);
        Ok(())
    }

    /// Phase 1: sleeps until an event, the next deadline, or not at all if there is work left.
    fn wait<V: Service>(&mut self, service: &mut V) -> io::Result<()> {
        // The last phase of the turn before may have given the service something to ask for.
        if self.held.is_none() {
            self.held = service.poll_command();
        }
        let timeout = self.timeout(service);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn timeout<V: Service>(&mut self, service: &V) -> Option<Duration> {
        let busy = self.held.is_some()
            || self.conns.ready_len() > 0
            || self.conns.dirty_len() > 0
            || self.listeners.iter().any(Listener::is_ready)
            || self.datagrams.iter().any(|socket| socket.unread);
        if busy {
            return Some(Duration::ZERO);
        }
        let retry = self.listeners.iter().filter_map(Listener::retry_at).min();
        let dial = self.dial_deadlines.next(&mut self.conns);
        let next = [service.poll_timeout(), retry, dial]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.since(self.now()))
    }

    /// Phase 3: notes what the events hint at.
    fn mark(&mut self) {
        for event in &self.events {
            match event.token() {
                TOKEN_WAKER => self.woken = true,
                TOKEN_SIGNALS => self.signalled = true,
                Token(token) if token > TOKEN_DATAGRAMS_FIRST => {
                    self.listeners[TOKEN_LISTENER_FIRST - token].unread = true;
                }
                Token(token) if token > TOKEN_RESERVED_MIN => {
                    self.datagrams[TOKEN_DATAGRAMS_FIRST - token].unread = true;
                }
                _ => self.conns.note(event),
            }
        }
    }

    /// Phase 4: accepts, from each listener in its turn.
    fn accept<V: Service>(&mut self, service: &mut V) {
        let mut left = self.limits.accepts_max;
        for offset in 0..self.listeners.len() {
            let index = (self.turns as usize + offset) % self.listeners.len();
            while left > 0 && self.listeners[index].is_ready() {
                left -= 1;
                if self.conns.len() >= self.limits.conns_max {
                    self.listeners[index].park_full();
                } else if let Accepted::Conn(stream, remote) =
                    self.listeners[index].accept(self.turn_now)
                {
                    self.admit(service, stream, remote);
                }
            }
        }
    }

    /// Offers an accepted conn to the service, and has it read in this turn: who connects has most often asked already,
    /// and may be answered and gone before the poll need ever hear of the conn.
    fn admit<V: Service>(&mut self, service: &mut V, stream: TcpStream, remote: SocketAddr) {
        let from = Origin::Accepted {
            remote: canonical(remote),
        };
        let id = self.conns.next_id();
        if service.opened(self.turn_now, id, from) == Admission::Refuse {
            return;
        }
        self.conns.insert(stream, None);
        self.conns.expect_input(id);
        self.fresh.push(id);
    }

    /// Makes the accepted conns that stay known to the poll, which then tells of whatever has come meanwhile.
    fn welcome(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for id in fresh.drain(..) {
            if self.conns.of(id).is_some_and(|conn| !conn.doomed)
                && let Err(error) = self.register(id)
            {
                self.conns.doom(id, Closed::Failed(error));
            }
        }
        self.fresh = fresh;
    }

    fn register(&mut self, id: ConnId) -> io::Result<()> {
        let conn = self.conns.of(id).expect("it is there");
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut conn.stream, conns::token(id), both)
    }

    /// Phase 5: reads every UDP socket and every conn that was ready when the phase began, once.
    fn pump<V: Service>(&mut self, service: &mut V) {
        for socket in self.datagrams.iter_mut().filter(|socket| socket.unread) {
            let count_max = self.limits.datagrams_max;
            socket.pump(self.turn_now, service, &mut self.scratch, count_max);
        }
        for _ in 0..self.conns.ready_len() {
            let Some(id) = self.conns.next_ready() else {
                return;
            };
            if !self.is_open(id, service) {
                continue;
            }
            let turn = Turn {
                now: self.turn_now,
                limits: &self.limits,
            };
            let Some(conn) = self.conns.of(id).filter(|conn| conn.is_ready()) else {
                continue;
            };
            match conn.pump_in(&turn, id, service, &mut self.scratch) {
                Moved::Waits => {}
                Moved::CutOff => self.conns.list_ready(id),
                Moved::Over(why) => self.conns.doom(id, why),
            }
        }
    }

    /// Whether the conn is open, perhaps only just now: a dial that has an event is looked at here.
    fn is_open<V: Service>(&mut self, id: ConnId, service: &mut V) -> bool {
        let Some(conn) = self.conns.of(id) else {
            return false;
        };
        let Some(dial) = conn.dial.as_deref().copied() else {
            return true;
        };
        match dial::progress(&conn.stream) {
            Progress::Pending => false,
            Progress::Failed(error) => {
                self.fail_dial(id, error);
                false
            }
            Progress::Open { remote, local } => {
                conn.dial = None;
                let from = Origin::Dialled {
                    remote,
                    local,
                    tag: dial.tag,
                };
                let kept = service.opened(self.turn_now, id, from) == Admission::Accept;
                if !kept {
                    self.release(id);
                }
                kept
            }
        }
    }

    /// Phase 7: timers that are due, ours and the service's, and signals.
    fn timers<V: Service>(&mut self, service: &mut V) -> io::Result<()> {
        for listener in &mut self.listeners {
            listener.resume_due(self.turn_now);
        }
        while let Some(id) = self.dial_deadlines.take_due(self.turn_now, &mut self.conns) {
            self.fail_dial(id, io::ErrorKind::TimedOut.into());
        }
        if std::mem::take(&mut self.signalled) {
            while let Some(signal) = self.signals.next()? {
                service.signal(self.turn_now, signal);
            }
        }
        if service.poll_timeout().is_some_and(|at| at <= self.turn_now) {
            service.handle_timeout(self.turn_now);
        }
        Ok(())
    }

    /// Phase 8, first half: does what the service asks for. Nothing here calls the service, so its commands come to an end.
    fn commands<V: Service>(&mut self, service: &mut V) {
        while let Some(command) = self.held.take().or_else(|| service.poll_command()) {
            match command {
                Command::Connect { addr, tag } => self.connect(Dial { addr, tag }),
                Command::Close(id, why) => self.conns.doom(id, why),
                Command::Dirty(id) => self.conns.ask(id),
                Command::Resume(id) => self.conns.resume(id),
                Command::SendTo { to, bytes } => self.send_to(to, &bytes),
                Command::Stop => self.stopping = true,
            }
        }
        if self.stopping {
            for id in self.conns.ids() {
                self.conns.ask(id);
            }
        }
    }

    /// Sends a datagram from the socket of its family, which is opened for the first one.
    fn send_to(&mut self, to: SocketAddr, bytes: &[u8]) {
        let place = if to.is_ipv4() { 0 } else { 1 };
        let index = match self.outgoing[place] {
            Some(index) => Ok(index),
            None => Datagrams::unbound(to).and_then(|socket| self.add_datagrams(socket)),
        };
        match index {
            Ok(index) => {
                self.outgoing[place] = Some(index);
                self.datagrams[index].send(to, bytes);
            }
            Err(error) => log::warn!("no UDP socket to reach {to}: {error}"),
        }
    }

    /// Starts a dial from whatever address and port the system chooses.
    fn connect(&mut self, dial: Dial) {
        if self.conns.len() >= self.limits.conns_max {
            let error = io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "as many connections as allowed are open",
            );
            self.failed_dials.push(FailedDial { dial, error });
            return;
        }
        let connecting = TcpStream::connect(dial.addr);
        match connecting.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => {
                let id = self.conns.insert(stream, Some(dial));
                self.dial_deadlines
                    .push(self.turn_now + self.limits.connect_timeout, id);
                if let Err(error) = self.register(id) {
                    self.fail_dial(id, error);
                }
            }
            Err(error) => self.failed_dials.push(FailedDial { dial, error }),
        }
    }

    /// Gives a dial up; the service is told at the end of the turn.
    fn fail_dial(&mut self, id: ConnId, error: io::Error) {
        if let Some(dial) = self.conns.of(id).and_then(|conn| conn.dial.take()) {
            self.release(id);
            self.failed_dials.push(FailedDial { dial: *dial, error });
        }
    }

    /// Phase 8, second half: asks each dirty conn for output and sends it.
    fn flush<V: Service>(&mut self, service: &mut V) {
        for _ in 0..self.conns.dirty_len() {
            let Some(id) = self.conns.next_dirty() else {
                return;
            };
            let turn = Turn {
                now: self.turn_now,
                limits: &self.limits,
            };
            let Some(conn) = self.conns.of(id) else {
                continue;
            };
            match conn.flush(&turn, id, service, &mut self.spares) {
                Moved::Waits => {}
                Moved::CutOff => self.conns.list_dirty(id),
                Moved::Over(why) => self.conns.doom(id, why),
            }
        }
    }

    /// Phase 9: closes what is to be closed, and tells of dials that failed.
    fn close<V: Service>(&mut self, service: &mut V) {
        if self.stopping {
            for id in self.conns.ids() {
                self.fail_dial(id, io::ErrorKind::Interrupted.into());
                self.conns.doom(id, Closed::Local("the program stops"));
            }
        }
        for (id, why) in self.conns.take_doomed() {
            self.release(id);
            service.closed(self.turn_now, id, why);
        }
        for FailedDial { dial, error } in std::mem::take(&mut self.failed_dials) {
            service.dial_failed(self.turn_now, dial.addr, dial.tag, error);
        }
    }

    /// Closes the socket of a conn and frees its slot, which gives parked listeners a new chance.
    fn release(&mut self, id: ConnId) {
        // Closing the socket takes it out of the poll: it has no other descriptor.
        if self.conns.remove(id).is_none() {
            return;
        }
        for listener in &mut self.listeners {
            listener.resume();
        }
    }
}

/// An IPv4 address that came through an IPv6 socket, as IPv4.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, addr.port()),
        _ => addr,
    }
}
