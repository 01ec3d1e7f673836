//! `cargo xtask demo`: the main use of authd from login to answer, with explanations. It needs no
//! account and no internet access, and deletes its files.

use std::{path::Path, process::Stdio};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Browser, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use self::mcp_server::McpServer;
use crate::shell::{self, print, print_title};

mod mcp_server;

/// Builds the programs, and runs the demonstration.
pub(crate) fn run() -> anyhow::Result<()> {
    print_title("Building authd and authctl (the first time takes a few minutes)");
    shell::build_programs()?;
    let runtime = shell::runtime()?;
    runtime.block_on(demonstrate())
}

async fn demonstrate() -> anyhow::Result<()> {
    print_title("Starting");
    let (personal, business) = (Account::plus(), Account::business());
    let accounts = [personal.clone(), business.clone()];
    let sandbox =
        Sandbox::start(Config::with_accounts(accounts)).await.context("cannot start the sandbox")?;
    print(&format!("The sandbox, a strict stand-in for OpenAI, listens on {}.", sandbox.url()));
    print("A refresh token works once, as at OpenAI. No request leaves this machine.");
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file")).await;
    let authctl = Authctl { program: shell::binary("authctl")?, daemon: &daemon };
    print("authd runs. It keeps the credentials in encrypted files, and serves other programs on a");
    print("Unix socket.");

    print_title("Signing in to two accounts, with a simulated browser");
    for (profile, account) in [("personal", &personal), ("work", &business)] {
        let login = daemon.sign_in(profile, &account.name).await;
        let result = &login["result"];
        print(&format!(
            "{profile}: {} is signed in, plan {}, in {} mode, because {}",
            text(result, "email"),
            text(result, "plan"),
            if result["mode"] == "api-key" { "API-key" } else { "ChatGPT" },
            text(result, "mode_reason"),
        ));
    }

    print_title("Headers for a request, which any local program gets without a login");
    for profile in ["personal", "work"] {
        print(&format!("$ authctl headers {profile}"));
        for line in authctl.run(&["headers", profile]).await?.lines() {
            print(&format!("  {}", shorten(line)));
        }
    }

    print_title("Sending a question through both accounts");
    for profile in ["personal", "work"] {
        print(&format!("$ authctl ask -p {profile} \"What is 2+2?\""));
        let answer = authctl.run(&["ask", "-p", profile, "What is 2+2?"]).await?;
        print(&format!("  {}", answer.trim()));
        ensure!(answer.contains('4'), "wrong answer: {answer}");
    }

    print_title("Refreshing: the old refresh token becomes invalid, other programs are not affected");
    let generation = async || -> anyhow::Result<u64> {
        let profile: Value = daemon.get("/v1/profiles/personal").await;
        profile["generation"].as_u64().context("a profile has a generation")
    };
    let before = generation().await?;
    daemon.post("/v1/profiles/personal/refresh", json!({})).await;
    let after = generation().await?;
    ensure!(after > before, "the refresh did not change the generation");
    print(&format!("generation {before} → {after}; the next request for headers gets the new token."));

    print_title("An MCP server: authd finds out where to sign in, and registers itself");
    let server = McpServer::start().await?;
    print(&format!("$ authctl mcp add tools {}", server.url));
    authctl.add_mcp("tools", &server.url, &sandbox.browser()).await?;
    print("$ authctl share tools --loopback");
    let share: Value =
        serde_json::from_str(&authctl.run(&["share", "tools", "--loopback", "--json"]).await?)?;
    let (url, key) = (text(&share, "url"), text(&share, "key"));
    print("  An MCP client needs no OAuth now: it gets an address on this machine, and a key for it.");
    print(&format!("$ curl -H 'Authorization: Bearer {}…' {url}", key.chars().take(8).collect::<String>()));
    let answer = mcp_server::get(url, key).await?;
    print(&format!("  {answer}"));
    ensure!(answer.contains("tools"), "wrong answer: {answer}");

    print_title("The profiles");
    print(authctl.run(&["status"]).await?.trim_end());

    print_title("Stopping");
    drop(authctl);
    let directory = daemon.dir().to_owned();
    let mut daemon = daemon;
    let status = daemon.sigterm_and_wait().await;
    ensure!(status.success(), "authd failed: {status}");
    drop(daemon);
    ensure!(!directory.exists(), "{} still exists", directory.display());
    print("authd has stopped, and its directory is deleted.");
    Ok(())
}

/// The command line client, with the environment of the test daemon.
struct Authctl<'a> {
    program: std::path::PathBuf,
    daemon: &'a TestDaemon,
}

impl Authctl<'_> {
    async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let program: &Path = &self.program;
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(self.daemon.env().iter().cloned()).stdin(Stdio::null());
        let output = command.output().await.with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "authctl {} failed: {}", args.join(" "), stderr.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Adds an MCP server, and signs in with the simulated browser.
    async fn add_mcp(&self, name: &str, url: &str, browser: &Browser) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["mcp", "add", name, url, "--no-browser"]).env_clear();
        command.envs(self.daemon.env().iter().cloned()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut authctl = command.kill_on_drop(true).spawn()?;
        let stderr = authctl.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut explains_use = false;
        while let Some(line) = lines.next_line().await? {
            let line = line.trim();
            // The rest shows how programs use it, which the demonstration does itself.
            explains_use |= line.starts_with("Use it");
            if line.is_empty() || explains_use {
                continue;
            }
            print(&format!("  {line}"));
            if line.starts_with("http") {
                browser.open(line).await?;
            }
        }
        let status = authctl.wait().await?;
        ensure!(status.success(), "authctl mcp add failed: {status}");
        Ok(())
    }
}

/// A header line with a shortened token, because no token belongs on a screen.
fn shorten(line: &str) -> String {
    match line.split_once("Bearer ") {
        Some((head, token)) => {
            format!(
                "{head}Bearer {}… ({} characters)",
                token.chars().take(12).collect::<String>(),
                token.len()
            )
        }
        None => line.to_owned(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("unknown")
}
