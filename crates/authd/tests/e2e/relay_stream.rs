//! Relayed bytes: bodies and headers that pass unchanged, hop-by-hop headers, and flow control.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use authd_sandbox::{Fault, Route, test_daemon::TestDaemon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::doors,
    helpers::{daemon, responses_request, sandbox},
    upstream::{
        PATH, PROFILE, Upstream, expect_closed, read_head, read_until, send_head, wait_until_stalled,
    },
};

/// Bytes that begin like a zstd frame. The relay does not decode them.
fn compressed() -> Vec<u8> {
    let noise = (0..=255_u8).cycle().take(70_000);
    [0x28, 0xb5, 0x2f, 0xfd].into_iter().chain(noise).collect()
}

#[tokio::test]
async fn compressed_bodies_pass_unchanged_in_both_directions() {
    let (sandbox, upstream, body) = (sandbox().await, Upstream::start().await, compressed());
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let length = format!("Content-Length: {}", body.len());
        let mut client = door.send_head("POST", "anything", &["Content-Encoding: zstd", &length]).await;
        client.write_all(&body).await.unwrap();
        let (mut server, request) = upstream.next_request().await;
        assert!(request.contains("\r\ncontent-encoding: zstd\r\n"), "{request}");
        assert!(request.contains(&format!("\r\n{}\r\n", length.to_lowercase())), "{request}");
        // The relay must not add an encoding that the client does not accept.
        assert!(!request.contains("accept-encoding"), "{request}");
        let mut received = vec![0; body.len()];
        server.read_exact(&mut received).await.unwrap();
        assert!(received == body, "the request's body was changed");
        let response = format!("HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\n{length}\r\n\r\n");
        server.write_all(response.as_bytes()).await.unwrap();
        server.write_all(&body).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.contains("\r\ncontent-encoding: zstd\r\n"), "{head}");
        let mut received = vec![0; body.len()];
        client.read_exact(&mut received).await.unwrap();
        assert!(received == body, "the response's body was changed");
    }
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_its_body() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let mut client =
            door.send_head("POST", "anything", &["Content-Length: 5", "Expect: 100-continue"]).await;
        assert_eq!(read_head(&mut client).await, "http/1.1 100 continue\r\n\r\n");
        let (mut server, request) = upstream.next_request().await;
        assert!(!request.contains("expect"), "the daemon has sent 100 already: {request}");
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read_until(&mut server, b"hello").await, "hello");
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert!(read_head(&mut client).await.starts_with("http/1.1 204"));
    }
}

#[tokio::test]
async fn hop_by_hop_headers_are_removed_in_both_directions() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let fields = [
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "X-End: 1",
            "Keep-Alive: timeout=9",
            "Proxy-Authorization: Basic eA==",
            "Proxy-Connection: keep-alive",
            "TE: gzip",
            "Cookie: a=b",
            "Authd-Renewed: 7",
        ];
        let mut client = door.send_head("GET", "anything?q=1", &fields).await;
        let (mut server, request) = upstream.next_request().await;
        assert!(request.starts_with("get /v1/anything?q=1 http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nx-end: 1\r\n") && request.contains("bearer sk-own"), "{request}");
        for ended in ["x-hop", "keep-alive", "proxy-", "\r\nte:", "cookie", "authd-"] {
            assert!(!request.contains(ended), "{ended} in {request}");
        }
        let response = "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\nKeep-Alive: timeout=9\r\n\
                      Proxy-Authenticate: Basic\r\nSet-Cookie: a=b\r\nSet-Cookie2: a=b\r\nAuthd-Renewed: 7\r\n\
                      Authd-Version: 9\r\nContent-Length: 0\r\n\r\n";
        server.write_all(response.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.contains("\r\nx-end: 1\r\n"), "{head}");
        for ended in ["x-hop", "keep-alive", "proxy-", "set-cookie", "authd-renewed", "authd-version: 9"] {
            assert!(!head.contains(ended), "{ended} in {head}");
        }
    }
}

#[tokio::test]
async fn the_target_passes_unchanged_and_no_header_is_added() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let path = "/%7Ba%2fb%20{c}|d^e[f]\"/;g=h//i'?j='k'&l={m}&n=%27[o]?p`";
    let mut client = send_head(&daemon, &format!("GET {PATH}{path}"), &[]).await;
    let (mut server, request) = upstream.next_request().await;
    let (line, fields) = request.split_once("\r\n").unwrap();
    assert_eq!(line, format!("get /v1/anything{path} http/1.1").to_ascii_lowercase());
    // Only `Host` and the profile's headers are added.
    let mut names: Vec<&str> = fields.lines().filter_map(|line| line.split(':').next()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    let address = upstream.address();
    assert!(fields.contains(&format!("host: {address}\r\n")), "{fields}");
    assert_eq!(names, ["authorization", "host", "version"], "{request}");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(read_head(&mut client).await.starts_with("http/1.1 204"));
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let fields = ["Transfer-Encoding: chunked", "Trailer: X-Sum", "TE: trailers", "Connection: TE"];
        let mut client = door.send_head("POST", "anything", &fields).await;
        client.write_all(b"5\r\nhello\r\n0\r\nX-Sum: 532\r\n\r\n").await.unwrap();
        let (mut server, request) = upstream.next_request().await;
        assert!(
            request.contains("\r\ntrailer: x-sum\r\n") && request.contains("\r\nte: trailers\r\n"),
            "{request}"
        );
        let sent = read_until(&mut server, b"\r\n\r\n").await;
        assert_eq!(sent.to_ascii_lowercase(), "5\r\nhello\r\n0\r\nx-sum: 532\r\n\r\n");
        let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                      3\r\nbye\r\n0\r\nX-Sum: 320\r\n\r\n";
        server.write_all(response.as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.contains("\r\ntrailer: x-sum\r\n"));
        let received = read_until(&mut client, b"\r\n\r\n").await;
        assert_eq!(received.to_ascii_lowercase(), "3\r\nbye\r\n0\r\nx-sum: 320\r\n\r\n");
    }
}

#[tokio::test]
async fn a_response_to_head_keeps_its_content_length() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let mut client = door.send_head("HEAD", "anything", &["Connection: close"]).await;
        let (mut server, _) = upstream.next_request().await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.contains("\r\ncontent-length: 12\r\n"), "{head}");
        expect_closed(&mut client).await;
    }
}

#[tokio::test]
async fn a_client_that_disconnects_ends_the_upstream_request() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        // Before a response, and in the middle of one.
        for response in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"] {
            let mut client = door.send_head("GET", "anything", &[]).await;
            let (mut server, _) = upstream.next_request().await;
            server.write_all(response.as_bytes()).await.unwrap();
            if !response.is_empty() {
                read_until(&mut client, b"one\r\n").await;
            }
            drop(client);
            expect_closed(&mut server).await;
        }
    }
}

#[tokio::test]
async fn an_upstream_that_disconnects_ends_the_response_without_its_end() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        for (framing, part) in [("Content-Length: 9", "one"), ("Transfer-Encoding: chunked", "3\r\none\r\n")]
        {
            let mut client = door.send_head("GET", "anything", &["Connection: close"]).await;
            let (mut server, _) = upstream.next_request().await;
            server.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}").as_bytes()).await.unwrap();
            read_head(&mut client).await;
            assert_eq!(read_until(&mut client, part.as_bytes()).await, part);
            drop(server);
            // Neither the other six bytes nor the last chunk arrive.
            expect_closed(&mut client).await;
        }
    }
}

/// Far more than all buffers between two programs hold.
const FLOOD: usize = 64 << 20;

/// Writes a flood, and counts the written bytes. Returns the connection: closing it would end the
/// request.
async fn flood<T: AsyncWriteExt + Unpin>(mut to: T, written: Arc<AtomicUsize>) -> T {
    let block = vec![b'x'; 64 << 10];
    while written.load(Ordering::Relaxed) < FLOOD {
        to.write_all(&block).await.unwrap();
        written.fetch_add(block.len(), Ordering::Relaxed);
    }
    to
}

/// Floods one end of a relayed exchange until its writer stalls, then reads the other end.
async fn expect_backpressure(
    daemon: &TestDaemon,
    mut reader: impl AsyncReadExt + Unpin,
    writer: impl AsyncWriteExt + Unpin + Send + 'static,
) {
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(flood(writer, written.clone()));
    let accepted = wait_until_stalled(daemon, &written).await;
    assert!(accepted < FLOOD / 4, "{accepted} bytes were accepted without a reader");
    read(&mut reader, FLOOD).await;
    writing.await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let length = format!("Content-Length: {FLOOD}");
        let mut client = door.send_head("GET", "anything", &[]).await;
        let (mut server, _) = upstream.next_request().await;
        server.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n").as_bytes()).await.unwrap();
        read_head(&mut client).await;
        expect_backpressure(&daemon, client, server).await;
        let client = door.send_head("POST", "anything", &[&length]).await;
        let (server, _) = upstream.next_request().await;
        expect_backpressure(&daemon, server, client).await;
    }
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer_in_a_tunnel() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let (client, server) = upstream.tunnel(&door).await;
        expect_backpressure(&daemon, client, server).await;
        let (client, server) = upstream.tunnel(&door).await;
        expect_backpressure(&daemon, server, client).await;
    }
}

async fn read(from: &mut (impl AsyncReadExt + Unpin), length: usize) {
    let read = tokio::io::copy(&mut from.take(length as u64), &mut tokio::io::sink()).await.unwrap();
    assert_eq!(read, length as u64);
}

#[tokio::test]
async fn a_body_too_long_to_store_is_not_retried_and_the_401_passes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_access_tokens();
    let path = "/v1/profiles/default/relay/responses";
    let long = responses_request(&"x".repeat(9 << 20)).to_string();
    let refused = daemon.request("POST", path, &[], long).await;
    assert_eq!((refused.status.as_u16(), sandbox.count(Route::ChatGptResponses)), (401, 1));
    assert_eq!(refused.json()["detail"]["code"], "token_expired", "{}", refused.text());
    // The token was refreshed all the same. The header says that a new request can succeed.
    assert_eq!(sandbox.count(Route::Refresh), 1);
    let renewed = daemon.get("/v1/profiles/default/headers").await["generation"].to_string();
    assert_eq!(refused.header("authd-renewed"), renewed);
    let long = responses_request(&format!("{} 2+2", "x".repeat(9 << 20))).to_string();
    let response = daemon.request("POST", path, &[], long).await;
    assert!(response.status.is_success(), "{}", response.text());
}

#[tokio::test]
async fn a_401_before_the_end_of_the_body_is_retried_with_the_complete_body() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.signed_in_daemon(&sandbox).await;
    let line = "POST /v1/profiles/default/relay/anything";
    let mut client = send_head(&daemon, line, &["Content-Length: 10"]).await;
    client.write_all(b"first").await.unwrap();
    let (mut server, before) = upstream.next_request().await;
    read_until(&mut server, b"first").await;
    // The rest of the body arrives during the refresh.
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    server.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    sandbox.wait_for(Route::Refresh, 1).await;
    client.write_all(b" last").await.unwrap();
    read_until(&mut server, b" last").await;
    sandbox.faults().release();
    // The retry uses the connection that stayed open.
    let after = read_head(&mut server).await;
    assert_ne!(before, after, "the retry has another credential");
    assert_eq!(read_until(&mut server, b"first last").await, "first last");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(read_head(&mut client).await.starts_with("http/1.1 204"));
}

#[tokio::test]
async fn an_upgrade_to_another_protocol_than_requested_is_refused() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        // The relay forwards only upgrades to `websocket`.
        let mut client = door.send_head("GET", "anything", &["Connection: Upgrade", "Upgrade: h2c"]).await;
        let (mut server, request) = upstream.next_request().await;
        assert!(!request.contains("upgrade"), "{request}");
        server
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 502"), "{head}");
        // The response must agree to the requested protocol.
        for upgrade in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Connection: Upgrade\r\n"] {
            let fields = ["Connection: Upgrade", "Upgrade: websocket"];
            let mut client = door.send_head("GET", "anything", &fields).await;
            let (mut server, _) = upstream.next_request().await;
            let response = format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n");
            server.write_all(response.as_bytes()).await.unwrap();
            let head = read_head(&mut client).await;
            assert!(head.starts_with("http/1.1 502"), "{upgrade}: {head}");
            assert!(read_until(&mut client, b"}").await.contains("provider_refused"));
        }
    }
}
