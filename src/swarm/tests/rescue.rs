//! The last copies of pieces: they are passed on first, each to a few.

use super::*;

const MOMENT: Duration = Duration::from_millis(2_100);

/// Has these of `pieces` pieces, and serves `sinks` peers that have nothing.
fn holder_of(pieces: u32, held: &[u32], sinks: u8) -> (Rig, Vec<PeerKey>) {
    let mut have = Bitfield::none(pieces);
    held.iter().for_each(|&piece| {
        have.set(piece);
    });
    let mut rig = Rig::new(config(), have);
    let keys = (1..=sinks).map(|number| rig.sink(number)).collect();
    rig.sent.clear();
    (rig, keys)
}

/// What peers were told to ask for since this was last asked.
fn suggested(rig: &mut Rig) -> Vec<(PeerKey, u32)> {
    let sent = std::mem::take(&mut rig.sent).into_iter();
    let suggestion = |(peer, message)| match message {
        Message::Suggest { piece } => Some((peer, piece)),
        _ => None,
    };
    sent.filter_map(suggestion).collect()
}

#[test]
fn each_last_copy_is_promised_to_another() {
    let (mut rig, _) = holder_of(8, &[1, 4, 6], 3);
    rig.pass(MOMENT);
    let mut pieces: Vec<u32> = suggested(&mut rig).into_iter().map(|(_, p)| p).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [1, 4, 6]);
    rig.pass(SECOND);
    assert!(suggested(&mut rig).is_empty(), "they have their tasks");
}

#[test]
fn one_last_copy_is_promised_to_three_however_many_there_are() {
    let (mut rig, keys) = holder_of(8, &[5], 6);
    rig.pass(5 * SECOND);
    let told = suggested(&mut rig);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|&(_, piece)| piece == 5));
    // One of them is lost before it has the piece, so another takes its place; and when one has it, that is enough.
    let peer = told[0].0;
    rig.input(Input::Disconnected { peer });
    rig.pass(SECOND);
    assert_eq!(suggested(&mut rig).len(), 1);
    rig.receive(told[1].0, Message::Have { piece: 5 });
    let peer = told[2].0;
    rig.input(Input::Disconnected { peer });
    rig.pass(SECOND);
    assert!(suggested(&mut rig).is_empty());
    assert!(keys.len() > 4);
}

#[test]
fn what_another_holds_or_may_hold_is_no_last_copy() {
    let (mut rig, _) = holder_of(8, &[1, 4], 2);
    rig.holder(9, &[4]);
    rig.pass(MOMENT);
    let told = suggested(&mut rig);
    assert!(told.len() == 2 && told.iter().all(|&(_, piece)| piece == 1));
    let (mut rig, _) = holder_of(8, &[1, 4], 2);
    rig.source(9);
    rig.pass(MOMENT);
    assert!(suggested(&mut rig).is_empty(), "somebody has everything");
    let (mut rig, _) = holder_of(8, &[1, 4], 2);
    rig.input(Input::Found { peers: &[found(9)] });
    rig.pass(MOMENT);
    assert_eq!(
        suggested(&mut rig),
        [],
        "there is somebody whom we do not see"
    );
}

#[test]
fn by_the_trackers_counts_it_is_known_whom_we_do_not_see() {
    let (mut rig, _) = holder_of(8, &[1, 4], 2);
    rig.swarm.config.watch = Watch::Always;
    rig.input(Input::Found { peers: &[found(9)] });
    let batch = SECOND;
    rig.input(Input::Joined { batch });
    rig.pass(MOMENT);
    let (version, counts) = (1, &[0, 1, 0, 0, 2, 0, 0, 0]);
    rig.input(Input::Counted { version, counts });
    rig.pass(SECOND);
    let told = suggested(&mut rig);
    assert!(
        told.len() == 2 && told.iter().all(|&(_, piece)| piece == 1),
        "{told:?}"
    );
}

#[test]
fn whoever_asks_for_a_last_copy_is_served_first_and_with_that() {
    let (mut rig, keys) = holder_of(8, &[1, 4], 3);
    rig.swarm.service = Service::new(8, Width::new(1, 1));
    rig.holder(9, &[4]);
    rig.pass(MOMENT);
    rig.rest.clear();
    rig.receive(keys[0], Message::Request(block(4, 0)));
    rig.receive(keys[1], Message::Request(block(4, 0)));
    rig.receive(keys[2], Message::Request(block(4, 0)));
    rig.receive(keys[2], Message::Request(block(1, 0)));
    assert!(rig.swarm.has_turn(keys[0]), "nobody else asked when it did");
    rig.receive(keys[0], Message::Cancel(block(4, 0)));
    rig.pass(MOMENT);
    assert!(rig.swarm.has_turn(keys[2]));
    let next = rig.swarm.next_request(keys[2]);
    assert_eq!(next, Some(1), "the last copy");
}

#[test]
fn whoever_takes_no_suggestions_finds_last_copies_by_itself() {
    let (mut rig, _) = holder_of(8, &[1], 0);
    let plain = rig.link(1, false);
    rig.receive(plain, Message::Interested);
    rig.pass(SECOND);
    assert!(suggested(&mut rig).is_empty());
}
