//! One request at the callback server's door: what is let in, and how it is answered. Nothing of a
//! request ever appears in an answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::Notify;

use super::{
    Arrival, Arrivals, LINK_PATH, Link,
    page::{self, Page},
};

/// The longest query that is looked at, in bytes: real ones have two hundred.
const MAX_QUERY: usize = 8 << 10;

type Answer = Response<Full<Bytes>>;

/// The door on one port.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// The port.
    pub(super) port: u16,
    /// Whether the port is left to another program that asks for it.
    pub(super) leaves: bool,
    /// Told when another program asks for the port.
    pub(super) asked_to_yield: Arc<Notify>,
}

impl Door {
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: &Request<B>, arrivals: &impl Arrivals) -> Answer {
        // A page elsewhere that has its own name point here (DNS rebinding) sends that name.
        if is_ours(request, self.port) {
            self.let_in(request, arrivals).await
        } else {
            text(StatusCode::MISDIRECTED_REQUEST, "Not here")
        }
    }

    async fn let_in<B>(&self, request: &Request<B>, arrivals: &impl Arrivals) -> Answer {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) {
            return text(StatusCode::FORBIDDEN, "Not for scripts");
        }
        let (method, path) = (request.method(), request.uri().path());
        if method != Method::GET && method != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let looks_only = method == Method::HEAD || is_prefetch(headers);
        match path {
            authd_oauth::REDIRECT_PATH if looks_only => text(StatusCode::NO_CONTENT, ""),
            authd_oauth::REDIRECT_PATH => {
                let query = request.uri().query().unwrap_or_default();
                if query.len() > MAX_QUERY {
                    return text(StatusCode::URI_TOO_LONG, "Too long");
                }
                shown(&page::of(&arrivals.arrive(query).await))
            }
            path if path.starts_with(LINK_PATH) && looks_only => text(StatusCode::NO_CONTENT, ""),
            path if path.starts_with(LINK_PATH) => followed(&arrivals.follow(&path[LINK_PATH.len()..])),
            "/cancel" if looks_only => text(StatusCode::NO_CONTENT, ""),
            // A page anywhere can have a browser send this; the programs that want the port are none.
            "/cancel" if is_browser(headers) => text(StatusCode::FORBIDDEN, "Not for browsers"),
            "/cancel" if arrivals.pending() > 0 => text(StatusCode::CONFLICT, "A sign-in is pending"),
            "/cancel" if !self.leaves => text(StatusCode::CONFLICT, "This port is not given away"),
            "/cancel" => {
                self.asked_to_yield.notify_one();
                text(StatusCode::OK, "Login cancelled")
            }
            _ => text(StatusCode::NOT_FOUND, "Not Found"),
        }
    }
}

/// Whether the request names this server: loopback, in one of its three spellings, and the port. A target in
/// absolute form names the host, too (RFC 9112, section 3.2.2).
fn is_ours<B>(request: &Request<B>, port: u16) -> bool {
    let ours = |host: &str| {
        let host = host.to_ascii_lowercase();
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host == format!("{name}:{port}"))
    };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let target = request.uri().authority();
    target.is_none_or(|target| ours(target.as_str())) && ours(host.to_str().unwrap_or_default())
}

/// Whether a browser sends this, which tells where from (Fetch Metadata Request Headers, section 2).
fn is_browser(headers: &HeaderMap) -> bool {
    ["sec-fetch-site", "sec-fetch-mode", "referer"].iter().any(|name| headers.contains_key(*name))
}

/// Whether the browser only wants to be quick, and no person has decided anything yet.
fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"].iter().any(|name| {
        headers.get(*name).is_some_and(|value| value.to_str().is_ok_and(|value| value.contains("prefetch")))
    })
}

/// The way on to the provider, or a page that says why there is none.
fn followed(link: &Link) -> Answer {
    let url = match link {
        Link::To(url) => HeaderValue::from_str(url).ok(),
        Link::Used => return shown(&page::used()),
        Link::Unknown => None,
    };
    let Some(url) = url else { return shown(&page::of(&Arrival::UnknownState)) };
    let mut answer = text(StatusCode::SEE_OTHER, "");
    answer.headers_mut().insert(header::LOCATION, url);
    answer
}

fn shown(page: &Page) -> Answer {
    let status = if page.good { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut answer = text(status, &page.html);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, page::policy());
    answer
}

/// An answer with what every answer carries.
fn text(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    answer
}
