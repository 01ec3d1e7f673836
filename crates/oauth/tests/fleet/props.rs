//! Long random lives of fleets.

use proptest::{collection::vec, prelude::*};

use crate::simulation::{Fleet, Step};

const NODES: usize = 4;

fn step(number: u32) -> Step {
    let [kind, a, b, _] = number.to_le_bytes();
    let n = usize::from(a) % NODES;
    match kind % 32 {
        0..=3 => Step::Wait([1, 29, 31, 46, 300, 900, 3_000, 90_000][usize::from(b) % 8]),
        4..=8 => Step::Wake(n),
        9..=16 => Step::Deliver(n),
        17..=18 => Step::Execute(n),
        19..=20 => Step::Lose(n),
        21 => Step::Fail(n),
        22..=24 => Step::Notify(n),
        25 => Step::Request(n),
        26 => Step::Reject(n),
        27 => Step::SignIn(n),
        28..=30 => Step::Crash(n),
        _ => Step::Restore,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rules_hold_in_long_random_lives(
        numbers in vec(any::<u32>(), 1..120),
        left in 0_u64..3_600,
        skew in -4_000_i64..4_000,
    ) {
        let mut fleet = Fleet::new(NODES, left, skew, None);
        let steps: Vec<_> = numbers.into_iter().map(step).collect();
        for step in steps.iter().copied() {
            if fleet.is_possible(step)
                && let Err(violation) = fleet.step(step)
            {
                panic!("{violation}: {steps:?}");
            }
        }
        if let Err(violation) = fleet.recover() {
            panic!("{violation}, in the recovery: {steps:?}");
        }
    }
}
