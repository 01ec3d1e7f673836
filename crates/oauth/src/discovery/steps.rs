//! The order of discovery, as a pure state machine: it names the next request, and is given the
//! reply.

use std::collections::VecDeque;

use url::Url;

use super::{
    challenge::{HttpChallenge, challenges},
    fault::DiscoveryFault,
    metadata::{AuthorizationServer, ExpectedIssuer, ProtectedResource},
    well_known::{authorization_server_urls, origin, protected_resource_urls},
};
use crate::provider::is_secure_url;

/// What discovery begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// An issuer.
    Issuer(String),
    /// The URL of an MCP server.
    Mcp(String),
    /// Either: the URL counts as an issuer if it is no MCP server.
    Unknown(String),
}

/// The reply to a request, after the redirects on the same host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The values of `WWW-Authenticate`.
    pub challenges: Vec<String>,
    /// The body of a success.
    pub body: Vec<u8>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Send a `ping` of JSON-RPC without a credential to an MCP server. A client may send it before
    /// `initialize`, and it has no effect. The body of the reply is not needed.
    Ping(Url),
    /// Get a document without a credential.
    Get(Url),
    /// Discovery has ended.
    Done(Box<Result<Discovered, DiscoveryFault>>),
}

/// The result of a successful discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The authorization server.
    pub server: AuthorizationServer,
    /// Where its description came from.
    pub found: Found,
    /// The metadata of the MCP server, if it has any.
    pub resource: Option<ProtectedResource>,
    /// The URL of the MCP server, if it is one.
    pub mcp: Option<String>,
    /// The scopes that the MCP server asked for.
    pub challenge_scopes: Option<Vec<String>>,
}

/// Where the description of an authorization server came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The metadata at this URL.
    Metadata(String),
    /// The default paths of the MCP specification of 2025-03-26, for a server without metadata.
    DefaultPaths,
}

/// A discovery under way.
#[derive(Clone, Debug)]
pub struct Discovery {
    start: Start,
    phase: Phase,
    status: u16,
    mcp: Option<Url>,
    challenge_scopes: Option<Vec<String>>,
    resource: Option<ProtectedResource>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The MCP server itself, which responds with 401.
    Server(Url),
    /// The metadata of the MCP server, at the first of these URLs. Its absence ends the discovery
    /// if the server named the URL.
    Resource {
        urls: VecDeque<Url>,
        is_named: bool,
    },
    /// The metadata of this issuer, at the first of these URLs.
    Issuer {
        issuer: String,
        urls: VecDeque<Url>,
    },
    Done(Box<Result<Discovered, DiscoveryFault>>),
}

impl Discovery {
    /// A discovery that begins here.
    pub fn new(start: Start) -> Self {
        let (Start::Issuer(text) | Start::Mcp(text) | Start::Unknown(text)) = &start;
        let url = Url::parse(text).ok().filter(|_| is_secure_url(text));
        let (mcp, phase) = match (&start, url) {
            (_, None) => (None, failed(DiscoveryFault::InvalidStart)),
            (Start::Issuer(issuer), Some(url)) => (None, at_issuer(issuer.clone(), &url)),
            (Start::Mcp(_) | Start::Unknown(_), Some(url)) => (Some(url.clone()), Phase::Server(url)),
        };
        Self { start, phase, status: 0, mcp, challenge_scopes: None, resource: None }
    }

    /// The next step.
    pub fn next_step(&self) -> NextStep {
        match &self.phase {
            Phase::Server(url) => NextStep::Ping(url.clone()),
            Phase::Resource { urls, .. } | Phase::Issuer { urls, .. } => match urls.front() {
                Some(url) => NextStep::Get(url.clone()),
                None => NextStep::Done(Box::new(Err(self.nothing_found()))),
            },
            Phase::Done(result) => NextStep::Done(result.clone()),
        }
    }

    /// Takes the reply to the request that [`next_step`](Self::next_step) named.
    #[must_use]
    pub fn apply(mut self, reply: Result<Reply, DiscoveryFault>) -> Self {
        self.phase = match (self.phase.clone(), reply) {
            (Phase::Done(result), _) => Phase::Done(result),
            // The home page of an issuer may redirect anywhere.
            (Phase::Server(url), Err(DiscoveryFault::OtherHost { .. })) if self.may_be_issuer() => {
                self.without_resource(&url)
            }
            (_, Err(fault)) => failed(fault),
            (Phase::Server(url), Ok(reply)) => self.after_server(&url, &reply),
            (Phase::Resource { urls, is_named }, Ok(reply)) => self.after_resource(urls, is_named, &reply),
            (Phase::Issuer { issuer, urls }, Ok(reply)) => self.after_issuer(issuer, urls, &reply),
        };
        self
    }

    fn after_server(&mut self, url: &Url, reply: &Reply) -> Phase {
        self.status = reply.status;
        let mut all = reply.challenges.iter().flat_map(|value| challenges(value));
        let bearer = all.find(|challenge| challenge.scheme == "bearer").filter(|_| reply.status == 401);
        self.challenge_scopes = bearer.as_ref().and_then(HttpChallenge::scopes);
        match bearer.as_ref().and_then(HttpChallenge::resource_metadata) {
            None => Phase::Resource { urls: protected_resource_urls(url).into(), is_named: false },
            Some(named) => match Url::parse(named).ok().filter(|_| is_secure_url(named)) {
                Some(named) => Phase::Resource { urls: [named].into(), is_named: true },
                None => failed(DiscoveryFault::InsecureUrl { what: "resource_metadata" }),
            },
        }
    }

    fn after_resource(&mut self, mut urls: VecDeque<Url>, is_named: bool, reply: &Reply) -> Phase {
        let (Some(url), Some(server)) = (urls.pop_front(), &self.mcp) else {
            return failed(self.nothing_found());
        };
        match presence(&url, reply) {
            Err(fault) => failed(fault),
            Ok(true) => match ProtectedResource::parse(&reply.body, &url, server) {
                Err(fault) => failed(fault),
                Ok(resource) => {
                    let issuer = resource.authorization_server.clone();
                    self.resource = Some(resource);
                    match Url::parse(&issuer) {
                        Ok(url) => at_issuer(issuer, &url),
                        Err(_) => failed(DiscoveryFault::InsecureUrl { what: "authorization_servers" }),
                    }
                }
            },
            Ok(false) if is_named => failed(status(&url, reply)),
            Ok(false) if !urls.is_empty() => Phase::Resource { urls, is_named },
            Ok(false) => self.without_resource(&server.clone()),
        }
    }

    /// Without metadata of the MCP server its origin is the issuer (MCP 2025-03-26). A URL that may
    /// be an issuer itself is one.
    fn without_resource(&mut self, server: &Url) -> Phase {
        match &self.start {
            Start::Unknown(issuer) if self.status != 401 => {
                self.mcp = None;
                at_issuer(issuer.clone(), server)
            }
            _ => {
                let issuer = origin(server);
                match Url::parse(&issuer) {
                    Ok(url) => at_issuer(issuer, &url),
                    Err(_) => failed(self.nothing_found()),
                }
            }
        }
    }

    fn after_issuer(&mut self, issuer: String, mut urls: VecDeque<Url>, reply: &Reply) -> Phase {
        let Some(url) = urls.pop_front() else { return failed(self.nothing_found()) };
        match presence(&url, reply) {
            Err(fault) => failed(fault),
            Ok(true) => match AuthorizationServer::parse(&reply.body, &url, &self.expected(&issuer)) {
                Err(fault) => failed(fault),
                Ok(server) => self.done(server, Found::Metadata(url.into())),
            },
            Ok(false) if !urls.is_empty() => Phase::Issuer { issuer, urls },
            Ok(false) if self.is_without_resource() && self.status == 401 => {
                let at = |path: &str| format!("{issuer}{path}");
                let (authorize_url, token_url) = (at("/authorize"), at("/token"));
                let registration_url = Some(at("/register"));
                let server = AuthorizationServer {
                    issuer: issuer.clone(),
                    authorize_url,
                    token_url,
                    registration_url,
                    ..AuthorizationServer::default()
                };
                self.done(server, Found::DefaultPaths)
            }
            Ok(false) if self.is_without_resource() => failed(self.nothing_found()),
            Ok(false) => failed(DiscoveryFault::NoMetadata { issuer }),
        }
    }

    /// The issuer that a document must name. The rules of 2025-03-26 name an origin as the place
    /// of the document, and no issuer.
    fn expected<'a>(&self, issuer: &'a str) -> ExpectedIssuer<'a> {
        if self.is_without_resource() { ExpectedIssuer::At(issuer) } else { ExpectedIssuer::Exactly(issuer) }
    }

    /// Whether this is an MCP server without metadata of its own.
    fn is_without_resource(&self) -> bool {
        self.mcp.is_some() && self.resource.is_none()
    }

    fn may_be_issuer(&self) -> bool {
        matches!(self.start, Start::Unknown(_))
    }

    fn nothing_found(&self) -> DiscoveryFault {
        let (Start::Issuer(url) | Start::Mcp(url) | Start::Unknown(url)) = &self.start;
        DiscoveryFault::NothingFound { url: url.clone(), status: self.status }
    }

    fn done(&mut self, server: AuthorizationServer, found: Found) -> Phase {
        Phase::Done(Box::new(Ok(Discovered {
            server,
            found,
            resource: self.resource.take(),
            mcp: self.mcp.as_ref().map(Url::to_string),
            challenge_scopes: self.challenge_scopes.take(),
        })))
    }
}

fn at_issuer(issuer: String, url: &Url) -> Phase {
    Phase::Issuer { issuer, urls: authorization_server_urls(url).into() }
}

fn failed(fault: DiscoveryFault) -> Phase {
    Phase::Done(Box::new(Err(fault)))
}

/// Whether a document exists: a success has it, and a client error means that it does not exist.
/// Anything else says nothing about it.
fn presence(url: &Url, reply: &Reply) -> Result<bool, DiscoveryFault> {
    match reply.status {
        200..=299 => Ok(true),
        429 => Err(status(url, reply)),
        400..=499 => Ok(false),
        _ => Err(status(url, reply)),
    }
}

fn status(url: &Url, reply: &Reply) -> DiscoveryFault {
    DiscoveryFault::Status { url: url.to_string(), status: reply.status }
}
