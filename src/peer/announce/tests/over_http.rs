//! Requests, redirects, and what comes instead of an answer.

use super::*;

#[test]
fn three_redirects_are_followed_but_only_where_we_can_go() {
    let mut world = World::new(&[&["http://a/x"]], Some(10));
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n");
    let (mut ask, ..) = world.request();
    for hop in 1..=3 {
        let outputs = world.respond(ask, &redirect(&format!("http://b/{hop}?k=v")));
        assert_eq!(outputs[0], Output::Close { ask });
        let (next, to, request) = world.accept(&outputs);
        assert_eq!(to, addr("10.0.0.98:80"));
        assert!(
            request.starts_with(&format!("GET /{hop}?k=v&info_hash=")),
            "{request}"
        );
        ask = next;
    }
    let outputs = world.respond(ask, &redirect("/again"));
    assert!(warnings(&outputs)[0].contains("too often"), "{outputs:?}");
    let (ask, ..) = world.request();
    let outputs = world.respond(ask, &redirect("https://b/"));
    assert!(outputs.contains(&Output::Close { ask }), "{outputs:?}");
    assert_eq!(world.announcer.poll_output(), None);
    assert!(world.announcer.poll_timeout() > Some(world.now));
}

#[test]
fn an_announce_over_http_takes_15_s_at_most() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    world.now += seconds(14);
    assert!(world.respond(ask, "HTTP/1.1 200 OK\r\n").is_empty());
    let outputs = world.next();
    assert_eq!(world.now.as_secs_f64(), 15.0);
    assert!(outputs.contains(&Output::Close { ask }));
    assert!(warnings(&outputs)[0].contains("no answer in time"));
    let late = world.respond(ask, "\r\nd8:intervali5ee");
    assert!(late.is_empty());
}

#[test]
fn what_a_web_server_says_instead_is_told() {
    for (response, expected) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "malformed"),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
            "compressed",
        ),
    ] {
        let mut world = World::new(&[&["http://a/secret"]], Some(10));
        let (ask, ..) = world.request();
        let outputs = world.respond(ask, response);
        let shown = warnings(&outputs)[0];
        assert!(shown.starts_with("tracker http://a: "), "{shown}");
        assert!(shown.contains(expected), "{shown}");
    }
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    assert!(
        world
            .respond(ask, "HTTP/1.0 200 OK\r\n\r\nd8:intervali9e")
            .is_empty()
    );
    world.respond(ask, "5:peers0:e");
    world.announcer.closed(world.now, ask, None);
    assert_eq!(world.outputs(), [Output::Close { ask }]);
    world.request();
    assert_eq!(world.now.as_secs_f64(), 9.0);
}

#[test]
fn a_refusal_says_when_to_come_again_or_never() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let (ask, ..) = world.request();
    let outputs = world.answer(ask, "d14:failure reason4:full8:retry ini5ee");
    assert_eq!(warnings(&outputs), ["tracker http://a: full"]);
    let (ask, ..) = world.request();
    assert_eq!(world.now.as_secs_f64(), 300.0);
    let outputs = world.answer(ask, "d14:failure reason4:gone8:retry in5:nevere");
    let expected = "tracker http://a: gone, and wants no more announces";
    assert_eq!(warnings(&outputs), [expected]);
    assert_eq!(world.announcer.poll_timeout(), None);
    world.announcer.stop(world.now);
    assert!(world.announcer.is_over());
}

#[test]
fn what_a_tracker_says_besides_is_passed_on_once() {
    let mut world = World::new(&[&["http://a"]], Some(10));
    let body = "d11:external ip4:\x0a\0\0\x078:intervali60e5:peersld2:ip9:127.0.0.14:porti1eed2:ip8:10.0.0.54:porti6eee10:tracker id3:abc15:warning message6:slow\x1b\x07e";
    let (ask, _, request) = world.request();
    assert!(!request.contains("trackerid"));
    let outputs = world.answer(ask, body);
    let seen_at = Output::ExternalIp([10, 0, 0, 7].into());
    let found = Output::Found(vec![addr("10.0.0.5:6")]);
    let warned = Output::Warn("tracker http://a: slow\\u{1b}\\u{7}".to_owned());
    assert_eq!(
        outputs,
        [warned, seen_at, found],
        "and nobody on this machine"
    );
    let (ask, _, request) = world.request();
    assert!(request.contains("&trackerid=abc"), "{request}");
    let outputs = world.answer(ask, body);
    assert_eq!(outputs.len(), 1, "{outputs:?}");
}
