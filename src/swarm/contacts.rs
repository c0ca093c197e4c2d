//! Whom to dial, and when: addresses that the tracker named or other peers told of, with back-off.
//!
//! A contact is one remote peer, with one or more addresses that are tried in turn. Behind one address there may be several
//! peers (a router that translates addresses, one port for all), so those whose names differ are different contacts. What a
//! peer told of is hearsay until there is a link: it is limited, it is forgotten sooner, and its teller can take it back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::PeerKey;
use super::contact::{Contact, Found, State};
use super::notes::Lure;
use super::preference::PeerOrder;
use crate::base::{PeerId, Rng, Time};

/// Contacts remembered; further ones are ignored.
pub(super) const CONTACTS_MAX: usize = 2_000;
/// Addresses kept for one contact.
pub(super) const CONTACT_ADDRS_MAX: usize = 4;
/// Dials under way at a time (libtorrent opens 30 a second).
pub(super) const DIALS_MAX: usize = 30;
/// Contacts that are hearsay.
pub(super) const HEARSAY_MAX: usize = 500;
/// How long those who are told of a newcomer wait for it to dial them.
pub(super) const NEWCOMER_GRACE: Duration = Duration::from_secs(1);
/// A link that lasts so long was no failure.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// All contacts of one swarm.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    contacts: Vec<Contact>,
    /// Addresses that are being dialled, each for one contact.
    dialled: Vec<SocketAddr>,
    turn: usize,
    /// Contacts that were dialled.
    dial_count: usize,
}

impl Contacts {
    /// Adds what the tracker named, to be dialled from `dial_at` on; a known contact learns new addresses.
    pub(super) fn add(&mut self, found: &Found, dial_at: Time) {
        let is_at = |contact: &Contact| contact.addrs.iter().any(|a| found.addrs.contains(a));
        let is_named = |contact: &Contact| found.id.is_some() && contact.id == found.id;
        let contacts = &self.contacts;
        let by_name = contacts.iter().position(is_named);
        let known =
            by_name.or_else(|| contacts.iter().position(|c| c.may_be(found.id) && is_at(c)));
        let contact = match known {
            Some(at) => &mut self.contacts[at],
            None if self.contacts.len() < CONTACTS_MAX && !found.addrs.is_empty() => {
                let contact = Contact::new(found.id, found.is_seed, dial_at);
                self.contacts.push(contact);
                self.contacts.last_mut().expect("one was pushed")
            }
            None => return,
        };
        contact.id = found.id.or(contact.id);
        contact.is_seed |= found.is_seed;
        contact.merits.proximity = contact.merits.proximity.max(found.proximity);
        contact.merits.share = contact.merits.share.max(found.share.into());
        contact.told_by = None;
        for &addr in &found.addrs {
            if contact.addrs.len() < CONTACT_ADDRS_MAX && !contact.addrs.contains(&addr) {
                contact.addrs.push(addr);
            }
        }
    }

    /// Adds what the peer `teller` told of, to be dialled at once; false if it is known or there are enough of the kind.
    /// There is one such contact to an IP address, but on loopback, where there may be many peers.
    pub(super) fn add_told(
        &mut self,
        now: Time,
        teller: PeerKey,
        addr: SocketAddr,
        is_seed: bool,
    ) -> bool {
        let is_same_host = |other: &SocketAddr| other.ip() == addr.ip() && !addr.ip().is_loopback();
        let mut hearsay_count = 0;
        for contact in &self.contacts {
            let is_hearsay = contact.told_by.is_some();
            hearsay_count += usize::from(is_hearsay);
            if contact.addrs.contains(&addr) || is_hearsay && contact.addrs.iter().any(is_same_host)
            {
                return false;
            }
        }
        if hearsay_count >= HEARSAY_MAX || self.contacts.len() >= CONTACTS_MAX {
            return false;
        }
        let mut contact = Contact::new(None, is_seed, now);
        contact.told_by = Some(teller);
        contact.addrs.push(addr);
        self.contacts.push(contact);
        true
    }

    /// The peer `teller` says that `addr` has left: what we know of it by that peer alone is forgotten.
    pub(super) fn drop_told(&mut self, teller: PeerKey, addr: SocketAddr) {
        self.contacts.retain(|contact| {
            contact.state != State::Idle
                || contact.told_by != Some(teller)
                || !contact.addrs.contains(&addr)
        });
    }

    /// The next address to dial at `now`, if one is due, and why; seeds are left out for `leechers_only`.
    pub(super) fn next_dial(
        &mut self,
        now: Time,
        leechers_only: bool,
        order: PeerOrder,
        rng: &mut Rng,
    ) -> Option<(SocketAddr, Lure)> {
        if self.dialled.len() >= DIALS_MAX || self.contacts.is_empty() {
            return None;
        }
        let order = order.at_turn(self.dial_count);
        let start = match order {
            PeerOrder::RoundRobin => self.turn % self.contacts.len(),
            _ => rng.below(self.contacts.len()),
        };
        let (before, after) = (0..start, start..self.contacts.len());
        let mut due = after.chain(before).filter(|&at| {
            let contact = &self.contacts[at];
            contact.state == State::Idle
                && contact.dial_at <= now
                && !(leechers_only && contact.is_seed)
                && self.next_addr(contact).is_some()
        });
        let at = match order {
            PeerOrder::Random | PeerOrder::RoundRobin => due.next(),
            _ => due.min_by_key(|&at| order.rank(self.contacts[at].merits)),
        }?;
        self.dial_count += 1;
        self.turn = at + 1;
        let next = self.next_addr(&self.contacts[at])?;
        let contact = &mut self.contacts[at];
        let addr = contact.addrs[next];
        contact.state = State::Dialling(addr);
        contact.next_addr = next + 1;
        self.dialled.push(addr);
        Some((addr, order.lure(contact.merits)))
    }

    /// The place of the address of a contact that is to be tried next: one that is not dialled for another just now.
    fn next_addr(&self, contact: &Contact) -> Option<usize> {
        let count = contact.addrs.len();
        (contact.next_addr..contact.next_addr + count)
            .map(|at| at % count)
            .find(|&at| !self.dialled.contains(&contact.addrs[at]))
    }

    /// The dial of an address has ended; the place of the contact for which it was.
    fn end_dial(&mut self, addr: SocketAddr) -> Option<usize> {
        let at = self.dialled.iter().position(|&dialled| dialled == addr)?;
        self.dialled.swap_remove(at);
        let was_dialled = |contact: &Contact| contact.state == State::Dialling(addr);
        self.contacts.iter().position(was_dialled)
    }

    /// When the next contact is due, if any is waiting.
    pub(super) fn next_due(&self, leechers_only: bool) -> Option<Time> {
        if self.dialled.len() >= DIALS_MAX {
            return None;
        }
        let waiting = |contact: &&Contact| {
            contact.state == State::Idle
                && !(leechers_only && contact.is_seed)
                && self.next_addr(contact).is_some()
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
            let is_dialled = matches!(contact.state, State::Idle | State::Dialling(_));
            is_dialled && !(leechers_only && contact.is_seed)
        };
        self.contacts.iter().filter(open).count()
    }

    /// The dial of `addr` came to nothing, or its handshake did; says who was dialled, if that is known.
    pub(super) fn failed(&mut self, now: Time, addr: SocketAddr, rng: &mut Rng) -> Option<PeerId> {
        let at = self.end_dial(addr)?;
        let id = self.contacts[at].id;
        self.put_off(at, now, rng);
        id
    }

    fn put_off(&mut self, at: usize, now: Time, rng: &mut Rng) {
        let contact = &mut self.contacts[at];
        contact.failure_count += 1;
        if contact.failure_count > contact.failures_max() {
            self.contacts.swap_remove(at);
            return;
        }
        let jitter = Duration::from_millis(rng.below(100) as u64);
        contact.dial_at = now + contact.backoff() + jitter;
        contact.state = State::Idle;
    }

    /// A link to `id` is up; `dialled` is the address if we dialled it.
    pub(super) fn linked(
        &mut self,
        now: Time,
        peer: PeerKey,
        id: PeerId,
        dialled: Option<SocketAddr>,
    ) {
        if let Some(addr) = dialled {
            self.reached(now, id, addr);
        }
        for contact in &mut self.contacts {
            if contact.id == Some(id) && !matches!(contact.state, State::Dialling(_)) {
                contact.link(now, peer);
            }
        }
    }

    /// Who listens at `addr`, which was dialled, is `id`. If somebody else was looked for, it is looked for elsewhere.
    fn reached(&mut self, now: Time, id: PeerId, addr: SocketAddr) {
        let Some(at) = self.end_dial(addr) else {
            return;
        };
        let is_known = self.contacts.iter().any(|contact| contact.id == Some(id));
        let contact = &mut self.contacts[at];
        contact.state = State::Idle;
        let has_others = contact.addrs.len() > 1;
        if contact.may_be(Some(id)) || !has_others && !is_known {
            contact.id = Some(id);
            return;
        }
        contact.dial_at = now;
        contact.addrs.retain(|other| *other != addr);
        if !has_others {
            self.contacts.swap_remove(at);
        }
        if !is_known && self.contacts.len() < CONTACTS_MAX {
            let mut contact = Contact::new(Some(id), false, now);
            contact.addrs.push(addr);
            self.contacts.push(contact);
        }
    }

    /// A link turned out to lead to who listens at `addr`: whoever is to be dialled there is linked already.
    pub(super) fn linked_at(&mut self, now: Time, peer: PeerKey, id: PeerId, addr: SocketAddr) {
        for contact in &mut self.contacts {
            let is_it = contact.may_be(Some(id)) && contact.addrs.contains(&addr);
            if contact.state == State::Idle && is_it {
                contact.id = Some(id);
                contact.link(now, peer);
            }
        }
    }

    /// The link is gone; its contact may be dialled again soon, unless neither needs the other once we have everything.
    pub(super) fn unlinked(
        &mut self,
        now: Time,
        peer: PeerKey,
        (of_use, rate): (bool, Option<u64>),
        rng: &mut Rng,
    ) {
        let linked = |contact: &Contact| contact.state == State::Linked(peer);
        while let Some(at) = self.contacts.iter().position(linked) {
            let contact = &mut self.contacts[at];
            if now.since(contact.linked_at) >= PROVEN_AFTER {
                contact.failure_count = 0;
            }
            contact.is_seed |= !of_use;
            contact.merits.rate = rate.or(contact.merits.rate);
            self.put_off(at, now, rng);
        }
    }

    /// We listen at `addr` ourselves: others tell us of us.
    pub(super) fn note_ourselves(&mut self, addr: SocketAddr) {
        for contact in &mut self.contacts {
            if contact.state == State::Idle && contact.addrs == [addr] {
                contact.state = State::Ourselves;
            }
        }
    }

    /// How near the peer of a link is.
    pub(super) fn proximity(&self, peer: PeerKey, id: PeerId) -> u8 {
        let linked =
            |contact: &&Contact| contact.state == State::Linked(peer) || contact.id == Some(id);
        let of_peer = self.contacts.iter().filter(linked);
        of_peer
            .map(|contact| contact.merits.proximity)
            .max()
            .unwrap_or(0)
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
                || (contact.id != Some(id)
                    && !(contact.may_be(Some(id)) && contact.addrs.contains(&addr)))
        });
    }

    /// Asserts that the counts are what the contacts say, and within their limits.
    pub(super) fn check(&self) {
        let mut dialled: Vec<SocketAddr> = Vec::new();
        for contact in &self.contacts {
            if let State::Dialling(addr) = contact.state {
                assert!(self.dialled.contains(&addr) && !dialled.contains(&addr));
                dialled.push(addr);
            }
        }
        assert_eq!(dialled.len(), self.dialled.len());
        assert!(dialled.len() <= DIALS_MAX && self.contacts.len() <= CONTACTS_MAX);
        let hearsay = self.contacts.iter().filter(|c| c.told_by.is_some());
        assert!(hearsay.count() <= HEARSAY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::contact::{BACKOFF_MIN, FAILURES_MAX};
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
            id: Some(PeerId::from_random([last; 12])),
            addrs,
            is_seed: last == 9,
            ..Found::default()
        }
    }

    fn dial(contacts: &mut Contacts, now: Time) -> Option<SocketAddr> {
        let due = contacts.next_dial(now, false, PeerOrder::RoundRobin, &mut Rng::new(1));
        due.map(|(addr, _)| addr)
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

    /// One of several peers that the tracker sees at one address, and that say where they listen themselves.
    fn behind_one_address(last: u8) -> Found {
        Found {
            addrs: vec![([1, 2, 3, 4], 7).into(), ([10, 0, 0, last], 7).into()],
            ..found(last)
        }
    }

    #[test]
    fn peers_behind_one_address_are_dialled_each_where_no_other_is() {
        let (mut contacts, now) = (Contacts::default(), Time::ZERO);
        for last in 1..=4 {
            contacts.add(&behind_one_address(last), now);
        }
        contacts.check();
        let mut dialled: Vec<SocketAddr> =
            std::iter::from_fn(|| dial(&mut contacts, now)).collect();
        assert_eq!(dialled.len(), 4, "{dialled:?}");
        dialled.sort_unstable();
        dialled.dedup();
        assert_eq!(dialled.len(), 4, "each another one");
        contacts.check();
    }

    #[test]
    fn who_listens_where_another_was_looked_for_is_linked_and_the_other_is_looked_for_elsewhere() {
        let now = Time::ZERO;
        for is_known in [true, false] {
            let mut contacts = Contacts::default();
            contacts.add(&behind_one_address(1), now);
            let shared = dial(&mut contacts, now).expect("due at once");
            assert_eq!(shared, behind_one_address(1).addrs[0]);
            if is_known {
                contacts.add(&behind_one_address(2), now + Duration::from_secs(60));
            }
            let there = behind_one_address(2).id.expect("a name");
            contacts.linked(now, KEY, there, Some(shared));
            contacts.check();
            let next = dial(&mut contacts, now);
            assert_eq!(next, Some(behind_one_address(1).addrs[1]));
            assert_eq!(dial(&mut contacts, now), None);
            contacts.unlinked(now, KEY, (true, None), &mut Rng::new(1));
            let later = now + Duration::from_secs(1);
            assert!(dial(&mut contacts, later).is_some(), "it can come back");
            contacts.check();
        }
    }

    #[test]
    fn a_linked_contact_is_not_dialled_and_comes_back_when_the_link_is_lost() {
        let (mut contacts, mut rng, now) = (Contacts::default(), Rng::new(1), Time::ZERO);
        contacts.add(&found(1), now + NEWCOMER_GRACE);
        assert_eq!(dial(&mut contacts, now), None, "a newcomer dials us first");
        contacts.linked(now, KEY, PeerId::from_random([1; 12]), None);
        assert_eq!(dial(&mut contacts, now + Duration::from_secs(5)), None);
        contacts.unlinked(now, KEY, (true, None), &mut rng);
        assert!(dial(&mut contacts, now + Duration::from_secs(1)).is_some());
    }

    /// When a contact that was just given up for the moment is due.
    fn wait(contacts: &Contacts, now: Time) -> Duration {
        contacts.next_due(false).expect("it is put off").since(now)
    }

    #[test]
    fn a_link_that_breaks_at_once_is_a_failure_and_one_that_lasted_is_not() {
        let (mut contacts, mut rng, mut now) = (Contacts::default(), Rng::new(1), Time::ZERO);
        contacts.add(&found(1), now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let addr = dial(&mut contacts, now).expect("it is due");
            contacts.linked(now, KEY, PeerId([1; 20]), Some(addr));
            contacts.unlinked(now, KEY, (true, None), &mut rng);
            waits.push(wait(&contacts, now));
            now += wait(&contacts, now);
        }
        assert!(waits[0] < Duration::from_secs(1) && waits.is_sorted());
        assert!(waits[5] >= Duration::from_secs(6));
        let addr = dial(&mut contacts, now).expect("it is due");
        contacts.linked(now, KEY, PeerId([1; 20]), Some(addr));
        now += PROVEN_AFTER;
        contacts.unlinked(now, KEY, (true, None), &mut rng);
        assert!(wait(&contacts, now) < Duration::from_secs(1));
    }

    #[test]
    fn a_stranger_who_refuses_is_dialled_ever_more_seldom_and_forgotten() {
        let (mut rng, mut dials) = (Rng::new(1), Vec::new());
        for id in [None, Some(PeerId::from_random([1; 12]))] {
            let (mut contacts, mut now, mut count) = (Contacts::default(), Time::ZERO, 0);
            let addrs = found(1).addrs;
            contacts.add(
                &Found {
                    id,
                    addrs,
                    is_seed: false,
                    ..Found::default()
                },
                now,
            );
            while let Some(due) = contacts.next_due(false) {
                now = due;
                let addr = dial(&mut contacts, now).expect("it is due");
                contacts.failed(now, addr, &mut rng);
                count += 1;
            }
            assert_eq!(count, FAILURES_MAX + 1);
            dials.push(now.since(Time::ZERO));
        }
        assert!(dials[0] > Duration::from_secs(600), "a stranger: {dials:?}");
        assert!(
            dials[1] < Duration::from_secs(90),
            "one of our kind: {dials:?}"
        );
    }

    #[test]
    fn hearsay_is_limited_and_its_teller_can_take_it_back() {
        let (mut contacts, now) = (Contacts::default(), Time::ZERO);
        let other = PeerKey { slot: 4, ..KEY };
        let at = |last, port| SocketAddr::from(([10, 0, 0, last], port));
        assert!(contacts.add_told(now, KEY, at(1, 2000), false));
        assert!(!contacts.add_told(now, other, at(1, 2000), false), "known");
        assert!(
            !contacts.add_told(now, other, at(1, 2001), false),
            "one to an address"
        );
        for port in [2000, 2001] {
            let many = SocketAddr::from(([127, 0, 0, 1], port));
            assert!(contacts.add_told(now, KEY, many, false));
        }
        contacts.drop_told(other, at(1, 2000));
        assert_eq!(contacts.open_count(false), 3, "another told of it");
        contacts.drop_told(KEY, at(1, 2000));
        assert_eq!(contacts.open_count(false), 2);
        contacts.add(&found(1), now);
        contacts.drop_told(KEY, found(1).addrs[0]);
        assert_eq!(contacts.open_count(false), 3, "the tracker named it");
        for n in 0..2 * HEARSAY_MAX as u32 {
            contacts.add_told(now, KEY, (n.to_be_bytes(), 2000).into(), false);
        }
        assert_eq!(contacts.open_count(false), HEARSAY_MAX + 1);
        contacts.check();
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
                    ..Found::default()
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
