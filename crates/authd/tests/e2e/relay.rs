//! Streaming through the relay, its errors, and its end at shutdown.

use std::time::{Duration, Instant};

use authd_oauth::CODEX_VERSION;
use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::{ClientStream, doors},
    helpers::{AUTHD, daemon, responses_request, sandbox},
    upstream::{PROFILE, Upstream, expect_closed, read_head, read_until, send_head},
};

#[tokio::test]
async fn a_response_is_streamed_before_the_provider_ends_it() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        sandbox.faults().push(Route::ChatGptResponses, Fault::HoldStream);
        let response = door.open("POST", "responses", responses_request("What is 2+2?").to_string()).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let mut body = response.into_body();
        let mut text = String::new();
        // The provider sends the rest after `release`, so this part was not buffered.
        while !text.contains("response.created") {
            let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
            text += &String::from_utf8_lossy(&chunk);
        }
        assert!(!text.contains("response.completed"), "{text}");
        sandbox.faults().release();
        text += &String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes());
        assert!(text.contains("response.completed"), "{text}");
    }
}

#[tokio::test]
async fn a_chunked_request_body_is_passed_on_chunked() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        let fields = ["Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: close"];
        let mut stream = door.send_head("POST", "responses", &fields).await;
        let body = responses_request("What is 17+25?").to_string();
        let (head, tail) = body.split_at(20);
        for chunk in [head, tail] {
            stream.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.contains("42"), "{response}");
        // A buffered body would have a content length.
        let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
        assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    }
}

const RESPONSES: &str = "/v1/profiles/default/relay/responses";

/// A daemon with this configuration, and a sandbox that offers its first model only to a client
/// version that no release has yet.
async fn gated(toml: &str) -> (Sandbox, TestDaemon) {
    let minimal_client_versions = vec![("gpt-5.5".to_owned(), "1.2.3".to_owned())];
    let sandbox = Sandbox::start(Config { minimal_client_versions, ..Config::default() }).await.unwrap();
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(toml)).await;
    daemon.sign_in("default", "plus").await;
    (sandbox, daemon)
}

#[tokio::test]
async fn a_request_keeps_the_callers_own_client_headers() {
    let own = [("Version", "1.2.3"), ("User-Agent", "own/1.2.3"), ("originator", "own")];
    let (sandbox, daemon) = gated("").await;
    let ask = async |daemon: &TestDaemon, headers: &[(&str, &str)]| {
        let body = responses_request("What is 2+2?").to_string();
        daemon.request("POST", RESPONSES, headers, body).await
    };
    let accepted = ask(&daemon, &own).await;
    assert!(accepted.status.is_success(), "{}", accepted.text());
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    for (name, value) in own {
        assert_eq!(request.header(&name.to_lowercase()), Some(value));
    }
    // What is missing comes from the daemon.
    let refused = ask(&daemon, &[own[1]]).await;
    assert!(refused.text().contains("requires a newer version of Codex"), "{}", refused.text());
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(request.header("version"), Some(CODEX_VERSION));
    assert_eq!(request.header("originator"), Some("codex_cli_rs"));
    assert_eq!(request.header("user-agent"), Some("own/1.2.3"));
    // The configuration can force its own.
    let (sandbox, daemon) = gated("[client]\noverride = true\noriginator = 'forced'").await;
    assert!(!ask(&daemon, &own).await.status.is_success());
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(request.header("version"), Some(CODEX_VERSION));
    assert_eq!(request.header("originator"), Some("forced"));
    assert!(request.header("user-agent").unwrap().starts_with("forced/"), "{request:?}");
}

#[tokio::test]
async fn a_callers_workspace_and_region_are_those_of_the_profile() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let foreign = [
        ("ChatGPT-Account-ID", "another"),
        ("X-OpenAI-Fedramp", "true"),
        ("x-openai-account-routing-override", "elsewhere"),
    ];
    for (profile, route) in [("default", Route::ChatGptResponses), ("work", Route::ApiResponses)] {
        let path = format!("/v1/profiles/{profile}/relay/responses");
        let body = responses_request("What is 2+2?").to_string();
        let response = daemon.request("POST", &path, &foreign, body).await;
        assert!(response.status.is_success(), "{}", response.text());
        let request = sandbox.requests_of(route).pop().unwrap();
        let account_id = (profile == "default").then(|| Account::plus().account_id);
        assert_eq!(request.header("chatgpt-account-id"), account_id.as_deref());
        assert_eq!(request.header("x-openai-fedramp"), None);
        assert_eq!(request.header("x-openai-account-routing-override"), None);
    }
}

#[tokio::test]
async fn an_error_of_the_relay_has_the_form_that_sdks_show() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (path, code) in [(RESPONSES, "profile_unknown"), ("/v1/responses", "not_found")] {
        let problem = daemon.request("POST", path, &[], "{}").await.json();
        let error = &problem["error"];
        assert_eq!((&problem["code"], &error["code"]), (&code.into(), &code.into()), "{problem}");
        assert_eq!(error["type"], problem["type"]);
        let message = error["message"].as_str().unwrap();
        for part in ["authd: ", problem["detail"].as_str().unwrap(), problem["hint"].as_str().unwrap()] {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
    }
    let page = [("Origin", "https://example.org")];
    let refused = daemon.request("POST", RESPONSES, &page, "{}").await.json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("web pages"), "{refused}");
    // The other routes have plain problems.
    let problem = daemon.request("GET", "/v1/profiles/default", &[], "").await.json();
    assert_eq!((&problem["code"], &problem["error"]), (&"profile_unknown".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn a_truncated_response_is_an_error_for_the_client() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        sandbox.faults().push(Route::ChatGptResponses, Fault::TruncateStream);
        let response = door.open("POST", "responses", responses_request("What is 2+2?").to_string()).await;
        assert!(response.into_body().collect().await.is_err(), "a truncated response must not look complete");
    }
}

#[tokio::test]
async fn an_unreachable_provider_gives_a_retry_after() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let retry_after = async |method: &str, path: &str, body: String| {
        let response = daemon.request(method, path, &[], body).await;
        let problem = response.json();
        assert_eq!(problem["code"], "provider_unreachable", "{problem}");
        assert_eq!(problem["retry_after"].as_u64().unwrap().to_string(), response.header("retry-after"));
        problem["retry_after"].as_u64().unwrap()
    };
    sandbox.faults().push(Route::Me, Fault::DropBeforeCommit);
    assert!(retry_after("GET", "/v1/profiles/-/relay-backend/me", String::new()).await > 0);
    for (header, least) in [(None, 1), (Some(17), 17)] {
        let busy = Fault::Status { status: 503, body: String::new(), retry_after: header };
        sandbox.faults().push(Route::DeviceCode, busy);
        let seconds = retry_after("POST", "/v1/logins", r#"{"flow":"device"}"#.to_owned()).await;
        assert!(seconds >= least, "{seconds}");
    }
}

#[tokio::test]
async fn a_shutdown_cuts_streams_and_uploads_and_waits_for_a_refresh() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let mut daemon = upstream.daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    // A response that never ends, one that never begins, and two requests that never end.
    let (mut clients, mut servers): (Vec<ClientStream>, Vec<_>) = (Vec::new(), Vec::new());
    for door in doors(&daemon, PROFILE).await {
        let mut streaming = door.send_head("GET", "anything", &[]).await;
        let (mut server, _) = upstream.next_request().await;
        let part = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
        server.write_all(part).await.unwrap();
        read_until(&mut streaming, b"one\r\n").await;
        let waiting = door.send_head("GET", "anything", &[]).await;
        servers.extend([server, upstream.next_request().await.0]);
        let uploading = door.send_head("POST", "anything", &["Content-Length: 100"]).await;
        servers.push(upstream.next_request().await.0);
        clients.extend([streaming, waiting, uploading]);
    }
    clients.push(Box::new(send_head(&daemon, "POST /v1/logins", &["Content-Length: 100"]).await));
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    let mut refreshing = send_head(&daemon, "POST /v1/profiles/default/refresh", &[]).await;
    sandbox.wait_for(Route::Refresh, 1).await;
    let started = Instant::now();
    daemon.signal(rustix::process::Signal::TERM);
    for client in &mut clients {
        expect_closed(client).await;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    sandbox.faults().release();
    let head = read_head(&mut refreshing).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
}
