//! Who is named to whom: native and foreign members in one answer.
//!
//! Changes nothing but the order in which members are chosen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::completions::Serial;
use super::foreign::{Chooser, ForeignWant};
use super::members::{Members, Want};
use super::mixture::{Candidate, mix};
use super::rows::{Foreigner, Row, Row4, Row6};
use super::{Client, Reach, Refusal, Registry, SWARM, query};
use crate::base::{Bitfield, PeerId, canonical};
use crate::wire::announce::PeerList;
use crate::wire::native::{AddrPair, Member as Named};

/// What a foreign member calls itself, where something must stand: that is not kept.
const NO_PEER_ID: PeerId = PeerId([0; 20]);

/// Among how many candidates those who are named are chosen: so many for each, and for who says in which zone it is.
const CANDIDATES_PER_NAMED: usize = 4;
const CANDIDATES_MAX: usize = 1024;

/// A push to one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who is told.
    pub client: Client,
    /// Its membership.
    pub slot: u32,
    /// The content, by a number that no other ever has.
    pub content: u32,
    /// The newcomer, as this client is given it.
    pub newcomer: Named,
}

/// A member that another is given.
pub(super) struct Choice {
    /// The client and its slot; `None` for a foreign member, who cannot be told anything.
    pub(super) native: Option<(Client, u32)>,
    pub(super) named: Named,
}

/// A native member that may be given, as far as the choice needs to know: there are several for each that is named.
struct Near {
    client: Client,
    slot: u32,
    proximity: u8,
    share: u16,
}

impl Candidate for Near {
    fn proximity(&self) -> u8 {
        self.proximity
    }

    fn complement(&self) -> u32 {
        self.share.into()
    }
}

/// Who asks, without being a native member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranger {
    pub(super) peer_id: PeerId,
    pub(super) addr: SocketAddr,
    pub(super) reach: Reach,
    /// Whether IPv4 addresses are of use to it, and IPv6 ones.
    pub(super) families: [bool; 2],
    /// Whether it fetches nothing more.
    pub(super) is_content: bool,
}

impl Stranger {
    /// Whether it is given a member at this address.
    fn takes(&self, ip: IpAddr) -> bool {
        self.families[usize::from(ip.is_ipv6())] && self.reach.includes(ip)
    }

    /// The scopes of addresses that it is given.
    fn scopes(&self) -> [u8; 2] {
        let [v4, v6] = self.reach.scopes();
        let of = |scopes, is_used| if is_used { scopes } else { 0 };
        [of(v4, self.families[0]), of(v6, self.families[1])]
    }
}

/// Puts whom a stranger is given into its list.
struct Listing<'a> {
    /// The stranger itself, as a row of either family has it.
    own_v4: u64,
    own_v6: (u128, u16),
    /// The native members, where some addresses are withheld.
    withholding: Option<&'a Members>,
    peers: &'a mut PeerList,
}

impl<'a> Listing<'a> {
    fn new(own: SocketAddr, withholding: Option<&'a Members>, peers: &'a mut PeerList) -> Self {
        let none = Ipv6Addr::UNSPECIFIED;
        let (v4, v6) = match own.ip() {
            IpAddr::V4(ip) => (ip, none),
            IpAddr::V6(ip) => (Ipv4Addr::UNSPECIFIED, ip),
        };
        Self {
            own_v4: Row4::key_of(v4.octets(), own.port()),
            own_v6: Row6::key_of(v6.octets(), own.port()),
            withholding,
            peers,
        }
    }

    fn withholds(&self, row: impl Row) -> bool {
        let withholding = self.withholding;
        withholding.is_some_and(|members| members.withholds(&[row.addr()]))
    }
}

impl Chooser for Listing<'_> {
    #[inline]
    fn take_v4(&mut self, row: Row4) -> bool {
        let refuses = row.key() == self.own_v4 || self.withholds(row);
        if !refuses {
            let bytes = row.bytes();
            self.peers
                .v4
                .extend_from_slice(&bytes[..Row4::RECORD_BYTES]);
        }
        !refuses
    }

    #[inline]
    fn take_v6(&mut self, row: Row6) -> bool {
        let refuses = row.key() == self.own_v6 || self.withholds(row);
        if !refuses {
            self.peers.v6.extend_from_slice(&row.record());
        }
        !refuses
    }
}

/// Collects whom a native member is given.
struct Collecting<'a> {
    own: &'a [SocketAddr],
    members: &'a Members,
    chosen: Vec<Foreigner>,
}

impl Collecting<'_> {
    fn take(&mut self, member: Foreigner) -> bool {
        let is_fine = !self.own.contains(&member.addr) && !self.members.withholds(&[member.addr]);
        self.chosen.extend(is_fine.then_some(member));
        is_fine
    }
}

impl Chooser for Collecting<'_> {
    fn take_v4(&mut self, row: Row4) -> bool {
        self.take(row.foreigner())
    }

    fn take_v6(&mut self, row: Row6) -> bool {
        self.take(row.foreigner())
    }
}

impl Registry {
    /// Members for a native one.
    pub(super) fn choose(
        &mut self,
        client: Client,
        slot: u32,
        count: usize,
        urgent: Option<&Bitfield>,
    ) -> Result<Vec<Choice>, Refusal> {
        let (serial, asker) = self.place(client, slot)?;
        let near = self.choose_near(client, serial, asker, count, urgent);
        let facts = &self.catalogue.entry(serial).facts;
        let (hash, piece_count) = (facts.hash, facts.piece_count);
        let (clients, me) = (&self.clients, &self.clients[client.index()]);
        let members = &self.swarms[&serial];
        let choice = |near: Near| {
            let known = &clients[near.client.index()];
            let (_, key) = known.slot(near.slot)?;
            let addrs = known.addresses.given_to(&me.addresses);
            Some(Choice {
                native: Some((near.client, near.slot)),
                named: Named {
                    proximity: near.proximity,
                    ..query::named(known, members.member(key), addrs, piece_count)
                },
            })
        };
        let mut chosen: Vec<Choice> = near.into_iter().filter_map(choice).collect();
        let mut foreigners = Collecting {
            own: me.addresses.all(),
            members,
            chosen: Vec::new(),
        };
        let (scopes, only_fetching) = (me.addresses.reach().scopes(), members.is_content(asker));
        if let Some(swarm) = self.foreign.get(hash) {
            let want = ForeignWant {
                count: share(count, swarm.members.len(), members.len(), chosen.len()),
                only_fetching,
                scopes,
            };
            swarm.members.choose(want, &mut self.rng, &mut foreigners);
        }
        chosen.truncate(count - foreigners.chosen.len());
        chosen.extend(foreigners.chosen.iter().map(|member| Choice {
            native: None,
            named: named(member),
        }));
        if urgent.is_none() {
            self.rng.shuffle(&mut chosen);
        }
        Ok(chosen)
    }

    /// Native members for a native one.
    fn choose_near(
        &mut self,
        client: Client,
        serial: Serial,
        asker: u32,
        count: usize,
        urgent: Option<&Bitfield>,
    ) -> Vec<Near> {
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        let (clients, me) = (&self.clients, &self.clients[client.index()]);
        let members = self.swarms.get_mut(&serial).expect(SWARM);
        let want = Want {
            asker: Some(asker),
            only_fetching: members.is_content(asker),
            count: match urgent {
                Some(_) => count,
                // Those of one zone may be few among many.
                None if me.has_zone() => CANDIDATES_MAX,
                None => count * CANDIDATES_PER_NAMED,
            },
            urgent,
        };
        let mut candidates = members.choose(want, &mut self.rng, |members, member| {
            let known = &clients[member.client as usize];
            let is_named = known.addresses.are_given_to(&me.addresses)
                && known.peer_id != me.peer_id
                && !members.withholds(known.addresses.all());
            is_named.then(|| Near {
                client: Client(member.client),
                slot: member.slot,
                proximity: me.proximity(known),
                share: Named::share_of(member.holding.count(piece_count), piece_count),
            })
        });
        match urgent {
            Some(_) => {
                candidates.truncate(count);
                candidates
            }
            None => mix(candidates, count, &mut self.rng),
        }
    }

    /// Puts members into a list for somebody who is no native one. `place` is that of the content. Returns the native ones
    /// among them.
    pub(super) fn name_to_stranger(
        &mut self,
        place: Option<usize>,
        stranger: &Stranger,
        count: usize,
        peers: &mut PeerList,
    ) -> Vec<Choice> {
        let Some(place) = place else {
            return Vec::new();
        };
        let serial = self.foreign.at(place).serial();
        let members = serial.map(|serial| &self.swarms[&serial]);
        let all_native = members.map_or(0, Members::len);
        let mut natives = match serial {
            Some(serial) if all_native > 0 => self.natives_for_stranger(serial, stranger, count),
            _ => Vec::new(),
        };
        let foreign = &self.foreign.at(place).members;
        let want = ForeignWant {
            count: share(count, foreign.len(), all_native, natives.len()),
            only_fetching: stranger.is_content,
            scopes: stranger.scopes(),
        };
        let withholding = serial.map(|serial| &self.swarms[&serial]);
        let withholding = withholding.filter(|members| members.withholds_any());
        let mut listing = Listing::new(stranger.addr, withholding, peers);
        let taken = foreign.choose(want, &mut self.rng, &mut listing);
        natives.truncate(count - taken);
        for choice in &natives {
            let addr = choice.named.addrs.iter().next().map(canonical);
            if let Some(addr) = addr {
                peers.push(addr, Some(choice.named.peer_id));
            }
        }
        natives
    }

    fn natives_for_stranger(
        &mut self,
        serial: Serial,
        stranger: &Stranger,
        count: usize,
    ) -> Vec<Choice> {
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        let clients = &self.clients;
        let members = self.swarms.get_mut(&serial).expect(SWARM);
        let want = Want {
            asker: None,
            only_fetching: stranger.is_content,
            count,
            urgent: None,
        };
        members.choose(want, &mut self.rng, |members, member| {
            let known = &clients[member.client as usize];
            let mut within = known.addresses.within(stranger.reach);
            let addr = within.find(|addr| stranger.takes(addr.ip()))?;
            let is_named =
                known.peer_id != stranger.peer_id && !members.withholds(known.addresses.all());
            is_named.then(|| Choice {
                native: Some((Client(member.client), member.slot)),
                named: query::named(known, member, AddrPair::from_iter([addr]), piece_count),
            })
        })
    }

    /// Who of the members just chosen is told of a native newcomer.
    pub(super) fn told(
        &self,
        client: Client,
        slot: u32,
        chosen: &[Choice],
    ) -> Result<Vec<Told>, Refusal> {
        let (serial, key) = self.place(client, slot)?;
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        let (known, swarm) = (self.known(client), &self.swarms[&serial]);
        if swarm.withholds(known.addresses.all()) {
            return Ok(Vec::new());
        }
        let mut told = self.tell(serial, chosen, |receiver| {
            let addrs = known.addresses.within(receiver).collect();
            query::named(known, swarm.member(key), addrs, piece_count)
        });
        for told in &mut told {
            told.newcomer.proximity = self.known(told.client).proximity(known);
        }
        Ok(told)
    }

    /// Whether a slot of a client is its membership in this content, by the number that [`Told::content`] gave.
    pub fn is_member(&self, client: Client, slot: u32, content: u32) -> bool {
        let place = self.known(client).slot(slot);
        place.is_some_and(|(serial, _)| serial == content)
    }

    /// Who of the members just chosen is told of a foreign newcomer, which calls itself `peer_id`.
    pub(super) fn told_of_foreigner(
        &self,
        serial: Serial,
        newcomer: &Foreigner,
        peer_id: PeerId,
        chosen: &[Choice],
    ) -> Vec<Told> {
        if self.swarms[&serial].withholds(&[newcomer.addr]) {
            return Vec::new();
        }
        self.tell(serial, chosen, |receiver| {
            let addr = Some(newcomer.addr).filter(|addr| receiver.includes(addr.ip()));
            Named {
                peer_id,
                addrs: addr.into_iter().collect(),
                ..named(newcomer)
            }
        })
    }

    /// Tells the native ones of `chosen`, each what `newcomer` is to who has its reach, unless it has no address then.
    fn tell(
        &self,
        serial: Serial,
        chosen: &[Choice],
        newcomer: impl Fn(Reach) -> Named,
    ) -> Vec<Told> {
        let tell = |choice: &Choice| {
            let (client, slot) = choice.native?;
            let newcomer = newcomer(self.known(client).addresses.reach());
            (!newcomer.addrs.is_empty()).then_some(Told {
                client,
                slot,
                content: serial,
                newcomer,
            })
        };
        chosen.iter().filter_map(tell).collect()
    }
}

/// How many of `count` members should be foreign: in proportion to how many there are of either kind, but as many as it
/// takes where fewer native ones than that were found.
fn share(count: usize, foreign: usize, native: usize, natives_found: usize) -> usize {
    let share = (count * foreign).div_ceil((foreign + native).max(1));
    share.max(count - natives_found)
}

/// A foreign member, as others are told of it: how much it holds is not known, unless that is everything.
pub(super) fn named(member: &Foreigner) -> Named {
    Named {
        peer_id: NO_PEER_ID,
        addrs: AddrPair::from_iter([member.addr]),
        seed: member.is_seed,
        upload_only: member.is_upload_only,
        foreign: true,
        proximity: 0,
        share: if member.is_seed { u16::MAX } else { 0 },
    }
}
