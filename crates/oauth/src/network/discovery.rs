//! Fetches the documents of discovery. A request carries no credential and no cookie, follows no
//! redirect to another host, and is bounded in size and time. If discovery began at a public
//! address, it connects to no other.

use std::{error::Error, net::IpAddr, time::Duration};

use http::{Method, header};
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use super::{
    addresses::{PrivateAddress, is_private, is_public, literal},
    provider_client::ProviderClient,
};
use crate::{
    ProviderError,
    discovery::{Discovered, Discovery, DiscoveryFault, MAX_DOCUMENT, NextStep, Reply, Start},
    provider::{is_loopback, is_secure_url},
};

/// Most redirects of one request, all on the same host.
const MAX_REDIRECTS: usize = 3;

/// Longest time of one document, with its redirects. A shorter limit of the network settings wins.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest time of a whole discovery.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The first request to an MCP server.
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

const USER_AGENT: &str = concat!("authd/", env!("CARGO_PKG_VERSION"));

/// A discovery that has ended.
#[derive(Clone, Debug)]
pub struct DiscoveryRun {
    /// The requests, in their order.
    pub requests: Vec<SentRequest>,
    /// The result.
    pub result: Result<Discovered, DiscoveryFault>,
    /// Whether it began at a public address, so that no other may be connected to.
    pub public_only: bool,
}

/// A request, and the status of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRequest {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: String,
    /// The status; `None` if there was no usable response.
    pub status: Option<u16>,
}

/// The addresses that discovery may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    /// The user named a private host.
    Any,
}

/// Runs a discovery to its end.
pub(crate) async fn discover(http: &ProviderClient, start: Start) -> DiscoveryRun {
    let deadline = Instant::now() + DISCOVERY_TIMEOUT;
    let (mut requests, mut reach) = (Vec::new(), None);
    let mut discovery = Discovery::new(start);
    loop {
        let (method, url) = match discovery.next_step() {
            NextStep::Done(result) => {
                let public_only = reach == Some(Reach::Public);
                return DiscoveryRun { requests, result: *result, public_only };
            }
            NextStep::Ping(url) => (Method::POST, url),
            NextStep::Get(url) => (Method::GET, url),
        };
        let deadline = deadline.min(Instant::now() + DOCUMENT_TIMEOUT.min(http.timeout()));
        reach = reach.or_else(|| reach_of_url(http, &url));
        let fetched = tokio::time::timeout_at(deadline, fetch(http, &mut reach, &method, &url));
        let reply = fetched.await.unwrap_or_else(|_| Err(DiscoveryFault::TooSlow { host: host(&url) }));
        requests.push(SentRequest {
            method,
            url: url.into(),
            status: reply.as_ref().ok().map(|reply| reply.status),
        });
        discovery = discovery.apply(reply);
    }
}

/// What the first URL of a discovery allows. `None` for a name: its operator says which addresses
/// it has, and may say something else to the next lookup. Then the address that responds counts.
fn reach_of_url(http: &ProviderClient, url: &Url) -> Option<Reach> {
    match literal(url) {
        Some(address) => Some(reach_of_address(Some(address))),
        None if is_loopback(url) => Some(Reach::Any),
        // A proxy looks up the name.
        None => http.is_proxied(url).then_some(Reach::Public),
    }
}

/// What the address allows that the first response came from.
fn reach_of_address(address: Option<IpAddr>) -> Reach {
    if address.is_some_and(|address| !is_public(address)) { Reach::Any } else { Reach::Public }
}

/// Fetches a document. The first response determines what may be connected to from then on.
async fn fetch(
    http: &ProviderClient,
    reach: &mut Option<Reach>,
    method: &Method,
    first: &Url,
) -> Result<Reply, DiscoveryFault> {
    let mut url = first.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = send(http, *reach, method, &url).await?;
        let address = response.remote_addr().map(|address| address.ip());
        reach.get_or_insert_with(|| reach_of_address(address));
        let status = response.status();
        if !status.is_redirection() {
            return read(http, response, &url, method == Method::GET).await;
        }
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let Some(location) = location else {
            return Err(DiscoveryFault::Status { url: url.into(), status: status.as_u16() });
        };
        let target = url.join(location).ok().filter(|target| is_secure_url(target.as_str()));
        url = target
            .filter(|target| target.origin() == first.origin())
            .ok_or_else(|| DiscoveryFault::OtherHost { url: url.to_string() })?;
    }
    Err(DiscoveryFault::RedirectLoop { url: first.to_string() })
}

async fn send(
    http: &ProviderClient,
    reach: Option<Reach>,
    method: &Method,
    url: &Url,
) -> Result<Response, DiscoveryFault> {
    let private = || DiscoveryFault::PrivateAddress { host: host(url) };
    // The client looks up names only, so addresses are checked here.
    let request = match reach {
        Some(Reach::Public) if is_private(url) => return Err(private()),
        Some(Reach::Public) => http.request_public(method.clone(), url),
        Some(Reach::Any) | None => http.request(method.clone(), url.as_str()),
    };
    let request = request.map_err(|error| unreachable(url, error))?;
    let request = request.header(header::USER_AGENT, USER_AGENT);
    let request = match *method {
        Method::POST => request
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(PING),
        _ => request.header(header::ACCEPT, "application/json"),
    };
    request.send().await.map_err(|error| {
        if has_cause::<PrivateAddress>(&error) {
            private()
        } else if error.is_timeout() {
            DiscoveryFault::TooSlow { host: host(url) }
        } else {
            unreachable(url, http.failure(error))
        }
    })
}

async fn read(
    http: &ProviderClient,
    mut response: Response,
    url: &Url,
    is_document: bool,
) -> Result<Reply, DiscoveryFault> {
    let status = response.status();
    let challenges = response.headers().get_all(header::WWW_AUTHENTICATE).into_iter();
    let challenges = challenges.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect();
    let mut body = Vec::new();
    if is_document && status.is_success() {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                DiscoveryFault::TooSlow { host: host(url) }
            } else {
                unreachable(url, http.response_failure(error))
            }
        };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_DOCUMENT {
                return Err(DiscoveryFault::TooLarge { url: url.to_string() });
            }
            body.extend_from_slice(&chunk);
        }
    }
    Ok(Reply { status: status.as_u16(), challenges, body })
}

fn unreachable(url: &Url, error: ProviderError) -> DiscoveryFault {
    let detail = match error {
        ProviderError::NotSent { detail } | ProviderError::NoResponse { detail } => detail,
        other => other.to_string(),
    };
    DiscoveryFault::Unreachable { host: host(url), detail }
}

/// The host and port of a URL.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn has_cause<E: Error + 'static>(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    #[tokio::test]
    async fn a_private_address_is_refused_where_discovery_began_at_a_public_one() {
        let http = ProviderClient::new(Network::default()).unwrap();
        for url in [
            "http://127.0.0.1:9/",
            "http://localhost:9/",
            "https://localhost:9/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[fd00::1]/",
            "https://[::ffff:10.0.0.1]/",
        ] {
            let url = Url::parse(url).unwrap();
            let fault = fetch(&http, &mut Some(Reach::Public), &Method::GET, &url).await.unwrap_err();
            assert_eq!(fault, DiscoveryFault::PrivateAddress { host: host(&url) });
        }
        // The client itself refuses a name with such an address, whenever it looks the name up.
        let request = http.request_public(Method::GET, &Url::parse("https://localhost:9/").unwrap()).unwrap();
        assert!(has_cause::<PrivateAddress>(&request.send().await.unwrap_err()));
    }

    #[tokio::test]
    async fn a_private_first_url_allows_private_addresses() {
        let http = ProviderClient::new(Network::default()).unwrap();
        for (url, reach) in [
            ("http://127.0.0.1:9/", Reach::Any),
            ("http://localhost:9/", Reach::Any),
            ("https://192.168.0.7/", Reach::Any),
            ("https://1.1.1.1/", Reach::Public),
        ] {
            assert_eq!(reach_of_url(&http, &Url::parse(url).unwrap()), Some(reach), "{url}");
        }
    }

    #[tokio::test]
    async fn the_address_that_responds_counts_for_a_name() {
        let http = ProviderClient::new(Network::default()).unwrap();
        assert_eq!(reach_of_url(&http, &Url::parse("https://mcp.example/").unwrap()), None);
        assert_eq!(reach_of_address(Some([1, 1, 1, 1].into())), Reach::Public);
        assert_eq!(reach_of_address(Some([10, 0, 0, 1].into())), Reach::Any);
        assert_eq!(reach_of_address(None), Reach::Public);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
        let mut reach = None;
        fetch(&http, &mut reach, &Method::GET, &url).await.unwrap();
        assert_eq!(reach, Some(Reach::Any));
    }
}
