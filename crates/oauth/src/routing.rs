//! The routing of a workspace. Some workspaces have their own host, which `wham/accounts/check`
//! names. A host is only accepted if it is safe: access tokens are sent there.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::provider::is_secure_url;

/// The header that names the region.
pub(crate) const HEADER: &str = "x-openai-account-routing-override";

/// A workspace's routing; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The origin that replaces the one in its URLs, without a trailing slash.
    pub origin: Option<String>,
    /// The value of its routing header.
    pub region: Option<String>,
}

impl Routing {
    /// Parses the routing of a workspace. `hosts` are accepted besides those under chatgpt.com.
    /// None if the response is invalid or does not contain the workspace.
    pub fn parse(body: &[u8], account_id: &str, hosts: &[String]) -> Option<Self> {
        let response: Value = serde_json::from_slice(body).ok()?;
        let accounts = response.get("accounts")?;
        // A list of accounts, or a map of them by id.
        let account = match accounts {
            Value::Array(list) => list.iter().find(|account| account["id"] == account_id)?,
            Value::Object(map) => map.get(account_id)?,
            _ => return None,
        };
        let text = |name: &str| account.get(name).and_then(Value::as_str);
        Some(Self {
            origin: text("workspace_backend_origin").and_then(|origin| safe_origin(origin, hosts)),
            region: text("account_routing_override").filter(|region| is_region(region)).map(str::to_owned),
        })
    }

    /// Shares one allocation between all empty routings, which nearly all profiles have.
    pub(crate) fn shared(self) -> Arc<Self> {
        static EMPTY: LazyLock<Arc<Routing>> = LazyLock::new(Arc::default);
        if self == Self::default() { EMPTY.clone() } else { Arc::new(self) }
    }

    /// The URL with its origin replaced by the workspace's own, if it has one.
    pub fn apply_to(&self, url: &str) -> String {
        let rerouted = || {
            let default = Url::parse(url).ok()?.origin().ascii_serialization();
            Some(format!("{}{}", self.origin.as_ref()?, url.strip_prefix(&default)?))
        };
        rerouted().unwrap_or_else(|| url.to_owned())
    }
}

/// Whether a response lists accounts, so that a workspace that is not in it has no routing.
pub(crate) fn is_account_list(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|response| response.get("accounts").is_some())
}

/// The origin, if it is https under chatgpt.com or a configured host (`host` or `host:port`).
fn safe_origin(origin: &str, hosts: &[String]) -> Option<String> {
    let url = Url::parse(origin).ok()?;
    let host = url.host_str()?;
    let with_port = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let is_providers = (host == "chatgpt.com" || host.ends_with(".chatgpt.com")) && url.port().is_none();
    let is_configured = hosts.contains(&with_port);
    let is_origin = url.path() == "/" && url.query().is_none() && is_secure_url(origin);
    let is_safe = is_origin && (is_providers && url.scheme() == "https" || is_configured);
    is_safe.then(|| url.origin().ascii_serialization())
}

fn is_region(region: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=32).contains(&region.len()) && region.bytes().all(is_allowed)
}
