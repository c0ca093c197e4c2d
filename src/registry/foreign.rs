//! The members of one content that announce over HTTP or UDP.
//!
//! Owns where they listen and until when they count. They are told apart by address and port alone: whoever announces
//! from one address cannot touch the member of another, whatever peer id it gives. Of a foreign member only is known
//! whether it holds everything.
//!
//! Rows lie one behind the other in the order of their addresses, those of seeds first, so that a million of them take
//! tens of bytes each and whom to name is a walk from a random place.
//!
//! Invariants (`check`): in each of the two families the seeds come first, and either part is in ascending order, each
//! address and port once.

use std::net::{IpAddr, SocketAddr};

use crate::base::{PeerId, Rng};

/// Foreign members of one content.
pub const FOREIGN_PER_SWARM_MAX: usize = 65_535;
/// Foreign members of one content at one address; loopback is exempt.
pub const FOREIGN_PER_IP_MAX: usize = 1024;
/// Rows that one choice looks at, whatever it finds.
const LOOKED_AT_MAX: usize = 1024;

/// A foreign member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreigner {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Whether it holds everything.
    pub is_seed: bool,
    /// Whether it fetches nothing more (BEP 21).
    pub is_upload_only: bool,
    /// The second at which it is forgotten, unless it announces again.
    pub until_s: u32,
}

/// What is wanted of a choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForeignWant {
    /// How many, at most.
    pub count: usize,
    /// Whether only members that fetch are of use.
    pub only_fetching: bool,
    /// Whether IPv4 addresses are of use, and IPv6 ones.
    pub families: [bool; 2],
}

/// All foreign members of one content.
#[derive(Debug, Default)]
pub(super) struct Foreigners {
    v4: Table<[u8; 4]>,
    v6: Table<[u8; 16]>,
    /// The second since which there has always been a member.
    began_s: u32,
    downloads: u32,
    version: u32,
}

impl Foreigners {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.v4.rows.len() + self.v6.rows.len()
    }

    /// How many hold everything.
    pub(super) fn seed_count(&self) -> usize {
        (self.v4.seeds + self.v6.seeds) as usize
    }

    /// The second since which there has always been a member.
    pub(super) fn began_s(&self) -> u32 {
        self.began_s
    }

    /// How often the content was fetched to the end.
    pub(super) fn downloads(&self) -> u32 {
        self.downloads
    }

    /// Counts one more.
    pub(super) fn count_download(&mut self) {
        self.downloads = self.downloads.saturating_add(1);
    }

    /// Changes with the number of seeds.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// The member at this address.
    pub(super) fn find(&self, addr: SocketAddr) -> Option<Foreigner> {
        match addr.ip() {
            IpAddr::V4(ip) => self.v4.find((ip.octets(), addr.port())),
            IpAddr::V6(ip) => self.v6.find((ip.octets(), addr.port())),
        }
    }

    /// How many members there are at this address.
    pub(super) fn count_of(&self, ip: IpAddr) -> usize {
        match ip {
            IpAddr::V4(ip) => self.v4.count_of(ip.octets()),
            IpAddr::V6(ip) => self.v6.count_of(ip.octets()),
        }
    }

    /// Adds a member at `now_s`, or replaces the one at its address.
    pub(super) fn put(&mut self, member: Foreigner, now_s: u32) {
        if self.len() == 0 {
            self.began_s = now_s;
        }
        let seeds = self.seed_count();
        match member.addr.ip() {
            IpAddr::V4(ip) => self.v4.put(Row::new(ip.octets(), &member)),
            IpAddr::V6(ip) => self.v6.put(Row::new(ip.octets(), &member)),
        }
        self.note_seeds(seeds);
    }

    /// Removes the member at this address, and says whether there was one.
    pub(super) fn remove(&mut self, addr: SocketAddr) -> bool {
        let seeds = self.seed_count();
        let was_there = match addr.ip() {
            IpAddr::V4(ip) => self.v4.remove((ip.octets(), addr.port())),
            IpAddr::V6(ip) => self.v6.remove((ip.octets(), addr.port())),
        };
        self.note_seeds(seeds);
        was_there
    }

    /// Forgets those whose time was up at `now_s`.
    pub(super) fn expire(&mut self, now_s: u32) {
        let seeds = self.seed_count();
        self.v4.expire(now_s);
        self.v6.expire(now_s);
        self.note_seeds(seeds);
    }

    fn note_seeds(&mut self, before: usize) {
        if self.seed_count() != before {
            self.version = self.version.wrapping_add(1);
        }
    }

    /// The members from the one at `place` on, in an order that lasts until one comes or goes.
    pub(super) fn starting_at(&self, place: usize) -> impl Iterator<Item = (usize, Foreigner)> {
        (place..self.len()).map(|place| (place, self.at(place)))
    }

    fn at(&self, place: usize) -> Foreigner {
        match self.v4.rows.get(place) {
            Some(row) => row.foreigner(place < self.v4.seeds as usize),
            None => {
                let place = place - self.v4.rows.len();
                self.v6.rows[place].foreigner(place < self.v6.seeds as usize)
            }
        }
    }

    /// Chooses members: seeds and others in proportion, but a quarter seeds while there are any. `accept` says who may be
    /// chosen.
    pub(super) fn choose(
        &self,
        want: ForeignWant,
        rng: &mut Rng,
        mut accept: impl FnMut(&Foreigner) -> bool,
    ) -> Vec<Foreigner> {
        let mut chosen = Vec::new();
        let mut accept = |member: &Foreigner| {
            !(want.only_fetching && (member.is_seed || member.is_upload_only)) && accept(member)
        };
        let mut walks = [true, false].map(|of_seeds| self.walk(of_seeds, want.families, rng));
        let [seeds, others] = &mut walks;
        if !want.only_fetching {
            let share = (want.count * seeds.left).div_ceil((seeds.left + others.left).max(1));
            let wanted = share.max(want.count.div_ceil(4)).min(want.count);
            self.follow(seeds, wanted, &mut accept, &mut chosen);
        }
        self.follow(others, want.count, &mut accept, &mut chosen);
        if !want.only_fetching {
            self.follow(seeds, want.count, &mut accept, &mut chosen);
        }
        rng.shuffle(&mut chosen);
        chosen
    }

    /// A walk over the seeds, or over the others, from a random place.
    fn walk(&self, of_seeds: bool, families: [bool; 2], rng: &mut Rng) -> Walk {
        let v4 = self.v4.places(of_seeds);
        let start_of_v6 = self.v4.rows.len() as u32;
        let mut v6 = self.v6.places(of_seeds);
        (v6.0, v6.1) = (v6.0 + start_of_v6, v6.1 + start_of_v6);
        let used =
            |(from, to): (u32, u32), is_used| if is_used { (from, to) } else { (from, from) };
        let parts = [used(v4, families[0]), used(v6, families[1])];
        let len = parts.iter().map(|(from, to)| (to - from) as usize).sum();
        Walk {
            parts,
            next: if len == 0 { 0 } else { rng.below(len) },
            left: len,
            len,
        }
    }

    /// Continues a walk until `chosen` has `count` entries or it is over.
    fn follow(
        &self,
        walk: &mut Walk,
        count: usize,
        accept: &mut impl FnMut(&Foreigner) -> bool,
        chosen: &mut Vec<Foreigner>,
    ) {
        while chosen.len() < count && walk.left > 0 && walk.len - walk.left < LOOKED_AT_MAX {
            let member = self.at(walk.place());
            walk.left -= 1;
            walk.next = (walk.next + 1) % walk.len;
            if accept(&member) {
                chosen.push(member);
            }
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.v4.check();
        self.v6.check();
    }
}

/// A walk over two ranges of places, once around.
struct Walk {
    parts: [(u32, u32); 2],
    next: usize,
    left: usize,
    len: usize,
}

impl Walk {
    fn place(&self) -> usize {
        let [(first, end), (second, _)] = self.parts;
        let in_first = (end - first) as usize;
        match self.next.checked_sub(in_first) {
            None => first as usize + self.next,
            Some(beyond) => second as usize + beyond,
        }
    }
}

/// One member, but for what its place says: whether it is a seed.
#[derive(Clone, Copy, Debug)]
struct Row<A> {
    ip: A,
    port: u16,
    is_upload_only: bool,
    peer_id: PeerId,
    until_s: u32,
}

impl<A: Copy + Into<IpAddr>> Row<A> {
    fn new(ip: A, member: &Foreigner) -> (Self, bool) {
        let row = Self {
            ip,
            port: member.addr.port(),
            is_upload_only: member.is_upload_only,
            peer_id: member.peer_id,
            until_s: member.until_s,
        };
        (row, member.is_seed)
    }

    fn foreigner(&self, is_seed: bool) -> Foreigner {
        Foreigner {
            addr: SocketAddr::new(self.ip.into(), self.port),
            peer_id: self.peer_id,
            is_seed,
            is_upload_only: self.is_upload_only,
            until_s: self.until_s,
        }
    }
}

/// The members of one family.
#[derive(Debug)]
struct Table<A> {
    rows: Vec<Row<A>>,
    /// How many of the rows, from the first, are seeds.
    seeds: u32,
}

impl<A> Default for Table<A> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            seeds: 0,
        }
    }
}

impl<A: Copy + Ord + Into<IpAddr>> Table<A> {
    /// The range of places of the seeds, or of the others.
    fn places(&self, of_seeds: bool) -> (u32, u32) {
        if of_seeds {
            (0, self.seeds)
        } else {
            (self.seeds, self.rows.len() as u32)
        }
    }

    fn part(&self, of_seeds: bool) -> &[Row<A>] {
        let (seeds, others) = self.rows.split_at(self.seeds as usize);
        if of_seeds { seeds } else { others }
    }

    /// The place of a key in one of the parts, or where it would be.
    fn search(&self, key: (A, u16), of_seeds: bool) -> Result<usize, usize> {
        let start = self.places(of_seeds).0 as usize;
        let found = self
            .part(of_seeds)
            .binary_search_by_key(&key, |row| (row.ip, row.port));
        match found {
            Ok(place) => Ok(start + place),
            Err(place) => Err(start + place),
        }
    }

    /// The place of a key in either part, and whether it is that of a seed.
    fn place(&self, key: (A, u16)) -> Option<(usize, bool)> {
        let of = |of_seeds| Some((self.search(key, of_seeds).ok()?, of_seeds));
        of(false).or_else(|| of(true))
    }

    fn find(&self, key: (A, u16)) -> Option<Foreigner> {
        let (place, is_seed) = self.place(key)?;
        Some(self.rows[place].foreigner(is_seed))
    }

    fn count_of(&self, ip: A) -> usize {
        let count = |of_seeds| {
            let rows = self.part(of_seeds);
            rows.partition_point(|row| row.ip <= ip) - rows.partition_point(|row| row.ip < ip)
        };
        count(true) + count(false)
    }

    fn put(&mut self, (row, is_seed): (Row<A>, bool)) {
        let key = (row.ip, row.port);
        match self.search(key, is_seed) {
            Ok(place) => self.rows[place] = row,
            Err(_) => {
                self.remove(key);
                let place = self.search(key, is_seed).unwrap_or_else(|place| place);
                self.rows.insert(place, row);
                self.seeds += u32::from(is_seed);
            }
        }
    }

    fn remove(&mut self, key: (A, u16)) -> bool {
        let Some((place, is_seed)) = self.place(key) else {
            return false;
        };
        self.rows.remove(place);
        self.seeds -= u32::from(is_seed);
        true
    }

    fn expire(&mut self, now_s: u32) {
        let (mut place, seeds) = (0, self.seeds);
        let left = &mut self.seeds;
        self.rows.retain(|row| {
            let stays = row.until_s > now_s;
            *left -= u32::from(!stays && place < seeds);
            place += 1;
            stays
        });
        if self.rows.len() < self.rows.capacity() / 4 {
            self.rows.shrink_to_fit();
        }
    }

    fn check(&self) {
        assert!(self.seeds as usize <= self.rows.len());
        for of_seeds in [true, false] {
            let keys = self.part(of_seeds).iter().map(|row| (row.ip, row.port));
            assert!(keys.is_sorted_by(|a, b| a < b), "rows out of order");
        }
        let seeds = self.part(true).iter();
        let mut keys = seeds.map(|row| (row.ip, row.port));
        assert!(keys.all(|key| self.search(key, false).is_err()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn member(addr: SocketAddr, is_seed: bool, until_s: u32) -> Foreigner {
        Foreigner {
            addr,
            peer_id: PeerId([addr.port() as u8; 20]),
            is_seed,
            is_upload_only: addr.port().is_multiple_of(5),
            until_s,
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

    #[test]
    fn members_that_come_change_and_go_are_those_of_a_map() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let (mut ours, mut map) = (Foreigners::default(), BTreeMap::new());
            for now_s in 0..300 {
                let addr = random_addr(&mut rng);
                match rng.below(8) {
                    0..5 => {
                        let until_s = now_s + rng.below(100) as u32;
                        let new = member(addr, rng.below(2) == 0, until_s);
                        ours.put(new, now_s);
                        map.insert(addr, new);
                    }
                    5 => assert_eq!(ours.remove(addr), map.remove(&addr).is_some()),
                    6 => {
                        ours.expire(now_s);
                        map.retain(|_, member| member.until_s > now_s);
                    }
                    _ => {
                        let of_ip = map.keys().filter(|key| key.ip() == addr.ip()).count();
                        assert_eq!(ours.count_of(addr.ip()), of_ip, "seed {seed}");
                    }
                }
                ours.check();
                assert_eq!(ours.find(addr), map.get(&addr).copied(), "seed {seed}");
                assert_eq!(ours.len(), map.len());
                let seeds = map.values().filter(|member| member.is_seed).count();
                assert_eq!(ours.seed_count(), seeds, "seed {seed}");
            }
            let mut all: Vec<_> = ours.starting_at(0).map(|(_, member)| member).collect();
            all.sort_by_key(|member| member.addr);
            assert_eq!(all, map.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_choice_names_as_many_as_are_wanted_and_may_be_each_once() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut ours = Foreigners::default();
            for _ in 0..rng.below(30) {
                ours.put(member(random_addr(&mut rng), rng.below(3) == 0, 9), 0);
            }
            let want = ForeignWant {
                count: rng.below(12),
                only_fetching: rng.below(2) == 0,
                families: [rng.below(4) > 0, rng.below(4) > 0],
            };
            let avoided = random_addr(&mut rng);
            let may = |member: &Foreigner| {
                member.addr != avoided
                    && want.families[usize::from(member.addr.is_ipv6())]
                    && !(want.only_fetching && (member.is_seed || member.is_upload_only))
            };
            let eligible = ours.starting_at(0).filter(|(_, member)| may(member));
            let count = eligible.count().min(want.count);
            let chosen = ours.choose(want, &mut rng, |member| member.addr != avoided);
            assert_eq!(chosen.len(), count, "seed {seed}");
            assert!(chosen.iter().all(may), "seed {seed}");
            let mut addrs: Vec<_> = chosen.iter().map(|member| member.addr).collect();
            addrs.sort_unstable();
            addrs.dedup();
            assert_eq!(addrs.len(), chosen.len(), "seed {seed}: named twice");
        }
    }

    #[test]
    fn a_member_takes_a_few_dozen_bytes_and_a_swarm_a_hundred() {
        assert!(size_of::<Row<[u8; 4]>>() <= 32);
        assert!(size_of::<Row<[u8; 16]>>() <= 44);
        assert!(size_of::<Foreigners>() <= 80);
    }

    #[test]
    fn the_age_of_a_swarm_starts_over_when_it_was_empty() {
        let mut ours = Foreigners::default();
        let addr = "10.0.0.1:1".parse().expect("an address");
        ours.put(member(addr, false, 100), 10);
        ours.put(member(addr, true, 100), 20);
        assert_eq!(ours.began_s(), 10);
        ours.expire(100);
        assert_eq!(ours.len(), 0);
        ours.put(member(addr, false, 300), 200);
        assert_eq!(ours.began_s(), 200);
    }
}
