//! Malformed inputs where a peer listens, by TCP and UDP: before, in and behind the handshake, in all messages and
//! extensions.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use shoal::base::{PeerId, Rng};
use shoal::wire::extension::{ExtendedHandshake, Extension};
use shoal::wire::metadata::MetadataMessage;
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Handshake, Message, put_piece_header};

use crate::common::{Content, Native, World, assert_same, random_bytes};
use crate::noise::spoil;
use crate::storm::{TELLING, Watch, inputs, storm};

const PIECE: u32 = 64 << 10;
const PIECES: u32 = 20;
/// Bytes of one IPv4 address and port: those of 127.127.127.127, at whichever byte one begins to read.
const NOWHERE: [u8; 6] = [127; 6];
/// Lines of log that so much garbage may cause.
const LINES_MAX: usize = 20;

fn image(world: &World) -> Content {
    let bytes = random_bytes(6, (PIECES * PIECE) as usize - 100);
    fs::write(world.path("image"), &bytes).expect("a file");
    Content::new("image", PIECE, bytes)
}

/// Where the only member of the swarm listens.
fn address(world: &World, content: &Content) -> SocketAddr {
    loop {
        let (_, members) = Native::connect(&world.tracker.addr, &[]).join(content, false);
        if let Some(addr) = members.iter().find_map(|member| member.addrs.iter().next()) {
            return addr;
        }
    }
}

/// One message in good order, but for its numbers.
fn message(content: &Content, rng: &mut Rng) -> Vec<u8> {
    let piece = rng.below(PIECES as usize) as u32;
    let block = BlockRequest {
        piece,
        begin: rng.below(5) as u32 * BLOCK_LEN,
        len: BLOCK_LEN,
    };
    let bits = vec![0xff; PIECES.div_ceil(8) as usize];
    let mut out = Vec::new();
    match rng.below(20) {
        0 => Message::Choke.encode(&mut out),
        1 => Message::Unchoke.encode(&mut out),
        2 => Message::Interested.encode(&mut out),
        3 => Message::NotInterested.encode(&mut out),
        4 => Message::Have { piece }.encode(&mut out),
        5 => Message::Bitfield { bytes: &bits }.encode(&mut out),
        6 => Message::Request(block).encode(&mut out),
        7 => Message::Cancel(block).encode(&mut out),
        8 => Message::Reject(block).encode(&mut out),
        9 => Message::Port { port: 1 }.encode(&mut out),
        10 => Message::Suggest { piece }.encode(&mut out),
        11 => Message::HaveAll.encode(&mut out),
        12 => Message::HaveNone.encode(&mut out),
        13 => Message::AllowedFast { piece }.encode(&mut out),
        14 => {
            put_piece_header(&mut out, piece, block.begin, 64);
            out.extend_from_slice(&[7; 64]);
        }
        15 => {
            let id = [Extension::DontHave, Extension::UploadOnly][rng.below(2)].id();
            let payload = &piece.to_be_bytes()[rng.below(4)..];
            Message::Extended { id, payload }.encode(&mut out);
        }
        16 => extended_handshake(content).encode(&mut out),
        17 => metadata(content, rng).encode(Extension::Metadata.id(), &mut out),
        _ => {
            let (id, payload) = (Extension::PeerExchange.id(), exchange(rng));
            let payload = &payload;
            Message::Extended { id, payload }.encode(&mut out);
        }
    }
    out
}

fn extended_handshake(content: &Content) -> ExtendedHandshake {
    ExtendedHandshake {
        reqq: Some(250),
        version: Some("garbage 1".to_owned()),
        port: Some(1),
        your_ip: Some([127, 0, 0, 1].into()),
        request_bytes_max: Some(1 << 20),
        upload_only: Some(false),
        metadata_size: Some(content.meta.info().len() as u32),
        messages: Extension::ALL
            .map(|extension| (extension, extension.id()))
            .into(),
    }
}

fn metadata<'a>(content: &'a Content, rng: &mut Rng) -> MetadataMessage<'a> {
    let piece = rng.below(3) as u32;
    let bytes = content.meta.info();
    match rng.below(3) {
        0 => MetadataMessage::Request { piece },
        1 => MetadataMessage::Reject { piece },
        _ => MetadataMessage::Data {
            piece,
            total_size: bytes.len() as u32,
            bytes,
        },
    }
}

/// Lists of peers that are malformed around their addresses: nobody is dialled but who is nowhere.
fn exchange(rng: &mut Rng) -> Vec<u8> {
    let mut payload = Vec::new();
    for (text, addrs) in [
        ("d5:added60:", 10),
        ("7:added.f10:..........7:dropped6:", 1),
        ("e", 0),
    ] {
        match rng.below(3) {
            0 => payload.extend_from_slice(&spoil(text.as_bytes(), TELLING, rng)),
            _ => payload.extend_from_slice(text.as_bytes()),
        }
        payload.extend_from_slice(&NOWHERE.repeat(addrs));
    }
    payload
}

/// The same message with another body, of which the length in front is true.
fn reframed(message: &[u8], rng: &mut Rng) -> Vec<u8> {
    let body = spoil(&message[4..], TELLING, rng);
    [&(body.len() as u32).to_be_bytes(), &body[..]].concat()
}

/// All that one conn says: mostly a good handshake, and then messages of which some are spoilt.
fn conversation(content: &Content, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut id = [0; 20];
    id.fill_with(|| rng.next_u64() as u8);
    let mut out = Vec::new();
    Handshake::new(content.meta.info_hash(), PeerId(id)).encode(&mut out);
    if rng.below(8) == 0 {
        out = spoil(&out, TELLING, &mut rng);
    }
    if rng.below(2) == 0 {
        extended_handshake(content).encode(&mut out);
    }
    for _ in 0..=rng.below(8) {
        let good = message(content, &mut rng);
        // What exchanges peers is spoilt already.
        let is_exchange = good[4..].starts_with(&[20, Extension::PeerExchange.id()]);
        match rng.below(8) {
            0..=3 if !is_exchange => out.extend_from_slice(&reframed(&good, &mut rng)),
            4 if !is_exchange => out.extend_from_slice(&spoil(&good, TELLING, &mut rng)),
            _ => out.extend_from_slice(&good),
        }
    }
    out
}

#[test]
fn malformed_messages_do_not_harm_a_seed() {
    let world = World::new();
    let content = image(&world);
    let share = world.share(&["image"]);
    let addr = address(&world, &content);
    let answered = storm(share.pid(), addr, |seed| conversation(&content, seed));
    assert!(answered > 0, "most handshakes are good");
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    let ended = share.stop().exits(0);
    assert!(ended.err.len() < LINES_MAX, "{ended:#?}");
}

#[test]
fn malformed_messages_do_not_harm_a_getter() {
    let world = World::new();
    let content = image(&world);
    world.share(&["image"]).stop().exits(0);
    let get = world.start_get(&["image", "-o", "copy", "--check"]);
    get.event("start");
    let addr = address(&world, &content);
    let answered = storm(get.pid(), addr, |seed| conversation(&content, seed));
    assert!(answered > 0, "most handshakes are good");
    let share = world.share(&["image"]);
    let ended = get.end().exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    assert!(ended.err.len() < LINES_MAX, "{ended:#?}");
    share.stop().exits(0);
}

#[test]
fn malformed_datagrams_do_not_harm_a_seed() {
    let world = World::new();
    let content = image(&world);
    let share = world.share(&["image"]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let addr = address(&world, &content);
    socket.connect(addr).expect("loopback");
    let mut syn = [3; 20];
    syn[..2].copy_from_slice(&[0x41, 0]);
    let mut watch = Watch::begin(share.pid());
    let (count, mut buffer) = (inputs(), [0; 64]);
    for seed in 0..count {
        let mut rng = Rng::new(seed);
        let _ = socket.send(&spoil(&syn, TELLING, &mut rng));
        // Waits for an answer now and then, so that the peer keeps up.
        let wait = Duration::from_millis(1);
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        while seed % 16 == 0
            && let Ok(count) = socket.recv(&mut buffer)
        {
            assert!(
                count <= syn.len(),
                "no answer is longer than what is answered"
            );
        }
        if seed == count / 4 {
            watch.is_warm();
        }
    }
    watch.ends_well();
    // So many were refused that it may be silent for a while.
    while socket.send(&syn).is_ok() && socket.recv(&mut buffer).is_err() {}
    share.stop().exits(0);
}
