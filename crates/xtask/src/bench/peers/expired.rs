//! Clients of an agent whose token is expired.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{
    agent::{ANSWER_TIMEOUT, Agent, USERS, has_token, latencies, receive, send},
    agents::{Kind, Setting},
    provider::Behaviour,
    table::{Better, Figure, Line},
};
use crate::bench::{
    connection::{on_core, percentile},
    metric::Samples,
};

const ROUNDS: usize = 5;
const CLIENTS: usize = 64;
const READS: usize = 2_000;

/// The lifetime of a token that expires during a measurement.
const SHORT: Duration = Duration::from_secs(1);

/// How long a refresh takes while clients wait for it.
const DELAY: Duration = Duration::from_millis(300);

/// What the clients of one agent saw.
#[derive(Default)]
struct Herd {
    times: Samples,
    errors: Samples,
    refreshes: Samples,
}

pub(super) async fn measure(setting: &Setting<'_>) -> anyhow::Result<[Line; 4]> {
    let (mut herds, mut others) = (Vec::new(), Vec::new());
    for kind in setting.kinds() {
        let (mut herd, mut other) = (Herd::default(), Figure::Measured(Samples::default()));
        for _ in 0..ROUNDS {
            herd.measure(&*expired(setting, kind).await?, setting)?;
            other = other_user(&*expired(setting, kind).await?, setting, other)?;
        }
        herds.push(herd);
        others.push(other);
    }
    let line = |name: String, unit, figures| Line { name, unit, better: Better::Lower, figures };
    let of = |part: fn(&Herd) -> &Samples| {
        herds.iter().map(|herd| Figure::Measured(part(herd).clone())).collect::<Vec<_>>()
    };
    let name = format!(
        "{CLIENTS} clients, the token is expired, a refresh takes {DELAY:?}: until the last client has a token"
    );
    Ok([
        line(name, "ms", of(|herd| &herd.times)),
        line("clients that first got an error".to_owned(), "clients", of(|herd| &herd.errors)),
        line("refreshes of this token".to_owned(), "calls", of(|herd| &herd.refreshes)),
        line("a user's token while the refresh of another user hangs: p50".to_owned(), "µs", others),
    ])
}

/// A new agent whose tokens have just expired.
async fn expired(setting: &Setting<'_>, kind: Kind<'_>) -> anyhow::Result<Box<dyn Agent>> {
    setting.provider.behave(Behaviour { lifetime: SHORT, ..Behaviour::default() })?;
    let agent = setting.start(kind).await?;
    setting.provider.behave(Behaviour { delay: DELAY, ..Behaviour::default() })?;
    tokio::time::sleep(SHORT).await;
    Ok(agent)
}

impl Herd {
    /// Many clients request a token at once. A client that gets an error tries again.
    fn measure(&mut self, agent: &dyn Agent, setting: &Setting<'_>) -> anyhow::Result<()> {
        let started = Instant::now();
        let (mut waiting, mut failed) = (CLIENTS, None);
        while waiting > 0 {
            let streams = (0..waiting).map(|_| send(agent, USERS[0])).collect::<io::Result<Vec<_>>>()?;
            for mut stream in streams {
                waiting -= usize::from(receive(agent, &mut stream)?);
            }
            failed.get_or_insert(waiting);
        }
        self.times.push(started.elapsed().as_secs_f64() * 1e3);
        self.errors.push(f64::from(u32::try_from(failed.unwrap_or_default())?));
        self.refreshes.push(f64::from(setting.provider.refreshes_of(USERS[0])?));
        Ok(())
    }
}

/// The time of the second user's reads while a refresh of the first user hangs. `figure` has those
/// of earlier rounds.
fn other_user(agent: &dyn Agent, setting: &Setting<'_>, figure: Figure) -> anyhow::Result<Figure> {
    setting.provider.behave(Behaviour { hung: Some(USERS[0]), ..Behaviour::default() })?;
    let Figure::Measured(mut samples) = figure else { return Ok(figure) };
    while !has_token(agent, USERS[1]).context("the token of the other user")? {}
    let hung = send(agent, USERS[0])?;
    let times = on_core(0, || latencies(agent, USERS[1], READS));
    drop(hung);
    match times {
        Ok(times) => samples.push(percentile(&times, 50)),
        Err(error) if is_timeout(&error) => {
            return Ok(Figure::Instead(format!("no answer in {ANSWER_TIMEOUT:?}")));
        }
        Err(error) => return Err(error),
    }
    Ok(Figure::Measured(samples))
}

fn is_timeout(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
