//! How fast the picker is: what one `have` costs, what choosing a piece costs, at a usual and at a large size.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shoal::base::{Bitfield, Rng};
use shoal::swarm::{Order, Picker};

/// Pieces and neighbours: what a sharer chooses for any large file, and eight times a large fleet's.
const SIZES: [(u32, usize); 2] = [(2_048, 30), (65_536, 100)];

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
    for (pieces, count) in SIZES {
        let neighbours = neighbours(pieces, count, &mut Rng::new(1));
        let mut group = criterion.benchmark_group(format!("picker/{pieces} pieces"));
        group.throughput(Throughput::Elements(pieces.into()));
        for order in [Order::RarestFirst, Order::Random] {
            let hash = pick_all(&mut counting(pieces, &neighbours), &neighbours, order);
            println!("picker: {pieces} pieces, {order:?}, choices {hash:016x}");
            group.bench_function(format!("pick all, {order:?}"), |bencher| {
                bencher.iter_batched(
                    || counting(pieces, &neighbours),
                    |mut picker| pick_all(&mut picker, &neighbours, order),
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

/// A neighbour that has little is asked last; looking through all that it lacks is the worst case.
fn picking_from_the_poor(criterion: &mut Criterion) {
    for (pieces, count) in SIZES {
        let picker = counting(pieces, &neighbours(pieces, count, &mut Rng::new(1)));
        let mut rng = Rng::new(2);
        let nothing = Bitfield::none(pieces);
        criterion.bench_function(
            &format!("picker/{pieces} pieces/nothing to pick"),
            |bencher| {
                bencher.iter(|| picker.pick(black_box(&nothing), Order::RarestFirst, &mut rng));
            },
        );
    }
}

fn counting_haves(criterion: &mut Criterion) {
    for (pieces, count) in SIZES {
        let neighbours = neighbours(pieces, count, &mut Rng::new(1));
        let mut picker = counting(pieces, &neighbours);
        let mut rng = Rng::new(3);
        criterion.bench_function(
            &format!("picker/{pieces} pieces/have and lost"),
            |bencher| {
                bencher.iter(|| {
                    let piece = rng.below(pieces as usize) as u32;
                    picker.increase(black_box(piece));
                    picker.decrease(black_box(piece));
                });
            },
        );
        picker.check();
    }
}

criterion_group!(benches, picking, picking_from_the_poor, counting_haves);
criterion_main!(benches);
