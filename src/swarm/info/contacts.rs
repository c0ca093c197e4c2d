//! Whom to dial for an info dictionary, and when.
//!
//! Unlike the contacts of a swarm they never give up: an address in a magnet link is named once. A dial counts as good
//! only when a piece came of it, so that whoever is of no use is dialled ever more seldom.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Rng, Time};
use crate::swarm::PeerKey;

/// Addresses remembered; beyond them the one that failed most often gives way.
const CONTACTS_MAX: usize = 2_000;
/// Dials under way at a time.
const DIALS_MAX: usize = 30;
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Dialling,
    Linked(PeerKey),
}

#[derive(Debug)]
struct Contact {
    dial_at: Time,
    failure_count: u32,
    state: State,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct InfoContacts {
    contacts: BTreeMap<SocketAddr, Contact>,
    dialling_count: usize,
}

impl InfoContacts {
    /// Adds an address, to be dialled from `now` on.
    pub(super) fn add(&mut self, now: Time, addr: SocketAddr) {
        if self.contacts.contains_key(&addr) {
            return;
        }
        if self.contacts.len() >= CONTACTS_MAX {
            let idle = self.contacts.iter().filter(|(_, c)| c.state == State::Idle);
            let worst = idle.max_by_key(|(_, contact)| contact.failure_count);
            match worst.map(|(addr, contact)| (*addr, contact.failure_count)) {
                Some((worst, 1..)) => self.contacts.remove(&worst),
                _ => return,
            };
        }
        let contact = Contact {
            dial_at: now,
            failure_count: 0,
            state: State::Idle,
        };
        self.contacts.insert(addr, contact);
    }

    /// The next address to dial, if one is due.
    pub(super) fn next_dial(&mut self, now: Time) -> Option<SocketAddr> {
        if self.dialling_count >= DIALS_MAX {
            return None;
        }
        let idle = self.contacts.iter_mut();
        let mut due = idle.filter(|(_, c)| c.state == State::Idle && c.dial_at <= now);
        let (addr, contact) = due.next()?;
        contact.state = State::Dialling;
        self.dialling_count += 1;
        Some(*addr)
    }

    /// When the next address is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        let idle = self.contacts.values().filter(|c| c.state == State::Idle);
        idle.map(|contact| contact.dial_at)
            .min()
            .filter(|_| self.dialling_count < DIALS_MAX)
    }

    /// The dial came to nothing, or its handshake did.
    pub(super) fn failed(&mut self, now: Time, addr: SocketAddr, rng: &mut Rng) {
        if let Some(contact) = self.contacts.get_mut(&addr)
            && contact.state == State::Dialling
        {
            self.dialling_count -= 1;
            contact.put_off(now, rng);
        }
    }

    /// The dial led to a link.
    pub(super) fn linked(&mut self, addr: SocketAddr, key: PeerKey) {
        if let Some(contact) = self.contacts.get_mut(&addr) {
            if contact.state == State::Dialling {
                self.dialling_count -= 1;
            }
            contact.state = State::Linked(key);
        }
    }

    /// A piece came of the link.
    pub(super) fn delivered(&mut self, key: PeerKey) {
        for contact in self.contacts.values_mut() {
            if contact.state == State::Linked(key) {
                contact.failure_count = 0;
            }
        }
    }

    /// The link is gone.
    pub(super) fn unlinked(&mut self, now: Time, key: PeerKey, rng: &mut Rng) {
        for contact in self.contacts.values_mut() {
            if contact.state == State::Linked(key) {
                contact.put_off(now, rng);
            }
        }
    }

    /// Forgets an address that nothing is to be had from.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        if let Some(contact) = self.contacts.remove(&addr)
            && contact.state == State::Dialling
        {
            self.dialling_count -= 1;
        }
    }

    /// How often an address failed since a piece last came of it.
    pub(super) fn failure_count(&self, addr: SocketAddr) -> u32 {
        self.contacts.get(&addr).map_or(0, |c| c.failure_count)
    }

    /// Every address, in order.
    pub(super) fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.contacts.keys().copied()
    }
}

impl Contact {
    fn put_off(&mut self, now: Time, rng: &mut Rng) {
        self.failure_count += 1;
        let backoff = BACKOFF_MIN * 2u32.pow(self.failure_count.min(6) - 1);
        let jitter = Duration::from_millis(rng.below(100) as u64);
        self.dial_at = now + backoff.min(BACKOFF_MAX) + jitter;
        self.state = State::Idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    #[test]
    fn an_address_is_never_given_up_but_dialled_more_seldom() {
        let (mut contacts, mut rng, mut now) = (InfoContacts::default(), Rng::new(1), Time::ZERO);
        contacts.add(now, addr(1));
        let mut last = Duration::ZERO;
        for count in 0..50 {
            assert_eq!(contacts.next_dial(now), Some(addr(1)), "dial {count}");
            assert_eq!(contacts.next_dial(now), None, "one at a time");
            contacts.failed(now, addr(1), &mut rng);
            let due = contacts.next_due().expect("it is tried again");
            let pause = due.since(now);
            assert!(pause + Duration::from_millis(100) > last && pause < Duration::from_secs(9));
            (last, now) = (pause, due);
        }
    }

    #[test]
    fn where_there_is_no_room_what_failed_gives_way() {
        let (mut contacts, mut rng, now) = (InfoContacts::default(), Rng::new(1), Time::ZERO);
        for port in 1..=CONTACTS_MAX as u16 {
            contacts.add(now, addr(port));
        }
        contacts.add(now, addr(9_000));
        assert!(!contacts.addrs().any(|known| known == addr(9_000)));
        let dialled = contacts.next_dial(now).expect("one is due");
        contacts.failed(now, dialled, &mut rng);
        contacts.add(now, addr(9_000));
        let known: Vec<_> = contacts.addrs().collect();
        assert!(known.contains(&addr(9_000)) && !known.contains(&dialled));
        assert_eq!(known.len(), CONTACTS_MAX);
    }

    #[test]
    fn dials_are_limited_and_a_forgotten_one_counts_no_more() {
        let (mut contacts, now) = (InfoContacts::default(), Time::ZERO);
        for port in 0..100 {
            contacts.add(now, addr(port));
        }
        let dialled: Vec<_> = std::iter::from_fn(|| contacts.next_dial(now)).collect();
        assert_eq!(dialled.len(), DIALS_MAX);
        assert_eq!(contacts.next_due(), None);
        contacts.forget(dialled[0]);
        assert!(contacts.next_dial(now).is_some());
    }
}
