//! What the tracker knows of the whole swarm: when it is asked, what is believed, and what comes of it.

use super::*;
use crate::wire::native::PIECE_EVERY;
use proptest::prelude::{any, prop_assert, proptest};

const MOMENT: Duration = Duration::from_millis(1_500);

/// Has nothing of `pieces` pieces, is a member, looks for two links, and has two: with holders of these pieces.
fn rig_of(watch: Watch, pieces: u32, held: [&[u32]; 2]) -> (Rig, [PeerKey; 2]) {
    let mut config = config();
    config.watch = watch;
    config.links_wanted = 2;
    let mut rig = Rig::new(config, Bitfield::none(pieces));
    let batch = Duration::from_millis(250);
    rig.input(Input::Joined { batch });
    let keys = [1, 2].map(|number| {
        let key = rig.link(number, true);
        let mut has = Bitfield::none(pieces);
        for &piece in held[usize::from(number) - 1] {
            has.set(piece);
        }
        let bytes = has.as_bytes();
        rig.receive(key, Message::Bitfield { bytes });
        key
    });
    (rig, keys)
}

fn asks(rig: &mut Rig) -> Vec<bool> {
    let outputs = std::mem::take(&mut rig.rest).into_iter();
    let is_on = |output| match output {
        Output::Watch { is_on } => Some(is_on),
        _ => None,
    };
    outputs.filter_map(is_on).collect()
}

fn tell(rig: &mut Rig, version: u32, counts: &[u16]) {
    rig.input(Input::Counted { version, counts });
}

fn change(rig: &mut Rig, (base, version): (u32, u32), deltas: &[(u32, i16)]) {
    let delta = |&(piece, delta): &(u32, i16)| AvailDelta { piece, delta };
    let deltas: Vec<AvailDelta> = deltas.iter().map(delta).collect();
    let deltas = &deltas;
    rig.input(Input::CountsChanged {
        base,
        version,
        deltas,
    });
}

#[test]
fn whoever_has_links_enough_and_is_slow_asks_for_counts_until_it_is_complete() {
    let (mut rig, sources) = rig_of(Watch::IfOfUse, 2, [&[0], &[1]]);
    assert_eq!(asks(&mut rig), [false; 0], "not before a moment has passed");
    rig.pass(MOMENT);
    assert_eq!(asks(&mut rig), [true]);
    rig.pass(10 * SECOND);
    assert_eq!(asks(&mut rig), [false; 0], "once is enough");
    for source in sources {
        rig.receive(source, Message::Unchoke);
        rig.land_all(source);
        rig.judge(true);
    }
    assert_eq!(asks(&mut rig), [false]);
    assert!(rig.swarm.is_complete() && !rig.swarm.is_watching());
}

#[test]
fn nobody_asks_who_sees_all_or_takes_any_piece_or_is_no_member() {
    let ask_of = |config: Config, is_member: bool, links: u8| {
        let mut rig = Rig::new(config, Bitfield::none(8));
        let batch = SECOND;
        if is_member {
            rig.input(Input::Joined { batch });
        }
        for number in 1..=links {
            rig.holder(number, &[0]);
        }
        rig.pass(3 * SECOND);
        asks(&mut rig)
    };
    let mut config = config();
    config.links_wanted = 2;
    assert_eq!(ask_of(config.clone(), true, 2), [true]);
    assert_eq!(ask_of(config.clone(), false, 2), [false; 0]);
    assert_eq!(
        ask_of(config.clone(), true, 1),
        [false; 0],
        "there is nobody else"
    );
    let order = Order::Random;
    assert_eq!(
        ask_of(
            Config {
                order,
                ..config.clone()
            },
            true,
            2
        ),
        [false; 0]
    );
    let watch = Watch::Never;
    assert_eq!(ask_of(Config { watch, ..config }, true, 2), [false; 0]);
}

#[test]
fn a_member_that_cannot_be_reached_is_a_reason_to_ask() {
    let mut rig = Rig::getter(8);
    let batch = SECOND;
    rig.input(Input::Joined { batch });
    rig.holder(1, &[0]);
    rig.input(Input::Found { peers: &[found(2)] });
    rig.input(Input::DialFailed { addr: addr(2) });
    rig.pass(MOMENT);
    assert_eq!(asks(&mut rig), [true]);
}

#[test]
fn counts_of_a_swift_swarm_are_too_old_to_be_asked_for() {
    let (mut rig, [source, _]) = rig_of(Watch::IfOfUse, 100, [&[], &[]]);
    (0..100).for_each(|piece| rig.receive(source, Message::Have { piece }));
    rig.receive(source, Message::Unchoke);
    rig.pass(MOMENT);
    assert_eq!(asks(&mut rig), [true], "nothing has come yet");
    rig.swarm.announcer.set_batch(4 * SECOND);
    for _ in 0..6 {
        rig.land_all(source);
        let checks = rig.take_checks().into_iter();
        for (piece, buffer) in checks {
            let (verdict, digests) = (Verdict::Good, Vec::new());
            rig.input(Input::Checked {
                piece,
                verdict,
                digests,
                buffer,
            });
        }
        rig.pass(Duration::from_millis(250));
    }
    assert!(!rig.swarm.is_complete());
    assert_eq!(asks(&mut rig), [false]);
}

#[test]
fn a_piece_that_is_rare_in_the_swarm_goes_before_one_that_is_rare_here() {
    for is_told in [false, true] {
        let (mut rig, [one, _]) = rig_of(Watch::Always, 8, [&[0, 1, 2, 3], &[1, 2, 3]]);
        rig.swarm.notes = Notes::new(true);
        // With four pieces it is past taking any.
        for piece in 4..8 {
            rig.swarm.picker.remove(piece);
            rig.swarm.have.set(piece);
            rig.swarm.pieces[piece as usize] = PieceState::Have;
        }
        rig.pass(MOMENT);
        if is_told {
            tell(&mut rig, 7, &[9, 2, 6, 8, 1, 1, 1, 1]);
        }
        rig.receive(one, Message::Unchoke);
        let (piece, why) = match is_told {
            false => (0, Why::RareHere { holders: 1 }),
            true => {
                let (copies, holders) = (2, 2);
                (1, Why::RareInSwarm { copies, holders })
            }
        };
        assert_eq!(rig.asked(one)[0].piece, piece);
        let note = std::iter::from_fn(|| rig.swarm.poll_note())
            .find(|note| matches!(note.decision, Decision::Ask { .. }));
        let block = 0;
        let asked = Decision::Ask { piece, block, why };
        assert_eq!(note.expect("it was noted").decision, asked);
    }
}

#[test]
fn counts_that_do_not_fit_are_not_believed_and_asked_for_again_after_a_second() {
    type Told = fn(&mut Rig);
    let wrong: [(&str, Told); 5] = [
        ("too few", |rig| tell(rig, 1, &[1; 3])),
        ("too many", |rig| tell(rig, 1, &[1; 5])),
        ("a push was missed", |rig| {
            tell(rig, 1, &[1; 4]);
            change(rig, (2, 3), &[(0, 1)]);
        }),
        ("no such piece", |rig| {
            tell(rig, 1, &[1; 4]);
            change(rig, (1, 2), &[(1, 1), (4, 1)]);
        }),
        ("no such piece, by far", |rig| {
            tell(rig, 1, &[1; 4]);
            change(rig, (1, 2), &[(PIECE_EVERY - 1, 1)]);
        }),
    ];
    for (what, told) in wrong {
        let (mut rig, _) = rig_of(Watch::Always, 4, [&[0], &[1]]);
        rig.pass(MOMENT);
        assert_eq!(asks(&mut rig), [true]);
        told(&mut rig);
        assert_eq!(rig.swarm.copies(0), None, "{what}");
        rig.pass(Duration::from_millis(500));
        assert_eq!(asks(&mut rig), [false; 0], "{what}");
        rig.pass(2 * SECOND);
        assert_eq!(asks(&mut rig), [true], "{what}");
        tell(&mut rig, 9, &[1; 4]);
        change(&mut rig, (9, 10), &[(0, 2), (PIECE_EVERY, -1)]);
        assert_eq!(rig.swarm.copies(0), Some(2), "{what}");
        assert_eq!(rig.swarm.copies(1), Some(0), "{what}");
    }
}

#[test]
fn what_nobody_asked_for_is_not_taken() {
    let (mut rig, _) = rig_of(Watch::Never, 4, [&[0], &[1]]);
    rig.pass(MOMENT);
    tell(&mut rig, 1, &[1; 4]);
    change(&mut rig, (0, 1), &[(0, 1)]);
    assert_eq!(rig.swarm.copies(0), None);
    assert!(!rig.swarm.is_watching());
}

#[test]
fn counts_come_in_pages_of_one_version() {
    let pieces = COUNTS_MAX + 10;
    let (mut rig, _) = rig_of(Watch::Always, pieces, [&[0], &[1]]);
    rig.pass(MOMENT);
    let page = vec![3; COUNTS_MAX as usize];
    tell(&mut rig, 5, &page);
    assert_eq!(rig.swarm.copies(0), None);
    tell(&mut rig, 5, &[2; 10]);
    assert_eq!(rig.swarm.copies(0), Some(3));
    assert_eq!(rig.swarm.copies(COUNTS_MAX), Some(2));
    let (mut rig, _) = rig_of(Watch::Always, pieces, [&[0], &[1]]);
    rig.pass(MOMENT);
    tell(&mut rig, 5, &page);
    tell(&mut rig, 6, &[2; 10]);
    assert_eq!(rig.swarm.copies(0), None, "something changed in between");
}

#[test]
fn a_new_membership_asks_anew_and_a_tracker_that_does_not_tell_is_left_alone() {
    let (mut rig, _) = rig_of(Watch::Always, 4, [&[0], &[1]]);
    rig.pass(MOMENT);
    assert_eq!(asks(&mut rig), [true]);
    tell(&mut rig, 1, &[1; 4]);
    rig.swarm.forget_counts();
    rig.drain();
    assert_eq!((rig.swarm.copies(0), rig.swarm.picker.rank(0)), (None, 1));
    rig.pass(10 * SECOND);
    assert_eq!(
        asks(&mut rig),
        [false; 0],
        "the tracker is gone, or an old one"
    );
    let batch = SECOND;
    rig.input(Input::Joined { batch });
    rig.pass(3 * SECOND);
    assert_eq!(asks(&mut rig), [true]);
}

proptest! {
    /// Neighbours hold what they hold, the tracker counts them and others, and both change at any time: when everything was
    /// put in order, the order is that of the whole swarm.
    #[test]
    fn pieces_are_ordered_by_all_copies_there_are(
        neighbours in any::<[u16; 2]>(), whole: bool,
        others in proptest::collection::vec(0u16..12, 16),
        changes in proptest::collection::vec((0u32..16, 0i16..9), 0..60),
    ) {
        let held = neighbours.map(|bits| (0..16).filter(|p| bits >> p & 1 == 1).collect::<Vec<u32>>());
        let (mut rig, _) = rig_of(Watch::Always, 16, [&held[0], &held[1]]);
        if whole {
            rig.source(3);
            rig.sent.clear();
        }
        rig.pass(MOMENT);
        let here = |piece: u32| {
            let bits = neighbours.iter().filter(|&bits| bits >> piece & 1 == 1);
            bits.count() as u16 + u16::from(whole)
        };
        let mut counts: Vec<u16> = (0..).zip(&others).map(|(p, n)| n + here(p)).collect();
        tell(&mut rig, 0, &counts);
        for (version, chunk) in (0..).zip(changes.chunks(7)) {
            rig.now += Duration::from_millis(250);
            change(&mut rig, (version, version + 1), chunk);
            for &(piece, delta) in chunk {
                counts[piece as usize] = counts[piece as usize].saturating_add_signed(delta);
            }
        }
        let version = changes.chunks(7).len() as u32;
        rig.now += SECOND;
        change(&mut rig, (version, version + 1), &[(PIECE_EVERY, 1)]);
        let wanted: Vec<u32> = (0..16).filter(|&p| rig.swarm.picker.is_wanted(p)).collect();
        for &piece in &wanted {
            prop_assert!(rig.swarm.copies(piece) == Some(counts[piece as usize] + 1));
            let elsewhere = counts[piece as usize] + 1 - here(piece);
            let weight = match elsewhere {
                0 => 0,
                1 => 1,
                2 | 3 => 2,
                _ => 3,
            };
            let near = usize::from(rig.swarm.picker.availability(piece));
            prop_assert!(rig.swarm.picker.rank(piece) == near + weight);
        }
    }
}
