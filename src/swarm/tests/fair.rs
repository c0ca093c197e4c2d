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
