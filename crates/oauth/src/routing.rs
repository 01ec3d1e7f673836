//! Where a workspace's requests go: some workspaces live on hosts of their own, and say so in
//! `wham/accounts/check`. What it says is taken only as far as it is safe: a token goes there.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// The header that names the region.
pub const HEADER: &str = "x-openai-account-routing-override";

/// A workspace's routing. Empty, if it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The origin of its URLs, without a trailing slash.
    pub origin: Option<String>,
    /// The value of its routing header.
    pub region: Option<String>,
}

impl Routing {
    /// The routing of a workspace, as an answer tells it; `hosts` are accepted besides those under
    /// chatgpt.com. None: the answer is not one, or does not know the workspace.
    pub fn parse(body: &[u8], account_id: &str, hosts: &[String]) -> Option<Self> {
        let told: Value = serde_json::from_slice(body).ok()?;
        let accounts = told.get("accounts")?;
        // A list of accounts, or a map of them by id.
        let account = match accounts {
            Value::Array(list) => list.iter().find(|account| account["id"] == account_id)?,
            Value::Object(map) => map.get(account_id)?,
            _ => return None,
        };
        let word = |name: &str| account.get(name).and_then(Value::as_str);
        Some(Self {
            origin: word("workspace_backend_origin").and_then(|origin| safe_origin(origin, hosts)),
            region: word("account_routing_override").filter(|region| is_region(region)).map(str::to_owned),
        })
    }

    /// For many to hold: nearly all have none, and that is the same one for all.
    pub(crate) fn shared(self) -> Arc<Self> {
        static NONE: LazyLock<Arc<Routing>> = LazyLock::new(Arc::default);
        if self == Self::default() { NONE.clone() } else { Arc::new(self) }
    }

    /// A URL with the workspace's own origin in the place of its own.
    pub fn applied(&self, url: &str) -> String {
        let rerouted = || {
            let own = self.origin.as_ref()?;
            let origin = Url::parse(url).ok()?.origin().ascii_serialization();
            Some(format!("{own}{}", url.strip_prefix(&origin)?))
        };
        rerouted().unwrap_or_else(|| url.to_owned())
    }
}

/// An https origin under chatgpt.com, or a host that the configuration names (`host` or `host:port`).
fn safe_origin(origin: &str, hosts: &[String]) -> Option<String> {
    let url = Url::parse(origin).ok()?;
    let host = url.host_str()?;
    let with_port = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let theirs = (host == "chatgpt.com" || host.ends_with(".chatgpt.com")) && url.port().is_none();
    let named = hosts.contains(&with_port);
    let bare = url.path() == "/" && url.query().is_none() && crate::is_safe(origin);
    let safe = bare && (theirs && url.scheme() == "https" || named);
    safe.then(|| url.origin().ascii_serialization())
}

fn is_region(region: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=32).contains(&region.len()) && region.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(origin: &str, region: &str) -> Routing {
        let account =
            json!({"id": "acc", "workspace_backend_origin": origin, "account_routing_override": region});
        let list = json!({"accounts": [{"id": "other"}, account]}).to_string();
        let map = json!({"accounts": {"acc": account}}).to_string();
        let hosts = ["eu.example.com".to_owned(), "127.0.0.1:8455".to_owned()];
        let [list, map] =
            [list, map].map(|body| Routing::parse(body.as_bytes(), "acc", &hosts).expect("known"));
        assert_eq!(list, map);
        list
    }

    #[test]
    fn a_workspace_is_routed_to_its_own_host_and_region() {
        let routing = told("https://eu.chatgpt.com", "eu");
        assert_eq!(routing.region.as_deref(), Some("eu"));
        let url = "https://chatgpt.com/backend-api/codex";
        assert_eq!(routing.applied(url), "https://eu.chatgpt.com/backend-api/codex");
        assert_eq!(Routing::default().applied(url), url);
        assert_eq!(told("http://127.0.0.1:8455/", "us").origin.as_deref(), Some("http://127.0.0.1:8455"));
    }

    #[test]
    fn a_token_goes_nowhere_else() {
        for origin in [
            "http://eu.chatgpt.com",
            "https://chatgpt.com.example.com",
            "https://example.com",
            "https://evilchatgpt.com",
            "https://eu.chatgpt.com/path",
            "https://user@eu.chatgpt.com",
            "https://eu.chatgpt.com:444",
            "https://eu.example.com:444",
            "http://eu.example.com",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(told(origin, "us").origin, None, "{origin}");
        }
        for region in ["", "a b", "x\r\ny", &"x".repeat(33)] {
            assert_eq!(told("https://eu.chatgpt.com", region).region, None, "{region}");
        }
        for body in ["", "[]", r#"{"accounts":[]}"#, r#"{"accounts":{"other":{}}}"#, r#"{"accounts":7}"#] {
            assert_eq!(Routing::parse(body.as_bytes(), "acc", &[]), None, "{body}");
        }
    }
}
