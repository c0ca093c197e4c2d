//! How fast the picker is: what one `have` costs, what choosing a piece costs, and how that grows with their number.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shoal::base::{Bitfield, Rng};
use shoal::swarm::{Order, Picker};

/// Pieces of a small content, of what a sharer chooses for any large file, and so on up to the most that others make.
const SIZES: [u32; 5] = [512, 2_048, 8_192, 32_768, 131_072];
const NEIGHBOURS: usize = 30;

/// Neighbours that have a random half of the pieces.
fn neighbours(pieces: u32, count: usize, rng: &mut Rng) -> Vec<Bitfield> {
    let half = |rng: &mut Rng| {
        let mut has = Bitfield::none(pieces);
        (0..pieces).filter(|_| rng.below(2) == 0).for_each(|piece| {
            has.set(piece);
        });
        has
    };
    (0..count).map(|_| half(rng)).collect()
}

/// A picker that counts what the neighbours have.
fn counting(pieces: u32, neighbours: &[Bitfield]) -> Picker {
    let mut picker = Picker::new(&Bitfield::none(pieces));
    let held = neighbours.iter().flat_map(Bitfield::ones);
    held.for_each(|piece| picker.increase(piece));
    picker
}

/// Everything picked, by one neighbour after the other; a hash of the choices in their order.
fn pick_all(picker: &mut Picker, neighbours: &[Bitfield], order: Order) -> u64 {
    let mut rng = Rng::new(1);
    let (mut hash, mut misses) = (0, 0);
    for neighbour in neighbours.iter().cycle() {
        match picker.pick(neighbour, order, &mut rng) {
            Some(piece) => {
                picker.remove(piece);
                hash = mixed(hash, piece);
                misses = 0;
            }
            None => misses += 1,
        }
        if misses == neighbours.len() {
            break;
        }
    }
    hash
}

/// FNV-1a, a word at a time.
fn mixed(hash: u64, value: u32) -> u64 {
    (hash ^ u64::from(value)).wrapping_mul(0x0100_0000_01b3)
}

fn picking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("picker");
    for pieces in SIZES {
        let neighbours = neighbours(pieces, NEIGHBOURS, &mut Rng::new(1));
        group.throughput(Throughput::Elements(pieces.into()));
        for order in [Order::RarestFirst, Order::Random] {
            let hash = pick_all(&mut counting(pieces, &neighbours), &neighbours, order);
            println!("picker: {pieces} pieces, {order:?}, choices {hash:016x}");
            let id = BenchmarkId::new(format!("pick all, {order:?}"), format!("{pieces} pieces"));
            group.bench_function(id, |bencher| {
                bencher.iter_batched(
                    || counting(pieces, &neighbours),
                    |mut picker| pick_all(&mut picker, &neighbours, order),
                    BatchSize::LargeInput,
                );
            });
        }
    }
}

/// A neighbour that has little is asked last; looking through all that it lacks is the worst case.
fn picking_from_the_poor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("picker");
    for pieces in SIZES {
        let picker = counting(pieces, &neighbours(pieces, NEIGHBOURS, &mut Rng::new(1)));
        let (mut rng, nothing) = (Rng::new(2), Bitfield::none(pieces));
        let id = BenchmarkId::new("nothing to pick", format!("{pieces} pieces"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| picker.pick(black_box(&nothing), Order::RarestFirst, &mut rng));
        });
    }
}

fn counting_haves(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("picker");
    for pieces in SIZES {
        let neighbours = neighbours(pieces, NEIGHBOURS, &mut Rng::new(1));
        let (mut picker, mut rng) = (counting(pieces, &neighbours), Rng::new(3));
        let id = BenchmarkId::new("have and lost", format!("{pieces} pieces"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let piece = rng.below(pieces as usize) as u32;
                picker.increase(black_box(piece));
                picker.decrease(black_box(piece));
            });
        });
        picker.check();
    }
}

criterion_group!(benches, picking, picking_from_the_poor, counting_haves);
criterion_main!(benches);
