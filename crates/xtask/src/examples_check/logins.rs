//! Sign-ins at npm `oidc-provider`, which rotates refresh tokens and revokes the grant of one that
//! is used twice. Its own event log must show no revocation before the sign-out.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    Workspace,
    oidc::{self, CLIENTS, OidcProvider, Rig, USER, count},
};
use crate::{
    shell::{print, print_title},
    tools::skip,
};

/// The lifetime of an access token, in seconds: short, because the checks wait for its end, and
/// long enough for a request on a busy machine.
const LIFETIME: u64 = 12;

/// How many lifetimes a profile must last.
const LIFETIMES: usize = 3;

/// Runs the sign-ins, if `oidc-provider` can be installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("oidc-provider, signed in to");
    if let Err(reason) = oidc::install(workspace, &[]) {
        return skip("sign-ins at oidc-provider", &reason);
    }
    let provider = OidcProvider::start(workspace, &json!({"lifetime": LIFETIME})).await?;
    let rig = Rig::start(workspace, provider, "").await?;
    for (client, auth) in CLIENTS {
        rig.authctl(&["login", "--provider", client]).await?;
        shows_user(&rig, client).await?;
        print(&format!("signed in in the browser; client authentication: {auth}"));
    }
    device(&rig).await?;
    lifetimes(&rig).await?;
    rig.provider.ensure_peace()?;
    print("oidc-provider has revoked no grant");
    sign_out(&rig).await?;

    let provider = OidcProvider::start(workspace, &json!({"requirePushed": true})).await?;
    let rig = Rig::start(workspace, provider, "").await?;
    rig.authctl(&["login", "--provider", "post"]).await?;
    shows_user(&rig, "post").await?;
    rig.provider.ensure_peace()?;
    ensure!(count(&rig.provider.events(), "pushed_authorization_request.success") == 1, "nothing was pushed");
    print("signed in where pushed authorization requests are required");
    Ok(())
}

/// Checks that the profile says where it signed in, and that the provider knows its token.
async fn shows_user(rig: &Rig<'_>, profile: &str) -> anyhow::Result<()> {
    let shown = rig.daemon.get(&format!("/v1/profiles/{profile}")).await;
    let email = format!("{USER}@example.com");
    ensure!(shown["issuer"] == rig.provider.metadata["issuer"] && shown["email"] == email, "{shown:#}");
    let user = rig.request(profile, rig.provider.url("userinfo_endpoint")).await?;
    ensure!(user["sub"] == USER, "{user}");
    Ok(())
}

/// Signs in with a code, which another browser confirms.
async fn device(rig: &Rig<'_>) -> anyhow::Result<()> {
    let login = ["login", "--provider", "public", "--profile", "device", "--device", "--no-wait"];
    let login = rig.authctl_json(&login).await?;
    let url = login["verification_url_complete"].as_str().with_context(|| format!("no URL in {login}"))?;
    rig.browse(url).await?;
    rig.authctl(&["login", "--resume", login["id"].as_str().unwrap_or_default()]).await?;
    shows_user(rig, "device").await?;
    print("signed in with a code on another device");
    Ok(())
}

/// Every profile lasts for several lifetimes of its access token.
async fn lifetimes(rig: &Rig<'_>) -> anyhow::Result<()> {
    for _ in 0..LIFETIMES {
        rig.until_expiry("device").await?;
        for (profile, _) in CLIENTS.into_iter().chain([("device", "")]) {
            shows_user(rig, profile).await?;
        }
    }
    let rotated = count(&rig.provider.events(), "refresh_token.consumed");
    ensure!(rotated >= LIFETIMES * (CLIENTS.len() + 1), "only {rotated} refresh tokens were used");
    print(&format!("every profile lasted for {LIFETIMES} lifetimes; {rotated} refresh tokens were used"));
    Ok(())
}

/// `authctl logout --revoke` revokes the grant at the provider, and no other.
async fn sign_out(rig: &Rig<'_>) -> anyhow::Result<()> {
    rig.authctl(&["logout", "--revoke", "--profile", "basic"]).await?;
    let revoked = |events: &[Value]| count(events, "grant.revoked") > 0;
    rig.provider.wait_for("the revocation", revoked).await?;
    let events = rig.provider.events();
    let clients: Vec<_> = events.iter().filter(|event| event["event"] == "grant.revoked").collect();
    ensure!(clients.len() == 1 && clients[0]["client"] == "basic", "{clients:?}");
    print("a sign-out with --revoke revoked its grant, and no other");
    Ok(())
}
