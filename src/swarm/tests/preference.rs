//! Whom we dial and ask first.

use super::*;
use crate::swarm::preference::Merits;

fn rig(order: PeerOrder, pieces: u32) -> Rig {
    let config = Config {
        peer_order: order,
        requests_max: 8,
        ..config()
    };
    Rig::new(config, Bitfield::none(pieces))
}

fn dials(rig: &mut Rig) -> Vec<u8> {
    let outputs = std::mem::take(&mut rig.rest).into_iter();
    let dialled = outputs.filter_map(|output| match output {
        Output::Connect { addr } => Some(addr),
        _ => None,
    });
    let last = |addr: SocketAddr| match addr.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => unreachable!("all are v4"),
    };
    dialled.map(last).collect()
}

/// Finds peers 1 to 12, of which 10 to 12 have the merits of `best`.
fn find(rig: &mut Rig, best: &Found) {
    let peers: Vec<Found> = (1..=12)
        .map(|number| Found {
            id: Some(id(number)),
            addrs: vec![addr(number)],
            ..if number < 10 {
                Found::default()
            } else {
                best.clone()
            }
        })
        .collect();
    rig.input(Input::Found { peers: &peers });
}

#[test]
fn near_ones_are_dialled_first_but_not_alone() {
    for order in [PeerOrder::Proximity, PeerOrder::Auto] {
        let mut rig = rig(order, 4);
        let near = Found {
            proximity: 2,
            ..Found::default()
        };
        find(&mut rig, &near);
        let dialled = dials(&mut rig);
        assert_eq!(dialled.len(), 12, "all are dialled in the end");
        let early = dialled[..6].iter().filter(|&&number| number >= 10);
        assert_eq!(early.count(), 3, "{order:?}: {dialled:?}");
    }
}

#[test]
fn who_has_most_is_dialled_first() {
    let mut rig = rig(PeerOrder::Availability, 4);
    let rich = Found {
        share: 40_000,
        ..Found::default()
    };
    find(&mut rig, &rich);
    let mut first = dials(&mut rig)[..3].to_vec();
    first.sort_unstable();
    assert_eq!(first, [10, 11, 12]);
}

#[test]
fn who_was_fast_is_dialled_before_who_was_slow_and_the_unknown_before_both() {
    let mut contacts = Contacts::default();
    let (mut now, rng) = (Time::ZERO, &mut Rng::new(1));
    for number in 1..=3 {
        contacts.add(&found(number), now);
    }
    let order = PeerOrder::Bandwidth;
    for rate in [5, 9] {
        let (dialled, lure) = contacts.next_dial(now, false, order, rng).expect("one");
        let bytes_per_second = None;
        assert_eq!(lure, Lure::Rate { bytes_per_second }, "it is unknown");
        let number = (1..=3).find(|&number| addr(number) == dialled).expect("it");
        let key = PeerKey {
            slot: rate as u32,
            generation: 0,
        };
        contacts.linked(now, key, id(number), Some(dialled));
        now += 20 * SECOND;
        contacts.unlinked(now, key, (true, Some(rate)), rng);
        let (again, _) = contacts.next_dial(now, false, order, rng).expect("another");
        assert_ne!(again, dialled, "an unknown one first");
        contacts.failed(now, again, rng);
    }
    now += 20 * SECOND;
    let mut rest = std::iter::from_fn(|| contacts.next_dial(now, false, order, rng));
    let lures: Vec<Lure> = rest.by_ref().map(|(_, lure)| lure).collect();
    let of = |bytes_per_second| Lure::Rate { bytes_per_second };
    assert_eq!(lures, [of(None), of(Some(9)), of(Some(5))]);
}

/// A peer that has everything, serves us, and is as near as that.
fn source_at(rig: &mut Rig, number: u8, proximity: u8) -> PeerKey {
    let named = Found {
        proximity,
        ..found(number)
    };
    rig.input(Input::Found { peers: &[named] });
    rig.source(number)
}

#[test]
fn what_a_nearer_peer_has_is_not_asked_of_a_farther_one_while_something_is_under_way() {
    let mut rig = rig(PeerOrder::Proximity, 64);
    let near = source_at(&mut rig, 1, 2);
    assert!(!rig.asked(near).is_empty());
    let far = source_at(&mut rig, 2, 0);
    assert_eq!(rig.asked(far), []);
    // The near one goes: the far one is asked for all of it.
    rig.input(Input::Disconnected { peer: near });
    assert!(!rig.asked(far).is_empty());
}

#[test]
fn what_no_nearer_peer_has_is_asked_of_a_farther_one() {
    let mut rig = rig(PeerOrder::Proximity, 64);
    let near = source_at(&mut rig, 1, 2);
    rig.input(Input::Lost {
        peer: near,
        piece: 7,
    });
    rig.sent.clear();
    let far = source_at(&mut rig, 2, 0);
    let pieces: Vec<u32> = rig.asked(far).iter().map(|block| block.piece).collect();
    assert!(!pieces.is_empty() && pieces.iter().all(|&piece| piece == 7));
}

/// Member `number` of three that are near each other and know it.
fn member(number: u8, pieces: u32) -> Rig {
    let config = Config {
        id: id(number),
        peer_order: PeerOrder::Proximity,
        ..config()
    };
    let mut rig = Rig::new(config, Bitfield::none(pieces));
    for other in (1..=3).filter(|&other| other != number) {
        let near = Found {
            proximity: 2,
            ..found(other)
        };
        rig.input(Input::Found { peers: &[near] });
        rig.link(other, true);
    }
    rig
}

#[test]
fn each_piece_is_the_task_of_one_of_those_who_are_near_each_other() {
    for pieces in [1, 60, 3_000] {
        let mut members: Vec<Rig> = (1..=3).map(|number| member(number, pieces)).collect();
        let shares = members.iter_mut().map(|rig| rig.swarm.own_share(0));
        let shares: Vec<Bitfield> = shares.collect();
        for piece in 0..pieces {
            let count = shares.iter().filter(|share| share.get(piece)).count();
            assert_eq!(count, 1, "piece {piece} of {pieces}");
        }
        let least = shares.iter().map(Bitfield::count).min();
        assert!(pieces < 60 || least >= Some(pieces / 5), "{least:?}");
    }
}

#[test]
fn what_is_the_task_of_others_is_asked_of_a_far_one_after_a_while() {
    let mut rig = member(1, 60);
    let share = rig.swarm.own_share(0);
    let ours = share.ones().next().expect("a share");
    let theirs = share.zeros().next().expect("others have shares");
    let far = rig.holder(9, &[ours, theirs]);
    let asked = rig.asked(far);
    assert_eq!(asked.len(), 4, "{asked:?}");
    for block in asked {
        assert_eq!(block.piece, ours);
        rig.land(far, block);
    }
    rig.judge(true);
    rig.pass(SECOND / 4);
    assert_eq!(rig.asked(far), [], "somebody else is to bring it in");
    rig.pass(SECOND);
    let pieces: Vec<u32> = rig.asked(far).iter().map(|block| block.piece).collect();
    assert_eq!(pieces, [theirs; 4]);
}

#[test]
fn the_order_of_work_follows_the_preference() {
    let merits = |proximity, share, rate| Merits {
        proximity,
        share,
        rate,
    };
    let (near, rich, fast) = (
        merits(2, 0, Some(1)),
        merits(0, 9, Some(2)),
        merits(0, 0, Some(3)),
    );
    let first = |order: PeerOrder| {
        let all = [(0, near), (1, rich), (2, fast)];
        let best = all
            .into_iter()
            .min_by_key(|&(_, merits)| order.rank(merits));
        best.expect("three").0
    };
    assert_eq!(first(PeerOrder::Proximity), 0);
    assert_eq!(first(PeerOrder::Auto), 0);
    assert_eq!(first(PeerOrder::Availability), 1);
    assert_eq!(first(PeerOrder::Bandwidth), 2);
}
