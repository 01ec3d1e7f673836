//! What is sent again after an upstream's 401, and what is passed on instead.

use authd_sandbox::{
    Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
};

use crate::{
    support::{AUTHD, daemon, question, sandbox},
    upstream::{PATH, Upstream, head, say, until},
};

const REFUSED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

/// Where the relay leads with a credential that can be renewed.
const RENEWABLE: &str = "/v1/profiles/default/relay/anything";

/// A test daemon in which somebody is signed in, with this upstream in the place of the ChatGPT backend.
async fn signed_in(sandbox: &Sandbox, upstream: &Upstream) -> TestDaemon {
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    upstream.replace(&mut daemon, &sandbox.endpoints().chatgpt_base_url).await;
    daemon
}

/// The client, and the upstream that has read the request and refuses its credential.
async fn refuse(
    daemon: &TestDaemon,
    upstream: &Upstream,
    line: &str,
    fields: &[&str],
    body: &str,
) -> (UnixStream, TcpStream, String) {
    let mut client = say(daemon, line, fields).await;
    client.write_all(body.as_bytes()).await.unwrap();
    let (mut server, asked) = upstream.asked().await;
    if !body.is_empty() {
        assert_eq!(until(&mut server, body.as_bytes()).await, body);
    }
    server.write_all(REFUSED).await.unwrap();
    (client, server, asked)
}

#[tokio::test]
async fn a_request_is_sent_again_with_its_body_however_that_is_framed() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = signed_in(&sandbox, &upstream).await;
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    for (method, framing, body) in [
        ("POST", "Content-Length: 0", ""),
        ("POST", "Content-Length: 5", "hello"),
        ("POST", "Transfer-Encoding: chunked", chunked),
        // A body is rare there, and none the less one.
        ("GET", "Transfer-Encoding: chunked", chunked),
        ("DELETE", "Content-Length: 5", "hello"),
    ] {
        let line = format!("{method} {RENEWABLE}");
        let (mut client, mut server, before) = refuse(&daemon, &upstream, &line, &[framing], body).await;
        // On the connection that was kept.
        let after = head(&mut server).await;
        for asked in [&before, &after] {
            assert!(asked.contains(&format!("\r\n{}\r\n", framing.to_lowercase())), "{asked}");
        }
        assert_ne!(before, after, "the credential is another");
        if !body.is_empty() {
            assert_eq!(until(&mut server, body.as_bytes()).await, body);
        }
        server.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
        let answered = head(&mut client).await;
        assert!(answered.starts_with("http/1.1 204"), "{method} {framing}: {answered}");
        assert!(!answered.contains("authd-renewed"), "{answered}");
    }
}

#[tokio::test]
async fn who_can_be_served_when_he_sends_again_is_told_so() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = signed_in(&sandbox, &upstream).await;
    let fields = ["Transfer-Encoding: chunked", "Trailer: X-Sum"];
    let body = "5\r\nhello\r\n0\r\nx-sum: 532\r\n\r\n";
    let line = format!("POST {RENEWABLE}");
    // Trailers go by, and cannot be sent again.
    let (mut client, _server, _) = refuse(&daemon, &upstream, &line, &fields, body).await;
    let answered = head(&mut client).await;
    assert!(answered.starts_with("http/1.1 401"), "{answered}");
    let renewed = daemon.get("/v1/profiles/default/headers").await["generation"].to_string();
    assert!(answered.contains(&format!("\r\nauthd-renewed: {renewed}\r\n")), "{answered}");
    assert_eq!(sandbox.count(Route::Refresh), 1);
}

#[tokio::test]
async fn a_second_401_is_the_upstreams_last_word() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push_times(Route::ChatGptResponses, Fault::Unauthorized, 2);
    let path = "/v1/profiles/default/relay/responses";
    let refused = daemon.request("POST", path, &[], question("2+2").to_string()).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert!(refused.headers.get("authd-renewed").is_none(), "sending again would not help");
    assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptResponses)), (1, 2));
    assert_eq!(daemon.get("/v1/profiles/default").await["state"], json!("ready"));
}

#[tokio::test]
async fn the_401_to_a_key_that_nobody_can_renew_is_passed_on() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let line = format!("POST {PATH}");
    let (mut client, mut server, _) =
        refuse(&daemon, &upstream, &line, &["Content-Length: 5"], "hello").await;
    let answered = head(&mut client).await;
    assert!(answered.starts_with("http/1.1 401") && !answered.contains("authd-renewed"), "{answered}");
    // What comes next on the connection that was kept is what the client asks next.
    let _client = say(&daemon, &format!("GET {PATH}/next"), &[]).await;
    assert!(head(&mut server).await.starts_with("get /v1/anything/next"));
}

/// A fresh token that is refused again is not refreshed again at once.
#[tokio::test]
async fn a_hundred_401s_cost_one_refresh() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push_times(Route::ChatGptResponses, Fault::Unauthorized, 101);
    let path = "/v1/profiles/default/relay/responses";
    for _ in 0..100 {
        let refused = daemon.request("POST", path, &[], question("2+2").to_string()).await;
        assert_eq!(refused.status, 401, "{}", refused.text());
    }
    assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptResponses)), (1, 101));
    // One that was accepted, and is refused later, is.
    let accepted = daemon.request("POST", path, &[], question("2+2").to_string()).await;
    assert!(accepted.status.is_success(), "{}", accepted.text());
    sandbox.faults().push(Route::ChatGptResponses, Fault::Unauthorized);
    let again = daemon.request("POST", path, &[], question("2+2").to_string()).await;
    assert!(again.status.is_success(), "{}", again.text());
    assert_eq!(sandbox.count(Route::Refresh), 2);
}
