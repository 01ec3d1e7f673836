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

/// How many events each life has.
const DEPTH: usize = 7;

/// The events. A call can end well, fail before and after it took effect, be put off or be refused.
const EVENTS: [Step; 13] = [
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

fn world_after(beginning: Beginning, path: &[Step]) -> Result<World, String> {
    let mut world = World::new(beginning)?;
    path.iter().try_for_each(|step| world.step(*step))?;
    Ok(world)
}

/// Goes through all lives, the short ones first. Two ways into the same state are one from there on.
fn explore(beginning: Beginning) {
    let mut seen = HashSet::new();
    let mut paths = vec![Vec::new()];
    for _ in 0..DEPTH {
        let mut longer = Vec::new();
        for path in paths {
            let here = world_after(beginning, &path).unwrap();
            for step in EVENTS.into_iter().filter(|step| here.can(*step)) {
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
    explore(Beginning::Restored(Mode::ChatGpt, Duration::ZERO));
}

/// The same, beginning with an API key that works.
#[test]
fn every_order_of_seven_events_keeps_every_promise_in_api_key_mode() {
    explore(Beginning::Restored(Mode::ApiKey, HOUR));
}
