//! The blocking client, without a runtime. It is for programs that are not asynchronous, and for
//! programs that send one request and exit: starting a runtime would take most of their time.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    Client, ClientError, ErrorCode, Headers, Problem, ProfileName, Response,
    client::{MAX_RESPONSE, headers_path},
    route,
};

/// The longest timeout; a longer one counts as this.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(366 * 86_400);

/// The highest number of response headers.
const MAX_FIELDS: usize = 64;

impl Client {
    /// Like [`headers`](Self::headers), but blocking. Returns a [`Problem`] with
    /// [`ErrorCode::Timeout`] if the daemon does not respond within `timeout`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use authd_api::{Client, Paths};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let client = Client::new(Paths::from_env()?.socket);
    ///     let headers = client.headers_blocking(None, Some(300), Duration::from_secs(30))?;
    ///     println!("{}: {} headers", headers.responses_url, headers.headers.len());
    ///     Ok(())
    /// }
    /// ```
    pub fn headers_blocking(
        &self,
        name: Option<&ProfileName>,
        min_ttl: Option<u64>,
        timeout: Duration,
    ) -> Result<Headers, ClientError> {
        let timeout = timeout.min(LONGEST_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let mut stream =
            connect(self.socket(), timeout).map_err(|source| ClientError::connect(self.socket(), source))?;
        self.check_peer(&stream)?;
        let result = exchange(&mut stream, &headers_path(name, min_ttl), deadline);
        let text = result.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                let detail =
                    format!("authd did not answer within {timeout:?}; a refresh in progress goes on");
                let problem = Problem::new(ErrorCode::Timeout, detail);
                ClientError::Problem(Box::new(problem.hint("try again in a moment, or wait longer")))
            }
            _ => self.broken(error),
        })?;
        let response = parse(&text).map_err(|detail| self.broken(detail))?;
        self.check_version_header(&response.headers)?;
        self.parse(&response.or_problem()?)
    }
}

/// Connects within the time. A listener that accepts no connection and whose queue is full would
/// block for ever.
#[cfg(target_os = "linux")]
fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    };

    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Zero would mean no limit.
    set_socket_timeout(&socket, Timeout::Send, Some(timeout.max(Duration::from_micros(1))))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Connects. The system refuses a connection if the queue of the listener is full.
#[cfg(not(target_os = "linux"))]
fn connect(path: &Path, _timeout: Duration) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// Sends a request and reads until the daemon closes the connection.
fn exchange(stream: &mut UnixStream, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    write!(stream, "{} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", Method::GET, route::HOST)?;
    let (mut text, mut length) = (vec![0; 8 << 10], 0);
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(remaining))?;
        match stream.read(&mut text[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length > MAX_RESPONSE {
            return Err(io::Error::other("the response is too long"));
        }
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    Ok(text)
}

/// Parses a complete response.
fn parse(text: &[u8]) -> Result<Response, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(text) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err("the response is incomplete".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("no status")?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in &*head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| error.to_string())?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|error| error.to_string())?);
    }
    let body = &text[length..];
    let content_length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if content_length != Some(body.len()) {
        return Err("the response is incomplete".to_owned());
    }
    Ok(Response { status, headers, body: body.to_vec().into() })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    const BODY: &str = "{\"profile\":\"work\",\"mode\":\"api-key\",\"base_url\":\"https://b\",\
        \"responses_url\":\"https://b/responses\",\"headers\":[[\"Authorization\",\"Bearer sk-1\"]],\
        \"generation\":7,\"expires_at\":null}";

    #[test]
    fn longest_timeout_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(directory.path().join("s"));
        let result = client.headers_blocking(None, None, Duration::MAX);
        assert!(matches!(result, Err(ClientError::NoDaemon { .. })), "{result:?}");
    }

    /// Sends a request to a daemon with this response. Returns the client's result and the request.
    fn exchange_with(response: &str) -> (Result<Headers, ClientError>, String) {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(directory.path().join("s"));
        let listener = UnixListener::bind(client.socket()).unwrap();
        let response = response.to_owned();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(response.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let name = "work".parse().unwrap();
        let headers = client.headers_blocking(Some(&name), Some(300), Duration::from_secs(60));
        (headers, daemon.join().unwrap())
    }

    fn response(status: &str, head: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{head}\r\n{body}", body.len())
    }

    #[test]
    fn responses_are_parsed_like_those_of_the_asynchronous_client() {
        let (headers, request) = exchange_with(&response("200 OK", "Authd-Version: 1\r\n", BODY));
        assert_eq!(headers.unwrap().token(), Some("sk-1"));
        assert!(request.starts_with("GET /v1/profiles/work/headers?min_ttl=300 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: authd\r\n"), "{request}");
        // A body that needs several reads.
        let long = BODY.replace("sk-1", &"k".repeat(100_000));
        let (headers, _) = exchange_with(&response("200 OK", "Authd-Version: 1\r\n", &long));
        assert_eq!(headers.unwrap().token().unwrap().len(), 100_000);
        let problem = serde_json::to_string(&Problem::new(ErrorCode::LoginRequired, "x")).unwrap();
        let (rejected, _) = exchange_with(&response("409 Conflict", "Authd-Version: 1\r\n", &problem));
        assert_eq!(rejected.unwrap_err().exit_code(), ErrorCode::LoginRequired.exit_code());
    }

    #[test]
    fn incomplete_or_foreign_responses_are_rejected() {
        let complete = response("200 OK", "Authd-Version: 1\r\n", BODY);
        for text in [
            response("200 OK", "", BODY),
            complete[..complete.len() - 1].to_owned(),
            complete[..20].to_owned(),
            response("200 OK", "Authd-Version: 1\r\n", "{}"),
            "nonsense\r\n\r\n".to_owned(),
            String::new(),
        ] {
            assert!(matches!(exchange_with(&text).0, Err(ClientError::Broken { .. })), "{text}");
        }
    }

    #[test]
    fn silent_daemon_times_out_and_absent_daemon_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(directory.path().join("s"));
        let request = || client.headers_blocking(None, None, Duration::from_millis(50));
        assert!(matches!(request(), Err(ClientError::NoDaemon { .. })));
        let _silent = UnixListener::bind(client.socket()).unwrap();
        assert!(
            matches!(request(), Err(ClientError::Problem(problem)) if problem.code == ErrorCode::Timeout)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn full_queue_of_a_listener_times_out() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(directory.path().join("s"));
        let listener = UnixListener::bind(client.socket()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _queued = UnixStream::connect(client.socket()).unwrap();
        let response = client.headers_blocking(None, None, Duration::from_millis(50));
        assert!(matches!(response, Err(ClientError::Timeout { .. })), "{response:?}");
    }
}
