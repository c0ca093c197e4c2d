//! UDP sockets: how they are bound, and how they are drained.
//!
//! A socket that is listened on sets SO_REUSEADDR and SO_REUSEPORT before it is bound. Either would silently share a port
//! with another process of the same user, so the port is probed first without them.
//!
//! Datagrams are taken, and their replies sent, by the batch: the system calls are most of what a datagram costs. A reply
//! leaves from the address that its datagram came to, also where every address of the machine is listened on. One that the
//! system has no room for is dropped: whoever speaks UDP asks again.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, RawFd};

use mio::net::UdpSocket;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
    recvmmsg, sendmmsg, setsockopt,
};
use socket2::{Protocol, Socket, Type};

use super::canonical;
use super::listen::{bind_shared, or_ipv4, socket_for};
use super::service::Service;
use crate::base::Time;

/// The places of the sockets that send for `Command::SendTo`, the one of IPv4 first.
pub(super) type Outgoing = [Option<usize>; 2];

/// Datagrams taken, and replies sent, by one system call.
const BATCH_MAX: usize = 64;
/// A batch of so many takes long enough to answer that others have come meanwhile.
const LIKELY_MORE_MIN: usize = 8;
/// Bytes of a datagram to a socket that is listened on: no path carries more in one piece. A longer one is dropped. An odd
/// number of the cache's lines, or the beginnings of a batch would all compete for the same few places in it.
const REQUEST_BYTES_MAX: usize = 25 * 64;
/// Bytes of a datagram to a socket that sends for `Command::SendTo`, whose answers may come in pieces.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Bytes that the system is asked to keep for a socket that is listened on. It may allow fewer.
const KEPT_BYTES: usize = 4 << 20;

type Headers = MultiHeaders<SockaddrStorage>;

/// One UDP socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    pub(super) socket: UdpSocket,
    /// What it is bound to; port 0 for one that only sends.
    pub(super) local: SocketAddr,
    /// An edge is unread: something may have come.
    pub(super) unread: bool,
    bytes_max: usize,
    /// Whether the system tells to which address each datagram came, so that replies can leave from there.
    tells_local: bool,
    outgoing: Replies,
}

/// The replies of one batch. The buffers stay for the next one.
#[derive(Debug, Default)]
struct Replies {
    buffers: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrStorage>>,
    /// The addresses that they leave from, where that is ours to say.
    from: Vec<Option<IpAddr>>,
}

impl Datagrams {
    /// Binds `addr`, whose port must not be 0.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        assert!(addr.port() != 0, "a UDP port is chosen by number");
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot take UDP on {addr}: {error}"))
        };
        let socket = or_ipv4(addr, bound).map_err(named)?;
        // More room only helps; what there is without it does as well.
        let _ = socket.set_recv_buffer_size(KEPT_BYTES);
        let _ = socket.set_send_buffer_size(KEPT_BYTES);
        let socket = UdpSocket::from_std(socket.into());
        let local = socket.local_addr().map_err(named)?;
        let tells_local = local.ip().is_unspecified();
        if tells_local {
            let told = match local {
                SocketAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true),
                SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true),
            };
            told.map_err(|errno| named(errno.into()))?;
        }
        Ok(Self {
            tells_local,
            ..Self::new(socket, local, REQUEST_BYTES_MAX)
        })
    }

    /// A socket that can send to `to`, from whatever address and port the system chooses.
    pub(super) fn unbound(to: SocketAddr) -> io::Result<Self> {
        let local: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = socket_for(to, Type::DGRAM, Protocol::UDP)?;
        let socket = UdpSocket::from_std(socket.into());
        Ok(Self::new(socket, local, ANSWER_BYTES_MAX))
    }

    fn new(socket: UdpSocket, local: SocketAddr, bytes_max: usize) -> Self {
        Self {
            socket,
            local,
            unread: false,
            bytes_max,
            tells_local: false,
            outgoing: Replies::default(),
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
        let mut left = count_max;
        while left > 0 && self.unread {
            let wanted = left.min(BATCH_MAX).min(scratch.len() / self.bytes_max);
            // They are made anew for each batch: sending leaves traces in them that receiving would follow.
            let mut headers = Headers::preallocate(wanted, self.control_space());
            let taken = self.receive(&mut headers, wanted, now, service, scratch);
            self.reply(&mut headers);
            left -= taken;
        }
    }

    /// Room for what the system tells beside a datagram.
    fn control_space(&self) -> Option<Vec<u8>> {
        self.tells_local.then(|| match self.local {
            SocketAddr::V4(_) => cmsg_space!(in_pktinfo),
            SocketAddr::V6(_) => cmsg_space!(in6_pktinfo),
        })
    }

    /// Takes up to `wanted` datagrams, and says how many of the turn's are used up.
    fn receive<V: Service>(
        &mut self,
        headers: &mut Headers,
        wanted: usize,
        now: Time,
        service: &mut V,
        scratch: &mut [u8],
    ) -> usize {
        let mut chunks = scratch.chunks_exact_mut(self.bytes_max);
        let mut places: [[IoSliceMut<'_>; 1]; BATCH_MAX] =
            array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            headers,
            &mut places[..wanted],
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        let messages = match received {
            Ok(messages) => messages,
            Err(Errno::EAGAIN) => {
                self.unread = false;
                return 0;
            }
            // Of one datagram, or of one that was sent: the next may do.
            Err(_) => return 1,
        };
        let messages: Vec<_> = messages.collect();
        let mut datagrams: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
        for (place, message) in datagrams.iter_mut().zip(&messages) {
            *place = message.iovs().next().unwrap_or_default();
        }
        let taken = messages.len();
        service.foresee(&datagrams[..taken]);
        for message in &messages {
            self.hand_over(message, now, service);
        }
        // The system looked for one more and found none, so that the next one brings an edge. But while many are answered
        // more come, and it is cheaper to look for them than to be told.
        self.unread = taken >= wanted.min(LIKELY_MORE_MIN);
        taken
    }

    fn hand_over<V: Service>(
        &mut self,
        message: &RecvMsg<'_, '_, SockaddrStorage>,
        now: Time,
        service: &mut V,
    ) {
        let Some(from) = message.address.as_ref().and_then(socket_addr) else {
            return;
        };
        let local = if self.tells_local {
            local_of(message)
        } else {
            None
        };
        let is_cut = message.flags.contains(MsgFlags::MSG_TRUNC);
        if is_cut || self.tells_local && local.is_none() {
            log::debug!("{}: a datagram from {from} is dropped", self.local);
            return;
        }
        let bytes = message.iovs().next().unwrap_or_default();
        let reply = self.outgoing.next_buffer();
        service.datagram(now, self.local, canonical(from), bytes, reply);
        if !reply.is_empty() {
            self.outgoing.to.push(message.address);
            self.outgoing.from.push(local);
        }
    }

    /// Sends the replies of a batch, those that leave from one address together.
    fn reply(&mut self, headers: &mut Headers) {
        let Replies { buffers, to, from } = &self.outgoing;
        let empty: &[u8] = &[];
        let slices: [[IoSlice<'_>; 1]; BATCH_MAX] =
            array::from_fn(|at| [IoSlice::new(buffers.get(at).map_or(empty, Vec::as_slice))]);
        let mut next = 0;
        while next < to.len() {
            let local = from[next];
            let alike = from[next..].iter().take_while(|other| **other == local);
            let range = next..next + alike.count();
            let fd = self.socket.as_raw_fd();
            match send_all(fd, headers, &slices[range.clone()], &to[range], local) {
                Ok(count) => next += count,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    log::debug!("{}: a reply is dropped: {error}", self.local);
                    // Without room the others would find none either; whatever else is wrong is of this one alone.
                    if matches!(error, Errno::EAGAIN | Errno::ENOBUFS) {
                        break;
                    }
                    next += 1;
                }
            }
        }
        self.outgoing.clear();
    }

    /// Sends a datagram, or drops it.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Err(error) = self.socket.send_to(bytes, to) {
            log::debug!("{}: a datagram to {to} is dropped: {error}", self.local);
        }
    }
}

impl Replies {
    /// An empty buffer for one more reply.
    fn next_buffer(&mut self) -> &mut Vec<u8> {
        let at = self.to.len();
        if at == self.buffers.len() {
            self.buffers.push(Vec::new());
        }
        &mut self.buffers[at]
    }

    fn clear(&mut self) {
        for buffer in &mut self.buffers[..self.to.len()] {
            buffer.clear();
        }
        self.to.clear();
        self.from.clear();
    }
}

/// Sends datagrams that leave from one address, or from whichever the system chooses; how many it took.
fn send_all(
    fd: RawFd,
    headers: &mut Headers,
    slices: &[[IoSlice<'_>; 1]],
    to: &[Option<SockaddrStorage>],
    local: Option<IpAddr>,
) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = match local {
        None => {
            let nothing: [ControlMessage<'_>; 0] = [];
            sendmmsg(fd, headers, slices, to, nothing, flags)?.count()
        }
        Some(IpAddr::V4(ip)) => {
            let info = packet_info_v4(ip);
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmmsg(fd, headers, slices, to, control, flags)?.count()
        }
        Some(IpAddr::V6(ip)) => {
            let info = packet_info_v6(ip);
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmmsg(fd, headers, slices, to, control, flags)?.count()
        }
    };
    Ok(sent)
}

fn socket_addr(addr: &SockaddrStorage) -> Option<SocketAddr> {
    match (addr.as_sockaddr_in(), addr.as_sockaddr_in6()) {
        (Some(v4), _) => Some((*v4).into()),
        (_, Some(v6)) => Some((*v6).into()),
        _ => None,
    }
}

/// The address of this machine that a datagram came to, as the socket's family writes it.
fn local_of(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    message.cmsgs().ok()?.find_map(|control| match control {
        // That of the interface, where it was sent to more than one machine.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    })
}

fn packet_info_v4(ip: Ipv4Addr) -> in_pktinfo {
    let addr = in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    };
    in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: addr,
        ipi_addr: addr,
    }
}

fn packet_info_v6(ip: Ipv6Addr) -> in6_pktinfo {
    in6_pktinfo {
        ipi6_addr: in6_addr {
            s6_addr: ip.octets(),
        },
        ipi6_ifindex: 0,
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
    use super::super::Outbox;
    use super::super::service::{Admission, Closed, Command, ConnId, Origin, Signal};
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
    fn a_reply_leaves_from_the_address_that_was_asked() {
        for (listens_at, asked) in [
            ("0.0.0.0", ["127.0.0.1", "127.3.2.1"]),
            ("::", ["127.0.0.1", "127.3.2.1"]),
            ("::", ["::1", "127.9.9.9"]),
        ] {
            let mut socket = Datagrams::bind(free(listens_at)).expect("free");
            let port = socket.local.port();
            let clients = asked.map(|ip| {
                let ip: IpAddr = ip.parse().expect("an address");
                let any: IpAddr = match ip {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let client = std::net::UdpSocket::bind((any, 0)).expect("a port");
                client.set_nonblocking(true).expect("fcntl");
                for number in 0..100u8 {
                    client.send_to(&[number], (ip, port)).expect("it goes out");
                }
                (client, SocketAddr::new(ip, port))
            });
            socket.unread = true;
            let mut scratch = vec![0; 128 << 10];
            for _ in 0..3 {
                socket.pump(Time::ZERO, &mut Echo, &mut scratch, 70);
            }
            for (client, asked) in clients {
                for number in 0..100u8 {
                    let mut buffer = [0; 8];
                    let (count, from) = client.recv_from(&mut buffer).expect("a reply");
                    assert_eq!((count, buffer[0], from), (1, number, asked), "{listens_at}");
                }
            }
            assert!(!socket.unread);
        }
    }

    /// Sends back what came.
    struct Echo;

    impl Service for Echo {
        fn opened(&mut self, _: Time, _: ConnId, _: Origin) -> Admission {
            Admission::Refuse
        }
        fn dial_failed(&mut self, _: Time, _: SocketAddr, _: u64, _: io::Error) {}
        fn received(&mut self, _: Time, _: ConnId, _: &[u8]) -> Result<(), Closed> {
            Ok(())
        }
        fn refill(&mut self, _: Time, _: ConnId, _: &mut Outbox) {}
        fn closed(&mut self, _: Time, _: ConnId, _: Closed) {}
        fn datagram(
            &mut self,
            _: Time,
            _: SocketAddr,
            _: SocketAddr,
            bytes: &[u8],
            reply: &mut Vec<u8>,
        ) {
            reply.extend_from_slice(bytes);
        }
        fn signal(&mut self, _: Time, _: Signal) {}
        fn handle_timeout(&mut self, _: Time) {}
        fn poll_timeout(&self) -> Option<Time> {
            None
        }
        fn poll_command(&mut self) -> Option<Command> {
            None
        }
    }

    #[test]
    #[should_panic(expected = "chosen by number")]
    fn port_0_is_our_own_bug() {
        let _ = Datagrams::bind("127.0.0.1:0".parse().expect("an address"));
    }
}
