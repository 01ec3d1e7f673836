//! The operations that the faults interrupt: how to prepare each, and its request.

use std::{fs, io};

use authd_sandbox::{Sandbox, test_daemon::TestDaemon};
use serde_json::{Value, json};

use crate::invariants::{Reply, codex_home};

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Start,
    LoginNew,
    LoginAgain,
    LoginReplace,
    Refresh,
    Rename,
    MakeDefault,
    Logout,
    ApiKey,
    Rekey,
    Migrate,
    MigrateToFleet,
    MigrateFromFleet,
    Export,
    Import,
    Install,
    Uninstall,
    Share,
    EndShare,
    AddProvider,
    RemoveProvider,
    DefinedLogin,
    DefinedLoginAgain,
    DefinedRefresh,
}

impl Operation {
    /// All operations, in the order of the table.
    pub(crate) const ALL: [Self; 24] = [
        Self::Start,
        Self::LoginNew,
        Self::LoginAgain,
        Self::LoginReplace,
        Self::Refresh,
        Self::Rename,
        Self::MakeDefault,
        Self::Logout,
        Self::ApiKey,
        Self::Rekey,
        Self::Migrate,
        Self::MigrateToFleet,
        Self::MigrateFromFleet,
        Self::Export,
        Self::Import,
        Self::Install,
        Self::Uninstall,
        Self::Share,
        Self::EndShare,
        Self::AddProvider,
        Self::RemoveProvider,
        Self::DefinedLogin,
        Self::DefinedLoginAgain,
        Self::DefinedRefresh,
    ];

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::LoginNew => "login, new profile",
            Self::LoginAgain => "login again, same user",
            Self::LoginReplace => "login, another user (`replace`)",
            Self::Refresh => "refresh",
            Self::Rename => "rename",
            Self::MakeDefault => "make default",
            Self::Logout => "logout",
            Self::ApiKey => "own API key",
            Self::Rekey => "store rekey",
            Self::Migrate => "store migrate, to the keychain",
            Self::MigrateToFleet => "store migrate, to PostgreSQL",
            Self::MigrateFromFleet => "store migrate, from PostgreSQL",
            Self::Export => "export to Codex",
            Self::Import => "import from Codex",
            Self::Install => "codex install",
            Self::Uninstall => "codex uninstall",
            Self::Share => "share",
            Self::EndShare => "end a share",
            Self::AddProvider => "add a provider",
            Self::RemoveProvider => "remove a provider",
            Self::DefinedLogin => "login at a defined provider, which registers the client",
            Self::DefinedLoginAgain => "login again at a defined provider",
            Self::DefinedRefresh => "refresh at a defined provider",
        }
    }

    /// Whether it concerns the defined provider.
    pub(crate) fn is_at_defined_provider(self) -> bool {
        matches!(self, Self::DefinedLogin | Self::DefinedLoginAgain | Self::DefinedRefresh)
    }

    /// Whether it concerns the database of a fleet.
    pub(crate) fn is_in_fleet(self) -> bool {
        matches!(self, Self::MigrateToFleet | Self::MigrateFromFleet)
    }

    /// Prepares a new daemon: two logins, and what the operation needs in Codex's home or at the
    /// defined provider.
    pub(crate) async fn prepare(self, daemon: &TestDaemon, sandbox: &Sandbox) {
        daemon.sign_in("default", "plus").await;
        daemon.sign_in("work", "business").await;
        fs::create_dir(codex_home(daemon)).unwrap();
        match self {
            Self::Import | Self::Install | Self::Uninstall => {
                daemon.sign_in("for-codex", "business-without-organization").await;
                daemon.post("/v1/profiles/for-codex/export", codex_file(daemon, "target")).await;
            }
            _ => {}
        }
        if matches!(self, Self::Uninstall | Self::Refresh | Self::Rename | Self::Start) {
            let body = json!({"home": codex_home(daemon)}).to_string();
            let installed = daemon.request("PUT", "/v1/profiles/default/codex", &[], body).await;
            assert!(installed.status.is_success(), "{}", installed.text());
        }
        if matches!(self, Self::Rename | Self::Logout | Self::LoginReplace | Self::EndShare) {
            daemon.post("/v1/shares", json!({"profile": "default", "label": "old"})).await;
        }
        if matches!(self, Self::Start | Self::AddProvider | Self::RemoveProvider) {
            let added = daemon.request("PUT", "/v1/providers/old", &[], definition("old").to_string()).await;
            assert!(added.status.is_success(), "{}", added.text());
        }
        if self == Self::MigrateFromFleet {
            daemon.post("/v1/store/migrate", json!({"to": "postgres"})).await;
        }
        if matches!(self, Self::DefinedLoginAgain | Self::DefinedRefresh) {
            let signed_in = Self::DefinedLogin.run(daemon, sandbox).await;
            assert_eq!(signed_in, Reply::Success);
        }
    }

    /// Sends the request of the operation; a start has none.
    pub(crate) async fn run(self, daemon: &TestDaemon, sandbox: &Sandbox) -> Reply {
        let reply = match self {
            Self::Start => Ok(Reply::Success),
            Self::LoginNew => login(daemon, sandbox, json!({"profile": "third"}), GUEST).await,
            Self::LoginAgain => login(daemon, sandbox, json!({"profile": "default"}), "plus").await,
            Self::LoginReplace => {
                login(daemon, sandbox, json!({"profile": "default", "replace": true}), GUEST).await
            }
            Self::Refresh => send(daemon, "POST", "/v1/profiles/default/refresh", json!({})).await,
            Self::Rename => send(daemon, "PATCH", "/v1/profiles/default", json!({"name": "main"})).await,
            Self::MakeDefault => send(daemon, "PATCH", "/v1/profiles/work", json!({"default": true})).await,
            Self::Logout => send(daemon, "DELETE", "/v1/profiles/default", Value::Null).await,
            Self::ApiKey => {
                send(
                    daemon,
                    "PUT",
                    "/v1/profiles/own/api-key",
                    json!({"api_key": "sk-of-my-own", "check": false}),
                )
                .await
            }
            Self::Rekey => send(daemon, "POST", "/v1/store/rekey", Value::Null).await,
            Self::Migrate => send(daemon, "POST", "/v1/store/migrate", json!({"to": "keychain"})).await,
            Self::MigrateToFleet => {
                send(daemon, "POST", "/v1/store/migrate", json!({"to": "postgres"})).await
            }
            Self::MigrateFromFleet => send(daemon, "POST", "/v1/store/migrate", json!({"to": "file"})).await,
            Self::Export => {
                send(daemon, "POST", "/v1/profiles/default/export", codex_file(daemon, "target")).await
            }
            Self::Import => {
                let mut body = codex_file(daemon, "source");
                body["profile"] = json!("imported");
                send(daemon, "POST", "/v1/import", body).await
            }
            Self::Install => {
                send(daemon, "PUT", "/v1/profiles/default/codex", json!({"home": codex_home(daemon)})).await
            }
            Self::Uninstall => {
                send(daemon, "DELETE", "/v1/profiles/-/codex", json!({"home": codex_home(daemon)})).await
            }
            Self::Share => {
                send(daemon, "POST", "/v1/shares", json!({"profile": "work", "label": "new"})).await
            }
            Self::EndShare => end_share(daemon).await,
            Self::AddProvider => send(daemon, "PUT", "/v1/providers/new", definition("new")).await,
            Self::RemoveProvider => send(daemon, "DELETE", "/v1/providers/old", Value::Null).await,
            Self::DefinedLogin | Self::DefinedLoginAgain => {
                login(daemon, sandbox, json!({"provider": "lab"}), "").await
            }
            Self::DefinedRefresh => send(daemon, "POST", "/v1/profiles/lab/refresh", json!({})).await,
        };
        reply.unwrap_or(Reply::NoAnswer)
    }
}

/// The account of the third user.
const GUEST: &str = "business-without-organization";

/// The definition of an MCP server.
fn definition(name: &str) -> Value {
    json!({"mcp": format!("https://{name}.example/mcp")})
}

fn codex_file(daemon: &TestDaemon, role: &str) -> Value {
    json!({role: "codex", "path": codex_home(daemon).join("auth.json")})
}

async fn send(daemon: &TestDaemon, method: &str, path: &str, body: Value) -> io::Result<Reply> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = daemon.try_request(method, path, &[], body).await?;
    Ok(if reply.status.is_success() { Reply::Success } else { Reply::Refused(reply.text()) })
}

/// Ends the share that the preparation has made.
async fn end_share(daemon: &TestDaemon) -> io::Result<Reply> {
    let shares = daemon.try_request("GET", "/v1/shares", &[], "").await?;
    if !shares.status.is_success() {
        return Ok(Reply::Refused(shares.text()));
    }
    let shares = shares.json();
    // Another attempt may have ended it.
    let Some(id) = shares["shares"][0]["id"].as_str() else { return Ok(Reply::Refused("gone".into())) };
    send(daemon, "DELETE", &format!("/v1/shares/{id}"), Value::Null).await
}

/// Signs in through a browser, and waits for the end of the login.
async fn login(daemon: &TestDaemon, sandbox: &Sandbox, body: Value, account: &str) -> io::Result<Reply> {
    let started = daemon.try_request("POST", "/v1/logins", &[], body.to_string()).await?;
    if !started.status.is_success() {
        return Ok(Reply::Refused(started.text()));
    }
    let started = started.json();
    let url = started["authorize_url"].as_str().unwrap_or_default();
    // The login can succeed although the page does not arrive.
    drop(sandbox.browser().sign_in(url, account).await);
    let path = format!("/v1/logins/{}?wait=5", started["id"].as_str().unwrap_or_default());
    let login = daemon.try_request("GET", &path, &[], "").await?;
    if !login.status.is_success() {
        return Ok(Reply::Refused(login.text()));
    }
    let login = login.json();
    Ok(if login["state"] == "succeeded" { Reply::Success } else { Reply::Refused(login.to_string()) })
}
