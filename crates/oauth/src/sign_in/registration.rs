//! Dynamic client registration (RFC 7591).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{ClientAuth, ClientSecret, OauthClient, ProviderError, digest};

/// The version that this program writes and reads.
const VERSION: u32 = 1;

/// A client that a server has registered. It is kept for each issuer and redirect URIs, and used
/// for every later sign-in.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// The client.
    pub client: OauthClient,
    /// Its secret.
    pub secret: Option<ClientSecret>,
    /// When the secret expires, if it does.
    pub expires_at: Option<Timestamp>,
}

/// The metadata of a client for its registration (RFC 7591, section 2).
pub(crate) fn registration_body(
    redirect_uris: &[String],
    auth: ClientAuth,
    wants_device_flow: bool,
) -> String {
    let mut grant_types = vec!["authorization_code", "refresh_token"];
    if wants_device_flow {
        grant_types.push("urn:ietf:params:oauth:grant-type:device_code");
    }
    json!({
        "client_name": "authd",
        "application_type": "native",
        "redirect_uris": redirect_uris,
        "grant_types": grant_types,
        "response_types": ["code"],
        "token_endpoint_auth_method": method_of(auth),
    })
    .to_string()
}

impl RegisteredClient {
    /// Parses a registration response (RFC 7591, section 3.2.1). A server may register another
    /// method than the requested one, or name none: then it is the first of its methods that the
    /// secret allows.
    pub fn parse(body: &[u8], methods: &[String]) -> Result<Self, ProviderError> {
        #[derive(Deserialize)]
        struct Response {
            client_id: String,
            client_secret: Option<String>,
            client_secret_expires_at: Option<i64>,
            token_endpoint_auth_method: Option<String>,
        }
        let response: Response = serde_json::from_slice(body)
            .map_err(|_| ProviderError::invalid("a registration without the expected JSON"))?;
        let is_text =
            |text: &str| (1..=4096).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'));
        let secret = response.client_secret.filter(|secret| !secret.is_empty());
        if !is_text(&response.client_id) || !secret.as_deref().is_none_or(is_text) {
            return Err(ProviderError::invalid("a registration with an unusable client id or secret"));
        }
        let offers = |auth| methods.is_empty() || methods.iter().any(|method| method == method_of(auth));
        let offered = [ClientAuth::Basic, ClientAuth::Post].into_iter().find(|auth| offers(*auth));
        let auth = match (response.token_endpoint_auth_method.as_deref(), &secret) {
            (Some("none"), _) | (None, None) => ClientAuth::None,
            (Some("client_secret_basic"), Some(_)) => ClientAuth::Basic,
            (Some("client_secret_post"), Some(_)) => ClientAuth::Post,
            (None, Some(_)) => offered.unwrap_or_default(),
            (Some("client_secret_basic" | "client_secret_post"), None) => {
                return Err(ProviderError::invalid("a registration without the client's secret"));
            }
            (Some(_), _) => {
                return Err(ProviderError::invalid("a registration with a method that authd does not have"));
            }
        };
        let expires_at = response.client_secret_expires_at.filter(|at| *at > 0);
        Ok(Self {
            client: OauthClient { id: response.client_id, auth, secret_file: None },
            secret: secret.filter(|_| auth != ClientAuth::None).map(ClientSecret::new),
            expires_at: expires_at.and_then(|at| Timestamp::from_second(at).ok()),
        })
    }

    /// Whether the client can be used at this time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }

    /// Identifies a registration in the store: by the issuer and the redirect URIs.
    pub fn key(issuer: &str, redirect_uris: &[String]) -> String {
        let mut hash = Sha256::new();
        for text in [issuer].into_iter().chain(redirect_uris.iter().map(String::as_str)) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        digest::hex(digest::truncated(hash))
    }

    /// The registration as text, for the store.
    pub fn to_secret_json(&self, issuer: &str) -> SecretString {
        // The secret leaves the process here: into the stored registration.
        let stored = Stored {
            version: VERSION,
            issuer: issuer.to_owned(),
            client: self.client.clone(),
            secret: self.secret.as_ref().map(|secret| secret.expose().to_owned()),
            expires_at: self.expires_at,
        };
        serde_json::to_string(&stored).expect("a struct of strings and times has a JSON form").into()
    }

    /// Parses a stored registration of this issuer. None if the text is not one.
    pub fn from_secret_json(text: &str, issuer: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let Stored { client, secret, expires_at, .. } = stored;
        (stored.version == VERSION && stored.issuer == issuer).then(|| Self {
            client,
            secret: secret.map(ClientSecret::new),
            expires_at,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    issuer: String,
    client: OauthClient,
    secret: Option<String>,
    expires_at: Option<Timestamp>,
}

fn method_of(auth: ClientAuth) -> &'static str {
    match auth {
        ClientAuth::None => "none",
        ClientAuth::Basic => "client_secret_basic",
        ClientAuth::Post => "client_secret_post",
    }
}
