//! Conns come and go: accepting, dialling, resets, stale ids, refusals.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use shoal::reactor::{Closed, Command, ConnId, Limits, Origin, Reactor};

use crate::script::{Happening, Host, listening, pattern, run};

/// Drops `client` with a reset instead of an orderly end.
fn reset(client: TcpStream) {
    let socket = socket2::Socket::from(client);
    socket.set_linger(Some(Duration::ZERO)).expect("set");
}

#[test]
fn two_listeners_take_conns_of_both_families() {
    let (mut reactor, first) = listening(Limits::default());
    let any = "[::]:0".parse().expect("an address");
    let second = reactor.listen(any).expect("a free port");
    assert_eq!(reactor.listeners().collect::<Vec<_>>(), [first, second]);
    let to_second = SocketAddr::from(([127, 0, 0, 1], second.port()));
    let clients = [first, to_second].map(|addr| TcpStream::connect(addr).expect("connected"));
    let mut expected = clients
        .iter()
        .map(|client| client.local_addr().expect("bound"))
        .collect::<Vec<_>>();
    run(&mut reactor, Host::default(), |host, happening| {
        if let Happening::Opened(_, Origin::Accepted { remote }) = happening {
            assert!(remote.is_ipv4(), "{remote}");
            expected.retain(|addr| *addr != remote);
            if expected.is_empty() {
                host.stop();
            }
        }
    });
}

#[test]
fn a_port_that_is_listened_on_is_refused_with_its_address() {
    let (_reactor, addr) = listening(Limits::default());
    let mut other = Reactor::new(Limits::default()).expect("a loop");
    let error = other.listen(addr).expect_err("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert_eq!(other.listeners().count(), 0);
}

#[test]
fn a_refused_conn_is_closed_unheard() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut refused = TcpStream::connect(addr).expect("connected");
    let host = Host {
        refuse: true,
        ..Host::default()
    };
    let mut opened = 0;
    let host = run(&mut reactor, host, |host, happening| match happening {
        Happening::Opened(..) => {
            opened += 1;
            if opened == 1 {
                let next = TcpStream::connect(addr).expect("connected");
                drop(next);
            }
        }
        Happening::Closed(..) => host.stop(),
        _ => {}
    });
    assert_eq!((opened, host.closings), (2, 1));
    assert_eq!(refused.read(&mut [0]).expect("an orderly end"), 0);
}

#[test]
fn a_fault_in_received_bytes_closes_with_its_reason_after_an_answer() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut client = TcpStream::connect(addr).expect("connected");
    client.write_all(b"nonsense").expect("written");
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Received(conn, _) => {
                host.send(conn, b"go away");
                host.fault = Some(Closed::Fault("nonsense"));
            }
            Happening::Closed(_, why) => {
                assert!(matches!(why, Closed::Fault("nonsense")), "{why}");
                host.stop();
            }
            _ => {}
        },
    );
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an orderly end");
    assert_eq!(answer, "go away");
}

#[test]
fn a_conn_reset_before_it_was_accepted_harms_nobody() {
    let (mut reactor, addr) = listening(Limits::default());
    reset(TcpStream::connect(addr).expect("connected"));
    let mut client = TcpStream::connect(addr).expect("connected");
    client.write_all(b"here").expect("written");
    let mut resets = 0;
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Closed(_, Closed::Failed(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                resets += 1;
            }
            Happening::Received(_, bytes) => {
                assert_eq!(bytes, b"here");
                host.stop();
            }
            _ => {}
        },
    );
    assert!(resets <= 1);
}

#[test]
fn a_reader_that_resets_in_mid_write_is_an_error_and_not_the_end_of_the_process() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut client = Some(TcpStream::connect(addr).expect("connected"));
    let mut kind = None;
    run(&mut reactor, Host::default(), |host, happening| {
        match happening {
            Happening::Opened(conn, _) => {
                host.deaf.insert(conn); // so that it is writing that meets the end
                host.send(conn, &vec![7; 6 << 20]);
            }
            Happening::Sent(conn, _) => {
                if let Some(client) = client.take() {
                    reset(client);
                }
                host.send(conn, &[7; 1000]);
            }
            Happening::Closed(_, why) => {
                if let Closed::Failed(error) = why {
                    kind = Some(error.kind());
                }
                host.stop();
            }
            _ => {}
        }
    });
    assert!(
        matches!(
            kind,
            Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        ),
        "{kind:?}"
    );
}

#[test]
fn the_end_of_one_conn_and_a_new_one_in_the_same_batch_do_not_mix() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut first = Some(TcpStream::connect(addr).expect("connected"));
    let mut second = None;
    let mut log = Vec::new();
    run(&mut reactor, Host::default(), |host, happening| {
        match happening {
            Happening::Opened(conn, _) => {
                log.push(("opened", conn));
                host.deadline = first.as_ref().map(|_| shoal::base::Time::ZERO);
            }
            Happening::Timeout(_) => {
                // The next batch: data and end of the first conn, and somebody at the door.
                let mut client = first.take().expect("once");
                client.write_all(b"a").expect("written");
                drop(client);
                let mut client = TcpStream::connect(addr).expect("connected");
                client.write_all(b"b").expect("written");
                second = Some(client);
            }
            Happening::Received(conn, bytes) => {
                log.push((if bytes == b"a" { "a" } else { "b" }, conn));
                if bytes == b"b" {
                    host.stop();
                }
            }
            Happening::Closed(conn, Closed::End) => log.push(("end", conn)),
            _ => {}
        }
    });
    let conn_of = |what: &str| log.iter().find(|entry| entry.0 == what).expect(what).1;
    let (a, b) = (conn_of("a"), conn_of("b"));
    assert_ne!(a, b);
    let of = |conn: ConnId| {
        let own = log.iter().filter(|entry| entry.1 == conn);
        own.map(|entry| entry.0).collect::<Vec<_>>()
    };
    assert_eq!(of(a), ["opened", "a", "end"]);
    assert_eq!(of(b), ["opened", "b"]);
}

#[test]
fn what_is_asked_for_a_closed_conn_misses_the_next_one_in_its_slot() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut client = Some(TcpStream::connect(addr).expect("connected"));
    let (mut stale, mut fresh) = (None, None);
    let mut refills_before = 0;
    let host = run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Opened(conn, _) => match stale {
                None => {
                    stale = Some(conn);
                    host.close(conn, "enough");
                }
                Some(stale) => {
                    assert_eq!(conn.slot(), ConnId::slot(stale), "the slot is used again");
                    assert_ne!(conn, stale);
                    fresh = Some(conn);
                    host.deaf.insert(conn);
                    refills_before = host.refills;
                    host.commands.push_back(Command::Dirty(stale));
                    host.commands.push_back(Command::Resume(stale));
                    host.close(stale, "too late");
                    host.deadline = Some(shoal::base::Time::ZERO);
                }
            },
            Happening::Closed(conn, _) if Some(conn) == stale => {
                client = Some(TcpStream::connect(addr).expect("connected"));
            }
            Happening::Timeout(_) => {
                assert_eq!(host.open, [fresh.expect("it is open")]);
                assert_eq!(host.refills, refills_before);
                host.stop();
            }
            _ => {}
        },
    );
    assert_eq!(host.closings, 2);
    drop(client);
}

#[test]
fn dials_and_talks() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut host = Host::default();
    host.connect(addr, 7);
    let mut dialled = None;
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Opened(conn, Origin::Dialled { remote, local, tag }) => {
            assert_eq!((remote, tag), (addr, 7));
            assert_ne!(local.port(), addr.port());
            dialled = Some(conn);
            host.send(conn, b"hello");
        }
        Happening::Received(conn, bytes) if Some(conn) == dialled => {
            assert_eq!(bytes, b"hello yourself");
            host.stop();
        }
        Happening::Received(conn, bytes) => {
            assert_eq!(bytes, b"hello");
            host.send(conn, b"hello yourself");
        }
        _ => {}
    });
}

#[test]
fn a_dial_to_a_closed_port_fails() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let mut reactor = Reactor::new(Limits::default()).expect("a loop");
    let mut host = Host::default();
    host.connect(closed, 3);
    host.connect("255.255.255.255:9".parse().expect("an address"), 4);
    let mut failed = Vec::new();
    run(&mut reactor, host, |host, happening| {
        if let Happening::DialFailed(addr, tag, error) = happening {
            if tag == 3 {
                assert_eq!(
                    (addr, error.kind()),
                    (closed, io::ErrorKind::ConnectionRefused)
                );
            }
            failed.push(tag);
            if failed.len() == 2 {
                host.stop();
            }
        }
    });
    failed.sort_unstable();
    assert_eq!(failed, [3, 4], "a failure at once is told as well");
}

#[test]
fn a_dial_that_nobody_answers_times_out() {
    // A listener whose backlog is full drops what knocks, like a host that is gone.
    let full =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    full.bind(&any.into()).expect("a port");
    full.listen(0).expect("listening");
    let addr = full
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("an IP address");
    let _waiting = TcpStream::connect(addr).expect("the one place in the backlog");
    let limits = Limits {
        connect_timeout: Duration::from_millis(30),
        ..Limits::default()
    };
    let mut reactor = Reactor::new(limits).expect("a loop");
    let mut host = Host::default();
    for tag in 0..3 {
        host.connect(addr, tag);
    }
    let mut failed = Vec::new();
    run(&mut reactor, host, |host, happening| {
        if let Happening::DialFailed(_, tag, error) = happening {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            failed.push(tag);
            if failed.len() == 3 {
                host.stop();
            }
        }
    });
    assert_eq!(failed, [0, 1, 2]);
}

#[test]
fn a_dial_under_way_fails_when_the_loop_stops() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut host = Host::default();
    host.connect(addr, 1);
    host.stop();
    let mut failed = 0;
    run(&mut reactor, host, |_, happening| {
        if let Happening::DialFailed(_, 1, _) = happening {
            failed += 1;
        }
    });
    assert_eq!(failed, 1);
}

#[test]
fn a_service_may_redial_from_every_failure_and_still_be_stopped() {
    let (mut reactor, _) = listening(Limits {
        conns_max: 0,
        ..Limits::default()
    });
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let mut host = Host::default();
    host.connect(nobody, 0);
    run(&mut reactor, host, |host, happening| {
        if let Happening::DialFailed(addr, tag, error) = happening {
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
            host.connect(addr, tag + 1);
            if tag == 100 {
                host.stop();
            }
        }
    });
    assert!(reactor.turns() > 100, "one attempt a turn");
}

#[test]
fn many_conns_at_once_are_all_served() {
    let (mut reactor, addr) = listening(Limits {
        accepts_max: 7,
        ..Limits::default()
    });
    const CLIENTS: usize = 200;
    let message = pattern(5000);
    let copy = message.clone();
    let clients = std::thread::spawn(move || {
        let mut clients = (0..CLIENTS)
            .map(|_| TcpStream::connect(addr).expect("connected"))
            .collect::<Vec<_>>();
        for client in &mut clients {
            client.write_all(&copy).expect("written");
        }
        for client in &mut clients {
            let mut back = vec![0; copy.len()];
            client.read_exact(&mut back).expect("all back");
            assert!(back == copy);
        }
    });
    let host = run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Received(conn, bytes) => host.send(conn, &bytes),
            Happening::Closed(..) if host.closings == CLIENTS => host.stop(),
            _ => {}
        },
    );
    assert_eq!(host.closings, CLIENTS);
    clients.join().expect("the clients are content");
}
