//! Random orders of events: 150,000 runs of up to forty steps. After each run the session must
//! recover, also across a crash.

use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};

use crate::{
    simulation::Simulation,
    step::{InitialState, Scenario, Step},
};

/// Runs per test.
const CASES: u32 = 30_000;

/// One run: its initial state and its steps.
#[derive(Clone, Debug)]
struct Run {
    initial_state: InitialState,
    steps: Vec<Step>,
}

fn run(scenario: Scenario) -> impl Strategy<Value = Run> {
    (any::<u8>(), vec(any::<u32>(), 1..40)).prop_map(move |(initial_state, numbers)| Run {
        initial_state: InitialState::of(initial_state),
        steps: numbers.into_iter().map(|number| Step::of(number, scenario)).collect(),
    })
}

/// Checks every invariant after every step of many runs in a scenario.
fn check_runs(scenario: Scenario, extra_check: impl Fn(&Simulation) -> Result<(), String>) {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let result = proptest::test_runner::TestRunner::new(config).run(&run(scenario), |run| {
        let result = || {
            let mut simulation = Simulation::new(run.initial_state)?;
            for step in &run.steps {
                simulation.step(*step)?;
            }
            simulation.recover_across_a_crash()?;
            extra_check(&simulation)
        };
        result().map_err(TestCaseError::fail)
    });
    if let Err(violation) = result {
        panic!("{violation}");
    }
}

#[test]
fn invariants_hold_for_all_steps() {
    check_runs(Scenario::Any, |_| Ok(()));
}

#[test]
fn invariants_hold_on_a_bad_network() {
    check_runs(Scenario::BadNetwork, |_| Ok(()));
}

#[test]
fn invariants_hold_with_a_bad_store() {
    check_runs(Scenario::BadStore, |_| Ok(()));
}

#[test]
fn invariants_hold_through_sign_ins_crashes_and_late_results() {
    check_runs(Scenario::Restless, |_| Ok(()));
}

#[test]
fn no_call_is_unnecessary() {
    check_runs(Scenario::Any, |simulation| match simulation.invariants.lapses.first() {
        None => Ok(()),
        Some(lapse) => Err((*lapse).to_owned()),
    });
}
