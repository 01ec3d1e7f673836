//! The head of an HTTP request, as the servers of authd and the relay read it.

use http::{HeaderMap, Request, header};

/// Whether the only host that a request names is an allowed one.
pub(crate) fn names_host<B>(request: &Request<B>, is_allowed: impl Fn(&str) -> bool) -> bool {
    // A target in absolute form names the host, and then Host is ignored (RFC 9112, section 3.2.2).
    let is_allowed_target = request.uri().authority().is_none_or(|target| is_allowed(target.as_str()));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    matches!((host, hosts.next()), (Some(host), None) if is_allowed_target && is_allowed(host))
}

/// The length of the body in bytes, if the head states it.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
