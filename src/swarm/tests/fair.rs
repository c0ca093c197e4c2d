//! Tit for tat.

use super::*;

fn fair(have: Bitfield) -> Rig {
    let mut config = config();
    config.policy = Policy::Fair;
    Rig::new(config, have)
}

/// Peers that have everything and want something; the last `giver_count` let us ask, and answer one request a second.
struct Crowd {
    rig: Rig,
    peers: Vec<PeerKey>,
    unchoked: Vec<bool>,
    giver_count: usize,
}

impl Crowd {
    fn new(peer_count: u8, giver_count: usize) -> Self {
        let mut rig = fair(Bitfield::none(1_000));
        let peers: Vec<PeerKey> = (1..=peer_count)
            .map(|number| {
                let peer = rig.link(number, true);
                rig.receive(peer, Message::HaveAll);
                rig.receive(peer, Message::Interested);
                if number > peer_count - giver_count as u8 {
                    rig.receive(peer, Message::Unchoke);
                }
                peer
            })
            .collect();
        let unchoked = vec![false; peers.len()];
        let mut crowd = Self {
            rig,
            peers,
            unchoked,
            giver_count,
        };
        crowd.pass_second();
        crowd
    }

    /// A second passes, in which the givers give.
    fn pass_second(&mut self) {
        self.rig.pass(SECOND);
        for (peer, message) in std::mem::take(&mut self.rig.sent) {
            match message {
                Message::Unchoke => self.unchoked[peer.slot()] = true,
                Message::Choke => self.unchoked[peer.slot()] = false,
                _ => {}
            }
        }
        for &peer in &self.peers {
            self.rig.receive(peer, Message::KeepAlive);
        }
        assert_eq!(self.rig.closed, [], "all stay");
        let first_giver = self.peers.len() - self.giver_count;
        for &giver in &self.peers[first_giver..] {
            let owes = &self.rig.swarm.peers[giver.slot()].asked;
            if let Some(&asked) = owes.front() {
                let block = self.rig.swarm.geometry.block(asked.piece, asked.block);
                self.rig.land(giver, block);
            }
        }
        self.rig.judge(true);
    }
}

#[test]
fn those_who_give_have_slots_and_the_others_are_tried_in_turn() {
    let mut crowd = Crowd::new(9, 3);
    assert_eq!(crowd.unchoked.iter().filter(|&&is| is).count(), 4);
    for _ in 0..40 {
        crowd.pass_second();
    }
    let mut tried = [0; 6];
    for _ in 0..600 {
        crowd.pass_second();
        assert!(crowd.unchoked[6..].iter().all(|&is| is), "they give");
        let others = &crowd.unchoked[..6];
        assert_eq!(others.iter().filter(|&&is| is).count(), 1);
        for (count, &is) in tried.iter_mut().zip(others) {
            *count += u32::from(is);
        }
    }
    // A trial lasts three rounds of ten seconds.
    assert!(tried.iter().all(|&seconds| seconds >= 30), "{tried:?}");
}

#[test]
fn who_gives_no_more_loses_its_slot() {
    let mut crowd = Crowd::new(9, 3);
    for _ in 0..40 {
        crowd.pass_second();
    }
    crowd.giver_count = 2;
    crowd.rig.receive(crowd.peers[6], Message::Choke);
    for _ in 0..70 {
        crowd.pass_second();
    }
    let mut seconds = 0;
    for _ in 0..300 {
        crowd.pass_second();
        assert!(crowd.unchoked[7..].iter().all(|&is| is), "they give");
        assert_eq!(crowd.unchoked.iter().filter(|&&is| is).count(), 4);
        seconds += u32::from(crowd.unchoked[6]);
    }
    // Two slots go round among seven.
    assert!(seconds < 200, "{seconds}");
}

#[test]
fn a_free_slot_is_given_at_once_and_to_nobody_who_wants_nothing() {
    let mut rig = fair(Bitfield::all(1));
    let idle = rig.link(9, true);
    assert_eq!(rig.told(idle), []);
    let peers: Vec<PeerKey> = (1..=5).map(|number| rig.sink(number)).collect();
    for &peer in &peers[..4] {
        assert!(rig.told(peer).contains(&Message::Unchoke));
    }
    assert_eq!(rig.told(peers[4]), []);
    rig.receive(peers[0], Message::NotInterested);
    rig.pass(SECOND / 10);
    assert!(rig.told(peers[4]).contains(&Message::Unchoke));
}

#[test]
fn when_everything_is_here_the_slots_go_round() {
    let mut rig = fair(Bitfield::all(1));
    let peers: Vec<PeerKey> = (1..=8).map(|number| rig.sink(number)).collect();
    let (mut unchoked, mut served) = ([false; 8], [0; 8]);
    for _ in 0..160 {
        rig.pass(SECOND);
        for (peer, message) in std::mem::take(&mut rig.sent) {
            match message {
                Message::Unchoke => unchoked[peer.slot()] = true,
                Message::Choke => unchoked[peer.slot()] = false,
                _ => {}
            }
        }
        assert_eq!(unchoked.iter().filter(|&&is| is).count(), 4);
        (0..peers.len()).for_each(|at| served[at] += u32::from(unchoked[at]));
    }
    assert!(served.iter().all(|s| (60..=100).contains(s)), "{served:?}");
}

#[test]
fn another_policy_serves_whoever_asks_already() {
    let mut rig = Rig::seed(2);
    let peers = [rig.sink(1), rig.sink(2)];
    for peer in peers {
        rig.receive(peer, Message::Request(block(0, 0)));
    }
    rig.load_all();
    for policy in [Policy::Fair, Policy::Fleet] {
        rig.rest.clear();
        rig.swarm.set_policy(rig.now, policy);
        rig.drain();
        for peer in peers {
            let told =
                |output: &Output| matches!(output, Output::Upload { peer: to } if *to == peer);
            assert!(rig.rest.iter().any(told), "{policy:?}");
        }
    }
    assert!(rig.swarm.next_upload(rig.now, peers[0]).is_some());
}

#[test]
fn notes_say_why_somebody_has_a_slot() {
    let mut config = config();
    config.policy = Policy::Fair;
    config.notes = true;
    let mut rig = Rig::new(config, Bitfield::all(1));
    rig.sink(1);
    let notes: Vec<String> = std::iter::from_fn(|| rig.swarm.poll_note())
        .map(|note| note.to_string())
        .collect();
    assert_eq!(notes, ["10.0.0.1:40000: unchoked: a slot is free"]);
}

fn suggested(told: &[Message<'static>]) -> Option<u32> {
    told.iter().find_map(|message| match message {
        Message::Suggest { piece } => Some(*piece),
        _ => None,
    })
}

/// Sends blocks to a peer until `count` went out.
fn send(rig: &mut Rig, peer: PeerKey, count: usize) -> Vec<BlockRequest> {
    let mut sent = Vec::new();
    while sent.len() < count {
        match rig.swarm.next_upload(rig.now, peer) {
            Some(upload) => sent.push(upload.request),
            None => assert!(rig.swarm.has_upload(peer), "there is more to send"),
        }
        rig.drain();
        rig.load_all();
    }
    sent
}

#[test]
fn what_was_promised_to_a_peer_that_is_choked_is_promised_to_the_next() {
    let mut rig = fair(Bitfield::all(4));
    let peers: Vec<PeerKey> = (1..=5).map(|number| rig.sink(number)).collect();
    let first = suggested(&rig.told(peers[0])).expect("it has a slot");
    assert_eq!(rig.told(peers[4]), []);
    rig.receive(peers[0], Message::NotInterested);
    rig.pass(SECOND / 10);
    assert_eq!(suggested(&rig.told(peers[4])), Some(first));
}

#[test]
fn a_seed_answers_first_what_it_promised_and_then_what_is_needed_most() {
    let mut config = config();
    config.policy = Policy::Fair;
    (config.turns_min, config.turns_max) = (1, 1);
    let mut rig = Rig::new(config, Bitfield::all(5));
    let (first, second) = (rig.sink(1), rig.sink(2));
    let piece = suggested(&rig.told(first)).expect("it has a slot");
    let promised = suggested(&rig.told(second)).expect("it has a slot");
    (0..4).for_each(|index| rig.receive(first, Message::Request(block(piece, index))));
    let other = (0..5).find(|other| ![piece, promised].contains(other));
    for wanted in [piece, other.expect("five pieces"), promised] {
        (0..4).for_each(|index| rig.receive(second, Message::Request(block(wanted, index))));
    }
    send(&mut rig, first, 4);
    let sent = send(&mut rig, second, 12);
    let pieces: Vec<u32> = sent.iter().step_by(4).map(|sent| sent.piece).collect();
    assert_eq!(pieces, [promised, other.expect("five pieces"), piece]);
}

#[test]
fn a_seed_cuts_no_piece_and_passes_the_slot_on_when_it_is_whole() {
    let mut rig = fair(Bitfield::all(8));
    let peers: Vec<PeerKey> = (1..=5).map(|number| rig.sink(number)).collect();
    for &peer in &peers[..4] {
        let piece = suggested(&rig.told(peer)).expect("it has a slot");
        (0..4).for_each(|index| rig.receive(peer, Message::Request(block(piece, index))));
    }
    rig.load_all();
    let served: Vec<PeerKey> = peers[..4]
        .iter()
        .copied()
        .filter(|&p| rig.swarm.has_upload(p))
        .collect();
    served
        .iter()
        .for_each(|&peer| drop(send(&mut rig, peer, 1)));
    for _ in 0..60 {
        rig.pass(SECOND);
        peers
            .iter()
            .for_each(|&peer| rig.receive(peer, Message::KeepAlive));
    }
    let choked = |rig: &mut Rig, peer| rig.told(peer).contains(&Message::Choke);
    assert!(served.len() >= 3);
    assert!(served.iter().all(|&peer| !choked(&mut rig, peer)));
    send(&mut rig, served[0], 3);
    assert!(choked(&mut rig, served[0]), "its piece is whole");
}

#[test]
fn what_a_seed_suggests_is_asked_for_before_what_others_left() {
    let mut rig = fair(Bitfield::none(100));
    let first = rig.source(1);
    let asked = rig.asked(first);
    rig.land(first, asked[0]);
    rig.input(Input::Disconnected { peer: first });
    let begun = |piece: &u32| asked.iter().any(|request| request.piece == *piece);
    let piece = (0..100)
        .find(|piece| !begun(piece))
        .expect("it is not asked for all");
    let second = rig.link(2, true);
    rig.receive(second, Message::HaveAll);
    rig.receive(second, Message::Suggest { piece });
    rig.receive(second, Message::Unchoke);
    let pieces: Vec<u32> = rig
        .asked(second)
        .iter()
        .map(|request| request.piece)
        .collect();
    assert_eq!((pieces[0], pieces[4]), (piece, asked[0].piece));
}

#[test]
fn pieces_that_were_asked_for_in_vain_are_chosen_anew() {
    let mut rig = fair(Bitfield::none(100));
    let source = rig.source(1);
    let asked = rig.asked(source);
    rig.land(source, asked[0]);
    rig.receive(source, Message::Choke);
    for &request in &asked[1..] {
        rig.receive(source, Message::Reject(request));
    }
    assert_eq!(rig.swarm.arriving, [asked[0].piece], "a part of it is here");
}

#[test]
fn who_took_and_never_gave_comes_last_and_has_one_slot_at_most() {
    let mut rig = fair(Bitfield::none(100));
    let peers: Vec<PeerKey> = (1..=8).map(|number| rig.link(number, true)).collect();
    for &debtor in &peers[..6] {
        let account = rig.swarm.peers[debtor.slot()].account;
        rig.swarm.ledger.account_mut(account).up_bytes = u64::from(PIECE_LEN);
    }
    let unchoked = |rig: &mut Rig, peers: &[PeerKey]| {
        let has_slot = |peer: &&PeerKey| !rig.swarm.peers[peer.slot()].am_choking;
        peers.iter().filter(has_slot).count()
    };
    peers[..6]
        .iter()
        .for_each(|&peer| rig.receive(peer, Message::Interested));
    assert_eq!(unchoked(&mut rig, &peers), 1);
    peers[6..]
        .iter()
        .for_each(|&peer| rig.receive(peer, Message::Interested));
    assert_eq!(unchoked(&mut rig, &peers[6..]), 2);
    for _ in 0..100 {
        rig.pass(SECOND);
        peers
            .iter()
            .for_each(|&peer| rig.receive(peer, Message::KeepAlive));
        assert_eq!(unchoked(&mut rig, &peers[..6]), 1);
    }
}

#[test]
fn a_debtor_is_sent_nothing_while_somebody_else_asks() {
    let mut have = Bitfield::none(8);
    (0..4).for_each(|piece| assert!(have.set(piece)));
    let mut rig = fair(have);
    let [debtor, other] = [1, 2].map(|number| rig.sink(number));
    let account = rig.swarm.peers[debtor.slot()].account;
    rig.swarm.ledger.account_mut(account).up_bytes = u64::from(2 * PIECE_LEN);
    for (peer, piece) in [(debtor, 0), (other, 1)] {
        for index in 0..2 {
            rig.receive(peer, Message::Request(block(piece, index)));
        }
    }
    assert!(!rig.swarm.has_upload(debtor) && rig.swarm.has_upload(other));
    assert_eq!(send(&mut rig, other, 1).len(), 1);
    assert!(!rig.swarm.has_upload(debtor));
    assert!(rig.swarm.next_upload(rig.now, other).is_some());
    rig.drain();
    assert!(rig.swarm.has_upload(debtor), "nobody else asks");
    let is_woken = |output: &Output| matches!(output, Output::Upload { peer } if *peer == debtor);
    assert!(rig.wants(is_woken));
}

#[test]
fn of_two_that_owe_nothing_the_one_of_more_use_is_tried_more_often() {
    let mut tried = 0;
    for seed in 0..40 {
        let mut config = config();
        (config.policy, config.seed, config.upload_slots_max) = (Policy::Fair, seed, 1);
        let mut rig = Rig::new(config, Bitfield::none(20));
        let holder = rig.sink(1);
        let less = rig.holder(2, &[0, 1, 2, 3, 4]);
        let more = rig.holder(3, &[5, 6, 7, 8, 9, 10, 11]);
        for peer in [less, more] {
            rig.receive(peer, Message::Interested);
        }
        rig.told(more);
        rig.receive(holder, Message::NotInterested);
        rig.pass(SECOND / 10);
        tried += u32::from(rig.told(more).contains(&Message::Unchoke));
    }
    // By itself half of the time; of two drawn, in three cases of four.
    assert!((25..40).contains(&tried), "{tried}");
}

#[test]
fn a_seed_serves_those_last_from_whom_nobody_has_what_they_got_but_does_not_forget_them() {
    let mut config = config();
    (config.policy, config.upload_slots_max) = (Policy::Fair, 1);
    let mut rig = Rig::new(config, Bitfield::all(400));
    let peers = [1, 2, 3].map(|number| rig.sink(number));
    let keeper = peers[0];
    let (mut slot, mut promised) = (None, [0; 3]);
    let mut served: [Vec<u32>; 3] = Default::default();
    for second in 0..200 {
        rig.pass(SECOND);
        for (peer, message) in std::mem::take(&mut rig.sent) {
            match message {
                Message::Unchoke => slot = Some(peer),
                Message::Suggest { piece } => promised[peer.slot()] = piece,
                _ => {}
            }
        }
        for peer in peers {
            rig.receive(peer, Message::KeepAlive);
        }
        let holder = slot.expect("one has the slot");
        let piece = promised[holder.slot()];
        (0..4).for_each(|index| rig.receive(holder, Message::Request(block(piece, index))));
        send(&mut rig, holder, 4);
        served[holder.slot()].push(second);
        let passes_on = |peer: &PeerKey| holder != keeper && *peer != keeper;
        for peer in peers.into_iter().filter(|p| *p == holder || passes_on(p)) {
            rig.receive(peer, Message::Have { piece });
        }
    }
    let waits = served[keeper.slot()].windows(2);
    let waits: Vec<u32> = waits.map(|pair| pair[1] - pair[0]).collect();
    let long = waits.iter().filter(|&&wait| wait >= 60).count();
    assert!((2..=4).contains(&long), "{waits:?}");
    assert!(waits.len() < 10, "{waits:?}");
    assert!(served.iter().skip(1).all(|times| times.len() > 80));
}
