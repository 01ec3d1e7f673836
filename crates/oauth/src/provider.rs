//! The provider: its endpoints, our client id, the scopes. All of it is configuration; the defaults are
//! OpenAI's, as recorded from the Codex CLI 0.34.0.

use std::net::IpAddr;

use url::Url;

/// Where to sign in, and where the credentials are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The issuer, without a trailing slash.
    pub issuer: String,
    /// The public client's id.
    pub client_id: String,
    /// The scopes, in the order they are sent.
    pub scopes: Vec<String>,
    /// The `originator` parameter of the authorize URL.
    pub originator: String,
    /// The host that browsers return to.
    pub redirect_host: String,
    /// The authorization endpoint (RFC 6749, section 3.1).
    pub authorize_url: String,
    /// The token endpoint (RFC 6749, section 3.2), for exchanges and refreshes.
    pub token_url: String,
    /// The revocation endpoint (RFC 7009).
    pub revoke_url: String,
    /// Device login: where a user code is asked for.
    pub device_usercode_url: String,
    /// Device login: where it is polled.
    pub device_token_url: String,
    /// Device login: the page for the person.
    pub device_verification_url: String,
    /// Device login: the redirect URI of its code exchange.
    pub device_redirect_uri: String,
    /// The base URL of the ChatGPT mode.
    pub chatgpt_base_url: String,
    /// The ChatGPT backend.
    pub chatgpt_backend_url: String,
    /// The base URL of the API-key mode.
    pub api_base_url: String,
    /// Hosts that a workspace may be routed to besides those under chatgpt.com.
    pub workspace_hosts: Vec<String>,
}

/// The path that browsers return to. It is registered with the provider.
pub const REDIRECT_PATH: &str = "/auth/callback";

impl Default for Provider {
    fn default() -> Self {
        Self::openai()
    }
}

impl Provider {
    /// OpenAI.
    pub fn openai() -> Self {
        Self::with_issuer("https://auth.openai.com")
    }

    /// OpenAI's provider at another issuer; its endpoints follow from it.
    pub fn with_issuer(issuer: &str) -> Self {
        let issuer = issuer.trim_end_matches('/');
        let at = |path: &str| format!("{issuer}{path}");
        Self {
            client_id: "app_EMoamEEZ73f0CkXaXp7hrann".to_owned(),
            scopes: ["openid", "profile", "email", "offline_access"].map(str::to_owned).into(),
            originator: "codex_cli_rs".to_owned(),
            redirect_host: "localhost".to_owned(),
            authorize_url: at("/oauth/authorize"),
            token_url: at("/oauth/token"),
            revoke_url: at("/oauth/revoke"),
            device_usercode_url: at("/api/accounts/deviceauth/usercode"),
            device_token_url: at("/api/accounts/deviceauth/token"),
            device_verification_url: at("/codex/device"),
            device_redirect_uri: at("/deviceauth/callback"),
            chatgpt_base_url: "https://chatgpt.com/backend-api/codex".to_owned(),
            chatgpt_backend_url: "https://chatgpt.com/backend-api/".to_owned(),
            api_base_url: "https://api.openai.com/v1".to_owned(),
            workspace_hosts: Vec::new(),
            issuer: issuer.to_owned(),
        }
    }

    /// The redirect URI for a callback server on this port.
    pub fn redirect_uri(&self, port: u16) -> String {
        format!("http://{}:{port}{REDIRECT_PATH}", self.redirect_host)
    }

    /// Whether every endpoint may be given a secret; if not, which one may not, and why.
    pub fn check(&self) -> Result<(), String> {
        for (name, url) in [
            ("issuer", &self.issuer),
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
            ("device_usercode_url", &self.device_usercode_url),
            ("device_token_url", &self.device_token_url),
            ("device_verification_url", &self.device_verification_url),
            ("chatgpt_base_url", &self.chatgpt_base_url),
            ("chatgpt_backend_url", &self.chatgpt_backend_url),
            ("api_base_url", &self.api_base_url),
        ] {
            if !is_safe(url) {
                return Err(format!("{name} must be an https URL, or http on loopback: {url}"));
            }
        }
        Ok(())
    }

    /// The same, with the base URLs of relayed requests as a URL's parser writes them: these are put together
    /// with what a client asks for, and not parsed as URLs again.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        for url in [&mut self.chatgpt_base_url, &mut self.chatgpt_backend_url, &mut self.api_base_url] {
            let bare = !url.ends_with('/');
            if let Ok(parsed) = Url::parse(url) {
                let text = if bare { parsed.as_str().trim_end_matches('/') } else { parsed.as_str() };
                text.clone_into(url);
            }
        }
        self
    }
}

/// Whether a URL may be given a secret: https, or http to this machine alone.
pub fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain && (url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback(&url))
}

/// Whether a URL names this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_this_machine)
}

/// Whether a URL's host is this machine; an IPv6 address stands in brackets there. Other ways to write it,
/// which a URL's parser knows (`127.1`), count only as that has written them.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    address || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        for safe in ["https://a.example/x", "http://localhost:1/", "http://127.0.0.1:8", "http://[::1]/x"] {
            assert!(is_safe(safe), "{safe}");
        }
        for not in [
            "http://a.example",
            "ftp://localhost",
            "https://u:p@a.example",
            "https://a/#x",
            "x",
            "",
            "http://localhost.evil",
        ] {
            assert!(!is_safe(not), "{not}");
        }
        assert_eq!(Provider::openai().check(), Ok(()));
        let written = Provider {
            chatgpt_base_url: "https://BÜCHER.example:443/a/../b {c}".to_owned(),
            chatgpt_backend_url: "http://127.1:8/".to_owned(),
            api_base_url: "http://LOCALHOST".to_owned(),
            ..Provider::openai()
        };
        let normalised = written.normalised();
        assert_eq!(normalised.chatgpt_base_url, "https://xn--bcher-kva.example/b%20%7Bc%7D");
        assert_eq!(normalised.chatgpt_backend_url, "http://127.0.0.1:8/");
        assert_eq!(normalised.api_base_url, "http://localhost");
        assert_eq!(Provider::openai().normalised(), Provider::openai());
        let bad = Provider { token_url: "http://a.example".to_owned(), ..Provider::openai() };
        assert!(bad.check().is_err_and(|error| error.starts_with("token_url")));
    }
}
