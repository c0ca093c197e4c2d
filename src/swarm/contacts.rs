//! Whom to dial, and when: addresses that the tracker named, with back-off.
//!
//! A contact is one remote peer, with one or more addresses that are tried in turn.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::PeerKey;
use crate::base::{PeerId, Rng, Time};

/// Contacts remembered; further ones are ignored.
pub(super) const CONTACTS_MAX: usize = 2_000;
/// Addresses kept for one contact.
pub(super) const CONTACT_ADDRS_MAX: usize = 4;
/// Dials under way at a time (libtorrent opens 30 a second).
pub(super) const DIALS_MAX: usize = 30;
/// Consecutive failures after which a contact is forgotten; the tracker names it again if it still lives.
pub(super) const FAILURES_MAX: u32 = 12;
/// How long those who are told of a newcomer wait for it to dial them.
pub(super) const NEWCOMER_GRACE: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A peer that the tracker named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it calls itself, if that is known.
    pub id: Option<PeerId>,
    /// Where it listens.
    pub addrs: Vec<SocketAddr>,
    /// It holds everything.
    pub is_seed: bool,
}

/// The order in which peers are dialled, and in which they are given work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerOrder {
    /// Any order.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Dialling,
    Linked(PeerKey),
}

#[derive(Debug)]
struct Contact {
    id: Option<PeerId>,
    addrs: Vec<SocketAddr>,
    next_addr: usize,
    is_seed: bool,
    failure_count: u32,
    dial_at: Time,
    state: State,
}

/// All contacts of one swarm.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    contacts: Vec<Contact>,
    dialling_count: usize,
    turn: usize,
}

impl Contacts {
    /// Adds what the tracker named, to be dialled from `dial_at` on; a known contact learns new addresses.
    pub(super) fn add(&mut self, found: &Found, dial_at: Time) {
        let known = self.contacts.iter().position(|contact| {
            (found.id.is_some() && contact.id == found.id)
                || contact.addrs.iter().any(|addr| found.addrs.contains(addr))
        });
        let contact = match known {
            Some(at) => &mut self.contacts[at],
            None if self.contacts.len() < CONTACTS_MAX && !found.addrs.is_empty() => {
                self.contacts.push(Contact {
                    id: found.id,
                    addrs: Vec::new(),
                    next_addr: 0,
                    is_seed: found.is_seed,
                    failure_count: 0,
                    dial_at,
                    state: State::Idle,
                });
                self.contacts.last_mut().expect("one was pushed")
            }
            None => return,
        };
        contact.id = found.id.or(contact.id);
        contact.is_seed |= found.is_seed;
        for &addr in &found.addrs {
            if contact.addrs.len() < CONTACT_ADDRS_MAX && !contact.addrs.contains(&addr) {
                contact.addrs.push(addr);
            }
        }
    }

    /// The next address to dial at `now`, if one is due; seeds are left out for `leechers_only`.
    pub(super) fn next_dial(
        &mut self,
        now: Time,
        leechers_only: bool,
        order: PeerOrder,
        rng: &mut Rng,
    ) -> Option<SocketAddr> {
        if self.dialling_count >= DIALS_MAX || self.contacts.is_empty() {
            return None;
        }
        let start = match order {
            PeerOrder::Random => rng.below(self.contacts.len()),
            PeerOrder::RoundRobin => self.turn % self.contacts.len(),
        };
        let (before, after) = (0..start, start..self.contacts.len());
        let at = after.chain(before).find(|&at| {
            let contact = &self.contacts[at];
            contact.state == State::Idle
                && contact.dial_at <= now
                && !(leechers_only && contact.is_seed)
        })?;
        self.turn = at + 1;
        let contact = &mut self.contacts[at];
        contact.state = State::Dialling;
        self.dialling_count += 1;
        let addr = contact.addrs[contact.next_addr % contact.addrs.len()];
        contact.next_addr += 1;
        Some(addr)
    }

    /// When the next contact is due, if any is waiting.
    pub(super) fn next_due(&self, leechers_only: bool) -> Option<Time> {
        if self.dialling_count >= DIALS_MAX {
            return None;
        }
        let waiting = |contact: &&Contact| {
            contact.state == State::Idle && !(leechers_only && contact.is_seed)
        };
        self.contacts
            .iter()
            .filter(waiting)
            .map(|contact| contact.dial_at)
            .min()
    }

    /// Contacts that may still be dialled or are being dialled.
    pub(super) fn open_count(&self, leechers_only: bool) -> usize {
        let open = |contact: &&Contact| {
            !(matches!(contact.state, State::Linked(_)) || leechers_only && contact.is_seed)
        };
        self.contacts.iter().filter(open).count()
    }

    /// The dial of `addr` came to nothing, or its handshake did; says who was dialled, if that is known.
    pub(super) fn failed(&mut self, now: Time, addr: SocketAddr, rng: &mut Rng) -> Option<PeerId> {
        let dialling =
            |contact: &Contact| contact.state == State::Dialling && contact.addrs.contains(&addr);
        let at = self.contacts.iter().position(dialling)?;
        self.dialling_count -= 1;
        let id = self.contacts[at].id;
        self.put_off(at, now, rng);
        id
    }

    fn put_off(&mut self, at: usize, now: Time, rng: &mut Rng) {
        let contact = &mut self.contacts[at];
        contact.failure_count += 1;
        if contact.failure_count > FAILURES_MAX {
            self.contacts.swap_remove(at);
            return;
        }
        let backoff = BACKOFF_MIN * 2u32.pow(contact.failure_count.min(8) - 1);
        let jitter = Duration::from_millis(rng.below(100) as u64);
        contact.dial_at = now + backoff.min(BACKOFF_MAX) + jitter;
        contact.state = State::Idle;
    }

    /// A link to `id` is up; `dialled` is the address if we dialled it.
    pub(super) fn linked(&mut self, peer: PeerKey, id: PeerId, dialled: Option<SocketAddr>) {
        for contact in &mut self.contacts {
            let ours = dialled.is_some_and(|addr| {
                contact.state == State::Dialling && contact.addrs.contains(&addr)
            });
            if ours {
                self.dialling_count -= 1;
                contact.id = Some(id);
            }
            if ours || (contact.id == Some(id) && contact.state != State::Dialling) {
                contact.state = State::Linked(peer);
                contact.failure_count = 0;
            }
        }
    }

    /// The link is gone; its contact may be dialled again soon, unless we have no use for it.
    pub(super) fn unlinked(&mut self, now: Time, peer: PeerKey, wanted: bool, rng: &mut Rng) {
        let linked = |contact: &Contact| contact.state == State::Linked(peer);
        while let Some(at) = self.contacts.iter().position(linked) {
            if wanted {
                self.put_off(at, now, rng);
            } else {
                self.contacts.swap_remove(at);
            }
        }
    }

    /// Where the peer that is called `id` listens at `ip`, as far as we were told.
    pub(super) fn addr_at(&self, id: PeerId, ip: IpAddr) -> Option<SocketAddr> {
        let mut named = self.contacts.iter().filter(|c| c.id == Some(id));
        named.find_map(|c| c.addrs.iter().copied().find(|addr| addr.ip() == ip))
    }

    /// Forgets every contact that is called `id` or has `addr`, and is not linked.
    pub(super) fn forget(&mut self, id: PeerId, addr: SocketAddr) {
        self.contacts.retain(|contact| {
            contact.state != State::Idle
                || (contact.id != Some(id) && !contact.addrs.contains(&addr))
        });
    }

    /// Asserts that the count of dials is what the contacts say.
    pub(super) fn check(&self) {
        let dialling = self
            .contacts
            .iter()
            .filter(|c| c.state == State::Dialling)
            .count();
        assert_eq!(dialling, self.dialling_count);
        assert!(dialling <= DIALS_MAX && self.contacts.len() <= CONTACTS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PeerKey = PeerKey {
        slot: 3,
        generation: 0,
    };

    fn found(last: u8) -> Found {
        let addrs = vec![
            ([10, 0, 0, last], 6881).into(),
            ([10, 0, 1, last], 6881).into(),
        ];
        Found {
            id: Some(PeerId([last; 20])),
            addrs,
            is_seed: last == 9,
        }
    }

    fn dial(contacts: &mut Contacts, now: Time) -> Option<SocketAddr> {
        contacts.next_dial(now, false, PeerOrder::RoundRobin, &mut Rng::new(1))
    }

    #[test]
    fn a_failed_dial_backs_off_and_tries_the_next_address() {
        let (mut contacts, mut rng, mut now) = (Contacts::default(), Rng::new(1), Time::ZERO);
        contacts.add(&found(1), now);
        let first = dial(&mut contacts, now).expect("due at once");
        assert_eq!(
            dial(&mut contacts, now),
            None,
            "one dial at a time for one contact"
        );
        contacts.failed(now, first, &mut rng);
        assert_eq!(dial(&mut contacts, now), None);
        let due = contacts
            .next_due(false)
            .expect("it is put off, not dropped");
        assert!(due.since(now) >= BACKOFF_MIN);
        now = due;
        let second = dial(&mut contacts, now).expect("due again");
        assert_ne!(first, second);
        for _ in 0..FAILURES_MAX {
            contacts.check();
            contacts.failed(now, second, &mut rng);
            now += Duration::from_secs(60);
            dial(&mut contacts, now);
        }
        assert_eq!(contacts.next_due(false), None, "forgotten");
    }

    #[test]
    fn a_linked_contact_is_not_dialled_and_comes_back_when_the_link_is_lost() {
        let (mut contacts, mut rng, now) = (Contacts::default(), Rng::new(1), Time::ZERO);
        contacts.add(&found(1), now + NEWCOMER_GRACE);
        assert_eq!(dial(&mut contacts, now), None, "a newcomer dials us first");
        contacts.linked(KEY, PeerId([1; 20]), None);
        assert_eq!(dial(&mut contacts, now + Duration::from_secs(5)), None);
        contacts.unlinked(now, KEY, true, &mut rng);
        assert!(dial(&mut contacts, now + Duration::from_secs(1)).is_some());
    }

    #[test]
    fn seeds_are_left_out_when_only_leechers_are_of_use() {
        let (mut contacts, now) = (Contacts::default(), Time::ZERO);
        contacts.add(&found(9), now);
        assert_eq!(
            contacts.next_dial(now, true, PeerOrder::Random, &mut Rng::new(1)),
            None
        );
        assert_eq!(
            (contacts.next_due(true), contacts.open_count(true)),
            (None, 0)
        );
        assert!(dial(&mut contacts, now).is_some());
    }

    #[test]
    fn contacts_and_dials_are_limited() {
        let (mut contacts, now) = (Contacts::default(), Time::ZERO);
        for n in 0..CONTACTS_MAX as u32 + 5 {
            let addrs = vec![SocketAddr::from((n.to_be_bytes(), 1))];
            contacts.add(
                &Found {
                    id: None,
                    addrs,
                    is_seed: false,
                },
                now,
            );
        }
        assert_eq!(contacts.open_count(false), CONTACTS_MAX);
        let dials = std::iter::from_fn(|| dial(&mut contacts, now)).count();
        assert_eq!(dials, DIALS_MAX);
        contacts.check();
    }
}
