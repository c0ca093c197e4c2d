//! One signal ends in an orderly way; a second one ends at once.

use nix::sys::signal::Signal;

use crate::program::{Scene, noise, sparse};

#[test]
fn a_stopped_download_says_so_and_goes_on_when_started_again() {
    let scene = Scene::new();
    scene.file("in/x", &noise(300_000));
    drop(scene.share(&["in/x"]));
    for (signal, code) in [(Signal::SIGINT, 7), (Signal::SIGTERM, 7)] {
        let mut get = scene.start(["get", "x"]);
        get.wait_err("get  x");
        get.send(signal);
        let ended = get.end().expect(code);
        let why = "stopped before it was complete (run it again: it goes on where it stopped)";
        assert!(
            ended.err.ends_with(&format!("shoal-peer: get x: {why}\n")),
            "{ended:?}"
        );
        assert!(scene.path("x.part").exists());
    }
    let _share = scene.share(&["in/x"]);
    let ended = scene.run(["get", "x"]).expect(0);
    assert_eq!(scene.read("x"), noise(300_000), "{ended:?}");
}

#[test]
fn a_finished_download_that_serves_ends_well() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    let _share = scene.share(&["in/x"]);
    let mut get = scene.start(["get", "x", "--seed", "forever"]);
    get.wait_err("done x");
    get.wait_err("seeding  x");
    get.send(Signal::SIGTERM);
    get.end().expect(0);
}

#[test]
fn what_was_not_begun_in_earnest_is_unfinished() {
    let scene = Scene::new();
    sparse(&scene.path("huge"), 1 << 40);
    let mut share = scene.start(["share", "huge", "--json"]);
    share.wait_out("\"hashing\"");
    share.send(Signal::SIGINT);
    let ended = share.end().expect(7);
    assert_eq!(
        ended.err,
        "shoal-peer: share huge: stopped before it was done\n"
    );
}

/// A tracker that takes connections and never says a word, so that nothing orderly comes to its end.
fn silent_tracker() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    (listener, addr)
}

#[test]
fn a_tracker_that_says_nothing_does_not_keep_anybody() {
    let scene = Scene::new();
    let (silent, addr) = silent_tracker();
    for words in [
        &["ls"][..],
        &["rm", "x"],
        &["status", "x"],
        &["verify", "x", "y"],
    ] {
        let running = scene.start([&["-t", &addr], words].concat());
        let _taken = silent.accept().expect("it dials");
        running.send(Signal::SIGTERM);
        let ended = running.end().expect(7);
        assert!(
            ended.err.ends_with(": stopped before it was done\n"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scene = Scene::new();
        scene.file("in/x", b"x");
        drop(scene.share(&["in/x"]));
        let mut get = scene.start(["get", "x", "--json"]);
        while !scene.run(["ls", "--json"]).out.contains("\"leechers\":1,") {}
        // A tracker that is stopped cannot answer, and keeps the orderly end waiting.
        scene.tracker.send(Signal::SIGSTOP);
        get.send(signal);
        get.wait_err("stopped before it was complete");
        get.send(signal);
        let ended = get.end();
        scene.tracker.send(Signal::SIGCONT);
        let ended = ended.expect(code);
        let last = ended.out.lines().last().expect("a summary");
        let begin = format!("{{\"v\":1,\"event\":\"summary\",\"ok\":false,\"code\":{code},");
        assert!(last.starts_with(&begin), "{ended:?}");
        let why = "stopped at once by a second signal";
        assert!(
            ended.err.ends_with(&format!("shoal-peer: get x: {why}\n")),
            "{ended:?}"
        );
    }
}
