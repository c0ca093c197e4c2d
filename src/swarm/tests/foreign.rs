//! Clients that are not of our kind: their habits, and what they do not suffer.

use super::*;

/// What aria2 measures its limits in.
const ARIA2_WINDOW: Duration = Duration::from_secs(5);

fn hello(number: u8, dialled: bool, greeted_at: Time) -> Hello {
    let mut remote = addr(number);
    if !dialled {
        remote.set_port(40_000);
    }
    Hello {
        id: foreign_id(number),
        remote,
        dialled,
        fast: true,
        greeted_at,
    }
}

/// A tracker that knows only addresses named it.
fn nameless(number: u8) -> Found {
    Found {
        id: None,
        ..found(number)
    }
}

fn says(rig: &mut Rig, peer: PeerKey, said: Said) {
    rig.input(Input::Extended { peer, said });
}

fn upload_only(is_upload_only: bool) -> Said {
    Said {
        is_upload_only: Some(is_upload_only),
        ..Said::default()
    }
}

fn port(port: u16) -> Said {
    Said {
        port: Some(port),
        ..Said::default()
    }
}

fn dials(rig: &mut Rig) -> Vec<SocketAddr> {
    let outputs = std::mem::take(&mut rig.rest).into_iter();
    let dialled = outputs.filter_map(|output| match output {
        Output::Connect { addr } => Some(addr),
        _ => None,
    });
    dialled.collect()
}

#[test]
fn choke_changes_stay_within_what_aria2_suffers() {
    for seed in 1..=50 {
        let mut rng = Rng::new(seed);
        let mut config = config();
        config.upload_slots_max = 1 + rng.below(3);
        config.policy = [Policy::Fleet, Policy::Fair][rng.below(2)];
        let have = if rng.below(2) == 0 {
            Bitfield::all(1)
        } else {
            Bitfield::none(1)
        };
        let mut rig = Rig::new(config, have);
        let peers: Vec<PeerKey> = (1..=6).map(|number| rig.link_foreign(number)).collect();
        let mut changes = vec![Vec::new(); peers.len()];
        for _ in 0..400 {
            let peer = peers[rng.below(peers.len())];
            let message = if rng.below(3) == 0 {
                Message::NotInterested
            } else {
                Message::Interested
            };
            rig.receive(peer, message);
            rig.pass(Duration::from_millis(rng.below(1_500) as u64));
            for (peer, message) in std::mem::take(&mut rig.sent) {
                if matches!(message, Message::Choke | Message::Unchoke) {
                    changes[peer.slot()].push(rig.now);
                }
            }
        }
        assert!(
            changes.iter().map(Vec::len).sum::<usize>() > 20,
            "they take turns"
        );
        for pair in changes.iter().flat_map(|times| times.windows(2)) {
            // A change is noticed up to 1.5 s after it was sent.
            let apart = pair[1].since(pair[0]) + Duration::from_millis(1_500);
            assert!(apart > ARIA2_WINDOW, "seed {seed}: {apart:?}");
        }
    }
}

#[test]
fn one_who_wants_in_again_right_after_a_choke_waits_its_time_and_is_served_then() {
    let mut config = config();
    config.upload_slots_max = 1;
    let mut rig = Rig::new(config, Bitfield::all(1));
    let first = rig.link_foreign(1);
    assert_eq!(rig.told(first).last(), Some(&Message::Unchoke));
    let second = rig.link_foreign(2);
    rig.receive(second, Message::Interested);
    rig.pass(8 * SECOND);
    assert_eq!(
        rig.told(first),
        [Message::Choke],
        "it never wanted anything"
    );
    rig.input(Input::Disconnected { peer: second });
    rig.receive(first, Message::Interested);
    rig.pass(3 * SECOND);
    assert_eq!(rig.told(first), [], "too soon after the choke");
    rig.pass(5 * SECOND);
    assert_eq!(rig.told(first), [Message::Unchoke]);
}

#[test]
fn keepalives_are_far_apart_whatever_else_is_said() {
    let mut rig = Rig::getter(1);
    let peer = rig.link_foreign(1);
    let mut sent_at = Vec::new();
    for _ in 0..1_000 {
        rig.receive(peer, Message::KeepAlive);
        rig.pass(SECOND);
        let told = rig.told(peer).into_iter();
        let keepalives = told.filter(|message| *message == Message::KeepAlive);
        sent_at.extend(keepalives.map(|_| rig.now));
    }
    assert_eq!(sent_at.len(), 10);
    let mut pairs = sent_at.windows(2);
    assert!(pairs.all(|pair| pair[1].since(pair[0]) > 2 * ARIA2_WINDOW));
}

#[test]
fn no_more_is_asked_of_a_peer_than_it_takes() {
    let mut rig = Rig::getter(20);
    let peer = rig.link_foreign(1);
    let said = Said {
        requests_max: Some(3),
        ..Said::default()
    };
    says(&mut rig, peer, said);
    rig.receive(peer, Message::HaveAll);
    rig.receive(peer, Message::Unchoke);
    assert_eq!(rig.asked(peer).len(), 3);
}

#[test]
fn of_two_conns_the_one_on_which_our_handshake_went_out_first_stays() {
    // It is the one whose handshake came first to the other side. Each case: when we greeted on the conn that we
    // dialled, when on theirs, and in which order their greetings came.
    let at = |millis| Time::ZERO + Duration::from_millis(millis);
    for (ours, theirs, ours_comes_first, ours_stays) in [
        (10, 12, true, true),
        (10, 12, false, true),
        (14, 12, false, false),
        (12, 12, false, false),
    ] {
        let mut rig = Rig::getter(1);
        rig.input(Input::Found {
            peers: &[nameless(1)],
        });
        assert_eq!(dials(&mut rig), [addr(1)]);
        let (ours, theirs) = (hello(1, true, at(ours)), hello(1, false, at(theirs)));
        let (first, second) = if ours_comes_first {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        rig.try_link(first).expect("there is no other yet");
        let result = rig.try_link(second);
        assert_eq!(result.is_ok(), ours_comes_first != ours_stays);
        assert_eq!(rig.swarm.link_count(), 1);
        rig.pass(60 * SECOND);
        assert_eq!(dials(&mut rig), [], "it is linked, and not dialled");
    }
}

#[test]
fn when_both_sides_closed_another_conn_the_peer_is_dialled_again_at_once() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Found {
        peers: &[nameless(1)],
    });
    assert_eq!(dials(&mut rig), [addr(1)]);
    let theirs = rig.try_link(hello(1, false, rig.now)).expect("welcome");
    let ours = hello(1, true, rig.now + SECOND);
    assert_eq!(rig.try_link(ours), Err(Reason::Duplicate));
    rig.input(Input::Disconnected { peer: theirs });
    rig.pass(SECOND);
    assert_eq!(dials(&mut rig), [addr(1)]);
}

#[test]
fn a_dial_that_was_refused_because_the_other_side_dialled_too_is_not_repeated() {
    // Whether it said where it listens before the refusal came or after it.
    for says_first in [true, false] {
        let mut rig = Rig::getter(1);
        rig.input(Input::Found {
            peers: &[nameless(1)],
        });
        assert_eq!(dials(&mut rig), [addr(1)]);
        let peer = rig.try_link(hello(1, false, rig.now)).expect("welcome");
        if says_first {
            says(&mut rig, peer, port(6881));
        }
        rig.input(Input::DialFailed { addr: addr(1) });
        if !says_first {
            says(&mut rig, peer, port(6881));
        }
        rig.pass(60 * SECOND);
        assert_eq!(dials(&mut rig), []);
        rig.input(Input::Found {
            peers: &[nameless(1)],
        });
        assert_eq!(dials(&mut rig), [], "named again, and linked still");
    }
}

#[test]
fn one_who_dialled_us_is_dialled_when_the_link_breaks() {
    let mut rig = Rig::getter(1);
    let peer = rig.link_foreign(1);
    says(&mut rig, peer, port(6881));
    rig.pass(30 * SECOND);
    rig.input(Input::Disconnected { peer });
    rig.pass(SECOND);
    assert_eq!(dials(&mut rig), [addr(1)]);
}

#[test]
fn a_client_that_drops_us_right_away_is_not_dialled_in_a_loop() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Found {
        peers: &[nameless(1)],
    });
    let mut count = 0;
    for _ in 0..600 {
        for _ in dials(&mut rig) {
            count += 1;
            let peer = rig.try_link(hello(1, true, rig.now)).expect("welcome");
            rig.input(Input::Disconnected { peer });
        }
        rig.pass(SECOND / 10);
    }
    assert!((6..=10).contains(&count), "{count} dials in a minute");
}

#[test]
fn who_only_uploads_needs_no_slot() {
    let mut config = config();
    config.upload_slots_max = 1;
    let mut rig = Rig::new(config, Bitfield::none(1));
    let seed = rig.link_foreign(1);
    assert_eq!(rig.told(seed), [Message::Unchoke]);
    says(&mut rig, seed, upload_only(true));
    let other = rig.link_foreign(2);
    assert_eq!(rig.told(other), [Message::Unchoke], "the slot is free");
    rig.receive(other, Message::Interested);
    rig.receive(seed, Message::Interested);
    assert_eq!(rig.told(seed), [Message::Choke], "it downloads after all");
    rig.pass(15 * SECOND);
    assert_eq!(rig.told(seed), [Message::Unchoke], "when it is its turn");
}

#[test]
fn two_who_only_upload_part_and_do_not_meet_again() {
    let mut rig = Rig::seed(2);
    rig.input(Input::Found {
        peers: &[nameless(1)],
    });
    assert_eq!(dials(&mut rig), [addr(1)]);
    let peer = rig.try_link(hello(1, true, rig.now)).expect("welcome");
    rig.receive(peer, Message::Bitfield { bytes: &[0x80] });
    assert_eq!(rig.closed, []);
    says(&mut rig, peer, upload_only(true));
    assert_eq!(rig.closed, [(peer, Reason::BothComplete)]);
    rig.pass(60 * SECOND);
    rig.input(Input::Found {
        peers: &[nameless(1)],
    });
    rig.pass(600 * SECOND);
    assert_eq!(dials(&mut rig), []);
}

#[test]
fn when_the_last_piece_is_here_who_only_uploads_is_let_go() {
    let mut rig = Rig::getter(1);
    let seed = rig.source(1);
    let partial = rig.link_foreign(2);
    says(&mut rig, partial, upload_only(true));
    let leech = rig.link_foreign(3);
    rig.land_all(seed);
    assert_eq!(rig.judge(true), 1);
    let mut gone: Vec<PeerKey> = rig.closed.iter().map(|&(peer, _)| peer).collect();
    gone.sort();
    assert_eq!(gone, [seed, partial]);
    assert!(
        rig.closed
            .iter()
            .all(|&(_, why)| why == Reason::BothComplete)
    );
    assert!(rig.swarm.links().all(|link| link.key == leech));
}
