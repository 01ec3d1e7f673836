//! Requests whose body is not read to its end.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::doors,
    helpers::{daemon, sandbox},
    upstream::{PROFILE, Upstream, expect_closed, read_head, read_until, send_head},
};

/// More than all buffers between two programs hold, and less than the daemon discards.
const LONG: usize = 12 << 20;

/// The last response of a connection: a problem, and nothing after it.
async fn read_problem(client: &mut (impl AsyncReadExt + Unpin)) -> Value {
    let mut body = String::new();
    client.read_to_string(&mut body).await.unwrap();
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test]
async fn an_error_response_reaches_a_client_that_is_still_writing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (path, status, code) in [
        ("/v1/profiles/unknown/relay/responses", "404", "profile_unknown"),
        ("/v1/logins", "413", "too_large"),
        ("/v1/nothing", "404", "not_found"),
    ] {
        for framing in [format!("Content-Length: {LONG}"), "Transfer-Encoding: chunked".to_owned()] {
            let mut client = send_head(&daemon, &format!("POST {path}"), &[&framing]).await;
            if framing.starts_with("Transfer") {
                client.write_all(format!("{LONG:x}\r\n").as_bytes()).await.unwrap();
            }
            // Most clients read the response only after they have sent everything.
            client.write_all(&vec![b'x'; LONG]).await.unwrap();
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{path}: {head}");
            assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
            assert_eq!(read_problem(&mut client).await["code"], code);
        }
    }
}

#[tokio::test]
async fn an_early_upstream_response_reaches_a_client_that_is_still_writing() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let client = door.send_head("POST", "anything", &[&format!("Content-Length: {LONG}")]).await;
        let (mut reader, mut writer) = tokio::io::split(client);
        let writing = tokio::spawn(async move { writer.write_all(&vec![b'x'; LONG]).await });
        let (mut server, _) = upstream.next_request().await;
        let response = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        server.write_all(response).await.unwrap();
        let head = read_head(&mut reader).await;
        assert!(head.starts_with("http/1.1 413"), "{head}");
        // The upstream never reads the body.
        drop(server);
        writing.await.unwrap().unwrap();
        expect_closed(&mut reader).await;
    }
}

#[tokio::test]
async fn a_client_that_expects_100_gets_only_the_error() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for path in ["/v1/profiles/unknown/relay/responses", "/v1/nothing"] {
        let fields = ["Content-Length: 1048576", "Expect: 100-continue"];
        let mut client = send_head(&daemon, &format!("POST {path}"), &fields).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
        // The client sent no body, and the daemon does not wait for it.
        read_problem(&mut client).await;
    }
}

#[tokio::test]
async fn a_malformed_body_gives_400() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        for malformed in ["zz\r\nhello\r\n", "5\r\nhelloXX", "ffffffffffffffffff\r\n"] {
            let mut client = door.send_head("POST", "anything", &["Transfer-Encoding: chunked"]).await;
            client.write_all(b"5\r\nfirst\r\n").await.unwrap();
            let (_server, _) = upstream.next_request().await;
            client.write_all(malformed.as_bytes()).await.unwrap();
            let head = read_head(&mut client).await;
            assert!(head.starts_with("http/1.1 400"), "{malformed:?}: {head}");
            assert!(read_until(&mut client, b"}").await.contains("bad_request"), "{malformed:?}");
        }
        // An upstream that disconnects during a well-formed request gives 503.
        let mut client = door.send_head("POST", "anything", &["Content-Length: 10"]).await;
        client.write_all(b"first").await.unwrap();
        drop(upstream.next_request().await);
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
    }
}
