//! Requests whose bodies are not read to their end: an answer that comes before it, and a client that
//! goes before it.

use tokio::io::AsyncWriteExt;

use crate::{
    support::{daemon, sandbox},
    upstream::{PATH, Upstream, gone, head, say, until},
};

/// More than all buffers between two programs hold together, and less than is read to no purpose.
const LONG: usize = 12 << 20;

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_writing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (path, status, code) in [
        ("/v1/profiles/nobody/relay/responses", "404", "profile_unknown"),
        ("/v1/logins", "413", "too_large"),
        ("/v1/nothing", "404", "not_found"),
    ] {
        for framing in [format!("Content-Length: {LONG}"), "Transfer-Encoding: chunked".to_owned()] {
            let mut client = say(&daemon, &format!("POST {path}"), &[&framing]).await;
            if framing.starts_with("Transfer") {
                client.write_all(format!("{LONG:x}\r\n").as_bytes()).await.unwrap();
            }
            // Only who has sent everything looks for an answer.
            client.write_all(&vec![b'x'; LONG]).await.unwrap();
            let answered = head(&mut client).await;
            assert!(answered.starts_with(&format!("http/1.1 {status}")), "{path}: {answered}");
            assert!(answered.contains("\r\nconnection: close\r\n"), "{answered}");
            assert!(until(&mut client, b"}").await.contains(code));
            gone(&mut client).await;
        }
    }
}

#[tokio::test]
async fn an_upstream_that_answers_early_is_heard_by_a_client_that_is_still_writing() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let client = say(&daemon, &format!("POST {PATH}"), &[&format!("Content-Length: {LONG}")]).await;
    let (mut reader, mut writer) = client.into_split();
    let writing = tokio::spawn(async move { writer.write_all(&vec![b'x'; LONG]).await });
    let (mut server, _) = upstream.asked().await;
    let answer = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    server.write_all(answer).await.unwrap();
    let answered = head(&mut reader).await;
    assert!(answered.starts_with("http/1.1 413"), "{answered}");
    // It never read what it refused.
    drop(server);
    writing.await.unwrap().unwrap();
    gone(&mut reader).await;
}

#[tokio::test]
async fn who_waits_for_100_and_is_refused_hears_the_refusal_alone() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for path in ["/v1/profiles/nobody/relay/responses", "/v1/nothing"] {
        let fields = ["Content-Length: 1048576", "Expect: 100-continue"];
        let mut client = say(&daemon, &format!("POST {path}"), &fields).await;
        let answered = head(&mut client).await;
        assert!(answered.starts_with("http/1.1 404"), "{answered}");
        until(&mut client, b"}").await;
        // Nothing was sent, and nothing is waited for.
        gone(&mut client).await;
    }
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for malformed in ["zz\r\nhello\r\n", "5\r\nhelloXX", "ffffffffffffffffff\r\n"] {
        let mut client = say(&daemon, &format!("POST {PATH}"), &["Transfer-Encoding: chunked"]).await;
        client.write_all(b"5\r\nfirst\r\n").await.unwrap();
        let (_server, _) = upstream.asked().await;
        client.write_all(malformed.as_bytes()).await.unwrap();
        let answered = head(&mut client).await;
        assert!(answered.starts_with("http/1.1 400"), "{malformed:?}: {answered}");
        assert!(until(&mut client, b"}").await.contains("bad_request"), "{malformed:?}");
    }
    // An upstream that hangs up in the middle of a whole request is still at fault itself.
    let mut client = say(&daemon, &format!("POST {PATH}"), &["Content-Length: 10"]).await;
    client.write_all(b"first").await.unwrap();
    drop(upstream.asked().await);
    let answered = head(&mut client).await;
    assert!(answered.starts_with("http/1.1 503"), "{answered}");
}
