//! How fast bitfields are: read from the wire, counted, walked and compared, and how that grows with the pieces.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shoal::base::{Bitfield, Rng};

const SIZES: [u32; 5] = [512, 2_048, 8_192, 32_768, 131_072];

/// A random half of the pieces.
fn half(pieces: u32) -> Bitfield {
    let (mut rng, mut bits) = (Rng::new(1), Bitfield::none(pieces));
    (0..pieces).filter(|_| rng.below(2) == 0).for_each(|piece| {
        bits.set(piece);
    });
    bits
}

/// A sum of the pieces that are in it, so that less work cannot pass as faster work.
fn sum(bits: &Bitfield) -> u64 {
    bits.ones().map(u64::from).sum()
}

fn bitfields(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bitfield");
    for pieces in SIZES {
        let bits = half(pieces);
        println!(
            "bitfield: {pieces} pieces, {} set, sum {}",
            bits.count(),
            sum(&bits)
        );
        let id = |what: &str| BenchmarkId::new(what, format!("{pieces} pieces"));
        group.throughput(Throughput::Elements(pieces.into()));
        group.bench_function(id("walk what is set"), |bencher| {
            bencher.iter(|| sum(black_box(&bits)));
        });
        group.bench_function(id("what one lacks of another"), |bencher| {
            let nothing = Bitfield::none(pieces);
            bencher.iter(|| black_box(&bits).count_beyond(&nothing));
        });
        group.bench_function(id("from the wire"), |bencher| {
            bencher.iter(|| Bitfield::from_bytes(pieces, black_box(bits.as_bytes())));
        });
    }
}

criterion_group!(benches, bitfields);
criterion_main!(benches);
