//! Requests whose end two programs could see in different places (request smuggling). The daemon
//! refuses them, or sends them on with one framing of its own.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::{ClientStream, Door, doors},
    helpers::sandbox,
    upstream::{PROFILE, Upstream, expect_closed, read_head, read_until},
};

/// Sends the head of a POST with these lines, and what follows it.
async fn send(door: &Door, lines: &str, rest: &str) -> ClientStream {
    let head = door.head("POST", "anything", &[]);
    let mut stream = door.connect().await.unwrap();
    stream.write_all(format!("{}{lines}\r\n\r\n{rest}", &head[..head.len() - 2]).as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn malformed_framing_is_refused_and_reaches_no_upstream() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let chunk = "5\r\nhello\r\n0\r\n\r\n";
    for door in doors(&daemon, PROFILE).await {
        for (lines, rest) in [
            ("Content-Length: 5\r\nContent-Length: 6", "hello!"),
            ("Content-Length: 5, 6", "hello!"),
            ("Content-Length: +5", "hello"),
            ("Content-Length: -5", "hello"),
            ("Content-Length: 0x5", "hello"),
            ("Content-Length: 5 5", "hello"),
            ("Content-Length: five", "hello"),
            ("Content-Length:", "hello"),
            ("Content-Length: 18446744073709551617", "h"),
            ("Content-Length : 5", "hello"),
            ("Content-Length: 5\r\n X-Folded: 1", "hello"),
            ("X-Folded: 1\r\n Content-Length: 5", "hello"),
            (" Content-Length: 5", "hello"),
            ("Content Length: 5", "hello"),
            ("Content-Length\r\n: 5", "hello"),
            ("X: 1\rContent-Length: 5", "hello"),
            ("X: 1\0\r\nContent-Length: 5", "hello"),
            ("Transfer-Encoding: identity", chunk),
            ("Transfer-Encoding: gzip", chunk),
            ("Transfer-Encoding: xchunked", chunk),
            ("Transfer-Encoding: chunked, identity", chunk),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunk),
            ("Transfer-Encoding: chunked;q=1", chunk),
            ("Transfer-Encoding: \"chunked\"", chunk),
            ("Transfer-Encoding: \u{b}chunked", chunk),
            ("Transfer-Encoding : chunked", chunk),
            ("Transfer-Encoding:\r\n chunked", chunk),
        ] {
            let mut client = send(&door, lines, rest).await;
            let mut response = Vec::new();
            client.read_to_end(&mut response).await.ok();
            let response = String::from_utf8_lossy(&response);
            assert!(response.starts_with("HTTP/1.1 400"), "{lines:?}: {response}");
            assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{lines:?}: {response}");
        }
    }
    let reached = tokio::time::timeout(Duration::from_millis(200), upstream.next_request()).await;
    assert!(reached.is_err(), "the upstream was called");
}

#[tokio::test]
async fn request_with_two_framings_is_sent_on_with_one() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let (chunked, smuggled) = ("Transfer-Encoding: chunked", "GET /v1/smuggled HTTP/1.1\r\nX: ");
    let length = format!("Content-Length: {}", "0\r\n\r\n".len() + smuggled.len());
    for door in doors(&daemon, PROFILE).await {
        for lines in [
            format!("{chunked}\r\n{length}"),
            format!("{length}\r\n{chunked}"),
            format!("{length}\r\n{chunked}\r\n{length}"),
            format!("{length}\n{chunked}"),
            format!("{length}\r\nTRANSFER-ENCODING:\tChunked"),
            format!("{length}\r\n{chunked}\r\nConnection: transfer-encoding"),
            format!("{chunked}\r\n{length}\r\nConnection: content-length"),
        ] {
            let mut client = send(&door, &lines, &format!("0\r\n\r\n{smuggled}")).await;
            let (mut server, request) = upstream.next_request().await;
            assert!(request.contains("\r\ntransfer-encoding: chunked\r\n"), "{lines:?}: {request}");
            assert!(!request.contains("content-length"), "{lines:?}: {request}");
            assert_eq!(read_until(&mut server, b"0\r\n\r\n").await, "0\r\n\r\n");
            server.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
            assert!(read_head(&mut client).await.starts_with("http/1.1 204"));
            // The upstream gets no byte of what follows the request.
            expect_closed(&mut server).await;
        }
    }
}

#[tokio::test]
async fn request_behind_another_is_checked_like_the_first() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let behind = "GET /v1/profiles/-/relay/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        let mut client = send(&door, "Content-Length: 5", &format!("hello{behind}")).await;
        let (mut server, _) = upstream.next_request().await;
        assert_eq!(read_until(&mut server, b"hello").await, "hello");
        server.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_head(&mut client).await.starts_with("http/1.1 204"));
        assert!(read_head(&mut client).await.starts_with("http/1.1 403"));
        expect_closed(&mut server).await;
    }
}
