//! Quotas: from relayed responses and from the provider's usage endpoint, the events, the hook and
//! the metrics.

use std::{fs, os::unix::fs::PermissionsExt};

use authd_sandbox::{
    Account, Config, Fault, NamedUsage, Route, Routing, Sandbox, Usage, UsageWindow,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    desktop_session::DesktopSession,
    doors::doors,
    events::Stream,
    helpers::{AUTHD, daemon, finished, responses_request, sandbox, start},
};

const QUOTA: &str = "/v1/profiles/default/quota";

/// The windows of a quota: name and used percent.
fn windows(quota: &Value) -> Vec<(String, f64)> {
    let windows = quota["windows"].as_array().unwrap_or_else(|| panic!("no windows in {quota}"));
    let window = |window: &Value| {
        let name = window["limit"].as_str().or(window["window"].as_str()).unwrap();
        (name.to_owned(), window["used_percent"].as_f64().unwrap())
    };
    windows.iter().map(window).collect()
}

/// A window of a week with this used part that starts again in an hour and so many seconds.
fn week(used_percent: f64, offset: u64) -> UsageWindow {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    UsageWindow { used_percent, seconds: 604_800, resets_at: Some(now + 3600 + offset) }
}

async fn ask(daemon: &TestDaemon, profile: &str) -> u16 {
    let path = format!("/v1/profiles/{profile}/relay/responses");
    let body = responses_request("What is 2+2?").to_string();
    daemon.request("POST", &path, &[], body).await.status.as_u16()
}

#[tokio::test]
async fn relayed_responses_state_the_quota_on_every_door() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for (number, door) in (1_u32..).zip(doors(&daemon, "default").await) {
        let used = f64::from(number) * 10.5;
        sandbox.set_usage("plus", Usage::of([(used, 18_000), (5.0, 604_800)]));
        let response = door.send("POST", "responses", responses_request("What is 2+2?").to_string()).await;
        assert!(response.status.is_success());
        assert!(!response.header("x-codex-primary-used-percent").is_empty(), "the client gets them, too");
        let quota = daemon.get(QUOTA).await;
        assert_eq!(windows(&quota), [("5h".to_owned(), used), ("7d".to_owned(), 5.0)], "{quota}");
        assert_eq!((&quota["stale"], &quota["limit_reached"]), (&json!(false), &json!(false)));
        // The handshake of a WebSocket.
        sandbox.set_usage("plus", Usage::of([(used + 1.0, 18_000)]));
        let fields = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "OpenAI-Beta: responses_websockets=2026-02-06",
        ];
        let mut socket = door.send_head("GET", "responses", &fields).await;
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        assert_eq!(windows(&daemon.get(QUOTA).await), [("5h".to_owned(), used + 1.0)]);
        socket.shutdown().await.unwrap();
    }
    assert_eq!(sandbox.count(Route::WhamUsage), 0, "nothing was asked for");
}

#[tokio::test]
async fn callers_at_once_share_one_request_with_the_headers_of_the_profile() {
    let usage = Usage {
        named: vec![NamedUsage {
            name: "GPT-5.3-Codex-Spark".into(),
            id: "codex_bengalfox".into(),
            windows: vec![week(97.0, 0)],
        }],
        ..Usage::of([(29.0, 604_800)])
    };
    let plus = Account { usage, ..Account::plus() };
    let sandbox = Sandbox::start(Config::with_accounts([plus])).await.unwrap();
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::WhamUsage, Fault::Stall);
    let ask = async || daemon.get(QUOTA).await;
    let release = async {
        sandbox.wait_for(Route::WhamUsage, 1).await;
        sandbox.faults().release();
    };
    let many = futures_util::future::join_all((0..20).map(|_| ask()));
    let (quotas, ()) = tokio::join!(many, release);
    let expected = [("7d".to_owned(), 29.0), ("GPT-5.3-Codex-Spark".to_owned(), 97.0)];
    for quota in &quotas {
        assert_eq!(windows(quota), expected, "the limit of a model does not bind the account: {quota}");
        assert_eq!((&quota["profile"], &quota["stale"]), (&json!("default"), &json!(false)));
    }
    let requests = sandbox.requests_of(Route::WhamUsage);
    assert_eq!(requests.len(), 1);
    let headers = daemon.get("/v1/profiles/default/headers").await;
    for pair in headers["headers"].as_array().unwrap() {
        let name = pair[0].as_str().unwrap().to_lowercase();
        assert_eq!(requests[0].header(&name), pair[1].as_str(), "{name}");
    }
    // Not even a caller that wants newer figures causes another request within 30 seconds.
    let quota = daemon.get(&format!("{QUOTA}?max_age=0")).await;
    assert_eq!((windows(&quota), &quota["stale"]), (expected.to_vec(), &json!(false)));
    assert_eq!((sandbox.count(Route::WhamUsage), sandbox.count(Route::Refresh)), (1, 0));
}

#[tokio::test]
async fn workspace_of_another_host_is_asked_there() {
    let sandbox = sandbox().await;
    let endpoints = sandbox.endpoints();
    // The host of the workspace. The request must go there and nowhere else.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let routing = Some(Routing { backend_origin: format!("http://{host}"), region: "eu".into() });
    sandbox.put_account(Account { routing, ..Account::plus() });
    let keys = format!("workspace_hosts = [{host:?}]");
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).provider(&keys)).await;
    daemon.sign_in("default", "plus").await;
    while daemon.get("/v1/profiles/default/headers").await["base_url"] == endpoints.chatgpt_base_url.as_str()
    {
        tokio::task::yield_now().await;
    }
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        let body = r#"{"rate_limit":{"primary_window":{"used_percent":7,"limit_window_seconds":18000}}}"#;
        let length_field = body.len();
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length_field}\r\n\r\n{body}");
        stream.write_all(response.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    };
    let (quota, head) = tokio::join!(daemon.get(QUOTA), answer);
    assert!(head.starts_with("GET /backend-api/wham/usage HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-openai-account-routing-override: eu\r\n"), "{head}");
    assert_eq!(windows(&quota), [("5h".to_owned(), 7.0)]);
    assert_eq!(sandbox.count(Route::WhamUsage), 0);
}

#[tokio::test]
async fn endpoint_that_fails_or_changed_is_unknown_and_left_alone() {
    for (fault, code) in [
        (Fault::status(404, r#"{"detail":"Not Found"}"#), "provider_refused"),
        (Fault::status(403, "<html>"), "provider_unreachable"),
        (Fault::status(200, r#"{"usage": {"five_hour": 12}}"#), "provider_unreachable"),
        (Fault::status(200, r#"{"rate_limit": {"primary_window": {"used": 3}}}"#), "provider_unreachable"),
        (Fault::status(500, ""), "provider_unreachable"),
        (Fault::status(429, ""), "provider_unreachable"),
        (Fault::Garbage, "provider_unreachable"),
        (Fault::DropBeforeCommit, "provider_unreachable"),
        (Fault::TruncateStream, "provider_unreachable"),
        (Fault::Unauthorized, "provider_refused"),
    ] {
        let sandbox = sandbox().await;
        let daemon = daemon(&sandbox).await;
        daemon.sign_in("default", "plus").await;
        sandbox.faults().push(Route::WhamUsage, fault.clone());
        for _ in 0..3 {
            let quota = daemon.get(&format!("{QUOTA}?max_age=0")).await;
            assert_eq!(quota["windows"], json!([]), "{fault:?}: {quota}");
            assert_eq!((&quota["as_of"], &quota["limit_reached"]), (&Value::Null, &Value::Null), "{quota}");
            let error = &quota["error"];
            assert_eq!((&error["code"], &error["profile"]), (&json!(code), &json!("default")), "{quota}");
            assert!(error["detail"].as_str().unwrap().starts_with("usage limits not received: "), "{quota}");
            let wait = error["retry_after"].as_u64().unwrap();
            assert!((30..=60).contains(&wait), "{quota}");
        }
        assert_eq!(sandbox.count(Route::WhamUsage), 1, "{fault:?}");
        assert_eq!(sandbox.count(Route::Refresh), 0, "a rejected token is not refreshed for a figure");
        // What a response says in passing is taken all the same.
        assert_eq!(ask(&daemon, "default").await, 200);
        let quota = daemon.get(QUOTA).await;
        assert_eq!((windows(&quota).len(), &quota["error"]), (2, &Value::Null), "{quota}");
    }
}

#[tokio::test]
async fn retry_after_of_the_endpoint_is_honoured() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let busy = Fault::Status { status: 429, body: String::new(), retry_after: Some(600) };
    sandbox.faults().push(Route::WhamUsage, busy);
    let error = daemon.get(QUOTA).await["error"].take();
    let wait = error["retry_after"].as_u64().unwrap();
    assert!((500..=600).contains(&wait), "{error}");
}

#[tokio::test]
async fn profiles_without_usage_limits_are_explained_without_a_request() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "business").await;
    let quota = daemon.get(QUOTA).await;
    assert_eq!((&quota["windows"], &quota["stale"]), (&json!([]), &json!(false)));
    assert_eq!(quota["error"]["code"], "conflict");
    assert!(quota["error"]["detail"].as_str().unwrap().contains("uses an API key"), "{quota}");
    assert_eq!(sandbox.count(Route::WhamUsage), 0);
    for (path, status, code) in [
        ("/v1/profiles/other/quota", 404, "profile_unknown"),
        ("/v1/profiles/default/quota?max_age=-1", 400, "bad_request"),
        ("/v1/profiles/default/quota?age=1", 400, "bad_request"),
    ] {
        let refused = daemon.request("GET", path, &[], "").await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (status, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn quota_follows_a_rename_and_ends_with_its_account() {
    let sandbox = sandbox().await;
    let second = Account {
        name: "second".into(),
        user_id: "user-Second00000000000000D4".into(),
        account_id: "1c9e6679-7425-40de-944b-e07fc1f90ae7".into(),
        email: "second@example.com".into(),
        ..Account::plus()
    };
    sandbox.put_account(second);
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    ask(&daemon, "default").await;
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"home"}"#).await;
    let quota = daemon.get("/v1/profiles/home/quota").await;
    assert_eq!((windows(&quota).len(), &quota["profile"]), (2, &json!("home")), "{quota}");
    // A new sign-in of the same account keeps it.
    daemon.sign_in("home", "plus").await;
    assert_eq!(windows(&daemon.get("/v1/profiles/home/quota").await).len(), 2);
    assert_eq!(sandbox.count(Route::WhamUsage), 0);
    // Another account in its place: what was known is not about it.
    let body = json!({"profile": "home", "replace": true});
    let (login, url) = start(&daemon, body).await;
    daemon.browse(&url, "second").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    sandbox.faults().push(Route::WhamUsage, Fault::status(500, ""));
    let quota = daemon.get("/v1/profiles/home/quota").await;
    assert_eq!((&quota["windows"], &quota["as_of"]), (&json!([]), &Value::Null), "{quota}");
    assert_eq!(sandbox.count(Route::WhamUsage), 1, "the pause of one account is not that of another");
    // A sign-out forgets it.
    ask(&daemon, "home").await;
    daemon.request("DELETE", "/v1/profiles/home", &[], "").await;
    assert_eq!(daemon.request("GET", "/v1/profiles/home/quota", &[], "").await.status, 404);
    daemon.sign_in("home", "second").await;
    sandbox.faults().push(Route::WhamUsage, Fault::status(500, ""));
    assert_eq!(daemon.get("/v1/profiles/home/quota").await["windows"], json!([]));
}

#[tokio::test]
async fn low_window_is_an_event_and_a_hook_once() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let (script, output) = (directory.path().join("hook"), directory.path().join("output"));
    // One write for each run: two of them may run at once.
    let command = format!("#!/bin/sh\ninput=$(cat)\nprintf '%s\\n' \"$input\" >> {}\n", output.display());
    fs::write(&script, command).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let toml = format!("[quota]\nlow = 20\n[hooks]\nquota_low = [\"{}\"]", script.display());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    daemon.sign_in("default", "plus").await;
    let mut stream = Stream::open(&daemon).await;
    let use_up = async |windows: Vec<UsageWindow>| {
        sandbox.set_usage("plus", Usage { windows, ..Usage::default() });
        ask(&daemon, "default").await
    };
    use_up(vec![week(79.0, 0)]).await;
    let event = stream.wait_for("quota", |_| true).await;
    assert_eq!((windows(&event), &event["error"]), (vec![("7d".to_owned(), 79.0)], &Value::Null), "{event}");
    // It becomes low once, however often and with whatever second of its reset it is stated.
    for (used, offset) in [(80.0, 0), (81.0, 4), (79.5, 1), (85.0, 2)] {
        use_up(vec![week(used, offset)]).await;
    }
    let low = stream.wait_for("quota_low", |_| true).await;
    assert_eq!((windows(&low), &low["profile"]), (vec![("7d".to_owned(), 80.0)], &json!("default")));
    // Another window: the provider refuses requests now, and its refusal states the usage as well.
    let session = UsageWindow { seconds: 18_000, ..week(100.0, 0) };
    assert_eq!(use_up(vec![week(85.0, 3), session]).await, 429);
    let low = stream.wait_for("quota_low", |_| true).await;
    assert_eq!(windows(&low), [("5h".to_owned(), 100.0)], "only what has become low: {low}");
    assert_eq!(low["limit_reached"], true);
    assert_eq!(use_up(vec![week(95.0, 604_800)]).await, 200);
    let low = stream.wait_for("quota_low", |_| true).await;
    assert_eq!(windows(&low), [("7d".to_owned(), 95.0)], "another week: {low}");
    let hook_output = || fs::read_to_string(&output).unwrap_or_default();
    while hook_output().lines().count() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let lines: Vec<Value> = hook_output().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut used: Vec<f64> = lines.iter().map(|quota| windows(quota)[0].1).collect();
    used.sort_by(f64::total_cmp);
    assert_eq!(used, [80.0, 95.0, 100.0]);
    // A new stream starts with what is known, and does not repeat what was announced.
    let mut again = Stream::open(&daemon).await;
    let event = again.wait_for("quota", |_| true).await;
    assert_eq!(windows(&event), [("7d".to_owned(), 95.0)]);
}

#[tokio::test]
async fn low_window_sends_a_desktop_notification() {
    let Some(mut session) = DesktopSession::enter("quota::low_window_sends_a_desktop_notification").await
    else {
        return;
    };
    let sandbox = sandbox().await;
    let bus = DesktopSession::address();
    let config = TestDaemonConfig::new(AUTHD, &sandbox).env("DBUS_SESSION_BUS_ADDRESS", &bus);
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    sandbox.set_usage("plus", Usage { windows: vec![week(92.0, 0)], ..Usage::default() });
    ask(&daemon, "default").await;
    let shown = session.read_until("authctl quota default").await;
    assert!(
        shown.contains("Usage limit nearly reached") && shown.contains("8 % left of 7d, resets in"),
        "{shown}"
    );
}

#[tokio::test]
async fn metrics_have_the_extremes_of_each_window_and_no_profile() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("private-name", "plus").await;
    let second = Account {
        name: "second".into(),
        user_id: "user-Second00000000000000D4".into(),
        account_id: "1c9e6679-7425-40de-944b-e07fc1f90ae7".into(),
        usage: Usage::of([(80.0, 18_000)]),
        ..Account::plus()
    };
    sandbox.put_account(second);
    daemon.sign_in("other", "second").await;
    for profile in ["private-name", "other"] {
        ask(&daemon, profile).await;
    }
    let text = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    for line in [
        r#"authd_quota_used_ratio{which="lowest",window="5h"} 0.12"#,
        r#"authd_quota_used_ratio{which="highest",window="5h"} 0.8"#,
        r#"authd_quota_used_ratio{which="highest",window="7d"} 0.34"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("private-name"), "{text}");
}

#[tokio::test]
async fn share_has_no_quota() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for holder in crate::share_client::both(&daemon, json!({"profile": "default"})).await {
        let mut request = http::Request::builder().uri("/v1/profiles/-/quota");
        for (name, value) in holder.credentials() {
            request = request.header(name, value);
        }
        let request = request.body(http_body_util::Full::default()).unwrap();
        let stream = holder.connect().await.unwrap();
        let response = authd_sandbox::test_daemon::send_on(stream, request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 403, "{}", String::from_utf8_lossy(&body));
    }
}
