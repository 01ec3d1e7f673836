//! `cargo xtask sandbox`: the stand-in for OpenAI and a daemon that uses it, until Ctrl-C, to try
//! authd by hand. It needs no account and no internet access, and deletes its files.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::shell::{self, print, print_title};

/// The last line before the program waits.
const READY: &str = "Ctrl-C ends both and deletes the directory.";

/// Builds the programs, starts the stand-in and the daemon, and waits for Ctrl-C.
pub(crate) fn run() -> anyhow::Result<()> {
    shell::build_programs()?;
    let runtime = shell::runtime()?;
    runtime.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let accounts = Account::presets();
    let sandbox =
        Sandbox::start(Config::with_accounts(accounts.clone())).await.context("cannot start the stand-in")?;
    let daemon = TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file");
    let mut daemon = TestDaemon::start(daemon).await;

    print_title("The accounts of the stand-in");
    for Account { name, email, plan, .. } in &accounts {
        print(&format!("{name:30}{email} ({})", plan.as_deref().unwrap_or("no plan")));
    }
    print_title("In another terminal");
    for line in environment(&daemon)? {
        print(&line);
    }
    print("authctl login              # the page of the stand-in offers the accounts");
    print("authctl ask \"What is 2+2?\"");
    print_title("Without a browser");
    print(
        "url=$(authctl login --no-wait | head -n 1) && curl -sL \"$url&account=plus\" >/dev/null; authctl status",
    );
    print_title("Faults");
    let url = sandbox.url();
    print(&format!("{url}/_sandbox/faults, {url}/_sandbox/requests, {url}/_sandbox/expire"));
    print(&format!("The log of the daemon: {}", daemon.dir().join("authd.log").display()));
    print(&format!("\n{READY}"));

    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    daemon.sigterm_and_wait().await;
    Ok(())
}

/// The commands of a shell that make `authctl` and Codex use this daemon. `HOME` stays that of the
/// user.
fn environment(daemon: &TestDaemon) -> anyhow::Result<Vec<String>> {
    let authctl = shell::binary("authctl")?;
    let programs = authctl.parent().context("authctl lies in a directory")?.display();
    let mut lines = vec![format!("export PATH='{programs}':\"$PATH\"")];
    for (name, value) in daemon.env().iter().filter(|(name, _)| name.starts_with("AUTHD_")) {
        lines.push(format!("export {name}='{value}'"));
    }
    lines.push(format!("export CODEX_HOME='{}'", daemon.dir().join("home/.codex").display()));
    Ok(lines)
}

/// Runs the command as a user does: takes over the printed environment, uses the daemon, and ends
/// it with Ctrl-C.
pub(crate) fn check() -> anyhow::Result<()> {
    shell::build_programs()?;
    // By its path: an earlier step may have built this program again, which replaces its file.
    let mut sandbox = Command::new(shell::binary("xtask")?).arg("sandbox").stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(sandbox.stdout.take().context("stdout is a pipe")?).lines();
    let lines: Vec<String> =
        lines.take_while(|line| line.as_ref().is_ok_and(|line| line != READY)).collect::<Result<_, _>>()?;
    let exports: Vec<&str> =
        lines.iter().filter(|line| line.starts_with("export ")).map(String::as_str).collect();
    let sign_in = lines.iter().find(|line| line.starts_with("url=")).context("no way without a browser")?;
    let script = format!("{}\n{sign_in}\nprintf %s \"$AUTHD_STATE_DIR\" >&2", exports.join("\n"));
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output()?;
    let pid = i32::try_from(sandbox.id()).ok().and_then(Pid::from_raw).context("the process has an id")?;
    kill_process(pid, Signal::INT)?;
    ensure!(sandbox.wait()?.success(), "the command failed after Ctrl-C");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(stdout.contains("user@example.com"), "no account is signed in:\n{stdout}\n{stderr}");
    let state = stderr.lines().last().context("no state directory")?;
    ensure!(!std::path::Path::new(state).exists(), "{state} still exists");
    print("The environment works, and Ctrl-C deletes everything.");
    Ok(())
}
