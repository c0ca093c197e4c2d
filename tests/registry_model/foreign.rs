//! Members that announce over HTTP or UDP, in both.

use std::time::Duration;

use shoal::base::Time;
use shoal::registry::{Announced, Families};
use shoal::wire::announce::{Announce, AnnounceEvent, PeerList, ScrapeEntry};

use super::*;

/// What stands where a foreign member would say what it calls itself.
pub(crate) const NO_PEER_ID: PeerId = PeerId([0; 20]);

/// The foreign members of one content.
#[derive(Default)]
pub(crate) struct Swarm {
    pub(crate) members: Vec<Foreigner>,
    pub(crate) downloads: u32,
    began: u64,
}

impl Swarm {
    pub(crate) fn seeds(&self) -> u32 {
        let seeds = self.members.iter().filter(|member| member.is_seed);
        seeds.count() as u32
    }
}

static NOBODY: Swarm = Swarm {
    members: Vec::new(),
    downloads: 0,
    began: 0,
};

#[derive(Clone, Copy)]
pub(crate) struct Foreigner {
    pub(crate) addr: SocketAddr,
    pub(crate) is_seed: bool,
    is_upload_only: bool,
    /// Seconds since 1970.
    until: u64,
}

impl Foreigner {
    pub(crate) fn is_content(&self) -> bool {
        self.is_seed || self.is_upload_only
    }
}

/// Whether who is seen at `receiver` is given `ip`: of the addresses here, loopback and private ones of both families.
pub(crate) fn is_in_reach(receiver: IpAddr, ip: IpAddr) -> bool {
    match (receiver.is_loopback(), ip.is_loopback()) {
        (true, true) => true,
        (false, false) => receiver.is_ipv6() == ip.is_ipv6(),
        _ => false,
    }
}

/// One of a few hashes that are not registered, at first.
pub(crate) fn unregistered(rng: &mut Rng) -> InfoHash {
    InfoHash([rng.below(3) as u8; 20])
}

impl Model {
    pub(crate) fn foreign_of(&self, hash: InfoHash) -> &Swarm {
        self.foreign.get(&hash).unwrap_or(&NOBODY)
    }

    fn time(&self) -> Time {
        Time::ZERO + Duration::from_secs(self.now - EPOCH)
    }

    /// A client that became native was no foreign one.
    pub(crate) fn supersede(&mut self, client: usize, hash: InfoHash) {
        let known = &self.clients[client];
        if let Some(swarm) = self.foreign.get_mut(&hash) {
            swarm.members.retain(|member| member.addr != known.addr());
        }
    }

    pub(crate) fn forget_foreigners(&mut self) {
        let is_due = self
            .registry
            .poll_timeout()
            .is_some_and(|at| at <= self.time());
        assert_eq!(is_due, self.registry.poll_timeout().is_some());
        // As often as it asks for, and for the last time now.
        while let Some(at) = self.registry.poll_timeout()
            && at + Duration::from_secs(60) <= self.time()
        {
            self.registry.handle_timeout(at);
        }
        self.registry.handle_timeout(self.time());
        let now = self.now;
        for swarm in self.foreign.values_mut() {
            swarm.members.retain(|member| member.until > now);
        }
        let contents = &self.contents;
        self.foreign.retain(|hash, swarm| {
            !swarm.members.is_empty() || contents.iter().any(|c| c.facts.hash == *hash)
        });
    }

    fn random_announce(&mut self) -> (Announce, IpAddr) {
        let registered = self.random_content();
        let rng = &mut self.rng;
        let info_hash = match registered {
            Some(at) if rng.below(4) > 0 => self.contents[at].facts.hash,
            _ => unregistered(rng),
        };
        let mut source: IpAddr = match rng.below(5) {
            0 | 1 => [127, 0, 0, 1 + rng.below(2) as u8].into(),
            2 | 3 => [10, 0, 0, 1 + rng.below(3) as u8].into(),
            _ => [[0; 8], [0xfd00, 0, 0, 0, 0, 0, 0, 1]][rng.below(2)].into(),
        };
        if source == IpAddr::from([0u16; 8]) {
            source = [0, 0, 0, 0, 0, 0, 0, 1].into();
        }
        let mut peer_id = PeerId([rng.below(12) as u8; 20]);
        let mut port = rng.below(5) as u16;
        if !self.clients.is_empty() && rng.below(6) == 0 {
            // A native member that announces over HTTP as well, or somebody who pretends to be it.
            let native = &self.clients[rng.below(self.clients.len())];
            (peer_id, source, port) = (native.peer_id, native.source, native.port);
            port += u16::from(rng.below(4) == 0);
        }
        use AnnounceEvent::{Completed, None as Nothing, Paused, Started, Stopped};
        let said: [Option<IpAddr>; 4] = [
            None,
            None,
            Some([10, 0, 0, 9].into()),
            Some([224, 0, 0, 1].into()),
        ];
        let announce = Announce {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: rng.below(3) as u64,
            event: [Started, Nothing, Completed, Stopped, Paused][rng.below(5)],
            want: [None, Some(rng.below(10) as u32)][rng.below(2)],
            key: 0,
            ip: said[rng.below(4)],
        };
        (announce, source)
    }

    pub(crate) fn announce(&mut self) {
        let (announce, source) = self.random_announce();
        let hash = announce.info_hash;
        let families = [Families::Both, Families::Same][self.rng.below(2)];
        let mut peers = PeerList::default();
        let outcome = self
            .registry
            .announce(self.time(), &announce, source, families, &mut peers);
        let at = self.contents.iter().position(|c| c.facts.hash == hash);
        if at.is_none() && !self.is_open {
            return assert_eq!(outcome, Err(Refusal::NotFound("the content")));
        }
        let announced = outcome.expect("tracked");
        let ip = match announce.ip {
            Some(said) if source.is_loopback() && !said.is_multicast() => said,
            _ => source,
        };
        let addr = SocketAddr::new(ip, announce.port);
        let interval = self.interval(hash, at);
        assert_eq!(announced.interval_s, interval);
        let is_new = self.enter_foreigner(&announce, addr, at, interval);
        let figures = self.figures(hash).unwrap_or_default();
        assert_eq!(announced.swarm, figures);
        self.check_announced(&announce, addr, at, families, &peers);
        self.check_told_of(is_new, &announce, addr, at, &announced, &peers);
    }

    fn interval(&self, hash: InfoHash, at: Option<usize>) -> u32 {
        let swarm = self.foreign_of(hash);
        let age = match swarm.members.len() {
            0 => 0,
            _ => (self.now - swarm.began) as u32,
        };
        let native = at.map_or(0, |at| self.contents[at].members.len());
        let by_size = (native + swarm.members.len()) / 10;
        (age / 4).max(by_size as u32).clamp(30, 1800)
    }

    /// Does to the model what an announce does; says whether it made a member.
    fn enter_foreigner(
        &mut self,
        announce: &Announce,
        addr: SocketAddr,
        at: Option<usize>,
        interval: u32,
    ) -> bool {
        let hash = announce.info_hash;
        if announce.event == AnnounceEvent::Stopped {
            if let Some(swarm) = self.foreign.get_mut(&hash) {
                swarm.members.retain(|member| member.addr != addr);
            }
            return false;
        }
        let is_native = at.is_some_and(|at| {
            self.contents[at].members.iter().any(|member| {
                let known = self.clients.iter().find(|k| k.key == member.client);
                let known = known.expect("a member is a client");
                known.addr() == addr && known.peer_id == announce.peer_id
            })
        });
        if addr.port() == 0 || is_native {
            return false;
        }
        let swarm = self.foreign.entry(hash).or_default();
        if swarm.members.is_empty() {
            swarm.began = self.now;
        }
        let before = swarm.members.iter().position(|member| member.addr == addr);
        let before = before.map(|at| swarm.members.swap_remove(at));
        let is_fetched =
            announce.event == AnnounceEvent::Completed || before.is_some_and(|b| !b.is_seed);
        if announce.left == 0 && is_fetched && self.finished.insert((hash, addr)) {
            swarm.downloads += 1;
        }
        swarm.members.push(Foreigner {
            addr,
            is_seed: announce.left == 0,
            is_upload_only: announce.event == AnnounceEvent::Paused,
            // To the end of the minute.
            until: EPOCH
                + (self.now - EPOCH + u64::from(2 * interval.max(300) + 60)).div_ceil(60) * 60,
        });
        before.is_none()
    }

    /// The named must be as many as wanted and there, each once, and may be named to who announced.
    fn check_announced(
        &self,
        announce: &Announce,
        addr: SocketAddr,
        at: Option<usize>,
        families: Families,
        named: &PeerList,
    ) {
        // One that begins and moved nothing may say that it misses nothing because it does not know how much there is.
        let may_be_empty = announce.event == AnnounceEvent::Started
            && announce.uploaded == 0
            && announce.downloaded == 0;
        let only_fetching =
            announce.left == 0 && !may_be_empty || announce.event == AnnounceEvent::Paused;
        let is_of_use = |ip: IpAddr| {
            is_in_reach(addr.ip(), ip)
                && (families == Families::Both || ip.is_ipv6() == addr.is_ipv6())
        };
        let is_withheld =
            |other: SocketAddr| at.is_some_and(|at| self.contents[at].withheld.contains(&other));
        let mut rest: Vec<(SocketAddr, Option<PeerId>)> = Vec::new();
        for member in at.iter().flat_map(|&at| &self.contents[at].members) {
            let known = self.clients.iter().find(|known| known.key == member.client);
            let known = known.expect("a member is a client");
            if known.port != 0 && !(only_fetching && (member.is_seed() || member.is_upload_only)) {
                rest.push((known.addr(), Some(known.peer_id)));
            }
        }
        for other in &self.foreign_of(announce.info_hash).members {
            if other.addr != addr && !(only_fetching && other.is_content()) {
                rest.push((other.addr, None));
            }
        }
        rest.retain(|(other, peer_id)| {
            *peer_id != Some(announce.peer_id) && is_of_use(other.ip()) && !is_withheld(*other)
        });
        let want = match announce.event {
            AnnounceEvent::Stopped => 0,
            _ => announce.want.map_or(7, |want| want.min(7) as usize),
        };
        assert_eq!(
            named.len(),
            want.min(rest.len()),
            "as many as wanted and there"
        );
        let natives: Vec<_> = rest
            .iter()
            .filter_map(|(addr, id)| Some((*addr, (*id)?)))
            .collect();
        assert!(named.ids.iter().all(|named| natives.contains(named)));
        for peer in named.iter() {
            let place = rest.iter().position(|&(addr, _)| addr == peer.addr);
            rest.swap_remove(place.expect("named once, and may be"));
        }
    }

    fn check_told_of(
        &self,
        is_new: bool,
        announce: &Announce,
        addr: SocketAddr,
        at: Option<usize>,
        announced: &Announced,
        peers: &PeerList,
    ) {
        let Some(at) = at.filter(|&at| is_new && !self.contents[at].withheld.contains(&addr))
        else {
            return assert_eq!(announced.told, []);
        };
        let told: Vec<PeerId> = announced
            .told
            .iter()
            .map(|told| {
                let newcomer = told.newcomer;
                assert!(newcomer.foreign && newcomer.seed == (announce.left == 0));
                assert_eq!(newcomer.addrs.iter().collect::<Vec<_>>(), [addr]);
                let member = self.contents[at]
                    .members
                    .iter()
                    .find(|m| m.client == told.client);
                assert_eq!(member.expect("a member").slot, told.slot);
                let known = self.clients.iter().find(|known| known.key == told.client);
                known.expect("known").peer_id
            })
            .collect();
        let natives: Vec<_> = peers.ids.iter().map(|(_, id)| *id).collect();
        assert_eq!(told, natives);
    }

    fn figures(&self, hash: InfoHash) -> Option<ScrapeEntry> {
        let content = self.contents.iter().find(|c| c.facts.hash == hash);
        let foreign = self.foreign.get(&hash);
        if content.is_none() && foreign.is_none() {
            return None;
        }
        let stats = content.map(|content| content.stats(self.foreign_of(hash)));
        let foreign = self.foreign_of(hash);
        Some(stats.map_or_else(
            || ScrapeEntry {
                complete: foreign.seeds(),
                downloaded: foreign.downloads,
                incomplete: foreign.members.len() as u32 - foreign.seeds(),
            },
            |stats| ScrapeEntry {
                complete: stats.seeds,
                downloaded: stats.completed,
                incomplete: stats.leechers,
            },
        ))
    }

    pub(crate) fn scrape(&mut self) {
        let (announce, _) = self.random_announce();
        let hash = announce.info_hash;
        assert_eq!(self.registry.figures(hash), self.figures(hash));
        let members = self.foreign.values().map(|swarm| swarm.members.len());
        assert_eq!(self.registry.foreign_count(), members.sum::<usize>());
    }
}
