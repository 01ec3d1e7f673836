//! The upstream of the relay's benchmarks, and a daemon that relays to it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::Binaries;

/// A running upstream. Dropping it kills the process.
pub(crate) struct Upstream {
    child: Child,
    /// The address and port.
    pub(crate) address: String,
}

impl Upstream {
    pub(crate) fn start(binaries: &Binaries) -> anyhow::Result<Self> {
        let mut child =
            Command::new(binaries.baselines.join("baseline-upstream")).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut upstream = Self { child, address: String::new() };
        BufReader::new(stdout).read_line(&mut upstream.address)?;
        upstream.address.truncate(upstream.address.trim_end().len());
        Ok(upstream)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A daemon whose default profile has an API key for this upstream.
    pub(crate) async fn daemon(&self, binaries: &Binaries, sandbox: &Sandbox) -> anyhow::Result<TestDaemon> {
        let mut daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, sandbox)).await;
        let (sandbox_url, url) = (sandbox.endpoints().api_base_url, format!("http://{}/v1", self.address));
        let text = fs::read_to_string(daemon.config())?;
        fs::write(daemon.config(), text.replace(&sandbox_url, &url))?;
        daemon.restart().await;
        let key = r#"{"api_key": "sk-of-ones-own", "check": false}"#;
        let put = daemon.request("PUT", "/v1/profiles/default/api-key", &[], key).await;
        anyhow::ensure!(put.status.is_success(), "{}", put.text());
        Ok(daemon)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // An error means that the process has already exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
