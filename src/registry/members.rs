//! The members of one content: what each holds, and who is named to whom.
//!
//! Owns the members, their availability and the list of those that are withheld. Knows clients only by number: who they
//! are and which addresses they may be given is told by the registry with each question.
//!
//! Invariants (`check`):
//! 1. `seeds` names exactly the members that hold everything, `others` the rest, each at its `place`.
//! 2. The availability is that of what the members hold.
//! 3. `by_peer` names every member once: one peer at one address is one member.
//! 4. An address is withheld only after two distinct reporters accused it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use slab::Slab;

use super::availability::{Availability, Holding};
use crate::base::{Bitfield, PeerId, Rng};

/// Addresses under accusation, and addresses withheld, that are kept per content.
pub(super) const ACCUSED_MAX: usize = 1024;
/// Addresses under accusation by one reporter, so that a liar cannot fill the table.
pub(super) const ACCUSED_PER_REPORTER_MAX: usize = 64;
/// Members that one choice looks at, whatever it finds.
const LOOKED_AT_MAX: usize = 1024;
/// Members among which those with urgently missing pieces are looked for.
const URGENT_CHOICE_MAX: usize = 256;

/// One peer at one address: a second connection with both is the same peer, come back.
pub(super) type PeerPlace = (PeerId, SocketAddr);

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    /// The client's number.
    pub client: u32,
    /// What the client calls this membership.
    pub slot: u32,
    /// What it holds.
    pub holding: Holding,
    /// Whether it fetches nothing more (BEP 21).
    pub is_upload_only: bool,
    /// Bytes that it says it fetched.
    pub down_bytes: u64,
    place: u32,
}

/// What is asked for when somebody wants others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want<'a> {
    /// The key of the member that asks, if it is one of these.
    pub asker: Option<u32>,
    /// Whether only members that fetch are of use: the asker fetches nothing more.
    pub only_fetching: bool,
    /// How many members it wants at most.
    pub count: usize,
    /// Pieces that it misses urgently: who holds one of them is named first.
    pub urgent: Option<&'a Bitfield>,
}

/// All members of one content.
#[derive(Debug)]
pub(super) struct Members {
    table: Slab<Member>,
    seeds: Vec<u32>,
    /// Changes with every change of `seeds`.
    seeds_version: u32,
    others: Vec<u32>,
    by_peer: BTreeMap<PeerPlace, u32>,
    availability: Availability,
    accused: BTreeMap<SocketAddr, SocketAddr>,
    withheld: BTreeSet<SocketAddr>,
    down_bytes: u64,
}

impl Members {
    /// No members of a content of `piece_count` pieces.
    pub(super) fn new(piece_count: u32) -> Self {
        Self {
            table: Slab::new(),
            seeds: Vec::new(),
            seeds_version: 0,
            others: Vec::new(),
            by_peer: BTreeMap::new(),
            availability: Availability::new(piece_count),
            accused: BTreeMap::new(),
            withheld: BTreeSet::new(),
            down_bytes: 0,
        }
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many members hold everything.
    pub(super) fn seed_count(&self) -> usize {
        self.seeds.len()
    }

    /// The members that hold everything.
    pub(super) fn seeds(&self) -> &[u32] {
        &self.seeds
    }

    /// Changes with every change of the members that hold everything.
    pub(super) fn seeds_version(&self) -> u32 {
        self.seeds_version
    }

    /// How many members hold each piece.
    pub(super) fn availability(&self) -> &Availability {
        &self.availability
    }

    /// Changes of the counts are noted from now on; the version that they have now.
    pub(super) fn watch_counts(&mut self) -> u32 {
        self.availability.watch(true);
        self.availability.version()
    }

    /// Changes of the counts need no longer be noted.
    pub(super) fn forget_changes(&mut self) {
        self.availability.watch(false);
    }

    /// The number of foreign seeds, who hold every piece, has changed.
    pub(super) fn note_foreign_seeds(&mut self) {
        self.availability.touch();
    }

    /// Bytes that members, gone ones included, say they fetched.
    pub(super) fn down_bytes(&self) -> u64 {
        self.down_bytes
    }

    /// Bytes of memory for bitmaps and counts.
    pub(super) fn heap_bytes(&self) -> usize {
        self.availability.heap_bytes()
    }

    /// The member of this key, which must be one.
    pub(super) fn member(&self, key: u32) -> &Member {
        &self.table[key as usize]
    }

    /// The member of this peer, if it is one.
    pub(super) fn find(&self, peer: &PeerPlace) -> Option<u32> {
        self.by_peer.get(peer).copied()
    }

    /// Members with keys of at least `from`, ascending.
    pub(super) fn starting_at(&self, from: u32) -> impl Iterator<Item = (u32, &Member)> {
        // A slab has as many places as it ever had members at once, so that walking them is paid for by those.
        (from as usize..self.table.capacity())
            .filter_map(|key| Some((key as u32, self.table.get(key)?)))
    }

    /// The members of this peer id, at whatever address.
    pub(super) fn of_peer(&self, peer_id: PeerId) -> impl Iterator<Item = &Member> {
        let first = SocketAddr::from(([0, 0, 0, 0], 0));
        let from_peer = self.by_peer.range((peer_id, first)..);
        let of_peer = from_peer.take_while(move |((id, _), _)| *id == peer_id);
        of_peer.map(|(_, &key)| self.member(key))
    }

    /// Adds a member, whose peer must not be one, and returns its key.
    pub(super) fn add(
        &mut self,
        peer: PeerPlace,
        client: u32,
        slot: u32,
        holding: Holding,
        is_upload_only: bool,
    ) -> u32 {
        self.availability.add(&holding);
        let is_seed = holding.is_all();
        let key = self.table.insert(Member {
            client,
            slot,
            holding,
            is_upload_only,
            down_bytes: 0,
            place: 0,
        }) as u32;
        self.enlist(key, is_seed);
        self.by_peer.insert(peer, key);
        key
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, key: u32, peer: &PeerPlace) {
        self.delist(key);
        let member = self.table.remove(key as usize);
        self.availability.remove(&member.holding);
        self.by_peer.remove(peer);
    }

    /// Replaces what a member holds.
    pub(super) fn replace(&mut self, key: u32, holding: Holding, is_upload_only: bool) {
        self.delist(key);
        let member = &mut self.table[key as usize];
        member.is_upload_only = is_upload_only;
        self.availability.remove(&member.holding);
        member.holding = holding;
        self.availability.add(&member.holding);
        let is_seed = member.holding.is_all();
        self.enlist(key, is_seed);
    }

    /// Changes pieces of a member one by one: `true` = it has the piece, `false` = it lost it. Every piece must be one of
    /// the content.
    pub(super) fn change(
        &mut self,
        key: u32,
        piece_count: u32,
        changes: impl Iterator<Item = (u32, bool)>,
    ) {
        let was_seed = self.member(key).holding.is_all();
        for (piece, has) in changes {
            let member = &mut self.table[key as usize];
            let pieces = match &mut member.holding {
                Holding::Some(pieces) => pieces,
                Holding::All if has => continue,
                Holding::None if !has => continue,
                whole => {
                    self.availability.remove(whole);
                    *whole = Holding::Some(match whole {
                        Holding::All => Bitfield::all(piece_count),
                        _ => Bitfield::none(piece_count),
                    });
                    self.availability.add(whole);
                    let Holding::Some(pieces) = whole else {
                        unreachable!("just made")
                    };
                    pieces
                }
            };
            if has && pieces.set(piece) {
                self.availability.gain(piece);
            } else if !has && pieces.clear(piece) {
                self.availability.lose(piece);
            }
        }
        self.settle(key, was_seed);
    }

    /// Gives what a member holds its smallest form, and the member its list.
    fn settle(&mut self, key: u32, was_seed: bool) {
        let holding = &mut self.table[key as usize].holding;
        if let Holding::Some(pieces) = holding
            && (pieces.is_all() || pieces.is_empty())
        {
            self.availability.remove(holding);
            *holding = match holding {
                Holding::Some(pieces) if pieces.is_all() => Holding::All,
                _ => Holding::None,
            };
            self.availability.add(holding);
        }
        let is_seed = holding.is_all();
        if is_seed != was_seed {
            self.delist_from(key, was_seed);
            self.enlist(key, is_seed);
        }
    }

    /// Takes a member's count of fetched bytes.
    pub(super) fn note_down(&mut self, key: u32, down_bytes: u64) {
        let member = &mut self.table[key as usize];
        let more = down_bytes.saturating_sub(member.down_bytes);
        member.down_bytes = member.down_bytes.max(down_bytes);
        self.down_bytes = self.down_bytes.saturating_add(more);
    }

    fn list(&mut self, of_seeds: bool) -> &mut Vec<u32> {
        if of_seeds {
            &mut self.seeds
        } else {
            &mut self.others
        }
    }

    fn enlist(&mut self, key: u32, is_seed: bool) {
        self.seeds_version = self.seeds_version.wrapping_add(u32::from(is_seed));
        let list = self.list(is_seed);
        list.push(key);
        let place = list.len() as u32 - 1;
        self.table[key as usize].place = place;
    }

    fn delist(&mut self, key: u32) {
        let is_seed = self.member(key).holding.is_all();
        self.delist_from(key, is_seed);
    }

    fn delist_from(&mut self, key: u32, from_seeds: bool) {
        let place = self.member(key).place;
        self.seeds_version = self.seeds_version.wrapping_add(u32::from(from_seeds));
        let list = self.list(from_seeds);
        list.swap_remove(place as usize);
        if let Some(&moved) = list.get(place as usize) {
            self.table[moved as usize].place = place;
        }
    }

    /// Whether a member fetches nothing more.
    pub(super) fn is_content(&self, key: u32) -> bool {
        let member = self.member(key);
        member.holding.is_all() || member.is_upload_only
    }

    /// Chooses members for somebody, at random: seeds and others in proportion, but a quarter seeds while there are
    /// any; for who fetches nothing more only those that do. `given` says what the asker is given of a member, or `None`
    /// if that is nothing.
    pub(super) fn choose<T>(
        &mut self,
        want: Want<'_>,
        rng: &mut Rng,
        mut given: impl FnMut(&Self, &Member) -> Option<T>,
    ) -> Vec<T> {
        let only_fetching = want.only_fetching;
        let count = match want.urgent {
            Some(_) => URGENT_CHOICE_MAX.max(want.count),
            None => want.count,
        };
        let mut chosen: Vec<(bool, T)> = Vec::new();
        let mut accept = |members: &Self, key: u32| {
            let member = members.member(key);
            if Some(key) == want.asker || only_fetching && member.is_upload_only {
                return None;
            }
            let is_urgent = want.urgent.is_some_and(|pieces| holds_any(member, pieces));
            Some((!is_urgent, given(members, member)?))
        };
        let seeds_wanted = if only_fetching {
            0
        } else {
            self.seeds_in(count)
        };
        let mut seed_draw = Draw::new(true);
        let mut other_draw = Draw::new(false);
        self.draw(&mut seed_draw, seeds_wanted, rng, &mut accept, &mut chosen);
        self.draw(&mut other_draw, count, rng, &mut accept, &mut chosen);
        if !only_fetching {
            self.draw(&mut seed_draw, count, rng, &mut accept, &mut chosen);
        }
        rng.shuffle(&mut chosen);
        if want.urgent.is_some() {
            chosen.sort_by_key(|(is_not_urgent, _)| *is_not_urgent);
        }
        chosen.truncate(want.count);
        chosen.into_iter().map(|(_, value)| value).collect()
    }

    /// How many of `count` members should be seeds.
    fn seeds_in(&self, count: usize) -> usize {
        let share = (count * self.seeds.len()).div_ceil(self.table.len().max(1));
        share.max(count.div_ceil(4)).min(self.seeds.len())
    }

    /// Continues a draw without replacement until `chosen` has `count` entries or nobody is left to look at.
    fn draw<T>(
        &mut self,
        draw: &mut Draw,
        count: usize,
        rng: &mut Rng,
        accept: &mut impl FnMut(&Self, u32) -> Option<(bool, T)>,
        chosen: &mut Vec<(bool, T)>,
    ) {
        let len = self.list(draw.from_seeds).len();
        while chosen.len() < count && draw.looked_at < len.min(LOOKED_AT_MAX) {
            let (at, other) = (
                draw.looked_at,
                draw.looked_at + rng.below(len - draw.looked_at),
            );
            let list = self.list(draw.from_seeds);
            list.swap(at, other);
            let (key, swapped) = (list[at], list[other]);
            self.table[swapped as usize].place = other as u32;
            self.table[key as usize].place = at as u32;
            draw.looked_at += 1;
            chosen.extend(accept(self, key));
        }
    }

    /// Notes that `reporter` accuses `addr`, and says whether it is withheld now.
    pub(super) fn accuse(&mut self, reporter: SocketAddr, addr: SocketAddr) -> bool {
        if self.withheld.contains(&addr) {
            return true;
        }
        match self.accused.get(&addr) {
            Some(first) if *first != reporter && self.withheld.len() < ACCUSED_MAX => {
                self.accused.remove(&addr);
                self.withheld.insert(addr);
                return true;
            }
            Some(_) => return false,
            None => {}
        }
        let by_reporter = self.accused.values().filter(|&&r| r == reporter).count();
        if self.accused.len() < ACCUSED_MAX && by_reporter < ACCUSED_PER_REPORTER_MAX {
            self.accused.insert(addr, reporter);
        }
        false
    }

    /// Whether any address is withheld.
    pub(super) fn withholds_any(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Whether one of these addresses is withheld.
    pub(super) fn withholds(&self, addrs: &[SocketAddr]) -> bool {
        !self.withheld.is_empty() && addrs.iter().any(|addr| self.withheld.contains(addr))
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.seeds.len() + self.others.len(), self.table.len());
        for (list, of_seeds) in [(&self.seeds, true), (&self.others, false)] {
            for (place, &key) in list.iter().enumerate() {
                let member = self.member(key);
                assert_eq!(
                    (member.place as usize, member.holding.is_all()),
                    (place, of_seeds)
                );
            }
        }
        self.availability
            .check(self.table.iter().map(|(_, member)| &member.holding));
        let mut keys: Vec<u32> = self.by_peer.values().copied().collect();
        keys.sort_unstable();
        assert!(
            keys.iter()
                .copied()
                .eq(self.starting_at(0).map(|(key, _)| key))
        );
        assert!(self.accused.len() <= ACCUSED_MAX && self.withheld.len() <= ACCUSED_MAX);
    }
}

/// A draw without replacement from one of the two lists.
struct Draw {
    from_seeds: bool,
    looked_at: usize,
}

impl Draw {
    fn new(from_seeds: bool) -> Self {
        Self {
            from_seeds,
            looked_at: 0,
        }
    }
}

fn holds_any(member: &Member, pieces: &Bitfield) -> bool {
    match &member.holding {
        Holding::None => false,
        Holding::Some(held) => {
            let pairs = held.as_bytes().iter().zip(pieces.as_bytes());
            pairs.into_iter().any(|(mine, wanted)| mine & wanted != 0)
        }
        Holding::All => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn peer(number: u16) -> PeerPlace {
        (PeerId([number as u8; 20]), addr(number))
    }

    /// `seeds` seeds and then `others` members without a piece.
    fn members(seeds: u16, others: u16) -> Members {
        let mut members = Members::new(10);
        for number in 0..seeds + others {
            let holding = if number < seeds {
                Holding::All
            } else {
                Holding::None
            };
            members.add(peer(number), u32::from(number), 1, holding, false);
        }
        members
    }

    fn choose(members: &mut Members, asker: u32, count: usize) -> Vec<u32> {
        let want = Want {
            asker: Some(asker),
            only_fetching: members.is_content(asker),
            count,
            urgent: None,
        };
        let mut chosen = members.choose(want, &mut Rng::new(3), |_, member| Some(member.client));
        members.check();
        chosen.sort_unstable();
        let before = chosen.len();
        chosen.dedup();
        assert_eq!(chosen.len(), before, "nobody is named twice");
        assert!(!chosen.contains(&asker));
        chosen
    }

    #[test]
    fn a_choice_mixes_seeds_and_others() {
        let mut members = members(4, 96);
        let chosen = choose(&mut members, 50, 8);
        assert_eq!(chosen.iter().filter(|&&key| key < 4).count(), 2);
        assert_eq!(choose(&mut members, 50, 99).len(), 99);
        assert_eq!(choose(&mut members, 50, 200).len(), 99);
    }

    #[test]
    fn a_seed_is_given_only_who_fetches() {
        let mut members = members(30, 5);
        assert_eq!(choose(&mut members, 0, 50), [30, 31, 32, 33, 34]);
        assert_eq!(choose(&mut members, 30, 50).len(), 34);
    }

    #[test]
    fn who_holds_an_urgent_piece_is_named_first() {
        let mut members = members(0, 60);
        members.change(33, 10, [(7, true)].into_iter());
        let mut urgent = Bitfield::none(10);
        urgent.set(7);
        let want = Want {
            asker: Some(1),
            only_fetching: false,
            count: 5,
            urgent: Some(&urgent),
        };
        let chosen = members.choose(want, &mut Rng::new(9), |_, member| Some(member.client));
        assert_eq!((chosen.len(), chosen[0]), (5, 33));
    }

    #[test]
    fn one_reporter_cannot_withhold_anybody() {
        let mut members = members(1, 1);
        assert!(!members.accuse(addr(1), addr(9)));
        assert!(!members.accuse(addr(1), addr(9)));
        assert!(!members.withholds(&[addr(9)]));
        assert!(members.accuse(addr(2), addr(9)));
        assert!(members.withholds(&[addr(8), addr(9)]));
    }

    #[test]
    fn a_liar_cannot_fill_the_table_of_the_accused() {
        let mut members = members(1, 1);
        for port in 0..2000 {
            members.accuse(addr(1), addr(port));
        }
        assert_eq!(members.accused.len(), ACCUSED_PER_REPORTER_MAX);
        assert!(!members.accuse(addr(2), addr(3000)));
        assert!(members.accuse(addr(3), addr(3000)));
    }

    #[test]
    fn a_member_changes_lists_with_its_last_piece() {
        let mut members = members(1, 1);
        members.change(1, 10, (0..10).map(|piece| (piece, true)));
        members.check();
        assert_eq!(members.seed_count(), 2);
        members.change(1, 10, [(3, false)].into_iter());
        members.check();
        assert_eq!(members.seed_count(), 1);
        members.change(1, 10, (0..10).map(|piece| (piece, false)));
        members.check();
        assert_eq!(members.member(1).holding, Holding::None);
    }
}
