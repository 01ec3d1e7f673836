//! `cargo xtask demo`: the main job, end to end, told to somebody who has never seen the project. It
//! needs no account and no internet, and leaves nothing behind.

use std::{path::Path, process::Stdio};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::shell::{self, say, title};

/// Builds what is needed, and plays the story.
pub(crate) fn run() -> anyhow::Result<()> {
    title("Building authd and authctl (the first time takes a few minutes)");
    shell::run(&mut shell::cargo(&["build", "--package", "authd", "--package", "authctl"]))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(story())
}

async fn story() -> anyhow::Result<()> {
    title("Starting");
    let (personal, business) = (Account::plus(), Account::business());
    let accounts = [personal.clone(), business.clone()];
    let sandbox =
        Sandbox::start(Config::with_accounts(accounts)).await.context("the sandbox does not start")?;
    say(&format!("A stand-in for OpenAI listens on {}. It is strict: every token works", sandbox.url()));
    say("once or not at all, as with the real one. Nothing leaves this machine.");
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file")).await;
    let authctl = Authctl { program: shell::binary("authctl")?, daemon: &daemon };
    say("authd runs. It alone holds the credentials, encrypted in a directory of its own, and");
    say("answers other programs on a Unix socket.");

    title("Signing in two people, in a browser that a script plays");
    for (profile, account) in [("personal", &personal), ("work", &business)] {
        let login = daemon.sign_in(profile, &account.name).await;
        let result = &login["result"];
        say(&format!(
            "{profile}: {} is signed in, plan {}, in {} mode, because {}",
            text(result, "email"),
            text(result, "plan"),
            if result["mode"] == "api-key" { "API-key" } else { "ChatGPT" },
            text(result, "mode_reason"),
        ));
    }

    title("Ready headers: what any local program gets, without ever signing in");
    for profile in ["personal", "work"] {
        say(&format!("$ authctl headers {profile}"));
        for line in authctl.run(&["headers", profile]).await?.lines() {
            say(&format!("  {}", cut_short(line)));
        }
    }

    title("Asking both accounts");
    for profile in ["personal", "work"] {
        say(&format!("$ authctl ask -p {profile} \"What is 2+2?\""));
        let answer = authctl.run(&["ask", "-p", profile, "What is 2+2?"]).await?;
        say(&format!("  {}", answer.trim()));
        ensure!(answer.contains('4'), "that is not the answer");
    }

    title("A refresh: the old refresh token dies, and nobody notices");
    let generation = async || -> anyhow::Result<u64> {
        let profile: Value = daemon.get("/v1/profiles/personal").await;
        profile["generation"].as_u64().context("a profile has a generation")
    };
    let before = generation().await?;
    daemon.post("/v1/profiles/personal/refresh", json!({})).await;
    let after = generation().await?;
    ensure!(after > before, "the refresh changed nothing");
    say(&format!("generation {before} → {after}; the next program to ask gets the new token."));

    title("What is signed in");
    say(authctl.run(&["status"]).await?.trim_end());

    title("Stopping");
    drop(authctl);
    let directory = daemon.dir().to_owned();
    let mut daemon = daemon;
    let ended = daemon.sigterm_and_wait().await;
    ensure!(ended.success(), "authd ended with {ended}");
    drop(daemon);
    ensure!(!directory.exists(), "something is left behind");
    say("authd has stopped, and everything it wrote is gone.");
    Ok(())
}

/// The command line client, as a person would call it.
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
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "authctl {} failed: {}", args.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A header line whose token is cut short: even a stand-in's is not for the screen.
fn cut_short(line: &str) -> String {
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
