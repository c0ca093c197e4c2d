//! Who is asked when, and what is said: tiers, intervals, pauses, events.

use super::*;

#[test]
fn it_says_started_first_and_nothing_in_particular_after_the_interval() {
    let mut world = World::new(&[&["http://a/announce"]], Some(10));
    let (ask, to, request) = world.request();
    assert_eq!(to, addr("10.0.0.97:80"));
    assert_eq!(event(&request), "started");
    for part in [
        "&port=7000&",
        "&uploaded=1&",
        "&downloaded=2&",
        "&left=10&",
        "&compact=1",
    ] {
        assert!(request.contains(part), "{part}: {request}");
    }
    let body = "d8:intervali90e5:peers12:\x0a\0\0\x01\x1a\x61\x0a\0\0\x02\0\0e";
    assert_eq!(
        world.answer(ask, body),
        [Output::Found(vec![addr("10.0.0.1:6753")])],
        "and nobody at port 0"
    );
    let start = world.now;
    let (_, _, request) = world.request();
    assert_eq!(world.now.since(start), seconds(90));
    assert_eq!(event(&request), "");
}

#[test]
fn the_next_tracker_is_asked_only_when_those_before_it_failed() {
    let mut world = World::new(&[&["http://a"], &["http://b"], &["http://c"]], Some(10));
    let first = world.next();
    let second = world.refuse(&first);
    let shown = warnings(&second);
    assert!(shown[0].starts_with("tracker http://a: "), "{shown:?}");
    let (ask, to, request) = world.accept(&second);
    assert_eq!((to, event(&request)), (addr("10.0.0.98:80"), "started"));
    world.answer(ask, TAKEN);
    // The first is tried again when its pause is over, and fails ever longer; the second stands in for it meanwhile.
    for _ in 0..3 {
        let again = world.next();
        assert_eq!(
            dial(&again[0]).map(|(_, to)| to),
            Some(addr("10.0.0.97:80"))
        );
        let refused = world.refuse(&again);
        assert!(warnings(&refused).is_empty(), "that is no news");
    }
    // When it answers, nobody asks the second any more.
    let (ask, to, request) = world.request();
    assert_eq!((to, event(&request)), (addr("10.0.0.97:80"), "started"));
    world.answer(ask, TAKEN);
    for _ in 0..3 {
        let (ask, to, request) = world.request();
        assert_eq!((to, event(&request)), (addr("10.0.0.97:80"), ""));
        world.answer(ask, TAKEN);
    }
}

#[test]
fn who_answered_is_the_first_of_its_tier_from_then_on() {
    let mut world = World::new(&[&["http://a", "http://b", "http://c"]], Some(10));
    let mut outputs = world.next();
    for _ in 0..2 {
        outputs = world.refuse(&outputs);
    }
    let (ask, last, _) = world.accept(&outputs);
    world.answer(ask, TAKEN);
    for _ in 0..3 {
        let (ask, to, _) = world.request();
        assert_eq!(to, last, "the others are not even tried");
        world.answer(ask, TAKEN);
    }
}

#[test]
fn when_all_fail_they_are_tried_again_after_pauses_that_grow() {
    let mut world = World::new(&[&["http://a"], &["http://nowhere"]], Some(10));
    let mut times = Vec::new();
    for _ in 0..12 {
        let outputs = world.next();
        if outputs.iter().any(|output| dial(output).is_some()) {
            world.refuse(&outputs);
            times.push(world.now.as_secs_f64());
        }
    }
    let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (at, pause) in pauses.iter().enumerate() {
        let expected = 5.0 * f64::from(1 << at);
        assert!(
            (0.75 * expected..1.25 * expected).contains(pause),
            "{pauses:?}"
        );
    }
    assert!(pauses.len() >= 4, "{pauses:?}");
}

#[test]
fn completed_is_told_once_and_at_once() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.answer(ask, TAKEN);
    let start = world.now;
    world.announcer.complete(world.now);
    let (ask, _, request) = world.request();
    assert_eq!((world.now, event(&request)), (start, "completed"));
    assert!(request.contains("&left=0&"), "{request}");
    world.answer(ask, TAKEN);
    world.announcer.complete(world.now);
    let (_, _, request) = world.request();
    assert_eq!(
        (world.now.since(start), event(&request)),
        (seconds(900), "")
    );
}

#[test]
fn completed_waits_for_the_announce_under_way_and_survives_a_failure() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.announcer.complete(world.now);
    let outputs = world.answer(ask, TAKEN);
    world.refuse(&outputs);
    let (ask, _, request) = world.request();
    assert_eq!(event(&request), "completed");
    world.answer(ask, TAKEN);
    let (_, _, request) = world.request();
    assert_eq!(event(&request), "");
}

#[test]
fn who_had_everything_at_the_start_never_completed_it() {
    let mut world = World::new(&[&["http://a"]], Some(0));
    let (ask, _, request) = world.request();
    assert!(request.contains("&left=0&") && event(&request) == "started");
    world.answer(ask, TAKEN);
    world.announcer.complete(world.now);
    let (_, _, request) = world.request();
    assert_eq!((world.now.as_secs_f64(), event(&request)), (900.0, ""));
}

#[test]
fn a_magnet_link_misses_something_and_may_turn_out_to_miss_nothing() {
    let mut world = World::new(&[&["http://a"]], None);
    let (ask, _, request) = world.request();
    assert!(request.contains("&left=16384&"), "{request}");
    world.answer(ask, TAKEN);
    let totals = Totals {
        left: Some(0),
        ..Totals::default()
    };
    world.announcer.set_totals(totals);
    let (_, _, request) = world.request();
    assert!(request.contains("&left=0&"), "{request}");
    assert_eq!(event(&request), "");
    assert_eq!(world.now.as_secs_f64(), 60.0, "until then it lacked peers");
}

#[test]
fn whoever_lacks_peers_asks_earlier_but_not_before_the_tracker_allows_it() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.answer(ask, "d8:intervali900e12:min intervali45e5:peers0:e");
    world.now += seconds(2);
    world.announcer.lack_peers();
    let (ask, ..) = world.request();
    assert_eq!(world.now.as_secs_f64(), 45.0);
    world.answer(ask, "d8:intervali900e12:min intervali45e5:peers0:e");
    world.request();
    assert_eq!(world.now.as_secs_f64(), 945.0, "nobody is lacking any more");
}
