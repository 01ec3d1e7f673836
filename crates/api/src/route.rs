//! The paths of all routes, for the daemon and the client.

use crate::ProfileName;

/// The `Host` header of a request on the socket.
pub const HOST: &str = "authd";

/// The path part that names the default profile.
pub const DEFAULT_PROFILE: &str = "-";

/// `GET`: the daemon's status.
pub const STATUS: &str = "/v1/status";
/// `GET`: the pending logins. `POST`: starts a login.
pub const LOGINS: &str = "/v1/logins";
/// `GET`, `DELETE`: one login.
pub const LOGIN: &str = "/v1/logins/{id}";
/// `POST`: the pasted redirect URL of one login.
pub const LOGIN_CALLBACK: &str = "/v1/logins/{id}/callback";
/// `GET`: all profiles.
pub const PROFILES: &str = "/v1/profiles";
/// `GET`, `PATCH`, `DELETE`: one profile.
pub const PROFILE: &str = "/v1/profiles/{profile}";
/// `PUT`: stores an API key of the user.
pub const API_KEY: &str = "/v1/profiles/{profile}/api-key";
/// `PUT`: stores a token of the user.
pub const TOKEN: &str = "/v1/profiles/{profile}/token";
/// `GET`: the headers of a request to the provider.
pub const HEADERS: &str = "/v1/profiles/{profile}/headers";
/// `POST`: refreshes the profile now.
pub const REFRESH: &str = "/v1/profiles/{profile}/refresh";
/// Any method: forwarded to the profile's base URL itself. A slash at its end means the same.
pub const RELAY_BASE: &str = "/v1/profiles/{profile}/relay";
/// Any method: forwarded to a path below the profile's base URL.
pub const RELAY: &str = "/v1/profiles/{profile}/relay/{*path}";
/// Any method: forwarded to the ChatGPT backend.
pub const RELAY_BACKEND: &str = "/v1/profiles/{profile}/relay-backend/{*path}";

/// `GET`: how much of the usage limits is used.
pub const QUOTA: &str = "/v1/profiles/{profile}/quota";

/// `GET`, `POST`: the shares.
pub const SHARES: &str = "/v1/shares";
/// `DELETE`: one share.
pub const SHARE: &str = "/v1/shares/{id}";
/// `GET`: holds one share while the response lasts.
pub const SHARE_HOLD: &str = "/v1/shares/{id}/hold";

/// `GET`: the providers that the daemon knows.
pub const PROVIDERS: &str = "/v1/providers";
/// `PUT`, `DELETE`: adds the definition of a provider, and removes it.
pub const PROVIDER: &str = "/v1/providers/{name}";
/// `POST`: reads the metadata of a provider, and says what it offers.
pub const PROVIDERS_CHECK: &str = "/v1/providers/check";

/// `POST`: moves all credentials to another store.
pub const STORE_MIGRATE: &str = "/v1/store/migrate";
/// `POST`: encrypts all credentials with a new key.
pub const STORE_REKEY: &str = "/v1/store/rekey";

/// `GET`: the findings of the daemon's checks, with remedies.
pub const DIAGNOSIS: &str = "/v1/diagnosis";
/// `GET`: the audit log.
pub const AUDIT: &str = "/v1/audit";
/// `GET`: a server-sent event for every change.
pub const EVENTS: &str = "/v1/events";
/// `POST`: imports another program's login.
pub const IMPORT: &str = "/v1/import";
/// `POST`: exports a login to another program and deletes its profile.
pub const EXPORT: &str = "/v1/profiles/{profile}/export";
/// `PUT`, `DELETE`: starts and stops keeping a Codex home supplied with fresh access tokens.
pub const CODEX: &str = "/v1/profiles/{profile}/codex";
/// `GET`: the managed Codex homes.
pub const CODEX_HOMES: &str = "/v1/codex";

/// `GET`: metrics, as OpenMetrics text.
pub const METRICS: &str = "/v1/metrics";
/// `GET`: this API as an OpenAPI document.
pub const OPENAPI: &str = "/v1/openapi.json";

/// All routes.
pub const ALL: [&str; 31] = [
    STATUS,
    LOGINS,
    LOGIN,
    LOGIN_CALLBACK,
    PROFILES,
    PROFILE,
    API_KEY,
    TOKEN,
    HEADERS,
    REFRESH,
    RELAY_BASE,
    RELAY,
    RELAY_BACKEND,
    QUOTA,
    SHARES,
    SHARE,
    SHARE_HOLD,
    PROVIDERS,
    PROVIDER,
    PROVIDERS_CHECK,
    STORE_MIGRATE,
    STORE_REKEY,
    DIAGNOSIS,
    AUDIT,
    EVENTS,
    IMPORT,
    EXPORT,
    CODEX,
    CODEX_HOMES,
    METRICS,
    OPENAPI,
];

/// The path of one login.
pub fn login(id: &str) -> String {
    format!("{LOGINS}/{id}")
}

/// The path of one share.
pub fn share(id: &str) -> String {
    format!("{SHARES}/{id}")
}

/// The path that holds one share.
pub fn share_hold(id: &str) -> String {
    format!("{SHARES}/{id}/hold")
}

/// The path of one provider.
pub fn provider(name: &str) -> String {
    format!("{PROVIDERS}/{name}")
}

/// The path of one profile. `None` is the default profile.
pub fn profile(name: Option<&ProfileName>) -> String {
    format!("{PROFILES}/{}", name.map_or(DEFAULT_PROFILE, ProfileName::as_str))
}

/// The path of a route of one profile: `headers`, `refresh`, `relay/responses` …
pub fn below_profile(name: Option<&ProfileName>, rest: &str) -> String {
    format!("{}/{rest}", profile(name))
}
