//! What a peer must not do, and what it costs it.

use super::*;

#[test]
fn naming_a_piece_that_does_not_exist_ends_the_link() {
    for piece in [5, 6, 1 << 31, u32::MAX] {
        let mut rig = Rig::getter(5);
        for message in [
            Message::Have { piece },
            Message::Suggest { piece },
            Message::AllowedFast { piece },
        ] {
            let peer = rig.link(1, true);
            rig.receive(peer, message);
            assert_eq!(rig.closed.pop(), Some((peer, Reason::NoSuchPiece)));
        }
    }
}

#[test]
fn a_bitfield_of_a_wrong_size_or_with_spare_bits_ends_the_link() {
    for bytes in [&[][..], &[0xf0, 0], &[0xf4]] {
        let mut rig = Rig::getter(5);
        let peer = rig.link(1, false);
        rig.receive(peer, Message::Bitfield { bytes });
        assert_eq!(rig.closed, [(peer, Reason::BadBitfield)]);
        assert_eq!(rig.swarm.least_copies(), 0);
    }
}

#[test]
fn single_pieces_may_be_told_before_the_whole_possession() {
    let mut rig = Rig::getter(5);
    let peer = rig.link(1, true);
    rig.receive(peer, Message::Have { piece: 0 });
    rig.receive(peer, Message::Bitfield { bytes: &[0xf0] });
    assert_eq!(rig.closed, []);
    rig.swarm.check();
    rig.receive(peer, Message::Have { piece: 4 });
    rig.swarm.check();
    rig.receive(peer, Message::HaveAll);
    assert_eq!(rig.closed, [(peer, Reason::LatePossession)]);
}

#[test]
fn a_bitfield_that_comes_again_is_news_of_single_pieces() {
    let mut rig = Rig::getter(5);
    let peer = rig.link(1, true);
    rig.receive(peer, Message::Bitfield { bytes: &[0x80] });
    rig.receive(peer, Message::Bitfield { bytes: &[0x60] });
    assert_eq!(rig.closed, []);
    rig.swarm.check();
    let had = rig.swarm.links().map(|link| link.pieces_had);
    assert_eq!(had.collect::<Vec<_>>(), [3]);
}

#[test]
fn possession_is_said_once() {
    let bitfield = Message::Bitfield { bytes: &[0xf0] };
    for first in [bitfield, Message::HaveNone] {
        for second in [Message::HaveAll, Message::HaveNone] {
            let mut rig = Rig::getter(5);
            let peer = rig.link(1, true);
            rig.receive(peer, first);
            assert_eq!(rig.closed, []);
            rig.receive(peer, second);
            assert_eq!(rig.closed, [(peer, Reason::LatePossession)]);
            assert_eq!(rig.swarm.least_copies(), 0);
        }
    }
}

#[test]
fn the_fast_extension_is_refused_where_it_was_not_negotiated() {
    for message in [
        Message::HaveAll,
        Message::HaveNone,
        Message::Reject(block(0, 0)),
        Message::Suggest { piece: 0 },
        Message::AllowedFast { piece: 0 },
    ] {
        let mut rig = Rig::getter(5);
        let peer = rig.link(1, false);
        rig.receive(peer, message);
        assert_eq!(rig.closed, [(peer, Reason::NotNegotiated)]);
    }
}

fn bad_requests() -> Vec<BlockRequest> {
    let request = |piece, begin, len| BlockRequest { piece, begin, len };
    vec![
        request(1, 0, BLOCK_LEN),
        request(2, 0, BLOCK_LEN),
        request(u32::MAX, 0, BLOCK_LEN),
        request(0, 0, 0),
        request(0, 0, BLOCK_LEN + 1),
        request(0, PIECE_LEN - 1, 2),
        request(0, PIECE_LEN, BLOCK_LEN),
        request(0, u32::MAX, BLOCK_LEN),
        request(0, u32::MAX, u32::MAX),
    ]
}

#[test]
fn a_request_for_what_we_cannot_send_is_rejected_and_nothing_is_read() {
    let mut have = Bitfield::none(2);
    have.set(0);
    let mut rig = Rig::new(config(), have);
    let peer = rig.sink(1);
    for request in bad_requests() {
        rig.receive(peer, Message::Request(request));
        assert_eq!(rig.rejected(peer), [request]);
        assert!(!rig.wants(|output| matches!(output, Output::Upload { .. } | Output::Load { .. })));
    }
    assert!(rig.swarm.next_upload(rig.now, peer).is_none());
    assert_eq!(rig.closed, []);
}

#[test]
fn a_plain_peer_that_asks_for_what_we_cannot_send_is_dropped() {
    for request in bad_requests() {
        let mut have = Bitfield::none(2);
        have.set(0);
        let mut rig = Rig::new(config(), have);
        let peer = rig.link(1, false);
        rig.receive(peer, Message::Interested);
        rig.receive(peer, Message::Request(request));
        assert_eq!(rig.closed, [(peer, Reason::BadRequest)]);
    }
}

#[test]
fn requests_beyond_the_limit_are_rejected_and_in_the_end_not_suffered() {
    let mut rig = Rig::seed(1);
    let peer = rig.sink(1);
    for _ in 0..2_000 {
        rig.receive(peer, Message::Request(block(0, 0)));
    }
    assert_eq!(rig.rejected(peer), []);
    rig.receive(peer, Message::Request(block(0, 1)));
    assert_eq!(rig.rejected(peer), [block(0, 1)]);
    rig.now += 11 * SECOND;
    for _ in 0..4_000 {
        assert_eq!(rig.closed, []);
        rig.receive(peer, Message::Request(block(0, 1)));
    }
    assert_eq!(rig.closed, [(peer, Reason::BadRequest)]);

    let mut rig = Rig::seed(1);
    let peer = rig.link(1, false);
    rig.receive(peer, Message::Interested);
    for _ in 0..2_001 {
        assert_eq!(rig.closed, []);
        rig.receive(peer, Message::Request(block(0, 0)));
    }
    assert_eq!(rig.closed, [(peer, Reason::TooManyRequests)]);
}

#[test]
fn a_plain_request_that_crosses_our_choke_is_dropped_in_silence() {
    let mut config = config();
    config.upload_slots_max = 0;
    let mut rig = Rig::new(config, Bitfield::all(1));
    let peer = rig.link(1, false);
    rig.receive(peer, Message::Request(block(0, 0)));
    assert_eq!((rig.told(peer), rig.closed.len()), (Vec::new(), 0));
    assert!(rig.swarm.next_upload(rig.now, peer).is_none());
}

#[test]
fn skips_a_block_nobody_asked_for_and_drops_who_keeps_sending_them() {
    let mut rig = Rig::getter(2);
    let peer = rig.link(1, true);
    rig.receive(peer, Message::HaveAll);
    for count in 1..=256 {
        let started = rig.swarm.block_started(rig.now, peer, block(0, 0));
        assert_eq!(started, Ok(()));
        assert!(rig.swarm.landing(peer).is_none(), "nobody needs its bytes");
        rig.swarm.landed(rig.now, peer, BLOCK_LEN as usize);
        rig.drain();
        let wasted = rig.swarm.counts().wasted_bytes;
        assert_eq!(wasted, count * u64::from(BLOCK_LEN));
    }
    rig.land(peer, block(0, 0));
    assert_eq!(rig.closed, [(peer, Reason::Unrequested)]);
}

#[test]
fn a_block_that_is_none_of_ours_ends_the_link() {
    for (piece, begin, len) in [
        (2, 0, BLOCK_LEN),
        (0, 1, BLOCK_LEN),
        (0, 0, BLOCK_LEN - 1),
        (0, PIECE_LEN, BLOCK_LEN),
        (0, u32::MAX, 1),
    ] {
        let mut rig = Rig::getter(2);
        let peer = rig.source(1);
        rig.land(peer, BlockRequest { piece, begin, len });
        assert_eq!(rig.closed, [(peer, Reason::BadBlock)]);
    }
}

#[test]
fn rejects_of_what_nobody_asked_are_suffered_for_a_while() {
    let mut rig = Rig::getter(2);
    let peer = rig.link(1, true);
    rig.receive(peer, Message::HaveAll);
    for _ in 0..256 {
        rig.receive(peer, Message::Reject(block(0, 0)));
        assert_eq!(rig.closed, []);
    }
    rig.receive(peer, Message::Reject(block(0, 0)));
    assert_eq!(rig.closed, [(peer, Reason::BadReject)]);
    let other = rig.link(2, true);
    rig.receive(other, Message::Reject(block(7, 0)));
    assert_eq!(rig.closed[1], (other, Reason::BadReject));
}

#[test]
fn what_comes_of_a_link_that_is_gone_changes_nothing() {
    let mut rig = Rig::getter(2);
    let peer = rig.source(1);
    let asked = rig.asked(peer);
    rig.input(Input::Disconnected { peer });
    let other = rig.link(2, true);
    assert_eq!(other.slot(), peer.slot(), "the slot is used again");
    rig.told(other);
    rig.receive(peer, Message::HaveAll);
    rig.receive(peer, Message::Interested);
    rig.receive(peer, Message::Reject(asked[0]));
    rig.land(peer, asked[0]);
    rig.input(Input::Disconnected { peer });
    assert_eq!((rig.swarm.link_count(), rig.told(other)), (1, Vec::new()));
    assert_eq!(rig.swarm.counts().down_bytes, 0);
}
