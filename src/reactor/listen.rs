//! Listening sockets: how they are bound, and when a ready one is left alone for a while.
//!
//! Every one sets SO_REUSEADDR and SO_REUSEPORT before it is bound. SO_REUSEPORT would silently share a port that another
//! process of the same user listens on, so a port that was asked for by number is probed first without it.
//! A parked listener keeps its unread edge, so no connection that waits in the backlog is forgotten.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::Time;

/// Connections that the system holds for us until they are accepted; it lowers this to `net.core.somaxconn` itself.
const BACKLOG_CONNS: i32 = 1024;

/// First and last pause after the system had no descriptor or memory for another conn.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) local: SocketAddr,
    /// An edge is unread: somebody may be waiting.
    pub(super) unread: bool,
    parked: Option<Parked>,
    retry_delay: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Parked {
    /// We hold as many conns as we may: until one closes.
    Full,
    /// The system is out of descriptors or memory: until one of ours closes, or this moment.
    Exhausted(Time),
}

/// What one attempt to accept came to.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A conn, and its other end.
    Conn(TcpStream, SocketAddr),
    /// This conn was lost before we had it, or the call was interrupted: the next may do.
    Lost,
    /// Nobody waits, or the listener is parked now.
    Nothing,
}

impl Listener {
    /// Binds `addr` and listens.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"))
        };
        let socket = listening_socket(addr).map_err(named)?;
        let socket = TcpListener::from_std(socket.into());
        let local = socket.local_addr().map_err(named)?;
        Ok(Self {
            socket,
            local,
            unread: false,
            parked: None,
            retry_delay: RETRY_DELAY_MIN,
        })
    }

    /// Whether there may be somebody to accept, and we may.
    pub(super) fn is_ready(&self) -> bool {
        self.unread && self.parked.is_none()
    }

    /// Parks until a conn closes.
    pub(super) fn park_full(&mut self) {
        self.parked = Some(Parked::Full);
    }

    /// When a parked listener tries again by itself.
    pub(super) fn retry_at(&self) -> Option<Time> {
        match self.parked {
            Some(Parked::Exhausted(at)) => Some(at),
            _ => None,
        }
    }

    /// A conn has closed, so there is room and a descriptor.
    pub(super) fn resume(&mut self) {
        self.parked = None;
    }

    /// Tries again if the moment for it has come.
    pub(super) fn resume_due(&mut self, now: Time) {
        if self.retry_at().is_some_and(|at| at <= now) {
            self.parked = None;
        }
    }

    /// Accepts one conn. Whatever goes wrong leaves the listener alive: idle, ready, or parked with a deadline.
    pub(super) fn accept(&mut self, now: Time) -> Accepted {
        match self.socket.accept() {
            Ok((stream, remote)) => {
                self.retry_delay = RETRY_DELAY_MIN;
                Accepted::Conn(stream, remote)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unread = false;
                Accepted::Nothing
            }
            Err(error) if is_of_one_conn(&error) => Accepted::Lost,
            Err(error) => {
                if self.retry_delay == RETRY_DELAY_MIN {
                    log::warn!("{}: cannot accept for now: {error}", self.local);
                }
                self.parked = Some(Parked::Exhausted(now + self.retry_delay));
                self.retry_delay = (self.retry_delay * 2).min(RETRY_DELAY_MAX);
                Accepted::Nothing
            }
        }
    }
}

/// Whether accept failed for the sake of one conn, so that the next one may succeed at once.
///
/// accept(2) hands pending network errors of the new conn to its caller and asks for a retry.
fn is_of_one_conn(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|code| {
        matches!(
            Errno::from_raw(code),
            Errno::EINTR
                | Errno::ECONNABORTED
                | Errno::EPROTO
                | Errno::ENETDOWN
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH
                | Errno::EPERM
        )
    })
}

/// A socket that listens on `addr`; `[::]` takes IPv4 too, and is 0.0.0.0 where there is no IPv6.
fn listening_socket(addr: SocketAddr) -> io::Result<Socket> {
    or_ipv4(addr, listening_socket_exactly)
}

/// What `open` makes of `addr`, or of 0.0.0.0 if `addr` is `[::]` and there is no IPv6.
pub(super) fn or_ipv4(
    addr: SocketAddr,
    open: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Socket> {
    match open(addr) {
        Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && lacks_ipv6(&error) => {
            open((Ipv4Addr::UNSPECIFIED, addr.port()).into())
        }
        outcome => outcome,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|code| {
        matches!(
            Errno::from_raw(code),
            Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::ENOPROTOOPT
        )
    })
}

fn listening_socket_exactly(addr: SocketAddr) -> io::Result<Socket> {
    if addr.port() != 0 {
        let probe = socket_for(addr, Type::STREAM, Protocol::TCP)?;
        probe.set_reuse_address(true)?;
        probe.bind(&addr.into())?;
    }
    let socket = socket_for(addr, Type::STREAM, Protocol::TCP)?;
    bind_shared(&socket, addr)?;
    // What is accepted inherits it (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG_CONNS)?;
    Ok(socket)
}

/// A socket that is not bound; on `[::]` it will take IPv4 too, on another IPv6 address it will not.
pub(super) fn socket_for(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds with both options set.
pub(super) fn bind_shared(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    fn a_listening_socket_has_both_options_set() {
        for addr in ["127.0.0.1:0", "[::]:0"] {
            let socket = listening_socket(addr.parse().expect("an address")).expect(addr);
            assert!(socket.reuse_address().expect("getsockopt"), "{addr}");
            assert!(socket.reuse_port().expect("getsockopt"), "{addr}");
            assert!(socket.is_listener().expect("getsockopt"), "{addr}");
            assert!(socket.nonblocking().expect("fcntl"), "{addr}");
            let flags = fcntl(&socket, FcntlArg::F_GETFD).expect("fcntl");
            assert_eq!(flags, FdFlag::FD_CLOEXEC.bits(), "{addr}");
        }
    }

    #[test]
    fn what_is_accepted_sends_small_things_at_once() {
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let _client = std::net::TcpStream::connect(listener.local).expect("a conn");
        let (accepted, _) = listener.socket.accept().expect("waiting");
        assert!(accepted.nodelay().expect("getsockopt"));
    }

    #[test]
    fn the_unspecified_address_takes_ipv4_as_well() {
        let listener = Listener::bind("[::]:0".parse().expect("an address")).expect("a port");
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, listener.local.port()))
            .expect("IPv4 reaches it");
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_by_name() {
        let first = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let error = Listener::bind(first.local).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&first.local.to_string()), "{text}");
        drop(first);
    }

    #[test]
    fn a_port_is_free_again_at_once_although_its_conns_linger() {
        let first = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let local = first.local;
        let client = std::net::TcpStream::connect(local).expect("a conn");
        let (server, _) = first.socket.accept().expect("waiting");
        drop(server); // we close first, so TIME_WAIT is on our side
        drop(first);
        Listener::bind(local).expect("SO_REUSEADDR");
        drop(client);
    }

    #[test]
    fn pauses_double_up_to_a_second_and_start_over_after_a_success() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("one");
        listener.unread = true;
        listener.parked = Some(Parked::Exhausted(Time::from_nanos(10)));
        assert!(!listener.is_ready());
        listener.resume_due(Time::from_nanos(9));
        assert!(!listener.is_ready());
        listener.resume_due(Time::from_nanos(10));
        assert!(listener.is_ready());
        listener.retry_delay = RETRY_DELAY_MAX;
        let _client = std::net::TcpStream::connect(listener.local).expect("a conn");
        assert!(matches!(listener.accept(Time::ZERO), Accepted::Conn(_, _)));
        assert_eq!(listener.retry_delay, RETRY_DELAY_MIN);
    }

    #[test]
    fn errors_of_one_conn_do_not_park_the_listener() {
        use nix::errno::Errno;
        for (errno, of_one_conn) in [
            (Errno::ECONNABORTED, true),
            (Errno::EINTR, true),
            (Errno::EMFILE, false),
            (Errno::ENFILE, false),
            (Errno::ENOBUFS, false),
            (Errno::ENOMEM, false),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(is_of_one_conn(&error), of_one_conn, "{errno}");
        }
    }
}
