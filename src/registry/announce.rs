//! Announces of clients that speak HTTP or UDP: they and the native members are one swarm.
//!
//! Owns how foreign members come, change and go, what they are told, and when they are forgotten. Time comes in as an
//! argument: none of this depends on what o'clock it is.
//!
//! Forgetting goes over the contents in slices, so that no call of `handle_timeout` looks at everything.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::time::Duration;

use super::completions::Serial;
use super::foreign::{FOREIGN_PER_IP_MAX, FOREIGN_PER_SWARM_MAX, Foreigner, Foreigners};
use super::naming::{Choice, Stranger};
use super::{Client, Reach, Refusal, Registry, Told};
use crate::base::{InfoHash, Scope, Time, canonical, dialable};
use crate::wire::announce::{Announce, AnnounceEvent, AnnouncedPeer, ScrapeEntry};

/// Foreign members of all contents.
pub const FOREIGN_MAX: usize = 1 << 22;
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
    /// Whom to dial.
    pub members: Vec<AnnouncedPeer>,
    /// The native members named, as far as they can dial the newcomer, if it is one.
    pub told: Vec<Told>,
}

/// Who completed what lately: it counts once, although its member may have gone and come back.
#[derive(Debug, Default)]
pub(super) struct Finished {
    known: BTreeSet<(InfoHash, SocketAddr)>,
    in_order: VecDeque<(InfoHash, SocketAddr)>,
}

impl Finished {
    /// Remembers a completion, and says whether it is news.
    fn remember(&mut self, hash: InfoHash, addr: SocketAddr) -> bool {
        if !self.known.insert((hash, addr)) {
            return false;
        }
        self.in_order.push_back((hash, addr));
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
    /// The content that was looked at last.
    after: Option<InfoHash>,
}

impl Registry {
    /// A client that is seen at `source` announces.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a content that is not tracked, [`Refusal::Full`] where a limit is reached.
    pub fn announce(
        &mut self,
        now: Time,
        announce: &Announce,
        source: IpAddr,
        families: Families,
    ) -> Result<Announced, Refusal> {
        let hash = announce.info_hash;
        let serial = self.catalogue.serial(hash);
        if serial.is_none() && !self.config.is_open {
            return Err(Refusal::NotFound("the content"));
        }
        let ip = believed(source.to_canonical(), announce.ip);
        let member = Foreigner {
            addr: SocketAddr::new(ip, announce.port),
            peer_id: announce.peer_id,
            is_seed: announce.left == 0,
            is_upload_only: announce.event == AnnounceEvent::Paused,
            until_s: 0,
        };
        let interval_s = self.interval_s(hash, serial, now);
        let is_new = match announce.event {
            AnnounceEvent::Stopped => {
                self.foreigner_leaves(hash, &member);
                false
            }
            _ if dialable(member.addr).is_none() || self.is_native(serial, &member) => false,
            event => self.foreigner_enters(now, hash, member, event, interval_s)?,
        };
        let count = match announce.event {
            AnnounceEvent::Stopped => 0,
            _ => self.wanted(announce.want),
        };
        let is_v6 = ip.is_ipv6();
        let stranger = Stranger {
            peer_id: member.peer_id,
            addr: member.addr,
            reach: Reach::of(ip),
            families: match families {
                Families::Both => [true, true],
                Families::Same => [!is_v6, is_v6],
            },
            is_content: member.is_seed && !may_be_empty(announce) || member.is_upload_only,
        };
        let chosen = self.choose_for_stranger(hash, &stranger, count);
        let told = if is_new {
            let swarm = serial.map(|serial| &self.swarms[&serial]);
            self.told_of_foreigner(swarm, &member, &chosen)
        } else {
            Vec::new()
        };
        Ok(Announced {
            interval_s,
            interval_s_min: self.config.interval_s.0,
            swarm: self.figures(hash).unwrap_or_default(),
            members: chosen.iter().filter_map(announced).collect(),
            told,
        })
    }

    /// The figures of a content, if it is tracked.
    pub fn figures(&self, hash: InfoHash) -> Option<ScrapeEntry> {
        let (serial, foreign) = (self.catalogue.serial(hash), self.foreign.get(&hash));
        if serial.is_none() && foreign.is_none() {
            return None;
        }
        let mut figures = ScrapeEntry::default();
        if let Some(serial) = serial {
            let swarm = &self.swarms[&serial];
            figures.complete = swarm.seed_count() as u32;
            figures.incomplete = (swarm.len() - swarm.seed_count()) as u32;
            figures.downloaded = self.completions.count(serial);
        }
        if let Some(foreign) = foreign {
            figures.complete += foreign.seed_count() as u32;
            figures.incomplete += (foreign.len() - foreign.seed_count()) as u32;
            figures.downloaded = figures.downloaded.saturating_add(foreign.downloads());
        }
        Some(figures)
    }

    /// Forgets foreign members whose time is up, in one slice of the contents.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.sweep.at.is_none_or(|at| at > now) {
            return;
        }
        let now_s = secs(now);
        let (mut swarms, mut members) = (0, 0);
        let mut empty = Vec::new();
        let from = self.sweep.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut is_over = true;
        for (&hash, foreign) in self.foreign.range_mut((from, Bound::Unbounded)) {
            if swarms == SWEEP_SWARMS_MAX || members >= SWEEP_MEMBERS_MAX {
                is_over = false;
                break;
            }
            let before = foreign.len();
            foreign.expire(now_s);
            self.foreign_members -= before - foreign.len();
            self.sweep.after = Some(hash);
            (swarms, members) = (swarms + 1, members + before);
            if foreign.len() == 0 && self.catalogue.serial(hash).is_none() {
                empty.push(hash);
            }
        }
        for hash in empty {
            self.foreign.remove(&hash);
            self.open_swarms -= 1;
        }
        if is_over {
            self.sweep.after = None;
        }
        let slices = self.foreign.len().div_ceil(SWEEP_SWARMS_MAX).max(1) as u32;
        let pause = if members >= SWEEP_MEMBERS_MAX {
            Duration::ZERO
        } else {
            SWEEP_PERIOD / slices
        };
        let is_needed = self.foreign_members > 0 || self.open_swarms > 0;
        self.sweep.at = is_needed.then(|| now + pause);
    }

    /// When to call `handle_timeout`, if at all.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.sweep.at
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
        let known = &self.clients[client.index()];
        if let Some(foreign) = self.foreign.get_mut(&hash) {
            for &addr in known.addresses.all() {
                if foreign
                    .find(addr)
                    .is_some_and(|member| member.peer_id == known.peer_id)
                {
                    foreign.remove(addr);
                    self.foreign_members -= 1;
                }
            }
        }
    }

    /// Asserts the invariants of foreign members.
    pub(super) fn check_foreign(&self) {
        let (mut members, mut open) = (0, 0);
        for (&hash, foreign) in &self.foreign {
            foreign.check();
            members += foreign.len();
            open += usize::from(self.catalogue.serial(hash).is_none());
        }
        assert_eq!((self.foreign_members, self.open_swarms), (members, open));
        assert!(self.sweep.at.is_some() || members + open == 0);
        assert_eq!(self.finished.known.len(), self.finished.in_order.len());
    }

    /// How many members one announce is answered with.
    fn wanted(&self, want: Option<u32>) -> usize {
        let want = want.map_or(usize::MAX, |want| want as usize);
        want.min(self.config.named_max)
    }

    /// Shorter in a young swarm, where there is news, and longer in a large one, which tells enough at once.
    fn interval_s(&self, hash: InfoHash, serial: Option<Serial>, now: Time) -> u32 {
        let (shortest, longest) = self.config.interval_s;
        let foreign = self.foreign.get(&hash).filter(|foreign| foreign.len() > 0);
        let age_s = foreign.map_or(0, |foreign| secs(now).saturating_sub(foreign.began_s()));
        let native = serial.map_or(0, |serial| self.swarms[&serial].len());
        let members = native + foreign.map_or(0, Foreigners::len);
        let by_size = (members / ANNOUNCES_PER_S) as u32;
        by_size.max(age_s / AGE_PARTS).clamp(shortest, longest)
    }

    /// Whether this is a native member that announces as well.
    fn is_native(&self, serial: Option<Serial>, member: &Foreigner) -> bool {
        let Some(serial) = serial else {
            return false;
        };
        let mut of_peer = self.swarms[&serial].of_peer(member.peer_id);
        of_peer.any(|native| {
            let addresses = &self.clients[native.client as usize].addresses;
            addresses.all().contains(&member.addr)
        })
    }

    fn foreigner_leaves(&mut self, hash: InfoHash, member: &Foreigner) {
        if let Some(foreign) = self.foreign.get_mut(&hash) {
            let is_it = |found: Foreigner| found.peer_id == member.peer_id;
            if foreign.find(member.addr).is_some_and(is_it) {
                foreign.remove(member.addr);
                self.foreign_members -= 1;
            }
        }
    }

    /// Takes a foreign member, or what is new about it; says whether it was none.
    fn foreigner_enters(
        &mut self,
        now: Time,
        hash: InfoHash,
        mut member: Foreigner,
        event: AnnounceEvent,
        interval_s: u32,
    ) -> Result<bool, Refusal> {
        let before = self.foreign.get(&hash).and_then(|f| f.find(member.addr));
        if before.is_none() {
            self.room_for_foreigner(hash, member.addr.ip())?;
        }
        let is_fetched = event == AnnounceEvent::Completed || before.is_some_and(|b| !b.is_seed);
        let is_news = member.is_seed && is_fetched && self.finished.remember(hash, member.addr);
        let now_s = secs(now);
        let lifetime_s = 2 * interval_s.max(INTERVAL_FLOOR_S) + GRACE_S;
        member.until_s = now_s.saturating_add(lifetime_s);
        if self.catalogue.serial(hash).is_none() && !self.foreign.contains_key(&hash) {
            self.open_swarms += 1;
        }
        let foreign = self.foreign.entry(hash).or_default();
        foreign.put(member, now_s);
        if is_news {
            foreign.count_download();
        }
        self.foreign_members += usize::from(before.is_none());
        self.sweep.at.get_or_insert(now + SWEEP_PERIOD);
        Ok(before.is_none())
    }

    fn room_for_foreigner(&self, hash: InfoHash, ip: IpAddr) -> Result<(), Refusal> {
        if self.foreign_members >= self.config.foreign_max {
            return Err(Refusal::Full("the tracker has as many members as it can"));
        }
        match self.foreign.get(&hash) {
            Some(foreign) if foreign.len() >= FOREIGN_PER_SWARM_MAX => {
                Err(Refusal::Full("the swarm has as many members as it can"))
            }
            Some(foreign) if !ip.is_loopback() && foreign.count_of(ip) >= FOREIGN_PER_IP_MAX => {
                Err(Refusal::Full("too many members at this address"))
            }
            None if self.catalogue.serial(hash).is_none()
                && self.open_swarms >= self.config.open_swarms_max =>
            {
                Err(Refusal::Full("the tracker has as many swarms as it can"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether one that says it misses nothing may have nothing at all: aria2 says so when it has only a magnet link, and needs
/// the seeds then. A real seed, which says the same once, lets go of them.
fn may_be_empty(announce: &Announce) -> bool {
    let is_first = announce.event == AnnounceEvent::Started;
    is_first && announce.uploaded == 0 && announce.downloaded == 0
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

/// A member, as a client is told; `None` without an address.
fn announced(choice: &Choice) -> Option<AnnouncedPeer> {
    let addr = choice.named.addrs.iter().next()?;
    Some(AnnouncedPeer {
        addr: canonical(addr),
        peer_id: Some(choice.named.peer_id),
    })
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
        let announce = announce(hash, port);
        let announced = registry.announce(at(now), &announce, source, Families::Both);
        announced.expect("taken")
    }

    #[test]
    fn limits_are_refusals_and_who_is_a_member_already_goes_on() {
        let mut registry = open();
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let mut try_it = |hash, port, ip| {
            registry
                .announce(at(0), &announce(hash, port), ip, Families::Both)
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
            assert!(now <= at(2 * 300 + 60 + 120), "somebody stays");
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
            let announced = registry.announce(at(0), &announce, source, Families::Same);
            announced.expect("taken").members.len()
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
            let announced = registry.announce(at(0), &announce, source, Families::Same);
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
        let stop = |peer: u8| Announce {
            event: AnnounceEvent::Stopped,
            peer_id: PeerId([peer; 20]),
            ..announce(hash(1), 5)
        };
        let (me, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for (peer, source, left) in [(5, other, 1), (6, me, 1), (5, me, 0)] {
            let announced = registry.announce(at(1), &stop(peer), source, Families::Same);
            assert_eq!(announced.expect("taken").members, []);
            assert_eq!(registry.foreign_count(), left, "{peer} at {source}");
        }
    }
}
