//! One conn: its socket, what it has yet to send, and how far its two directions are.
//!
//! A direction is *idle* (no edge is unread), *ready* (on a list of the loop) or *parked* (its budget is 0; the unread edge
//! is remembered, and it is on no list). An edge counts as read when the system moved fewer bytes than it was asked to, which
//! epoll(7) allows for streams; once the other end is known to have finished, only an end or WouldBlock counts.

use std::io::{self, IoSliceMut, Read, Write};

use mio::event::Event;
use mio::net::TcpStream;

use super::dial::Dial;
use super::limits::Limits;
use super::outbox::{Outbox, Spares};
use super::service::{Closed, ConnId, Direction, Service};
use crate::base::Time;

/// Bytes read beside a landing: enough for the next header and small messages, so that the block after it lands in place too.
const BESIDE_BYTES_MAX: usize = 1024;

/// A conn. It is small, because most are idle: an outbox is lent only while something is queued.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) generation: u32,
    /// An edge of the direction in is unread.
    pub(super) readable: bool,
    /// An edge of the direction out is unread: the socket may have room.
    writable: bool,
    /// The other end has finished, or the socket failed: reading must go on until it says so.
    ended: bool,
    pub(super) parked_in: bool,
    parked_out: bool,
    /// The service said that there may be output.
    pub(super) asked: bool,
    pub(super) on_ready_list: bool,
    pub(super) on_dirty_list: bool,
    /// It is closed at the end of this turn.
    pub(super) doomed: bool,
    /// Set while it is being connected.
    pub(super) dial: Option<Box<Dial>>,
    out: Option<Box<Outbox>>,
}

/// How reading or writing in one turn ended.
#[derive(Debug)]
pub(super) enum Moved {
    /// No more until an edge, a `Resume` or a `Dirty` comes.
    Waits,
    /// The budget of the turn cut it off: no edge will come.
    CutOff,
    /// The conn is to be closed.
    Over(Closed),
}

/// What every move of bytes is told.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) limits: &'a Limits,
}

impl Conn {
    /// A conn that is open, or being opened if there is a `dial`.
    pub(super) fn new(stream: TcpStream, generation: u32, dial: Option<Dial>) -> Self {
        Self {
            stream,
            generation,
            readable: false,
            writable: dial.is_none(),
            ended: false,
            parked_in: false,
            parked_out: false,
            asked: false,
            on_ready_list: false,
            on_dirty_list: false,
            doomed: false,
            dial: dial.map(Box::new),
            out: None,
        }
    }

    /// Notes what an event hints at.
    pub(super) fn note(&mut self, event: &Event) {
        let over = event.is_error() || event.is_read_closed() || event.is_write_closed();
        self.ended |= over;
        self.readable |= over || event.is_readable();
        self.writable |= over || event.is_writable();
    }

    /// Whether the direction in has something to do.
    pub(super) fn is_ready(&self) -> bool {
        !self.doomed && (self.dial.is_some() || self.readable && !self.parked_in)
    }

    /// Whether queued output may move.
    pub(super) fn can_flush(&self) -> bool {
        self.out.is_some() && self.writable && !self.parked_out
    }

    /// Gives both directions a new chance.
    pub(super) fn resume(&mut self) {
        self.parked_in = false;
        self.parked_out = false;
    }

    /// Reads what has come, up to the budget of the turn, and hands it to the service.
    pub(super) fn pump_in<V: Service>(
        &mut self,
        turn: &Turn<'_>,
        id: ConnId,
        service: &mut V,
        scratch: &mut [u8],
    ) -> Moved {
        let mut moved = 0;
        while moved < turn.limits.read_bytes_max {
            let allowed = service.budget(turn.now, id, Direction::In);
            if allowed == 0 {
                self.parked_in = true;
                return Moved::Waits;
            }
            let read = self.read(id, service, scratch, allowed);
            let count = match read.outcome {
                Ok(0) => return Moved::Over(Closed::End),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Moved::Waits;
                }
                Err(error) => return Moved::Over(Closed::Failed(error)),
            };
            moved += count;
            if let Err(why) = deliver(turn.now, id, service, count, read.landing, scratch) {
                return Moved::Over(why);
            }
            if count < read.asked && !self.ended {
                self.readable = false;
                return Moved::Waits;
            }
        }
        Moved::CutOff
    }

    fn read<V: Service>(
        &mut self,
        id: ConnId,
        service: &mut V,
        scratch: &mut [u8],
        allowed: usize,
    ) -> ReadCall {
        match service.landing(id) {
            Some(slice) if !slice.is_empty() => {
                let landing = slice.len().min(allowed);
                let beside = BESIDE_BYTES_MAX.min(scratch.len()).min(allowed - landing);
                let mut places = [
                    IoSliceMut::new(&mut slice[..landing]),
                    IoSliceMut::new(&mut scratch[..beside]),
                ];
                ReadCall {
                    landing,
                    asked: landing + beside,
                    outcome: self.stream.read_vectored(&mut places),
                }
            }
            _ => {
                let asked = scratch.len().min(allowed);
                ReadCall {
                    landing: 0,
                    asked,
                    outcome: self.stream.read(&mut scratch[..asked]),
                }
            }
        }
    }

    /// Asks the service for output and sends it, up to the budget of the turn.
    pub(super) fn flush<V: Service>(
        &mut self,
        turn: &Turn<'_>,
        id: ConnId,
        service: &mut V,
        spares: &mut Spares,
    ) -> Moved {
        let mut out = self.out.take().unwrap_or_else(|| spares.take());
        let moved = self.flush_from(&mut out, turn, id, service);
        if out.is_empty() {
            spares.keep(out);
        } else {
            self.out = Some(out);
        }
        moved
    }

    fn flush_from<V: Service>(
        &mut self,
        out: &mut Outbox,
        turn: &Turn<'_>,
        id: ConnId,
        service: &mut V,
    ) -> Moved {
        let mut moved = 0;
        let mut fertile = true;
        loop {
            while std::mem::take(&mut self.asked) || fertile && out.wants_bulk() {
                let (before, wanted) = (out.len(), out.wants_bulk());
                service.refill(turn.now, id, out);
                // Who was asked while there was no room says nothing by adding nothing.
                fertile = !wanted || out.len() > before;
            }
            if out.control_len() > turn.limits.control_bytes_max {
                return Moved::Over(Closed::Fault("it does not read what it asked for"));
            }
            if out.is_empty() || !self.writable {
                return Moved::Waits;
            }
            if moved >= turn.limits.write_bytes_max {
                return Moved::CutOff;
            }
            let allowed = service.budget(turn.now, id, Direction::Out);
            self.parked_out = allowed == 0;
            if self.parked_out {
                return Moved::Waits;
            }
            match self.write(out, allowed.min(turn.limits.write_bytes_max - moved)) {
                Ok(count) => {
                    moved += count;
                    if count > 0 {
                        service.sent(turn.now, id, count);
                    }
                }
                Err(error) => return Moved::Over(Closed::Failed(error)),
            }
        }
    }

    /// One write. Fewer bytes than could be sent mean that the socket is full.
    fn write(&mut self, out: &mut Outbox, allowed: usize) -> io::Result<usize> {
        let stream = &mut self.stream;
        let (outcome, asked) = out.with_front(allowed, |slices, asked| match slices {
            // The system takes one slice faster alone than in a list.
            [slice] => (stream.write(slice), asked),
            slices => (stream.write_vectored(slices), asked),
        });
        match outcome {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                out.consume(count);
                self.writable = count == asked;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

/// One read: how much was asked for, how much of that in place, and what came.
struct ReadCall {
    landing: usize,
    asked: usize,
    outcome: io::Result<usize>,
}

/// Tells the service what came: first what lies in place, then the rest.
fn deliver<V: Service>(
    now: Time,
    id: ConnId,
    service: &mut V,
    count: usize,
    landing: usize,
    scratch: &[u8],
) -> Result<(), Closed> {
    let landed = count.min(landing);
    if landed > 0 {
        service.landed(now, id, landed)?;
    }
    if count > landed {
        service.received(now, id, &scratch[..count - landed])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::super::service::{Admission, Command, Origin, Signal};
    use super::*;
    use crate::base::BufferPool;

    /// Sends so many bytes, and nothing else.
    struct Source(u64);

    impl Service for Source {
        fn opened(&mut self, _: Time, _: ConnId, _: Origin) -> Admission {
            Admission::Accept
        }
        fn dial_failed(&mut self, _: Time, _: SocketAddr, _: u64, _: io::Error) {}
        fn received(&mut self, _: Time, _: ConnId, _: &[u8]) -> Result<(), Closed> {
            Ok(())
        }
        fn refill(&mut self, _: Time, _: ConnId, out: &mut Outbox) {
            while out.wants_bulk() && self.0 > 0 {
                let len = self.0.min(1 << 14) as u32;
                let buf = BufferPool::new(1 << 14).lend(len as usize);
                out.payload(Arc::new(buf.expect("the pool is new")), 0..len);
                self.0 -= u64::from(len);
            }
        }
        fn closed(&mut self, _: Time, _: ConnId, _: Closed) {}
        fn signal(&mut self, _: Time, _: Signal) {}
        fn handle_timeout(&mut self, _: Time) {}
        fn poll_timeout(&self) -> Option<Time> {
            None
        }
        fn poll_command(&mut self) -> Option<Command> {
            None
        }
    }

    #[test]
    fn who_is_asked_while_there_is_no_room_is_asked_again_when_there_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let ours = std::net::TcpStream::connect(addr).expect("connected");
        let (mut theirs, _) = listener.accept().expect("a conn");
        ours.set_nonblocking(true).expect("set");
        theirs.set_nonblocking(true).expect("set");
        let (id, limits) = (
            ConnId {
                slot: 0,
                generation: 0,
            },
            Limits::default(),
        );
        let turn = Turn {
            now: Time::ZERO,
            limits: &limits,
        };
        let (mut source, mut spares) = (Source(64 << 20), Spares::default());
        let mut conn = Conn::new(TcpStream::from_std(ours), 0, None);
        let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
        while read < 64 << 20 {
            conn.writable = true;
            conn.asked = true;
            let moved = conn.flush(&turn, id, &mut source, &mut spares);
            let waits_in_vain = matches!(moved, Moved::Waits) && conn.writable && source.0 > 0;
            assert!(!waits_in_vain, "{} bytes are forgotten", source.0);
            while let Ok(count) = theirs.read(&mut buffer) {
                read += count as u64;
            }
        }
    }

    #[test]
    fn an_idle_conn_is_small() {
        assert!(size_of::<Conn>() <= 64, "{}", size_of::<Conn>());
    }
}
