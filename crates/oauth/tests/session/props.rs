//! Any order of events: a hundred and twenty thousand lives of up to forty steps, each brought to its
//! end in a healthy world, across a crash.

use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};

use crate::{
    step::{Mood, Step},
    world::{Beginning, World},
};

/// Four of these run side by side.
const CASES: u32 = 30_000;

/// One life: how it begins, and what happens in it.
#[derive(Clone, Debug)]
struct Life {
    beginning: Beginning,
    steps: Vec<Step>,
}

fn life(mood: Mood) -> impl Strategy<Value = Life> {
    (any::<u8>(), vec(any::<u32>(), 1..40)).prop_map(move |(beginning, words)| Life {
        beginning: Beginning::of(beginning),
        steps: words.into_iter().map(|word| Step::of(word, mood)).collect(),
    })
}

/// Lives many lives in a mood, and checks every promise after every step.
fn live(mood: Mood, also: impl Fn(&World) -> Result<(), String>) {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let lived = proptest::test_runner::TestRunner::new(config).run(&life(mood), |life| {
        let lived = || {
            let mut world = World::new(life.beginning)?;
            for step in &life.steps {
                world.step(*step)?;
            }
            world.heal_across_a_crash()?;
            also(&world)
        };
        lived().map_err(TestCaseError::fail)
    });
    if let Err(broken) = lived {
        panic!("{broken}");
    }
}

#[test]
fn whatever_happens_every_promise_is_kept() {
    live(Mood::Any, |_| Ok(()));
}

#[test]
fn on_a_bad_network_every_promise_is_kept() {
    live(Mood::BadNetwork, |_| Ok(()));
}

#[test]
fn with_a_bad_store_every_promise_is_kept() {
    live(Mood::BadStore, |_| Ok(()));
}

#[test]
fn through_sign_ins_crashes_and_late_results_every_promise_is_kept() {
    live(Mood::Restless, |_| Ok(()));
}

#[test]
fn nothing_is_done_in_vain() {
    live(Mood::Any, |world| match world.watch.lapses.first() {
        None => Ok(()),
        Some(lapse) => Err((*lapse).to_owned()),
    });
}
