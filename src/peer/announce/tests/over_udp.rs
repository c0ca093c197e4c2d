//! Connect and announce, addresses, ids, silence.

use super::*;

#[test]
fn a_datagram_counts_only_from_the_tracker_and_with_its_ids() {
    let mut world = World::new(&[&["udp://a:1/announce?x"]], Some(10));
    let outputs = world.next();
    let [(a, transaction, None)] = datagrams(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(a, addr("10.0.0.97:1"));
    for (from, transaction) in [
        (a, transaction ^ 1),
        (addr("10.0.0.97:2"), transaction),
        (addr("10.0.0.98:1"), transaction),
    ] {
        assert!(world.datagram(from, transaction, connection(5)).is_empty());
    }
    assert!(world.datagram(a, transaction, taken(1, &[])).is_empty());
    let outputs = world.datagram(a, transaction, connection(5));
    let Some(Output::Datagram { bytes, .. }) = outputs.first() else {
        panic!("{outputs:?}");
    };
    let request = Request::decode(bytes).expect("a request");
    let RequestBody::Announce {
        connection_id,
        announce,
        options,
    } = request.body
    else {
        panic!("an announce");
    };
    assert_eq!(connection_id, 5);
    assert_eq!(options.url_data(), b"/announce?x");
    assert_eq!((announce.port, announce.left), (7000, 10));
    let again = world.datagram(a, transaction, connection(6));
    assert!(again.is_empty(), "it was answered");
    let wrong = world.datagram(a, request.transaction ^ 1, taken(9, &["10.0.0.1:1"]));
    assert!(wrong.is_empty());
    assert_eq!(
        world.datagram(a, request.transaction, taken(9, &["10.0.0.1:1"])),
        [Output::Found(vec![addr("10.0.0.1:1")])]
    );
}

#[test]
fn a_connection_is_used_for_a_minute() {
    let mut world = World::new(&[&["udp://a:1"]], Some(10));
    let mut events = Vec::new();
    let mut outputs = world.next();
    while events.len() < 8 {
        for (to, transaction, event) in datagrams(&outputs) {
            events.push(event.is_some());
            let body = match event {
                None => connection(1),
                Some(_) => taken(25, &[]),
            };
            outputs = world.datagram(to, transaction, body);
        }
        if datagrams(&outputs).is_empty() {
            outputs = world.next();
        }
    }
    // At 0 s, 25 s, 50 s; then a new one at 75 s.
    assert_eq!(events, [false, true, true, true, false, true, true, true]);
}

#[test]
fn what_is_not_answered_is_sent_again_after_15_s_times_powers_of_two() {
    let mut world = World::new(&[&["udp://a:1"]], Some(10));
    let mut times = Vec::new();
    let mut transactions = Vec::new();
    for _ in 0..9 {
        for (_, transaction, _) in datagrams(&world.next()) {
            times.push(world.now.as_secs_f64() as u64);
            transactions.push(transaction);
        }
    }
    assert_eq!(times, [0, 15, 45, 105, 225, 465, 945, 1905, 3825]);
    transactions.dedup();
    assert_eq!(
        transactions.len(),
        1,
        "a late answer to the first still counts"
    );
    let outputs = world.next();
    assert_eq!(world.now.as_secs_f64() as u64, 3825 + 15 * 256);
    assert!(datagrams(&outputs).is_empty());
    assert!(warnings(&outputs)[0].contains("no answer"), "{outputs:?}");
}

#[test]
fn a_second_silence_is_enough_where_there_is_another_tracker() {
    let mut world = World::new(&[&["udp://a:1"], &["http://b"]], Some(10));
    world.next();
    assert_eq!(datagrams(&world.next()).len(), 1);
    let outputs = world.next();
    assert_eq!(world.now.as_secs_f64(), 45.0);
    let (_, to, _) = world.accept(&outputs);
    assert_eq!(to, addr("10.0.0.98:80"));
}

#[test]
fn every_address_of_a_name_is_tried_at_once_over_udp_and_in_turn_over_http() {
    let mut world = World::new(&[&["udp://both:1"]], Some(10));
    let outputs = world.next();
    let places = datagrams(&outputs);
    let tos: Vec<_> = places.iter().map(|place| place.0).collect();
    assert_eq!(tos, [addr("[2001:db8::1]:1"), addr("10.0.0.1:1")]);
    let outputs = world.datagram(places[1].0, places[1].1, connection(3));
    assert_eq!(datagrams(&outputs)[0].0, places[1].0);
    let late = world.datagram(places[0].0, places[0].1, connection(4));
    assert!(late.is_empty());
    let mut world = World::new(&[&["http://both:1"]], Some(10));
    let outputs = world.next();
    let outputs = world.refuse(&outputs);
    assert_eq!(
        dial(&outputs[0]).map(|(_, to)| to),
        Some(addr("10.0.0.1:1"))
    );
}

#[test]
fn over_ipv6_the_peers_are_ipv6() {
    let mut world = World::new(&[&["udp://six:1"]], Some(10));
    let outputs = world.next();
    let (six, transaction, _) = datagrams(&outputs)[0];
    let outputs = world.datagram(six, transaction, connection(3));
    let (_, transaction, _) = datagrams(&outputs)[0];
    let outputs = world.datagram(six, transaction, taken(60, &["[2001:db8::9]:5", "[::1]:6"]));
    let found = vec![addr("[2001:db8::9]:5"), addr("[::1]:6")];
    assert!(outputs.contains(&Output::Found(found)), "{outputs:?}");
}

#[test]
fn an_error_over_udp_is_told_and_leads_to_the_next_tracker() {
    let mut world = World::new(&[&["udp://a:1"], &["http://b"]], Some(10));
    let outputs = world.next();
    let (a, transaction, _) = datagrams(&outputs)[0];
    let error = ReplyBody::Error("full\u{1b}[2J".to_owned());
    let outputs = world.datagram(a, transaction, error);
    assert_eq!(warnings(&outputs), ["tracker udp://a:1: full\\u{1b}[2J"]);
    world.accept(&outputs);
}
