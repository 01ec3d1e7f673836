//! The relay's retry after a 401 of the upstream, and the cases without one.

use authd_sandbox::{Fault, Route};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    doors::{ClientStream, Door, doors},
    helpers::{daemon, responses_request, sandbox},
    upstream::{PROFILE, Upstream, read_head, read_until},
};

const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

/// Sends a request, reads it at the upstream and responds there with 401. Returns the client's and
/// the upstream's connection, and the head of the request.
async fn send_and_reject(
    door: &Door,
    upstream: &Upstream,
    method: &str,
    fields: &[&str],
    body: &str,
) -> (ClientStream, TcpStream, String) {
    let mut client = door.send_head(method, "anything", fields).await;
    client.write_all(body.as_bytes()).await.unwrap();
    let (mut server, request) = upstream.next_request().await;
    if !body.is_empty() {
        assert_eq!(read_until(&mut server, body.as_bytes()).await, body);
    }
    server.write_all(UNAUTHORIZED).await.unwrap();
    (client, server, request)
}

#[tokio::test]
async fn a_request_is_retried_with_its_body_in_every_framing() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.signed_in_daemon(&sandbox).await;
    for door in doors(&daemon, "default").await {
        let chunked = "5\r\nhello\r\n0\r\n\r\n";
        for (method, framing, body) in [
            ("POST", "Content-Length: 0", ""),
            ("POST", "Content-Length: 5", "hello"),
            ("POST", "Transfer-Encoding: chunked", chunked),
            // A body of a GET is rare, but allowed.
            ("GET", "Transfer-Encoding: chunked", chunked),
            ("DELETE", "Content-Length: 5", "hello"),
        ] {
            let (mut client, mut server, before) =
                send_and_reject(&door, &upstream, method, &[framing], body).await;
            // The retry uses the connection that stayed open.
            let after = read_head(&mut server).await;
            for request in [&before, &after] {
                assert!(request.contains(&format!("\r\n{}\r\n", framing.to_lowercase())), "{request}");
            }
            assert_ne!(before, after, "the retry has another credential");
            if !body.is_empty() {
                assert_eq!(read_until(&mut server, body.as_bytes()).await, body);
            }
            server.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
            let head = read_head(&mut client).await;
            assert!(head.starts_with("http/1.1 204"), "{method} {framing}: {head}");
            assert!(!head.contains("authd-renewed"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_401_that_a_new_request_can_avoid_has_the_renewed_header() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.signed_in_daemon(&sandbox).await;
    for door in doors(&daemon, "default").await {
        sandbox.clear_requests();
        let fields = ["Transfer-Encoding: chunked", "Trailer: X-Sum"];
        let body = "5\r\nhello\r\n0\r\nx-sum: 532\r\n\r\n";
        // The daemon does not store trailers, so it cannot retry this request.
        let (mut client, mut server, _) = send_and_reject(&door, &upstream, "POST", &fields, body).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 401"), "{head}");
        let renewed = daemon.get("/v1/profiles/default/headers").await["generation"].to_string();
        assert!(head.contains(&format!("\r\nauthd-renewed: {renewed}\r\n")), "{head}");
        assert_eq!(sandbox.count(Route::Refresh), 1);
        // The upstream accepts the new token, so that the next 401 causes a refresh again.
        let mut client = door.send_head("GET", "anything", &[]).await;
        read_head(&mut server).await;
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert!(read_head(&mut client).await.starts_with("http/1.1 204"));
    }
}

#[tokio::test]
async fn a_second_401_is_passed_on() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        sandbox.clear_requests();
        sandbox.faults().push_times(Route::ChatGptResponses, Fault::Unauthorized, 2);
        let response = door.send("POST", "responses", responses_request("2+2").to_string()).await;
        assert_eq!(response.status, 401, "{}", response.text());
        assert!(response.headers.get("authd-renewed").is_none(), "a new request would not succeed");
        assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptResponses)), (1, 2));
        assert_eq!(daemon.get("/v1/profiles/default").await["state"], json!("ready"));
        // The upstream accepts the new token, so that the next 401 causes a refresh again.
        assert!(
            door.send("POST", "responses", responses_request("2+2").to_string()).await.status.is_success()
        );
    }
}

#[tokio::test]
async fn a_401_for_an_api_key_is_passed_on() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let (mut client, mut server, _) =
            send_and_reject(&door, &upstream, "POST", &["Content-Length: 5"], "hello").await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 401") && !head.contains("authd-renewed"), "{head}");
        // The next request on the open connection is the client's next one, not a retry.
        let _client = door.send_head("GET", "anything/next", &[]).await;
        assert!(read_head(&mut server).await.starts_with("get /v1/anything/next"));
    }
}

/// A new token that the upstream rejects as well is not refreshed again at once.
#[tokio::test]
async fn a_hundred_401s_cause_one_refresh() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        sandbox.clear_requests();
        sandbox.faults().push_times(Route::ChatGptResponses, Fault::Unauthorized, 101);
        for _ in 0..100 {
            let response = door.send("POST", "responses", responses_request("2+2").to_string()).await;
            assert_eq!(response.status, 401, "{}", response.text());
        }
        assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptResponses)), (1, 101));
        // A token that was accepted before and is rejected later is refreshed.
        let accepted = door.send("POST", "responses", responses_request("2+2").to_string()).await;
        assert!(accepted.status.is_success(), "{}", accepted.text());
        sandbox.faults().push(Route::ChatGptResponses, Fault::Unauthorized);
        let retried = door.send("POST", "responses", responses_request("2+2").to_string()).await;
        assert!(retried.status.is_success(), "{}", retried.text());
        assert_eq!(sandbox.count(Route::Refresh), 2);
    }
}
