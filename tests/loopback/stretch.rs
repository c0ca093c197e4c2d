//! Long requests, which two of our kind agree on, on the wire.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use shoal::base::PeerId;
use shoal::swarm::REQUEST_BYTES_MAX;
use shoal::wire::extension::{EXTENDED_HANDSHAKE, ExtendedHandshake};
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Handshake, Message};
use shoal::wire::peer_decoder::{BLOCK_BYTES_MAX, Decoder, DecoderLimits, Event};

use crate::common::{Answer, Content, Seeder, World, assert_same, random_bytes};
use crate::magnet::shared;

/// What a seed answered, when it had answered everything.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    request_bytes_max: Option<u32>,
    /// Begin and bytes of each block.
    blocks: Vec<(u32, Vec<u8>)>,
    rejected: Vec<BlockRequest>,
}

/// Asks a seed all this, as one that agrees to long requests or as one that never heard of them.
fn ask(world: &World, agrees: bool, requests: &[BlockRequest]) -> Answers {
    let (share, meta, addr) = shared(world, "image.bin", &["--piece-size", "256K"]);
    let mut stream = TcpStream::connect(addr).expect("it listens");
    let mut out = Vec::new();
    Handshake::new(meta.info_hash(), PeerId([3; 20])).encode(&mut out);
    Message::HaveNone.encode(&mut out);
    let handshake = ExtendedHandshake {
        request_bytes_max: agrees.then_some(BLOCK_BYTES_MAX),
        ..ExtendedHandshake::default()
    };
    handshake.encode(&mut out);
    Message::Interested.encode(&mut out);
    stream.write_all(&out).expect("it reads");
    let limits = DecoderLimits {
        block_bytes_max: BLOCK_BYTES_MAX,
        ..DecoderLimits::default()
    };
    let (mut decoder, mut buffer) = (Decoder::new(limits), vec![0; 64 << 10]);
    let mut answers = Answers::default();
    let mut whole_count = 0;
    while whole_count + answers.rejected.len() < requests.len() {
        let count = stream.read(&mut buffer).expect("it answers");
        assert!(count > 0, "it closed the conn");
        let mut input = &buffer[..count];
        while let Some(event) = decoder.decode(&mut input).expect("its protocol") {
            match event {
                Event::Message(Message::Extended { id, payload }) => {
                    assert_eq!(id, EXTENDED_HANDSHAKE);
                    let theirs = ExtendedHandshake::decode(payload).expect("a handshake");
                    answers.request_bytes_max = theirs.request_bytes_max;
                }
                Event::Message(Message::Unchoke) => {
                    let mut out = Vec::new();
                    for &request in requests {
                        Message::Request(request).encode(&mut out);
                    }
                    stream.write_all(&out).expect("it reads");
                }
                Event::Message(Message::Reject(request)) => answers.rejected.push(request),
                Event::PieceStart { begin, .. } => answers.blocks.push((begin, Vec::new())),
                Event::Payload(bytes) => {
                    let block = answers.blocks.last_mut().expect("one has begun");
                    block.1.extend_from_slice(bytes);
                }
                Event::PieceEnd => whole_count += 1,
                _ => {}
            }
        }
    }
    share.stop().exits(0);
    answers
}

#[test]
fn a_seed_answers_long_requests_of_who_agreed_and_of_nobody_else() {
    let world = World::new();
    let path = world.file("image.bin", 1, 3 << 20);
    let bytes = fs::read(path).expect("readable");
    let request = |begin, len| BlockRequest {
        piece: 0,
        begin,
        len,
    };
    let (short, long) = (request(0, BLOCK_LEN), request(BLOCK_LEN, REQUEST_BYTES_MAX));
    let too_long = request(0, REQUEST_BYTES_MAX + 1);
    for agrees in [true, false] {
        let answers = ask(&world, agrees, &[short, too_long, long]);
        assert_eq!(answers.request_bytes_max, Some(REQUEST_BYTES_MAX));
        let (mut served, mut rejected) = (vec![short], vec![too_long]);
        if agrees { &mut served } else { &mut rejected }.push(long);
        assert_eq!(answers.rejected, rejected);
        let expected = served.into_iter().map(|request| {
            let range = request.begin as usize..request.end() as usize;
            (request.begin, bytes[range].to_vec())
        });
        assert_eq!(answers.blocks, expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_getter_asks_a_fast_seed_that_agreed_for_long_blocks_and_another_for_short_ones() {
    const PIECE_LENGTH: u32 = 1 << 20;
    for (says, longest) in [
        (Some(BLOCK_BYTES_MAX), REQUEST_BYTES_MAX),
        (Some(2 * BLOCK_LEN), 2 * BLOCK_LEN),
        (None, BLOCK_LEN),
    ] {
        let world = World::new();
        let bytes = random_bytes(7, (24 << 20) + 5);
        fs::write(world.path("image.bin"), &bytes).expect("a file");
        let content = Arc::new(Content::new("image.bin", PIECE_LENGTH, bytes));
        let asked = Arc::new(AtomicU32::new(0));
        let (of_seed, count) = (asked.clone(), AtomicUsize::new(0));
        let addr = &world.tracker.addr;
        let seeder = Seeder::start_long(addr, &content, says, move |request| {
            of_seed.fetch_max(request.len, Ordering::Relaxed);
            // Its pace is to be known before all is asked for.
            if count.fetch_add(1, Ordering::Relaxed) < 500 {
                std::thread::sleep(Duration::from_millis(1));
            }
            Answer::Right
        });
        world.get(&["image.bin", "-o", "copy"]).exits(0);
        assert_same(&world.path("image.bin"), &world.path("copy"));
        assert_eq!(asked.load(Ordering::Relaxed), longest);
        drop(seeder);
    }
}
