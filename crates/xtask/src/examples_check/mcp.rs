//! An MCP server of which the user knows nothing but the URL: that of the MCP SDK, with tokens of
//! npm `oidc-provider`. `examples/mcp-client.mjs` and Claude Code use it across several lifetimes
//! of the token, Claude Code also through a share, with a static header.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    NODE,
    Requirement::Npm,
    Workspace,
    oidc::{self, OidcProvider, Rig, USER, count, run},
};
use crate::{
    shell::{self, print, print_title},
    tools::skip,
};

const CLAUDE_CODE: &str = "@anthropic-ai/claude-code@2.1.197";

/// The lifetime of an access token, in seconds. The check waits for its end.
const LIFETIME: u64 = 12;

/// How many lifetimes the programs work.
const LIFETIMES: usize = 3;

/// The profile that the examples name.
const PROFILE: &str = "linear";

/// The server that the examples name.
const EXAMPLE_URL: &str = "https://mcp.linear.app/mcp";

/// Signs in and runs both programs, if they can be installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("An MCP server, from its URL");
    if let Err(reason) = oidc::install(workspace, &[Npm(CLAUDE_CODE)]) {
        return skip("an MCP server", &reason);
    }
    let provider = OidcProvider::start(workspace, &json!({"lifetime": LIFETIME})).await?;
    let rig = Rig::start(workspace, provider, "").await?;
    let url = format!("{}/mcp", rig.provider.url("issuer"));
    rig.authctl(&["mcp", "add", PROFILE, &url]).await?;
    configure(&rig, &url).await?;
    let share = rig.authctl_json(&["share", PROFILE, "--loopback", "--ttl", "1h"]).await?;
    let key = format!("Bearer {}", share["key"].as_str().context("a share has a key")?);
    let shared = json!({"type": "http", "url": share["url"], "headers": {"Authorization": key}});
    claude(&rig, &["mcp", "add-json", "shared", &shared.to_string()]).await?;
    for number in 1..=LIFETIMES {
        if number > 1 {
            rig.until_expiry(PROFILE).await?;
        }
        let client =
            rig.run(NODE[0], &[&NODE[1..], &["examples/mcp-client.mjs", &url, PROFILE]].concat()).await?;
        ensure!(client.contains("whoami") && client.contains(USER), "the example says {client}");
        let claude = claude(&rig, &["mcp", "list"]).await?;
        ensure!(
            claude.matches("✔ Connected").count() == 2,
            "Claude Code says {claude}\n{}",
            rig.daemon.log()
        );
    }
    print(&format!(
        "the example, and Claude Code with and without a share, have worked over {LIFETIMES} lifetimes of the token"
    ));
    rig.authctl(&["login", "--profile", PROFILE]).await?;
    let events = rig.provider.events();
    ensure!(count(&events, "registration_create.success") == 1, "a second sign-in registers another client");
    ensure!(count(&events, "refresh_token.consumed") >= LIFETIMES - 1, "a token lasted too long");
    rig.provider.ensure_peace()?;
    print("one client was registered, also for a second sign-in");
    rig.authctl(&["mcp", "remove", PROFILE]).await?;
    rig.provider.wait_for("the revocation", |events| count(events, "grant.revoked") == 1).await?;
    print("the removal of the server revoked its grant");
    Ok(())
}

/// Gives Claude Code the server of `examples/claude-code.mcp.json`, at this URL.
async fn configure(rig: &Rig<'_>, url: &str) -> anyhow::Result<()> {
    let example = fs::read_to_string(shell::root().join("examples/claude-code.mcp.json"))?;
    let example: Value = serde_json::from_str(&example.replace(EXAMPLE_URL, url))?;
    let server = &example["mcpServers"][PROFILE];
    ensure!(server["url"] == url, "the example has another server");
    claude(rig, &["mcp", "add-json", PROFILE, &server.to_string()]).await.map(drop)
}

/// Runs Claude Code, without an account and without traffic of its own.
async fn claude(rig: &Rig<'_>, args: &[&str]) -> anyhow::Result<String> {
    let mut command = rig.command("claude", args)?;
    command.current_dir(rig.directory.path()).env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    run(&mut command).await.with_context(|| rig.daemon.log())
}
