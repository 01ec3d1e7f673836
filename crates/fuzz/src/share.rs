//! A request through both doors of a share that allows one path of the relay. The input is the text
//! of a request, with `{key}` and `{host}` in the places of the share's key and of the door's host.
//! The upstream runs in this process, and its record shows what the daemon has let through.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Mutex, OnceLock, PoisonError},
};

use serde_json::Value;

use crate::daemon::{self, SECRET, exchange, find};

/// The path that the share allows, and the prefix of the upstream's base URL.
const ALLOWED: &str = "models";
const BASE: &str = "/v1/";

/// The headers of web pages.
const OF_PAGES: [&str; 3] = ["origin:", "referer:", "sec-fetch-site:"];

/// The heads of the requests that the upstream has received, in lower case except for the first
/// line.
static RECEIVED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The share's own socket, and the loopback door.
struct Doors {
    daemon: PathBuf,
    upstream: String,
    socket: String,
    host: String,
    key: String,
}

/// A request, and whether it came through the loopback door.
type Sent = (Vec<u8>, bool);

/// Checks the bytes as a request through both doors.
pub fn check(data: &[u8]) {
    // The previous request: if its client gave up, its record may come late.
    static PREVIOUS: Mutex<Sent> = Mutex::new((Vec::new(), false));
    let doors = doors();
    let mut previous = PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
    for is_loopback in [false, true] {
        let host = if is_loopback { &doors.host } else { "authd" };
        let request = replace(&replace(data, "{key}", &doors.key), "{host}", host);
        let received = if is_loopback {
            exchange(TcpStream::connect(host).expect("the daemon listens"), &request)
        } else {
            exchange(UnixStream::connect(&doors.socket).expect("the daemon listens"), &request)
        };
        assert!(find(&received, SECRET.as_bytes()).is_none(), "the credential was sent");
        let relayed = std::mem::take(&mut *RECEIVED.lock().unwrap_or_else(PoisonError::into_inner));
        let successes = received.windows(10).filter(|window| *window == b"HTTP/1.1 2").count();
        assert!(successes <= relayed.len(), "{successes} successes, {} requests", relayed.len());
        for head in &relayed {
            check_relayed(head, doors);
            let sent = (request.clone(), is_loopback);
            let reason = refusal(&sent, doors).and_then(|reason| refusal(&previous, doors).and(Some(reason)));
            assert_eq!(reason, None, "let through: {head}");
        }
        *previous = (request, is_loopback);
    }
}

/// What the upstream gets is below the allowed path, and has the credential of the profile.
fn check_relayed(head: &str, doors: &Doors) {
    let target = head.split(' ').nth(1).expect("a request line has a target");
    let path = target.split('?').next().unwrap_or_default();
    let below = path.strip_prefix(BASE).and_then(|path| path.strip_prefix(ALLOWED));
    let below = below.unwrap_or_else(|| panic!("outside of the allowed path: {target}"));
    assert!(below.is_empty() || below.starts_with('/'), "outside of the allowed path: {target}");
    for segment in path[1..].split('/') {
        assert!(!matches!(segment, "" | "." | ".."), "ambiguous: {target}");
        let is_plain = |c: char| c.is_ascii_graphic() && !r#"%\;<>"{}|^`#"#.contains(c);
        assert!(segment.chars().all(is_plain), "ambiguous: {target}");
    }
    let field = |name: &str, value: &str| {
        let lines: Vec<_> = head.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(lines, [format!("{name} {value}").trim_end()]);
    };
    field("authorization:", &format!("bearer {SECRET}"));
    field("host:", &doors.upstream);
}

/// Why a request must not be let through: it lacks a credential of the door, or comes from a page.
fn refusal((request, is_loopback): &Sent, doors: &Doors) -> Option<&'static str> {
    let text = String::from_utf8_lossy(request);
    let lower = text.to_ascii_lowercase();
    let port = doors.host.rsplit_once(':').expect("an address has a port").1;
    let (key, hosts) = if *is_loopback {
        (doors.key.as_str(), [doors.host.clone(), format!("localhost:{port}")])
    } else {
        ("", ["authd".to_owned(), "localhost".to_owned()])
    };
    let mut head = lower.split_inclusive('\n').take_while(|line| !line.trim_end().is_empty()).skip(1);
    let is_of_page = |line: &str| OF_PAGES.iter().any(|name| line.starts_with(name));
    if !text.contains(key) {
        Some("without the key")
    } else if !hosts.iter().any(|host| text.contains(host)) {
        Some("without the host")
    } else if lower.matches(" http/1.").count() == 1 && head.any(is_of_page) {
        // Of several requests one may be of a page.
        Some("for a web page")
    } else {
        None
    }
}

fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (mut rest, mut replaced) = (text, Vec::new());
    while let Some(at) = find(rest, from.as_bytes()) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    [&replaced, rest].concat()
}

/// Deletes the directory of the daemon, which does not respond afterwards. libFuzzer exits without
/// calling this.
pub fn delete_directory() {
    daemon::delete_directory(&doors().daemon);
}

/// The doors of the daemon, which the first call starts.
fn doors() -> &'static Doors {
    static DOORS: OnceLock<Doors> = OnceLock::new();
    DOORS.get_or_init(|| {
        let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = upstream.local_addr().expect("a bound socket").to_string();
        std::thread::spawn(move || upstream.incoming().flatten().for_each(|stream| respond(&stream)));
        let daemon = daemon::start(address.clone());
        let share = |door: &str| -> Value {
            let body = format!("{{\"door\":\"{door}\",\"paths\":[\"{ALLOWED}\"],\"ttl\":2592000}}");
            serde_json::from_str(&daemon::send(&daemon, "POST /v1/shares", &body)).expect("a share")
        };
        let (socket, loopback) = (share("socket"), share("loopback"));
        let text = |share: &Value, field: &str| share[field].as_str().expect("a text").to_owned();
        let url = text(&loopback, "url");
        let host = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/v1")).expect("an address");
        Doors {
            daemon,
            upstream: address,
            socket: text(&socket, "socket"),
            host: host.to_owned(),
            key: text(&loopback, "key"),
        }
    })
}

/// Records the head of a request before the response, so that the record is complete when the
/// client has the response.
fn respond(mut stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), Vec::new());
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 2) {
        let text = String::from_utf8_lossy(&line);
        head += &if head.is_empty() { text.into_owned() } else { text.to_ascii_lowercase() };
        line.clear();
    }
    if !head.is_empty() {
        RECEIVED.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    }
    // The daemon may have given up.
    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}
