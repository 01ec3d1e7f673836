//! The provider's configuration: endpoints, client id, scopes. The defaults are OpenAI's, as
//! recorded from the Codex CLI 0.34.0.

use std::net::IpAddr;

use url::Url;

/// The endpoints for signing in and for using the credentials.
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
    /// The host of the redirect URI.
    pub redirect_host: String,
    /// The authorization endpoint (RFC 6749, section 3.1).
    pub authorize_url: String,
    /// The token endpoint (RFC 6749, section 3.2), for exchanges and refreshes.
    pub token_url: String,
    /// The revocation endpoint (RFC 7009).
    pub revoke_url: String,
    /// Device login: the endpoint that issues a user code.
    pub device_usercode_url: String,
    /// Device login: the endpoint that is polled.
    pub device_token_url: String,
    /// Device login: the page where the user types the code.
    pub device_verification_url: String,
    /// Device login: the redirect URI of its code exchange.
    pub device_redirect_uri: String,
    /// The endpoint that names the user of a personal access token.
    pub whoami_url: String,
    /// The base URL of ChatGPT mode.
    pub chatgpt_base_url: String,
    /// The ChatGPT backend.
    pub chatgpt_backend_url: String,
    /// The base URL of API-key mode.
    pub api_base_url: String,
    /// The hosts that a workspace may be routed to besides those under chatgpt.com.
    pub workspace_hosts: Vec<String>,
}

/// The path of the redirect URI. It is registered with the provider.
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

    /// OpenAI's provider at another issuer, from which its endpoints are derived.
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
            whoami_url: at("/api/accounts/v1/user-auth-credential/whoami"),
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

    /// Checks that every endpoint may receive secrets. The error names the first that may not.
    pub fn check(&self) -> Result<(), String> {
        for (name, url) in [
            ("issuer", &self.issuer),
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
            ("device_usercode_url", &self.device_usercode_url),
            ("device_token_url", &self.device_token_url),
            ("device_verification_url", &self.device_verification_url),
            ("whoami_url", &self.whoami_url),
            ("chatgpt_base_url", &self.chatgpt_base_url),
            ("chatgpt_backend_url", &self.chatgpt_backend_url),
            ("api_base_url", &self.api_base_url),
        ] {
            if !is_secure_url(url) {
                return Err(format!("{name} must be an https URL, or http on loopback: {url}"));
            }
        }
        Ok(())
    }

    /// Normalises the base URLs of relayed requests with the URL parser. A client's path is
    /// appended to them without parsing the result again.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        for url in [&mut self.chatgpt_base_url, &mut self.chatgpt_backend_url, &mut self.api_base_url] {
            let Ok(parsed) = Url::parse(url) else { continue };
            let keeps_slash = url.ends_with('/');
            *url = parsed.into();
            if !keeps_slash {
                url.truncate(url.trim_end_matches('/').len());
            }
        }
        self
    }
}

/// Whether a secret may be sent to a URL: https, or http to this machine.
pub(crate) fn is_secure_url(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    is_plain && (url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback(&url))
}

/// Whether a URL's host is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_this_machine)
}

/// Whether the host of a URL is this machine. An IPv6 address is in brackets. Short forms such as
/// `127.1` only count after the URL parser has expanded them.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    address || host.eq_ignore_ascii_case("localhost")
}
