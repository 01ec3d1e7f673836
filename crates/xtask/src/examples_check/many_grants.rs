//! Many profiles on one provider with short tokens, while programs read all of them: npm
//! `oidc-provider`, which revokes the grant of a refresh token that is used twice, must revoke
//! none, and no read may fail.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    time::{sleep, timeout},
};

use super::{
    TIMEOUT, Workspace,
    oidc::{self, BROWSER, OidcProvider, Rig, USER},
};
use crate::{
    shell::{print, print_title},
    tools::skip,
};

const SCRIPT: &str = "readers.mjs";

/// The client of all profiles.
const CLIENT: &str = "public";

/// The size of a run.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    profiles: usize,
    /// The lifetime of an access token, in seconds.
    lifetime: u64,
    length: Duration,
}

/// About a minute, with tokens that are as short as a planned refresh allows.
pub(super) const SHORT: Scale = Scale { profiles: 50, lifetime: 40, length: Duration::from_secs(70) };

/// Ten minutes with tokens of one minute.
pub(super) const FULL: Scale = Scale { profiles: 200, lifetime: 60, length: Duration::from_secs(600) };

/// Signs in to many profiles and reads them, if `oidc-provider` can be installed.
pub(super) async fn check(workspace: &Workspace, scale: Scale) -> anyhow::Result<()> {
    let Scale { profiles, lifetime, length } = scale;
    print_title(&format!("{profiles} profiles with tokens of {lifetime} s, for {} s", length.as_secs()));
    if let Err(reason) = oidc::install(workspace, &[]) {
        return skip("many grants", &reason);
    }
    let provider = OidcProvider::start(workspace, &json!({"lifetime": lifetime})).await?;
    let rig = Rig::start(workspace, provider, "").await?;
    sign_in(&rig, profiles).await?;
    let result = read(&rig, workspace, scale).await?;
    rig.provider.ensure_peace()?;
    let failures = result["failures"].as_array().context("the readers count failures")?;
    ensure!(failures.is_empty(), "{} reads failed: {failures:#?}\n{}", failures.len(), rig.daemon.log());

    let events = rig.provider.events();
    let refreshes = refreshes(&events);
    let fewest = refreshes.values().min().copied().unwrap_or_default();
    ensure!(refreshes.len() == profiles, "{} of {profiles} grants were refreshed", refreshes.len());
    ensure!(fewest >= length.as_secs() / lifetime, "a grant was refreshed only {fewest} times");
    print(&format!(
        "{} reads, the longest in {} ms; {} refreshes, at least {fewest} a grant; no grant was revoked",
        result["reads"],
        result["longest_ms"],
        refreshes.values().sum::<u64>(),
    ));
    Ok(())
}

/// Signs in to all profiles, with one browser that opens each page as another session.
async fn sign_in(rig: &Rig<'_>, profiles: usize) -> anyhow::Result<()> {
    let mut browser = rig.command("node", &[BROWSER, "-", USER])?;
    let mut browser = browser.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut pages = browser.stdin.take().context("stdin is a pipe")?;
    let mut lines = BufReader::new(browser.stdout.take().context("stdout is a pipe")?).lines();
    for number in 0..profiles {
        let body = json!({"provider": CLIENT, "profile": format!("p{number}")});
        let login = rig.daemon.post("/v1/logins", body).await;
        let text = |name: &str| login[name].as_str().with_context(|| format!("no {name} in {login}"));
        pages.write_all(format!("{}\n", text("authorize_url")?).as_bytes()).await?;
        timeout(TIMEOUT, lines.next_line())
            .await?
            .context("the browser")?
            .context("the browser has ended")?;
        let login = rig.daemon.get(&format!("/v1/logins/{}?wait=30", text("id")?)).await;
        ensure!(login["state"] == "succeeded", "{login:#}\n{}", rig.daemon.log());
    }
    Ok(())
}

/// Reads for the length of the run. Returns what the readers report.
async fn read(rig: &Rig<'_>, workspace: &Workspace, scale: Scale) -> anyhow::Result<Value> {
    workspace.copy(SCRIPT)?;
    let mut readers =
        rig.command("node", &[SCRIPT, &scale.profiles.to_string(), rig.provider.url("userinfo_endpoint")])?;
    let mut readers = readers.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = readers.stdin.take().context("stdin is a pipe")?;
    let mut stdout = readers.stdout.take().context("stdout is a pipe")?;
    sleep(scale.length).await;
    drop(stdin);
    let mut report = String::new();
    timeout(TIMEOUT, stdout.read_to_string(&mut report)).await.context("the readers do not end")??;
    Ok(serde_json::from_str(&report)?)
}

/// The number of refresh tokens that were used, by grant.
fn refreshes(events: &[Value]) -> BTreeMap<&str, u64> {
    let mut refreshes = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "refresh_token.consumed") {
        *refreshes.entry(event["grant"].as_str().unwrap_or_default()).or_default() += 1;
    }
    refreshes
}
