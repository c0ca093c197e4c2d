//! Addresses for programs that have to be told where to listen, and others where they do.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Outgoing conns, and who asks for any port, get ports from here on (Linux, `ip_local_port_range`): one of those that was
/// free may be taken before the program listens.
const EPHEMERAL_MIN: u16 = 32_768;
/// Well above what services of the machine have.
const FREE_MIN: u16 = 12_000;

/// An address of `ip` whose port nobody has for TCP or UDP, and that is named to no one else of this process.
pub(crate) fn free_addr(ip: IpAddr) -> SocketAddr {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let count = u32::from(EPHEMERAL_MIN - FREE_MIN);
    // Processes at the same time begin at places of their own.
    let start = std::process::id().wrapping_mul(641);
    for _ in 0..count {
        let turn = TURN.fetch_add(1, Ordering::Relaxed).into();
        let port = FREE_MIN + (start.wrapping_add(turn) % count) as u16;
        let addr = SocketAddr::new(ip, port);
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no port of {ip} is free");
}
