//! One swarm for all: native, HTTP and UDP members see each other.

use shoal::wire::announce::AnnounceEvent;
use shoal::wire::native::{JoinReply, Member, Reply, Request};

use crate::client::{Http, Udp, announce, at_v4, at_v6, ports, proc_number, start_with_content};
use crate::harness::{OwnPush, peer_id};

fn foreign(reply: &JoinReply<'_>) -> Vec<(u16, bool)> {
    let members = reply.members.iter().filter(|member| member.foreign);
    let port = |member: &Member| member.addrs.iter().next().expect("an address").port();
    let mut members: Vec<_> = members.map(|member| (port(&member), member.seed)).collect();
    members.sort_unstable();
    members
}

#[test]
fn natives_and_foreigners_are_named_to_each_other() {
    let (tracker, hash) = start_with_content();
    let mut native = tracker.client(10);
    native.join(hash, 8, false);
    let mut http = Http::connect(at_v4(&tracker));
    let named = http.announce_with(&announce(hash, 1), "&compact=0").peers;
    assert_eq!(named.len(), 1);
    assert_eq!(
        (named[0].addr.port(), named[0].peer_id),
        (1010, Some(peer_id(10)))
    );
    // The native one is told of the newcomer, so that it can dial who cannot dial it.
    assert_eq!(native.next_push(), OwnPush::Joined(1, vec![peer_id(1)]));

    let mut udp = Udp::connect([127, 0, 0, 1].into(), at_v4(&tracker));
    let mut seed = announce(hash, 2);
    seed.left = 0;
    let named = udp.announce(&seed);
    assert_eq!(
        ports(named.peers.iter().map(|peer| peer.addr)),
        [1001, 1010]
    );
    assert_eq!((named.leechers, named.seeders), (2, 1));
    assert_eq!(native.next_push(), OwnPush::Joined(1, vec![peer_id(2)]));

    let joined = tracker.client(11).join(hash, 8, false);
    assert_eq!(joined.members.len(), 3);
    assert_eq!(foreign(&joined), [(1001, false), (1002, true)]);
    match native.ask(Request::AvailQuery {
        slot: 1,
        first: 0,
        count: 8,
    }) {
        Reply::Avail(avail) => {
            assert_eq!(avail.unknown, 1);
            assert!(
                avail.counts.iter().eq([1; 8]),
                "the foreign seed has everything"
            );
        }
        other => panic!("{other:?}"),
    }
    // Who announces again is no newcomer.
    seed.event = AnnounceEvent::None;
    udp.announce(&seed);
    native.ask(Request::Ping(1));
    assert!(
        native
            .pushes
            .iter()
            .all(|push| *push != OwnPush::Joined(1, vec![peer_id(2)]))
    );
}

#[test]
fn both_families_and_all_fronts_are_one_swarm_in_two_threads() {
    let (tracker, hash) = start_with_content();
    Http::connect(at_v4(&tracker)).announce(&announce(hash, 1));
    Http::connect(at_v6(&tracker)).announce(&announce(hash, 1));
    Udp::connect([127, 0, 0, 1].into(), at_v4(&tracker)).announce(&announce(hash, 3));
    let v6 = [0, 0, 0, 0, 0, 0, 0, 1].into();
    Udp::connect(v6, at_v6(&tracker)).announce(&announce(hash, 4));
    tracker.client(10).join(hash, 8, true);
    // The native one has left, which may be seen only after this.
    let ask = || Http::connect(at_v6(&tracker)).announce(&announce(hash, 5));
    let swarm = std::iter::repeat_with(ask).find(|reply| reply.swarm.complete == 0);
    let swarm = swarm.expect("it goes on for ever");
    assert_eq!(swarm.swarm.incomplete, 5);
    let named = ports(swarm.peers.iter().map(|peer| peer.addr));
    assert_eq!(named, [1001, 1001, 1003, 1004], "of both families");
    assert_eq!(proc_number(&tracker, "status", "Threads:"), 2);
}

#[test]
fn a_native_that_announces_as_well_is_one_member() {
    let (tracker, hash) = start_with_content();
    let mut http = Http::connect(at_v4(&tracker));
    assert_eq!(http.announce(&announce(hash, 10)).swarm.incomplete, 1);
    let mut native = tracker.client(10);
    native.join(hash, 8, false);
    assert_eq!(http.announce(&announce(hash, 10)).swarm.incomplete, 1);
    assert_eq!(http.announce(&announce(hash, 11)).swarm.incomplete, 2);
}
