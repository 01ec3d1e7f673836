//! The callback server over real sockets: accepted and refused requests, and the choice of the
//! port.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use authd_broker::LinkTarget;

use super::*;
use crate::callback::port_yield::YIELD_CHECK;
use crate::callback::{CallbackOutcome, SignedInUser};

/// A handler that knows one state and one link, and counts its calls.
#[derive(Clone, Default)]
struct CountingHandler {
    handled: Arc<AtomicUsize>,
    pending: Arc<AtomicUsize>,
    followed: Arc<AtomicUsize>,
}

impl CallbackHandler for CountingHandler {
    fn is_redirect_path(&self, path: &str) -> bool {
        path == authd_oauth::REDIRECT_PATH
    }

    async fn handle(&self, _: &str, query: &str) -> CallbackOutcome {
        self.handled.fetch_add(1, Ordering::SeqCst);
        if query.contains("state=known") {
            let user = SignedInUser {
                email: Some("<b>a@b.c</b>".to_owned()),
                plan: Some("Plus".to_owned()),
                workspace: None,
                provider: None,
                mode: Some("ChatGPT".to_owned()),
                mode_reason: "plan plus is personal".to_owned(),
                profile: "default".to_owned(),
            };
            return CallbackOutcome::SignedIn(user);
        }
        CallbackOutcome::UnknownState
    }

    fn follow_link(&self, token: &str) -> LinkTarget {
        if token != "known" {
            return LinkTarget::Unknown;
        }
        match self.followed.fetch_add(1, Ordering::SeqCst) {
            0 => LinkTarget::AuthorizeUrl("https://provider.example/authorize?state=s".to_owned()),
            _ => LinkTarget::Used,
        }
    }

    fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }
}

struct TestServer {
    handler: CountingHandler,
    state: watch::Receiver<CallbackServerState>,
    stop: CancellationToken,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn loopback() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

async fn start(ports: Vec<u16>, yield_for: Duration) -> TestServer {
    start_with(Vec::new(), ports, yield_for).await
}

async fn start_with(
    inherited: Vec<std::net::TcpListener>,
    ports: Vec<u16>,
    yield_for: Duration,
) -> TestServer {
    let mut server = CallbackServer::new(loopback(), ports, yield_for);
    server.head_deadline = Duration::from_millis(300);
    run(server, inherited).await
}

async fn run(server: CallbackServer, inherited: Vec<std::net::TcpListener>) -> TestServer {
    let (sender, state) = watch::channel(CallbackServerState::default());
    let (handler, stop) = (CountingHandler::default(), CancellationToken::new());
    tokio::spawn(server.run(handler.clone(), sender, inherited, stop.clone()));
    wait_until_tried(state.clone()).await;
    TestServer { handler, state, stop }
}

impl TestServer {
    fn port(&self) -> u16 {
        self.state.borrow().port().unwrap()
    }

    async fn get(&self, target: &str) -> String {
        exchange(self.port(), &format!("GET {target} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.port()))
            .await
    }

    fn handled(&self) -> usize {
        self.handler.handled.load(Ordering::SeqCst)
    }
}

/// Sends a request, and reads until the server closes the connection.
async fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The server may close the connection before it has read everything.
    drop(stream.write_all(request.as_bytes()).await);
    let mut response = Vec::new();
    drop(
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut response))
            .await
            .expect("an end"),
    );
    String::from_utf8_lossy(&response).into_owned()
}

#[tokio::test]
async fn the_page_of_a_redirect_reflects_no_input() {
    let server = start(vec![0], Duration::ZERO).await;
    let response = server.get("/auth/callback?code=c0de&state=known&x=%3Cscript%3E").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.contains("&lt;b&gt;a@b.c&lt;/b&gt;") && !response.contains("<b>"), "{response}");
    assert!(!response.contains("c0de") && !response.contains("script"), "{response}");
    let head = response.to_ascii_lowercase();
    for header in
        ["default-src 'none'; style-src 'sha256-", "no-store", "nosniff", "no-referrer", "connection: close"]
    {
        assert!(head.contains(header), "{header}: {response}");
    }
    assert!(!head.contains("set-cookie"));
    let unknown = server.get("/auth/callback?state=other").await;
    assert!(unknown.starts_with("HTTP/1.1 400"), "{unknown}");
}

#[tokio::test]
async fn requests_other_than_a_browser_redirect_have_no_effect() {
    let server = start(vec![0], Duration::ZERO).await;
    let port = server.port();
    let path = "/auth/callback?code=c&state=known";
    for (request, status) in [
        (format!("GET {path} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), "421"),
        (format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), "421"),
        (format!("GET http://evil.example:{port}{path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "421"),
        (format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nHost: localhost:{port}\r\n\r\n"), "421"),
        (
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n\r\n"
            ),
            "403",
        ),
        (format!("POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\n\r\n"), "405"),
        (format!("HEAD {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "204"),
        (format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Purpose: prefetch\r\n\r\n"), "204"),
        (format!("GET /other HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "404"),
        (format!("GET {path}&x={} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", "x".repeat(9000)), "414"),
        ("\u{1}\u{2}garbage\r\n\r\n".to_owned(), "400"),
    ] {
        let response = exchange(port, &request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {request:.60} has the response {response:.200}"
        );
    }
    let endless = format!("GET {path}&x={} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", "x".repeat(64 << 10));
    let response = exchange(port, &endless).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{response:.100}");
    assert_eq!(server.handled(), 0);
}

#[tokio::test]
async fn an_incomplete_request_ends_at_its_deadline() {
    let server = start(vec![0], Duration::ZERO).await;
    let response = exchange(server.port(), "GET /auth/callback?state=known HTTP/1.1\r\nHost: local").await;
    assert!(!response.contains("200"), "{response}");
    assert_eq!(server.handled(), 0);
}

#[tokio::test]
async fn a_link_redirects_to_the_provider_once_and_only_for_a_browser() {
    let server = start(vec![0], Duration::ZERO).await;
    let port = server.port();
    for (request, status) in [
        (format!("HEAD /go/known HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "204"),
        (format!("GET /go/known HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Purpose: prefetch\r\n\r\n"), "204"),
        (format!("GET /go/known HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), "421"),
        (
            format!(
                "GET /go/known HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://evil.example\r\n\r\n"
            ),
            "403",
        ),
        (format!("POST /go/known HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\n\r\n"), "405"),
        (format!("GET /go/other HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "400"),
    ] {
        let response = exchange(port, &request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {request} has the response {response}"
        );
    }
    let response = server.get("/go/known").await;
    assert!(response.starts_with("HTTP/1.1 303"), "{response}");
    for field in [
        "location: https://provider.example/authorize?state=s",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
    ] {
        assert!(response.contains(field), "{field}: {response}");
    }
    let repeated = server.get("/go/known").await;
    assert!(
        repeated.starts_with("HTTP/1.1 400")
            && repeated.contains("was used")
            && repeated.contains("authctl login")
    );
    assert!(!repeated.contains("provider.example"), "{repeated}");
}

/// Sends an incomplete request, and connects again whenever the server closes the connection.
async fn occupy(port: u16, beginning: &'static str) {
    loop {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        drop(stream.write_all(beginning.as_bytes()).await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
}

#[tokio::test]
async fn a_browser_is_served_while_idle_clients_occupy_all_connections() {
    let server = CallbackServer::new(loopback(), vec![0], Duration::ZERO);
    let limit = server.max_connections;
    let server = run(server, Vec::new()).await;
    let mut idle_clients = tokio::task::JoinSet::new();
    for beginning in ["", "GET /auth/callback?state=known HTTP/1.1\r\nHost: local"] {
        for _ in 0..limit {
            idle_clients.spawn(occupy(server.port(), beginning));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..20 {
            let response = server.get("/auth/callback?state=known").await;
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        }
    }
}

#[tokio::test]
async fn both_loopback_addresses_accept_connections() {
    let server = start(vec![0], Duration::ZERO).await;
    let addresses = server.state.borrow().addresses.clone();
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_ok(), "{address}");
    }
}

#[tokio::test]
async fn the_port_is_yielded_on_request_and_bound_again_later() {
    let server = start(vec![0], Duration::from_secs(30)).await;
    let port = server.port();
    server.handler.pending.store(1, Ordering::SeqCst);
    assert!(server.get("/cancel").await.starts_with("HTTP/1.1 409"));
    server.handler.pending.store(0, Ordering::SeqCst);
    let mut state = server.state.clone();
    let host = format!("GET /cancel HTTP/1.1\r\nHost: localhost:{port}\r\n");
    for page_header in ["Sec-Fetch-Site: cross-site", "Referer: http://evil.example/"] {
        let response = exchange(port, &format!("{host}{page_header}\r\n\r\n")).await;
        assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    }
    assert!(server.get("/cancel").await.contains("Login cancelled"));
    state.wait_for(|state| state.state == CallbackState::Yielded).await.unwrap();
    let other = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    // The server checks whether the port is in use.
    other.accept().await.unwrap();
    drop(other);
    // The configured port is 0, so the server may get another port now.
    state.wait_for(|state| state.state == CallbackState::Listening).await.unwrap();
}

/// Two ports that were just free.
fn free_ports() -> (u16, u16) {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (bind(), bind());
    (first.local_addr().unwrap().port(), second.local_addr().unwrap().port())
}

#[tokio::test]
async fn the_second_port_is_used_while_the_first_is_yielded() {
    let (first, second) = free_ports();
    let server = start(vec![first, second], Duration::from_secs(30)).await;
    let mut state = server.state.clone();
    assert_eq!(server.port(), first);
    assert!(server.get("/cancel").await.contains("Login cancelled"));
    state.wait_for(|state| state.port() == Some(second)).await.unwrap();
    assert_eq!(state.borrow().state, CallbackState::Listening);
    assert!(state.borrow().detail.as_ref().unwrap().contains(&format!("port {first} is yielded")));
    assert!(server.get("/auth/callback?state=known").await.starts_with("HTTP/1.1 200"));
    // The second port is not yielded as well: browsers could not return.
    assert!(server.get("/cancel").await.starts_with("HTTP/1.1 409"));
    let other = TcpListener::bind(("127.0.0.1", first)).await.unwrap();
    other.accept().await.unwrap();
    // While a login is pending, the server stays on the port in its redirect URI.
    server.handler.pending.store(1, Ordering::SeqCst);
    drop(other);
    tokio::time::sleep(YIELD_CHECK * 2).await;
    assert_eq!(server.port(), second);
    server.handler.pending.store(0, Ordering::SeqCst);
    state.wait_for(|state| state.port() == Some(first)).await.unwrap();
    assert_eq!(state.borrow().detail, None);
}

#[tokio::test]
async fn the_second_port_is_used_until_the_first_is_free() {
    let (other_program, free) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (first, second) = (other_program.local_addr().unwrap().port(), free.local_addr().unwrap().port());
    drop(free);
    let server = start(vec![first, second], Duration::ZERO).await;
    assert_eq!(server.port(), second);
    assert!(server.state.borrow().detail.as_ref().unwrap().contains(&first.to_string()));
    drop(other_program);
    let mut state = server.state.clone();
    state.wait_for(|state| state.port() == Some(first)).await.unwrap();
}

#[tokio::test]
async fn a_port_of_the_service_manager_is_not_yielded() {
    let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inherited.local_addr().unwrap().port();
    let server = start_with(vec![inherited], vec![0], Duration::from_secs(30)).await;
    assert_eq!(server.port(), port);
    let response = server.get("/cancel").await;
    assert!(response.starts_with("HTTP/1.1 409"), "{response}");
    assert!(server.get("/auth/callback?state=known").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_listener_beyond_loopback_serves_the_redirect_alone() {
    let addresses = vec![Ipv4Addr::UNSPECIFIED.into()];
    let server = run(CallbackServer::new(addresses, vec![0], Duration::from_secs(30)), Vec::new()).await;
    assert!(server.get("/auth/callback?state=known").await.starts_with("HTTP/1.1 200"));
    let port = server.port();
    for path in ["/cancel", "/go/known", "/", "/auth/callback/x"] {
        for method in ["GET", "HEAD", "POST"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
            let response = exchange(port, &request).await;
            assert!(response.starts_with("HTTP/1.1 404"), "{method} {path}: {response}");
        }
    }
    // The Host is checked as on loopback.
    let foreign = format!("GET /auth/callback?state=known HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n");
    assert!(exchange(port, &foreign).await.starts_with("HTTP/1.1 421"));
    assert_eq!((server.handled(), server.handler.followed.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(server.state.borrow().state, CallbackState::Listening);
}

#[tokio::test]
async fn an_address_that_this_machine_does_not_have_is_named() {
    // TEST-NET-1 (RFC 5737) belongs to no machine.
    let addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into()];
    let server = run(CallbackServer::new(addresses, vec![0], Duration::ZERO), Vec::new()).await;
    let state = server.state.borrow().clone();
    assert_eq!((state.state, state.addresses), (CallbackState::Unavailable, Vec::new()));
    assert!(state.detail.unwrap().contains("192.0.2.1:"));
}
