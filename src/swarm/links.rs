//! Links come and go: who is let in, which of two conns between a pair stays, and why one is closed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::contact::Found;
use super::exchange::PORT_MIN;
use super::peer::{Hello, Peer, PeerKey};
use super::pieces::Sender;
use super::{Output, Proof, Said, Swarm};
use crate::base::{PeerId, Time};
use crate::wire::peer::Message;

/// Why a link is closed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is ourselves.
    Ourselves,
    /// There is another conn between the two, and that one stays.
    Duplicate,
    /// There are links enough.
    Full,
    /// There are links enough to its address.
    Crowded,
    /// It was banned.
    Banned,
    /// Neither side needs anything of the other.
    BothComplete,
    /// It said nothing for too long.
    Silent,
    /// It named a piece that does not exist.
    NoSuchPiece,
    /// Its bitfield has a wrong size or spare bits.
    BadBitfield,
    /// It said twice, or too late, what it has.
    LatePossession,
    /// It used the fast extension without having negotiated it.
    NotNegotiated,
    /// It asked for what it may not ask.
    BadRequest,
    /// It asked for too much at once.
    TooManyRequests,
    /// It rejected what nobody had asked.
    BadReject,
    /// It keeps sending blocks that nobody asked for.
    Unrequested,
    /// It tells of other peers far too often.
    ExchangeFlood,
    /// It sent a block that is not one of ours.
    BadBlock,
    /// It alone sent a piece that is wrong.
    CorruptPiece,
    /// What it asked for cannot be read any more.
    Unreadable,
    /// It has no info dictionary to give.
    NoMetadata,
    /// It sent a wrong info dictionary, or contradicts itself about it.
    WrongMetadata,
    /// The info dictionary is here, and its conn was for that.
    MetadataComplete,
}

impl Reason {
    /// One line for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ourselves => "it is ourselves",
            Self::Duplicate => "there is another connection between the two of us",
            Self::Full => "we have connections enough",
            Self::Crowded => "we have connections enough to its address",
            Self::Banned => "it is banned",
            Self::BothComplete => "neither side needs anything",
            Self::Silent => "it was silent for too long",
            Self::NoSuchPiece => "it named a piece that does not exist",
            Self::BadBitfield => "its bitfield has a wrong size or spare bits",
            Self::LatePossession => "it said twice or too late what it has",
            Self::NotNegotiated => "it used an extension that was not negotiated",
            Self::BadRequest => "it asked for what it may not ask",
            Self::TooManyRequests => "it asked for too much at once",
            Self::BadReject => "it rejected what nobody had asked",
            Self::Unrequested => "it keeps sending what nobody asked for",
            Self::ExchangeFlood => "it tells of other peers too often",
            Self::BadBlock => "it sent a block that is not in the content",
            Self::CorruptPiece => "it sent a corrupt piece",
            Self::Unreadable => "what it asked for cannot be read",
            Self::NoMetadata => "it has no info dictionary",
            Self::WrongMetadata => "it sent a wrong info dictionary",
            Self::MetadataComplete => "the info dictionary is here",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Silence after which a conn gives way to a new one of the same peer, whoever dialled it.
const DEAD_AFTER: Duration = Duration::from_secs(15);

impl Swarm {
    /// A conn has finished its handshakes: a new link, or the reason why there is none.
    ///
    /// Of two conns between one pair one stays, see [`Swarm::prevails`]; the other is closed without back-off.
    pub fn connect(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Reason> {
        let dialled = hello.dialled.then_some(hello.remote);
        let outcome = self.admit(now, hello);
        match outcome {
            Ok(_) => {}
            Err(Reason::Duplicate) => {
                let twin = self.key_of(hello.id).expect("a duplicate has a twin");
                self.contacts.linked(now, twin, hello.id, dialled);
            }
            Err(reason) => {
                if let Some(addr) = dialled {
                    self.contacts.failed(now, addr, &mut self.rng);
                    if reason == Reason::Ourselves {
                        self.contacts.note_ourselves(addr);
                    } else {
                        self.contacts.forget(hello.id, addr);
                    }
                }
            }
        }
        self.contacts_changed = true;
        self.settle(now);
        outcome
    }

    fn admit(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Reason> {
        if hello.id == self.config.id {
            return Err(Reason::Ourselves);
        }
        if self.ledger.is_banned(Some(hello.id), hello.remote) {
            return Err(Reason::Banned);
        }
        let twin = self.key_of(hello.id);
        if let Some(twin) = twin {
            if !self.prevails(now, twin, &hello) {
                return Err(Reason::Duplicate);
            }
        } else if self.peers.len() >= self.config.links_max {
            return Err(Reason::Full);
        } else if self.is_crowded(hello.remote.ip()) {
            return Err(Reason::Crowded);
        }
        let key = self.insert(now, hello);
        let dialled = hello.dialled.then_some(hello.remote);
        self.contacts.linked(now, key, hello.id, dialled);
        self.note_nearness(key, hello.id);
        if let Some(twin) = twin {
            self.disconnect(twin, Reason::Duplicate);
            self.disconnected(now, twin);
        }
        Ok(key)
    }

    /// Whether a second conn to a peer takes the place of its link.
    ///
    /// Two of our kind keep the one that was dialled by the greater peer id, on both sides. Others have rules of their
    /// own: aria2 and Transmission keep the conn whose handshake they saw first, which is the one on which ours went out
    /// first; libtorrent goes by ports, but refuses a conn that gives way before it answers there. Where the other side
    /// kept another one than we all the same, both break, and the first to dial again ends it.
    fn prevails(&self, now: Time, twin: PeerKey, hello: &Hello) -> bool {
        let Peer {
            hello: first,
            received_at,
            ..
        } = &self.peers[twin.slot()];
        let ip = hello.remote.ip();
        let is_same_host = first.remote.ip() == ip;
        // The other side would not dial if it knew of a conn: ours is dead, and nobody told us.
        if is_same_host && now.since(*received_at) > DEAD_AFTER {
            return true;
        }
        if first.dialled == hello.dialled {
            return false;
        }
        if !hello.id.is_native() {
            return is_same_host && hello.greeted_at < first.greeted_at;
        }
        let ours_is_right = self.config.id > hello.id;
        // A name that is taken by another must not push its owner's link aside.
        let is_stranger = !is_same_host && self.contacts.addr_at(hello.id, ip).is_none();
        hello.dialled == ours_is_right && (hello.dialled || !is_stranger)
    }

    /// Whether there are as many links to an address as there may be. Behind a loopback address there may be any number
    /// of peers.
    fn is_crowded(&self, ip: IpAddr) -> bool {
        let is_there = |peer: &Peer| peer.hello.remote.ip() == ip;
        let links = self.peers.iter().filter(|(_, peer)| is_there(peer));
        !ip.is_loopback() && links.count() >= self.config.links_per_ip_max
    }

    fn insert(&mut self, now: Time, hello: Hello) -> PeerKey {
        self.generation = self.generation.wrapping_add(1);
        // Anybody can take another's name, so only an address on the host that we see is believed to be its own.
        let listens_at = self.contacts.addr_at(hello.id, hello.remote.ip());
        let addr = listens_at
            .filter(|_| !hello.dialled)
            .unwrap_or(hello.remote);
        let account = self.ledger.open(addr);
        let pieces = self.geometry.piece_count();
        let mut peer = Peer::new(now, self.generation, hello, account, pieces);
        peer.addr = addr;
        let slot = self.peers.insert(peer);
        let key = PeerKey {
            slot: slot as u32,
            generation: self.generation,
        };
        self.outputs.push_back(Output::Open { peer: key });
        self.fill_slots(now, Some(key));
        self.arm_exchange(now);
        key
    }

    fn note_nearness(&mut self, key: PeerKey, id: PeerId) {
        self.peers[key.slot()].proximity = self.contacts.proximity(key, id);
        self.share.forget();
    }

    fn key_of(&self, id: PeerId) -> Option<PeerKey> {
        self.keys()
            .find(|key| self.peers[key.slot()].hello.id == id)
    }

    /// Asks for the link to be closed; it counts until the shell says that it is gone.
    pub(super) fn disconnect(&mut self, peer: PeerKey, reason: Reason) {
        if self.peer(peer).is_some() {
            self.outputs.push_back(Output::Disconnect { peer, reason });
        }
    }

    /// The link is gone: what it owed is asked of others at once.
    pub(super) fn disconnected(&mut self, now: Time, key: PeerKey) {
        if self.peer(key).is_none() {
            return;
        }
        self.lose_requests(now, key, false);
        self.stop_landing(key);
        self.service_lost(key);
        let peer = self.peers.remove(key.slot());
        self.share.forget();
        if peer.counted_whole {
            self.whole_count -= 1;
        } else {
            peer.has
                .ones()
                .for_each(|piece| self.picker.decrease(piece));
        }
        let of_use = !(self.wants_nothing() && (peer.has.is_all() || peer.is_upload_only));
        let rate = peer.down.bytes_per_second().map(|rate| rate as u64);
        self.contacts
            .unlinked(now, key, (of_use, rate), &mut self.rng);
        let Hello { id, remote, .. } = peer.hello;
        if self.ledger.is_banned(Some(id), remote) {
            self.contacts.forget(id, peer.addr);
        }
        self.contacts_changed = true;
        self.hungry = true;
        self.serve(now);
        self.fill_slots(now, None);
        self.arm_exchange(now);
    }

    /// The tracker named peers; they may be dialled from `dial_at` on.
    pub(super) fn found(&mut self, now: Time, peers: &[Found], dial_at: Time) {
        for found in peers {
            let unusable = found.id == Some(self.config.id)
                || found
                    .addrs
                    .iter()
                    .any(|&addr| self.ledger.is_banned(found.id, addr));
            if unusable {
                continue;
            }
            self.contacts.add(found, dial_at);
            let by_id = found.id.and_then(|id| self.key_of(id));
            if let Some(key) = by_id {
                let id = self.peers[key.slot()].hello.id;
                self.contacts.linked(now, key, id, None);
                self.note_nearness(key, id);
            }
            for &addr in &found.addrs {
                self.note_link_at(now, addr);
            }
        }
        self.contacts_changed = true;
    }

    /// Dials every contact that is due, as far as links are wanted.
    pub(super) fn dial(&mut self, now: Time) {
        let leechers_only = self.wants_nothing();
        while self.wants_links() {
            let order = self.config.peer_order;
            let due = self
                .contacts
                .next_dial(now, leechers_only, order, &mut self.rng);
            let Some((addr, lure)) = due else { break };
            self.note_dialled(addr, lure);
            self.outputs.push_back(Output::Connect { addr });
        }
        self.arm_dial();
    }

    /// A dial came to nothing; maybe because the other side kept the conn that it had dialled itself.
    pub(super) fn dial_failed(&mut self, now: Time, addr: SocketAddr) {
        let id = self.contacts.failed(now, addr, &mut self.rng);
        if let Some((id, key)) = id.and_then(|id| Some((id, self.key_of(id)?))) {
            self.contacts.linked(now, key, id, None);
        }
        self.note_link_at(now, addr);
        self.contacts_changed = true;
    }

    /// Nobody is dialled who is linked already, be it that it dialled us.
    fn note_link_at(&mut self, now: Time, addr: SocketAddr) {
        if let Some(key) = self.key_at(addr) {
            let id = self.peers[key.slot()].hello.id;
            self.contacts.linked_at(now, key, id, addr);
        }
    }

    /// Whether we look for more links.
    pub(super) fn wants_links(&self) -> bool {
        self.peers.len() < self.links_wanted()
    }

    fn links_wanted(&self) -> usize {
        self.config.links_wanted.min(self.config.links_max)
    }

    /// Whether more contacts would help.
    pub(super) fn lacks_peers(&self) -> bool {
        let links = self.peers.len();
        !self.wants_nothing()
            && links < self.links_wanted()
            && links + self.contacts.open_count(false) < self.links_wanted()
    }

    /// Bans who sent a wrong piece, closes its link if there is one, and accuses it before the tracker.
    pub(super) fn ban(&mut self, sender: Sender, piece: u32, proof: Proof) {
        let Sender { id, addr } = sender;
        // Pieces of it that were still being checked come to the same verdict: once is enough.
        if !self.ledger.is_banned(Some(id), addr) {
            self.ledger.ban(id, addr);
            self.contacts.forget(id, addr);
            self.suspects.forget_sender(&sender);
            self.discard_blocks_of(&sender);
            self.outputs
                .push_back(Output::Accuse { addr, piece, proof });
        }
        if let Some(key) = self.key_of(id)
            && self.peers[key.slot()].hello.remote.ip() == addr.ip()
        {
            self.disconnect(key, Reason::CorruptPiece);
        }
    }

    /// The other side told us of itself; what it did not mention stays as it was.
    pub(super) fn extended(&mut self, now: Time, key: PeerKey, said: Said) {
        let Some(peer) = self.peer_mut(key) else {
            return;
        };
        if let Some(requests_max) = said.requests_max {
            peer.requests_max = (requests_max as usize).max(1);
        }
        if let Some(bytes) = said.request_bytes_max {
            peer.request_bytes_max = bytes;
        }
        if let Some(wanted) = said.wants_exchange {
            peer.exchange.is_wanted = wanted;
        }
        if let Some(is_upload_only) = said.is_upload_only {
            peer.is_upload_only = is_upload_only;
            self.update_interest(key);
            self.fill_slots(now, None);
        }
        if let Some(port) = said.port {
            self.listens_at(now, key, port);
        }
        self.arm_exchange(now);
    }

    /// A peer that dialled us says where it listens. That is learnt once: else one peer could open accounts without end.
    fn listens_at(&mut self, now: Time, key: PeerKey, port: u16) {
        let peer = &mut self.peers[key.slot()];
        if port == 0 || peer.hello.dialled || peer.addr != peer.hello.remote {
            return;
        }
        peer.addr.set_port(port);
        let (id, addr) = (peer.hello.id, peer.addr);
        peer.account = self.ledger.open(addr);
        if !id.is_native() && port >= PORT_MIN {
            // Of our own kind we hear from the tracker; another may be known to nobody, and is dialled if this link breaks.
            let found = Found {
                id: Some(id),
                addrs: vec![addr],
                ..Found::default()
            };
            self.contacts.add(&found, now);
        }
        self.contacts.linked_at(now, key, id, addr);
    }

    /// Says whether we want something of a peer, if that has changed; two who have everything part.
    pub(super) fn update_interest(&mut self, key: PeerKey) {
        let (complete, upload_only) = (self.wants_nothing(), self.config.is_upload_only);
        let Some(peer) = self.peer_mut(key) else {
            return;
        };
        let has_told = peer.possession_known || !peer.has.is_empty();
        let needs_nothing = peer.has.is_all() && has_told || peer.is_upload_only;
        if complete && needs_nothing {
            return self.disconnect(key, Reason::BothComplete);
        }
        let wants = peer.wanted_count > 0 && !upload_only;
        if wants != peer.am_interested {
            peer.am_interested = wants;
            self.send(
                key,
                if wants {
                    Message::Interested
                } else {
                    Message::NotInterested
                },
            );
        }
    }
}
