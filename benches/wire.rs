//! How fast the wire is read: a stream of blocks with their requests, as one link sees it, and an info dictionary.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shoal::base::{InfoHash, PeerId};
use shoal::wire::info_builder::{Content, NewFile, canonical_info};
use shoal::wire::metainfo::Metainfo;
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Handshake, Message, put_piece_header};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event};
use std::hint::black_box;

/// What a socket read brings at most.
const CHUNK_BYTES: usize = 256 << 10;

/// A handshake, then `blocks` blocks, each with a request and a have.
fn stream(blocks: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    Handshake::new(InfoHash([1; 20]), PeerId([2; 20])).encode(&mut bytes);
    for index in 0..blocks {
        let (piece, begin, len) = (index / 64, index % 64 * BLOCK_LEN, BLOCK_LEN);
        put_piece_header(&mut bytes, piece, begin, len);
        bytes.resize(bytes.len() + len as usize, index as u8);
        Message::Request(BlockRequest { piece, begin, len }).encode(&mut bytes);
        Message::Have { piece }.encode(&mut bytes);
    }
    bytes
}

/// Events of the stream and a sum over them, so that less work cannot pass as faster work.
fn read(bytes: &[u8]) -> (u32, u64) {
    let mut decoder = Decoder::new(DecoderLimits::default());
    let (mut events, mut sum) = (0, 0);
    for mut chunk in bytes.chunks(CHUNK_BYTES) {
        while let Some(event) = decoder.decode(&mut chunk).expect("valid") {
            events += 1;
            sum += match event {
                Event::Payload(bytes) => bytes.len() as u64,
                Event::Message(Message::Have { piece }) => piece.into(),
                _ => 0,
            };
        }
    }
    (events, sum)
}

fn folder(count: u32) -> Vec<u8> {
    let file = |index| NewFile {
        path: vec!["sub".into(), format!("{index:08}")],
        len: 1 << 20,
        sha256: Some([3; 32]),
    };
    let files: Vec<_> = (0..count).map(file).collect();
    let pieces = vec![4; count as usize * 20];
    canonical_info("folder", 1 << 20, &pieces, Content::Files(&files))
}

fn peer_stream(criterion: &mut Criterion) {
    let bytes = stream(256);
    let (events, sum) = read(&bytes);
    println!("{} bytes, {events} events, sum {sum}", bytes.len());
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("decode 256 blocks", |bencher| {
        bencher.iter(|| read(black_box(&bytes)));
    });
    group.finish();
}

fn info_dictionary(criterion: &mut Criterion) {
    let info = folder(5_000);
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(info.len() as u64));
    group.bench_function("metainfo of 5000 files", |bencher| {
        bencher.iter(|| Metainfo::from_info(black_box(&info)).expect("valid"));
    });
    group.finish();
}

criterion_group!(benches, peer_stream, info_dictionary);
criterion_main!(benches);
