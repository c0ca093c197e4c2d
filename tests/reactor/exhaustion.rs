//! When there is no room: the cap on conns, and a process without descriptors.
//!
//! A limit on open files counts for a whole process, so those tests run alone in a process of their own.

use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shoal::reactor::Limits;

use crate::script::{Happening, Host, listening, run};

const ALONE: &str = "SHOAL_REACTOR_TEST_ALONE";

/// Whether this process runs the test `name` alone. If not, one is started that does, and must succeed.
fn is_alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("this test starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Lowers the limit on open files to little more than what is open, and opens files until there is no descriptor left.
fn take_all_descriptors() -> Vec<File> {
    let next = File::open("/dev/null").expect("there is one");
    let files_max = next.as_raw_fd() as u64 + 8;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("known");
    setrlimit(Resource::RLIMIT_NOFILE, files_max, hard).expect("lowered");
    let more = std::iter::from_fn(|| File::open("/dev/null").ok());
    std::iter::once(next).chain(more).collect()
}

#[test]
fn at_the_cap_a_listener_waits_until_a_conn_closes() {
    let (mut reactor, addr) = listening(Limits {
        conns_max: 2,
        ..Limits::default()
    });
    let mut clients = (0..4)
        .map(|_| TcpStream::connect(addr).expect("the backlog takes them"))
        .collect::<Vec<_>>();
    let start = reactor.now();
    let mut opened = 0;
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Opened(..) => {
                opened += 1;
                assert!(host.open.len() < 2);
                if opened == 2 {
                    host.deadline = Some(start + Duration::from_millis(100));
                }
                if opened == 4 {
                    host.stop();
                }
            }
            Happening::Timeout(_) => {
                assert_eq!(opened, 2);
                clients.drain(..2);
            }
            _ => {}
        },
    );
    assert!(reactor.turns() < 30, "{} turns", reactor.turns());
}

#[test]
fn without_descriptors_it_does_not_spin_and_accepts_by_itself_when_there_are_some() {
    if !is_alone(
        "exhaustion::without_descriptors_it_does_not_spin_and_accepts_by_itself_when_there_are_some",
    ) {
        return;
    }
    let (mut reactor, addr) = listening(Limits::default());
    let _clients = [addr; 5].map(|addr| TcpStream::connect(addr).expect("in the backlog"));
    let mut files = take_all_descriptors();
    let host = Host {
        deadline: Some(reactor.now() + Duration::from_millis(500)),
        ..Host::default()
    };
    let (mut opened, mut freed) = (0, false);
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Timeout(_) => {
            assert_eq!(opened, 0, "there was no descriptor");
            files.clear();
            freed = true;
        }
        Happening::Opened(..) => {
            assert!(freed);
            opened += 1;
            if opened == 5 {
                host.stop();
            }
        }
        _ => {}
    });
    assert!(reactor.turns() < 30, "{} turns: it spins", reactor.turns());
}

#[test]
fn a_conn_that_closes_makes_room_at_once() {
    if !is_alone("exhaustion::a_conn_that_closes_makes_room_at_once") {
        return;
    }
    let (mut reactor, addr) = listening(Limits::default());
    let clients = [addr; 100].map(|addr| TcpStream::connect(addr).expect("in the backlog"));
    let mut files = take_all_descriptors();
    files.pop(); // one conn fits
    let host = Host {
        // Each conn would wait 50 ms for the listener to try again by itself.
        deadline: Some(reactor.now() + Duration::from_millis(50 * 100 - 500)),
        ..Host::default()
    };
    let mut opened = 0;
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Opened(conn, _) => {
            opened += 1;
            host.close(conn, "for the next one");
            if opened == clients.len() {
                host.stop();
            }
        }
        Happening::Timeout(_) => panic!("{opened} opened: they waited for a timer"),
        _ => {}
    });
}

#[test]
fn a_dial_without_descriptors_fails_and_nothing_else() {
    if !is_alone("exhaustion::a_dial_without_descriptors_fails_and_nothing_else") {
        return;
    }
    let (mut reactor, addr) = listening(Limits::default());
    let files = take_all_descriptors();
    let mut files = Some(files);
    let mut host = Host::default();
    host.connect(addr, 0);
    let mut failed = 0;
    run(&mut reactor, host, |host, happening| match happening {
        Happening::DialFailed(_, 0, error) => {
            assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EMFILE as i32));
            failed += 1;
            files = None;
            host.connect(addr, 1);
        }
        Happening::Opened(..) if host.open.len() == 1 => host.stop(),
        _ => {}
    });
    assert_eq!(failed, 1);
}

#[test]
fn a_child_process_inherits_no_socket_of_ours() {
    if !is_alone("exhaustion::a_child_process_inherits_no_socket_of_ours") {
        return;
    }
    let descriptors = || {
        let output = Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .stdin(Stdio::null())
            .output()
            .expect("ls runs");
        String::from_utf8(output.stdout)
            .expect("text")
            .lines()
            .count()
    };
    let before = descriptors();
    let (mut reactor, addr) = listening(Limits::default());
    let mut host = Host::default();
    host.connect(addr, 0);
    run(&mut reactor, host, |host, happening| {
        if let Happening::Opened(..) = happening
            && host.open.len() == 1
        {
            assert_eq!(descriptors(), before);
            host.stop();
        }
    });
}
