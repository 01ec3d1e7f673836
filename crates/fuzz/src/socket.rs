//! Bytes on the socket of a daemon, which runs in this process with the memory store, a profile
//! with an API key, and a provider that refuses connections.

use std::{os::unix::net::UnixStream, path::PathBuf, sync::OnceLock};

use authd_api::{ErrorCode, Problem, VERSION_HEADER};
use httparse::{EMPTY_HEADER, Response, Status};

use crate::daemon::{self, SECRET, exchange, find};

/// The error codes with a status above 499 that are correct here.
const EXPECTED_ERRORS: [ErrorCode; 5] = [
    ErrorCode::ProviderUnreachable,
    ErrorCode::StoreUnavailable,
    ErrorCode::StoreLocked,
    ErrorCode::CallbackUnavailable,
    ErrorCode::Timeout,
];

/// Checks the bytes as the data that a client sends.
pub fn check(data: &[u8]) {
    let stream = UnixStream::connect(daemon_socket()).expect("the daemon listens");
    let received = exchange(stream, data);
    let has_key = find(&received, SECRET.as_bytes()).is_some();
    assert!(!has_key || find(data, b"headers").is_some(), "the key was sent without a request for headers");
    let mut rest = received.as_slice();
    let has_body = find(data, b"HEAD").is_none();
    while let Some((status, body)) = next_response(&mut rest) {
        check_status(status, body);
        if !has_body {
            return;
        }
    }
}

/// A status above 499 has a problem with an expected code, and the code has the status of the
/// response.
fn check_status(status: u16, body: Option<&[u8]>) {
    let problem = body.and_then(|body| serde_json::from_slice::<Problem>(body).ok());
    assert!(status < 500 || problem.is_some(), "{status} without a problem");
    if let Some(problem) = problem {
        assert_eq!(problem.code.status().as_u16(), status, "{problem:?}");
        assert!(status < 500 || EXPECTED_ERRORS.contains(&problem.code), "{problem:?}");
        assert!(!problem.detail.is_empty());
    }
}

/// The status of the next response, and its body if it is a problem; `None` if no complete response
/// is left.
fn next_response<'a>(rest: &mut &'a [u8]) -> Option<(u16, Option<&'a [u8]>)> {
    if rest.is_empty() {
        return None;
    }
    let mut headers = [EMPTY_HEADER; 64];
    let mut response = Response::new(&mut headers);
    let head = match response.parse(rest).expect("the response is valid HTTP") {
        Status::Complete(head) => head,
        Status::Partial => return None,
    };
    let status = response.code.expect("a complete head has a status");
    let field = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    // Responses of hyper itself (an invalid head, `100 Continue`) have no version.
    let is_ours = field(VERSION_HEADER).is_some();
    assert!(is_ours || status == 100 || (400..=431).contains(&status), "{status} without a version");
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let problem = field("content-type") == Some("application/problem+json");
    if field("transfer-encoding").is_some() {
        *rest = &[];
        return Some((status, None));
    }
    let body = rest.get(head..head + length)?;
    *rest = &rest[head + length..];
    Some((status, problem.then_some(body)))
}

/// Deletes the directory of the daemon, which does not respond afterwards. libFuzzer exits without
/// calling this.
pub fn delete_directory() {
    daemon::delete_directory(daemon_socket());
}

/// The socket of the daemon, which the first call starts.
fn daemon_socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| daemon::start("127.0.0.1:1".to_owned()))
}
