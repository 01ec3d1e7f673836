//! npm `oidc-provider` as a second judge of discovery: what the daemon says about it must be what
//! its own metadata says.

use anyhow::{Context, ensure};
use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use super::{
    Workspace,
    oidc::{self, OidcProvider},
};
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

/// Compares the check of the daemon with the metadata, if `oidc-provider` can be installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("oidc-provider, read by discovery");
    if let Err(reason) = oidc::install(workspace, &[]) {
        return skip("oidc-provider", &reason);
    }
    let sandbox = Sandbox::start(Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox)).await;
    for (pushed, is_required) in [("required", true), ("not required", false)] {
        let provider = OidcProvider::start(workspace, &json!({"requirePushed": is_required})).await?;
        let metadata = &provider.metadata;
        let checked = daemon.post("/v1/providers/check", json!({"provider": metadata["issuer"]})).await;
        compare(&checked, metadata, pushed).with_context(|| format!("{checked:#}\n{metadata:#}"))?;
        print(&format!("the check says what the metadata says; pushed authorization is {pushed}"));
    }
    Ok(())
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
