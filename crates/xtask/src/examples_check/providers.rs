//! npm `oidc-provider` as a second judge of discovery: what the daemon says about it must be what
//! its own metadata says.

use std::{fs, process::Stdio};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{Requirement::Npm, TIMEOUT, Workspace};
use crate::{
    shell::{self, print, print_title},
    tools::skip,
};

/// The aspects of a check, each with the field of the metadata that it repeats.
const ENDPOINTS: [(&str, &str); 6] = [
    ("issuer", "issuer"),
    ("authorization endpoint", "authorization_endpoint"),
    ("token endpoint", "token_endpoint"),
    ("device flow", "device_authorization_endpoint"),
    ("registration", "registration_endpoint"),
    ("revocation", "revocation_endpoint"),
];

const SCRIPT: &str = "oidc_provider.mjs";

/// Compares the check of the daemon with the metadata, if `oidc-provider` can be installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("oidc-provider, read by discovery");
    if let Err(reason) = workspace.install(Npm("oidc-provider@9.13.3")) {
        return skip("oidc-provider", &reason);
    }
    let sandbox = Sandbox::start(Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox)).await;
    for pushed in ["required", "not required"] {
        let (_provider, metadata) = start(workspace, pushed).await?;
        let checked = daemon.post("/v1/providers/check", json!({"provider": metadata["issuer"]})).await;
        compare(&checked, &metadata, pushed).with_context(|| format!("{checked:#}\n{metadata:#}"))?;
        print(&format!("the check says what the metadata says; pushed authorization is {pushed}"));
    }
    Ok(())
}

/// Starts the provider. Returns its metadata, too. The provider ends when it is dropped.
async fn start(workspace: &Workspace, pushed: &str) -> anyhow::Result<(Child, Value)> {
    // Node looks for packages beside the script.
    let directory = workspace.tools.path();
    fs::copy(shell::root().join("crates/xtask/src/examples_check").join(SCRIPT), directory.join(SCRIPT))?;
    let mut command = Command::new("node");
    command.args([SCRIPT, pushed]).current_dir(directory).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = timeout(TIMEOUT, lines.next_line()).await.context("oidc-provider does not start")??;
    Ok((child, serde_json::from_str(&line.context("oidc-provider has ended")?)?))
}

fn compare(checked: &Value, metadata: &Value, pushed: &str) -> anyhow::Result<()> {
    ensure!(checked["ok"] == true, "discovery failed");
    let aspects = checked["aspects"].as_array().context("no aspects")?;
    let aspect = |name: &str| {
        let found = aspects.iter().find(|aspect| aspect["aspect"] == name);
        found.with_context(|| format!("the check does not mention {name}"))
    };
    for (name, field) in ENDPOINTS {
        ensure!(metadata[field].is_string() && aspect(name)?["detail"] == metadata[field], "{name} differs");
    }
    let url = metadata["pushed_authorization_request_endpoint"].as_str().context("no endpoint")?;
    ensure!(aspect("pushed authorization")?["detail"] == format!("{url}, {pushed}"), "the PAR line differs");
    for name in ["PKCE", "iss"] {
        ensure!(aspect(name)?["state"] == "offered", "{name} is not offered");
    }
    let methods = metadata["token_endpoint_auth_methods_supported"].as_array().context("no methods")?;
    let methods: Vec<&str> = methods.iter().filter_map(Value::as_str).collect();
    ensure!(aspect("client authentication")?["detail"] == methods.join(", "), "the methods differ");
    let registration = format!(
        "by dynamic registration at {}",
        metadata["registration_endpoint"].as_str().unwrap_or_default()
    );
    ensure!(aspect("client id")?["detail"] == registration, "the client id is found in another way");
    Ok(())
}
