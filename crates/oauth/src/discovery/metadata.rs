//! Parses metadata documents within bounds.

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::{fault::DiscoveryFault, well_known::origin as origin_of};
use crate::{provider::is_secure_url, scope::is_scope};

/// Longest text of a document that is kept, in bytes.
const MAX_TEXT: usize = 2048;

/// Longest issuer of a document that a message repeats, in bytes.
const MAX_SHOWN: usize = 128;

/// Most elements of a list.
const MAX_LIST: usize = 2000;

/// What an authorization server offers (RFC 8414, section 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// The issuer, as its document writes it.
    pub issuer: String,
    /// The authorization endpoint.
    pub authorize_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// The device authorization endpoint (RFC 8628).
    pub device_authorization_url: Option<String>,
    /// The registration endpoint (RFC 7591).
    pub registration_url: Option<String>,
    /// The revocation endpoint (RFC 7009).
    pub revocation_url: Option<String>,
    /// The endpoint of pushed authorization requests (RFC 9126).
    pub pushed_authorization_url: Option<String>,
    /// Whether pushed authorization requests are required.
    pub requires_pushed_authorization: bool,
    /// The userinfo endpoint of OpenID Connect.
    pub userinfo_url: Option<String>,
    /// The scopes; empty if the document lists none.
    pub scopes: Vec<String>,
    /// The methods of client authentication; empty if the document lists none.
    pub client_auth_methods: Vec<String>,
    /// Whether the redirect contains `iss` (RFC 9207).
    pub sends_issuer: bool,
    /// Whether the URL of a client metadata document is accepted as a client id.
    pub accepts_client_metadata_url: bool,
}

/// The issuer that a document must name.
pub(super) enum ExpectedIssuer<'a> {
    /// This one (RFC 8414, section 3.3).
    Exactly(&'a str),
    /// Any issuer on this origin.
    At(&'a str),
}

impl ExpectedIssuer<'_> {
    fn matches(&self, stated: &str) -> bool {
        match *self {
            Self::Exactly(issuer) => is_same_issuer(stated, issuer),
            Self::At(origin) => {
                Url::parse(stated).is_ok_and(|url| is_secure_url(stated) && origin_of(&url) == origin)
            }
        }
    }
}

/// What a protected resource says about itself (RFC 9728, section 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The resource.
    pub resource: String,
    /// Its authorization server: the first that it names.
    pub authorization_server: String,
    /// The scopes; empty if the document lists none.
    pub scopes: Vec<String>,
}

impl AuthorizationServer {
    /// Parses the document at `url`, which must be that of this issuer. Endpoints that may not
    /// receive secrets and a server without S256 are refused.
    pub(super) fn parse(body: &[u8], url: &Url, expected: &ExpectedIssuer) -> Result<Self, DiscoveryFault> {
        let document = Document::parse(body, url)?;
        let stated: String = document.required("issuer")?;
        if !expected.matches(&stated) {
            let is_shown = stated.len() <= MAX_SHOWN && is_secure_url(&stated);
            let stated = if is_shown { stated } else { "another issuer".to_owned() };
            let (ExpectedIssuer::Exactly(issuer) | ExpectedIssuer::At(issuer)) = *expected;
            let (url, expected) = (url.to_string(), issuer.to_owned());
            return Err(DiscoveryFault::WrongIssuer { url, stated, expected });
        }
        let server = Self {
            authorize_url: document.required_url("authorization_endpoint")?,
            token_url: document.required_url("token_endpoint")?,
            device_authorization_url: document.url("device_authorization_endpoint")?,
            registration_url: document.url("registration_endpoint")?,
            revocation_url: document.url("revocation_endpoint")?,
            pushed_authorization_url: document.url("pushed_authorization_request_endpoint")?,
            requires_pushed_authorization: document.flag("require_pushed_authorization_requests")?,
            userinfo_url: document.url("userinfo_endpoint")?,
            scopes: document.scopes("scopes_supported")?,
            client_auth_methods: document.list("token_endpoint_auth_methods_supported")?.unwrap_or_default(),
            sends_issuer: document.flag("authorization_response_iss_parameter_supported")?,
            accepts_client_metadata_url: document.flag("client_id_metadata_document_supported")?,
            issuer: stated,
        };
        let methods = document.list("code_challenge_methods_supported")?.unwrap_or_default();
        if !methods.iter().any(|method| method == "S256") {
            return Err(DiscoveryFault::NoPkce { issuer: server.issuer });
        }
        if server.requires_pushed_authorization && server.pushed_authorization_url.is_none() {
            return Err(document.missing("pushed_authorization_request_endpoint"));
        }
        Ok(server)
    }
}

impl ProtectedResource {
    /// Parses the document at `url`, which must describe the resource or a parent of it.
    pub fn parse(body: &[u8], url: &Url, resource: &Url) -> Result<Self, DiscoveryFault> {
        let document = Document::parse(body, url)?;
        let stated: String = document.required("resource")?;
        if !Url::parse(&stated).is_ok_and(|stated| covers(&stated, resource)) {
            return Err(DiscoveryFault::WrongResource {
                url: url.to_string(),
                expected: resource.to_string(),
            });
        }
        let servers = document.list("authorization_servers")?.unwrap_or_default();
        let Some(server) = servers.into_iter().next() else {
            return Err(document.missing("authorization_servers"));
        };
        if !is_secure_url(&server) || Url::parse(&server).is_ok_and(|server| server.query().is_some()) {
            return Err(DiscoveryFault::InsecureUrl { what: "authorization_servers" });
        }
        let scopes = document.scopes("scopes_supported")?;
        Ok(Self { resource: stated, authorization_server: server, scopes })
    }
}

/// Whether two texts name the same issuer. They are equal, but for the slash of an empty path
/// (RFC 3986, section 6.2.3): libraries that normalise URLs add it.
fn is_same_issuer(stated: &str, expected: &str) -> bool {
    let origin = |text: &str| {
        let without = text.strip_suffix('/').unwrap_or(text).to_owned();
        Url::parse(text).is_ok_and(|url| url.path() == "/").then_some(without)
    };
    stated == expected || origin(stated).is_some_and(|stated| origin(expected) == Some(stated))
}

/// Whether a stated resource is the resource itself or a parent of it on the same origin.
fn covers(stated: &Url, resource: &Url) -> bool {
    let stated_path = stated.path().trim_end_matches('/');
    let rest = resource.path().strip_prefix(stated_path);
    stated.origin() == resource.origin()
        && stated.fragment().is_none()
        && (stated.query().is_none() || stated.query() == resource.query())
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A JSON object, and where it came from.
struct Document<'a> {
    fields: Map<String, Value>,
    url: &'a Url,
}

impl<'a> Document<'a> {
    fn parse(body: &[u8], url: &'a Url) -> Result<Self, DiscoveryFault> {
        let fields = serde_json::from_slice(body);
        let fields = fields.map_err(|_| DiscoveryFault::NotJson { url: url.to_string() })?;
        Ok(Self { fields, url })
    }

    /// A field; null counts as absent.
    fn field<T: for<'de> Deserialize<'de>>(&self, name: &'static str) -> Result<Option<T>, DiscoveryFault> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.malformed(name)),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, DiscoveryFault> {
        let text: Option<String> = self.field(name)?;
        if text.as_ref().is_some_and(|text| !is_plain(text)) {
            return Err(self.malformed(name));
        }
        Ok(text)
    }

    fn required(&self, name: &'static str) -> Result<String, DiscoveryFault> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A URL that may receive secrets.
    fn url(&self, name: &'static str) -> Result<Option<String>, DiscoveryFault> {
        let url = self.text(name)?;
        if url.as_ref().is_some_and(|url| !is_secure_url(url)) {
            return Err(DiscoveryFault::InsecureUrl { what: name });
        }
        Ok(url)
    }

    fn required_url(&self, name: &'static str) -> Result<String, DiscoveryFault> {
        self.url(name)?.ok_or_else(|| self.missing(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, DiscoveryFault> {
        Ok(self.field(name)?.unwrap_or_default())
    }

    fn list(&self, name: &'static str) -> Result<Option<Vec<String>>, DiscoveryFault> {
        let list: Option<Vec<String>> = self.field(name)?;
        let is_bounded =
            |list: &Vec<String>| list.len() <= MAX_LIST && list.iter().all(|text| is_plain(text));
        if list.as_ref().is_some_and(|list| !is_bounded(list)) {
            return Err(self.malformed(name));
        }
        Ok(list)
    }

    fn scopes(&self, name: &'static str) -> Result<Vec<String>, DiscoveryFault> {
        let scopes = self.list(name)?.unwrap_or_default();
        if scopes.iter().all(|scope| is_scope(scope)) { Ok(scopes) } else { Err(self.malformed(name)) }
    }

    fn malformed(&self, field: &'static str) -> DiscoveryFault {
        DiscoveryFault::Malformed { url: self.url.to_string(), field }
    }

    fn missing(&self, field: &'static str) -> DiscoveryFault {
        DiscoveryFault::Missing { url: self.url.to_string(), field }
    }
}

/// Whether a text is short, not empty, and safe to show.
fn is_plain(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
