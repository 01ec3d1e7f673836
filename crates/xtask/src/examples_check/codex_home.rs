//! The real Codex CLI in a home that authd manages: installation, a refresh, a deleted login, a
//! symbolic link, export and import. Codex accepts a workspace only on an HTTPS host, so the
//! sandbox has the provider's real host names behind its proxy.

mod usage;

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Stdio};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Route, Routing, Sandbox, Tls,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::{ANSWER, TIMEOUT, Workspace};
use crate::shell::{self, print};

/// Codex in a home of its own, and the authd that manages the home.
struct CodexHome<'a> {
    workspace: &'a Workspace,
    sandbox: Sandbox,
    daemon: TestDaemon,
    home: PathBuf,
}

/// Runs the real Codex through the life of a managed home.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let codex = CodexHome::start(workspace).await?;
    codex.authctl(&["codex", "install"]).await?;
    codex.asks("after the installation").await?;
    codex.shows_the_same_usage().await?;
    codex.authctl(&["refresh"]).await?;
    codex.asks("after a refresh").await?;

    codex.codex(&["logout"]).await?;
    codex.wait_for_login().await;
    codex.asks("after its logout").await?;

    codex.authctl(&["codex", "uninstall"]).await?;
    ensure!(!codex.login().exists(), "there was no login before the installation");
    let target = codex.daemon.dir().join("login.json");
    fs::write(&target, "{}")?;
    symlink(&target, codex.login())?;
    codex.authctl(&["codex", "install"]).await?;
    codex.asks("through a symbolic link").await?;
    codex.codex(&["logout"]).await?;
    codex.wait_for_login().await;
    codex.asks("after its logout, through a symbolic link").await?;
    codex.authctl(&["codex", "uninstall"]).await?;
    ensure!(fs::read_to_string(&target)? == "{}", "the previous login is restored through the link");
    fs::remove_file(codex.login())?;

    codex.authctl(&["export", "codex"]).await?;
    codex.asks("after the export").await?;
    let refreshes = codex.sandbox.count(Route::Refresh);
    codex.sandbox.expire_access_tokens();
    codex.asks("with a token that it refreshed itself").await?;
    ensure!(codex.sandbox.count(Route::Refresh) > refreshes, "Codex refreshes an exported login");
    codex.authctl(&["import", "codex"]).await?;
    codex.asks("after the import").await?;
    codex.authctl(&["refresh"]).await?;
    codex.asks("after the import and a refresh").await
}

impl<'a> CodexHome<'a> {
    async fn start(workspace: &'a Workspace) -> anyhow::Result<Self> {
        let routing = Routing { backend_origin: "https://chatgpt.com".into(), region: "us".into() };
        let account = Account { routing: Some(routing), ..Account::plus() };
        let sandbox =
            Sandbox::start(Config { tls: Some(Tls::generate()?), ..Config::with_accounts([account]) })
                .await?;
        let daemon = TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox)).await;
        daemon.sign_in("default", "plus").await;
        let home = daemon.dir().join("home/.codex");
        fs::create_dir(&home)?;
        Ok(Self { workspace, sandbox, daemon, home })
    }

    fn login(&self) -> PathBuf {
        self.home.join("auth.json")
    }

    /// Asks Codex a question. Codex must answer, with the token of its login file.
    async fn asks(&self, when: &str) -> anyhow::Result<()> {
        let question = ["exec", "--skip-git-repo-check", "--sandbox", "read-only", "What is 2+2?"];
        let stdout = self.codex(&question).await?;
        ensure!(stdout.contains(ANSWER), "Codex printed no answer {when}: {stdout}");
        let login: Value = serde_json::from_str(&fs::read_to_string(self.login())?)?;
        let token = login["tokens"]["access_token"].as_str().context("the login has an access token")?;
        let sent = self.sandbox.requests();
        let is_current = |value: Option<&str>| value == Some(&*format!("Bearer {token}"));
        ensure!(
            sent.iter().rev().take(8).any(|request| is_current(request.header("authorization"))),
            "Codex does not use the token of its login {when}"
        );
        print(&format!("       Codex answers {when}"));
        Ok(())
    }

    /// Waits until the daemon has written a login again.
    async fn wait_for_login(&self) {
        while fs::read_to_string(self.login()).is_err() {
            tokio::task::yield_now().await;
        }
    }

    async fn authctl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run("authctl", args).await
    }

    async fn codex(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run("codex", args).await
    }

    async fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        let shown = format!("{program} {}", args.join(" "));
        let mut command = Command::new(program);
        command.args(args).current_dir(self.daemon.dir()).stdin(Stdio::null()).kill_on_drop(true);
        command.env_clear().envs(self.daemon.env().iter().cloned());
        command.env("PATH", self.workspace.search_path()?).env("NO_BROWSER", "1");
        let output =
            timeout(TIMEOUT, command.output()).await.with_context(|| format!("{shown} timed out"))?;
        let output = output.with_context(|| format!("cannot start {shown}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "{shown}: {}\n{stdout}\n{stderr}", output.status);
        Ok(stdout)
    }
}
