//! Bytes on the socket of a whole daemon: the real one, in this process, with a profile of its own key and
//! a provider that cannot be reached.

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

/// The key of the profile. It leaves in headers, and nowhere else.
const SECRET: &str = "sk-this-is-the-fuzzed-secret";

/// How long nothing may come before the client says that it has said all. Too short only means that some
/// answer is not waited for.
const QUIET: Duration = Duration::from_millis(20);

/// How long the daemon may take to hang up on a client that has said all: a bound against hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// The codes with a status above 499 that an honest daemon has to say here.
const HONEST: [ErrorCode; 5] = [
    ErrorCode::ProviderUnreachable,
    ErrorCode::StoreUnavailable,
    ErrorCode::StoreLocked,
    ErrorCode::CallbackUnavailable,
    ErrorCode::Timeout,
];

/// Whether any thread has panicked, the daemon's among them.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// The bytes as everything that a client says.
pub fn check(data: &[u8]) {
    let socket = daemon_socket();
    let answer = exchange(socket, data);
    assert!(!PANICKED.load(Ordering::SeqCst), "a thread of the daemon panicked");
    let shown = find(&answer, SECRET.as_bytes()).is_some();
    assert!(!shown || find(data, b"headers").is_some(), "the key left, and nobody asked for headers");
    let mut rest = answer.as_slice();
    let has_body = find(data, b"HEAD").is_none();
    while let Some((status, body)) = first(&mut rest) {
        honest(status, body);
        if !has_body {
            return;
        }
    }
}

/// An answer above 499 has a good reason, and its problem says the same as its status.
fn honest(status: u16, body: Option<&[u8]>) {
    let problem = body.and_then(|body| serde_json::from_slice::<Problem>(body).ok());
    assert!(status < 500 || problem.is_some(), "{status} without a reason");
    if let Some(problem) = problem {
        assert_eq!(problem.code.status().as_u16(), status, "{problem:?}");
        assert!(status < 500 || HONEST.contains(&problem.code), "{problem:?}");
        assert!(!problem.detail.is_empty());
    }
}

/// The next answer's status, and its body if it is a problem; nothing if what is left is no whole answer.
fn first<'a>(rest: &mut &'a [u8]) -> Option<(u16, Option<&'a [u8]>)> {
    if rest.is_empty() {
        return None;
    }
    let mut headers = [EMPTY_HEADER; 64];
    let mut response = Response::new(&mut headers);
    let head = match response.parse(rest).expect("the daemon speaks HTTP") {
        Status::Complete(head) => head,
        Status::Partial => return None,
    };
    let status = response.code.expect("a complete head has a status");
    let field = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    // What hyper answers by itself (a head that is none, `100 Continue`) bears no version.
    let ours = field(VERSION_HEADER).is_some();
    assert!(ours || status == 100 || (400..=431).contains(&status), "{status} from nobody");
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

/// Says all this, and hears everything that is answered.
fn exchange(socket: &PathBuf, data: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    // Who hangs up on nonsense does not hear it to its end.
    let _ = stream.write_all(data);
    stream.set_read_timeout(Some(QUIET)).expect("a socket");
    let (mut answer, mut piece, mut said_all) = (Vec::new(), [0; 4096], false);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if goes_on(&answer) {
                    return answer;
                }
                assert!(!said_all, "the daemon neither answers nor hangs up");
                said_all = true;
                let _ = stream.shutdown(Shutdown::Write);
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            }
            // It hung up with something unread.
            Err(_) => return answer,
        }
    }
}

/// Whether the answer is the stream of events, which goes on for as long as somebody may be reading it. hyper takes
/// a client that has said all for one that is gone, but sees that only when nothing lies unread before it.
fn goes_on(answer: &[u8]) -> bool {
    const STREAM: &[u8] = b"text/event-stream";
    answer.windows(STREAM.len()).any(|piece| piece == STREAM)
}

/// Removes what the daemon would leave, a few hundred bytes; it answers nobody from now on. libFuzzer ends
/// its process without a word, and leaves them.
pub fn clear_up() {
    let dir = daemon_socket().parent().expect("a socket is in a directory");
    fs::remove_dir_all(dir).expect("the directory is ours");
}

/// The daemon, started at the first use, as long as this process lives.
fn daemon_socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("authd-fuzz-").tempdir();
        let dir = dir.expect("a temporary directory").keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let paths = Paths {
            socket: dir.join("authd.sock"),
            config: dir.join("authd.toml"),
            state_dir: dir.join("state"),
        };
        let socket = paths.socket.clone();
        std::thread::spawn(|| live(paths));
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

fn live(paths: Paths) {
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
    // The log takes panics to itself; under libFuzzer a panic must end the process as before.
    let ended = panic::take_hook();
    let telemetry = Telemetry::start(&config.log);
    panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::SeqCst);
        ended(info);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        // A Rust program does not end when it writes to somebody who has hung up. Under libFuzzer this is
        // none, and a handler of any kind has the same effect.
        let _handled = signal(SignalKind::pipe()).expect("a handler");
        // A reload is asked for by a signal only, which nobody sends.
        let source = Source { path: paths.config.clone(), named: false };
        App::new(paths, source, config, telemetry).run(InheritedSockets::take(), |_| ()).await
    });
    assert!(ended.is_ok_and(|exit| exit == authd::Exit::Requested), "the daemon ended by itself");
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
