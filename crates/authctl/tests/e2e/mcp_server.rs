//! A stand-in for an MCP server that is its own authorization server, on loopback. It registers
//! clients, accepts every code, and can refuse to revoke.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;

/// A server that answers until the test ends.
pub(crate) struct McpServer {
    origin: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The method and the path of each request.
    requests: Mutex<Vec<String>>,
    refuses_revocation: AtomicBool,
}

impl McpServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { origin: origin.clone(), state: Arc::default() };
        let state = server.state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &origin, &state);
            }
        });
        server
    }

    /// The issuer.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of the MCP server.
    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// The number of requests with this method and path.
    pub(crate) fn count(&self, request: &str) -> usize {
        self.state.requests.lock().unwrap().iter().filter(|found| *found == request).count()
    }

    pub(crate) fn refuse_revocation(&self, refuses: bool) {
        self.state.refuses_revocation.store(refuses, Ordering::SeqCst);
    }
}

/// Returns to the daemon as a browser does after the user has agreed.
pub(crate) fn agree(authorize_url: &str) {
    redirect(authorize_url, "code=a-code");
}

/// Returns to the daemon as a browser does after the user has refused.
pub(crate) fn deny(authorize_url: &str) {
    redirect(authorize_url, "error=access_denied");
}

fn redirect(authorize_url: &str, result: &str) {
    let query = authorize_url.split_once('?').unwrap().1;
    let value = |name: &str| {
        let pair = query.split('&').find(|pair| pair.starts_with(&format!("{name}="))).unwrap();
        pair.split_once('=').unwrap().1.to_owned()
    };
    let redirect_uri = value("redirect_uri").replace("%3A", ":").replace("%2F", "/");
    let (host, path) = redirect_uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let target = format!("/{path}?{result}&state={}", value("state"));
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

fn answer(mut stream: TcpStream, origin: &str, state: &State) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
    let request = head.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
    let (status, body) = match request.as_str() {
        "GET /.well-known/oauth-protected-resource/mcp" => {
            ("200 OK", json!({"resource": format!("{origin}/mcp"), "authorization_servers": [origin]}))
        }
        "GET /.well-known/oauth-authorization-server" => (
            "200 OK",
            json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "registration_endpoint": format!("{origin}/register"),
                "revocation_endpoint": format!("{origin}/revoke"),
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "response_types_supported": ["code"],
            }),
        ),
        "POST /register" => ("201 Created", json!({"client_id": "a-client"})),
        "POST /token" => (
            "200 OK",
            json!({"access_token": "an-access-token", "refresh_token": "a-refresh-token",
                "token_type": "Bearer", "expires_in": 3600}),
        ),
        "POST /revoke" if state.refuses_revocation.load(Ordering::SeqCst) => {
            ("503 Service Unavailable", json!({}))
        }
        "POST /revoke" => ("200 OK", json!({})),
        "GET /mcp" | "POST /mcp" => ("401 Unauthorized", json!({})),
        _ => ("404 Not Found", json!({})),
    };
    state.requests.lock().unwrap().push(request);
    let body = body.to_string();
    let challenge = if status.starts_with("401") { "WWW-Authenticate: Bearer\r\n" } else { "" };
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n{challenge}");
    // The client may have ended already.
    drop(write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()));
}
