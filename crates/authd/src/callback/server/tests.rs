//! The callback server over real sockets: what is let in, what is not, and who gets the port.

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
use crate::callback::{CallbackOutcome, SignedInUser};

/// Logins that know one state, and count who asks.
#[derive(Clone, Default)]
struct Counted {
    arrived: Arc<AtomicUsize>,
    pending: Arc<AtomicUsize>,
    followed: Arc<AtomicUsize>,
}

impl CallbackHandler for Counted {
    async fn handle(&self, query: &str) -> CallbackOutcome {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        if query.contains("state=known") {
            let who = SignedInUser {
                email: Some("<b>a@b.c</b>".to_owned()),
                plan: Some("Plus".to_owned()),
                workspace: None,
                mode: "ChatGPT".to_owned(),
                mode_reason: "plan plus is personal".to_owned(),
                profile: "default".to_owned(),
            };
            return CallbackOutcome::SignedIn(who);
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

struct Running {
    logins: Counted,
    facts: watch::Receiver<CallbackServerState>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start(ports: Vec<u16>, yield_for: Duration) -> Running {
    start_with(Vec::new(), ports, yield_for).await
}

async fn start_with(inherited: Vec<std::net::TcpListener>, ports: Vec<u16>, yield_for: Duration) -> Running {
    let mut server = CallbackServer::new(ports, yield_for);
    server.head_deadline = Duration::from_millis(300);
    run(server, inherited).await
}

async fn run(server: CallbackServer, inherited: Vec<std::net::TcpListener>) -> Running {
    let (sender, facts) = watch::channel(CallbackServerState::default());
    let (logins, stop) = (Counted::default(), CancellationToken::new());
    tokio::spawn(server.run(logins.clone(), sender, inherited, stop.clone()));
    settled(facts.clone()).await;
    Running { logins, facts, stop }
}

impl Running {
    fn port(&self) -> u16 {
        self.facts.borrow().port().unwrap()
    }

    async fn get(&self, target: &str) -> String {
        raw(self.port(), &format!("GET {target} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.port())).await
    }

    fn arrived(&self) -> usize {
        self.logins.arrived.load(Ordering::SeqCst)
    }
}

/// Sends bytes, and returns everything that comes back until the other end closes.
async fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The other end may refuse before it has read everything.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    drop(
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an end"),
    );
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_return_is_answered_with_a_page_that_reflects_nothing() {
    let server = start(vec![0], Duration::ZERO).await;
    let answer = server.get("/auth/callback?code=c0de&state=known&x=%3Cscript%3E").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("&lt;b&gt;a@b.c&lt;/b&gt;") && !answer.contains("<b>"), "{answer}");
    assert!(!answer.contains("c0de") && !answer.contains("script"), "{answer}");
    let head = answer.to_ascii_lowercase();
    for header in
        ["default-src 'none'; style-src 'sha256-", "no-store", "nosniff", "no-referrer", "connection: close"]
    {
        assert!(head.contains(header), "{header}: {answer}");
    }
    assert!(!head.contains("set-cookie"));
    let unknown = server.get("/auth/callback?state=other").await;
    assert!(unknown.starts_with("HTTP/1.1 400"), "{unknown}");
}

#[tokio::test]
async fn what_is_not_a_persons_return_has_no_effect() {
    let server = start(vec![0], Duration::ZERO).await;
    let port = server.port();
    let at = "/auth/callback?code=c&state=known";
    for (request, status) in [
        (format!("GET {at} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), "421"),
        (format!("GET {at} HTTP/1.1\r\nHost: localhost\r\n\r\n"), "421"),
        (format!("GET http://evil.example:{port}{at} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "421"),
        (format!("GET {at} HTTP/1.1\r\nHost: localhost:{port}\r\nHost: localhost:{port}\r\n\r\n"), "421"),
        (
            format!("GET {at} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n\r\n"),
            "403",
        ),
        (format!("POST {at} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\n\r\n"), "405"),
        (format!("HEAD {at} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "204"),
        (format!("GET {at} HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Purpose: prefetch\r\n\r\n"), "204"),
        (format!("GET /other HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "404"),
        (format!("GET {at}&x={} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", "x".repeat(9000)), "414"),
        ("\u{1}\u{2}garbage\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = raw(port, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {request:.60} was answered {answer:.200}"
        );
    }
    let endless = format!("GET {at}&x={} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", "x".repeat(64 << 10));
    let answer = raw(port, &endless).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
    assert_eq!(server.arrived(), 0);
}

#[tokio::test]
async fn a_browser_that_never_finishes_its_request_is_let_go() {
    let server = start(vec![0], Duration::ZERO).await;
    let answer = raw(server.port(), "GET /auth/callback?state=known HTTP/1.1\r\nHost: local").await;
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(server.arrived(), 0);
}

#[tokio::test]
async fn a_link_leads_to_the_provider_once_and_only_for_a_person() {
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
        let answer = raw(port, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {request} was answered {answer}"
        );
    }
    let answer = server.get("/go/known").await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    for field in [
        "location: https://provider.example/authorize?state=s",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
    ] {
        assert!(answer.contains(field), "{field}: {answer}");
    }
    let again = server.get("/go/known").await;
    assert!(
        again.starts_with("HTTP/1.1 400") && again.contains("was used") && again.contains("authctl login")
    );
    assert!(!again.contains("provider.example"), "{again}");
}

/// Connects once more whenever the server closes the connection, and says no more than this.
async fn hold(port: u16, beginning: &'static str) {
    loop {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        drop(stream.write_all(beginning.as_bytes()).await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
}

#[tokio::test]
async fn a_browser_gets_through_while_others_hold_every_connection() {
    let server = CallbackServer::new(vec![0], Duration::ZERO);
    let most = server.max_connections;
    let server = run(server, Vec::new()).await;
    let mut silent = tokio::task::JoinSet::new();
    for beginning in ["", "GET /auth/callback?state=known HTTP/1.1\r\nHost: local"] {
        for _ in 0..most {
            silent.spawn(hold(server.port(), beginning));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..20 {
            let answer = server.get("/auth/callback?state=known").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}

#[tokio::test]
async fn both_loopback_addresses_answer() {
    let server = start(vec![0], Duration::ZERO).await;
    let addresses = server.facts.borrow().addresses.clone();
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_ok(), "{address}");
    }
}

#[tokio::test]
async fn the_port_is_left_to_a_program_that_asks_and_taken_back_after_it() {
    let server = start(vec![0], Duration::from_secs(30)).await;
    let port = server.port();
    server.logins.pending.store(1, Ordering::SeqCst);
    assert!(server.get("/cancel").await.starts_with("HTTP/1.1 409"));
    server.logins.pending.store(0, Ordering::SeqCst);
    let mut facts = server.facts.clone();
    let host = format!("GET /cancel HTTP/1.1\r\nHost: localhost:{port}\r\n");
    for from_a_page in ["Sec-Fetch-Site: cross-site", "Referer: http://evil.example/"] {
        let answer = raw(port, &format!("{host}{from_a_page}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    assert!(server.get("/cancel").await.contains("Login cancelled"));
    facts.wait_for(|facts| facts.state == CallbackState::Yielded).await.unwrap();
    let other = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    // It is seen to be used, and then not.
    other.accept().await.unwrap();
    drop(other);
    // The port was any free one; the server may get another now.
    facts.wait_for(|facts| facts.state == CallbackState::Listening).await.unwrap();
}

/// Two ports that were free a moment ago.
fn free_ports() -> (u16, u16) {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (bind(), bind());
    (first.local_addr().unwrap().port(), second.local_addr().unwrap().port())
}

#[tokio::test]
async fn browsers_return_to_the_second_port_while_the_first_is_left_to_a_program() {
    let (first, second) = free_ports();
    let server = start(vec![first, second], Duration::from_secs(30)).await;
    let mut facts = server.facts.clone();
    assert_eq!(server.port(), first);
    assert!(server.get("/cancel").await.contains("Login cancelled"));
    facts.wait_for(|facts| facts.port() == Some(second)).await.unwrap();
    assert_eq!(facts.borrow().state, CallbackState::Listening);
    assert!(facts.borrow().detail.as_ref().unwrap().contains(&format!("port {first} was left")));
    assert!(server.get("/auth/callback?state=known").await.starts_with("HTTP/1.1 200"));
    // One request for each port would keep browsers out after all.
    assert!(server.get("/cancel").await.starts_with("HTTP/1.1 409"));
    let other = TcpListener::bind(("127.0.0.1", first)).await.unwrap();
    other.accept().await.unwrap();
    // While a login is pending, it stays where the login's browser returns to.
    server.logins.pending.store(1, Ordering::SeqCst);
    drop(other);
    tokio::time::sleep(YIELD_CHECK * 2).await;
    assert_eq!(server.port(), second);
    server.logins.pending.store(0, Ordering::SeqCst);
    facts.wait_for(|facts| facts.port() == Some(first)).await.unwrap();
    assert_eq!(facts.borrow().detail, None);
}

#[tokio::test]
async fn a_stranger_on_the_first_port_means_the_second_and_then_the_first_again() {
    let (stranger, free) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (first, second) = (stranger.local_addr().unwrap().port(), free.local_addr().unwrap().port());
    drop(free);
    let server = start(vec![first, second], Duration::ZERO).await;
    assert_eq!(server.port(), second);
    assert!(server.facts.borrow().detail.as_ref().unwrap().contains(&first.to_string()));
    drop(stranger);
    let mut facts = server.facts.clone();
    facts.wait_for(|facts| facts.port() == Some(first)).await.unwrap();
}

#[tokio::test]
async fn a_port_that_the_service_manager_holds_is_left_to_nobody() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let server = start_with(vec![held], vec![0], Duration::from_secs(30)).await;
    assert_eq!(server.port(), port);
    let answer = server.get("/cancel").await;
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert!(server.get("/auth/callback?state=known").await.starts_with("HTTP/1.1 200"));
}
