//! UDP: draining under a budget, replies, and the sockets that only send.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use shoal::reactor::{Command, Limits, Reactor};

use crate::script::{Happening, Host, run};

const PATIENCE: Duration = Duration::from_secs(20);

/// A loop with one UDP socket, which has the number of a TCP listener.
fn listening(limits: Limits) -> (Reactor, SocketAddr) {
    let mut reactor = Reactor::new(limits).expect("a loop");
    let addr = reactor
        .listen_both("127.0.0.1:0".parse().expect("an address"))
        .expect("a free number");
    (reactor, addr)
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

#[test]
fn every_datagram_is_answered_although_a_turn_takes_only_a_few() {
    let (mut reactor, addr) = listening(Limits {
        datagrams_max: 7,
        ..Limits::default()
    });
    let clients = [client(), client()];
    for number in 0..100u8 {
        let sent = clients[usize::from(number % 2)].send_to(&[number], addr);
        sent.expect("it goes out");
    }
    let mut seen = Vec::new();
    run(&mut reactor, Host::default(), |host, happening| {
        if let Happening::Datagram(local, from, bytes) = happening {
            assert_eq!(local, addr);
            let sender = &clients[usize::from(bytes[0] % 2)];
            assert_eq!(Ok(from), sender.local_addr().map_err(drop));
            host.reply = vec![bytes[0], 1];
            seen.extend(bytes);
            if seen.len() == 100 {
                host.stop();
            }
        }
    });
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    assert!(reactor.turns() >= 100 / 7);
    for number in 0..100u8 {
        let mut buffer = [0; 8];
        let received = clients[usize::from(number % 2)].recv_from(&mut buffer);
        assert_eq!(received.expect("an answer"), (2, addr));
        assert_eq!(buffer[..2], [number, 1]);
    }
}

#[test]
fn who_is_not_answered_gets_nothing_and_an_empty_socket_lets_the_loop_sleep() {
    let (mut reactor, addr) = listening(Limits::default());
    let client = client();
    for _ in 0..10 {
        client.send_to(&[], addr).expect("it goes out");
    }
    let start = reactor.now();
    let mut seen = 0;
    run(
        &mut reactor,
        Host::default(),
        |host, happening| match happening {
            Happening::Datagram(_, _, bytes) => {
                assert!(bytes.is_empty());
                seen += 1;
                host.deadline = Some(start + Duration::from_millis(300));
            }
            Happening::Timeout(_) => host.stop(),
            _ => {}
        },
    );
    assert_eq!(seen, 10);
    assert!(reactor.turns() < 20, "{} turns", reactor.turns());
    client.set_nonblocking(true).expect("fcntl");
    assert!(client.recv_from(&mut [0; 8]).is_err(), "no answer came");
}

#[test]
fn a_datagram_arrives_whole_or_if_no_path_carries_so_much_not_at_all() {
    let (mut reactor, addr) = listening(Limits::default());
    let client = client();
    for len in [1600, 1601, 60_000, 3] {
        let sent = client.send_to(&crate::script::pattern(len), addr);
        assert_eq!(sent.expect("loopback takes it"), len);
    }
    let mut seen = Vec::new();
    run(&mut reactor, Host::default(), |host, happening| {
        if let Happening::Datagram(_, _, received) = happening {
            assert!(received == crate::script::pattern(received.len()));
            seen.push(received.len());
            if seen.len() == 2 {
                host.stop();
            }
        }
    });
    assert_eq!(seen, [1600, 3]);
}

#[test]
fn a_datagram_is_sent_unasked_and_its_answer_comes_back() {
    let mut reactor = Reactor::new(Limits::default()).expect("a loop");
    let others = [client(), UdpSocket::bind("[::1]:0").expect("IPv6 loopback")];
    let mut host = Host::default();
    for other in &others {
        let to = other.local_addr().expect("bound");
        for _ in 0..2 {
            let bytes = b"ask".to_vec();
            host.commands.push_back(Command::SendTo { to, bytes });
        }
    }
    // Nobody takes this one; the loop must not mind.
    let to = "127.0.0.1:1".parse().expect("an address");
    host.commands.push_back(Command::SendTo {
        to,
        bytes: vec![0; 70_000],
    });
    let answering = std::thread::spawn(move || {
        let mut from = Vec::new();
        for other in &others {
            for _ in 0..2 {
                let mut buffer = [0; 8];
                let (count, sender) = other.recv_from(&mut buffer).expect("asked");
                assert_eq!(&buffer[..count], b"ask");
                let answer = crate::script::pattern(16 << 10);
                other.send_to(&answer, sender).expect("answered");
                from.push(sender);
            }
        }
        from
    });
    let mut answers = 0;
    run(&mut reactor, host, |host, happening| {
        if let Happening::Datagram(local, _, bytes) = happening {
            assert_eq!((local.port(), bytes.len()), (0, 16 << 10));
            answers += 1;
            if answers == 4 {
                host.stop();
            }
        }
    });
    let from = answering.join().expect("it answered");
    assert_eq!(from[0], from[1], "one socket sends for each family");
    assert!(from[2].is_ipv6());
}

#[test]
fn a_number_is_taken_for_both_or_not_at_all() {
    let (_reactor, addr) = listening(Limits::default());
    let mut other = Reactor::new(Limits::default()).expect("a loop");
    for error in [other.listen_udp(addr), other.listen_both(addr)] {
        let error = error.expect_err("taken");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
    assert_eq!(other.listeners().count(), 0);
}
