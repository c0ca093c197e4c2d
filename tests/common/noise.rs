//! What a program may meet instead of what it expects.

use shoal::base::Rng;

/// `sample` with some bytes replaced, now and then by one of `telling`, cut short or repeated; sometimes noise altogether.
pub(crate) fn spoil(sample: &[u8], telling: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=rng.below(8) {
        let at = rng.below(bytes.len());
        bytes[at] = match rng.below(3) {
            0 => *rng.pick(telling).expect("there are some"),
            1 => bytes[at] ^ (1 << rng.below(8)),
            _ => rng.next_u64() as u8,
        };
    }
    match rng.below(4) {
        0 => bytes.truncate(rng.below(bytes.len()) + 1),
        1 => bytes.extend_from_within(rng.below(bytes.len())..),
        2 if rng.below(4) == 0 => bytes.fill_with(|| rng.next_u64() as u8),
        _ => {}
    }
    bytes
}
