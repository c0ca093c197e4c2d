//! Taking leave of the trackers.

use super::*;

#[test]
fn every_tracker_that_knows_us_hears_that_we_leave() {
    let mut world = World::new(&[&["http://a"], &["udp://b:1/x"], &["http://c"]], Some(10));
    let first = world.next();
    let connect = world.refuse(&first);
    let [(b, transaction, None)] = datagrams(&connect)[..] else {
        panic!("{connect:?}");
    };
    let announce = world.datagram(b, transaction, connection(77));
    let [(_, transaction, Some(AnnounceEvent::Started))] = datagrams(&announce)[..] else {
        panic!("{announce:?}");
    };
    world.datagram(b, transaction, taken(900, &[]));
    // The first comes back, and is asked but has not answered when we leave.
    let (_, a, _) = world.request();
    world.announcer.stop(world.now);
    world.announcer.stop(world.now);
    let outputs = world.outputs();
    let [(to, transaction, Some(AnnounceEvent::Stopped))] = datagrams(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(to, b);
    let (ask, to, request) = world.accept(&outputs);
    assert_eq!((to, event(&request)), (a, "stopped"));
    assert!(request.contains("&numwant=0"), "{request}");
    assert!(!world.announcer.is_over());
    world.answer(ask, TAKEN);
    world.datagram(b, transaction, taken(900, &["10.0.0.1:1"]));
    assert!(world.announcer.is_over());
    assert_eq!(world.announcer.poll_timeout(), None);
}

#[test]
fn leaving_takes_two_seconds_at_most_and_none_where_nobody_knows_us() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.answer(ask, TAKEN);
    world.announcer.stop(world.now);
    let (ask, ..) = {
        let outputs = world.outputs();
        world.accept(&outputs)
    };
    let start = world.now;
    assert!(world.next().is_empty(), "other news could go until now");
    assert_eq!(world.next(), [Output::Close { ask }]);
    assert_eq!(world.now.since(start), seconds(2));
    assert!(world.announcer.is_over());
    let mut world = World::new(&[&["http://a"]], Some(10));
    world.next();
    world.announcer.stop(world.now);
    assert!(world.announcer.is_over(), "the request never left");
    let mut world = World::new(&[], Some(10));
    assert_eq!(world.announcer.poll_timeout(), None);
    world.announcer.stop(world.now);
    assert!(world.announcer.is_over());
}

#[test]
fn who_leaves_with_everything_says_first_that_it_was_completed() {
    let leaving = || {
        let mut world = World::new(&[&["http://a"]], Some(10));
        let (ask, ..) = world.request();
        world.answer(ask, TAKEN);
        world.announcer.complete(world.now);
        world
    };
    // It was not yet told.
    let mut world = leaving();
    world.announcer.stop(world.now);
    let outputs = world.outputs();
    let (ask, _, request) = world.accept(&outputs);
    assert_eq!(event(&request), "completed");
    let outputs = world.answer(ask, TAKEN);
    let (ask, _, request) = world.accept(&outputs);
    assert_eq!(event(&request), "stopped");
    world.answer(ask, TAKEN);
    assert!(world.announcer.is_over());
    // It was being told, and does not answer: the good-bye must not wait for that.
    let mut world = leaving();
    let (ask, _, request) = world.request();
    assert_eq!(event(&request), "completed");
    world.announcer.stop(world.now);
    assert!(world.outputs().is_empty());
    let outputs = world.next();
    assert_eq!(outputs[0], Output::Close { ask });
    assert_eq!(event(&world.accept(&outputs).2), "stopped");
    world.next();
    assert!(world.announcer.is_over() && world.now == Time::ZERO + seconds(2));
    // It cannot be told.
    let mut world = leaving();
    world.announcer.stop(world.now);
    let outputs = world.outputs();
    let outputs = world.refuse(&outputs);
    assert_eq!(event(&world.accept(&outputs).2), "stopped");
}
