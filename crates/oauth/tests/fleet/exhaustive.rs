//! Every order of a few steps, with the rules and with each planted fault.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    database::Fault,
    simulation::{Fleet, Step},
};

/// Two nodes that renew a grant: their calls take effect, succeed and are lost; they are paused,
/// killed and hear of changes late.
const STEPS: [Step; 12] = [
    Step::Wake(0),
    Step::Wake(1),
    Step::Deliver(0),
    Step::Deliver(1),
    Step::Execute(0),
    Step::Lose(0),
    Step::Lose(1),
    Step::Fail(0),
    Step::Crash(0),
    Step::Wait(50),
    Step::Wait(900),
    Step::Notify(1),
];

/// What users, upstreams and the store's administrator do.
const OUTSIDE: [Step; 11] = [
    Step::Wake(0),
    Step::Wake(1),
    Step::Deliver(0),
    Step::Deliver(1),
    Step::Execute(0),
    Step::Lose(0),
    Step::Reject(0),
    Step::Reject(1),
    Step::SignIn(0),
    Step::SignIn(1),
    Step::Restore,
];

/// Breadth-first search over all orders. Returns the first violation and its path.
fn explore(steps: &[Step], left: u64, depth: usize, fault: Option<Fault>) -> Result<usize, String> {
    let mut states = HashSet::new();
    let mut paths = vec![Vec::new()];
    for _ in 0..depth {
        let mut longer = Vec::new();
        for path in paths {
            let after = |path: &[Step]| -> Result<Fleet, String> {
                let mut fleet = Fleet::new(2, left, 0, fault);
                path.iter().try_for_each(|step| fleet.step(*step))?;
                Ok(fleet)
            };
            let before = after(&path)?;
            for step in steps.iter().copied().filter(|step| before.is_possible(*step)) {
                let path = [&path[..], &[step]].concat();
                let mut fleet = after(&path).map_err(|error| format!("{error}: {path:?}"))?;
                let mut hasher = DefaultHasher::new();
                fleet.fingerprint().hash(&mut hasher);
                if states.insert(hasher.finish()) {
                    fleet.recover().map_err(|error| format!("{error}, in the recovery: {path:?}"))?;
                    longer.push(path);
                }
            }
        }
        paths = longer;
    }
    Ok(states.len())
}

fn holds(steps: &[Step], left: u64, depth: usize) {
    let states = explore(steps, left, depth, None).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(states > 3_000, "only {states} states: most steps are not reached");
}

/// A renewal that is due while the access token is valid for 500 s.
#[test]
fn rules_hold_for_every_order_of_six_steps_of_a_planned_renewal() {
    holds(&STEPS, 500, 6);
}

#[test]
fn rules_hold_for_every_order_of_five_steps_with_an_expired_token() {
    holds(&STEPS, 0, 5);
}

#[test]
fn rules_hold_for_every_order_of_five_steps_from_outside() {
    holds(&OUTSIDE, 500, 5);
}

/// A random life found that the token of a sign-in was sent before it was stored. Its answer was
/// lost, and another node sent it again as soon as the store had it.
#[test]
fn token_that_is_not_stored_is_not_sent() {
    let steps = [
        Step::SignIn(1),
        Step::Wait(3_000),
        Step::Fail(1),
        Step::Deliver(1),
        Step::Wake(0),
        Step::Wait(1),
        Step::Lose(1),
    ];
    for left in [0, 500, 3_599] {
        let mut fleet = Fleet::new(2, left, 0, None);
        steps.iter().try_for_each(|step| fleet.step(*step)).unwrap();
        fleet.recover().unwrap();
    }
}

#[test]
fn each_planted_fault_is_found() {
    let faults = [
        (Fault::NoClaim, 500),
        (Fault::NoWait, 500),
        (Fault::NoLateCommit, 500),
        (Fault::NoCheckBeforeSending, 0),
        (Fault::NoCompare, 500),
        (Fault::SuccessorDropped, 500),
    ];
    for (fault, left) in faults {
        let found = explore(&STEPS, left, 6, Some(fault));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
