//! Examples of the messages.

use authd_api::{
    ApiKeyBody, CallbackBody, CodexBody, CodexHomes, CreatedShare, Diagnosis, ExportBody, Headers,
    ImportBody, Login, LoginBody, LoginFile, Logins, MigrateBody, Migrated, Profile, ProfilePatch, Profiles,
    Provider, ProviderBody, ProviderCheck, ProviderCheckBody, Providers, Quota, RefreshBody, ShareBody,
    Shares, Status, StoreStatus, StoredCredential, TokenBody,
};
use serde_json::{Value, json};

/// The example of a message. Reading it into its type and writing it again checks it.
pub(super) fn example(name: &str) -> Value {
    macro_rules! examples {
        ($($message:ident: $example:tt;)*) => {
            match name {
                $(stringify!($message) => {
                    let message: $message = serde_json::from_value(json!($example)).unwrap();
                    serde_json::to_value(message).unwrap()
                })*
                _ => panic!("no example of {name}"),
            }
        };
    }
    examples! {
        Status: {"version": "0.1.0", "pid": 4711, "started_at": "2026-11-23T14:00:00Z",
            "callback": {"state": "listening", "addresses": ["127.0.0.1:1455", "[::1]:1455"]},
            "profiles": 1, "pending_logins": 0, "shares": 0, "default_profile": "work",
            "audit": {"to": "file", "path": "/home/user/.local/state/authd/audit.jsonl", "lost": 0}, "store": example("StoreStatus")};
        Diagnosis: {"findings": [
            {"check": "store", "state": "ok", "detail": "keychain"},
            {"check": "callback", "state": "failed", "detail": "port 1455 is used by codex (process 4242)",
                "remedy": "free the port, or sign in with --paste or --device",
                "code": "callback_unavailable"}]};
        LoginBody: {"profile": "work", "flow": "browser", "mode": "auto"};
        Login: {"id": "lg_4fJ2cQ8xTz1uVw0K", "profile": "work", "flow": "browser", "state": "pending",
            "authorize_url": "https://auth.openai.com/oauth/authorize?response_type=code&state=xyz",
            "open_url": "http://localhost:1455/go/Rk9vYmFyYmF6cXV4",
            "redirect_uri": "http://localhost:1455/auth/callback",
            "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T14:10:00Z"};
        Logins: {"logins": [example("Login")]};
        CallbackBody: {"url": "http://localhost:1455/auth/callback?code=abc&state=xyz"};
        Profiles: {"default": "work", "profiles": [example("Profile")]};
        Profile: {"name": "work", "default": true, "state": "ready", "sign_in_required": false,
            "mode": "chatgpt", "mode_reason": "plan plus is personal", "email": "user@example.com", "plan": "plus",
            "account_id": "bc3618e3-489d-4d49-9362-1561dc53ba53", "generation": 7,
            "expires_at": "2026-11-23T15:00:00Z", "refresh_at": "2026-11-23T14:55:00Z",
            "last_refresh": "2026-11-23T14:00:00Z"};
        ProfilePatch: {"default": true};
        Quota: {"profile": "work", "windows": [
                {"window": "7d", "seconds": 604_800, "used_percent": 62.0, "resets_at": "2026-11-27T09:00:00Z",
                    "as_of": "2026-11-23T14:00:00Z"},
                {"window": "5h", "seconds": 18_000, "used_percent": 12.5, "resets_at": "2026-11-23T16:30:00Z",
                    "as_of": "2026-11-23T14:00:00Z"}],
            "credits": {"available": false, "unlimited": false}, "limit_reached": false,
            "as_of": "2026-11-23T14:00:00Z", "stale": false};
        ApiKeyBody: {"api_key": "a-key-of-your-own"};
        TokenBody: {"token": "a-token-of-your-own", "provider": "gitlab"};
        StoredCredential: {"name": "ci", "default": true, "state": "ready", "sign_in_required": false,
            "mode": "api-key", "mode_reason": "a key of your own", "generation": 1, "last_refresh": "2026-11-23T14:00:00Z",
            "own_credential": true, "note": "it is a restricted key, which may not list the models"};
        Headers: {"profile": "work", "mode": "chatgpt",
            "base_url": "https://chatgpt.com/backend-api/codex",
            "responses_url": "https://chatgpt.com/backend-api/codex/responses",
            "headers": [["Authorization", "Bearer an-access-token"],
                ["chatgpt-account-id", "bc3618e3-489d-4d49-9362-1561dc53ba53"],
                ["version", authd_oauth::CODEX_VERSION], ["originator", "codex_cli_rs"]],
            "generation": 7, "grant_id": "Zq3bV1x0QzGm5T2e", "expires_at": "2026-11-23T15:00:00Z"};
        RefreshBody: {"rejected_generation": 7, "grant_id": "Zq3bV1x0QzGm5T2e"};
        ImportBody: {"source": "codex", "profile": "work"};
        ExportBody: {"target": "codex"};
        CodexBody: {"home": "/home/user/.codex"};
        CodexHomes: {"homes": [{"home": "/home/user/.codex", "path": "/home/user/.codex/auth.json",
            "keychain": false, "profile": "work", "state": "present",
            "last_written": "2026-11-23T14:00:00Z"}]};
        LoginFile: {"profile": "work", "path": "/home/user/.codex/auth.json"};
        ShareBody: {"profile": "work", "allow": "relay", "door": "loopback", "ttl": 3600, "rate": 60,
            "paths": ["responses", "models"], "label": "test container"};
        CreatedShare: {"id": "q1Zb7RkXw0Tn", "profile": "work", "allow": "relay", "door": "loopback",
            "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T15:00:00Z", "rate": 60,
            "paths": ["responses", "models"], "label": "test container",
            "url": "http://127.0.0.1:40417/v1", "key": "authd_share_q1Zb7RkXw0Tn.a-secret"};
        Providers: {"providers": [
            {"name": "openai", "defined_in": "built_in", "issuer": "https://auth.openai.com"},
            example("Provider"),
            {"name": "gitlab", "defined_in": "configuration", "issuer": "https://gitlab.example.com",
                "git_hosts": ["gitlab.example.com"]}]};
        Provider: {"name": "linear", "defined_in": "added", "mcp": "https://mcp.linear.app/mcp"};
        ProviderBody: {"mcp": "https://mcp.linear.app/mcp", "scopes": ["read"]};
        ProviderCheckBody: {"provider": "openai"};
        ProviderCheck: {"provider": "lab", "ok": true, "transient": false,
            "requests": [{"method": "GET", "url": "https://as.example/.well-known/oauth-authorization-server",
                "status": 200}],
            "aspects": [{"aspect": "issuer", "state": "offered", "detail": "https://as.example"},
                {"aspect": "client id", "state": "warning", "detail": "none is configured",
                    "remedy": "register a client at the provider, and set client_id in [providers.NAME]"}]};
        Shares: {"shares": [{"id": "q1Zb7RkXw0Tm", "profile": "work", "allow": "headers", "door": "socket",
            "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T22:00:00Z",
            "socket": "/run/user/1000/authd/shares/q1Zb7RkXw0Tm/authd.sock"}]};
        MigrateBody: {"to": "file"};
        Migrated: {"records": 2, "store": example("StoreStatus")};
        StoreStatus: {"kind": "keychain", "state": "ready"};
    }
}
