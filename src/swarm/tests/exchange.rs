//! Peers that tell of other peers, and pieces that are taken back, against models that do not care for speed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::swarm::contacts::HEARSAY_MAX;
use crate::swarm::exchange::{HASTY_MAX, HEAR_EVERY_MIN, TAKEN_MAX, TELL_AFTER, TELL_EVERY};
use crate::wire::peer_exchange::{
    EXCHANGED_MAX, ExchangedPeer, FLAG_REACHABLE, FLAG_SEED, PeerExchange,
};

fn wants_exchange(wanted: bool, port: Option<u16>) -> Said {
    Said {
        port,
        wants_exchange: Some(wanted),
        ..Said::default()
    }
}

/// Peer `number` dialled us, wants to be told of others, and listens at [`addr`].
fn curious(rig: &mut Rig, number: u8) -> PeerKey {
    let peer = rig.link_foreign(number);
    let said = wants_exchange(true, Some(6881));
    rig.input(Input::Extended { peer, said });
    peer
}

/// What peers were told since this was last asked.
fn tales(rig: &mut Rig) -> Vec<(PeerKey, PeerExchange)> {
    let (mut tales, mut kept) = (Vec::new(), Vec::new());
    for output in rig.rest.drain(..) {
        match output {
            Output::Exchange { peer, message } => tales.push((peer, message)),
            output => kept.push(output),
        }
    }
    rig.rest = kept;
    tales
}

fn dials(rig: &mut Rig) -> Vec<SocketAddr> {
    let outputs = std::mem::take(&mut rig.rest).into_iter();
    let dialled = outputs.filter_map(|output| match output {
        Output::Connect { addr } => Some(addr),
        _ => None,
    });
    dialled.collect()
}

fn named(addrs: impl IntoIterator<Item = SocketAddr>) -> PeerExchange {
    let flags = 0;
    let added = addrs.into_iter().map(|addr| ExchangedPeer { addr, flags });
    PeerExchange {
        added: added.collect(),
        dropped: Vec::new(),
    }
}

fn tell(rig: &mut Rig, peer: PeerKey, message: &PeerExchange) {
    rig.input(Input::Exchanged { peer, message });
}

#[test]
fn peers_are_told_of_those_whose_listening_address_is_known() {
    let mut rig = Rig::getter(1);
    let first = curious(&mut rig, 1);
    rig.pass(TELL_AFTER);
    assert_eq!(tales(&mut rig), [], "there is nobody else");
    rig.link_foreign(2);
    rig.pass(TELL_AFTER);
    assert_eq!(tales(&mut rig), [], "where it listens is not known");
    let seed = curious(&mut rig, 3);
    rig.receive(seed, Message::HaveAll);
    rig.input(Input::Found { peers: &[found(4)] });
    let dialled = Hello {
        id: id(4),
        remote: addr(4),
        dialled: true,
        fast: true,
        greeted_at: rig.now,
    };
    rig.try_link(dialled).expect("welcome");
    rig.pass(TELL_AFTER);
    let peer = |number, flags| ExchangedPeer {
        addr: addr(number),
        flags,
    };
    let told = tales(&mut rig);
    let expected = |added| PeerExchange {
        added,
        dropped: Vec::new(),
    };
    let others = [
        (
            first,
            expected(vec![peer(3, FLAG_SEED), peer(4, FLAG_REACHABLE)]),
        ),
        (seed, expected(vec![peer(1, 0), peer(4, FLAG_REACHABLE)])),
    ];
    assert_eq!(told, others);
    rig.input(Input::Disconnected { peer: seed });
    rig.pass(TELL_EVERY / 2);
    assert_eq!(tales(&mut rig), [], "not more than once a minute");
    rig.pass(TELL_EVERY / 2);
    let told = tales(&mut rig);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1.dropped, [addr(3)]);
}

#[test]
fn who_never_asked_is_told_nothing_and_who_withdrew_nothing_more() {
    let mut rig = Rig::getter(1);
    rig.link_foreign(1);
    let peer = curious(&mut rig, 2);
    rig.input(Input::Extended {
        peer,
        said: wants_exchange(false, None),
    });
    curious(&mut rig, 3);
    rig.pass(2 * TELL_EVERY);
    assert!(tales(&mut rig).iter().all(|(to, _)| *to != peer));
}

#[test]
fn of_a_private_torrent_nobody_is_told_and_nobody_is_believed() {
    let mut config = config();
    config.exchange = false;
    let mut rig = Rig::new(config, Bitfield::none(1));
    let peer = curious(&mut rig, 1);
    curious(&mut rig, 2);
    tell(&mut rig, peer, &named([addr(9)]));
    rig.pass(2 * TELL_EVERY);
    assert_eq!((tales(&mut rig), dials(&mut rig)), (Vec::new(), Vec::new()));
}

#[test]
fn a_place_that_only_we_can_see_is_not_told_to_who_sees_it_otherwise() {
    let mut rig = Rig::getter(1);
    curious(&mut rig, 1);
    let far = Hello {
        id: foreign_id(2),
        remote: ([8, 8, 8, 8], 40_000).into(),
        dialled: false,
        fast: true,
        greeted_at: rig.now,
    };
    let far = rig.try_link(far).expect("welcome");
    let said = wants_exchange(true, Some(6881));
    rig.input(Input::Extended { peer: far, said });
    rig.pass(TELL_AFTER);
    let told = tales(&mut rig);
    assert!(told.iter().all(|(to, _)| *to != far), "{told:?}");
    assert_eq!(told.len(), 1, "the other way round it is no secret");
}

#[test]
fn who_is_told_of_is_dialled_and_a_seed_only_by_who_needs_it() {
    for complete in [false, true] {
        let mut rig = if complete {
            Rig::seed(1)
        } else {
            Rig::getter(1)
        };
        let peer = curious(&mut rig, 1);
        let mut message = named([addr(8), addr(9)]);
        message.added[1].flags = FLAG_SEED;
        tell(&mut rig, peer, &message);
        let mut dialled = dials(&mut rig);
        dialled.sort();
        let all = [addr(8), addr(9)];
        assert_eq!(dialled, all[..if complete { 1 } else { 2 }]);
    }
}

#[test]
fn links_and_ourselves_are_not_dialled_because_somebody_told_of_them() {
    let mut rig = Rig::getter(1);
    let peer = curious(&mut rig, 1);
    curious(&mut rig, 2);
    tell(&mut rig, peer, &named([addr(1), addr(2)]));
    rig.pass(60 * SECOND);
    assert_eq!(dials(&mut rig), []);
}

#[test]
fn ourselves_we_dial_only_once_however_many_tell_of_us() {
    let mut rig = Rig::getter(1);
    for number in 1..5 {
        let peer = curious(&mut rig, number);
        tell(&mut rig, peer, &named([addr(100)]));
        for remote in dials(&mut rig) {
            assert_eq!((number, remote), (1, addr(100)));
            let hello = Hello {
                id: id(100),
                remote,
                dialled: true,
                fast: true,
                greeted_at: rig.now,
            };
            assert_eq!(rig.try_link(hello), Err(Reason::Ourselves));
        }
        rig.pass(30 * SECOND);
    }
}

#[test]
fn what_one_peer_tells_is_limited() {
    let mut rig = Rig::getter(1);
    let mut config = config();
    config.links_max = 1_000;
    rig.swarm = Swarm::new(config, *rig.swarm.geometry(), Bitfield::none(1));
    let peer = curious(&mut rig, 1);
    let mut known = 0;
    for turn in 0..10 {
        let hosts = (0..EXCHANGED_MAX as u8).map(|last| ([10, 1, turn, last], 6881).into());
        tell(&mut rig, peer, &named(hosts));
        known = rig.swarm.contacts.open_count(false);
        rig.now += HEAR_EVERY_MIN;
    }
    assert_eq!(known, TAKEN_MAX);
}

#[test]
fn who_tells_too_often_is_dropped_in_the_end() {
    let mut rig = Rig::getter(1);
    let peer = curious(&mut rig, 1);
    for _ in 0..=HASTY_MAX {
        assert_eq!(rig.closed, []);
        tell(&mut rig, peer, &PeerExchange::default());
    }
    assert_eq!(rig.closed, []);
    tell(&mut rig, peer, &PeerExchange::default());
    assert_eq!(rig.closed, [(peer, Reason::ExchangeFlood)]);
}

#[test]
fn hearsay_that_leads_nowhere_is_forgotten_soon() {
    let mut rig = Rig::getter(1);
    let peer = curious(&mut rig, 1);
    tell(&mut rig, peer, &named([addr(9)]));
    let mut count = 0;
    for _ in 0..300 {
        for addr in dials(&mut rig) {
            count += 1;
            rig.input(Input::DialFailed { addr });
        }
        rig.receive(peer, Message::KeepAlive);
        rig.pass(SECOND);
    }
    assert_eq!(count, 5);
    assert_eq!(rig.swarm.contacts.open_count(false), 0);
}

/// An address of many kinds, few enough that they meet.
fn any_addr(rng: &mut Rng) -> SocketAddr {
    let host = 1 + rng.below(30) as u8;
    let ip = match rng.below(8) {
        0 => [127, 0, 0, host],
        1 => [169, 254, 0, host],
        2 => [224, 0, 0, host],
        3 => [8, 8, 8, host],
        _ => [10, 0, 0, host],
    };
    let port = [80, 1023, 1024, 6881, 6882][rng.below(5)];
    (ip, port).into()
}

/// Links that come and go, and what a naive model says of each: where it listens, and of whom it was told.
struct Town {
    rig: Rig,
    rng: Rng,
    next: u8,
    people: BTreeMap<PeerKey, (Option<SocketAddr>, BTreeSet<SocketAddr>)>,
}

impl Town {
    fn new(seed: u64) -> Self {
        Self {
            rig: Rig::getter(2),
            rng: Rng::new(seed),
            next: 1,
            people: BTreeMap::new(),
        }
    }

    fn arrive(&mut self) {
        let listens_at = (self.rng.below(4) > 0).then(|| addr(self.next));
        let peer = self.rig.link_foreign(self.next);
        let said = wants_exchange(true, listens_at.map(|addr| addr.port()));
        self.rig.input(Input::Extended { peer, said });
        self.people.insert(peer, (listens_at, BTreeSet::new()));
        self.next += 1;
    }

    fn step(&mut self) {
        let at = self.rng.below(self.people.len().max(1));
        let at = self.people.keys().nth(at).copied();
        match (self.rng.below(6), at) {
            (0 | 1, _) if self.next < 200 => self.arrive(),
            (2, Some(peer)) => {
                self.rig.input(Input::Disconnected { peer });
                self.people.remove(&peer);
            }
            (3, Some(peer)) => {
                let mut some = || {
                    let count = self.rng.below(60);
                    let addrs = (0..count).map(|_| any_addr(&mut self.rng));
                    addrs.collect::<Vec<_>>()
                };
                let mut message = named(some());
                message.dropped = some();
                tell(&mut self.rig, peer, &message);
            }
            _ => {
                let time = Duration::from_millis(self.rng.below(40_000) as u64);
                self.rig.pass(time);
            }
        }
        for (peer, reason) in std::mem::take(&mut self.rig.closed) {
            assert_eq!(reason, Reason::Silent);
            self.people.remove(&peer);
        }
    }

    /// Everybody notes what it was told.
    fn listen(&mut self) {
        for (to, message) in tales(&mut self.rig) {
            assert!(message.added.len() <= EXCHANGED_MAX);
            assert!(message.dropped.len() <= EXCHANGED_MAX);
            let Some((_, believes)) = self.people.get_mut(&to) else {
                continue;
            };
            for gone in message.dropped {
                assert!(believes.remove(&gone), "it was never told of {gone}");
            }
            for peer in message.added {
                assert!(believes.insert(peer.addr), "told twice of {}", peer.addr);
            }
        }
    }

    /// Nobody is dialled whom nobody should be.
    fn dial(&mut self) {
        let open_count = self.rig.swarm.contacts.open_count(false);
        assert!(open_count <= HEARSAY_MAX + usize::from(self.next));
        for addr in dials(&mut self.rig) {
            assert!(addr.port() >= 1024, "{addr}");
            let IpAddr::V4(ip) = addr.ip() else {
                unreachable!("all are v4");
            };
            assert!(matches!(ip.octets()[0], 8 | 10), "{addr}");
            self.rig.input(Input::DialFailed { addr });
        }
    }

    /// Nothing changes for a while, and everybody is still there.
    fn rest(&mut self) {
        for _ in 0..5 {
            let peers: Vec<PeerKey> = self.people.keys().copied().collect();
            for peer in peers {
                self.rig.receive(peer, Message::KeepAlive);
            }
            self.rig.pass(TELL_EVERY + TELL_AFTER);
            self.listen();
        }
    }
}

#[test]
fn whatever_comes_and_goes_every_peer_is_told_the_truth() {
    for seed in 1..=60 {
        println!("seed {seed}");
        let mut town = Town::new(seed);
        for _ in 0..300 {
            town.step();
            town.listen();
            town.dial();
        }
        town.rest();
        let listening = town
            .people
            .values()
            .filter_map(|(listens_at, _)| *listens_at);
        let listening: BTreeSet<SocketAddr> = listening.collect();
        for (listens_at, believes) in town.people.values() {
            let mut others = listening.clone();
            listens_at.map(|own| others.remove(&own));
            assert_eq!(*believes, others);
        }
    }
}

#[test]
fn a_piece_that_a_peer_lost_is_asked_of_others() {
    let mut rig = Rig::getter(2);
    let first = rig.source(1);
    let asked = rig.asked(first);
    assert_eq!(asked.len(), 8, "everything");
    let second = rig.link(2, true);
    rig.receive(second, Message::HaveAll);
    let piece = asked[0].piece;
    rig.input(Input::Lost { peer: first, piece });
    assert_eq!(rig.closed, []);
    let arriving = rig.swarm.arriving(piece).expect("it has begun");
    assert!(arriving.blocks.iter().all(|block| block.asked == 0));
    rig.receive(second, Message::Unchoke);
    let first_asked = rig.asked(second)[0];
    assert_eq!(
        first_asked.piece, piece,
        "before what is asked of the first"
    );
    // What was under way harms nobody, be it the block or its refusal.
    rig.land(first, asked[0]);
    rig.receive(first, Message::Reject(asked[1]));
    assert_eq!(rig.closed, []);
    assert_eq!(rig.swarm.picker.availability(piece), 0);
    rig.receive(first, Message::Have { piece });
    assert_eq!(rig.swarm.picker.availability(piece), 1);
}

#[test]
fn losing_a_piece_that_does_not_exist_ends_the_link() {
    for piece in [2, 7, u32::MAX] {
        let mut rig = Rig::getter(2);
        let peer = rig.source(1);
        rig.input(Input::Lost { peer, piece });
        assert_eq!(rig.closed, [(peer, Reason::NoSuchPiece)]);
    }
}

/// Pieces come and go at random; what we know of each peer is what a naive model says.
#[test]
fn whatever_peers_get_and_lose_we_know_what_they_have() {
    const PIECES: u32 = 5;
    for seed in 1..=100 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut rig = Rig::getter(PIECES);
        let mut peers: BTreeMap<PeerKey, BTreeSet<u32>> = BTreeMap::new();
        for number in 1..=4 {
            let peer = rig.link(number, true);
            let has_all = rng.below(2) == 0;
            rig.receive(
                peer,
                if has_all {
                    Message::HaveAll
                } else {
                    Message::HaveNone
                },
            );
            rig.receive(peer, Message::Unchoke);
            let pieces = if has_all { 0..PIECES } else { 0..0 };
            peers.insert(peer, pieces.collect());
        }
        for _ in 0..200 {
            let at = rng.below(peers.len());
            let peer = *peers.keys().nth(at).expect("it is there");
            let has = peers.get_mut(&peer).expect("it is there");
            let piece = rng.below(PIECES as usize) as u32;
            match rng.below(4) {
                0 => {
                    rig.receive(peer, Message::Have { piece });
                    has.insert(piece);
                }
                1 | 2 => {
                    rig.input(Input::Lost { peer, piece });
                    has.remove(&piece);
                }
                _ => {
                    let asked = rig.asked(peer);
                    let honest = asked.into_iter().filter(|block| has.contains(&block.piece));
                    honest.take(3).for_each(|block| rig.land(peer, block));
                    rig.judge(true);
                }
            }
            for link in rig.swarm.links() {
                assert_eq!(link.pieces_had as usize, peers[&link.key].len());
            }
            assert!(
                rig.closed
                    .iter()
                    .all(|(_, why)| *why == Reason::BothComplete)
            );
            for (gone, _) in std::mem::take(&mut rig.closed) {
                peers.remove(&gone);
            }
            if peers.is_empty() {
                break;
            }
        }
    }
}
