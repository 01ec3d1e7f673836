//! The relay as a pipe of bytes: what may pass as it is, what ends at a hop, and who is held up by whom.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    support::{AUTHD, daemon, question, sandbox},
    upstream::{PATH, Upstream, gone, head, say, stalled, until},
};

/// A frame of zstd is told by its first four bytes; that these are no whole one is nobody's business here.
fn compressed() -> Vec<u8> {
    let noise = (0..=255_u8).cycle().take(70_000);
    [0x28, 0xb5, 0x2f, 0xfd].into_iter().chain(noise).collect()
}

#[tokio::test]
async fn compressed_bodies_pass_as_they_are_both_ways() {
    let (sandbox, upstream, body) = (sandbox().await, Upstream::start().await, compressed());
    let daemon = upstream.daemon(&sandbox).await;
    let length = format!("Content-Length: {}", body.len());
    let mut client = say(&daemon, &format!("POST {PATH}"), &["Content-Encoding: zstd", &length]).await;
    client.write_all(&body).await.unwrap();
    let (mut server, asked) = upstream.asked().await;
    assert!(asked.contains("\r\ncontent-encoding: zstd\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\n{}\r\n", length.to_lowercase())), "{asked}");
    // Nobody between may say that it understands an encoding which the client did not ask for.
    assert!(!asked.contains("accept-encoding"), "{asked}");
    let mut came = vec![0; body.len()];
    server.read_exact(&mut came).await.unwrap();
    assert!(came == body, "the request's body was changed");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\n{length}\r\n\r\n");
    server.write_all(answer.as_bytes()).await.unwrap();
    server.write_all(&body).await.unwrap();
    let answered = head(&mut client).await;
    assert!(answered.contains("\r\ncontent-encoding: zstd\r\n"), "{answered}");
    let mut came = vec![0; body.len()];
    client.read_exact(&mut came).await.unwrap();
    assert!(came == body, "the answer's body was changed");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let mut client =
        say(&daemon, &format!("POST {PATH}"), &["Content-Length: 5", "Expect: 100-continue"]).await;
    assert_eq!(head(&mut client).await, "http/1.1 100 continue\r\n\r\n");
    let (mut server, asked) = upstream.asked().await;
    assert!(!asked.contains("expect"), "the daemon has promised already: {asked}");
    client.write_all(b"hello").await.unwrap();
    assert_eq!(until(&mut server, b"hello").await, "hello");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("http/1.1 204"));
}

#[tokio::test]
async fn what_is_of_one_hop_ends_there() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
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
    let mut client = say(&daemon, &format!("GET {PATH}?q=1"), &fields).await;
    let (mut server, asked) = upstream.asked().await;
    assert!(asked.starts_with("get /v1/anything?q=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nx-end: 1\r\n") && asked.contains("bearer sk-own"), "{asked}");
    for ended in ["x-hop", "keep-alive", "proxy-", "\r\nte:", "cookie", "authd-"] {
        assert!(!asked.contains(ended), "{ended} in {asked}");
    }
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\nKeep-Alive: timeout=9\r\n\
                  Proxy-Authenticate: Basic\r\nSet-Cookie: a=b\r\nSet-Cookie2: a=b\r\nAuthd-Renewed: 7\r\n\
                  Authd-Version: 9\r\nContent-Length: 0\r\n\r\n";
    server.write_all(answer.as_bytes()).await.unwrap();
    let answered = head(&mut client).await;
    assert!(answered.contains("\r\nx-end: 1\r\n"), "{answered}");
    for ended in ["x-hop", "keep-alive", "proxy-", "set-cookie", "authd-renewed", "authd-version: 9"] {
        assert!(!answered.contains(ended), "{ended} in {answered}");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_asked_for_letter_by_letter() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let path = "/%7Ba%2fb%20{c}|d^e[f]\"/;g=h//i'?j='k'&l={m}&n=%27[o]?p`";
    let mut client = say(&daemon, &format!("GET {PATH}{path}"), &[]).await;
    let (mut server, asked) = upstream.asked().await;
    let (line, fields) = asked.split_once("\r\n").unwrap();
    assert_eq!(line, format!("get /v1/anything{path} http/1.1").to_ascii_lowercase());
    // Nothing is put in but what says where, and the profile's own headers.
    let mut names: Vec<&str> = fields.lines().filter_map(|line| line.split(':').next()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    let address = upstream.address();
    assert!(fields.contains(&format!("host: {address}\r\n")), "{fields}");
    assert_eq!(names, ["authorization", "host", "version"], "{asked}");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("http/1.1 204"));
}

#[tokio::test]
async fn trailers_follow_a_body_through_both_ways() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let fields = ["Transfer-Encoding: chunked", "Trailer: X-Sum", "TE: trailers", "Connection: TE"];
    let mut client = say(&daemon, &format!("POST {PATH}"), &fields).await;
    client.write_all(b"5\r\nhello\r\n0\r\nX-Sum: 532\r\n\r\n").await.unwrap();
    let (mut server, asked) = upstream.asked().await;
    assert!(asked.contains("\r\ntrailer: x-sum\r\n") && asked.contains("\r\nte: trailers\r\n"), "{asked}");
    let sent = until(&mut server, b"\r\n\r\n").await;
    assert_eq!(sent.to_ascii_lowercase(), "5\r\nhello\r\n0\r\nx-sum: 532\r\n\r\n");
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                  3\r\nbye\r\n0\r\nX-Sum: 320\r\n\r\n";
    server.write_all(answer.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.contains("\r\ntrailer: x-sum\r\n"));
    let came = until(&mut client, b"\r\n\r\n").await;
    assert_eq!(came.to_ascii_lowercase(), "3\r\nbye\r\n0\r\nx-sum: 320\r\n\r\n");
}

#[tokio::test]
async fn an_answer_without_its_body_keeps_the_length_it_tells() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let mut client = say(&daemon, &format!("HEAD {PATH}"), &["Connection: close"]).await;
    let (mut server, _) = upstream.asked().await;
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").await.unwrap();
    let answered = head(&mut client).await;
    assert!(answered.contains("\r\ncontent-length: 12\r\n"), "{answered}");
    gone(&mut client).await;
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_with_it() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    // Before there is an answer, and in the middle of one.
    for answer in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"] {
        let mut client = say(&daemon, &format!("GET {PATH}"), &[]).await;
        let (mut server, _) = upstream.asked().await;
        server.write_all(answer.as_bytes()).await.unwrap();
        if !answer.is_empty() {
            until(&mut client, b"one\r\n").await;
        }
        drop(client);
        gone(&mut server).await;
    }
}

#[tokio::test]
async fn an_upstream_that_goes_leaves_no_answer_that_looks_whole() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for (framing, piece) in [("Content-Length: 9", "one"), ("Transfer-Encoding: chunked", "3\r\none\r\n")] {
        let mut client = say(&daemon, &format!("GET {PATH}"), &["Connection: close"]).await;
        let (mut server, _) = upstream.asked().await;
        server.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{piece}").as_bytes()).await.unwrap();
        head(&mut client).await;
        assert_eq!(until(&mut client, piece.as_bytes()).await, piece);
        drop(server);
        // Neither the other six bytes nor the last chunk.
        gone(&mut client).await;
    }
}

/// More than all buffers between two programs hold together, by far.
const FLOOD: usize = 64 << 20;

/// Writes a flood, and counts how much of it went out. Who goes at once takes the request along.
async fn flood<T: AsyncWriteExt + Unpin>(mut to: T, written: Arc<AtomicUsize>) -> T {
    let piece = vec![b'x'; 64 << 10];
    while written.load(Ordering::Relaxed) < FLOOD {
        to.write_all(&piece).await.unwrap();
        written.fetch_add(piece.len(), Ordering::Relaxed);
    }
    to
}

/// Floods one end of a relayed exchange, and reads the other end when no more goes in.
async fn hold_up(
    daemon: &TestDaemon,
    mut reader: impl AsyncReadExt + Unpin,
    writer: impl AsyncWriteExt + Unpin + Send + 'static,
) {
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(flood(writer, written.clone()));
    let held = stalled(daemon, &written).await;
    assert!(held < FLOOD / 4, "{held} bytes went in while nobody read");
    read(&mut reader, FLOOD).await;
    writing.await.unwrap();
}

#[tokio::test]
async fn who_reads_slowly_holds_up_who_writes() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let length = format!("Content-Length: {FLOOD}");
    let mut client = say(&daemon, &format!("GET {PATH}"), &[]).await;
    let (mut server, _) = upstream.asked().await;
    server.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n").as_bytes()).await.unwrap();
    head(&mut client).await;
    hold_up(&daemon, client, server).await;
    let client = say(&daemon, &format!("POST {PATH}"), &[&length]).await;
    let (server, _) = upstream.asked().await;
    hold_up(&daemon, server, client).await;
}

#[tokio::test]
async fn who_reads_slowly_holds_up_who_writes_in_a_tunnel_too() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let (client, server) = upstream.tunnel(&daemon).await;
    hold_up(&daemon, client, server).await;
    let (client, server) = upstream.tunnel(&daemon).await;
    hold_up(&daemon, server, client).await;
}

async fn read(from: &mut (impl AsyncReadExt + Unpin), length: usize) {
    let read = tokio::io::copy(&mut from.take(length as u64), &mut tokio::io::sink()).await.unwrap();
    assert_eq!(read, length as u64);
}

#[tokio::test]
async fn a_body_too_long_to_keep_is_not_sent_again_and_the_401_is_the_upstreams() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_access_tokens();
    let path = "/v1/profiles/default/relay/responses";
    let long = question(&"x".repeat(9 << 20)).to_string();
    let refused = daemon.request("POST", path, &[], long).await;
    assert_eq!((refused.status.as_u16(), sandbox.count(Route::ChatGptResponses)), (401, 1));
    assert_eq!(refused.json()["detail"]["code"], "token_expired", "{}", refused.text());
    // It was renewed all the same: whoever sends the body again is served, and is told so.
    assert_eq!(sandbox.count(Route::Refresh), 1);
    let renewed = daemon.get("/v1/profiles/default/headers").await["generation"].to_string();
    assert_eq!(refused.header("authd-renewed"), renewed);
    let long = question(&format!("{} 2+2", "x".repeat(9 << 20))).to_string();
    let answer = daemon.request("POST", path, &[], long).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

#[tokio::test]
async fn a_401_that_comes_before_the_end_of_the_body_is_answered_with_all_of_it() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    upstream.replace(&mut daemon, &sandbox.endpoints().chatgpt_base_url).await;
    let line = "POST /v1/profiles/default/relay/anything";
    let mut client = say(&daemon, line, &["Content-Length: 10"]).await;
    client.write_all(b"first").await.unwrap();
    let (mut server, before) = upstream.asked().await;
    until(&mut server, b"first").await;
    // The rest comes while the credential is renewed.
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    server.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    sandbox.wait_for(Route::Refresh, 1).await;
    client.write_all(b" last").await.unwrap();
    until(&mut server, b" last").await;
    sandbox.faults().release();
    // On the connection that was kept.
    let after = head(&mut server).await;
    assert_ne!(before, after, "the credential is another");
    assert_eq!(until(&mut server, b"first last").await, "first last");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("http/1.1 204"));
}

#[tokio::test]
async fn nobody_is_switched_to_what_he_did_not_ask_for() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    // Another protocol would be another hop's business: it is asked without.
    let mut client = say(&daemon, &format!("GET {PATH}"), &["Connection: Upgrade", "Upgrade: h2c"]).await;
    let (mut server, asked) = upstream.asked().await;
    assert!(!asked.contains("upgrade"), "{asked}");
    server
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        .await
        .unwrap();
    let answered = head(&mut client).await;
    assert!(answered.starts_with("http/1.1 502"), "{answered}");
    // And what was asked for has to be what is agreed to.
    for agreed in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Connection: Upgrade\r\n"] {
        let fields = ["Connection: Upgrade", "Upgrade: websocket"];
        let mut client = say(&daemon, &format!("GET {PATH}"), &fields).await;
        let (mut server, _) = upstream.asked().await;
        let switched = format!("HTTP/1.1 101 Switching Protocols\r\n{agreed}\r\n");
        server.write_all(switched.as_bytes()).await.unwrap();
        let answered = head(&mut client).await;
        assert!(answered.starts_with("http/1.1 502"), "{agreed}: {answered}");
        assert!(until(&mut client, b"}").await.contains("provider_refused"));
    }
}
