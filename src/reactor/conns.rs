//! The table of conns, and the lists of those that have something to do.
//!
//! A conn is on each list at most once, and is found by slot AND generation, so that whatever comes late for a slot that
//! was used again (an event of the same batch, a command, a finished task) misses.

use std::collections::VecDeque;

use mio::Token;
use mio::event::Event;
use mio::net::TcpStream;
use slab::Slab;

use super::conn::Conn;
use super::dial::Dial;
use super::service::{Closed, ConnId};

/// All conns, open or being dialled.
#[derive(Debug, Default)]
pub(super) struct Conns {
    slab: Slab<Conn>,
    /// The generation of the next conn: a number that the same slot does not see again for 2^32 conns.
    generation: u32,
    ready: VecDeque<ConnId>,
    dirty: VecDeque<ConnId>,
    doomed: Vec<(ConnId, Closed)>,
}

/// The token of `id` in the poll.
pub(super) fn token(id: ConnId) -> Token {
    Token((id.generation as usize) << 32 | id.slot as usize)
}

fn id(token: Token) -> ConnId {
    ConnId {
        slot: token.0 as u32,
        generation: (token.0 >> 32) as u32,
    }
}

impl Conns {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The id that the next `insert` gives.
    pub(super) fn next_id(&self) -> ConnId {
        ConnId {
            slot: self.slab.vacant_key() as u32,
            generation: self.generation,
        }
    }

    /// Adds a conn under `next_id`.
    pub(super) fn insert(&mut self, stream: TcpStream, dial: Option<Dial>) -> ConnId {
        let id = self.next_id();
        self.slab.insert(Conn::new(stream, id.generation, dial));
        self.generation = self.generation.wrapping_add(1);
        id
    }

    /// The conn, if it is still there.
    pub(super) fn of(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slab
            .get_mut(id.slot())
            .filter(|conn| conn.generation == id.generation)
    }

    /// Takes the conn out.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.of(id)?;
        Some(self.slab.remove(id.slot()))
    }

    /// All ids, in the order of their slots.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        let id = |(slot, conn): (usize, &Conn)| ConnId {
            slot: slot as u32,
            generation: conn.generation,
        };
        self.slab.iter().map(id).collect()
    }

    /// Notes an event, and lists the conn where that gives it something to do.
    pub(super) fn note(&mut self, event: &Event) {
        let id = id(event.token());
        let Some(conn) = self.of(id) else {
            return;
        };
        conn.note(event);
        let flush = conn.can_flush();
        self.list_ready(id);
        if flush {
            self.list_dirty(id);
        }
    }

    /// Has the conn read although no event asked for that.
    pub(super) fn expect_input(&mut self, id: ConnId) {
        if let Some(conn) = self.of(id) {
            conn.readable = true;
        }
        self.list_ready(id);
    }

    /// Puts the conn on the ready list if it has something to read, and may.
    pub(super) fn list_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.of(id)
            && conn.is_ready()
            && !conn.on_ready_list
        {
            conn.on_ready_list = true;
            self.ready.push_back(id);
        }
    }

    /// Puts the conn on the dirty list.
    pub(super) fn list_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.of(id)
            && !conn.on_dirty_list
        {
            conn.on_dirty_list = true;
            self.dirty.push_back(id);
        }
    }

    /// Puts the conn on the dirty list, to be asked for output.
    pub(super) fn ask(&mut self, id: ConnId) {
        if let Some(conn) = self.of(id)
            && conn.dial.is_none()
        {
            conn.asked = true;
            self.list_dirty(id);
        }
    }

    /// Gives both directions of the conn a new chance.
    pub(super) fn resume(&mut self, id: ConnId) {
        if let Some(conn) = self.of(id) {
            conn.resume();
            let flush = conn.can_flush();
            self.list_ready(id);
            if flush {
                self.list_dirty(id);
            }
        }
    }

    /// Closes the conn at the end of the turn. The first reason stays. Output that may move is on the dirty list already.
    pub(super) fn doom(&mut self, id: ConnId, why: Closed) {
        let Some(conn) = self.of(id) else {
            return;
        };
        if std::mem::replace(&mut conn.doomed, true) {
            return;
        }
        self.doomed.push((id, why));
    }

    /// How many conns the ready list holds.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// How many conns the dirty list holds.
    pub(super) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Takes the first conn off the ready list; a stale id is given as it is.
    pub(super) fn next_ready(&mut self) -> Option<ConnId> {
        let id = self.ready.pop_front()?;
        if let Some(conn) = self.of(id) {
            conn.on_ready_list = false;
        }
        Some(id)
    }

    /// Takes the first conn off the dirty list; a stale id is given as it is.
    pub(super) fn next_dirty(&mut self) -> Option<ConnId> {
        let id = self.dirty.pop_front()?;
        if let Some(conn) = self.of(id) {
            conn.on_dirty_list = false;
        }
        Some(id)
    }

    /// Takes the list of those to be closed, in the order in which that was decided.
    pub(super) fn take_doomed(&mut self) -> Vec<(ConnId, Closed)> {
        std::mem::take(&mut self.doomed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> TcpStream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        TcpStream::connect(addr).expect("a socket")
    }

    #[test]
    fn a_stale_id_misses_although_its_slot_is_used_again() {
        let mut conns = Conns::default();
        let first = conns.insert(stream(), None);
        assert!(conns.remove(first).is_some());
        let second = conns.insert(stream(), None);
        assert_eq!(first.slot, second.slot);
        assert!(conns.of(first).is_none());
        assert!(conns.remove(first).is_none());
        for miss in [Conns::ask, Conns::resume, Conns::list_ready] {
            miss(&mut conns, first);
        }
        conns.doom(first, Closed::End);
        assert_eq!((conns.ready_len(), conns.dirty_len()), (0, 0));
        assert!(conns.take_doomed().is_empty());
        assert_eq!(id(token(second)), second);
    }

    #[test]
    fn a_conn_is_listed_once_and_doomed_for_the_first_reason() {
        let mut conns = Conns::default();
        let conn = conns.insert(stream(), None);
        conns.of(conn).expect("there").readable = true;
        for _ in 0..3 {
            conns.list_ready(conn);
            conns.ask(conn);
        }
        assert_eq!((conns.ready_len(), conns.dirty_len()), (1, 1));
        conns.doom(conn, Closed::Local("first"));
        conns.doom(conn, Closed::End);
        let doomed = conns.take_doomed();
        assert!(matches!(doomed[..], [(_, Closed::Local("first"))]));
    }
}
