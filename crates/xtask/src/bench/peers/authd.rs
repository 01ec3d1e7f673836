//! authd as an agent: a daemon with the file store, and a provider of its configuration.

use std::{path::PathBuf, time::Instant};

use anyhow::Context;
use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;

use super::{
    agent::{AfterKill, Agent, Client, Protocol, USERS, wait_for_tokens},
    provider::Provider,
};
use crate::bench::Binaries;

pub(super) struct Authd {
    daemon: TestDaemon,
    authctl: PathBuf,
}

impl Authd {
    pub(super) async fn start(
        binaries: &Binaries,
        sandbox: &Sandbox,
        provider: &Provider,
    ) -> anyhow::Result<Self> {
        let providers = USERS.map(|user| {
            let url = &provider.url;
            format!("[providers.{user}]\nissuer = '{url}'\nclient_id = '{user}'\nscopes = ['openid']\n")
        });
        let config = TestDaemonConfig::new(&binaries.authd, sandbox).store("file").toml(&providers.concat());
        let daemon = TestDaemon::start(config).await;
        for user in USERS {
            let login = daemon.post("/v1/logins", json!({"profile": user, "provider": user})).await;
            let url = login["authorize_url"].as_str().context("a login has an address")?;
            sandbox.browser().open(url).await?;
        }
        let agent = Self { daemon, authctl: binaries.authctl.clone() };
        wait_for_tokens(&agent)?;
        Ok(agent)
    }
}

impl Agent for Authd {
    fn name(&self) -> &'static str {
        "authd"
    }

    fn version(&self) -> anyhow::Result<String> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn socket(&self) -> PathBuf {
        self.daemon.socket()
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            request: |user| {
                format!(
                    "GET /v1/profiles/{user}/headers HTTP/1.1\r\nhost: authd\r\nconnection: close\r\n\r\n"
                )
            },
            request_ends: false,
            token: "\"Bearer ",
        }
    }

    fn client(&self) -> Client {
        let args = ["token", "-p", USERS[0]].map(str::to_owned).to_vec();
        Client { program: self.authctl.clone(), args, env: self.daemon.env().to_vec() }
    }

    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        Ok(vec![self.daemon.pid().context("the daemon runs")?])
    }

    fn kill_and_start(&mut self) -> anyhow::Result<AfterKill> {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(self.daemon.kill9());
            let started = Instant::now();
            runtime.block_on(self.daemon.start_again());
            wait_for_tokens(self)?;
            Ok(AfterKill::Serves(started.elapsed()))
        })
    }
}
