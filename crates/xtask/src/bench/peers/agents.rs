//! The same work with every agent: authd, oidc-agent, and pizauth if its program is named.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use authd_sandbox::Sandbox;

use super::{
    agent::{AfterKill, Agent, USERS, latencies, memory, pin, receive, send},
    authd::Authd,
    expired,
    oidc_agent::OidcAgent,
    pizauth::Pizauth,
    provider::Provider,
    table::{Better, Figure, Line},
};
use crate::bench::{
    Binaries,
    connection::{last_core, on_core, percentile},
    metric::Samples,
    program::run_time,
};

const ROUNDS: usize = 9;
const RUNS: usize = 60;
const READS: usize = 2_000;
const CLIENTS: usize = 64;
const SPAN: Duration = Duration::from_millis(400);

/// The programs with their versions, and what they did.
pub(super) struct Compared {
    pub(super) programs: Vec<&'static str>,
    pub(super) versions: Vec<String>,
    pub(super) lines: Vec<Line>,
}

pub(super) async fn measure(binaries: &Binaries, pizauth: Option<&Path>) -> anyhow::Result<Compared> {
    let setting = Setting::new(binaries, pizauth).await?;
    let mut agents = Vec::new();
    for kind in setting.kinds() {
        agents.push(setting.start(kind).await?);
    }
    let mut lines = valid_token(&agents)?;
    lines.extend(memory_of(&agents)?);
    lines.push(after_kill(&mut agents)?);
    let programs = agents.iter().map(|agent| agent.name()).collect();
    let versions = agents.iter().map(|agent| agent.version()).collect::<Result<_, _>>()?;
    drop(agents);

    lines.extend(expired::measure(&setting).await?);
    Ok(Compared { programs, versions, lines })
}

/// A program that is compared.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    Authd,
    OidcAgent,
    Pizauth(&'a Path),
}

/// What the agents are started with.
pub(super) struct Setting<'a> {
    binaries: &'a Binaries,
    pizauth: Option<&'a Path>,
    sandbox: Sandbox,
    pub(super) provider: Provider,
}

impl<'a> Setting<'a> {
    async fn new(binaries: &'a Binaries, pizauth: Option<&'a Path>) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
        Ok(Self { binaries, pizauth, sandbox, provider: Provider::start(binaries)? })
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind<'a>> + use<'a> {
        [Kind::Authd, Kind::OidcAgent].into_iter().chain(self.pizauth.map(Kind::Pizauth))
    }

    /// Starts an agent, signs both users in, and pins the agent to the first core.
    pub(super) async fn start(&self, kind: Kind<'_>) -> anyhow::Result<Box<dyn Agent>> {
        let Self { binaries, sandbox, provider, .. } = self;
        let agent: Box<dyn Agent> = match kind {
            Kind::Authd => {
                Box::new(Authd::start(binaries, sandbox, provider).await.context("start of authd")?)
            }
            Kind::OidcAgent => {
                Box::new(OidcAgent::start(sandbox, provider).await.context("start of oidc-agent")?)
            }
            Kind::Pizauth(program) => {
                Box::new(Pizauth::start(program, sandbox, provider).await.context("start of pizauth")?)
            }
        };
        pin(&*agent, 0)?;
        Ok(agent)
    }
}

fn valid_token(agents: &[Box<dyn Agent>]) -> anyhow::Result<Vec<Line>> {
    let line = |name: String, unit, better, figures| Line { name, unit, better, figures };
    Ok(vec![
        line(
            "client program that prints a token, start to exit".to_owned(),
            "ms",
            Better::Lower,
            in_turns(agents, |agent| {
                let client = agent.client();
                let args: Vec<_> = client.args.iter().map(String::as_str).collect();
                let run = || run_time(&client.program, &args, &client.env);
                let mut times: Vec<_> = on_core(0, || (0..RUNS).map(|_| run()).collect::<Result<_, _>>())?;
                times.sort();
                Ok(percentile(&times, 50) / 1e3)
            })?,
        ),
        line(
            "valid token over the socket, a connection each time, same core: p50".to_owned(),
            "µs",
            Better::Lower,
            in_turns(agents, |agent| Ok(percentile(&on_core(0, || latencies(agent, USERS[0], READS))?, 50)))?,
        ),
        line(
            format!("the same, {CLIENTS} clients on another core"),
            "tokens/s",
            Better::Higher,
            in_turns(agents, |agent| Ok(on_core(last_core(), || throughput(agent))?))?,
        ),
    ])
}

/// The figure of each agent, one for each round; the agents take turns.
fn in_turns(
    agents: &[Box<dyn Agent>],
    measure: impl Fn(&dyn Agent) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![Samples::default(); agents.len()];
    for _ in 0..ROUNDS {
        for (agent, samples) in agents.iter().zip(&mut figures) {
            samples.push(measure(&**agent).with_context(|| agent.name())?);
        }
    }
    Ok(figures.into_iter().map(Figure::Measured).collect())
}

/// Tokens per second when every client sends the next request after each response.
fn throughput(agent: &dyn Agent) -> io::Result<f64> {
    let mut streams = (0..CLIENTS).map(|_| send(agent, USERS[0])).collect::<io::Result<Vec<_>>>()?;
    let started = Instant::now();
    let mut tokens = 0_u32;
    while started.elapsed() < SPAN {
        for stream in &mut streams {
            tokens += u32::from(receive(agent, stream)?);
            *stream = send(agent, USERS[0])?;
        }
    }
    let rate = f64::from(tokens) / started.elapsed().as_secs_f64();
    for mut stream in streams {
        receive(agent, &mut stream)?;
    }
    Ok(rate)
}

fn memory_of(agents: &[Box<dyn Agent>]) -> anyhow::Result<[Line; 2]> {
    let memories = agents.iter().map(|agent| memory(&**agent)).collect::<anyhow::Result<Vec<_>>>()?;
    let line = |name: &str, figures: Vec<f64>| Line {
        name: name.to_owned(),
        unit: "MB",
        better: Better::Lower,
        figures: figures.into_iter().map(|bytes| Figure::Measured(Samples::from(bytes / 1e6))).collect(),
    };
    Ok([
        line("private memory (heap, stacks) after this", memories.iter().map(|memory| memory.own).collect()),
        line(
            "memory of the program file and libraries, shared with other processes",
            memories.iter().map(|memory| memory.files).collect(),
        ),
    ])
}

fn after_kill(agents: &mut [Box<dyn Agent>]) -> anyhow::Result<Line> {
    let mut figures = Vec::new();
    for agent in agents.iter_mut() {
        let name = agent.name();
        figures.push(match agent.kill_and_start().with_context(|| format!("kill -9 of {name}"))? {
            AfterKill::Serves(time) => Figure::Measured(Samples::from(time.as_secs_f64() * 1e3)),
            AfterKill::Needs(what) => Figure::Instead(format!("needs {what}")),
        });
    }
    let name = "kill -9 of all processes, start: until a token is served".to_owned();
    Ok(Line { name, unit: "ms", better: Better::Lower, figures })
}
