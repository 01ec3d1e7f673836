//! Requests for every operation of the document, through both doors of a share. Only what the share
//! allows may succeed, and nothing may change.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use super::{PROFILES, bridge_to, run, schemathesis};
use crate::{
    shell::{self, print_title},
    tools::ToolDir,
};

/// The path that the shares allow, and the path of the upstream to which it leads.
const PATH: (&str, &str) = ("models", "/backend-api/codex/models");

/// Checks both doors.
pub(super) async fn check(tools: &ToolDir, sandbox: &Sandbox, contract: &Value) -> anyhow::Result<()> {
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, sandbox).store("file")).await;
    for (profile, account) in PROFILES {
        daemon.sign_in(profile, account).await;
    }
    for (door, allow) in [("socket", "relay"), ("loopback", "headers")] {
        print_title(&format!("all operations through the {door} of a share that allows {allow}"));
        let body = json!({"profile": "default", "door": door, "allow": allow, "paths": [PATH.0]});
        let share = daemon.post("/v1/shares", body).await;
        let before = state(&daemon).await?;
        sandbox.clear_requests();
        let mut command = schemathesis(tools, &daemon, contract, "share.toml", "share_hooks")?;
        command.env("AUTHD_SHARE_ALLOWS", allow);
        if let Some(socket) = share["socket"].as_str() {
            let address = bridge_to(socket.into()).await?;
            command.args(["--url", &format!("http://{address}"), "--header", "Host: authd"]);
        } else {
            let url = share["url"].as_str().and_then(|url| url.strip_suffix("/v1")).context("no URL")?;
            let key = share["key"].as_str().context("no key")?;
            command.args(["--url", url, "--header", &format!("Authorization: Bearer {key}")]);
        }
        run(command).await?;
        let after = state(&daemon).await?;
        ensure!(after == before, "requests through a share have changed the daemon: {before} {after}");
        let requests = sandbox.requests();
        ensure!(!requests.is_empty(), "no allowed request has reached the upstream");
        let other = requests.iter().find(|request| {
            let rest = request.path.strip_prefix(PATH.1);
            rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        ensure!(other.is_none(), "a request has left the allowed path: {other:?}");
    }
    ensure!(!daemon.log().contains("panicked"), "a task of the daemon panicked:\n{}", daemon.log());
    Ok(())
}

/// What a request could change: the profiles, the shares, and the files of the daemon.
async fn state(daemon: &TestDaemon) -> anyhow::Result<Value> {
    let mut status = daemon.get("/v1/status").await;
    // Both change with time.
    for name in ["pid", "uptime"] {
        status.as_object_mut().context("no object")?.remove(name);
    }
    let (profiles, shares) = (daemon.get("/v1/profiles").await, daemon.get("/v1/shares").await);
    Ok(json!({"status": status, "profiles": profiles, "shares": shares, "files": files(daemon)?}))
}

/// The files of the state directory and of the home directory.
fn files(daemon: &TestDaemon) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![daemon.state(), daemon.dir().join("home")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.insert(path.clone(), fs::read(path)?);
            }
        }
    }
    Ok(files)
}
