//! The floor: responders that answer every request with the same bytes and know nothing. What a tracker costs beyond
//! them is its own; the rest is the kernel's.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use std::io::{IoSlice, IoSliceMut};

/// Datagrams taken at once.
const BATCH: usize = 64;
const DATAGRAM_BYTES: usize = 2048;
/// An announce reply with 30 peers.
const UDP_REPLY_BYTES: usize = 20 + 30 * 6;
/// The body of one over HTTP.
const HTTP_BODY_BYTES: usize = 250;

/// Answers on `addr` until it is killed.
pub(crate) fn run(mode: &str, addr: SocketAddr) {
    match mode {
        "udp" => answer_datagrams(addr),
        "http" => answer_requests(addr, false),
        "http-close" => answer_requests(addr, true),
        other => panic!("no such responder: {other}"),
    }
}

fn answer_datagrams(addr: SocketAddr) -> ! {
    let socket = UdpSocket::bind(addr).expect("a free port");
    println!("ready");
    let mut space = vec![0; BATCH * DATAGRAM_BYTES];
    let mut replies = vec![[0x5a; UDP_REPLY_BYTES]; BATCH];
    loop {
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let (mut lens, mut from) = ([0; BATCH], [None; BATCH]);
        let mut count = 0;
        let mut places: Vec<_> = space
            .chunks_mut(DATAGRAM_BYTES)
            .map(|place| [IoSliceMut::new(place)])
            .collect();
        let taken = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            places.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        );
        for message in taken.into_iter().flatten() {
            let bytes = message.iovs().next().unwrap_or_default();
            lens[count] = put_reply(bytes, &mut replies[count]);
            from[count] = message.address;
            count += 1;
        }
        let slices: Vec<_> = (0..count)
            .map(|at| [IoSlice::new(&replies[at][..lens[at]])])
            .collect();
        let nothing: [ControlMessage<'_>; 0] = [];
        let mut sent = 0;
        while sent < count {
            let outcome = sendmmsg(
                socket.as_raw_fd(),
                &mut headers,
                slices[sent..].iter(),
                &from[sent..count],
                nothing,
                MsgFlags::empty(),
            );
            match outcome {
                Ok(some) => sent += some.count(),
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }
}

/// The reply to a connect, or to anything else as if it were an announce.
fn put_reply(request: &[u8], reply: &mut [u8]) -> usize {
    if request.len() < 16 {
        return 0;
    }
    reply[..4].copy_from_slice(&request[8..12]);
    reply[4..8].copy_from_slice(&request[12..16]);
    if request[8..12] == [0; 4] {
        return 16;
    }
    for (place, number) in reply[8..20].chunks_mut(4).zip([1800u32, 70, 30]) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    UDP_REPLY_BYTES
}

const LISTENER: Token = Token(usize::MAX);

fn answer_requests(addr: SocketAddr, closes: bool) -> ! {
    let mut listener = TcpListener::bind(addr).expect("a free port");
    let mut poll = Poll::new().expect("a poll");
    let registered = poll
        .registry()
        .register(&mut listener, LISTENER, Interest::READABLE);
    registered.expect("it is registered");
    println!("ready");
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {HTTP_BODY_BYTES}\r\n\r\n{}",
        "x".repeat(HTTP_BODY_BYTES)
    );
    let mut conns: slab::Slab<TcpStream> = slab::Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let entry = conns.vacant_entry();
                    let token = Token(entry.key());
                    let registered =
                        poll.registry()
                            .register(&mut stream, token, Interest::READABLE);
                    if registered.is_ok() {
                        entry.insert(stream);
                    }
                }
                continue;
            }
            let Some(stream) = conns.get_mut(event.token().0) else {
                continue;
            };
            let goes_on = match stream.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    let ends = buffer[..count].windows(4).filter(|w| w == b"\r\n\r\n");
                    let all = reply.repeat(ends.count());
                    stream.write_all(all.as_bytes()).is_ok() && !closes
                }
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            if !goes_on {
                conns.remove(event.token().0);
            }
        }
    }
}
