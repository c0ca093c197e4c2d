//! The small form: a real tracker is asked one thing after the other, and a hash of its answers is printed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sha1::{Digest as _, Sha1};

use crate::measured::Span;
use crate::native::NativeLoad;
use crate::population::Population;
use crate::server::Server;
use crate::udp::{UdpLoad, WANT};

/// Asks all that a bench asks, a little of each.
pub(crate) fn run() {
    let population = Population::new(5, 40);
    let server = Server::ours("127.0.0.1:0");
    let mut udp = UdpLoad::new(&population, server.addr);
    udp.fill();
    let span = Span {
        warm: Duration::ZERO,
        measured: Duration::from_millis(20),
    };
    let measured = udp.run(&server, span);
    assert!(measured.rate > 0.0 && measured.peers > 0.0, "{measured:?}");
    let mut hash = Sha1::new();
    for peer in 0..population.peers() {
        hash.update(told(&server, &population, peer));
    }
    let mut native = NativeLoad::connect(server.addr, 4);
    native.join(&server);
    native.rejoin(&server, 10);
    let digest: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!(
        "tracker: {} peers by UDP, HTTP and native, SHA-1 of the figures {digest}",
        population.peers()
    );
}

/// The figures of its swarm that a peer is told over HTTP, and how many others.
fn told(server: &Server, population: &Population, peer: u64) -> String {
    let reply = asked(server.addr, population, peer);
    let figure = |name: &str| {
        let (_, rest) = reply
            .split_once(name)
            .unwrap_or_else(|| panic!("no {name} in {reply}"));
        let end = rest.find(|byte: char| !byte.is_ascii_digit() && byte != 'i');
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    format!(
        "{} {} {}\n",
        figure("8:complete"),
        figure("10:incomplete"),
        figure("5:peers")
    )
}

fn asked(server: SocketAddr, population: &Population, peer: u64) -> String {
    let spelt: String = population
        .hash(peer)
        .iter()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    let request = format!(
        "GET /announce?info_hash={spelt}&peer_id=-BE0001-{peer:012x}&port={}&left={}&numwant={WANT} HTTP/1.1\r\n\
         Host: x\r\nConnection: close\r\n\r\n",
        population.port(peer),
        population.left(peer),
    );
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("it answers");
    String::from_utf8_lossy(&reply).into_owned()
}
