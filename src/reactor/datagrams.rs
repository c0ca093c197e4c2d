//! UDP sockets: how they are bound, and how they are drained.
//!
//! A socket that is listened on sets SO_REUSEADDR and SO_REUSEPORT before it is bound. Either would silently share a port
//! with another process of the same user, so the port is probed first without them.
//! A reply that the system has no room for is dropped: whoever speaks UDP asks again.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use socket2::{Protocol, Socket, Type};

use super::canonical;
use super::listen::{bind_shared, or_ipv4, socket_for};
use super::service::Service;
use crate::base::Time;

/// The places of the sockets that send for `Command::SendTo`, the one of IPv4 first.
pub(super) type Outgoing = [Option<usize>; 2];

/// One UDP socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    pub(super) socket: UdpSocket,
    /// What it is bound to; port 0 for one that only sends.
    pub(super) local: SocketAddr,
    /// An edge is unread: something may have come.
    pub(super) unread: bool,
    reply: Vec<u8>,
}

impl Datagrams {
    /// Binds `addr`, whose port must not be 0.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        assert!(addr.port() != 0, "a UDP port is chosen by number");
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot take UDP on {addr}: {error}"))
        };
        let socket = or_ipv4(addr, bound).map_err(named)?;
        let socket = UdpSocket::from_std(socket.into());
        let local = socket.local_addr().map_err(named)?;
        Ok(Self::new(socket, local))
    }

    /// A socket that can send to `to`, from whatever address and port the system chooses.
    pub(super) fn unbound(to: SocketAddr) -> io::Result<Self> {
        let local: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = socket_for(to, Type::DGRAM, Protocol::UDP)?;
        Ok(Self::new(UdpSocket::from_std(socket.into()), local))
    }

    fn new(socket: UdpSocket, local: SocketAddr) -> Self {
        Self {
            socket,
            local,
            unread: false,
            reply: Vec::new(),
        }
    }

    /// Hands what has come to the service, `count_max` datagrams at most, and sends what it replies.
    pub(super) fn pump<V: Service>(
        &mut self,
        now: Time,
        service: &mut V,
        scratch: &mut [u8],
        count_max: usize,
    ) {
        for _ in 0..count_max {
            let (count, from) = match self.socket.recv_from(scratch) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unread = false;
                    return;
                }
                // Of one datagram, or of one that was sent: the next may do.
                Err(_) => continue,
            };
            let mut reply = std::mem::take(&mut self.reply);
            service.datagram(
                now,
                self.local,
                canonical(from),
                &scratch[..count],
                &mut reply,
            );
            if !reply.is_empty() {
                self.send(from, &reply);
                reply.clear();
            }
            self.reply = reply;
        }
    }

    /// Sends a datagram, or drops it.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Err(error) = self.socket.send_to(bytes, to) {
            log::debug!("{}: a datagram to {to} is dropped: {error}", self.local);
        }
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    // UDP ports do not linger, and SO_REUSEADDR alone would already share one.
    socket_for(addr, Type::DGRAM, Protocol::UDP)?.bind(&addr.into())?;
    let socket = socket_for(addr, Type::DGRAM, Protocol::UDP)?;
    bind_shared(&socket, addr)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port of `ip` that nobody has.
    fn free(ip: &str) -> SocketAddr {
        let addr = SocketAddr::new(ip.parse().expect("an address"), 0);
        let socket = std::net::UdpSocket::bind(addr).expect("a port");
        socket.local_addr().expect("bound")
    }

    #[test]
    fn a_udp_socket_has_both_options_set() {
        for ip in ["127.0.0.1", "::"] {
            let socket = bound(free(ip)).expect(ip);
            assert!(socket.reuse_address().expect("getsockopt"), "{ip}");
            assert!(socket.reuse_port().expect("getsockopt"), "{ip}");
            assert!(socket.nonblocking().expect("fcntl"), "{ip}");
        }
    }

    #[test]
    fn the_unspecified_address_takes_ipv4_as_well() {
        let socket = Datagrams::bind(free("::")).expect("free");
        let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let sent = client.send_to(b"x", (Ipv4Addr::LOCALHOST, socket.local.port()));
        assert_eq!(sent.expect("it goes out"), 1);
        let mut buffer = [0; 8];
        let (count, from) = socket.socket.recv_from(&mut buffer).expect("it arrived");
        assert_eq!(count, 1);
        assert_eq!(canonical(from), client.local_addr().expect("bound"));
    }

    #[test]
    fn a_port_that_somebody_has_is_refused_by_name() {
        let first = Datagrams::bind(free("127.0.0.1")).expect("free");
        let error = Datagrams::bind(first.local).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&first.local.to_string()), "{text}");
        let other = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let error = Datagrams::bind(other.local_addr().expect("bound")).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
    }

    #[test]
    #[should_panic(expected = "chosen by number")]
    fn port_0_is_our_own_bug() {
        let _ = Datagrams::bind("127.0.0.1:0".parse().expect("an address"));
    }
}
