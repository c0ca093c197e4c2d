//! Long requests: who is asked for several blocks at once, and what becomes of each.

use super::*;

/// The blocks `blocks` of `piece`, asked for at once.
fn stretch(piece: u32, blocks: std::ops::Range<u32>) -> BlockRequest {
    BlockRequest {
        len: blocks.len() as u32 * BLOCK_LEN,
        ..block(piece, blocks.start)
    }
}

/// A fast peer that has everything, serves long requests, and has us choked.
fn source(rig: &mut Rig, number: u8) -> PeerKey {
    let peer = rig.link(number, true);
    rig.receive(peer, Message::HaveAll);
    rig.agree(peer);
    rig.be_fast(peer);
    peer
}

/// A message with a block or several begins, and so much of it comes.
fn begin(rig: &mut Rig, peer: PeerKey, request: BlockRequest, bytes: &[u8]) {
    let started = rig.swarm.block_started(rig.now, peer, request);
    assert_eq!(started, Ok(()));
    rig.swarm.land_copy(rig.now, peer, bytes);
    rig.drain();
}

/// A peer has sent the first half of the only piece, and was asked for the rest; another one, since nothing else is left,
/// was asked for the last block too. The two, and that block.
fn twice_asked(rig: &mut Rig) -> (PeerKey, PeerKey, BlockRequest) {
    let peer = source(rig, 1);
    let said = Said {
        request_bytes_max: Some(2 * BLOCK_LEN),
        ..Said::default()
    };
    rig.input(Input::Extended { peer, said });
    rig.receive(peer, Message::Unchoke);
    let asked = rig.asked(peer);
    rig.pass(SECOND);
    rig.land(peer, asked[0]);
    let other = rig.source(2);
    rig.pass(SECOND);
    assert_eq!(rig.asked(other), [block(0, 3)]);
    rig.told(peer);
    (peer, other, block(0, 3))
}

#[test]
fn only_a_fast_peer_that_serves_long_requests_is_asked_for_several_blocks_at_once() {
    for (agrees, is_fast) in [(true, true), (true, false), (false, true)] {
        let mut rig = Rig::getter(2);
        let peer = rig.link(1, true);
        rig.receive(peer, Message::HaveAll);
        if agrees {
            rig.agree(peer);
        }
        if is_fast {
            rig.be_fast(peer);
        }
        rig.receive(peer, Message::Unchoke);
        let asked = rig.asked(peer);
        let (count, len) = if agrees && is_fast {
            (2, PIECE_LEN)
        } else {
            (8, BLOCK_LEN)
        };
        assert_eq!(asked.len(), count);
        assert!(asked.iter().all(|request| request.len == len));
    }
}

#[test]
fn a_request_is_no_longer_than_the_other_side_serves() {
    let mut rig = Rig::getter(1);
    let peer = source(&mut rig, 1);
    let said = Said {
        request_bytes_max: Some(2 * BLOCK_LEN),
        ..Said::default()
    };
    rig.input(Input::Extended { peer, said });
    rig.receive(peer, Message::Unchoke);
    assert_eq!(rig.asked(peer), [stretch(0, 0..2), stretch(0, 2..4)]);
}

#[test]
fn all_blocks_of_a_long_request_land_and_more_is_asked_for_when_the_last_is_here() {
    let mut rig = Rig::getter(40);
    let peer = source(&mut rig, 1);
    let said = Said {
        requests_max: Some(8),
        ..Said::default()
    };
    rig.input(Input::Extended { peer, said });
    rig.receive(peer, Message::Unchoke);
    let asked = rig.asked(peer);
    assert_eq!(asked.len(), 2);
    let bytes: Vec<u8> = (0..PIECE_LEN).map(|at| (at / BLOCK_LEN) as u8).collect();
    let (first, rest) = bytes.split_at(BLOCK_LEN as usize + 1);
    begin(&mut rig, peer, asked[0], first);
    assert_eq!(rig.asked(peer), [], "the rest is yet to come");
    let place = rig.swarm.landing(peer).map(|place| place.len());
    assert_eq!(place, Some(rest.len()));
    rig.swarm.land_copy(rig.now, peer, rest);
    rig.drain();
    assert_eq!(rig.asked(peer).len(), 1);
    let (_, buffer) = rig.take_checks().pop().expect("the piece is whole");
    assert_eq!(buffer.bytes(), bytes);
    assert_eq!(rig.swarm.counts().wasted_bytes, 0);
}

#[test]
fn a_block_of_a_long_request_that_another_peer_sends_first_is_dropped_and_the_others_land() {
    let mut rig = Rig::getter(1);
    let (peer, other, twice) = twice_asked(&mut rig);
    rig.land(other, twice);
    assert_eq!(rig.told(peer), [Message::Cancel(twice)]);
    rig.land(peer, stretch(0, 2..4));
    assert_eq!(rig.take_checks().len(), 1);
    assert_eq!(rig.swarm.counts().wasted_bytes, u64::from(BLOCK_LEN));
    assert_eq!(rig.closed, []);
}

#[test]
fn a_block_of_a_long_request_that_another_peer_is_quicker_with_is_left_as_that_peer_sent_it() {
    let mut rig = Rig::getter(1);
    let (peer, other, twice) = twice_asked(&mut rig);
    let half = BLOCK_LEN as usize / 2;
    begin(&mut rig, peer, stretch(0, 2..4), &vec![7; half]);
    begin(&mut rig, other, twice, &[1; BLOCK_LEN as usize]);
    assert_eq!(rig.swarm.landing_len(peer), half, "to the end of a block");
    rig.swarm.land_copy(rig.now, peer, &vec![7; 3 * half]);
    rig.drain();
    let (_, buffer) = rig.take_checks().pop().expect("the piece is whole");
    let (of_peer, of_other) = buffer.bytes()[4 * half..].split_at(2 * half);
    assert!(of_peer.iter().all(|&byte| byte == 7));
    assert!(of_other.iter().all(|&byte| byte == 1));
    assert_eq!(rig.swarm.counts().wasted_bytes, u64::from(BLOCK_LEN));
}

#[test]
fn a_block_that_comes_while_another_peer_sends_it_goes_aside_in_the_midst_of_a_long_request() {
    let mut rig = Rig::getter(1);
    let (peer, other, twice) = twice_asked(&mut rig);
    begin(&mut rig, other, twice, &[1; 9]);
    begin(
        &mut rig,
        peer,
        stretch(0, 2..4),
        &[7; 2 * BLOCK_LEN as usize],
    );
    let (_, buffer) = rig.take_checks().pop().expect("the piece is whole");
    let of_peer = &buffer.bytes()[PIECE_LEN as usize / 2..];
    assert!(of_peer.iter().all(|&byte| byte == 7));
    let rest = rig.swarm.landing_len(other);
    rig.swarm.landed(rig.now, other, rest);
    rig.drain();
    assert_eq!(rig.swarm.counts().wasted_bytes, u64::from(BLOCK_LEN));
}

#[test]
fn what_a_lost_link_owed_of_a_long_request_is_asked_of_others() {
    let mut rig = Rig::getter(1);
    let lost = source(&mut rig, 1);
    rig.receive(lost, Message::Unchoke);
    let asked = rig.asked(lost)[0];
    begin(&mut rig, lost, asked, &[1; BLOCK_LEN as usize * 3 / 2]);
    rig.input(Input::Disconnected { peer: lost });
    let other = rig.source(2);
    let left: Vec<BlockRequest> = (1..4).map(|index| block(0, index)).collect();
    assert_eq!(rig.asked(other), left);
}

#[test]
fn a_rejected_long_request_frees_all_its_blocks() {
    let mut rig = Rig::getter(1);
    let peer = source(&mut rig, 1);
    rig.receive(peer, Message::Unchoke);
    let asked = rig.asked(peer);
    rig.receive(peer, Message::Reject(asked[0]));
    let other = rig.source(2);
    assert_eq!(rig.asked(other).len(), 4);
    let beyond = BlockRequest {
        len: PIECE_LEN + BLOCK_LEN,
        ..asked[0]
    };
    rig.receive(peer, Message::Reject(beyond));
    assert_eq!(rig.closed, [(peer, Reason::BadReject)]);
}

#[test]
fn a_long_request_is_served_whole_to_who_agreed_and_rejected_else() {
    for agrees in [true, false] {
        let mut rig = Rig::seed(2);
        let sink = rig.sink(1);
        if agrees {
            rig.agree(sink);
        }
        rig.told(sink);
        let request = stretch(0, 0..4);
        rig.receive(sink, Message::Request(request));
        if !agrees {
            assert_eq!(rig.rejected(sink), [request]);
            continue;
        }
        assert!(
            rig.swarm.next_upload(rig.now, sink).is_none(),
            "it is read first"
        );
        rig.drain();
        rig.load_all();
        let upload = rig.swarm.next_upload(rig.now, sink).expect("it is here");
        assert_eq!(
            (upload.request, upload.range.len()),
            (request, PIECE_LEN as usize)
        );
    }
}

#[test]
fn nobody_is_served_more_at_once_than_we_said() {
    let mut rig = Rig::seed(1);
    let geometry = Geometry::new(1 << 20, 1 << 20);
    rig.swarm = Swarm::new(config(), geometry, Bitfield::all(1));
    let sink = rig.sink(1);
    rig.agree(sink);
    rig.told(sink);
    for (blocks, refused) in [(8, 0), (9, 1)] {
        rig.receive(sink, Message::Request(stretch(0, 0..blocks)));
        assert_eq!(rig.rejected(sink).len(), refused);
    }
}

#[test]
fn a_block_that_is_taken_back_is_cut_out_of_a_long_request() {
    let mut rig = Rig::seed(2);
    let sink = rig.sink(1);
    rig.agree(sink);
    rig.told(sink);
    rig.receive(sink, Message::Request(stretch(0, 0..4)));
    let odd = BlockRequest {
        len: 1,
        ..block(0, 1)
    };
    for request in [block(0, 1), odd, block(0, 1), block(1, 1)] {
        rig.receive(sink, Message::Cancel(request));
    }
    assert_eq!(rig.rejected(sink), [block(0, 1)], "once");
    let mut sent = Vec::new();
    while rig.swarm.has_upload(sink) {
        sent.extend(
            rig.swarm
                .next_upload(rig.now, sink)
                .map(|upload| upload.request),
        );
        rig.drain();
        rig.load_all();
    }
    assert_eq!(sent, [block(0, 0), stretch(0, 2..4)]);
}
