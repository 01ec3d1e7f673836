//! pizauth, whose program the user names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use authd_sandbox::Sandbox;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    agent::{AfterKill, Agent, Client, Protocol, USERS, has_token, wait_for_tokens, wait_until_it_listens},
    provider::Provider,
};
use crate::bench::program::{Running, kill};

pub(super) struct Pizauth {
    program: PathBuf,
    dir: TempDir,
    process: Running,
}

impl Pizauth {
    pub(super) async fn start(
        program: &Path,
        sandbox: &Sandbox,
        provider: &Provider,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let accounts = USERS.map(|user| {
            let url = &provider.url;
            format!(
                "account \"{user}\" {{\n  auth_uri = \"{url}/authorize\";\n  token_uri = \"{url}/token\";\n  \
                 client_id = \"{user}\";\n  scopes = [\"openid\"];\n  refresh_before_expiry = 0s;\n}}\n"
            )
        });
        let configuration = format!("https_listen = none;\n{}", accounts.concat());
        fs::write(dir.path().join("pizauth.conf"), configuration)?;
        let process = launch(program, dir.path())?;
        let agent = Self { program: program.to_owned(), dir, process };
        wait_until_it_listens(&agent)?;
        for user in USERS {
            let output = agent.command(&["show", user]).output()?;
            let text = String::from_utf8(output.stderr)?;
            let page = text.find("http").and_then(|start| text[start..].split_whitespace().next());
            sandbox.browser().open(page.with_context(|| text.clone())?).await?;
        }
        wait_for_tokens(&agent)?;
        Ok(agent)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).envs(environment(self.dir.path()));
        command
    }
}

fn launch(program: &Path, dir: &Path) -> anyhow::Result<Running> {
    let mut command = Command::new(program);
    command.arg("server").arg("-d").envs(environment(dir)).stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(&mut command)
}

fn environment(dir: &Path) -> Vec<(String, String)> {
    let dir = dir.to_string_lossy();
    ["HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"].map(|name| (name.to_owned(), dir.clone().into())).to_vec()
}

impl Agent for Pizauth {
    fn name(&self) -> &'static str {
        "pizauth"
    }

    fn version(&self) -> anyhow::Result<String> {
        let output = self.command(&["info", "-j"]).output()?;
        let info: Value = serde_json::from_slice(&output.stdout)?;
        Ok(info["pizauth_version"].as_str().context("pizauth info -j")?.to_owned())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("pizauth/pizauth.sock")
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            request: |user| format!("showtoken:withouturl {user}"),
            request_ends: true,
            token: "access_token:",
        }
    }

    fn client(&self) -> Client {
        let args = vec!["show".into(), USERS[0].into()];
        Client { program: self.program.clone(), args, env: environment(self.dir.path()) }
    }

    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        Ok(vec![self.process.pid()])
    }

    fn kill_and_start(&mut self) -> anyhow::Result<AfterKill> {
        kill(self.process.pid())?;
        // This drops the old process, and waits for its end.
        self.process = launch(&self.program, self.dir.path())?;
        wait_until_it_listens(self)?;
        ensure!(!has_token(self, USERS[0])?, "pizauth has a token after a restart");
        Ok(AfterKill::Needs("a new sign-in; `pizauth dump` before the end would have kept it"))
    }
}
