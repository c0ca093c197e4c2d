//! What is asked of whom, where blocks land, and who is blamed.

use std::collections::BTreeSet;

use super::*;

/// The keys of those whose links were closed for a corrupt piece.
fn banned(rig: &Rig) -> Vec<PeerKey> {
    let corrupt = rig.closed.iter();
    let corrupt = corrupt.filter(|(_, reason)| *reason == Reason::CorruptPiece);
    corrupt.map(|&(peer, _)| peer).collect()
}

/// The head of a block comes.
fn begin(rig: &mut Rig, peer: PeerKey, block: BlockRequest) {
    let started = rig.swarm.block_started(rig.now, peer, block);
    assert_eq!(started, Ok(()));
}

#[test]
fn a_piece_is_announced_only_when_it_is_verified() {
    let mut rig = Rig::getter(1);
    let (source, sink) = (rig.source(1), rig.sink(2));
    rig.land_all(source);
    assert_eq!((rig.swarm.have().count(), rig.swarm.have_bytes()), (0, 0));
    rig.told(sink);
    rig.receive(sink, Message::Request(block(0, 0)));
    assert_eq!(rig.rejected(sink), [block(0, 0)]);
    assert!(
        !rig.rest
            .iter()
            .any(|o| matches!(o, Output::Broadcast { .. }))
    );
    assert_eq!(rig.judge(true), 1);
    assert!(
        rig.rest
            .iter()
            .any(|o| matches!(o, Output::Broadcast { piece: 0 }))
    );
    assert!(rig.rest.iter().any(|o| matches!(o, Output::Complete)));
    assert_eq!(rig.closed, [(source, Reason::BothComplete)]);
}

#[test]
fn a_piece_is_asked_of_one_peer_while_there_are_others_to_begin() {
    let mut rig = Rig::getter(8);
    let peers = [rig.source(1), rig.source(2)];
    let asked = peers.map(|peer| rig.asked(peer));
    // The first took all it could before the second was there.
    let pieces = |asked: &[BlockRequest]| -> BTreeSet<u32> {
        asked.iter().map(|block| block.piece).collect()
    };
    assert_eq!(pieces(&asked[0]).len(), 8);
    assert_eq!(asked[1].len(), 0);
    rig.pass(SECOND / 100);
    assert_eq!(pieces(&rig.asked(peers[1])).len(), 1, "one that waits");
}

#[test]
fn what_a_lost_link_owed_is_asked_of_others_at_once() {
    let mut rig = Rig::getter(3);
    let lost = rig.source(1);
    let asked = rig.asked(lost);
    rig.land(lost, asked[0]);
    begin(&mut rig, lost, asked[1]);
    let other = rig.source(2);
    rig.told(other);
    rig.input(Input::Disconnected { peer: lost });
    let again = rig.asked(other);
    assert!(!again.contains(&asked[0]), "what is here stays here");
    assert_eq!(again.len(), 11);
}

#[test]
fn the_piece_of_a_lost_link_goes_on_even_if_none_of_its_blocks_was_asked_for() {
    let mut rig = Rig::getter(1);
    let lost = rig.source(1);
    let said = Said {
        requests_max: Some(1),
        ..Said::default()
    };
    rig.input(Input::Extended { peer: lost, said });
    let asked = rig.asked(lost);
    // All but the last block arrive; it lets us ask for nothing more, and is gone.
    rig.receive(lost, Message::Choke);
    for &block in &asked[..3] {
        rig.land(lost, block);
    }
    rig.receive(lost, Message::Reject(asked[3]));
    rig.input(Input::Disconnected { peer: lost });
    let other = rig.source(2);
    assert_eq!(rig.asked(other), [asked[3]]);
}

#[test]
fn a_choke_without_the_fast_extension_frees_what_was_asked() {
    let mut rig = Rig::getter(2);
    let plain = rig.link(1, false);
    rig.receive(plain, Message::Bitfield { bytes: &[0xc0] });
    rig.receive(plain, Message::Unchoke);
    let asked = rig.asked(plain);
    assert_eq!(asked.len(), 8);
    let other = rig.source(2);
    rig.told(other);
    rig.receive(plain, Message::Choke);
    let again = rig.asked(other);
    assert_eq!(again.len(), 8);
    rig.land(plain, again[0]);
    assert_eq!(rig.closed, [], "it crossed the choke");
    assert_eq!(rig.swarm.counts().wasted_bytes, 0);
    assert_eq!(rig.told(other), [Message::Cancel(again[0])]);
}

#[test]
fn a_choke_with_the_fast_extension_frees_what_is_rejected() {
    let mut rig = Rig::getter(2);
    let fast = rig.source(1);
    let asked = rig.asked(fast);
    let other = rig.source(2);
    rig.told(other);
    rig.receive(fast, Message::Choke);
    assert_eq!(rig.asked(other), [], "they may still come");
    for &block in &asked {
        rig.receive(fast, Message::Reject(block));
    }
    assert_eq!(rig.asked(other).len(), 8);
    assert_eq!(rig.told(fast), [], "it is asked nothing while it chokes us");
}

#[test]
fn who_rejects_although_it_serves_us_is_left_alone_for_a_second() {
    let mut rig = Rig::getter(1);
    let peer = rig.source(1);
    let asked = rig.asked(peer);
    for &block in &asked {
        rig.receive(peer, Message::Reject(block));
    }
    assert_eq!(rig.asked(peer), []);
    rig.pass(SECOND / 2);
    assert_eq!(rig.asked(peer), []);
    rig.pass(SECOND);
    assert_eq!(rig.asked(peer).len(), 4);
}

#[test]
fn whom_our_own_limit_keeps_from_being_read_owes_nothing_meanwhile() {
    let mut rig = Rig::getter(1);
    let slow = rig.source(1);
    rig.swarm.hold(rig.now, slow, true);
    rig.pass(300 * SECOND);
    assert_eq!(rig.swarm.counts().stall_count, 0);
    assert!(rig.closed.is_empty(), "nor is it silent");
    rig.swarm.hold(rig.now, slow, false);
    rig.pass(60 * SECOND);
    assert!(rig.swarm.counts().stall_count > 0, "now it does");
}

#[test]
fn a_stall_moves_requests_to_another_peer() {
    let mut rig = Rig::getter(4);
    let silent = rig.source(1);
    let owed = rig.asked(silent);
    assert_eq!(owed.len(), 16);
    rig.land(silent, owed[0]);
    let other = rig.source(2);
    rig.pass(9 * SECOND);
    rig.told(other);
    assert_eq!(rig.swarm.counts().stall_count, 0);
    rig.pass(2 * SECOND);
    let (told, asked) = (rig.told(silent), rig.asked(other));
    let is_cancel = |message: &&Message<'_>| matches!(message, Message::Cancel(_));
    assert_eq!(told.iter().filter(is_cancel).count(), 15);
    assert!(owed[1..4].iter().all(|block| asked.contains(block)));
    assert!(told.len() <= 16, "it is asked for one at a time now");
    assert_eq!(rig.swarm.counts().stall_count, 1);
}

#[test]
fn what_waits_at_one_peer_is_asked_of_another_and_the_first_to_begin_sends_it() {
    let mut rig = Rig::getter(1);
    let busy = rig.source(1);
    let asked = rig.asked(busy);
    let idle = rig.source(2);
    assert_eq!(rig.asked(idle), [], "the first may answer at once");
    rig.pass(SECOND / 100);
    let again = rig.asked(idle);
    assert_eq!(again, [2, 3, 0, 1].map(|index| block(0, index)));
    rig.told(busy);
    rig.land(idle, again[0]);
    let cancels: Vec<_> = asked.iter().map(|&block| Message::Cancel(block)).collect();
    assert_eq!(rig.told(busy), cancels, "it is not to begin now");
    again[1..].iter().for_each(|&block| rig.land(idle, block));
    assert_eq!(rig.judge(false), 1);
    assert_eq!(banned(&rig), [idle], "it was the sole sender");
    assert_eq!(rig.swarm.counts().wasted_bytes, 0);
}

#[test]
fn who_leaves_a_piece_waiting_is_given_time() {
    let mut rig = Rig::getter(1);
    let busy = rig.source(1);
    rig.pass(14 * SECOND);
    assert_eq!(rig.swarm.counts().stall_count, 0);
    rig.pass(2 * SECOND);
    assert_eq!(rig.swarm.counts().stall_count, 1);
    assert_eq!(rig.closed, []);
    rig.pass(10 * SECOND);
    assert_eq!(rig.closed, [(busy, Reason::Silent)], "its conn is dead");
}

#[test]
fn a_block_that_crosses_its_cancel_harms_nobody() {
    let mut rig = Rig::getter(2);
    let slow = rig.source(1);
    let asked = rig.asked(slow);
    rig.land(slow, asked[0]);
    rig.pass(11 * SECOND);
    let told = rig.told(slow);
    assert!(told.contains(&Message::Cancel(asked[1])), "it stalled");
    rig.pass(5 * SECOND);
    rig.land(slow, asked[1]);
    assert_eq!(rig.swarm.counts().wasted_bytes, 0, "it is welcome");
    rig.receive(slow, Message::Reject(asked[2]));
    assert_eq!(rig.closed, []);
}

#[test]
fn a_second_copy_goes_aside_and_the_first_whole_one_is_the_block() {
    for aside_wins in [true, false] {
        let mut rig = Rig::getter(1);
        let geometry = Geometry::new(BLOCK_LEN.into(), PIECE_LEN);
        rig.swarm = Swarm::new(config(), geometry, Bitfield::none(1));
        let (slow, quick) = (rig.source(1), rig.source(2));
        rig.pass(SECOND / 100);
        assert_eq!(rig.asked(slow), rig.asked(quick));
        begin(&mut rig, slow, block(0, 0));
        rig.drain();
        rig.told(quick);
        rig.swarm.landing(slow).expect("in place")[..100].fill(1);
        rig.swarm.landed(rig.now, slow, 100);
        begin(&mut rig, quick, block(0, 0));
        rig.swarm.landing(quick).expect("aside")[..200].fill(2);
        rig.swarm.landed(rig.now, quick, 200);
        let (mut winner, mut loser) = ((slow, 100, 1), (quick, 200, 2));
        if aside_wins {
            (winner, loser) = (loser, winner);
        }
        finish_rest(&mut rig, winner);
        let cancels = if aside_wins { 1 } else { 0 };
        assert_eq!(rig.told(loser.0).len(), cancels);
        finish_rest(&mut rig, loser);
        assert_eq!(rig.swarm.counts().wasted_bytes, u64::from(BLOCK_LEN));
        let (piece, buffer) = rig.take_checks().pop().expect("the piece is whole");
        assert!(buffer.bytes().iter().all(|&byte| byte == winner.2));
        let verdict = Verdict::Wrong;
        rig.input(Input::Checked {
            piece,
            verdict,
            digests: Vec::new(),
            buffer,
        });
        assert_eq!(banned(&rig), [winner.0]);
    }
}

/// The rest of a block that has begun comes: from whom, after how many bytes, and what bytes.
fn finish_rest(rig: &mut Rig, (peer, filled, byte): (PeerKey, u32, u8)) {
    let rest = (BLOCK_LEN - filled) as usize;
    if let Some(place) = rig.swarm.landing(peer) {
        assert_eq!(place.len(), rest);
        place.fill(byte);
    }
    rig.swarm.landed(rig.now, peer, rest);
    rig.drain();
}

#[test]
fn the_sole_sender_of_a_wrong_piece_is_banned_even_if_it_left_or_came_back() {
    for comes_back in [false, true] {
        let mut rig = Rig::getter(1);
        let first = rig.source(1);
        let asked = rig.asked(first);
        for &block in &asked[..3 + usize::from(!comes_back)] {
            rig.land(first, block);
        }
        rig.input(Input::Disconnected { peer: first });
        let second = rig.link(if comes_back { 1 } else { 2 }, true);
        if comes_back {
            rig.receive(second, Message::HaveAll);
            rig.receive(second, Message::Unchoke);
            rig.land_all(second);
        }
        assert_eq!(rig.judge(false), 1);
        assert_eq!(banned(&rig), Vec::from_iter(comes_back.then_some(second)));
        assert!(rig.swarm.ledger().is_banned(Some(id(1)), addr(1)));
        let hello = Hello {
            id: id(1),
            remote: addr(1),
            dialled: true,
            fast: true,
            greeted_at: rig.now,
        };
        assert_eq!(rig.try_link(hello), Err(Reason::Banned));
        assert!(!rig.swarm.ledger().is_banned(Some(id(2)), addr(2)));
    }
}

/// Two peers send half of a piece each, and it is wrong.
fn suspicion(rig: &mut Rig) -> [PeerKey; 2] {
    let one = rig.source(1);
    let asked = rig.asked(one);
    rig.land(one, asked[0]);
    rig.land(one, asked[1]);
    rig.receive(one, Message::Choke);
    rig.receive(one, Message::Reject(asked[2]));
    rig.receive(one, Message::Reject(asked[3]));
    let other = rig.source(2);
    rig.land_all(other);
    rig.told(one);
    assert_eq!(rig.judge(false), 1);
    assert_eq!(banned(rig), [], "it may have been either");
    [one, other]
}

#[test]
fn a_suspect_piece_is_fetched_from_one_sender_only() {
    let mut rig = Rig::getter(1);
    let [one, other] = suspicion(&mut rig);
    rig.receive(one, Message::Unchoke);
    assert_eq!((rig.asked(other).len(), rig.asked(one).len()), (4, 0));
    // Its sender goes in the middle: the piece begins anew, with the other.
    rig.land(other, block(0, 0));
    rig.input(Input::Disconnected { peer: other });
    assert_eq!(rig.asked(one).len(), 4);
    for index in 0..4 {
        rig.land(one, block(0, index));
    }
    assert_eq!(rig.judge(false), 1);
    assert_eq!(banned(&rig), [one]);
}

#[test]
fn a_suspect_piece_does_not_wait_for_a_sender_that_chokes_us() {
    let mut rig = Rig::getter(1);
    let [one, other] = suspicion(&mut rig);
    assert_eq!(rig.asked(other).len(), 4);
    rig.land(other, block(0, 0));
    rig.receive(one, Message::Unchoke);
    rig.receive(other, Message::Choke);
    assert_eq!(rig.asked(one).len(), 4);
    assert_eq!(rig.told(other).len(), 3, "what is given up is taken back");
    for index in 1..4 {
        rig.receive(other, Message::Reject(block(0, index)));
    }
    assert_eq!(rig.closed, []);
}

#[test]
fn a_late_copy_from_before_does_not_slip_into_a_suspect_piece() {
    let mut rig = Rig::getter(1);
    let [slow, late, third] = [1, 2, 3].map(|number| rig.source(number));
    rig.pass(SECOND / 50);
    let (twice, other) = (block(0, 0), block(0, 1));
    rig.land(third, other);
    for index in 0..4 {
        if ![twice, other].contains(&block(0, index)) {
            rig.land(slow, block(0, index));
        }
    }
    begin(&mut rig, slow, twice);
    begin(&mut rig, late, twice);
    finish_rest(&mut rig, (slow, 0, 1));
    rig.receive(late, Message::Choke);
    rig.sent.clear();
    assert_eq!(rig.judge(false), 1);
    let wasted = rig.swarm.counts().wasted_bytes;
    finish_rest(&mut rig, (late, 0, 2));
    let late_bytes = rig.swarm.counts().wasted_bytes - wasted;
    assert_eq!(
        late_bytes,
        u64::from(BLOCK_LEN),
        "it began in another life of the piece"
    );
    let owner = [slow, late, third].map(|peer| (rig.asked(peer).len(), peer));
    let (count, owner) = owner.into_iter().max().expect("one of three");
    assert_eq!(count, 4);
    for index in 0..4 {
        rig.land(owner, block(0, index));
    }
    assert_eq!(rig.judge(false), 1);
    assert_eq!(banned(&rig), [owner]);
}

#[test]
fn a_piece_begins_when_the_pool_has_a_buffer_again_although_nothing_happens_here() {
    let pool = BufferPool::new(1 << 20);
    let taken: Vec<PieceBuf> = std::iter::from_fn(|| pool.lend(PIECE_LEN as usize)).collect();
    let config = Config::new(id(100), 1, pool.clone());
    let mut rig = Rig::new(config, Bitfield::none(4));
    let peer = rig.source(1);
    assert_eq!(rig.asked(peer), []);
    rig.pass(SECOND);
    assert_eq!(rig.asked(peer), []);
    taken.into_iter().for_each(|buffer| pool.restore(buffer));
    rig.pass(SECOND / 10);
    assert_eq!(rig.asked(peer).len(), 16);
}

#[test]
fn arriving_pieces_stay_within_their_share_and_a_larger_one_comes_alone() {
    for (share, pieces_at_once) in [(0, 1), (1, 1), (3 * PIECE_LEN as usize, 3)] {
        let mut config = config();
        config.arriving_bytes_max = share;
        let mut rig = Rig::new(config, Bitfield::none(8));
        let peer = rig.source(1);
        let mut checked = 0;
        while !rig.swarm.is_complete() {
            let asked = rig.asked(peer);
            let open: BTreeSet<u32> = asked.iter().map(|block| block.piece).collect();
            assert!((1..=pieces_at_once).contains(&open.len()), "{open:?}");
            asked.into_iter().for_each(|block| rig.land(peer, block));
            checked += rig.judge(true);
        }
        assert_eq!(checked, 8);
    }
}

#[test]
fn a_piece_whose_holders_left_makes_room_for_one_that_can_be_had() {
    let mut config = config();
    config.arriving_bytes_max = PIECE_LEN as usize;
    let mut rig = Rig::new(config, Bitfield::none(2));
    let gone = rig.holder(1, &[0]);
    let first = rig.asked(gone)[0];
    rig.land(gone, first);
    rig.input(Input::Disconnected { peer: gone });
    for (number, piece) in [(2, 1), (3, 0)] {
        let holder = rig.holder(number, &[piece]);
        let asked = rig.asked(holder);
        assert_eq!(asked.len(), 4, "all of {piece}");
        asked.into_iter().for_each(|block| rig.land(holder, block));
        assert_eq!(rig.judge(true), 1);
    }
    assert!(rig.swarm.is_complete());
}

#[test]
fn a_piece_that_somebody_still_has_keeps_its_room() {
    let mut config = config();
    config.arriving_bytes_max = PIECE_LEN as usize;
    let mut rig = Rig::new(config, Bitfield::none(2));
    let holder = rig.holder(1, &[0]);
    let asked = rig.asked(holder);
    rig.land(holder, asked[0]);
    rig.receive(holder, Message::Choke);
    let other = rig.holder(2, &[1]);
    assert_eq!(rig.asked(other).len(), 0);
    rig.receive(holder, Message::Unchoke);
    (1..4).for_each(|at| rig.land(holder, asked[at]));
    assert_eq!(rig.judge(true), 1);
}

#[test]
fn a_piece_that_cannot_be_written_is_said_and_stays_missing() {
    let mut rig = Rig::getter(1);
    let peer = rig.source(1);
    rig.land_all(peer);
    let (piece, buffer) = rig.take_checks().pop().expect("it is whole");
    let verdict = Verdict::Unwritten(io::ErrorKind::StorageFull.into());
    rig.input(Input::Checked {
        piece,
        verdict,
        digests: Vec::new(),
        buffer,
    });
    assert!(rig.wants(|output| matches!(output, Output::Failed(_))));
    assert_eq!((rig.swarm.have().count(), rig.closed.len()), (0, 0));
}
