//! The upstream of the relay's benchmarks, and a daemon that relays to it.

use std::fs;

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{Binaries, program::Running};

/// A running upstream.
pub(crate) struct Upstream {
    process: Running,
    /// The address and port.
    pub(crate) address: String,
}

impl Upstream {
    pub(crate) fn start(binaries: &Binaries) -> anyhow::Result<Self> {
        let (process, address) = Running::with_address(&binaries.baselines.join("baseline-upstream"))?;
        Ok(Self { process, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
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
