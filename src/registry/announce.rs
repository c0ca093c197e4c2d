//! Announces of clients that speak HTTP or UDP: they and the native members are one swarm.
//!
//! Owns how foreign members come, change and go, what they are told, and when they are forgotten. Time comes in as an
//! argument: none of this depends on what o'clock it is.
//!
//! Forgetting goes over the contents in slices, so that no call of `handle_timeout` looks at everything.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::completions::Serial;
use super::foreign::{FOREIGN_PER_IP_MAX, FOREIGN_PER_SWARM_MAX};
use super::naming::Stranger;
use super::rows::{Foreigner, Spread};
use super::swarms::Swarm;
use super::{Client, Reach, Refusal, Registry, SWARM, Told};
use crate::base::{InfoHash, Scope, Time, dialable};
use crate::wire::announce::{Announce, AnnounceEvent, PeerList, ScrapeEntry};

/// Foreign members of all contents.
pub const FOREIGN_MAX: usize = 1 << 23;
/// Contents that nobody registered and that are tracked all the same, where that is allowed.
pub const OPEN_SWARMS_MAX: usize = 1 << 21;
/// Foreign members whose completion is remembered, so that it counts once.
pub const FINISHED_MAX: usize = 1 << 18;

/// libtorrent announces no more often than this, whatever it is told (PROTOCOL.md, section 1).
const INTERVAL_FLOOR_S: u32 = 300;
/// A member is given two intervals and this much to come back.
const GRACE_S: u32 = 60;
/// A swarm is told an interval of this part of its age.
const AGE_PARTS: u32 = 4;
/// A swarm is told an interval that brings at most so many announces a second.
const ANNOUNCES_PER_S: usize = 10;

/// Every content is looked at once in this time for members to forget.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Contents, and members, that one slice of that looks at.
const SWEEP_SWARMS_MAX: usize = 1024;
const SWEEP_MEMBERS_MAX: usize = FOREIGN_PER_SWARM_MAX;

/// Which addresses an answer has a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Those of IPv4 and of IPv6.
    Both,
    /// Those of the family in which the client is seen.
    Same,
}

/// The answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// Seconds that pass between two announces in any case.
    pub interval_s_min: u32,
    /// The figures of the swarm.
    pub swarm: ScrapeEntry,
    /// The native members named, as far as they can dial the newcomer, if it is one.
    pub told: Vec<Told>,
}

/// Who completed what lately: it counts once, although its member may have gone and come back. What is kept is a keyed
/// hash of content and address, of which 64 bits never meet by chance.
#[derive(Debug, Default)]
pub(super) struct Finished {
    known: BTreeSet<u64>,
    in_order: VecDeque<u64>,
}

impl Finished {
    /// Remembers a completion, and says whether it is news.
    fn remember(&mut self, hash: InfoHash, addr: SocketAddr, spread: Spread) -> bool {
        let mut bytes = [0; 38];
        bytes[..20].copy_from_slice(&hash.0);
        match addr.ip() {
            IpAddr::V4(ip) => bytes[20..36].copy_from_slice(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => bytes[20..36].copy_from_slice(&ip.octets()),
        }
        bytes[36..].copy_from_slice(&addr.port().to_be_bytes());
        let name = spread.wide(&bytes);
        if !self.known.insert(name) {
            return false;
        }
        self.in_order.push_back(name);
        if self.in_order.len() > FINISHED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// How far the sweep for members to forget is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// When it goes on; `None` while there is nobody to forget.
    at: Option<Time>,
    /// The place of the content that is looked at next.
    next: usize,
}

impl Registry {
    /// A client that is seen at `source` announces. Whom it may dial is put into `peers`, which is emptied before.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a content that is not tracked, [`Refusal::Full`] where a limit is reached.
    pub fn announce(
        &mut self,
        now: Time,
        announce: &Announce,
        source: IpAddr,
        families: Families,
        peers: &mut PeerList,
    ) -> Result<Announced, Refusal> {
        peers.clear();
        let hash = announce.info_hash;
        let mut place = self.foreign.place(hash);
        let swarm = place.map(|place| self.foreign.at(place));
        let serial = swarm.and_then(Swarm::serial);
        if serial.is_none() && !self.config.is_open {
            return Err(Refusal::NotFound("the content"));
        }
        let interval_s = self.interval_s(swarm, now);
        let ip = believed(source.to_canonical(), announce.ip);
        let member = Foreigner {
            addr: SocketAddr::new(ip, announce.port),
            is_seed: announce.left == 0,
            is_upload_only: announce.event == AnnounceEvent::Paused,
        };
        let is_new = match announce.event {
            AnnounceEvent::Stopped => {
                self.foreigner_leaves(place, member.addr);
                false
            }
            _ if dialable(member.addr).is_none() || self.is_native(serial, announce, &member) => {
                false
            }
            event => self.foreigner_enters(now, hash, &mut place, member, event, interval_s)?,
        };
        let count = match announce.event {
            AnnounceEvent::Stopped => 0,
            _ => self.wanted(announce.want),
        };
        let stranger = Stranger {
            peer_id: announce.peer_id,
            addr: member.addr,
            reach: Reach::of(ip),
            families: match families {
                Families::Both => [true, true],
                Families::Same => [ip.is_ipv4(), ip.is_ipv6()],
            },
            is_content: member.is_seed && !may_be_empty(announce) || member.is_upload_only,
        };
        let natives = self.name_to_stranger(place, &stranger, count, peers);
        let told = match serial {
            Some(serial) if is_new => {
                self.told_of_foreigner(serial, &member, announce.peer_id, &natives)
            }
            _ => Vec::new(),
        };
        Ok(Announced {
            interval_s,
            interval_s_min: self.config.interval_s.0,
            swarm: place.map_or_else(ScrapeEntry::default, |place| self.figures_at(place)),
            told,
        })
    }

    /// These contents will be announced soon: looks at the memory that this needs, for all of them at once, which takes
    /// the processor little longer than for one.
    pub fn foresee(&mut self, hashes: impl Iterator<Item = InfoHash>) {
        self.foreign.foresee(hashes);
    }

    /// The figures of a content, if it is tracked.
    pub fn figures(&self, hash: InfoHash) -> Option<ScrapeEntry> {
        let place = self.foreign.place(hash)?;
        Some(self.figures_at(place))
    }

    fn figures_at(&self, place: usize) -> ScrapeEntry {
        let swarm = self.foreign.at(place);
        let seeds = swarm.members.seed_count() as u32;
        let mut figures = ScrapeEntry {
            complete: seeds,
            downloaded: swarm.members.downloads(),
            incomplete: swarm.members.len() as u32 - seeds,
        };
        if let Some(serial) = swarm.serial() {
            let natives = &self.swarms[&serial];
            figures.complete += natives.seed_count() as u32;
            figures.incomplete += (natives.len() - natives.seed_count()) as u32;
            let completed = self.completions.count(serial);
            figures.downloaded = figures.downloaded.saturating_add(completed);
        }
        figures
    }

    /// Forgets foreign members whose time is up, in one slice of the contents.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.sweep.at.is_none_or(|at| at > now) {
            return;
        }
        let tick = self.ticks.now(secs(now));
        let places = self.foreign.places();
        let end = places.min(self.sweep.next + SWEEP_SWARMS_MAX);
        let mut members = 0;
        while self.sweep.next < end && members < SWEEP_MEMBERS_MAX {
            members += self.expire_at(self.sweep.next, tick);
            self.sweep.next += 1;
        }
        if self.sweep.next >= places {
            self.sweep.next = 0;
        }
        let slices = places.div_ceil(SWEEP_SWARMS_MAX).max(1) as u32;
        let pause = if members >= SWEEP_MEMBERS_MAX {
            Duration::ZERO
        } else {
            SWEEP_PERIOD / slices
        };
        let is_needed = self.foreign_members > 0 || self.open_swarms > 0;
        self.sweep.at = is_needed.then(|| now + pause);
    }

    /// Forgets members of the content at a place whose time is over, and a content that is nothing without them; how many
    /// members were looked at.
    fn expire_at(&mut self, place: usize, tick: u8) -> usize {
        let spread = self.foreign.spread();
        let Some(swarm) = self.foreign.used_mut(place) else {
            return 0;
        };
        let (before, seeds) = (swarm.members.len(), swarm.members.seed_count());
        swarm.members.expire(tick, spread);
        let left = swarm.members.len();
        let is_news = swarm.members.seed_count() != seeds;
        let (hash, serial) = (swarm.hash(), swarm.serial());
        self.foreign_members -= before - left;
        match serial {
            Some(_) => self.note_seeds(serial, is_news),
            None if left == 0 => {
                self.foreign.remove(hash);
                self.open_swarms -= 1;
            }
            None => {}
        }
        before
    }

    /// The number of foreign seeds of a registered content has changed, if `is_news`.
    fn note_seeds(&mut self, serial: Option<Serial>, is_news: bool) {
        if let Some(serial) = serial.filter(|_| is_news) {
            let natives = self.swarms.get_mut(&serial).expect(SWARM);
            natives.note_foreign_seeds();
        }
    }

    /// When to call `handle_timeout`, if at all.
    pub fn poll_timeout(&self) -> Option<Time> {
        let timers = [self.sweep.at, self.subscriptions.next_at()];
        timers.into_iter().flatten().min()
    }

    /// Seconds that pass between two announces in any case.
    pub fn interval_s_min(&self) -> u32 {
        self.config.interval_s.0
    }

    /// Foreign members of everything.
    pub fn foreign_count(&self) -> usize {
        self.foreign_members
    }

    /// A client became a native member. If it had announced as a foreign one before, that member ends.
    pub(super) fn supersede(&mut self, client: Client, hash: InfoHash) {
        let Some(place) = self.foreign.place(hash) else {
            return;
        };
        for at in 0..self.clients[client.index()].addresses.all().len() {
            let addr = self.clients[client.index()].addresses.all()[at];
            self.foreigner_leaves(Some(place), addr);
        }
    }

    /// Asserts the invariants of foreign members.
    pub(super) fn check_foreign(&self) {
        self.foreign.check();
        let (mut members, mut open, mut registered) = (0, 0, 0);
        for swarm in self.foreign.iter() {
            swarm.members.check(self.foreign.spread());
            members += swarm.members.len();
            let serial = self.catalogue.serial(swarm.hash());
            assert_eq!(swarm.serial(), serial);
            open += usize::from(serial.is_none());
            registered += usize::from(serial.is_some());
        }
        assert_eq!((self.foreign_members, self.open_swarms), (members, open));
        assert_eq!(registered, self.catalogue.len());
        assert!(self.sweep.at.is_some() || members + open == 0);
        assert_eq!(self.finished.known.len(), self.finished.in_order.len());
    }

    /// How many members one announce is answered with.
    fn wanted(&self, want: Option<u32>) -> usize {
        let want = want.map_or(usize::MAX, |want| want as usize);
        want.min(self.config.named_max)
    }

    /// Shorter in a young swarm, where there is news, and longer in a large one, which tells enough at once.
    fn interval_s(&self, swarm: Option<&Swarm>, now: Time) -> u32 {
        let (shortest, longest) = self.config.interval_s;
        let Some(swarm) = swarm else {
            return shortest;
        };
        let foreign = swarm.members.len();
        let age_s = match foreign {
            0 => 0,
            _ => secs(now).saturating_sub(swarm.members.began_s()),
        };
        let native = swarm
            .serial()
            .map_or(0, |serial| self.swarms[&serial].len());
        let by_size = ((native + foreign) / ANNOUNCES_PER_S) as u32;
        by_size.max(age_s / AGE_PARTS).clamp(shortest, longest)
    }

    /// Whether this is a native member that announces as well.
    fn is_native(&self, serial: Option<Serial>, announce: &Announce, member: &Foreigner) -> bool {
        let Some(serial) = serial else {
            return false;
        };
        let mut of_peer = self.swarms[&serial].of_peer(announce.peer_id);
        of_peer.any(|native| {
            let addresses = &self.clients[native.client as usize].addresses;
            addresses.all().contains(&member.addr)
        })
    }

    fn foreigner_leaves(&mut self, place: Option<usize>, addr: SocketAddr) {
        let spread = self.foreign.spread();
        let Some(swarm) = place.and_then(|place| self.foreign.used_mut(place)) else {
            return;
        };
        if let Some(member) = swarm.members.remove(addr, spread) {
            let serial = swarm.serial();
            self.foreign_members -= 1;
            self.note_seeds(serial, member.is_seed);
        }
    }

    /// Takes a foreign member, or what is new about it; says whether it was none. `place` becomes that of the content.
    fn foreigner_enters(
        &mut self,
        now: Time,
        hash: InfoHash,
        place: &mut Option<usize>,
        member: Foreigner,
        event: AnnounceEvent,
        interval_s: u32,
    ) -> Result<bool, Refusal> {
        let (now_s, spread) = (secs(now), self.foreign.spread());
        let until = self.ticks.until(now_s, lifetime_s(interval_s));
        let known = place.map(|place| &mut self.foreign.at_mut(place).members);
        let before = known.and_then(|members| members.renew(member, until, spread));
        if before.is_none() {
            self.room_for_foreigner(*place, member.addr.ip())?;
            if place.is_none() {
                self.open_swarms += 1;
            }
            let at = *place.get_or_insert_with(|| self.foreign.add(hash));
            let members = &mut self.foreign.at_mut(at).members;
            members.put(member, until, now_s, spread);
            self.foreign_members += 1;
        }
        if let Some(at) = *place {
            let is_fetched =
                event == AnnounceEvent::Completed || before.is_some_and(|before| !before.is_seed);
            let swarm = self.foreign.at_mut(at);
            if member.is_seed && is_fetched && self.finished.remember(hash, member.addr, spread) {
                swarm.members.count_downloads(1);
                self.downloads_version += u64::from(swarm.serial().is_some());
            }
            let serial = swarm.serial();
            self.note_seeds(serial, before.is_some_and(|b| b.is_seed) != member.is_seed);
        }
        self.sweep.at.get_or_insert(now + SWEEP_PERIOD);
        Ok(before.is_none())
    }

    fn room_for_foreigner(&self, place: Option<usize>, ip: IpAddr) -> Result<(), Refusal> {
        if self.foreign_members >= self.config.foreign_max {
            return Err(Refusal::Full("the tracker has as many members as it can"));
        }
        let Some(place) = place else {
            return match self.open_swarms < self.config.open_swarms_max {
                true => Ok(()),
                false => Err(Refusal::Full("the tracker has as many swarms as it can")),
            };
        };
        let (members, spread) = (&self.foreign.at(place).members, self.foreign.spread());
        if members.len() >= FOREIGN_PER_SWARM_MAX {
            return Err(Refusal::Full("the swarm has as many members as it can"));
        }
        if members.len() >= FOREIGN_PER_IP_MAX
            && !ip.is_loopback()
            && members.count_of(ip, spread) >= FOREIGN_PER_IP_MAX
        {
            return Err(Refusal::Full("too many members at this address"));
        }
        Ok(())
    }
}

/// Whether one that says it misses nothing may have nothing at all: aria2 says so when it has only a magnet link, and needs
/// the seeds then. A real seed, which says the same once, lets go of them.
fn may_be_empty(announce: &Announce) -> bool {
    let is_first = announce.event == AnnounceEvent::Started;
    is_first && announce.uploaded == 0 && announce.downloaded == 0
}

/// How long a member that was told this interval lives without another announce.
pub(super) fn lifetime_s(interval_s: u32) -> u32 {
    2 * interval_s.max(INTERVAL_FLOOR_S) + GRACE_S
}

/// Whole seconds of a moment.
fn secs(now: Time) -> u32 {
    u32::try_from(now.since(Time::ZERO).as_secs()).unwrap_or(u32::MAX)
}

/// The address of who is seen at `source` and says that it is at `said`: only this machine is believed, and only an
/// address at which somebody can be.
fn believed(source: IpAddr, said: Option<IpAddr>) -> IpAddr {
    match said.map(|ip| ip.to_canonical()) {
        Some(said) if source.is_loopback() && Scope::of(said).is_some() => said,
        _ => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;
    use crate::registry::Config;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn hash(number: u32) -> InfoHash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        InfoHash(hash)
    }

    fn announce(hash: InfoHash, port: u16) -> Announce {
        Announce {
            info_hash: hash,
            peer_id: PeerId([port as u8; 20]),
            port,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: AnnounceEvent::None,
            want: None,
            key: 0,
            ip: None,
        }
    }

    /// A registry that tracks any content.
    fn open() -> Registry {
        Registry::new(Config {
            is_open: true,
            open_swarms_max: 5000,
            foreign_max: 7000,
            ..Config::new(1)
        })
    }

    fn announced(registry: &mut Registry, now: u64, hash: InfoHash, port: u16) -> Announced {
        let source = [10, 0, 0, 1].into();
        let (announce, mut peers) = (announce(hash, port), PeerList::default());
        let announced = registry.announce(at(now), &announce, source, Families::Both, &mut peers);
        announced.expect("taken")
    }

    #[test]
    fn limits_are_refusals_and_who_is_a_member_already_goes_on() {
        let mut registry = open();
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let mut try_it = |hash, port, ip| {
            let (announce, mut peers) = (announce(hash, port), PeerList::default());
            registry
                .announce(at(0), &announce, ip, Families::Both, &mut peers)
                .map(drop)
        };
        for port in 1..=FOREIGN_PER_IP_MAX as u16 {
            assert_eq!(try_it(hash(0), port, ip(1)), Ok(()));
        }
        let refused = try_it(hash(0), 2000, ip(1));
        assert_eq!(
            refused,
            Err(Refusal::Full("too many members at this address"))
        );
        assert_eq!(try_it(hash(0), 7, ip(1)), Ok(()));
        assert_eq!(try_it(hash(0), 2000, ip(2)), Ok(()));
        for number in 1..5000 {
            assert_eq!(try_it(hash(number), 1, ip(1)), Ok(()));
        }
        let refused = try_it(hash(5000), 1, ip(1));
        assert!(matches!(refused, Err(Refusal::Full(_))), "{refused:?}");
        assert_eq!(try_it(hash(4999), 1, ip(1)), Ok(()));
        let on_loopback = (3000..).map(|port| try_it(hash(0), port, [127, 0, 0, 1].into()));
        let refused = on_loopback.into_iter().find(Result::is_err);
        let text = "the tracker has as many members as it can";
        assert_eq!(refused, Some(Err(Refusal::Full(text))));
        assert_eq!(registry.foreign_count(), 7000);
        registry.check();
    }

    #[test]
    fn members_are_forgotten_in_slices_and_all_within_two_periods() {
        let mut registry = open();
        for number in 0..4000 {
            announced(&mut registry, 0, hash(number), 1);
        }
        let mut calls = 0;
        while let Some(now) = registry.poll_timeout() {
            let before = registry.foreign_count();
            registry.handle_timeout(now);
            assert!(before - registry.foreign_count() <= SWEEP_SWARMS_MAX);
            calls += 1;
            assert!(now <= at(2 * 300 + 60 + 60 + 120), "somebody stays");
        }
        assert!(calls > 4);
        assert_eq!(
            (registry.foreign_count(), registry.figures(hash(3))),
            (0, None)
        );
        registry.check();
    }

    #[test]
    fn the_interval_grows_with_age_and_size_within_its_bounds() {
        let mut registry = open();
        let content = hash(1);
        let mut interval = |now, port| announced(&mut registry, now, content, port).interval_s;
        assert_eq!(interval(0, 1), 30);
        assert_eq!(interval(60, 1), 30);
        assert_eq!(interval(400, 1), 100);
        assert_eq!(interval(100_000, 2), 1800);
        let mut registry = open();
        for port in 1..=1000 {
            announced(&mut registry, 0, content, port);
        }
        assert_eq!(announced(&mut registry, 0, content, 1).interval_s, 100);
    }

    #[test]
    fn one_that_begins_and_misses_nothing_is_told_of_seeds_too() {
        let mut registry = open();
        let mut members = |port, event, left| {
            let announce = Announce {
                event,
                left,
                ..announce(hash(1), port)
            };
            let source = [10, 0, 0, 1].into();
            let mut peers = PeerList::default();
            let announced = registry.announce(at(0), &announce, source, Families::Same, &mut peers);
            announced.expect("taken");
            peers.len()
        };
        assert_eq!(members(5, AnnounceEvent::Started, 0), 0, "nobody is there");
        assert_eq!(members(6, AnnounceEvent::Started, 0), 1);
        assert_eq!(
            members(6, AnnounceEvent::None, 0),
            0,
            "a seed needs no seed"
        );
        assert_eq!(members(6, AnnounceEvent::Completed, 0), 0);
    }

    #[test]
    fn a_completion_counts_once_although_its_member_goes_and_comes() {
        let mut registry = open();
        let mut event = |event, left| {
            let announce = Announce {
                event,
                left,
                ..announce(hash(1), 5)
            };
            let source = [10, 0, 0, 1].into();
            let peers = &mut PeerList::default();
            let announced = registry.announce(at(0), &announce, source, Families::Same, peers);
            announced.expect("taken").swarm
        };
        for _ in 0..3 {
            event(AnnounceEvent::Started, 9);
            let swarm = event(AnnounceEvent::Completed, 0);
            assert_eq!((swarm.complete, swarm.downloaded), (1, 1));
            assert_eq!(event(AnnounceEvent::Stopped, 0).complete, 0);
        }
        let seed = event(AnnounceEvent::Started, 0);
        assert_eq!((seed.complete, seed.downloaded), (1, 1));
    }

    #[test]
    fn nobody_can_stop_the_member_of_another_address() {
        let mut registry = open();
        announced(&mut registry, 0, hash(1), 5);
        let stop = Announce {
            event: AnnounceEvent::Stopped,
            ..announce(hash(1), 5)
        };
        let (me, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut peers = PeerList::default();
        for (source, left) in [(other, 1), (me, 0)] {
            let announced = registry.announce(at(1), &stop, source, Families::Same, &mut peers);
            announced.expect("taken");
            assert!(peers.is_empty());
            assert_eq!(registry.foreign_count(), left, "{source}");
        }
    }
}
