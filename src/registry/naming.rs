//! Who is named to whom: native and foreign members in one answer.
//!
//! Changes nothing but the order in which members are chosen.

use std::net::{IpAddr, SocketAddr};

use super::foreign::{ForeignWant, Foreigner, Foreigners};
use super::members::{Members, Want};
use super::{Client, Reach, Refusal, Registry, SWARM, query};
use crate::base::{Bitfield, InfoHash, PeerId};
use crate::wire::native::{AddrPair, Member as Named};

/// A push to one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who is told.
    pub client: Client,
    /// Its membership.
    pub slot: u32,
    /// The newcomer, as this client is given it.
    pub newcomer: Named,
}

/// A member that another is given.
pub(super) struct Choice {
    /// The client and its slot; `None` for a foreign member, who cannot be told anything.
    pub(super) native: Option<(Client, u32)>,
    pub(super) named: Named,
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
        let facts = &self.catalogue.entry(serial).facts;
        let (hash, piece_count) = (facts.hash, facts.piece_count);
        let (clients, me) = (&self.clients, &self.clients[client.index()]);
        let members = self.swarms.get_mut(&serial).expect(SWARM);
        let want = Want {
            asker: Some(asker),
            only_fetching: members.is_content(asker),
            count,
            urgent,
        };
        let natives = members.choose(want, &mut self.rng, |members, member| {
            let known = &clients[member.client as usize];
            let addrs = known.addresses.given_to(&me.addresses);
            let is_named = !addrs.is_empty()
                && known.peer_id != me.peer_id
                && !members.withholds(known.addresses.all());
            is_named.then(|| Choice {
                native: Some((Client(member.client), member.slot)),
                named: query::named(known, member, addrs, piece_count),
            })
        });
        let (peer_id, reach) = (me.peer_id, me.addresses.reach());
        let want = ForeignWant {
            count,
            only_fetching: want.only_fetching,
            families: [true, true],
        };
        let members = &self.swarms[&serial];
        let foreigners = match self.foreign.get(&hash) {
            Some(foreign) if foreign.len() > 0 => foreign.choose(want, &mut self.rng, |member| {
                member.peer_id != peer_id
                    && reach.includes(member.addr.ip())
                    && !members.withholds(&[member.addr])
            }),
            _ => Vec::new(),
        };
        let natives_first = urgent.is_some();
        Ok(self.mixed(hash, natives, foreigners, count, natives_first))
    }

    /// Members for somebody who is no native one.
    pub(super) fn choose_for_stranger(
        &mut self,
        hash: InfoHash,
        stranger: &Stranger,
        count: usize,
    ) -> Vec<Choice> {
        let only_fetching = stranger.is_content;
        let serial = self.catalogue.serial(hash);
        let natives = match serial {
            Some(serial) => self.natives_for_stranger(serial, stranger, count),
            None => Vec::new(),
        };
        let members = serial.map(|serial| &self.swarms[&serial]);
        let want = ForeignWant {
            count,
            only_fetching,
            families: stranger.families,
        };
        let foreigners = match self.foreign.get(&hash) {
            Some(foreign) => foreign.choose(want, &mut self.rng, |member| {
                member.peer_id != stranger.peer_id
                    && member.addr != stranger.addr
                    && stranger.takes(member.addr.ip())
                    && !members.is_some_and(|members| members.withholds(&[member.addr]))
            }),
            None => Vec::new(),
        };
        self.mixed(hash, natives, foreigners, count, false)
    }

    fn natives_for_stranger(
        &mut self,
        serial: super::Serial,
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

    /// As many of both as there is room for, in proportion to how many members are of either kind.
    fn mixed(
        &mut self,
        hash: InfoHash,
        mut natives: Vec<Choice>,
        mut foreigners: Vec<Foreigner>,
        count: usize,
        natives_first: bool,
    ) -> Vec<Choice> {
        if foreigners.is_empty() {
            return natives;
        }
        if natives.len() + foreigners.len() > count {
            let all_foreign = self.foreign.get(&hash).map_or(0, Foreigners::len);
            let serial = self.catalogue.serial(hash);
            let all_native = serial.map_or(0, |serial| self.swarms[&serial].len());
            let share = (count * all_foreign).div_ceil((all_foreign + all_native).max(1));
            let room = count - natives.len();
            foreigners.truncate(share.clamp(room, foreigners.len().max(room)));
            natives.truncate(count - foreigners.len());
        }
        natives.extend(foreigners.iter().map(|member| Choice {
            native: None,
            named: named(member),
        }));
        if !natives_first {
            self.rng.shuffle(&mut natives);
        }
        natives
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
        Ok(self.tell(chosen, |receiver| {
            let addrs = known.addresses.within(receiver).collect();
            query::named(known, swarm.member(key), addrs, piece_count)
        }))
    }

    /// Who of the members just chosen is told of a foreign newcomer.
    pub(super) fn told_of_foreigner(
        &self,
        swarm: Option<&Members>,
        newcomer: &Foreigner,
        chosen: &[Choice],
    ) -> Vec<Told> {
        if swarm.is_none_or(|swarm| swarm.withholds(&[newcomer.addr])) {
            return Vec::new();
        }
        self.tell(chosen, |receiver| {
            let addr = Some(newcomer.addr).filter(|addr| receiver.includes(addr.ip()));
            Named {
                addrs: addr.into_iter().collect(),
                ..named(newcomer)
            }
        })
    }

    /// Tells the native ones of `chosen`, each what `newcomer` is to who has its reach, unless it has no address then.
    fn tell(&self, chosen: &[Choice], newcomer: impl Fn(Reach) -> Named) -> Vec<Told> {
        let tell = |choice: &Choice| {
            let (client, slot) = choice.native?;
            let newcomer = newcomer(self.known(client).addresses.reach());
            (!newcomer.addrs.is_empty()).then_some(Told {
                client,
                slot,
                newcomer,
            })
        };
        chosen.iter().filter_map(tell).collect()
    }
}

/// A foreign member, as others are told of it: how much it holds is not known, unless that is everything.
pub(super) fn named(member: &Foreigner) -> Named {
    Named {
        peer_id: member.peer_id,
        addrs: AddrPair::from_iter([member.addr]),
        seed: member.is_seed,
        upload_only: member.is_upload_only,
        foreign: true,
        proximity: 0,
        share: if member.is_seed { u16::MAX } else { 0 },
    }
}
