//! The members of one content that announce over HTTP or UDP.
//!
//! Owns where they listen and until when they count. They are told apart by address and port alone: whoever announces
//! from one address cannot touch the member of another, whatever peer id it gives, so none is kept. Of a foreign member
//! only is known whether it holds everything.
//!
//! Those of IPv4 are in a list that takes as little memory as their number allows, those of IPv6 in a table.
//!
//! Invariants (`check`): those of the two; there is no empty table.

use std::net::{IpAddr, SocketAddr};

use super::list::List;
use super::rows::{Flags, Foreigner, Row, Row4, Row6, Spread};
use super::table::Table;
use crate::base::Rng;

/// Foreign members of one content.
pub const FOREIGN_PER_SWARM_MAX: usize = 65_535;
/// Foreign members of one content at one address; loopback is exempt.
pub const FOREIGN_PER_IP_MAX: usize = 1024;
/// Rows that one choice looks at, whatever it finds.
const LOOKED_AT_MAX: usize = 1024;

/// What is wanted of a choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForeignWant {
    /// How many, at most.
    pub count: usize,
    /// Whether only members that fetch are of use.
    pub only_fetching: bool,
    /// The scopes of which addresses are of use, a bit each: of IPv4, and of IPv6.
    pub scopes: [u8; 2],
}

impl ForeignWant {
    fn takes(&self, flags: Flags, is_v6: bool) -> bool {
        self.scopes[usize::from(is_v6)] >> flags.scope() & 1 != 0
            && !(self.only_fetching && flags.is_content())
    }
}

/// Takes the members that are chosen.
pub(super) trait Chooser {
    /// Takes a member of IPv4, or refuses it.
    fn take_v4(&mut self, row: Row4) -> bool;
    /// Takes a member of IPv6, or refuses it.
    fn take_v6(&mut self, row: Row6) -> bool;
}

/// All foreign members of one content.
#[derive(Debug, Default)]
pub(super) struct Foreigners {
    v4: List,
    v6: Option<Box<Table<Row6>>>,
    /// The second since which there has always been a member.
    began_s: u32,
    downloads: u32,
}

impl Foreigners {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6_len()
    }

    /// How many hold everything.
    pub(super) fn seed_count(&self) -> usize {
        self.v4.seeds() + self.v6_seeds()
    }

    fn v6_len(&self) -> usize {
        self.v6.as_ref().map_or(0, |table| table.len())
    }

    fn v6_seeds(&self) -> usize {
        self.v6.as_ref().map_or(0, |table| table.seeds())
    }

    /// The second since which there has always been a member.
    pub(super) fn began_s(&self) -> u32 {
        self.began_s
    }

    /// How often the content was fetched to the end.
    pub(super) fn downloads(&self) -> u32 {
        self.downloads
    }

    /// Counts some more.
    pub(super) fn count_downloads(&mut self, more: u32) {
        self.downloads = self.downloads.saturating_add(more);
    }

    /// The place of an address in the rows of its family.
    fn place(&self, addr: SocketAddr, spread: Spread) -> Option<usize> {
        let port = addr.port();
        match addr.ip() {
            IpAddr::V4(ip) => {
                let ip = ip.octets();
                self.v4.find(Row4::key_of(ip, port), ip, spread)
            }
            IpAddr::V6(ip) => {
                let ip = ip.octets();
                let table = self.v6.as_ref()?;
                table.find(Row6::key_of(ip, port), ip, spread)
            }
        }
    }

    /// How many members there are at this address.
    pub(super) fn count_of(&self, ip: IpAddr, spread: Spread) -> usize {
        match (ip, &self.v6) {
            (IpAddr::V4(ip), _) => self.v4.count_of(ip.octets(), spread),
            (IpAddr::V6(ip), Some(table)) => table.count_of(ip.octets(), spread),
            (IpAddr::V6(_), None) => 0,
        }
    }

    /// Replaces the member at an address, which from now on lasts until a tick; what it was before, if there was one.
    pub(super) fn renew(
        &mut self,
        member: Foreigner,
        until: u8,
        spread: Spread,
    ) -> Option<Foreigner> {
        let place = self.place(member.addr, spread)?;
        match (member.addr.ip(), &mut self.v6) {
            (IpAddr::V4(ip), _) => {
                let before = self.v4.at(place);
                let row = Row4::new(ip.octets(), &member, until);
                self.v4.replace(place, row, spread);
                Some(before.foreigner())
            }
            (IpAddr::V6(ip), table) => {
                let table = table.as_mut()?;
                let before = table.at(place);
                table.replace(place, Row6::new(ip.octets(), &member, until), spread);
                Some(before.foreigner())
            }
        }
    }

    /// Adds a member, whose address must be new, at `now_s` until a tick.
    pub(super) fn put(&mut self, member: Foreigner, until: u8, now_s: u32, spread: Spread) {
        if self.len() == 0 {
            self.began_s = now_s;
        }
        match member.addr.ip() {
            IpAddr::V4(ip) => {
                let row = Row4::new(ip.octets(), &member, until);
                self.v4.insert(row, spread);
            }
            IpAddr::V6(ip) => {
                let row = Row6::new(ip.octets(), &member, until);
                self.v6.get_or_insert_default().insert(row, spread);
            }
        }
    }

    /// Removes the member at this address, and says what it was.
    pub(super) fn remove(&mut self, addr: SocketAddr, spread: Spread) -> Option<Foreigner> {
        let place = self.place(addr, spread)?;
        let before = match (addr, &mut self.v6) {
            (SocketAddr::V4(_), _) => {
                let before = self.v4.at(place).foreigner();
                self.v4.remove(place, spread);
                before
            }
            (SocketAddr::V6(_), table) => {
                let table = table.as_mut()?;
                let before = table.at(place).foreigner();
                table.remove(place, spread);
                before
            }
        };
        self.settle();
        Some(before)
    }

    /// Forgets those whose time is over at the tick `now`.
    pub(super) fn expire(&mut self, now: u8, spread: Spread) {
        self.v4.expire(now, spread);
        if let Some(table) = &mut self.v6 {
            table.expire(now, spread);
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.v6_len() == 0 {
            self.v6 = None;
        }
    }

    /// The members from the one at `place` on, in an order that lasts until one comes or goes.
    pub(super) fn starting_at(&self, place: usize) -> impl Iterator<Item = (usize, Foreigner)> {
        let v6 = self.v6.iter().flat_map(|table| table.rows());
        let v6 = v6.map(Row::foreigner);
        let all = self.v4.rows().map(Row::foreigner).chain(v6);
        all.enumerate().skip(place)
    }

    /// Chooses members: seeds and others in proportion, but a quarter seeds while there are any. How many were taken.
    pub(super) fn choose(
        &self,
        want: ForeignWant,
        rng: &mut Rng,
        chooser: &mut impl Chooser,
    ) -> usize {
        let families = [want.scopes[0] != 0, want.scopes[1] != 0];
        let [mut seeds, mut others] =
            [true, false].map(|of_seeds| Walk::new(self, of_seeds, families, rng));
        let mut taken = 0;
        if !want.only_fetching {
            let share = (want.count * seeds.len).div_ceil((seeds.len + others.len).max(1));
            let wanted = share.max(want.count.div_ceil(4)).min(want.count);
            seeds.follow(wanted, &want, &mut taken, chooser);
        }
        others.follow(want.count, &want, &mut taken, chooser);
        if !want.only_fetching {
            seeds.follow(want.count, &want, &mut taken, chooser);
        }
        taken
    }

    /// Asserts the invariants.
    pub(super) fn check(&self, spread: Spread) {
        self.v4.check(spread);
        if let Some(table) = &self.v6 {
            table.check(spread);
            assert!(table.len() > 0);
        }
    }
}

/// A walk over the seeds, or over the others, of both families: once around, from a random place.
struct Walk<'a> {
    members: &'a Foreigners,
    /// First place and number of rows, of IPv4 and of IPv6.
    v4: (usize, usize),
    v6: (usize, usize),
    len: usize,
    next: usize,
    left: usize,
}

impl<'a> Walk<'a> {
    fn new(members: &'a Foreigners, of_seeds: bool, families: [bool; 2], rng: &mut Rng) -> Self {
        let part = |len: usize, seeds: usize, is_used| match (is_used, of_seeds) {
            (false, _) => (0, 0),
            (true, true) => (0, seeds),
            (true, false) => (seeds, len - seeds),
        };
        let v4 = part(members.v4.len(), members.v4.seeds(), families[0]);
        let v6 = part(members.v6_len(), members.v6_seeds(), families[1]);
        let len = v4.1 + v6.1;
        Self {
            members,
            v4,
            v6,
            len,
            next: if len == 0 { 0 } else { rng.below(len) },
            left: len.min(LOOKED_AT_MAX),
        }
    }

    /// Goes on until `taken` is `count` or the walk is over.
    fn follow(
        &mut self,
        count: usize,
        want: &ForeignWant,
        taken: &mut usize,
        chooser: &mut impl Chooser,
    ) {
        while *taken < count && self.left > 0 {
            let in_v4 = self.next < self.v4.1;
            let (first, beyond) = if in_v4 {
                (self.v4.0 + self.next, self.v4.0 + self.v4.1)
            } else {
                let next = self.next - self.v4.1;
                (self.v6.0 + next, self.v6.0 + self.v6.1)
            };
            let last = beyond.min(first + self.left);
            let mut looked_at = 0;
            let mut look = |takes: bool| {
                looked_at += 1;
                *taken += usize::from(takes);
                *taken < count
            };
            if in_v4 {
                self.members.v4.each(first, last, |row| {
                    look(want.takes(row.flags(), false) && chooser.take_v4(row))
                });
            } else if let Some(table) = &self.members.v6 {
                table.each(first, last, |row| {
                    look(want.takes(row.flags(), true) && chooser.take_v6(row))
                });
            }
            self.left -= looked_at;
            self.next += looked_at;
            if self.next == self.len {
                self.next = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spread() -> Spread {
        Spread::new((1, 2))
    }

    fn member(addr: SocketAddr, is_seed: bool) -> Foreigner {
        Foreigner {
            addr,
            is_seed,
            is_upload_only: addr.port().is_multiple_of(5),
        }
    }

    fn random_addr(rng: &mut Rng) -> SocketAddr {
        let ip: IpAddr = if rng.below(3) == 0 {
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1 + rng.below(3) as u16].into()
        } else {
            [10, 0, 0, 1 + rng.below(4) as u8].into()
        };
        SocketAddr::new(ip, 1 + rng.below(6) as u16)
    }

    /// Everybody of these scopes.
    fn want(count: usize, scopes: [u8; 2]) -> ForeignWant {
        ForeignWant {
            count,
            only_fetching: false,
            scopes,
        }
    }

    /// Takes all but one.
    #[derive(Default)]
    struct Taken {
        members: Vec<Foreigner>,
        but: Option<SocketAddr>,
    }

    impl Taken {
        fn take(&mut self, member: Foreigner) -> bool {
            let is_fine = Some(member.addr) != self.but;
            self.members.extend(is_fine.then_some(member));
            is_fine
        }
    }

    impl Chooser for Taken {
        fn take_v4(&mut self, row: Row4) -> bool {
            self.take(row.foreigner())
        }
        fn take_v6(&mut self, row: Row6) -> bool {
            self.take(row.foreigner())
        }
    }

    fn chosen(ours: &Foreigners, want: ForeignWant, rng: &mut Rng) -> Vec<Foreigner> {
        let mut taken = Taken::default();
        let count = ours.choose(want, rng, &mut taken);
        assert_eq!(taken.members.len(), count);
        taken.members
    }

    #[test]
    fn members_that_come_change_and_go_are_those_of_a_map() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut ours, mut map) = (Foreigners::default(), BTreeMap::new());
            // Few of them now and then, so that they move between their places.
            let stays = 3 + rng.below(5);
            for now in 0..100 {
                let addr = random_addr(&mut rng);
                match rng.below(8) {
                    put if put < stays => {
                        let (new, until) = (member(addr, rng.below(2) == 0), rng.below(120) as u8);
                        let before = ours.renew(new, until, spread());
                        if before.is_none() {
                            ours.put(new, until, now, spread());
                        }
                        let expected = map.insert(addr, (new, until));
                        assert_eq!(before, expected.map(|(member, _)| member), "seed {seed}");
                    }
                    6 => {
                        ours.expire(now as u8, spread());
                        map.retain(|_, (_, until)| u32::from(*until) > now);
                    }
                    _ => {
                        let expected = map.remove(&addr).map(|(member, _)| member);
                        assert_eq!(ours.remove(addr, spread()), expected, "seed {seed}");
                    }
                }
                ours.check(spread());
                let found = map.get(&addr).map(|(member, _)| *member);
                let member = |place: usize| match addr {
                    SocketAddr::V4(_) => ours.v4.at(place).foreigner(),
                    SocketAddr::V6(_) => ours.v6.as_ref().expect("of IPv6").at(place).foreigner(),
                };
                let place = ours.place(addr, spread());
                assert_eq!(place.map(member), found, "seed {seed}");
                let of_ip = map.keys().filter(|key| key.ip() == addr.ip()).count();
                assert_eq!(ours.count_of(addr.ip(), spread()), of_ip, "seed {seed}");
                assert_eq!(ours.len(), map.len());
                let seeds = map.values().filter(|(member, _)| member.is_seed).count();
                assert_eq!(ours.seed_count(), seeds, "seed {seed}");
            }
            let mut all: Vec<_> = ours.starting_at(0).map(|(_, member)| member).collect();
            all.sort_by_key(|member| member.addr);
            assert!(all.iter().eq(map.values().map(|(member, _)| member)));
            assert!(
                ours.starting_at(3)
                    .map(|(place, _)| place)
                    .eq(3..ours.len().max(3))
            );
        }
    }

    #[test]
    fn everybody_of_use_is_chosen_once_when_there_is_room() {
        for count in [2, 3, 100] {
            let mut rng = Rng::new(3);
            let mut ours = Foreigners::default();
            for _ in 0..count {
                let new = member(random_addr(&mut rng), rng.below(3) == 0);
                if ours.renew(new, 9, spread()).is_none() {
                    ours.put(new, 9, 0, spread());
                }
            }
            for only_fetching in [false, true] {
                for scopes in [[15, 15], [15, 0], [0, 15], [4, 8], [3, 3]] {
                    let want = ForeignWant {
                        only_fetching,
                        ..want(1000, scopes)
                    };
                    let mut names: Vec<_> = chosen(&ours, want, &mut rng);
                    names.sort_by_key(|member| member.addr);
                    let mut expected: Vec<_> = ours.starting_at(0).map(|(_, m)| m).collect();
                    expected.sort_by_key(|member| member.addr);
                    expected.retain(|m| {
                        let scopes = scopes[usize::from(m.addr.is_ipv6())];
                        // The first are private, the others global.
                        let scope = if m.addr.is_ipv6() { 8 } else { 4 };
                        scopes & scope != 0 && !(only_fetching && (m.is_seed || m.is_upload_only))
                    });
                    assert_eq!(names, expected);
                }
            }
        }
    }

    #[test]
    fn a_quarter_are_seeds_and_every_member_has_its_turn() {
        let mut rng = Rng::new(4);
        let mut ours = Foreigners::default();
        let addr = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        for port in 1..=400 {
            ours.put(member(addr(port), port <= 40), 9, 0, spread());
        }
        let mut named = BTreeMap::new();
        for _ in 0..1000 {
            let names = chosen(&ours, want(20, [15, 0]), &mut rng);
            assert_eq!(names.len(), 20);
            assert_eq!(names.iter().filter(|member| member.is_seed).count(), 5);
            for member in names {
                *named.entry(member.addr).or_insert(0) += 1;
            }
        }
        assert_eq!(named.len(), 400);
        let others = named.iter().filter(|(addr, _)| addr.port() > 40);
        // 15 of 360 each time: 42 of a thousand on average.
        assert!(others.clone().all(|(_, count)| (15..80).contains(count)));
    }

    #[test]
    fn a_choice_looks_at_so_many_and_no_more() {
        let mut ours = Foreigners::default();
        for port in 1..=5000 {
            let addr = SocketAddr::from(([10, 0, 0, 1], port));
            ours.put(member(addr, false), 9, 0, spread());
        }
        struct Nobody(usize);
        impl Chooser for Nobody {
            fn take_v4(&mut self, _: Row4) -> bool {
                self.0 += 1;
                false
            }
            fn take_v6(&mut self, _: Row6) -> bool {
                false
            }
        }
        let mut nobody = Nobody(0);
        assert_eq!(
            ours.choose(want(50, [15, 15]), &mut Rng::new(1), &mut nobody),
            0
        );
        assert_eq!(nobody.0, LOOKED_AT_MAX);
        let mut but = Taken {
            but: Some(SocketAddr::from(([10, 0, 0, 1], 7))),
            ..Taken::default()
        };
        ours.choose(want(1024, [15, 15]), &mut Rng::new(1), &mut but);
        assert!(but.members.len() >= 1023);
    }
}
