//! Every path on the socket, written once for both sides. What a route does stands in the daemon.

use crate::ProfileName;

/// The fixed authority of a request on the socket.
pub const HOST: &str = "authd";

/// The path part that names the default profile.
pub const DEFAULT_PROFILE: &str = "-";

/// `GET`: the daemon's own state.
pub const STATUS: &str = "/v1/status";
/// `POST`: starts a login.
pub const LOGINS: &str = "/v1/logins";
/// `GET`, `DELETE`: one login.
pub const LOGIN: &str = "/v1/logins/{id}";
/// `POST`: the pasted redirect URL of one login.
pub const LOGIN_CALLBACK: &str = "/v1/logins/{id}/callback";
/// `GET`: all profiles.
pub const PROFILES: &str = "/v1/profiles";
/// `GET`, `PATCH`, `DELETE`: one profile.
pub const PROFILE: &str = "/v1/profiles/{profile}";
/// `PUT`: a key of the user's own.
pub const API_KEY: &str = "/v1/profiles/{profile}/api-key";
/// `GET`: ready headers.
pub const HEADERS: &str = "/v1/profiles/{profile}/headers";
/// `POST`: refresh now.
pub const REFRESH: &str = "/v1/profiles/{profile}/refresh";
/// Any method: passed on to the profile's base URL.
pub const RELAY: &str = "/v1/profiles/{profile}/relay/{*path}";
/// Any method: passed on to the ChatGPT backend.
pub const RELAY_BACKEND: &str = "/v1/profiles/{profile}/relay-backend/{*path}";

/// `POST`: moves everything to another store.
pub const STORE_MIGRATE: &str = "/v1/store/migrate";
/// `POST`: seals everything with a new key.
pub const STORE_REKEY: &str = "/v1/store/rekey";

/// `GET`: what keeps things from working, and what to do about it.
pub const DIAGNOSIS: &str = "/v1/diagnosis";
/// `GET`: server-sent events of every change.
pub const EVENTS: &str = "/v1/events";
/// `POST`: takes over another program's login.
pub const IMPORT: &str = "/v1/import";
/// `POST`: gives a login to another program, and forgets it.
pub const EXPORT: &str = "/v1/profiles/{profile}/export";
/// `PUT`, `DELETE`: keeps a Codex home supplied with fresh access tokens, or no more.
pub const CODEX: &str = "/v1/profiles/{profile}/codex";

/// `GET`: figures, as OpenMetrics text.
pub const METRICS: &str = "/v1/metrics";
/// `GET`: the contract of all of this, as an OpenAPI document.
pub const OPENAPI: &str = "/v1/openapi.json";

/// All of them.
pub const ALL: [&str; 20] = [
    STATUS,
    LOGINS,
    LOGIN,
    LOGIN_CALLBACK,
    PROFILES,
    PROFILE,
    API_KEY,
    HEADERS,
    REFRESH,
    RELAY,
    RELAY_BACKEND,
    STORE_MIGRATE,
    STORE_REKEY,
    DIAGNOSIS,
    EVENTS,
    IMPORT,
    EXPORT,
    CODEX,
    METRICS,
    OPENAPI,
];

/// The path of one login.
pub fn login(id: &str) -> String {
    format!("{LOGINS}/{id}")
}

/// The path of one profile, or with `None` of the default one.
pub fn profile(name: Option<&ProfileName>) -> String {
    format!("{PROFILES}/{}", name.map_or(DEFAULT_PROFILE, ProfileName::as_str))
}

/// The path of a route below one profile: `headers`, `refresh`, `relay/responses` …
pub fn below_profile(name: Option<&ProfileName>, rest: &str) -> String {
    format!("{}/{rest}", profile(name))
}
