//! An info dictionary from peers (BEP 9), as a pure machine: what happened goes in, what to do comes out.
//!
//! It dials what it is told of, asks whoever says that it has the dictionary, and ends with bytes whose SHA-1 is the
//! info-hash. Nobody is believed: each claimed size is fetched by itself, few at a time; a wrong dictionary bans the one
//! who sent all of it, and if there were several, each is tried alone from then on.
//!
//! Invariants: a request is counted at its piece as long as its link waits for it; a link has at most
//! `REQUESTS_MAX` unanswered; at most `CLAIMS_ACTIVE_MAX` claims hold bytes, each at most its size.

mod claim;
mod contacts;
mod link;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sha1::{Digest, Sha1};
use slab::Slab;

use super::ledger::Ledger;
use super::{Hello, PeerKey, Reason};
use claim::{Claim, Source};
use contacts::InfoContacts;
use link::{Asked, Link};

use crate::base::{InfoHash, PeerId, Rng, Time};
use crate::wire::metadata::MetadataMessage;

/// Links at a time.
const LINKS_MAX: usize = 40;
/// Requests to one link at a time; others take as few as 64 (Transmission).
const REQUESTS_MAX: usize = 8;
/// Sizes that are fetched at the same time: with 32 MiB each, what liars can make us hold.
const CLAIMS_ACTIVE_MAX: usize = 4;
/// How long a link that refused is not asked.
const REFUSAL_TIME: Duration = Duration::from_secs(5);
/// How often a link may refuse.
const REFUSALS_MAX: u32 = 3;

/// Something that happened.
#[derive(Debug)]
pub enum InfoInput<'a> {
    /// Addresses that may have it.
    Found {
        /// Where they listen.
        addrs: &'a [SocketAddr],
    },
    /// A dial, or the handshake after it, came to nothing.
    DialFailed {
        /// The address dialled.
        addr: SocketAddr,
    },
    /// The extension handshake of a link; a later one tells only what changed.
    Extended {
        /// Whose.
        peer: PeerKey,
        /// The number that it gave `ut_metadata`; 0 means that it does not speak it any more.
        id: Option<u8>,
        /// The size that it claims, in bytes.
        size: Option<u32>,
        /// Where it listens.
        port: Option<u16>,
    },
    /// A message of `ut_metadata`.
    Received {
        /// From whom.
        peer: PeerKey,
        /// What.
        message: MetadataMessage<'a>,
    },
    /// A link is gone.
    Disconnected {
        /// Which.
        peer: PeerKey,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InfoOutput {
    /// Dial.
    Connect {
        /// Whom.
        addr: SocketAddr,
    },
    /// Ask for a piece.
    Request {
        /// Whom.
        peer: PeerKey,
        /// The number that it gave `ut_metadata`.
        id: u8,
        /// Which.
        piece: u32,
    },
    /// Say that we do not have a piece.
    Reject {
        /// To whom.
        peer: PeerKey,
        /// The number that it gave `ut_metadata`.
        id: u8,
        /// Which.
        piece: u32,
    },
    /// Close a link.
    Disconnect {
        /// Which.
        peer: PeerKey,
        /// Why.
        reason: Reason,
    },
    /// The dictionary; nothing comes after it.
    Complete(Vec<u8>),
}

/// The search for one info dictionary.
#[derive(Debug)]
pub struct InfoFetch {
    info_hash: InfoHash,
    own_id: PeerId,
    rng: Rng,
    links: Slab<Link>,
    generation: u32,
    claims: BTreeMap<u32, Claim>,
    contacts: InfoContacts,
    ledger: Ledger,
    outputs: VecDeque<InfoOutput>,
    arrived_bytes: u64,
    is_complete: bool,
}

impl InfoFetch {
    /// A search for what has this hash, by the peer `own_id`.
    pub fn new(info_hash: InfoHash, own_id: PeerId, seed: u64) -> Self {
        Self {
            info_hash,
            own_id,
            rng: Rng::new(seed),
            links: Slab::new(),
            generation: 0,
            claims: BTreeMap::new(),
            contacts: InfoContacts::default(),
            ledger: Ledger::default(),
            outputs: VecDeque::new(),
            arrived_bytes: 0,
            is_complete: false,
        }
    }

    /// What is looked for.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// Bytes of use that came, right or wrong: a sign of life.
    pub fn arrived_bytes(&self) -> u64 {
        self.arrived_bytes
    }

    /// Every address that is known, and not banned.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let known = self.contacts.addrs();
        let linked = self
            .links
            .iter()
            .filter_map(|(_, link)| link.listens_at)
            .filter(|addr| !self.contacts.addrs().any(|known| known == *addr));
        known
            .chain(linked)
            .filter(|addr| !self.ledger.is_banned(None, *addr))
            .collect()
    }

    /// A conn has finished its handshakes: a new link, or the reason why there is none. Of two conns between one pair the
    /// same one stays as in a swarm.
    pub fn connect(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Reason> {
        let admitted = self.admit(now, hello);
        if hello.dialled {
            match admitted {
                Ok(key) => self.contacts.linked(hello.remote, key),
                Err(Reason::Duplicate | Reason::Full) => {
                    self.contacts.failed(now, hello.remote, &mut self.rng);
                }
                Err(_) => self.contacts.forget(hello.remote),
            }
        }
        self.settle(now);
        admitted
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Time, input: InfoInput<'_>) {
        if self.is_complete {
            return;
        }
        match input {
            InfoInput::Found { addrs } => {
                for &addr in addrs {
                    if !self.ledger.is_banned(None, addr) {
                        self.contacts.add(now, addr);
                    }
                }
            }
            InfoInput::DialFailed { addr } => self.contacts.failed(now, addr, &mut self.rng),
            InfoInput::Extended {
                peer,
                id,
                size,
                port,
            } => self.extended(now, peer, id, size, port),
            InfoInput::Received { peer, message } => self.received(now, peer, message),
            InfoInput::Disconnected { peer } => self.disconnected(now, peer),
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let late: Vec<(PeerKey, Reason)> = self
            .links
            .iter()
            .filter(|(_, link)| link.due() <= now)
            .map(|(slot, link)| (link.key(slot), link.lateness()))
            .collect();
        for (key, reason) in late {
            self.disconnect(key, reason);
        }
        self.settle(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_complete {
            return None;
        }
        let is_any_waiting = self.next_claim().is_some();
        let turns = self.claims.values().filter(|_| is_any_waiting);
        let links = self.links.iter().map(|(_, link)| link);
        links
            .clone()
            .map(Link::due)
            .filter(|due| *due < Time::MAX)
            .chain(links.filter_map(|link| link.refused_until))
            .chain(turns.filter_map(|claim| claim.turn_until))
            .chain(self.claims.values().filter_map(Claim::sole_until))
            .chain(self.contacts.next_due().filter(|_| self.has_room()))
            .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<InfoOutput> {
        self.outputs.pop_front()
    }

    fn admit(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Reason> {
        if hello.id == self.own_id {
            return Err(Reason::Ourselves);
        }
        if self.ledger.is_banned(Some(hello.id), hello.remote) {
            return Err(Reason::Banned);
        }
        let twin = self.links.iter().find(|(_, l)| l.hello.id == hello.id);
        if let Some((slot, twin)) = twin {
            if !self.prevails(&twin.hello, &hello) {
                return Err(Reason::Duplicate);
            }
            self.disconnect(twin.key(slot), Reason::Duplicate);
        } else if !self.has_room() {
            return Err(Reason::Full);
        }
        self.generation = self.generation.wrapping_add(1);
        let link = Link {
            generation: self.generation,
            hello,
            listens_at: hello.dialled.then_some(hello.remote),
            id: None,
            claim: None,
            asked: Vec::new(),
            waiting_since: now,
            refused_until: None,
            refusal_count: 0,
            failure_count: self.contacts.failure_count(hello.remote),
            has_delivered: false,
            sole_count: 0,
            is_leaving: false,
        };
        let slot = self.links.insert(link);
        Ok(self.links[slot].key(slot))
    }

    /// Whether the second of two conns between a pair stays: the rule of a swarm, as far as it needs no tracker.
    fn prevails(&self, first: &Hello, second: &Hello) -> bool {
        if first.dialled == second.dialled || first.remote.ip() != second.remote.ip() {
            return false;
        }
        if !second.id.is_native() {
            return second.greeted_at < first.greeted_at;
        }
        second.dialled == (self.own_id > second.id)
    }

    fn extended(
        &mut self,
        now: Time,
        key: PeerKey,
        id: Option<u8>,
        size: Option<u32>,
        port: Option<u16>,
    ) {
        let Some(link) = self.link_mut(key) else {
            return;
        };
        if let Some(id) = id {
            link.id = Some(id).filter(|id| *id != 0);
            link.waiting_since = now;
        }
        if let Some(port) = port.filter(|_| link.listens_at.is_none()) {
            link.listens_at = Some(SocketAddr::new(link.hello.remote.ip(), port));
        }
        let Some(size) = size else { return };
        if *link.claim.get_or_insert(size) == size {
            self.claims.entry(size).or_insert_with(|| Claim::new(size));
        } else {
            self.disconnect(key, Reason::WrongMetadata);
        }
    }

    fn received(&mut self, now: Time, key: PeerKey, message: MetadataMessage<'_>) {
        let Some(link) = self.link_mut(key) else {
            return;
        };
        match message {
            MetadataMessage::Request { piece } => {
                if let Some(id) = link.id {
                    let peer = key;
                    self.outputs
                        .push_back(InfoOutput::Reject { peer, id, piece });
                }
            }
            MetadataMessage::Data {
                piece,
                total_size,
                bytes,
            } => self.data(now, key, piece, total_size, bytes),
            MetadataMessage::Reject { piece } => self.rejected(now, key, piece),
            MetadataMessage::Unknown => {}
        }
    }

    fn data(&mut self, now: Time, key: PeerKey, piece: u32, size: u32, bytes: &[u8]) {
        let Some(link) = self.link_mut(key) else {
            return;
        };
        let Some(asked) = link.take_asked(piece) else {
            return self.disconnect(key, Reason::Unrequested);
        };
        link.waiting_since = now;
        link.has_delivered = true;
        let (source, claimed) = (link.source(key), link.claim);
        if claimed != Some(size) {
            self.take_back(claimed, asked);
            return self.disconnect(key, Reason::WrongMetadata);
        }
        self.take_back(claimed, asked);
        let Some(claim) = self.claims.get_mut(&size).filter(|_| !asked.is_stale) else {
            return;
        };
        if claim.arrived(piece, source, bytes) {
            self.arrived_bytes += bytes.len() as u64;
            let whole = claim.whole();
            self.contacts.delivered(key);
            if let Some((whole, sources)) = whole {
                self.judge(size, whole, &sources);
            }
        }
    }

    fn rejected(&mut self, now: Time, key: PeerKey, piece: u32) {
        let Some(link) = self.link_mut(key) else {
            return;
        };
        let Some(asked) = link.take_asked(piece) else {
            return self.disconnect(key, Reason::BadReject);
        };
        let claimed = link.claim;
        // What was asked at the same time is refused at the same time.
        if link.refused_until.is_none() {
            link.refused_until = Some(now + REFUSAL_TIME);
            link.refusal_count += 1;
        }
        let is_hopeless = link.refusal_count > REFUSALS_MAX;
        self.take_back(claimed, asked);
        if is_hopeless {
            self.disconnect(key, Reason::NoMetadata);
        }
    }

    /// Everything of one size is here: it is right, or somebody lied.
    fn judge(&mut self, size: u32, whole: Vec<u8>, sources: &[Source]) {
        if InfoHash(Sha1::digest(&whole).into()) == self.info_hash {
            self.is_complete = true;
            self.outputs.push_back(InfoOutput::Complete(whole));
            return;
        }
        self.restart(size);
        if let [liar] = sources {
            self.ledger.ban(liar.id, liar.addr);
            self.contacts.forget(liar.addr);
            self.disconnect(liar.key, Reason::WrongMetadata);
        } else if let Some(claim) = self.claims.get_mut(&size) {
            claim.is_divided = true;
        }
    }

    fn restart(&mut self, size: u32) {
        if let Some(claim) = self.claims.get_mut(&size) {
            claim.restart();
        }
        self.make_stale(size);
    }

    /// What links of this claim were asked for is of no use any more.
    fn make_stale(&mut self, size: u32) {
        let links = self.links.iter_mut().map(|(_, link)| link);
        for link in links.filter(|link| link.claim == Some(size)) {
            link.asked
                .iter_mut()
                .for_each(|asked| asked.is_stale = true);
        }
    }

    /// A request is answered, or will not be.
    fn take_back(&mut self, claim: Option<u32>, asked: Asked) {
        let claim = claim.and_then(|size| self.claims.get_mut(&size));
        if let Some(claim) = claim.filter(|_| !asked.is_stale) {
            claim.lost(asked.piece);
        }
    }

    /// Has a link closed; what it owes is asked of others at once.
    fn disconnect(&mut self, key: PeerKey, reason: Reason) {
        let Some(link) = self.link_mut(key) else {
            return;
        };
        link.is_leaving = true;
        let (claim, asked) = (link.claim, std::mem::take(&mut link.asked));
        for asked in asked {
            self.take_back(claim, asked);
        }
        let peer = key;
        self.outputs
            .push_back(InfoOutput::Disconnect { peer, reason });
    }

    fn disconnected(&mut self, now: Time, key: PeerKey) {
        let Some(link) = self.links.get(key.slot()) else {
            return;
        };
        if link.generation != key.generation {
            return;
        }
        let link = self.links.remove(key.slot());
        for asked in link.asked {
            self.take_back(link.claim, asked);
        }
        self.contacts.unlinked(now, key, &mut self.rng);
    }

    /// Does what has become possible: turns, requests, dials.
    fn settle(&mut self, now: Time) {
        if self.is_complete {
            return;
        }
        for (_, link) in &mut self.links {
            link.refused_until = link.refused_until.filter(|until| *until > now);
        }
        self.take_turns(now);
        for size in self.claims.keys().copied().collect::<Vec<_>>() {
            self.choose_sole(now, size);
        }
        for slot in 0..self.links.capacity() {
            self.ask(now, slot);
        }
        while self.has_room()
            && let Some(addr) = self.contacts.next_dial(now)
        {
            self.outputs.push_back(InfoOutput::Connect { addr });
        }
    }

    fn has_room(&self) -> bool {
        self.links.len() < LINKS_MAX
    }

    /// A link that is there, and not about to go.
    fn link_mut(&mut self, key: PeerKey) -> Option<&mut Link> {
        let link = self.links.get_mut(key.slot())?;
        (link.generation == key.generation && !link.is_leaving).then_some(link)
    }

    /// Asserts what the header promises.
    pub fn check(&self) {
        let mut askers: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for (_, link) in &self.links {
            assert!(link.asked.len() <= REQUESTS_MAX);
            for asked in link.asked.iter().filter(|asked| !asked.is_stale) {
                let size = link.claim.expect("only a claim is asked for");
                *askers.entry((size, asked.piece)).or_default() += 1;
            }
        }
        for ((size, piece), count) in askers {
            assert_eq!(self.claims[&size].asker_count(piece), count);
        }
        assert!(self.active_count() <= CLAIMS_ACTIVE_MAX);
        for (size, claim) in &self.claims {
            let bytes = claim.bytes_held();
            assert!(bytes <= *size as usize && (bytes == 0 || claim.is_active()));
        }
        assert!(self.links.len() <= LINKS_MAX + 1, "a twin may be leaving");
    }
}
