//! A sandbox and a daemon for commands of a shell: the recorded picture and the recipes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tokio::{process::Command, time::timeout};

use crate::shell;

/// Longest time of one command. It only stops a hanging run.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The program in `BROWSER`: it signs in as the account in `$ACCOUNT`, or as a person with a
/// personal plan.
pub(crate) const BROWSER: &str = "#!/bin/sh
page=$(curl -s -o /dev/null -w '%{redirect_url}' \"$1\")
curl -sL -o /dev/null \"$page&account=${ACCOUNT:-plus}\"
";

/// A running daemon with its sandbox, and a directory for commands. Dropping it deletes all files.
pub(crate) struct Session {
    env: Vec<(String, String)>,
    directory: PathBuf,
    daemon: TestDaemon,
    _sandbox: Sandbox,
}

impl Session {
    /// Starts both. No profile is signed in.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await?;
        let config = TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file");
        let daemon = TestDaemon::start(config).await;
        let browser = daemon.dir().join("browser");
        fs::write(&browser, BROWSER)?;
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o700))?;
        let directory = daemon.dir().join("home/work");
        fs::create_dir(&directory)?;
        let authctl = shell::binary("authctl")?;
        let programs = authctl.parent().context("authctl lies in a directory")?.display().to_string();
        let mut env = daemon.env().to_vec();
        for (name, value) in &mut env {
            if name == "PATH" {
                *value = format!("{programs}:{value}");
            }
        }
        let variables =
            [("BROWSER", browser.display().to_string().as_str()), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
        env.extend(variables);
        Ok(Self { env, directory, daemon, _sandbox: sandbox })
    }

    /// The daemon.
    pub(crate) fn daemon(&self) -> &TestDaemon {
        &self.daemon
    }

    /// Runs a program in the directory of this session, with more variables, and returns its
    /// stdout.
    pub(crate) async fn run(
        &self,
        program: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        command.env_clear().envs(self.env.iter().cloned()).envs(variables.iter().copied());
        let output = timeout(TIMEOUT, command.output()).await.context("the commands do not end")??;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
        Ok(output.stdout)
    }
}
