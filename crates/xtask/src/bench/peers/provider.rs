//! The provider at which all agents sign in: `baseline-provider`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::bench::{Binaries, program::Running};

/// What the provider does from now on.
#[derive(Clone, Copy)]
pub(super) struct Behaviour {
    /// How long new access tokens are valid.
    pub(super) lifetime: Duration,
    /// How long a refresh takes.
    pub(super) delay: Duration,
    /// The user whose refreshes get no response.
    pub(super) hung: Option<&'static str>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(3_600), delay: Duration::ZERO, hung: None }
    }
}

/// A running provider.
pub(super) struct Provider {
    _process: Running,
    /// `http://` and the address.
    pub(super) url: String,
}

impl Provider {
    pub(super) fn start(binaries: &Binaries) -> anyhow::Result<Self> {
        let (process, url) = Running::with_address(&binaries.baselines.join("baseline-provider"))?;
        Ok(Self { _process: process, url })
    }

    pub(super) fn behave(&self, behaviour: Behaviour) -> anyhow::Result<()> {
        let Behaviour { lifetime, delay, hung } = behaviour;
        let hung = hung.map(|user| format!("&hung={user}")).unwrap_or_default();
        let (lifetime, delay) = (lifetime.as_secs(), delay.as_millis());
        self.request("POST", &format!("/control?lifetime={lifetime}&delay={delay}{hung}"))?;
        Ok(())
    }

    /// The number of refreshes of a user since the last change of the behaviour.
    pub(super) fn refreshes_of(&self, user: &str) -> anyhow::Result<u32> {
        Ok(self.request("GET", &format!("/refreshes?user={user}"))?.parse()?)
    }

    fn request(&self, method: &str, path: &str) -> anyhow::Result<String> {
        let address = self.url.strip_prefix("http://").context("an address")?;
        let mut stream = TcpStream::connect(address)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let (head, body) = response.split_once("\r\n\r\n").context("a response has a head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {response}");
        Ok(body.to_owned())
    }
}
