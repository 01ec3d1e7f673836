//! npm `oidc-provider` with an event log, a daemon that has definitions of it, and a browser for
//! its pages.

use std::{ffi::OsStr, path::PathBuf, process::Stdio};

use anyhow::{Context, bail, ensure};
use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    NODE_22,
    Requirement::{self, Npm, Program},
    TIMEOUT, Workspace,
};
use crate::shell;

pub(super) const MCP_SDK: Requirement = Npm("@modelcontextprotocol/sdk@1.32.2");

/// The provider, the MCP server behind it, and what a rig runs.
const REQUIREMENTS: [Requirement; 5] =
    [NODE_22, Npm("oidc-provider@9.13.3"), MCP_SDK, Program("bash"), Program("curl")];

/// The clients that the provider knows, and how each authenticates itself. The names are those of
/// the definitions, too.
pub(super) const CLIENTS: [(&str, &str); 3] = [("public", "none"), ("basic", "basic"), ("post", "post")];

/// The secret of the confidential clients.
const SECRET: &str = "p+s:%/&= t";

/// The user that signs in.
pub(super) const USER: &str = "alice";

const SCRIPT: &str = "oidc_provider.mjs";
const STORE: &str = "oidc_store.mjs";
pub(super) const BROWSER: &str = "browser.mjs";

/// Installs the provider, and what a check needs besides.
pub(super) fn install(workspace: &Workspace, others: &[Requirement]) -> anyhow::Result<()> {
    workspace.install_all(&REQUIREMENTS)?;
    workspace.install_all(others)
}

/// The running provider. It ends when it is dropped.
pub(super) struct OidcProvider {
    /// The metadata that it publishes.
    pub(super) metadata: Value,
    events: watch::Receiver<Vec<Value>>,
    _process: Child,
}

impl OidcProvider {
    /// Starts the provider with the options of its script.
    pub(super) async fn start(workspace: &Workspace, options: &Value) -> anyhow::Result<Self> {
        workspace.copy(SCRIPT)?;
        workspace.copy(STORE)?;
        let mut command = workspace.command("node", &[])?;
        command.args([SCRIPT, &options.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().context("stdout is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(TIMEOUT, lines.next_line()).await.context("oidc-provider does not start")??;
        let metadata = serde_json::from_str(&line.context("oidc-provider has ended")?)?;
        let (sender, events) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|events| events.extend(serde_json::from_str::<Value>(&line)));
            }
        });
        Ok(Self { metadata, events, _process: process })
    }

    /// A URL of the metadata.
    pub(super) fn url(&self, field: &str) -> &str {
        self.metadata[field].as_str().unwrap_or_default()
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<Value> {
        self.events.borrow().clone()
    }

    /// Waits until the events satisfy a condition.
    pub(super) async fn wait_for(
        &self,
        what: &str,
        is_reached: impl Fn(&[Value]) -> bool,
    ) -> anyhow::Result<()> {
        let mut events = self.events.clone();
        let reached = events.wait_for(|events| is_reached(events));
        let reached = timeout(TIMEOUT, reached).await.with_context(|| format!("{what} did not happen"))?;
        reached.context("oidc-provider has ended").map(drop)
    }

    /// Checks that no grant was revoked, and that the provider reported no error.
    pub(super) fn ensure_peace(&self) -> anyhow::Result<()> {
        let events = self.events.borrow();
        let trouble = events.iter().find(|event| match event["error"].as_str() {
            // A device asks again and again until the user has signed in.
            Some(error) => !error.starts_with("authorization_pending"),
            None => event["event"] == "grant.revoked",
        });
        trouble.map_or(Ok(()), |event| bail!("oidc-provider reports {event}"))
    }
}

/// The number of events of this name.
pub(super) fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

/// The provider, a daemon with a definition for each of its clients, and the commands of a user.
pub(super) struct Rig<'a> {
    pub(super) provider: OidcProvider,
    pub(super) daemon: TestDaemon,
    /// A directory for the files of a check.
    pub(super) directory: TempDir,
    workspace: &'a Workspace,
    _sandbox: Sandbox,
}

impl<'a> Rig<'a> {
    /// Starts the daemon. `keys` are further keys of each definition.
    pub(super) async fn start(
        workspace: &'a Workspace,
        provider: OidcProvider,
        keys: &str,
    ) -> anyhow::Result<Self> {
        workspace.copy(BROWSER)?;
        let directory = tempfile::tempdir()?;
        let secret = directory.path().join("secret");
        std::fs::write(&secret, SECRET)?;
        let definitions = CLIENTS.map(|(client, auth)| {
            let issuer = provider.url("issuer");
            let secret = match auth {
                "none" => String::new(),
                _ => format!("client_secret_file = '{}'\nclient_auth = '{auth}'\n", secret.display()),
            };
            format!(
                "[providers.{client}]\nissuer = {issuer:?}\nclient_id = {client:?}\n{secret}\
                 scopes = [\"openid\", \"email\"]\n{keys}\n"
            )
        });
        let sandbox = Sandbox::start(Config::default()).await?;
        let config = TestDaemonConfig::new(shell::binary("authd")?, &sandbox).toml(&definitions.concat());
        let daemon = TestDaemon::start(config).await;
        Ok(Self { provider, daemon, directory, workspace, _sandbox: sandbox })
    }

    /// A command with the environment of a user: our programs, the daemon, and the browser.
    pub(super) fn command(&self, program: &str, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.workspace.command(program, self.daemon.env())?;
        command.args(args).env("BROWSER", format!("node {BROWSER} %s {USER}"));
        Ok(command)
    }

    /// Runs a command, which must succeed. Returns its stdout.
    pub(super) async fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        run(&mut self.command(program, args)?).await.with_context(|| self.daemon.log())
    }

    /// Runs `authctl`, which must succeed. Returns its stdout.
    pub(super) async fn authctl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run("authctl", args).await
    }

    /// Runs `authctl` with `--json`.
    pub(super) async fn authctl_json(&self, args: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.authctl(&[args, &["--json"]].concat()).await?)?)
    }

    /// Opens pages in the browser, each as a new user session.
    pub(super) async fn browse(&self, url: &str) -> anyhow::Result<()> {
        self.run("node", &[BROWSER, url, USER]).await.map(drop)
    }

    /// Requests a URL with the headers of a profile, as `examples/curl.sh` does. The response must
    /// be a success.
    pub(super) async fn request(&self, profile: &str, url: &str) -> anyhow::Result<Value> {
        const SCRIPT: &str = "curl --silent --show-error --fail-with-body -H @<(authctl headers -p $0) $1";
        Ok(serde_json::from_str(&self.run("bash", &["-c", SCRIPT, profile, url]).await?)?)
    }

    /// Waits until the present access token of a profile has expired, also for a program that
    /// counts whole seconds.
    #[expect(clippy::disallowed_methods, reason = "the expiry is a time of the provider's clock")]
    pub(super) async fn until_expiry(&self, profile: &str) -> anyhow::Result<()> {
        let headers = self.authctl_json(&["headers", "--profile", profile]).await?;
        let expires_at = headers["expires_at"].as_str().context("the token has an expiry")?;
        let end = expires_at.parse::<Timestamp>()? + SignedDuration::from_secs(1);
        sleep(end.duration_since(Timestamp::now()).try_into().unwrap_or_default()).await;
        Ok(())
    }

    /// The path of a file in the directory of the check.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Runs a command, which must succeed. Returns its stdout.
pub(super) async fn run(command: &mut Command) -> anyhow::Result<String> {
    let (program, args) = (command.as_std().get_program(), command.as_std().get_args());
    let words = [program].into_iter().chain(args).map(OsStr::to_string_lossy);
    let shown = words.collect::<Vec<_>>().join(" ");
    let output = timeout(TIMEOUT, command.output()).await.with_context(|| format!("{shown} timed out"))?;
    let output = output.with_context(|| format!("cannot start {shown}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{shown}: {}\n{stdout}\n{stderr}", output.status);
    Ok(stdout)
}
