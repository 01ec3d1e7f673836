//! Every order of a few events: no luck is needed to meet the one order that breaks a promise.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use authd_oauth::Mode;

use crate::{
    step::{Luck, Rejected, Step},
    world::{Beginning, World},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// The events. A call can end well, fail before and after it took effect, be put off or be refused.
const CALLS: [Step; 13] = [
    Step::WaitUntilDue,
    Step::Want(Duration::from_secs(60)),
    Step::Ask(Rejected::Served),
    Step::Sleep(Duration::from_secs(61)),
    Step::Report(0, Luck::Answered(HOUR)),
    Step::Report(0, Luck::Unsent),
    Step::Report(0, Luck::AnswerLost),
    Step::Report(0, Luck::Busy(Some(Duration::from_secs(900)))),
    Step::Report(0, Luck::Refused),
    Step::Report(1, Luck::Answered(HOUR)),
    Step::Replay(0),
    Step::SignIn(Mode::ChatGpt, HOUR),
    Step::Crash(Duration::ZERO),
];

/// What changes the record, the clock and the store from outside, and the calls that are in its way.
const OUTSIDE: [Step; 13] = [
    Step::WaitUntilDue,
    Step::Ask(Rejected::Served),
    Step::Report(0, Luck::Answered(HOUR)),
    Step::Report(0, Luck::Unsent),
    Step::Report(0, Luck::OnlyRotated),
    Step::Mark,
    Step::Intend(true),
    Step::SetClock(-40 * 86_400),
    Step::SetClock(40 * 86_400),
    Step::StoreReady,
    Step::SignIn(Mode::ChatGpt, HOUR),
    Step::Crash(Duration::ZERO),
    Step::Stop,
];

fn world_after(beginning: Beginning, path: &[Step]) -> Result<World, String> {
    let mut world = World::new(beginning)?;
    path.iter().try_for_each(|step| world.step(*step))?;
    Ok(world)
}

/// Goes through all lives, the short ones first. Two ways into the same state are one from there on.
fn explore(beginning: Beginning, events: &[Step], depth: usize) {
    let mut seen = HashSet::new();
    let mut paths = vec![Vec::new()];
    for _ in 0..depth {
        let mut longer = Vec::new();
        for path in paths {
            let here = world_after(beginning, &path).unwrap();
            for step in events.iter().copied().filter(|step| here.can(*step)) {
                let path = [&path[..], &[step]].concat();
                let mut world = match world_after(beginning, &path) {
                    Ok(world) => world,
                    Err(broken) => panic!("{broken}: {beginning:?}, {path:#?}"),
                };
                let mut hasher = DefaultHasher::new();
                world.fingerprint().hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    if let Err(broken) = world.heal() {
                        panic!("{broken}, once all is well again: {beginning:?}, {path:#?}");
                    }
                    longer.push(path);
                }
            }
        }
        paths = longer;
    }
    assert!(seen.len() > 10_000, "only {} states: something is in the way of most events", seen.len());
}

/// All orders of seven of thirteen events, beginning with an access token that has expired.
#[test]
fn every_order_of_seven_events_keeps_every_promise_in_chatgpt_mode() {
    explore(Beginning::Restored(Mode::ChatGpt, Duration::ZERO), &CALLS, 7);
}

/// The same, beginning with an API key that works.
#[test]
fn every_order_of_seven_events_keeps_every_promise_in_api_key_mode() {
    explore(Beginning::Restored(Mode::ApiKey, HOUR), &CALLS, 7);
}

/// All orders of five events of another kind.
#[test]
fn every_order_of_five_changes_from_outside_keeps_every_promise() {
    explore(Beginning::Restored(Mode::ChatGpt, Duration::ZERO), &OUTSIDE, 5);
}
