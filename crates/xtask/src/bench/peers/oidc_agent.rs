//! oidc-agent of Debian: `oidc-agent`, `oidc-gen`, `oidc-token`.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use authd_sandbox::Sandbox;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    agent::{AfterKill, Agent, Client, Protocol, USERS, has_token, wait_until_it_listens},
    provider::Provider,
};
use crate::bench::program::kill;

/// The passphrase of the stored accounts.
const PASSPHRASE: &str = "correct horse";

pub(super) struct OidcAgent {
    dir: TempDir,
    socket: PathBuf,
    /// The first process of the agent, which has started the others.
    process: u32,
}

impl OidcAgent {
    pub(super) async fn start(sandbox: &Sandbox, provider: &Provider) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join(".oidc-agent"))?;
        let mut agent = Self { dir, socket: PathBuf::new(), process: 0 };
        agent.launch()?;
        for user in USERS {
            agent.sign_in(sandbox, provider, user).await.with_context(|| format!("oidc-gen {user}"))?;
        }
        Ok(agent)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let output = self.command("oidc-agent").args(["--json", "--no-autoload"]).output()?;
        let started: Value = serde_json::from_slice(&output.stdout).context("oidc-agent --json")?;
        self.socket = started["socket"].as_str().context("a socket")?.into();
        self.process = started["dpid"].as_str().context("a process id")?.parse()?;
        Ok(())
    }

    async fn sign_in(&self, sandbox: &Sandbox, provider: &Provider, user: &str) -> anyhow::Result<()> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = self
            .command("oidc-gen")
            .args([user, "--client-id", user, "--client-secret", "secret", "--scope", "openid"])
            .args(["--iss", &format!("{}/", provider.url)])
            .args(["--redirect-uri", &format!("http://localhost:{port}"), "--flow=code"])
            .args(["--no-url-call", "--pw-env", "--prompt=none", "--confirm-default"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let page = format!("{}/authorize", provider.url);
        while let Some(line) = lines.next().transpose()? {
            if line.starts_with(&page) {
                sandbox.browser().open(&line).await?;
                break;
            }
        }
        lines.for_each(drop);
        let status = child.wait()?;
        ensure!(status.success(), "oidc-gen: {status}");
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.env());
        command
    }

    fn env(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let directory = self.dir.path().to_owned();
        [
            ("HOME", path(directory.clone())),
            ("TMPDIR", path(directory)),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("OIDC_SOCK", path(self.socket.clone())),
            ("OIDC_ENCRYPTION_PW", PASSPHRASE.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Agent for OidcAgent {
    fn name(&self) -> &'static str {
        "oidc-agent"
    }

    fn version(&self) -> anyhow::Result<String> {
        let output = self.command("oidc-agent").arg("--version").output()?;
        let text = String::from_utf8(output.stdout)?;
        text.split_whitespace().last().map(str::to_owned).context("oidc-agent --version")
    }

    fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            request: |user| {
                format!(
                    r#"{{"request":"access_token","account":"{user}","min_valid_period":0,"application_hint":"bench"}}"#
                )
            },
            request_ends: false,
            token: r#""access_token""#,
        }
    }

    fn client(&self) -> Client {
        Client { program: "oidc-token".into(), args: vec![USERS[0].into()], env: self.env() }
    }

    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let mut processes = vec![self.process];
        let mut next = 0;
        while let Some(&parent) = processes.get(next) {
            // A process that ends meanwhile has no children.
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            let children = children.unwrap_or_default();
            processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            next += 1;
        }
        Ok(processes)
    }

    fn kill_and_start(&mut self) -> anyhow::Result<AfterKill> {
        self.processes()?.into_iter().try_for_each(kill)?;
        self.launch()?;
        wait_until_it_listens(self)?;
        ensure!(!has_token(self, USERS[0])?, "oidc-agent has a token after a restart");
        Ok(AfterKill::Needs("the passphrase, by `oidc-add`"))
    }
}

impl Drop for OidcAgent {
    fn drop(&mut self) {
        // An error means that a process has already exited.
        for process in self.processes().unwrap_or_default() {
            kill(process).ok();
        }
    }
}
