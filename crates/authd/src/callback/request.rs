//! Checks and answers one request to the callback server. No part of a request appears in a
//! response.

use std::sync::Arc;

use authd_broker::{LINK_PATH, LinkTarget};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::Notify;

use super::{
    handler::{CallbackHandler, CallbackOutcome},
    page::{self, Page},
};
use crate::request_head::names_host;

/// Longest query of a redirect, in bytes. Real ones have 200.
const MAX_QUERY: usize = 8 << 10;

type PageResponse = Response<Full<Bytes>>;

/// Answers the requests to one port.
#[derive(Clone, Debug)]
pub(super) struct RequestHandler {
    /// The port.
    pub(super) port: u16,
    /// Whether other machines can reach the listener. It then serves the redirect alone.
    pub(super) is_exposed: bool,
    /// Whether the port is yielded to another program on request.
    pub(super) can_yield: bool,
    /// Notified when another program requests the port.
    pub(super) yield_requested: Arc<Notify>,
}

impl RequestHandler {
    /// Answers one request.
    pub(super) async fn respond<B>(
        &self,
        request: &Request<B>,
        handler: &impl CallbackHandler,
    ) -> PageResponse {
        // A foreign page whose name resolves to loopback (DNS rebinding) sends its own name as
        // Host.
        if is_own_host(request, self.port) {
            self.route(request, handler).await
        } else {
            text(StatusCode::MISDIRECTED_REQUEST, "Wrong Host header")
        }
    }

    async fn route<B>(&self, request: &Request<B>, handler: &impl CallbackHandler) -> PageResponse {
        let headers = request.headers();
        let is_redirect = handler.is_redirect_path(request.uri().path());
        if self.is_exposed && !is_redirect {
            return text(StatusCode::NOT_FOUND, "Not found");
        }
        if headers.contains_key(header::ORIGIN) {
            return text(StatusCode::FORBIDDEN, "Requests with Origin are refused");
        }
        let (method, path) = (request.method(), request.uri().path());
        if method != Method::GET && method != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let is_probe = method == Method::HEAD || is_prefetch(headers);
        match path {
            _ if is_redirect && is_probe => text(StatusCode::NO_CONTENT, ""),
            path if is_redirect => {
                let query = request.uri().query().unwrap_or_default();
                if query.len() > MAX_QUERY {
                    return text(StatusCode::URI_TOO_LONG, "Too long");
                }
                page_response(&page::outcome_page(&handler.handle(path, query).await))
            }
            path if path.starts_with(LINK_PATH) && is_probe => text(StatusCode::NO_CONTENT, ""),
            path if path.starts_with(LINK_PATH) => {
                follow_link(&handler.follow_link(&path[LINK_PATH.len()..]))
            }
            "/cancel" if is_probe => text(StatusCode::NO_CONTENT, ""),
            // Any web page can make a browser send this. The programs that request the port are no
            // browsers.
            "/cancel" if is_browser(headers) => {
                text(StatusCode::FORBIDDEN, "Requests from browsers are refused")
            }
            "/cancel" if handler.pending() > 0 => text(StatusCode::CONFLICT, "A sign-in is pending"),
            "/cancel" if !self.can_yield => text(StatusCode::CONFLICT, "This port is not yielded"),
            "/cancel" => {
                self.yield_requested.notify_one();
                text(StatusCode::OK, "Login cancelled")
            }
            _ => text(StatusCode::NOT_FOUND, "Not found"),
        }
    }
}

/// Whether `Host` is loopback, in one of its three spellings, with the port.
fn is_own_host<B>(request: &Request<B>, port: u16) -> bool {
    let is_own = |host: &str| {
        let host = host.to_ascii_lowercase();
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host == format!("{name}:{port}"))
    };
    names_host(request, is_own)
}

/// Whether a browser sent the request (Fetch Metadata Request Headers, section 2).
fn is_browser(headers: &HeaderMap) -> bool {
    ["sec-fetch-site", "sec-fetch-mode", "referer"].iter().any(|name| headers.contains_key(*name))
}

/// Whether the browser prefetches the page, so that the user has not opened it yet.
fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"].iter().any(|name| {
        headers.get(*name).is_some_and(|value| value.to_str().is_ok_and(|value| value.contains("prefetch")))
    })
}

/// Redirects to the provider, or shows why the link does not work.
fn follow_link(target: &LinkTarget) -> PageResponse {
    let url = match target {
        LinkTarget::AuthorizeUrl(url) => HeaderValue::from_str(url).ok(),
        LinkTarget::Used => return page_response(&page::used_link_page()),
        LinkTarget::Unknown => None,
    };
    let Some(url) = url else { return page_response(&page::outcome_page(&CallbackOutcome::UnknownState)) };
    let mut response = text(StatusCode::SEE_OTHER, "");
    response.headers_mut().insert(header::LOCATION, url);
    response
}

fn page_response(page: &Page) -> PageResponse {
    let status = if page.good { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut response = text(status, &page.html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, page::policy());
    response
}

/// A text response with the headers of every response.
fn text(status: StatusCode, body: &str) -> PageResponse {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
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
    response
}
