//! Who dials by uTP (BEP 29) hears at once that we do not speak it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::common::{Running, World, assert_same};

const LEN: usize = 300_000;
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// An address of this machine that no other test listens on.
const HERE: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 29, 1), 0);

fn syn(connection_id: u16, seq_nr: u16) -> Vec<u8> {
    let mut bytes = vec![0x41, 0];
    bytes.extend_from_slice(&connection_id.to_be_bytes());
    bytes.extend_from_slice(&[3; 12]);
    bytes.extend_from_slice(&seq_nr.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// Shares `image` at `addr`, and makes a socket that speaks to it.
fn share_and_dial(world: &World, addr: SocketAddr) -> (Running, UdpSocket) {
    world.file("image", 4, LEN);
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
    command.args(["--json", "-t", &world.tracker.addr, "share", "image"]);
    command.args(["--listen", &addr.to_string()]);
    command.current_dir(world.path(""));
    let share = Running::start("share", &mut command);
    share.event("shared");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.connect(addr).expect("an address");
    (share, socket)
}

fn still_shares(world: &World, share: Running) {
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    share.stop().exits(0);
}

#[test]
fn a_syn_is_refused_at_once_and_anything_else_gets_silence() {
    let world = World::new();
    let listener = TcpListener::bind(HERE).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    drop(listener);
    let (share, socket) = share_and_dial(&world, addr);
    let mut reset = syn(7, 8);
    reset[0] = 0x31;
    let mut endless = syn(7, 8);
    endless[1] = 1;
    let garbage = [
        &[][..],
        &syn(7, 8)[..19],
        &reset,
        &endless,
        b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:qe",
        &[0x41; 1400],
    ];
    for (n, bytes) in garbage.iter().enumerate() {
        socket.send(bytes).expect("sent");
        // What is answered first tells that nothing before it was.
        let (connection_id, seq_nr) = (0xfff0 + n as u16, 0x1200 + n as u16);
        socket.send(&syn(connection_id, seq_nr)).expect("sent");
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).expect("a reset");
        let mut expected = vec![0x31, 0];
        expected.extend_from_slice(&connection_id.to_be_bytes());
        expected.extend_from_slice(&[0; 14]);
        expected.extend_from_slice(&seq_nr.to_be_bytes());
        assert_eq!(buffer[..count], expected, "after {bytes:?}");
    }
    still_shares(&world, share);
}

#[test]
fn where_the_udp_port_is_taken_it_goes_without() {
    let world = World::new();
    let taken = UdpSocket::bind(HERE).expect("a port");
    let addr = taken.local_addr().expect("bound");
    let (share, socket) = share_and_dial(&world, addr);
    socket.send(&syn(1, 2)).expect("sent");
    taken.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut buffer = [0; 64];
    let (count, from) = taken.recv_from(&mut buffer).expect("it is still theirs");
    assert_eq!((count, from), (20, socket.local_addr().expect("bound")));
    still_shares(&world, share);
}
