//! Connect, announce and scrape over UDP.

use std::net::IpAddr;

use shoal::base::InfoHash;
use shoal::wire::announce::{AnnounceEvent, ScrapeEntry};
use shoal::wire::udp::{ReplyBody, Request, RequestBody};

use crate::client::{Udp, announce, at_v4, at_v6, ports, start, start_with_content};

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

#[test]
fn members_of_one_family_are_told_of_one_another() {
    let (tracker, hash) = start_with_content();
    for (ip, addr) in [(V4, at_v4(&tracker)), (V6, at_v6(&tracker))] {
        let mut udp = Udp::connect(ip, addr);
        assert_eq!(udp.announce(&announce(hash, 1)).peers, []);
        let mut seed = announce(hash, 2);
        seed.left = 0;
        let reply = udp.announce(&seed);
        assert_eq!(ports(reply.peers.iter().map(|peer| peer.addr)), [1001]);
        assert!(reply.peers.iter().all(|peer| peer.addr.ip() == ip));
        assert_eq!(reply.interval_s, 30);
        let mut stopped = seed;
        stopped.event = AnnounceEvent::Stopped;
        assert_eq!(udp.announce(&stopped).peers, []);
    }
    // Both families are one swarm: what is counted is the sum.
    let mut udp = Udp::connect(V4, at_v4(&tracker));
    assert_eq!(udp.announce(&announce(hash, 3)).leechers, 3);
}

#[test]
fn figures_come_in_the_order_of_the_request_and_a_completion_counts_once() {
    let (tracker, hash) = start_with_content();
    let mut udp = Udp::connect(V4, at_v4(&tracker));
    let mut member = announce(hash, 1);
    udp.announce(&member);
    for event in [
        AnnounceEvent::Completed,
        AnnounceEvent::Stopped,
        AnnounceEvent::Completed,
    ] {
        (member.event, member.left) = (event, 0);
        udp.announce(&member);
    }
    let connection_id = udp.connection_id;
    let hashes = vec![InfoHash([5; 20]), hash, hash];
    let known = ScrapeEntry {
        complete: 1,
        downloaded: 1,
        incomplete: 0,
    };
    let scrape = RequestBody::Scrape {
        connection_id,
        hashes,
    };
    let expected = ReplyBody::Scrape(vec![ScrapeEntry::default(), known, known]);
    assert_eq!(udp.ask(scrape), expected);
}

#[test]
fn a_content_that_is_not_tracked_is_an_error_unless_the_tracker_is_open() {
    let (tracker, _) = start_with_content();
    let mut udp = Udp::connect(V4, at_v4(&tracker));
    let body = udp.body(announce(InfoHash([5; 20]), 1));
    let expected = ReplyBody::Error("the content is not known here".into());
    assert_eq!(udp.ask(body), expected);
    let tracker = start(&["--open"]);
    let mut udp = Udp::connect(V4, at_v4(&tracker));
    assert_eq!(udp.announce(&announce(InfoHash([5; 20]), 1)).leechers, 1);
}

#[test]
fn options_behind_an_announce_are_read_and_an_answer_has_nothing_behind_it() {
    let (tracker, hash) = start_with_content();
    let mut udp = Udp::connect(V4, at_v4(&tracker));
    let mut bytes = Vec::new();
    let body = udp.body(announce(hash, 1));
    Request {
        transaction: 9,
        body,
    }
    .put(&mut bytes);
    for (options, is_answered) in [
        (&[2, 1, b'/'][..], true),
        (&[1, 1, 0, 77], true),
        (&[2, 9, b'/'], false),
    ] {
        let datagram = [&bytes[..], options].concat();
        udp.socket.send(&datagram).expect("it goes out");
        match is_answered {
            true => {
                let reply = udp.receive(crate::harness::PATIENCE).expect("an answer");
                assert_eq!(reply.len(), 20, "nobody else is there");
            }
            false => assert!(udp.is_silent()),
        }
    }
}

#[test]
fn an_id_that_was_not_given_to_this_address_is_met_with_silence() {
    let (tracker, hash) = start_with_content();
    let mine = Udp::connect(V4, at_v4(&tracker));
    let mut other = Udp::open([127, 0, 0, 2].into(), at_v4(&tracker));
    let mut of_v6 = Udp::open(V6, at_v6(&tracker));
    let mut me = Udp::open(V4, at_v4(&tracker));
    for bit in [0, 1, 31, 32, 63] {
        me.connection_id = mine.connection_id ^ (1 << bit);
        me.send(me.body(announce(hash, 1)));
    }
    for forger in [&mut other, &mut of_v6] {
        forger.connection_id = mine.connection_id;
        forger.send(forger.body(announce(hash, 1)));
        let scrape = RequestBody::Scrape {
            connection_id: mine.connection_id,
            hashes: vec![hash],
        };
        forger.send(scrape);
    }
    for silent in [&mut other, &mut of_v6, &mut me] {
        assert!(silent.is_silent());
    }
    me.connection_id = mine.connection_id;
    assert_eq!(
        me.announce(&announce(hash, 1)).leechers,
        1,
        "the only one that counts"
    );
}

#[test]
fn a_member_cannot_be_stopped_from_another_address() {
    let (tracker, hash) = start_with_content();
    let mut mine = Udp::connect(V4, at_v4(&tracker));
    mine.announce(&announce(hash, 1));
    let mut stop = announce(hash, 1);
    stop.event = AnnounceEvent::Stopped;
    let mut other = Udp::connect([127, 0, 0, 2].into(), at_v4(&tracker));
    assert_eq!(other.announce(&stop).leechers, 1);
    assert_eq!(mine.announce(&stop).leechers, 0);
}
