//! `shoal-tracker` as a daemon: what it says, and how it begins and ends.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;

use crate::free::free_addr;
use crate::program::{Running, peer, run, scratch, tracker_command};

fn started(words: &[&str]) -> (Running, String) {
    let mut running = Running::start(tracker_command(words));
    let line = running.wait_out("shoal-tracker ");
    (running, line)
}

#[test]
fn the_start_is_one_line_and_a_signal_the_end() {
    let dir = scratch();
    let state = dir.path().join("new/state");
    let shown = state.display().to_string();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (running, line) = started(&[
            "-l",
            "127.0.0.1:0",
            "-s",
            &shown,
            "--udp",
            "off",
            "-a",
            "off",
        ]);
        let (begin, rest) = line.split_once("127.0.0.1:").expect("where it listens");
        assert_eq!(begin, "shoal-tracker 0.1.0 native+http ");
        let (port, rest) = rest.split_once(' ').expect("more");
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{line}");
        assert_eq!(rest, format!("state {shown} (0 files)"));
        running.send(signal);
        let ended = running.end().expect(0);
        assert_eq!((ended.out.lines().count(), ended.err.as_str()), (1, ""));
    }
}

#[test]
fn without_a_state_folder_it_says_that_nothing_is_kept() {
    let (running, line) = started(&["-l", "127.0.0.1:0", "-l", "127.0.0.1:0"]);
    let end = " state none (kept in memory only, lost at exit)";
    assert!(
        line.ends_with(end) && line.matches("127.0.0.1:").count() == 4,
        "{line}"
    );
    drop(running);
}

#[test]
fn the_files_that_it_keeps_are_counted_at_the_start() {
    let dir = scratch();
    let state = dir.path().join("state").display().to_string();
    std::fs::write(dir.path().join("x"), b"x").expect("a file");
    let (running, line) = started(&["-l", "127.0.0.1:0", "-s", &state]);
    let addr = line.split(' ').nth(3).expect("an address").to_owned();
    let mut share = peer(&addr);
    share.args(["share", "x"]).current_dir(dir.path());
    let mut share = Running::start(share);
    share.wait_err("get it: ");
    drop(share);
    running.send(Signal::SIGTERM);
    running.end().expect(0);
    let (_running, line) = started(&["-l", "127.0.0.1:0", "-s", &state]);
    assert!(
        line.ends_with(&format!(" state {state} (1 file)")),
        "{line}"
    );
}

#[test]
fn a_quiet_one_says_nothing_and_works() {
    let addr = free_addr(Ipv4Addr::LOCALHOST.into()).to_string();
    let running = Running::start(tracker_command(&["-q", "-l", &addr]));
    while run(peer(&addr), ["ls"]).code != Some(0) {}
    running.send(Signal::SIGTERM);
    let ended = running.end().expect(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
}

#[test]
fn a_verbose_one_logs_to_stderr() {
    let (running, _) = started(&["-v", "-l", "127.0.0.1:0"]);
    running.send(Signal::SIGTERM);
    let ended = running.end().expect(0);
    assert!(ended.err.contains("stopping"), "{ended:?}");
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let ended = Running::start(tracker_command(&["-l", &addr]))
        .end()
        .expect(6);
    let why = format!("cannot listen on {addr}: Address already in use");
    let remedy = "give another address with --listen";
    assert_eq!(
        ended.err,
        format!("shoal-tracker: --listen: {why} ({remedy})\n")
    );
    let (_first, line) = started(&["-l", "127.0.0.1:0"]);
    let addr = line.split(' ').nth(3).expect("an address");
    let ended = Running::start(tracker_command(&["-l", addr]))
        .end()
        .expect(6);
    assert_eq!(ended.out, "");
}

#[test]
fn a_state_folder_serves_one_tracker() {
    let dir = scratch();
    let state = dir.path().display().to_string();
    let (_first, _) = started(&["-l", "127.0.0.1:0", "-s", &state]);
    let second = tracker_command(&["-l", "127.0.0.1:0", "-s", &state]);
    let ended = Running::start(second).end().expect(17);
    let why = format!("{state}: another program has locked it");
    let remedy = "is another shoal-tracker running on it?";
    assert_eq!(
        ended.err,
        format!("shoal-tracker: --state: {why} ({remedy})\n")
    );
}

#[test]
fn a_state_folder_that_cannot_be_is_named() {
    let dir = scratch();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").expect("a file");
    let shown = file.display().to_string();
    let ended = Running::start(tracker_command(&["-l", "127.0.0.1:0", "-s", &shown]))
        .end()
        .expect(17);
    let why = format!("shoal-tracker: --state: {shown}: File exists");
    let remedy = "give a folder that shoal-tracker may write";
    assert_eq!(ended.err, format!("{why} ({remedy})\n"));
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (words, shown) in [
        (
            &["-u", "on"][..],
            "--udp: \"on\" is not off and not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000",
        ),
        (
            &["-l", "tr"],
            "--listen: \"tr\" is not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000",
        ),
        (&["--token-file"], "--token-file: no such option"),
        (
            &["-i", "1h"],
            "--interval: \"1h\" is not a shortest and a longest interval up to 24h, like 30s:30m",
        ),
        (
            &["--conns-per-ip", "0"],
            "--conns-per-ip: \"0\" is not a number from 1 to 1000000",
        ),
        (&["x"], "\"x\" is one operand too many"),
    ] {
        let ended = Running::start(tracker_command(words)).end().expect(28);
        assert_eq!(
            ended.err,
            format!("shoal-tracker: {shown} (see shoal-tracker --help)\n")
        );
        assert_eq!(ended.out, "");
    }
}
