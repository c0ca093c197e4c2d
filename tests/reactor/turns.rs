//! Turns: timers, wake-ups, signals, and the sleep of an idle loop.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal as Posix, raise};
use shoal::reactor::{Limits, Reactor, Signal};

use crate::script::{Happening, Host, listening, run};

#[test]
fn timers_fire_under_constant_traffic() {
    let (mut reactor, addr) = listening(Limits {
        read_bytes_max: 1, // so the ready list is never empty
        ..Limits::default()
    });
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let flood = std::thread::spawn(move || {
        let mut client = TcpStream::connect(addr).expect("connected");
        while !told.load(Ordering::Relaxed) {
            if client.write_all(&[0; 4096]).is_err() {
                return;
            }
        }
    });
    let host = Host {
        budget: Some(1),
        ..Host::default()
    };
    let (mut timeouts, mut received) = (0, 0);
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Received(..) => {
            received += 1;
            if received == 10 {
                host.deadline = Some(shoal::base::Time::ZERO);
            }
        }
        Happening::Timeout(now) => {
            timeouts += 1;
            host.deadline = Some(now + Duration::from_millis(1));
            if timeouts == 5 {
                host.stop();
            }
        }
        _ => {}
    });
    over.store(true, Ordering::Relaxed);
    flood.join().expect("the flood ends");
    assert!(received > 10, "traffic went on between the timers");
}

#[test]
fn an_idle_loop_takes_no_turns() {
    let (mut reactor, addr) = listening(Limits::default());
    let _clients = [addr; 20].map(|addr| TcpStream::connect(addr).expect("connected"));
    let mut opened = 0;
    let mut before = 0;
    let start = reactor.now();
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Opened(..) => {
                opened += 1;
                if opened == 20 {
                    host.deadline = Some(start + Duration::from_millis(300));
                }
            }
            Happening::Timeout(_) => {
                before = opened;
                host.stop();
            }
            _ => {}
        },
    );
    assert_eq!(before, 20);
    assert!(reactor.turns() < 20, "{} turns", reactor.turns());
}

#[test]
fn another_thread_wakes_the_loop_up() {
    let mut reactor = Reactor::new(Limits::default()).expect("a loop");
    let wake = reactor.wake_handle();
    let worker = std::thread::spawn(move || {
        for _ in 0..100 {
            wake();
        }
    });
    let mut woken = 0;
    run(&mut reactor, Host::default(), |host, happening| {
        if matches!(happening, Happening::Woken) {
            woken += 1;
            host.stop();
        }
    });
    assert_eq!(woken, 1);
    worker.join().expect("it woke us");
}

#[test]
fn a_wake_up_before_the_loop_runs_is_not_lost() {
    let mut reactor = Reactor::new(Limits::default()).expect("a loop");
    reactor.wake_handle()();
    run(&mut reactor, Host::default(), |host, happening| {
        assert!(matches!(happening, Happening::Woken));
        host.stop();
    });
}

#[test]
fn signals_are_events_and_a_second_one_too() {
    let mut reactor = Reactor::new(Limits::default()).expect("a loop");
    raise(Posix::SIGTERM).expect("raised");
    let mut seen = Vec::new();
    run(&mut reactor, Host::default(), |host, happening| {
        if let Happening::Signal(signal) = happening {
            seen.push(signal);
            match signal {
                Signal::Terminate => raise(Posix::SIGINT).expect("raised"),
                Signal::Interrupt => host.stop(),
            }
        }
    });
    assert_eq!(seen, [Signal::Terminate, Signal::Interrupt]);
}

#[test]
fn commands_of_the_last_phase_are_not_left_behind() {
    let (mut reactor, addr) = listening(Limits::default());
    drop(TcpStream::connect(addr).expect("connected"));
    run(&mut reactor, Host::default(), |host, happening| {
        if let Happening::Closed(..) = happening {
            host.stop(); // asked for when the commands of this turn are done, and nothing else will happen
        }
    });
}

#[test]
fn the_loop_runs_again_after_a_stop() {
    let (mut reactor, addr) = listening(Limits::default());
    for _ in 0..3 {
        let mut client = TcpStream::connect(addr).expect("connected");
        client.write_all(b"x").expect("written");
        let host = run(&mut reactor, Host::default(), |host, happening| {
            if let Happening::Received(..) = happening {
                host.stop();
            }
        });
        assert_eq!(host.closings, 1);
    }
}
