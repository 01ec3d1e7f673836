//! Changed seeds, for the short run of every test: the same ones at every run. libFuzzer, which sees what
//! its changes reach, has better ones of its own.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// The longest input that is made.
const MAX: usize = 64 << 10;

/// Bytes that mean something in one of the formats.
const TELLING: &[u8] = b"\0\r\n \t\"'\\{}[]:,=&%?#./-_+09azAZ\x7f\x80\xff";

/// An endless row of changed seeds.
pub fn mutations(seeds: &[Vec<u8>], number: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = StdRng::seed_from_u64(number);
    std::iter::repeat_with(move || {
        let mut input = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..=6) {
            change(&mut input, seeds, &mut random);
        }
        input.truncate(MAX);
        input
    })
}

/// One change: a byte, a piece left out or doubled, or a piece of another seed.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut impl Rng) {
    let at = random.random_range(0..=input.len());
    let to = (at + random.random_range(1..=16)).min(input.len());
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = TELLING[random.random_range(0..TELLING.len())],
        2 => input.insert(at, TELLING[random.random_range(0..TELLING.len())]),
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
