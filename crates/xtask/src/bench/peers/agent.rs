//! An agent: a program that keeps the tokens of two users, as the measurements use it.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::bench::program::{Memory, pin_process};

/// The users. The first one has the default profile of authd.
pub(super) const USERS: [&str; 2] = ["first", "second"];

/// Longest wait for a response, and for the tokens of a new agent.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client of an agent sends, and what it receives with a token.
pub(super) struct Protocol {
    /// The request for the token of a user.
    pub(super) request: fn(&str) -> String,
    /// Whether the agent reads a request until the client closes its side.
    pub(super) request_ends: bool,
    /// Part of every response with a token.
    pub(super) token: &'static str,
}

/// The program that prints the token of the first user.
pub(super) struct Client {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
}

/// What is left of an agent after SIGKILL and a start.
pub(super) enum AfterKill {
    /// It serves tokens after this time.
    Serves(Duration),
    /// A user must do this first.
    Needs(&'static str),
}

/// A running agent in which both users are signed in.
pub(super) trait Agent: Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> anyhow::Result<String>;
    fn socket(&self) -> PathBuf;
    fn protocol(&self) -> Protocol;
    fn client(&self) -> Client;
    /// The processes of the agent.
    fn processes(&self) -> anyhow::Result<Vec<u32>>;
    /// Kills all processes, starts the agent again, and waits until it serves requests.
    fn kill_and_start(&mut self) -> anyhow::Result<AfterKill>;
}

/// Sends a request for a token on a new connection.
pub(super) fn send(agent: &dyn Agent, user: &str) -> io::Result<UnixStream> {
    let protocol = agent.protocol();
    let mut stream = UnixStream::connect(agent.socket())?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all((protocol.request)(user).as_bytes())?;
    if protocol.request_ends {
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(stream)
}

/// Reads a response. Returns whether it has a token.
pub(super) fn receive(agent: &dyn Agent, stream: &mut UnixStream) -> io::Result<bool> {
    let mut response = Vec::with_capacity(4096);
    stream.read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).contains(agent.protocol().token))
}

/// Requests a token on a new connection. Returns whether there is one.
pub(super) fn has_token(agent: &dyn Agent, user: &str) -> io::Result<bool> {
    receive(agent, &mut send(agent, user)?)
}

/// Waits until the agent answers requests.
pub(super) fn wait_until_it_listens(agent: &dyn Agent) -> anyhow::Result<()> {
    let started = Instant::now();
    while let Err(error) = has_token(agent, USERS[0]) {
        ensure!(started.elapsed() < ANSWER_TIMEOUT, "{} does not listen: {error}", agent.name());
    }
    Ok(())
}

/// Waits until both users have a token.
pub(super) fn wait_for_tokens(agent: &dyn Agent) -> anyhow::Result<()> {
    let started = Instant::now();
    for user in USERS {
        while !has_token(agent, user).unwrap_or(false) {
            ensure!(started.elapsed() < ANSWER_TIMEOUT, "{} has no token of {user}", agent.name());
        }
    }
    Ok(())
}

/// Sorted times of requests on new connections.
pub(super) fn latencies(agent: &dyn Agent, user: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        ensure!(has_token(agent, user)?, "{} has no token", agent.name());
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Pins all processes to one core.
pub(super) fn pin(agent: &dyn Agent, core: usize) -> anyhow::Result<()> {
    agent.processes()?.into_iter().for_each(|process| pin_process(process, core));
    Ok(())
}

/// The memory of all processes.
pub(super) fn memory(agent: &dyn Agent) -> anyhow::Result<Memory> {
    agent.processes()?.into_iter().map(Memory::of).sum()
}
