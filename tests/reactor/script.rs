//! A service that logs what happens to it and lets a closure decide what to do: the other half of every test here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shoal::base::Time;
use shoal::reactor::{
    Admission, Closed, Command, ConnId, Direction, Limits, Origin, Outbox, Reactor, Service, Signal,
};

/// A test that is not over after this long hangs.
const GUARD: Duration = Duration::from_secs(60);

/// One thing that the loop told its service.
#[derive(Debug)]
pub(crate) enum Happening {
    Opened(ConnId, Origin),
    DialFailed(SocketAddr, u64, io::Error),
    /// Bytes that came by `landing`.
    Landed(ConnId, Vec<u8>),
    /// Bytes that came by the scratch buffer.
    Received(ConnId, Vec<u8>),
    Sent(ConnId, usize),
    Closed(ConnId, Closed),
    /// A datagram: the socket that it came to, whence, and what it says.
    Datagram(SocketAddr, SocketAddr, Vec<u8>),
    Woken,
    Signal(Signal),
    Timeout(Time),
}

/// What a script can set.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) commands: VecDeque<Command>,
    pub(crate) deadline: Option<Time>,
    /// Where the next bytes land; emptied from the front as they do.
    pub(crate) landing: Vec<u8>,
    /// Bytes that `refill` queues, all in one go.
    pub(crate) output: HashMap<ConnId, Vec<u8>>,
    /// The budget of every conn, in both directions.
    pub(crate) budget: Option<usize>,
    /// Conns that are not read from.
    pub(crate) deaf: HashSet<ConnId>,
    pub(crate) refuse: bool,
    /// What the next datagram is answered.
    pub(crate) reply: Vec<u8>,
    /// What the next `received` answers.
    pub(crate) fault: Option<Closed>,
    /// Conns open, by the service's own count.
    pub(crate) open: Vec<ConnId>,
    pub(crate) closings: usize,
    pub(crate) refills: usize,
}

impl Host {
    /// Queues `bytes` for `conn`.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.output
            .entry(conn)
            .or_default()
            .extend_from_slice(bytes);
        self.commands.push_back(Command::Dirty(conn));
    }

    pub(crate) fn stop(&mut self) {
        self.commands.push_back(Command::Stop);
    }

    pub(crate) fn close(&mut self, conn: ConnId, why: &'static str) {
        self.commands
            .push_back(Command::Close(conn, Closed::Local(why)));
    }

    pub(crate) fn connect(&mut self, addr: SocketAddr, tag: u64) {
        self.commands.push_back(Command::Connect { addr, tag });
    }

    pub(crate) fn resume(&mut self, conn: ConnId) {
        self.commands.push_back(Command::Resume(conn));
    }
}

struct Scripted<F> {
    host: Host,
    script: F,
    guard: Time,
}

impl<F: FnMut(&mut Host, Happening)> Scripted<F> {
    fn tell(&mut self, happening: Happening) {
        (self.script)(&mut self.host, happening);
    }
}

/// Runs `script` until it stops the loop, and gives back what it left behind.
pub(crate) fn run(
    reactor: &mut Reactor,
    host: Host,
    script: impl FnMut(&mut Host, Happening),
) -> Host {
    let mut scripted = Scripted {
        host,
        script,
        guard: reactor.now() + GUARD,
    };
    reactor.run(&mut scripted).expect("the poll works");
    assert!(
        scripted.host.open.is_empty(),
        "every conn that was accepted is closed"
    );
    assert_eq!(reactor.conns(), 0);
    scripted.host
}

/// A loop that listens on a free port.
pub(crate) fn listening(limits: Limits) -> (Reactor, SocketAddr) {
    let mut reactor = Reactor::new(limits).expect("a loop");
    let addr = reactor
        .listen("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    (reactor, addr)
}

/// Bytes that show any loss, repetition or exchange.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut rng = shoal::base::Rng::new(len as u64);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

impl<F: FnMut(&mut Host, Happening)> Service for Scripted<F> {
    fn opened(&mut self, _now: Time, conn: ConnId, from: Origin) -> Admission {
        self.tell(Happening::Opened(conn, from));
        if std::mem::take(&mut self.host.refuse) {
            return Admission::Refuse;
        }
        self.host.open.push(conn);
        Admission::Accept
    }

    fn dial_failed(&mut self, _now: Time, addr: SocketAddr, tag: u64, error: io::Error) {
        self.tell(Happening::DialFailed(addr, tag, error));
    }

    fn landing(&mut self, _conn: ConnId) -> Option<&mut [u8]> {
        Some(&mut self.host.landing[..]).filter(|slice| !slice.is_empty())
    }

    fn landed(&mut self, _now: Time, conn: ConnId, count: usize) -> Result<(), Closed> {
        let bytes = self.host.landing.drain(..count).collect();
        self.tell(Happening::Landed(conn, bytes));
        Ok(())
    }

    fn received(&mut self, _now: Time, conn: ConnId, bytes: &[u8]) -> Result<(), Closed> {
        assert!(self.host.open.contains(&conn), "bytes of a closed conn");
        self.tell(Happening::Received(conn, bytes.to_vec()));
        self.host.fault.take().map_or(Ok(()), Err)
    }

    fn refill(&mut self, _now: Time, conn: ConnId, out: &mut Outbox) {
        self.host.refills += 1;
        if let Some(bytes) = self.host.output.remove(&conn) {
            out.control(&bytes);
        }
    }

    fn sent(&mut self, _now: Time, conn: ConnId, count: usize) {
        self.tell(Happening::Sent(conn, count));
    }

    fn closed(&mut self, _now: Time, conn: ConnId, why: Closed) {
        let at = self.host.open.iter().position(|open| *open == conn);
        self.host
            .open
            .remove(at.expect("closed once, and only if accepted"));
        self.host.closings += 1;
        self.tell(Happening::Closed(conn, why));
    }

    fn datagram(
        &mut self,
        _now: Time,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        reply: &mut Vec<u8>,
    ) {
        assert!(reply.is_empty(), "what is left of another reply");
        self.tell(Happening::Datagram(local, from, bytes.to_vec()));
        reply.append(&mut self.host.reply);
    }

    fn completions(&mut self, _now: Time) {
        self.tell(Happening::Woken);
    }

    fn signal(&mut self, _now: Time, signal: Signal) {
        self.tell(Happening::Signal(signal));
    }

    fn handle_timeout(&mut self, now: Time) {
        assert!(now < self.guard, "the script never came to its end");
        if self.host.deadline.is_some_and(|at| at <= now) {
            self.host.deadline = None;
            self.tell(Happening::Timeout(now));
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        Some(self.host.deadline.unwrap_or(Time::MAX).min(self.guard))
    }

    fn budget(&mut self, _: Time, conn: ConnId, direction: Direction) -> usize {
        if direction == Direction::In && self.host.deaf.contains(&conn) {
            return 0;
        }
        self.host.budget.unwrap_or(usize::MAX)
    }

    fn poll_command(&mut self) -> Option<Command> {
        self.host.commands.pop_front()
    }
}
