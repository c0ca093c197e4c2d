//! Pieces that were wrong and came from several senders: who is blamed, and who is not.

use super::*;
use crate::swarm::pieces::Sent;
use crate::swarm::suspects::{DIGESTS_MAX, SUSPECTS_MAX};

/// Those who were accused since this was last asked, and by what proof.
fn accused(rig: &mut Rig) -> Vec<(SocketAddr, Proof)> {
    let (mut accused, mut kept) = (Vec::new(), Vec::new());
    for output in rig.rest.drain(..) {
        match output {
            Output::Accuse { addr, proof, .. } => accused.push((addr, proof)),
            output => kept.push(output),
        }
    }
    rig.rest = kept;
    accused
}

fn remote(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 40_000).into()
}

/// Peers 1 and 2 have piece 0 and sent two blocks of it each, of which those of `spoilt` are wrong. Peer 3 has it as
/// well, and chokes us.
fn suspicion(rig: &mut Rig, spoilt: &[u32]) -> [PeerKey; 3] {
    let third = rig.link(3, true);
    rig.receive(third, Message::HaveAll);
    let one = rig.source(1);
    for index in 0..2 {
        rig.land(one, block(0, index));
    }
    rig.receive(one, Message::Choke);
    for index in 2..4 {
        rig.receive(one, Message::Reject(block(0, index)));
    }
    let two = rig.source(2);
    for index in 2..4 {
        rig.land(two, block(0, index));
    }
    assert_eq!(rig.judge_spoilt(spoilt), 1);
    rig.told(one);
    [one, two, third]
}

#[test]
fn who_sent_the_wrong_block_is_banned_when_the_piece_is_right_and_nobody_else() {
    for (spoilt, liars) in [(&[1][..], &[1][..]), (&[3], &[2]), (&[0, 2], &[1, 2])] {
        let mut rig = Rig::getter(1);
        let [one, two, third] = suspicion(&mut rig, spoilt);
        assert_eq!(accused(&mut rig), []);
        rig.receive(two, Message::Choke);
        rig.sent.clear();
        rig.receive(third, Message::Unchoke);
        assert_eq!(rig.asked(third).len(), 4, "all of it is another's to send");
        rig.receive(one, Message::Unchoke);
        assert_eq!(rig.asked(one), [], "and nobody helps");
        for index in 0..4 {
            rig.land(third, block(0, index));
        }
        rig.judge(true);
        let proof = |block: &u32| Proof::Block {
            block: *block,
            digest: [1; 20],
        };
        let expected = liars.iter().zip(spoilt);
        let expected: Vec<_> = expected
            .map(|(&liar, block)| (remote(liar), proof(block)))
            .collect();
        assert_eq!(accused(&mut rig), expected);
        let corrupt = rig
            .closed
            .iter()
            .filter(|(_, r)| *r == Reason::CorruptPiece);
        let closed: Vec<PeerKey> = corrupt.map(|&(peer, _)| peer).collect();
        let by_number = |&number: &u8| [one, two][usize::from(number) - 1];
        assert_eq!(closed, liars.iter().map(by_number).collect::<Vec<_>>());
    }
}

#[test]
fn who_left_before_it_was_convicted_is_banned_all_the_same() {
    let mut rig = Rig::getter(1);
    let [one, two, third] = suspicion(&mut rig, &[0]);
    rig.receive(two, Message::Choke);
    rig.input(Input::Disconnected { peer: one });
    rig.receive(third, Message::Unchoke);
    for index in 0..4 {
        rig.land(third, block(0, index));
    }
    assert_eq!(rig.judge(true), 1);
    assert_eq!(accused(&mut rig).len(), 1);
    assert!(rig.swarm.ledger().is_banned(None, remote(1)));
}

#[test]
fn a_suspect_piece_is_asked_of_who_sent_it_only_if_nobody_else_can() {
    let mut rig = Rig::getter(2);
    let third = rig.link(3, true);
    rig.receive(third, Message::Bitfield { bytes: &[0x80] });
    let [one, two, _] = {
        // Piece 1 is had by nobody but the first two.
        let one = rig.link(1, true);
        rig.receive(one, Message::Bitfield { bytes: &[0x80] });
        rig.receive(one, Message::Unchoke);
        rig.land(one, block(0, 0));
        rig.receive(one, Message::Choke);
        let two = rig.link(2, true);
        rig.receive(two, Message::Bitfield { bytes: &[0x80] });
        rig.receive(two, Message::Unchoke);
        for index in 1..4 {
            rig.receive(one, Message::Reject(block(0, index)));
            rig.land(two, block(0, index));
        }
        [one, two, third]
    };
    rig.sent.clear();
    assert_eq!(rig.judge_spoilt(&[0]), 1);
    assert_eq!(rig.asked(two).len(), 4, "there is nobody else");
    rig.receive(third, Message::Unchoke);
    rig.receive(two, Message::Choke);
    assert_eq!(rig.asked(third).len(), 4);
    rig.sent.clear();
    rig.receive(one, Message::Unchoke);
    assert_eq!(rig.asked(one), []);
}

#[test]
fn who_sends_one_block_in_two_forms_is_banned_before_the_piece_is_right() {
    let mut rig = Rig::getter(1);
    let sources = [1, 2, 3].map(|number| rig.source(number));
    let mut suspects = Suspects::default();
    let senders = sources.map(|key| rig.swarm.peers[key.slot()].sender());
    let sent = |by_block: [u16; 4]| Sent {
        senders: senders.to_vec(),
        by_block: by_block.to_vec(),
    };
    let digests = |bytes: [u8; 4]| bytes.map(|byte| [byte; 20]);
    let none = suspects.failed(7, &sent([0, 0, 1, 1]), &digests([1, 2, 3, 4]));
    assert_eq!(none, []);
    let again = suspects.failed(7, &sent([0, 0, 1, 2]), &digests([1, 2, 3, 4]));
    assert_eq!(again, [], "all said the same as before");
    let liars = suspects.failed(7, &sent([0, 2, 1, 1]), &digests([1, 2, 9, 4]));
    let liars: Vec<_> = liars.into_iter().map(|liar| liar.sender).collect();
    assert_eq!(liars, [senders[1]]);
    suspects.check();
    suspects.forget_sender(&senders[1]);
    suspects.check();
    let liars = suspects.passed(7, &digests([1, 5, 5, 5]));
    let liars: Vec<_> = liars.into_iter().map(|liar| liar.sender).collect();
    assert_eq!(liars, [senders[0], senders[2]]);
    assert!(suspects.is_empty());
    suspects.check();
}

#[test]
fn what_a_banned_peer_sent_of_other_pieces_is_asked_of_others() {
    let mut rig = Rig::getter(2);
    let liar = rig.source(1);
    let asked = rig.asked(liar);
    let first = asked[0].piece;
    let (mine, rest): (Vec<_>, Vec<_>) = asked.into_iter().partition(|b| b.piece == first);
    rig.land(liar, rest[0]);
    mine.into_iter().for_each(|block| rig.land(liar, block));
    let wasted = rig.swarm.counts().wasted_bytes;
    rig.judge(false);
    assert_eq!(rig.closed, [(liar, Reason::CorruptPiece)]);
    let wasted = rig.swarm.counts().wasted_bytes - wasted;
    assert_eq!(wasted, u64::from(BLOCK_LEN), "its block of the other piece");
    let honest = rig.source(2);
    assert_eq!(rig.asked(honest).len(), 8, "every block of both pieces");
}

#[test]
fn who_is_on_parole_sends_alone_what_it_sends() {
    let mut rig = Rig::getter(3);
    let [one, two, third] = suspicion_of_many(&mut rig);
    // The third is asked for the suspect piece first, and the second for one of the others.
    let asked = rig.asked(third);
    assert_eq!(asked.iter().filter(|block| block.piece == 0).count(), 4);
    assert!(asked[..4].iter().all(|block| block.piece == 0));
    let exclusive = |rig: &Rig, piece| rig.swarm.arriving(piece).is_some_and(|a| a.is_exclusive);
    assert!(exclusive(&rig, 0));
    let of_two: Vec<u32> = rig.asked(two).iter().map(|block| block.piece).collect();
    assert!(!of_two.is_empty() && of_two.iter().all(|&piece| piece != 0));
    assert!(
        of_two.iter().all(|&piece| exclusive(&rig, piece)),
        "{of_two:?}"
    );
    assert_eq!(rig.asked(one), []);
}

/// Piece 0 of three failed with the peers 1 and 2 as senders; 1 chokes us, 3 has begun to serve us.
fn suspicion_of_many(rig: &mut Rig) -> [PeerKey; 3] {
    let one = rig.link(1, true);
    rig.receive(one, Message::Bitfield { bytes: &[0x80] });
    rig.receive(one, Message::Unchoke);
    rig.land(one, block(0, 0));
    rig.receive(one, Message::Choke);
    let two = rig.link(2, true);
    rig.receive(two, Message::Bitfield { bytes: &[0x80] });
    for index in 1..4 {
        rig.receive(one, Message::Reject(block(0, index)));
    }
    rig.receive(two, Message::Unchoke);
    for index in 1..4 {
        rig.land(two, block(0, index));
    }
    rig.receive(two, Message::Choke);
    assert_eq!(rig.judge_spoilt(&[2]), 1);
    rig.sent.clear();
    let third = rig.source(3);
    rig.receive(two, Message::Have { piece: 1 });
    rig.receive(two, Message::Have { piece: 2 });
    // What the third was asked for of the pieces 1 and 2 it loses.
    rig.input(Input::Lost {
        peer: third,
        piece: 1,
    });
    rig.receive(two, Message::Unchoke);
    [one, two, third]
}

#[test]
fn what_cannot_be_remembered_is_charged_to_all_who_sent_it_in_the_end() {
    let mut rig = Rig::getter(1);
    let honest = rig.source(1);
    let other = rig.source(2);
    let senders = [honest, other].map(|key| rig.swarm.peers[key.slot()].sender());
    let sent = Sent {
        senders: senders.to_vec(),
        by_block: vec![0, 1],
    };
    // A piece of which no digests could be made.
    for failures in 1..4 {
        rig.swarm.blame(0, &sent, &[]);
        assert_eq!(accused(&mut rig), [], "after {failures}");
    }
    assert!(rig.swarm.is_on_parole(honest));
    for _ in 0..10 {
        rig.swarm.acquit(0, &sent, &[]);
    }
    assert!(!rig.swarm.is_on_parole(honest));
    for _ in 0..4 {
        rig.swarm.blame(0, &sent, &[]);
    }
    rig.drain();
    let record = senders.map(|sender| (sender.addr, Proof::Record));
    assert_eq!(accused(&mut rig), record);
}

#[test]
fn the_pieces_and_digests_that_are_remembered_are_limited() {
    let mut rig = Rig::getter(1);
    let senders = [1, 2].map(|number| {
        let key = rig.source(number);
        rig.swarm.peers[key.slot()].sender()
    });
    let sent = |block_count: usize| Sent {
        senders: senders.to_vec(),
        by_block: (0..block_count).map(|block| (block % 2) as u16).collect(),
    };
    let mut suspects = Suspects::default();
    for piece in 0..SUSPECTS_MAX as u32 {
        suspects.failed(piece, &sent(2), &[[1; 20]; 2]);
    }
    assert_eq!(suspects.shrink(), None);
    suspects.failed(5_000, &sent(2), &[[1; 20]; 2]);
    assert_eq!(suspects.shrink(), Some(senders.to_vec()));
    assert!(!suspects.contains(0) && suspects.contains(1));
    suspects.check();
    let many = DIGESTS_MAX - 1_000;
    suspects.failed(6_000, &sent(many), &vec![[1; 20]; many]);
    while suspects.shrink().is_some() {}
    suspects.check();
    assert!(suspects.contains(6_000) && suspects.pieces().count() < SUSPECTS_MAX);
}
