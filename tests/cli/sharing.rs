//! `share`: what can be shared and what cannot, and how each is said.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::signal::Signal;

use crate::program::{Scene, noise, sparse};

#[track_caller]
fn refused(scene: &Scene, words: &[&str], code: i32, shown: &str) {
    let ended = scene.run([&["share"], words].concat()).expect(code);
    assert_eq!(ended.err, format!("shoal-peer: {shown}\n"));
    assert_eq!(ended.out, "");
}

#[test]
fn what_cannot_be_shared_is_named_with_the_reason() {
    let scene = Scene::new();
    let top = std::fs::canonicalize(scene.folder.path())
        .expect("there")
        .display()
        .to_string();
    refused(
        &scene,
        &["nowhere"],
        17,
        "share nowhere: nowhere: No such file or directory (check the path)",
    );
    std::fs::create_dir_all(scene.path("empty/inside")).expect("folders");
    refused(
        &scene,
        &["empty"],
        17,
        "share empty: there is no file in it (name a folder that has files)",
    );
    let odd = "neither a file nor a folder (links and special files cannot be shared)";
    let remedy = "rename it, replace it by a regular file, or leave it out";
    scene.file("dir/file", b"x");
    symlink("file", scene.path("dir/link")).expect("a link");
    refused(
        &scene,
        &["dir"],
        17,
        &format!("share dir: {top}/dir/link: {odd} ({remedy})"),
    );
    nix::unistd::mkfifo(&scene.path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    refused(
        &scene,
        &["fifo"],
        17,
        &format!("share fifo: fifo: {odd} ({remedy})"),
    );
    refused(
        &scene,
        &["/dev/null"],
        17,
        &format!("share /dev/null: /dev/null: {odd} ({remedy})"),
    );
    scene.file("bytes/x", b"x");
    std::fs::write(scene.path("bytes").join(OsStr::from_bytes(b"y\xff")), b"").expect("a file");
    let ended = scene.run(["share", "bytes"]).expect(17);
    assert!(
        ended
            .err
            .contains("bytes/y\u{fffd}: a name that is not UTF-8 cannot be shared ("),
        "{ended:?}"
    );
    sparse(&scene.path("huge"), 5 << 40);
    refused(
        &scene,
        &["huge", "--piece-size", "16K"],
        26,
        "share huge: it would have more than 131072 pieces (choose a larger --piece-size)",
    );
    assert_eq!(scene.run(["ls"]).expect(0).out, "");
}

#[test]
fn an_unreadable_file_is_named() {
    let scene = Scene::new();
    let path = scene.file("secret", b"x");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("ours");
    if std::fs::File::open(&path).is_ok() {
        return; // nothing is unreadable to root
    }
    let ended = scene.run(["share", "secret"]).expect(17);
    assert!(
        ended
            .err
            .contains("secret: Permission denied (check the file and its permissions)"),
        "{ended:?}"
    );
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let scene = Scene::new();
    scene.file("x", b"x");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let why = format!("cannot listen on {addr}: Address already in use");
    let remedy = "choose another address with --listen, or leave it out for any free port";
    refused(
        &scene,
        &["x", "-l", &addr],
        6,
        &format!("share: {why} ({remedy})"),
    );
    let ended = scene.run(["get", "x", "-l", &addr]).expect(6);
    assert!(
        ended.err.starts_with(&format!("shoal-peer: get: {why} (")),
        "{ended:?}"
    );
}

#[test]
fn it_says_what_is_shared_and_how_to_get_it() {
    let scene = Scene::new();
    scene.file("x", &noise(300_000));
    scene.file("two words", b"x");
    let mut share = scene.share(&["x"]);
    let hash = scene.info_hash("x");
    share.wait_err("seeding  x  ");
    share.send(Signal::SIGTERM);
    let ended = share.end().expect(0);
    let lines: Vec<&str> = ended.err.lines().collect();
    let shared = format!("shared  x  293 KiB  5 × 64 KiB  {}…", &hash[..8]);
    let hint = format!("get it: shoal-peer -t {} get x", scene.addr);
    let link = format!("    or: magnet:?xt=urn:btih:{hash}&dn=x&tr=http%3A%2F%2F");
    let seeding = "seeding  x  ↑0 B/s → 0 peers · ratio 0.0";
    let first = lines
        .iter()
        .position(|line| *line == shared)
        .expect("it says so");
    assert_eq!(lines[first + 1], hint);
    assert!(lines[first + 2].starts_with(&link), "{lines:?}");
    assert_eq!(lines[first + 3], seeding);
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("served 0 B to 0 peers in ")),
        "{lines:?}"
    );
    assert_eq!(ended.out, "");
    let mut named = scene.start(["share", "-n", "an other", "two words"]);
    let hint = named.wait_err("get it: ");
    assert!(hint.ends_with(" get 'an other'"), "{hint}");
}

#[test]
fn a_shared_file_that_changes_is_no_longer_served() {
    let scene = Scene::new();
    scene.file("x", b"before");
    let share = scene.share(&["x"]);
    scene.file("x", b"and after");
    let ended = share.end().expect(17);
    assert!(ended.err.contains("shoal-peer: share x: "), "{ended:?}");
    assert!(
        ended
            .err
            .contains("; it is no longer served (share it again to serve what it is now)"),
        "{ended:?}"
    );
}

#[test]
fn one_of_several_that_fails_does_not_stop_the_others() {
    let scene = Scene::new();
    scene.file("x", b"x");
    let mut share = scene.start(["share", "x", "nowhere"]);
    share.wait_err("get it: ");
    scene.run(["get", "x", "-o", "copy"]).expect(0);
    share.send(Signal::SIGINT);
    let ended = share.end().expect(17);
    assert!(
        ended.err.contains("shoal-peer: share nowhere: "),
        "{ended:?}"
    );
}

#[test]
fn the_tracker_is_missed_although_much_is_to_be_hashed() {
    let scene = Scene::new();
    // More than is hashed in the time that three attempts take, on any machine.
    sparse(&scene.path("huge"), 1 << 40);
    let ended = scene.run(["-t", "127.0.0.1:1", "share", "huge"]).expect(6);
    assert!(
        ended
            .err
            .contains("no tracker at 127.0.0.1:1: connection refused ("),
        "{ended:?}"
    );
}
