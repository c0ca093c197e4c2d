//! Bytes in and out: budgets, parking, landing, slow readers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use shoal::base::Rng;
use shoal::reactor::{Closed, Limits};

use crate::script::{Happening, Host, listening, pattern, run};

/// A client whose buffers are as small as the system allows.
fn tiny_client(addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )
    .expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.set_send_buffer_size(4096).expect("set");
    socket.connect(&addr.into()).expect("connected");
    socket.into()
}

#[test]
fn echoes_megabytes_to_a_client_with_tiny_buffers() {
    let (mut reactor, addr) = listening(Limits::default());
    let client = std::thread::spawn(move || {
        let mut stream = tiny_client(addr);
        let (sent, mut back) = (pattern(4 << 20), Vec::new());
        let mut writer = stream.try_clone().expect("a second handle");
        let copy = sent.clone();
        let writing = std::thread::spawn(move || writer.write_all(&copy).expect("all sent"));
        back.resize(sent.len(), 0);
        stream.read_exact(&mut back).expect("all back");
        writing.join().expect("written");
        assert!(back == sent, "the bytes that were sent");
    });
    let mut queued = 0;
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Received(conn, bytes) => {
                queued += bytes.len();
                host.send(conn, &bytes);
                if queued > 64 << 10 {
                    host.deaf.insert(conn);
                }
            }
            Happening::Sent(conn, count) => {
                queued -= count;
                if queued <= 64 << 10 && host.deaf.remove(&conn) {
                    host.resume(conn);
                }
            }
            Happening::Closed(_, why) => {
                assert!(matches!(why, Closed::End), "{why}");
                host.stop();
            }
            _ => {}
        },
    );
    client.join().expect("the client is content");
}

#[test]
fn what_a_budget_cuts_off_is_read_without_a_new_edge() {
    let limits = Limits {
        read_bytes_max: 1024,
        ..Limits::default()
    };
    let (mut reactor, addr) = listening(limits);
    let data = pattern(64 << 10);
    let mut clients = [addr, addr].map(|addr| TcpStream::connect(addr).expect("connected"));
    for client in &mut clients {
        client.write_all(&data).expect("fits into the buffers");
    }
    let host = Host {
        budget: Some(512), // each read
        ..Host::default()
    };
    let mut order = Vec::new();
    let mut got = std::collections::HashMap::<_, Vec<u8>>::new();
    run(&mut reactor, host, |host, happening| {
        if let Happening::Received(conn, bytes) = happening {
            assert!(bytes.len() <= 512);
            order.push(conn);
            got.entry(conn).or_default().extend(bytes);
            if got.values().map(Vec::len).sum::<usize>() == 2 * data.len() {
                host.stop();
            }
        }
    });
    assert_eq!(got.len(), 2);
    assert!(got.values().all(|bytes| *bytes == data));
    assert!(reactor.turns() >= 64, "{} turns", reactor.turns());
    let longest_run = order
        .chunk_by(|a, b| a == b)
        .map(<[_]>::len)
        .max()
        .expect("both were read");
    assert!(
        order.len() >= 256 && longest_run <= 2,
        "a conn that has much to say starves the other: {longest_run}"
    );
}

#[test]
fn a_parked_direction_resumes_with_its_bytes_intact() {
    let (mut reactor, addr) = listening(Limits::default());
    let data = pattern(64 << 10);
    let mut client = TcpStream::connect(addr).expect("connected");
    client.write_all(&data).expect("fits into the buffers");
    client.shutdown(Shutdown::Write).expect("half closed");
    let host = Host {
        budget: Some(0),
        ..Host::default()
    };
    let (mut got, start) = (Vec::new(), reactor.now());
    let mut parked = None;
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Opened(conn, _) => {
            parked = Some(conn);
            host.send(conn, &data);
            host.deadline = Some(start + Duration::from_millis(50));
        }
        Happening::Timeout(_) => {
            host.budget = None;
            host.resume(parked.expect("opened first"));
        }
        Happening::Received(_, bytes) | Happening::Landed(_, bytes) => {
            assert_eq!(host.budget, None, "not while it is parked");
            got.extend(bytes);
        }
        Happening::Sent(..) => assert_eq!(host.budget, None, "not while it is parked"),
        Happening::Closed(_, why) => {
            assert!(matches!(why, Closed::End), "{why}");
            host.stop();
        }
        _ => {}
    });
    assert!(got == data);
    let mut back = Vec::new();
    client.read_to_end(&mut back).expect("an orderly end");
    assert!(back == data);
    assert!(reactor.turns() < 20, "parked conns do not spin");
}

#[test]
fn bytes_land_in_place_and_what_follows_them_comes_by_scratch() {
    let (mut reactor, addr) = listening(Limits::default());
    let data = pattern(1020);
    let mut client = TcpStream::connect(addr).expect("connected");
    client.write_all(&data[..600]).expect("written");
    let host = Host {
        budget: Some(10), // the header
        ..Host::default()
    };
    let mut seen = Vec::new();
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Received(_, bytes) => {
            if seen.is_empty() {
                host.budget = None;
                host.landing = vec![0; 1000];
            } else {
                host.stop();
            }
            seen.push(("received", bytes));
        }
        Happening::Landed(conn, bytes) => {
            assert_eq!(host.open, [conn]);
            seen.push(("landed", bytes));
            if seen.len() == 2 {
                client.write_all(&data[600..]).expect("written");
            }
        }
        _ => {}
    });
    let expected = [
        ("received", &data[..10]),
        ("landed", &data[10..600]),
        ("landed", &data[600..1010]),
        ("received", &data[1010..]),
    ];
    assert_eq!(seen.len(), expected.len());
    for ((how, bytes), (expected_how, expected_bytes)) in seen.iter().zip(expected) {
        assert_eq!((*how, &bytes[..]), (expected_how, expected_bytes));
    }
}

#[test]
fn any_mix_of_landing_budget_and_segments_keeps_the_order_of_bytes() {
    let limits = Limits {
        read_bytes_max: 3000,
        ..Limits::default()
    };
    let (mut reactor, addr) = listening(limits);
    let seed = 5;
    let data = pattern(1 << 20);
    let copy = data.clone();
    let client = std::thread::spawn(move || {
        let (mut stream, mut rng) = (TcpStream::connect(addr).expect("connected"), Rng::new(seed));
        let mut rest = &copy[..];
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.len().min(1 + rng.below(5000)));
            stream.write_all(part).expect("written");
            rest = others;
        }
    });
    let (mut rng, mut got) = (Rng::new(seed + 1), Vec::new());
    run(&mut reactor, Host::default(), |host, happening| {
        match happening {
            Happening::Landed(_, bytes) | Happening::Received(_, bytes) => got.extend(bytes),
            Happening::Closed(..) => host.stop(),
            _ => {}
        }
        if host.landing.is_empty() {
            host.landing.resize(rng.below(3) * rng.below(2000), 0);
        }
        host.budget = Some(1 + rng.below(4000));
    });
    client.join().expect("all written");
    assert!(got == data, "seed {seed}");
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut client = TcpStream::connect(addr).expect("connected");
    client.write_all(b"question").expect("written");
    client.shutdown(Shutdown::Write).expect("half closed");
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Received(conn, bytes) => {
                assert_eq!(bytes, b"question");
                host.send(conn, b"answer");
            }
            Happening::Closed(..) => host.stop(),
            _ => {}
        },
    );
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an orderly end");
    assert_eq!(answer, "answer");
}

#[test]
fn a_large_answer_goes_on_over_turns_when_the_write_budget_ends() {
    let limits = Limits {
        write_bytes_max: 1000,
        ..Limits::default()
    };
    let (mut reactor, addr) = listening(limits);
    let mut client = TcpStream::connect(addr).expect("connected");
    let data = pattern(32 << 10);
    let mut left = data.len();
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Opened(conn, _) => host.send(conn, &data),
            Happening::Sent(_, count) => {
                assert!(count <= 1000);
                left -= count;
                if left == 0 {
                    host.stop();
                }
            }
            _ => {}
        },
    );
    assert!(reactor.turns() >= 32, "{} turns", reactor.turns());
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("an orderly end");
    assert!(got == data);
}

#[test]
fn a_full_socket_goes_on_when_it_has_room_again() {
    let (mut reactor, addr) = listening(Limits {
        control_bytes_max: 32 << 20,
        ..Limits::default()
    });
    let data = pattern(24 << 20); // far more than the system buffers
    let copy = data.clone();
    let client = std::thread::spawn(move || {
        let mut got = vec![0; copy.len()];
        tiny_client(addr).read_exact(&mut got).expect("all of it");
        assert!(got == copy);
    });
    let mut sends = 0;
    run(&mut reactor, Host::default(), |host, happening| {
        match happening {
            Happening::Opened(conn, _) => host.send(conn, &data), // the only time it is dirty
            Happening::Sent(..) => sends += 1,
            Happening::Closed(..) => host.stop(),
            _ => {}
        }
    });
    assert!(sends > 1, "it was never full");
    client.join().expect("the client is content");
}

#[test]
fn parked_output_goes_on_after_a_resume_alone() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut client = TcpStream::connect(addr).expect("connected");
    let host = Host {
        budget: Some(0),
        ..Host::default()
    };
    let mut parked = None;
    run(&mut reactor, host, |host, happening| match happening {
        Happening::Opened(conn, _) => {
            parked = Some(conn);
            host.send(conn, b"at last");
            host.deadline = Some(shoal::base::Time::from_nanos(1));
        }
        Happening::Timeout(now) if host.refills == 0 => {
            host.deadline = Some(now + Duration::from_millis(1));
        }
        Happening::Timeout(_) => {
            host.budget = Some(3);
            host.resume(parked.expect("opened first"));
        }
        Happening::Sent(_, count) => {
            assert!(count <= 3);
            if count == 1 {
                host.stop();
            }
        }
        _ => {}
    });
    let mut got = String::new();
    client.read_to_string(&mut got).expect("an orderly end");
    assert_eq!(got, "at last");
}

#[test]
fn what_is_queued_when_the_loop_stops_is_sent() {
    let (mut reactor, addr) = listening(Limits::default());
    let mut client = TcpStream::connect(addr).expect("connected");
    run(&mut reactor, Host::default(), |host, happening| {
        if let Happening::Opened(conn, _) = happening {
            host.output.insert(conn, b"last words".to_vec()); // and no Dirty
            host.stop();
        }
    });
    let mut words = String::new();
    client.read_to_string(&mut words).expect("an orderly end");
    assert_eq!(words, "last words");
}

#[test]
fn a_client_that_never_reads_is_closed_at_the_control_limit() {
    let limits = Limits {
        control_bytes_max: 8 << 20,
        ..Limits::default()
    };
    let (mut reactor, addr) = listening(limits);
    let mut client = tiny_client(addr);
    client.write_all(b"go").expect("written");
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Received(conn, _) => host.send(conn, &vec![0; 32 << 20]),
            Happening::Closed(_, why) => {
                assert!(matches!(why, Closed::Fault(_)), "{why}");
                host.stop();
            }
            _ => {}
        },
    );
}
