//! The usage limits as the real Codex reads them, beside those of `authctl quota`.

use std::process::Stdio;

use anyhow::{Context, ensure};
use authd_sandbox::{NamedUsage, Usage};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

use super::{CodexHome, TIMEOUT};
use crate::shell::print;

/// A window: limit, used percent, length in seconds, and reset in seconds since 1970.
type Window = (String, f64, u64, i64);

impl CodexHome<'_> {
    /// Compares the figures of Codex with those of `authctl quota`, for a plan whose only window is
    /// a week, and for one with two windows and the limit of a model.
    pub(super) async fn shows_the_same_usage(&self) -> anyhow::Result<()> {
        let spark = NamedUsage {
            name: "GPT-5.3-Codex-Spark".into(),
            id: "codex_bengalfox".into(),
            windows: Usage::of([(61.0, 18_000)]).windows,
        };
        let both = Usage { named: vec![spark], ..Usage::of([(23.0, 18_000), (84.0, 604_800)]) };
        let week = Usage::of([(42.0, 604_800)]);
        for (plan, usage) in [("a week only", week), ("five hours, a week and a model", both)] {
            ensure!(self.sandbox.set_usage("plus", usage), "the account exists");
            // The response states the usage to both: to authd as well, because it is relayed.
            let body = r#"{"model":"gpt-5.5","instructions":"Be brief.","store":false,"stream":true,
                "input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"1+1"}]}]}"#;
            let answer = self.daemon.request("POST", "/v1/profiles/-/relay/responses", &[], body).await;
            ensure!(answer.status.is_success(), "the stand-in refused: {}", answer.text());
            let ours: Value = serde_json::from_str(&self.authctl(&["quota", "--json"]).await?)?;
            let ours = of_authctl(&ours["quotas"][0]).context("authctl quota has no windows")?;
            let theirs = self.rate_limits().await?;
            ensure!(
                of_codex(&theirs).as_ref() == Some(&ours),
                "{plan}: authctl quota has {ours:?}, and Codex {theirs}"
            );
            print(&format!("       Codex reads the same usage limits: {plan}"));
        }
        Ok(())
    }

    /// The answer of Codex to `account/rateLimits/read`.
    async fn rate_limits(&self) -> anyhow::Result<Value> {
        let mut command = Command::new("codex");
        command.arg("app-server").current_dir(self.daemon.dir()).kill_on_drop(true);
        command.env_clear().envs(self.daemon.env().iter().cloned());
        command.env("PATH", self.workspace.search_path()?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().context("cannot start codex app-server")?;
        let mut stdin = server.stdin.take().context("stdin is a pipe")?;
        let mut lines = BufReader::new(server.stdout.take().context("stdout is a pipe")?).lines();
        let client = json!({"name": "authd", "title": null, "version": "0.1.0"});
        for message in [
            json!({"id": 1, "method": "initialize", "params": {"clientInfo": client}}),
            json!({"method": "initialized"}),
            json!({"id": 2, "method": "account/rateLimits/read"}),
        ] {
            stdin.write_all(format!("{message}\n").as_bytes()).await?;
        }
        let answer = async {
            while let Some(line) = lines.next_line().await? {
                let message: Value = serde_json::from_str(&line)?;
                if message["id"] == 2 {
                    return Ok(message);
                }
            }
            anyhow::bail!("codex app-server ended")
        };
        let mut message = timeout(TIMEOUT, answer).await.context("codex app-server does not answer")??;
        ensure!(message["error"].is_null(), "codex app-server: {}", message["error"]);
        Ok(message["result"].take())
    }
}

/// The windows of a quota, in one order.
fn of_authctl(quota: &Value) -> Option<Vec<Window>> {
    let window = |window: &Value| {
        let limit = window["limit"].as_str().unwrap_or_default().to_owned();
        let reset: jiff::Timestamp = window["resets_at"].as_str()?.parse().ok()?;
        Some((limit, window["used_percent"].as_f64()?, window["seconds"].as_u64()?, reset.as_second()))
    };
    sorted(quota["windows"].as_array()?.iter().map(window))
}

/// The same windows, as Codex names them.
fn of_codex(result: &Value) -> Option<Vec<Window>> {
    let windows = result["rateLimitsByLimitId"].as_object()?.values().flat_map(|limit| {
        let name = limit["limitName"].as_str().unwrap_or_default();
        let slots = ["primary", "secondary"].into_iter().map(move |slot| &limit[slot]);
        slots.filter(|window| !window.is_null()).map(move |window| {
            let seconds = window["windowDurationMins"].as_u64()? * 60;
            Some((name.to_owned(), window["usedPercent"].as_f64()?, seconds, window["resetsAt"].as_i64()?))
        })
    });
    sorted(windows)
}

fn sorted(windows: impl Iterator<Item = Option<Window>>) -> Option<Vec<Window>> {
    let mut windows = windows.collect::<Option<Vec<_>>>()?;
    windows.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    Some(windows)
}
