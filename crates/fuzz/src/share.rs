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

/// Checks the bytes as a request through both doors.
pub fn check(data: &[u8]) {
    let doors = doors();
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
            check_allowed(&request, is_loopback, doors);
        }
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

/// A request that was let through contains the credentials of the door, and no header of a page.
fn check_allowed(request: &[u8], is_loopback: bool, doors: &Doors) {
    let text = String::from_utf8_lossy(request);
    let lower = text.to_ascii_lowercase();
    if is_loopback {
        assert!(text.contains(&doors.key), "let through without the key");
        let port = doors.host.rsplit_once(':').expect("an address has a port").1;
        let names = [doors.host.clone(), format!("localhost:{port}")];
        assert!(names.iter().any(|name| text.contains(name)), "let through without the host");
    } else {
        assert!(text.contains("authd") || text.contains("localhost"), "let through without the host");
    }
    // Of several requests one may be of a page.
    if lower.matches(" http/1.").count() == 1 {
        let head = lower.split_inclusive('\n').take_while(|line| !line.trim_end().is_empty());
        let page = head.skip(1).find(|line| OF_PAGES.iter().any(|name| line.starts_with(name)));
        assert_eq!(page, None, "let through for a web page");
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
