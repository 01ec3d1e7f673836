//! An example of every message, in the words of `docs/api.md`. Each is read into its type and written
//! out again, so that none can be one that there is not.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    ApiKeyBody, CallbackBody, CodexBody, Diagnosis, ExportBody, Headers, ImportBody, Login, LoginBody,
    LoginFile, MigrateBody, Migrated, Profile, ProfilePatch, Profiles, RefreshBody, Status, StoreStatus,
};

/// A message that has an example.
pub(super) trait Example: Serialize + DeserializeOwned {
    /// The example, as JSON.
    const TEXT: &str;

    /// The example, as the type writes it.
    fn example() -> Value {
        let message: Self = serde_json::from_str(Self::TEXT).expect("the example is one of its type");
        serde_json::to_value(message).expect("the contract's messages have a JSON form")
    }
}

macro_rules! examples {
    ($($message:ty: $text:expr;)*) => {$(
        impl Example for $message {
            const TEXT: &str = $text;
        }
    )*};
}

macro_rules! profile {
    () => {
        r#"{"name": "work", "default": true, "state": "ready", "mode": "chatgpt",
            "mode_reason": "plan plus is personal", "email": "user@example.com", "plan": "plus",
            "account_id": "bc3618e3-489d-4d49-9362-1561dc53ba53", "organization_id": null,
            "project_id": null, "generation": 7, "expires_at": "2026-11-23T15:00:00Z",
            "refresh_at": "2026-11-23T14:55:00Z", "last_refresh": "2026-11-23T14:00:00Z",
            "last_error": null}"#
    };
}

macro_rules! store {
    () => {
        r#"{"kind": "keychain", "state": "ready"}"#
    };
}

examples! {
    Status: concat!(
        r#"{"version": "0.1.0", "pid": 4711, "started_at": "2026-11-23T14:00:00Z",
            "callback": {"state": "listening", "addresses": ["127.0.0.1:1455", "[::1]:1455"]},
            "profiles": 1, "pending_logins": 0, "default_profile": "work", "store": "#,
        store!(),
        "}"
    );
    Diagnosis: r#"{"findings": [
        {"check": "store", "state": "ok", "detail": "keychain", "remedy": null, "code": null},
        {"check": "callback", "state": "failed", "detail": "port 1455 is held by process 4242 (codex)",
         "remedy": "free the port, or sign in with --paste or --device", "code": "callback_unavailable"}]}"#;
    LoginBody: r#"{"profile": "work", "flow": "browser", "mode": "auto"}"#;
    Login: r#"{"id": "lg_4fJ2cQ8xTz1uVw0K", "profile": "work", "flow": "browser", "state": "pending",
        "authorize_url": "https://auth.openai.com/oauth/authorize?response_type=code&state=xyz",
        "open_url": "http://localhost:1455/go/Rk9vYmFyYmF6cXV4",
        "redirect_uri": "http://localhost:1455/auth/callback", "created_at": "2026-11-23T14:00:00Z",
        "expires_at": "2026-11-23T14:10:00Z", "error": null, "result": null}"#;
    CallbackBody: r#"{"url": "http://localhost:1455/auth/callback?code=abc&state=xyz"}"#;
    Profiles: concat!(r#"{"default": "work", "profiles": ["#, profile!(), "]}");
    Profile: profile!();
    ProfilePatch: r#"{"default": true}"#;
    ApiKeyBody: r#"{"api_key": "a-key-of-your-own"}"#;
    Headers: r#"{"profile": "work", "mode": "chatgpt",
        "base_url": "https://chatgpt.com/backend-api/codex",
        "responses_url": "https://chatgpt.com/backend-api/codex/responses",
        "headers": [["Authorization", "Bearer an-access-token"],
                    ["chatgpt-account-id", "bc3618e3-489d-4d49-9362-1561dc53ba53"],
                    ["version", "0.34.0"], ["originator", "codex_cli_rs"]],
        "generation": 7, "grant_id": "Zq3bV1x0QzGm5T2e", "expires_at": "2026-11-23T15:00:00Z"}"#;
    RefreshBody: r#"{"rejected_generation": 7, "grant_id": "Zq3bV1x0QzGm5T2e"}"#;
    ImportBody: r#"{"source": "codex", "profile": "work"}"#;
    ExportBody: r#"{"target": "codex"}"#;
    CodexBody: r#"{"home": "/home/user/.codex"}"#;
    LoginFile: r#"{"profile": "work", "path": "/home/user/.codex/auth.json"}"#;
    MigrateBody: r#"{"to": "file"}"#;
    Migrated: concat!(r#"{"records": 2, "left_behind": null, "store": "#, store!(), "}");
    StoreStatus: store!();
}
