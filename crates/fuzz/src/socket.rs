//! Bytes on the socket of a daemon, which runs in this process with the memory store, a profile
//! with an API key, and a provider that refuses connections.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    panic,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use authd::{App, Config, InheritedSockets, Source, Telemetry};
use authd_api::{ErrorCode, Paths, Problem, VERSION_HEADER};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::signal::unix::{SignalKind, signal};

/// The API key of the profile. Only responses with headers may contain it.
const SECRET: &str = "sk-this-is-the-fuzzed-secret";

/// Time without data after which the client closes its side of the connection. If it is too short,
/// the client misses some responses.
const IDLE_TIMEOUT: Duration = Duration::from_millis(20);

/// Longest time until the daemon closes the connection after that. It only stops a hanging run.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The error codes with a status above 499 that are correct here.
const EXPECTED_ERRORS: [ErrorCode; 5] = [
    ErrorCode::ProviderUnreachable,
    ErrorCode::StoreUnavailable,
    ErrorCode::StoreLocked,
    ErrorCode::CallbackUnavailable,
    ErrorCode::Timeout,
];

/// Whether a thread of this process has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Checks the bytes as the data that a client sends.
pub fn check(data: &[u8]) {
    let socket = daemon_socket();
    let received = exchange(socket, data);
    assert!(!PANICKED.load(Ordering::SeqCst), "a thread of the daemon panicked");
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

/// Sends the data, and returns everything that is received.
fn exchange(socket: &PathBuf, data: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    // An error means that the daemon closed the connection because of invalid data.
    let _ = stream.write_all(data);
    stream.set_read_timeout(Some(IDLE_TIMEOUT)).expect("a socket");
    let (mut received, mut piece, mut is_closed) = (Vec::new(), [0; 4096], false);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return received,
            Ok(length) => received.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if is_event_stream(&received) {
                    return received;
                }
                assert!(!is_closed, "the daemon neither responds nor closes the connection");
                is_closed = true;
                let _ = stream.shutdown(Shutdown::Write);
                stream.set_read_timeout(Some(CLOSE_TIMEOUT)).expect("a socket");
            }
            // The daemon closed the connection with unread data.
            Err(_) => return received,
        }
    }
}

/// Whether the response is the event stream, which does not end by itself. hyper ends it when the
/// client closes its side, but detects that only if no unread data is left.
fn is_event_stream(received: &[u8]) -> bool {
    const STREAM: &[u8] = b"text/event-stream";
    received.windows(STREAM.len()).any(|piece| piece == STREAM)
}

/// Deletes the directory of the daemon, which does not respond afterwards. libFuzzer exits without
/// calling this.
pub fn delete_directory() {
    let dir = daemon_socket().parent().expect("a socket is in a directory");
    fs::remove_dir_all(dir).expect("the directory can be deleted");
}

/// The socket of the daemon, which the first call starts. It runs until the process ends.
fn daemon_socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("authd-fuzz-").tempdir();
        let dir = dir.expect("a temporary directory").keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("the mode can be set");
        let paths = Paths {
            socket: dir.join("authd.sock"),
            config: dir.join("authd.toml"),
            state_dir: dir.join("state"),
        };
        let socket = paths.socket.clone();
        std::thread::spawn(|| run_daemon(paths));
        while UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        let body = format!("{{\"api_key\":\"{SECRET}\"}}");
        let length = body.len();
        let put = format!(
            "PUT /v1/profiles/own/api-key HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = exchange(&socket, put.as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        socket
    })
}

fn run_daemon(paths: Paths) {
    let config = Config::parse(
        r#"
        [provider]
        issuer = "http://127.0.0.1:1"
        chatgpt_base_url = "http://127.0.0.1:1/backend-api/codex"
        chatgpt_backend_url = "http://127.0.0.1:1/backend-api/"
        api_base_url = "http://127.0.0.1:1/v1"
        [callback]
        ports = [0]
        [store]
        kind = "memory"
        service = "authd-fuzz"
        [log]
        filter = "off"
        "#,
    )
    .expect("a configuration");
    // The telemetry replaces the panic hook. Under libFuzzer a panic must end the process as
    // before.
    let previous_hook = panic::take_hook();
    let telemetry = Telemetry::start(&config.log);
    panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::SeqCst);
        previous_hook(info);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let exit = runtime.block_on(async {
        // Rust programs ignore SIGPIPE. The main function of libFuzzer does not, so a handler is
        // needed.
        let _handled = signal(SignalKind::pipe()).expect("a handler");
        // The path is used for a reload only, which needs a signal.
        let source = Source { path: paths.config.clone(), named: false };
        App::new(paths, source, config, telemetry).run(InheritedSockets::take(), |_| ()).await
    });
    assert!(exit.is_ok_and(|exit| exit == authd::Exit::Requested), "the daemon exited by itself");
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
