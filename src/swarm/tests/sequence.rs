//! Pieces in order.

use super::*;

fn reader(pieces: u32) -> Rig {
    let mut config = config();
    config.order = Order::Sequential;
    Rig::new(config, Bitfield::none(pieces))
}

/// The pieces that were asked for, in that order.
fn pieces_of(requests: &[BlockRequest]) -> Vec<u32> {
    let mut pieces: Vec<u32> = requests.iter().map(|request| request.piece).collect();
    pieces.dedup();
    pieces
}

#[test]
fn the_window_comes_first_and_then_what_few_hold() {
    let mut rig = reader(60);
    // All but the last piece are held by two more.
    for number in 2..4 {
        let key = rig.link(number, true);
        let mut most = Bitfield::all(60);
        most.clear(59);
        let bytes = most.as_bytes();
        rig.receive(key, Message::Bitfield { bytes });
    }
    let source = rig.source(1);
    let asked = pieces_of(&rig.asked(source));
    assert_eq!(
        asked[..4],
        [0, 1, 2, 59],
        "three are a twentieth of sixty: {asked:?}"
    );
}

#[test]
fn a_suggestion_does_not_come_before_what_is_needed_next() {
    let mut rig = reader(60);
    let key = rig.link(1, true);
    rig.receive(key, Message::HaveAll);
    rig.receive(key, Message::Suggest { piece: 40 });
    rig.receive(key, Message::Unchoke);
    let asked = pieces_of(&rig.asked(key));
    assert_eq!(asked[..4], [0, 1, 2, 40], "{asked:?}");
}

#[test]
fn the_window_moves_on_with_what_is_here() {
    let mut rig = reader(60);
    let source = rig.source(1);
    let mut asked = rig.asked(source);
    for block in asked.clone().into_iter().filter(|block| block.piece < 3) {
        rig.land(source, block);
    }
    assert_eq!(rig.judge(true), 3);
    asked.extend(rig.asked(source));
    let asked = pieces_of(&asked);
    assert!((3..6).all(|piece| asked.contains(&piece)), "{asked:?}");
}

#[test]
fn who_has_nothing_of_the_window_is_asked_for_the_rest() {
    let mut rig = reader(60);
    let key = rig.link(1, true);
    rig.receive(key, Message::HaveNone);
    rig.receive(key, Message::Have { piece: 50 });
    rig.receive(key, Message::Unchoke);
    assert_eq!(pieces_of(&rig.asked(key)), [50]);
}
