//! Deterministic mutations of seeds for the short run in the tests. libFuzzer has its own
//! mutations, which are guided by coverage.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// Longest input, in bytes.
const MAX: usize = 64 << 10;

/// Bytes with a meaning in one of the formats.
const SPECIAL: &[u8] = b"\0\r\n \t\"'\\{}[]:,=&%?#./-_+09azAZ\x7f\x80\xff";

/// An infinite sequence of mutated seeds.
pub fn mutations(seeds: &[Vec<u8>], random_seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = StdRng::seed_from_u64(random_seed);
    std::iter::repeat_with(move || {
        let mut input = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..=6) {
            mutate(&mut input, seeds, &mut random);
        }
        input.truncate(MAX);
        input
    })
}

/// Applies one mutation: changes a byte, removes or repeats a piece, or inserts a piece of another
/// seed.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut impl Rng) {
    let at = random.random_range(0..=input.len());
    let to = (at + random.random_range(1..=16)).min(input.len());
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = SPECIAL[random.random_range(0..SPECIAL.len())],
        2 => input.insert(at, SPECIAL[random.random_range(0..SPECIAL.len())]),
        3 => drop(input.drain(at..to)),
        4 => {
            let piece = input[at..to].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let other = &seeds[random.random_range(0..seeds.len())];
            let from = random.random_range(0..=other.len());
            let until = (from + random.random_range(1..=64)).min(other.len());
            input.splice(at..to, other[from..until].iter().copied());
        }
    }
}
