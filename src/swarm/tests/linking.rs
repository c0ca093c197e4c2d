//! Who is let in, which of two conns stays, and when we look for more.

use super::*;

fn hello(number: u8, dialled: bool) -> Hello {
    let mut remote = addr(number);
    if !dialled {
        remote.set_port(40_000);
    }
    Hello {
        id: id(number),
        remote,
        dialled,
        fast: true,
        greeted_at: Time::ZERO,
    }
}

#[test]
fn ourselves_and_more_links_than_allowed_are_refused() {
    let mut config = config();
    config.links_max = 1;
    let mut rig = Rig::new(config, Bitfield::none(1));
    assert_eq!(rig.try_link(hello(100, false)), Err(Reason::Ourselves));
    rig.link(1, true);
    assert_eq!(rig.try_link(hello(2, false)), Err(Reason::Full));
}

#[test]
fn one_address_has_only_so_many_links_except_loopback() {
    let mut config = config();
    config.links_per_ip_max = 3;
    let mut rig = Rig::new(config, Bitfield::none(1));
    for (host, admitted) in [([10, 0, 0, 1], 3), ([10, 0, 0, 2], 3), ([127, 0, 0, 1], 10)] {
        let mut results = Vec::new();
        for number in 0..10 {
            let remote = (host, 40_000 + u16::from(number)).into();
            let id = id(host[0] + host[3] * 10 + number);
            results.push(rig.try_link(Hello {
                id,
                remote,
                ..hello(number, false)
            }));
        }
        assert!(results[..admitted].iter().all(Result::is_ok), "{host:?}");
        let refused = &results[admitted..];
        assert!(refused.iter().all(|r| *r == Err(Reason::Crowded)));
    }
}

#[test]
fn of_two_conns_the_one_that_the_greater_id_dialled_stays() {
    // Our id is 100: against 1 our dial stays, against 200 theirs.
    for (number, ours_stays) in [(1, true), (200, false)] {
        for ours_first in [true, false] {
            let mut rig = Rig::getter(1);
            rig.input(Input::Found {
                peers: &[found(number)],
            });
            let first = rig.try_link(hello(number, ours_first));
            let first = first.expect("there is no other yet");
            let second = rig.try_link(hello(number, !ours_first));
            if ours_first == ours_stays {
                assert_eq!((second, rig.closed.len()), (Err(Reason::Duplicate), 0));
            } else {
                assert!(second.is_ok());
                assert_eq!(rig.closed, [(first, Reason::Duplicate)]);
            }
            rig.pass(60 * SECOND);
            assert_eq!(rig.swarm.link_count(), 1);
            let dials = rig.rest.iter();
            let dials = dials.filter(|output| matches!(output, Output::Connect { .. }));
            assert_eq!(dials.count(), 1, "it is not dialled again");
        }
    }
}

#[test]
fn a_second_conn_in_the_same_direction_is_refused() {
    let mut rig = Rig::getter(1);
    rig.link(1, true);
    assert_eq!(rig.try_link(hello(1, false)), Err(Reason::Duplicate));
    assert_eq!(rig.swarm.link_count(), 1);
}

#[test]
fn a_dial_that_gave_way_to_the_other_sides_is_not_repeated() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Found {
        peers: &[found(200)],
    });
    let to = addr(200);
    assert!(rig.wants(|output| matches!(output, Output::Connect { addr } if *addr == to)));
    rig.try_link(hello(200, false)).expect("theirs comes first");
    rig.input(Input::DialFailed { addr: to });
    rig.pass(60 * SECOND);
    assert!(!rig.wants(|output| matches!(output, Output::Connect { .. })));
}

#[test]
fn a_newcomer_is_dialled_only_when_it_has_not_dialled_us() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Newcomers {
        peers: &[found(1), found(2)],
    });
    rig.pass(SECOND / 2);
    rig.link(1, true);
    assert!(!rig.wants(|output| matches!(output, Output::Connect { .. })));
    rig.pass(SECOND);
    let dials = rig.rest.iter().filter_map(|output| match output {
        Output::Connect { addr } => Some(*addr),
        _ => None,
    });
    assert_eq!(dials.collect::<Vec<_>>(), [addr(2)]);
}

#[test]
fn two_who_have_everything_part_and_do_not_meet_again() {
    let mut rig = Rig::seed(2);
    rig.input(Input::Found { peers: &[found(1)] });
    let peer = rig.try_link(hello(1, true)).expect("it is welcome");
    rig.rest.clear();
    rig.receive(peer, Message::HaveAll);
    assert_eq!(rig.closed, [(peer, Reason::BothComplete)]);
    rig.pass(600 * SECOND);
    assert!(!rig.wants(|output| matches!(output, Output::Connect { .. })));
    assert_eq!(
        rig.swarm.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
}

#[test]
fn more_peers_are_called_for_even_if_none_was_ever_there() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Joined {
        batch: Duration::from_millis(250),
    });
    rig.input(Input::Found { peers: &[] });
    rig.pass(60 * SECOND);
    let calls = rig.rest.iter();
    let calls = calls.filter(|output| matches!(output, Output::WantPeers));
    assert_eq!(calls.count(), 5, "after 2, 6, 14, 30 and 60 s");
}

#[test]
fn what_was_verified_while_we_joined_is_reported() {
    let mut rig = Rig::getter(2);
    let peer = rig.source(1);
    for block in rig.asked(peer).into_iter().take(4) {
        rig.land(peer, block);
    }
    assert_eq!(rig.judge(true), 1);
    rig.input(Input::Joined {
        batch: Duration::from_millis(250),
    });
    rig.pass(SECOND);
    assert!(rig.wants(|output| matches!(output, Output::Report)));
    let mut pieces = Vec::new();
    rig.swarm.take_report(rig.now, &mut pieces);
    assert_eq!(pieces.len(), 1);
}

#[test]
fn a_silent_link_is_closed_after_three_minutes_and_kept_alive_until_then() {
    let mut rig = Rig::getter(1);
    let peer = rig.link(1, true);
    rig.pass(179 * SECOND);
    assert_eq!(rig.closed, []);
    let told = rig.told(peer);
    let keepalives = told.iter().filter(|&&m| m == Message::KeepAlive);
    assert_eq!(keepalives.count(), 1);
    rig.pass(2 * SECOND);
    assert_eq!(rig.closed, [(peer, Reason::Silent)]);
}

#[test]
fn taking_anothers_name_harms_only_oneself() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Found { peers: &[found(1)] });
    let hello = Hello {
        remote: ([10, 0, 0, 66], 40_000).into(),
        ..hello(1, false)
    };
    let liar = rig.try_link(hello).expect("nobody knows yet");
    rig.receive(liar, Message::HaveAll);
    rig.receive(liar, Message::Unchoke);
    rig.land_all(liar);
    rig.rest
        .retain(|output| matches!(output, Output::Check { .. }));
    assert_eq!(rig.judge(false), 1);
    assert_eq!(rig.closed, [(liar, Reason::CorruptPiece)]);
    let accused = |output: &Output| match output {
        Output::Accuse { addr, .. } => addr.ip() == hello.remote.ip(),
        _ => false,
    };
    assert!(rig.wants(accused));
    assert!(
        rig.try_link(Hello {
            remote: addr(1),
            ..hello
        })
        .is_ok(),
        "the one who has the name"
    );
}

#[test]
fn bans_hit_the_sender_even_when_there_are_more_peers_than_accounts() {
    let mut rig = Rig::getter(1);
    for port in 1..=10_001 {
        let remote = ([10, 0, 0, 7], port).into();
        let hello = Hello {
            remote,
            ..hello(7, false)
        };
        let peer = rig.try_link(hello).expect("it is welcome");
        rig.input(Input::Disconnected { peer });
    }
    let peer = rig.source(1);
    rig.land_all(peer);
    assert_eq!(rig.judge(false), 1);
    let blamed = ([10, 0, 0, 1], 40_000).into();
    assert!(rig.wants(|output| matches!(output, Output::Accuse { addr, .. } if *addr == blamed)));
    assert!(rig.swarm.ledger().is_banned(None, blamed));
    assert!(!rig.swarm.ledger().is_banned(None, addr(7)));
}

#[test]
fn where_a_peer_listens_is_learnt_once() {
    let mut rig = Rig::getter(1);
    let peer = rig.link(1, true);
    for port in [6881, 6882, 6883] {
        let said = Said {
            port: Some(port),
            ..Said::default()
        };
        rig.input(Input::Extended { peer, said });
    }
    let links: Vec<SocketAddr> = rig.swarm.links().map(|link| link.addr).collect();
    assert_eq!(links, [addr(1)]);
    assert_eq!(rig.swarm.ledger().accounts().len(), 2);
}

#[test]
fn who_takes_anothers_name_does_not_take_its_link() {
    let mut rig = Rig::getter(1);
    rig.input(Input::Found {
        peers: &[found(200)],
    });
    rig.try_link(hello(200, true)).expect("we dialled it");
    let stranger = Hello {
        remote: ([10, 0, 0, 66], 40_000).into(),
        ..hello(200, false)
    };
    assert_eq!(rig.try_link(stranger), Err(Reason::Duplicate));
    assert_eq!(rig.closed, []);
    assert!(rig.try_link(hello(200, false)).is_ok(), "its owner may");
}
