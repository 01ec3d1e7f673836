//! A daemon in this process, with the memory store and a profile with an API key, and a client that
//! sends bytes to it.

use std::{
    fs,
    io::{ErrorKind, Read, Result, Write},
    net::{Shutdown, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    panic,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use authd::{App, Config, InheritedSockets, LogConfig, Source, Telemetry};
use authd_api::Paths;
use tokio::signal::unix::{SignalKind, signal};

/// The API key of the profile.
pub(crate) const SECRET: &str = "sk-this-is-the-fuzzed-secret";

/// Time without data after which the client closes its side of the connection. If it is too short,
/// the client misses some responses.
const IDLE_TIMEOUT: Duration = Duration::from_millis(20);

/// Longest time until the daemon closes the connection after that. It only stops a hanging run.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a thread of this process has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// A connection to the daemon.
pub(crate) trait Connection: Read + Write {
    fn set_timeout(&self, timeout: Duration) -> Result<()>;
    fn close_writing(&self) -> Result<()>;
}

impl Connection for UnixStream {
    fn set_timeout(&self, timeout: Duration) -> Result<()> {
        self.set_read_timeout(Some(timeout))
    }

    fn close_writing(&self) -> Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Connection for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> Result<()> {
        self.set_read_timeout(Some(timeout))
    }

    fn close_writing(&self) -> Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Sends the data, and returns everything that is received.
pub(crate) fn exchange(mut stream: impl Connection, data: &[u8]) -> Vec<u8> {
    // An error means that the daemon closed the connection because of invalid data.
    let _ = stream.write_all(data);
    let _ = stream.set_timeout(IDLE_TIMEOUT);
    let (mut received, mut piece, mut is_closed) = (Vec::new(), [0; 4096], false);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if is_event_stream(&received) {
                    break;
                }
                assert!(!is_closed, "the daemon neither responds nor closes the connection");
                is_closed = true;
                let _ = stream.close_writing();
                let _ = stream.set_timeout(CLOSE_TIMEOUT);
            }
            // The daemon closed the connection with unread data.
            Err(_) => break,
        }
    }
    assert!(!PANICKED.load(Ordering::SeqCst), "a thread of the daemon panicked");
    received
}

/// Whether the response is the event stream, which does not end by itself. hyper ends it when the
/// client closes its side, but detects that only if no unread data is left.
fn is_event_stream(received: &[u8]) -> bool {
    const STREAM: &[u8] = b"text/event-stream";
    received.windows(STREAM.len()).any(|piece| piece == STREAM)
}

/// Starts a daemon whose public API is at this address, and returns its socket. The daemon runs
/// until the process ends.
pub(crate) fn start(api: String) -> PathBuf {
    let dir = tempfile::Builder::new().prefix("authd-fuzz-").tempdir();
    let dir = dir.expect("a temporary directory").keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("the mode can be set");
    let paths = Paths {
        socket: dir.join("authd.sock"),
        config: dir.join("authd.toml"),
        state_dir: dir.join("state"),
    };
    let socket = paths.socket.clone();
    std::thread::spawn(move || run(paths, &api));
    while UnixStream::connect(&socket).is_err() {
        std::thread::yield_now();
    }
    let body = format!("{{\"api_key\":\"{SECRET}\",\"check\":false}}");
    send(&socket, "PUT /v1/profiles/own/api-key", &body);
    socket
}

/// Sends a request that must succeed to the daemon's own socket. Returns the body of the response.
pub(crate) fn send(socket: &Path, line: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: authd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.write_all(request.as_bytes()).expect("the daemon reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a complete response");
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a complete response").1.to_owned()
}

/// Deletes the directory of a daemon, which does not respond afterwards.
pub(crate) fn delete_directory(socket: &Path) {
    let dir = socket.parent().expect("a socket is in a directory");
    fs::remove_dir_all(dir).expect("the directory can be deleted");
}

fn run(paths: Paths, api: &str) {
    let config = Config::parse(&format!(
        r#"
        [provider]
        issuer = "http://127.0.0.1:1"
        chatgpt_base_url = "http://127.0.0.1:1/backend-api/codex"
        chatgpt_backend_url = "http://127.0.0.1:1/backend-api/"
        api_base_url = "http://{api}/v1"
        [callback]
        ports = [0]
        [store]
        kind = "memory"
        service = "authd-fuzz"
        [log]
        filter = "off"
        "#,
    ))
    .expect("a configuration");
    let telemetry = telemetry(&config.log);
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

/// The telemetry of the process. It replaces the panic hook; under libFuzzer a panic must end the
/// process as before.
fn telemetry(config: &LogConfig) -> Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    let start = || {
        let previous_hook = panic::take_hook();
        let telemetry = Telemetry::start(config);
        panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, Ordering::SeqCst);
            previous_hook(info);
        }));
        telemetry
    };
    TELEMETRY.get_or_init(start).clone()
}

/// The position of a part in a text.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
