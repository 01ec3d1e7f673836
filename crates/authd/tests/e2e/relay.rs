//! The relay as a pipe: what comes in goes out, while it comes.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use authd_sandbox::{Fault, Route};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use crate::{
    support::{daemon, question, sandbox},
    upstream::{PATH, Upstream, gone, head, say, until},
};

#[tokio::test]
async fn an_answer_is_passed_on_while_the_provider_still_speaks() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::ChatGptResponses, Fault::HoldStream);
    let path = "/v1/profiles/-/relay/responses";
    let answer = daemon.open("POST", path, &[], question("What is 2+2?").to_string()).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut body = answer.into_body();
    let mut text = String::new();
    // The provider holds the rest back until it is released: what is here came through unbuffered.
    while !text.contains("response.created") {
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        text += &String::from_utf8_lossy(&piece);
    }
    assert!(!text.contains("response.completed"), "{text}");
    sandbox.faults().release();
    text += &String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes());
    assert!(text.contains("response.completed"), "{text}");
}

#[tokio::test]
async fn a_question_is_passed_on_while_the_client_still_speaks() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let socket = daemon.socket();
    let seen = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        let body = question("What is 17+25?").to_string();
        let (head, tail) = body.split_at(20);
        write!(stream, "POST /v1/profiles/-/relay/responses HTTP/1.1\r\nHost: authd\r\n").unwrap();
        write!(stream, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n").unwrap();
        write!(stream, "Connection: close\r\n\r\n").unwrap();
        for piece in [head, tail] {
            write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
            std::thread::yield_now();
        }
        write!(stream, "0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap();
    assert!(seen.contains("42"), "{seen}");
    // Chunked in, chunked out: nobody measured the body, so nobody held it back.
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_here_too() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::ChatGptResponses, Fault::TruncateStream);
    let path = "/v1/profiles/-/relay/responses";
    let answer = daemon.open("POST", path, &[], question("What is 2+2?").to_string()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err(), "a cut answer must not look whole");
}

#[tokio::test]
async fn a_provider_out_of_reach_comes_with_a_time_to_try_again() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let told = async |method: &str, path: &str, body: String| {
        let answer = daemon.request(method, path, &[], body).await;
        let problem = answer.json();
        assert_eq!(problem["code"], "provider_unreachable", "{problem}");
        assert_eq!(problem["retry_after"].as_u64().unwrap().to_string(), answer.header("retry-after"));
        problem["retry_after"].as_u64().unwrap()
    };
    sandbox.faults().push(Route::Me, Fault::DropBeforeCommit);
    assert!(told("GET", "/v1/profiles/-/relay-backend/me", String::new()).await > 0);
    for (retry_after, least) in [(None, 1), (Some(17), 17)] {
        let busy = Fault::Status { status: 503, body: String::new(), retry_after };
        sandbox.faults().push(Route::DeviceCode, busy);
        let seconds = told("POST", "/v1/logins", r#"{"flow":"device"}"#.to_owned()).await;
        assert!(seconds >= least, "{seconds}");
    }
}

#[tokio::test]
async fn a_stop_cuts_streams_and_uploads_soon_and_waits_for_a_refresh() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let mut daemon = upstream.daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    // An answer that never ends, one that never begins, and two requests that never end.
    let mut streaming = say(&daemon, &format!("GET {PATH}"), &[]).await;
    let (mut server, _) = upstream.asked().await;
    server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
    until(&mut streaming, b"one\r\n").await;
    let mut waiting = say(&daemon, &format!("GET {PATH}"), &[]).await;
    let _silent = upstream.asked().await;
    let mut half_sent = say(&daemon, "POST /v1/logins", &["Content-Length: 100"]).await;
    let mut uploading = say(&daemon, &format!("POST {PATH}"), &["Content-Length: 100"]).await;
    let _reading = upstream.asked().await;
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    let mut refreshing = say(&daemon, "POST /v1/profiles/default/refresh", &[]).await;
    sandbox.wait_for(Route::Refresh, 1).await;
    let begun = Instant::now();
    daemon.signal(rustix::process::Signal::TERM);
    for cut in [&mut streaming, &mut waiting, &mut half_sent, &mut uploading] {
        gone(cut).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    sandbox.faults().release();
    let answered = head(&mut refreshing).await;
    assert!(answered.starts_with("http/1.1 200"), "{answered}");
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
}
