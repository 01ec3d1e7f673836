//! Ready headers without a runtime: one exchange on the system's own socket. It is for programs that are not
//! asynchronous, and for those that start, ask once and end, of whose time a runtime would be the most.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    Answer, Client, ClientError, ErrorCode, Headers, Problem, ProfileName,
    client::{MAX_ANSWER, headers_path, peer},
    route,
};

/// The most fields that an answer's head may have.
const MAX_FIELDS: usize = 64;

impl Client {
    /// As [`headers`](Self::headers), for whoever has no runtime; after `patience` a daemon that does not
    /// answer is a problem of its own.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use authd_api::{Client, Paths};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let client = Client::new(Paths::from_env()?.socket);
    ///     let ready = client.headers_blocking(None, Some(300), Duration::from_secs(30))?;
    ///     println!("{}: {} headers", ready.responses_url, ready.headers.len());
    ///     Ok(())
    /// }
    /// ```
    pub fn headers_blocking(
        &self,
        name: Option<&ProfileName>,
        min_ttl: Option<u64>,
        patience: Duration,
    ) -> Result<Headers, ClientError> {
        let mut stream = UnixStream::connect(self.socket())
            .map_err(|source| ClientError::NoDaemon { socket: self.socket().to_path_buf(), source })?;
        peer::check(&stream, self.socket())?;
        let text = exchange(&mut stream, &headers_path(name, min_ttl), Instant::now() + patience);
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ClientError::Problem(Box::new(
                Problem::new(ErrorCode::Timeout, "authd does not answer").hint("is it stuck? see its log"),
            )),
            _ => self.broken(&error),
        })?;
        let answer = parse(&text).map_err(|detail| self.broken(&detail))?;
        self.of_authd(&answer.headers)?;
        self.parsed(&answer.or_problem()?)
    }
}

/// Asks, and returns all that comes back until the daemon closes the connection.
fn exchange(stream: &mut UnixStream, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    write!(stream, "{} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", Method::GET, route::HOST)?;
    let (mut text, mut length) = (vec![0; 8 << 10], 0);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut text[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length > MAX_ANSWER {
            return Err(io::Error::other("the answer is longer than any of authd's"));
        }
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    Ok(text)
}

/// The answer that a text is: whole, or none.
fn parse(text: &[u8]) -> Result<Answer, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(text) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err("the answer ends too early".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("no status")?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in &*head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| error.to_string())?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|error| error.to_string())?);
    }
    let body = &text[length..];
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced != Some(body.len()) {
        return Err("the answer is not whole".to_owned());
    }
    Ok(Answer { status, headers, body: body.to_vec().into() })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    const FINE: &str = "{\"profile\":\"work\",\"mode\":\"api-key\",\"base_url\":\"https://b\",\
        \"responses_url\":\"https://b/responses\",\"headers\":[[\"Authorization\",\"Bearer sk-1\"]],\
        \"generation\":7,\"expires_at\":null}";

    /// What the client makes of this answer to its question, which comes second.
    fn asked(answer: &str) -> (Result<Headers, ClientError>, String) {
        let place = tempfile::tempdir().unwrap();
        let client = Client::new(place.path().join("s"));
        let listener = UnixListener::bind(client.socket()).unwrap();
        let answer = answer.to_owned();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = Vec::new();
            while !question.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                question.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(question).unwrap()
        });
        let name = "work".parse().unwrap();
        let headers = client.headers_blocking(Some(&name), Some(300), Duration::from_secs(60));
        (headers, daemon.join().unwrap())
    }

    fn answer(status: &str, head: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{head}\r\n{body}", body.len())
    }

    #[test]
    fn an_answer_is_understood_as_the_other_client_does() {
        let (headers, question) = asked(&answer("200 OK", "Authd-Version: 1\r\n", FINE));
        assert_eq!(headers.unwrap().token(), Some("sk-1"));
        assert!(question.starts_with("GET /v1/profiles/work/headers?min_ttl=300 HTTP/1.1\r\n"), "{question}");
        assert!(question.contains("\r\nhost: authd\r\n"), "{question}");
        // More than one reading takes.
        let long = FINE.replace("sk-1", &"k".repeat(100_000));
        let (headers, _) = asked(&answer("200 OK", "Authd-Version: 1\r\n", &long));
        assert_eq!(headers.unwrap().token().unwrap().len(), 100_000);
        let problem = serde_json::to_string(&Problem::new(ErrorCode::LoginRequired, "x")).unwrap();
        let (refused, _) = asked(&answer("409 Conflict", "Authd-Version: 1\r\n", &problem));
        assert_eq!(refused.unwrap_err().exit_code(), ErrorCode::LoginRequired.exit_code());
    }

    #[test]
    fn what_is_no_whole_answer_of_authds_is_none() {
        let cut = answer("200 OK", "Authd-Version: 1\r\n", FINE);
        for text in [
            answer("200 OK", "", FINE),
            cut[..cut.len() - 1].to_owned(),
            cut[..20].to_owned(),
            answer("200 OK", "Authd-Version: 1\r\n", "{}"),
            "nonsense\r\n\r\n".to_owned(),
            String::new(),
        ] {
            assert!(matches!(asked(&text).0, Err(ClientError::Broken { .. })), "{text}");
        }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_and_who_is_not_there_is_told() {
        let place = tempfile::tempdir().unwrap();
        let client = Client::new(place.path().join("s"));
        let ask = || client.headers_blocking(None, None, Duration::from_millis(50));
        assert!(matches!(ask(), Err(ClientError::NoDaemon { .. })));
        let _silent = UnixListener::bind(client.socket()).unwrap();
        assert!(matches!(ask(), Err(ClientError::Problem(problem)) if problem.code == ErrorCode::Timeout));
    }
}
