//! Every order of a few events. Unlike a random test it cannot miss one.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use authd_oauth::Mode;

use crate::{
    simulation::Simulation,
    step::{HOUR, InitialState, Outcome, RejectedKind, Step},
};

/// Clients, calls and restarts. A call can succeed, fail before or after it takes effect, be
/// delayed or be rejected.
const CALLS: [Step; 14] = [
    Step::WaitUntilDue,
    Step::RequestCredential(Duration::from_secs(60)),
    Step::RequestRefresh(RejectedKind::Served),
    Step::Sleep(Duration::from_secs(61)),
    Step::Deliver(0, Outcome::Success(HOUR)),
    Step::Deliver(0, Outcome::NotSent),
    Step::Deliver(0, Outcome::ResponseLost),
    Step::Deliver(0, Outcome::RateLimited(Some(Duration::from_secs(900)))),
    Step::Deliver(0, Outcome::RejectedForNow),
    Step::Deliver(0, Outcome::Rejected),
    Step::Deliver(1, Outcome::Success(HOUR)),
    Step::Replay(0),
    Step::SignIn(Mode::ChatGpt, HOUR),
    Step::Crash(Duration::ZERO),
];

/// Changes of the record, the clock and the store from outside, and the calls that they meet.
const OUTSIDE: [Step; 13] = [
    Step::WaitUntilDue,
    Step::RequestRefresh(RejectedKind::Served),
    Step::Deliver(0, Outcome::Success(HOUR)),
    Step::Deliver(0, Outcome::NotSent),
    Step::Deliver(0, Outcome::NoAccessToken),
    Step::SetDefaultRank,
    Step::SetIntent(true),
    Step::SetClock(-40 * 86_400),
    Step::SetClock(40 * 86_400),
    Step::StoreReady,
    Step::SignIn(Mode::ChatGpt, HOUR),
    Step::Crash(Duration::ZERO),
    Step::Stop,
];

/// What a defined provider and the servers behind it may do: it refuses wrongly or for good, states
/// no lifetime or does not rotate, and a server asks for a scope.
const BEARER: [Step; 13] = [
    Step::WaitUntilDue,
    Step::RequestCredential(Duration::from_secs(900)),
    Step::RequestRefresh(RejectedKind::Nothing),
    Step::RequestRefresh(RejectedKind::Served),
    Step::Deliver(0, Outcome::Success(HOUR)),
    Step::Deliver(0, Outcome::SuccessWithoutRotation(HOUR)),
    Step::Deliver(0, Outcome::SuccessWithoutLifetime),
    Step::Deliver(0, Outcome::ResponseLost),
    Step::Deliver(0, Outcome::RejectedWrongly),
    Step::Deliver(0, Outcome::Rejected),
    Step::ReportMissingScope("write", RejectedKind::Served),
    Step::SignIn(Mode::Bearer, HOUR),
    Step::Crash(Duration::ZERO),
];

fn simulation_after(initial_state: InitialState, path: &[Step]) -> Result<Simulation, String> {
    let mut simulation = Simulation::new(initial_state)?;
    path.iter().try_for_each(|step| simulation.step(*step))?;
    Ok(simulation)
}

/// Breadth-first search over all orders. A state that was reached before is not explored again.
fn explore(initial_state: InitialState, events: &[Step], depth: usize) {
    let mut states = HashSet::new();
    let mut paths = vec![Vec::new()];
    for _ in 0..depth {
        let mut longer = Vec::new();
        for path in paths {
            let before = simulation_after(initial_state, &path).unwrap();
            for step in events.iter().copied().filter(|step| before.is_possible(*step)) {
                let path = [&path[..], &[step]].concat();
                let mut simulation = match simulation_after(initial_state, &path) {
                    Ok(simulation) => simulation,
                    Err(violation) => panic!("{violation}: {initial_state:?}, {path:#?}"),
                };
                let mut hasher = DefaultHasher::new();
                simulation.fingerprint().hash(&mut hasher);
                if states.insert(hasher.finish()) {
                    if let Err(violation) = simulation.recover() {
                        panic!("{violation}, in the recovery: {initial_state:?}, {path:#?}");
                    }
                    longer.push(path);
                }
            }
        }
        paths = longer;
    }
    assert!(states.len() > 10_000, "only {} states: most events are not reached", states.len());
}

/// All orders of seven of thirteen events, from an expired access token.
#[test]
fn invariants_hold_for_every_order_of_seven_events_in_chatgpt_mode() {
    explore(InitialState::Restored(Mode::ChatGpt, Duration::ZERO), &CALLS, 7);
}

/// The same, from a valid API key.
#[test]
fn invariants_hold_for_every_order_of_seven_events_in_api_key_mode() {
    explore(InitialState::Restored(Mode::ApiKey, HOUR), &CALLS, 7);
}

/// All orders of five changes from outside.
#[test]
fn invariants_hold_for_every_order_of_five_changes_from_outside() {
    explore(InitialState::Restored(Mode::ChatGpt, Duration::ZERO), &OUTSIDE, 5);
}

/// All orders of seven of thirteen events, from a token that is about to expire.
#[test]
fn invariants_hold_for_every_order_of_seven_events_in_bearer_mode() {
    explore(InitialState::Restored(Mode::Bearer, Duration::from_secs(70)), &BEARER, 7);
}
