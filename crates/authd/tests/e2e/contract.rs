//! The daemon against its OpenAPI document: it has exactly the documented routes and methods.

use std::collections::BTreeSet;

use authd_sandbox::test_daemon::TestDaemon;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::helpers::{daemon, sandbox};

/// All methods that OpenAPI knows, and one that does not exist.
const METHODS: [&str; 9] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "BREW"];

#[tokio::test]
async fn the_router_has_exactly_the_documented_routes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let document = daemon.get("/v1/openapi.json").await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut documented: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|key| key.to_uppercase()).collect();
        documented.remove("PARAMETERS");
        if documented.contains("GET") {
            documented.insert("HEAD".to_owned());
        }
        let is_relay = path.ends_with("{path}") || path.ends_with("/relay");
        let url = path.replace("{profile}", "unknown").replace("{id}", "lg_none").replace("{path}", "models");
        for method in METHODS {
            let known = documented.contains(method) || is_relay && method != "TRACE";
            let response = daemon.open(method, &url, &[], "").await.unwrap();
            assert_eq!(response.status() != 405, known, "{method} {path}");
            let allow = response.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
            if !known {
                let allow = allow.unwrap_or_default();
                let allowed: BTreeSet<String> =
                    allow.split(',').map(|method| method.trim().to_owned()).collect();
                assert_eq!(allowed, documented, "{method} {path}");
                let problem: Value =
                    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes())
                        .unwrap_or_default();
                assert!(
                    method == "HEAD" || problem["code"] == "method_not_allowed",
                    "{method} {path}: {problem}"
                );
            } else if method != "HEAD" && response.status() == 404 {
                let problem: Value =
                    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes())
                        .unwrap();
                assert_ne!(problem["code"], "not_found", "{method} {path} is documented, but has no route");
            }
        }
    }
}

#[tokio::test]
async fn every_error_response_is_a_problem_document() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (method, path, code) in [
        // A path parameter that is not UTF-8 when it is decoded.
        ("GET", "/v1/profiles/%FF", "bad_request"),
        ("GET", "/v1/logins/%80", "bad_request"),
        ("POST", "/v1/profiles/%C3/relay/responses", "bad_request"),
        ("GET", "/v1/profiles/a%2Fb", "bad_request"),
        ("GET", "/v1/profiles/-/headers?min_ttl=-1", "bad_request"),
        ("GET", "/v1/profiles/-/headers?min_ttl=1&min_ttl=2", "bad_request"),
        ("GET", "/v1/logins/x?wait=%FF", "bad_request"),
        ("GET", "/v1/status/", "not_found"),
        ("GET", "//v1/status", "not_found"),
        ("OPTIONS", "*", "not_found"),
    ] {
        expect_problem(&daemon, method, path, "", code).await;
    }
    for body in ["[]", " [\"work\"]", "null", "7", "{", "{\"profile\":\"Work\"}", "\u{feff}{}"] {
        expect_problem(&daemon, "POST", "/v1/logins", body, "bad_request").await;
    }
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 0);
}

#[tokio::test]
async fn a_response_that_ends_the_connection_has_the_header_connection_close() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let send = async |head: &str, body: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
        stream.write_all(format!("{head}\r\nHost: authd\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut response = Vec::new();
        while !response.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(
                stream.read_buf(&mut response).await.unwrap(),
                0,
                "the connection closed without a response"
            );
        }
        String::from_utf8(response).unwrap()
    };
    // These are refused before the body arrives.
    for head in ["PATCH /v1/status HTTP/1.1", "POST /v1/nowhere HTTP/1.1", "GET /v1/status HTTP/1.1"] {
        let response = send(&format!("{head}\r\nContent-Length: 5"), "").await;
        assert!(response.contains("connection: close"), "{head}: {response}");
    }
    for (head, body) in [
        ("PATCH /v1/status HTTP/1.1", ""),
        ("POST /v1/logins HTTP/1.1\r\nContent-Length: 2", "{}"),
        ("POST /v1/logins HTTP/1.1\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
    ] {
        let response = send(head, body).await;
        assert!(!response.contains("connection: close"), "{head}: {response}");
    }
}

async fn expect_problem(daemon: &TestDaemon, method: &str, path: &str, body: &str, code: &str) {
    let response = daemon.request(method, path, &[], body.to_owned()).await;
    assert_eq!(
        response.header("content-type"),
        "application/problem+json",
        "{method} {path}: {}",
        response.text()
    );
    assert_eq!(response.json()["code"], code, "{method} {path}: {}", response.text());
    assert_eq!(response.json()["status"], response.status.as_u16(), "{method} {path}");
    assert!(!response.header("authd-version").is_empty() && !response.header("authd-request").is_empty());
}

#[tokio::test]
async fn an_error_response_never_quotes_the_body() {
    const SECRET: &str = "sk-SECRET of a user";
    // The fields with a limited set of values. The other ones accept any text.
    const CHOICES: [&str; 11] = [
        "profile",
        "flow",
        "mode",
        "replace",
        "paste",
        "default",
        "name",
        "rejected_generation",
        "source",
        "target",
        "to",
    ];
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let document = daemon.get("/v1/openapi.json").await;
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let url = path.replace("{profile}", "unknown").replace("{id}", "lg_none");
        for (method, operation) in item.as_object().unwrap() {
            let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref");
            let Some(schema) = schema.and_then(|schema| document.pointer(&schema.as_str().unwrap()[1..]))
            else {
                continue;
            };
            let mut bodies = vec![json!(SECRET), json!([SECRET])];
            for field in schema["properties"].as_object().unwrap().keys() {
                bodies.push(json!({field: {SECRET: SECRET}}));
                bodies.extend(CHOICES.contains(&field.as_str()).then(|| json!({field: SECRET})));
            }
            let mut bodies: Vec<String> = bodies.iter().map(Value::to_string).collect();
            bodies.extend([SECRET.to_owned(), format!("{{\"{SECRET}"), format!("{{\"path\":\"{SECRET}")]);
            for body in bodies {
                let response = daemon.request(&method.to_uppercase(), &url, &[], body.clone()).await;
                let text = response.text();
                assert_eq!(response.json()["code"], "bad_request", "{method} {path} {body}: {text}");
                assert!(!text.contains("SECRET"), "{method} {path} {body}: {text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 80, "{refused}");
}

/// The body is valid, so correcting it would not help: the state has to change.
#[tokio::test]
async fn a_request_that_cannot_be_done_is_a_conflict() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let login = async || daemon.post("/v1/logins", json!({"profile": "other"})).await;
    let (first, second) = (login().await, login().await);
    let redirect = sandbox.browser().redirect(first["authorize_url"].as_str().unwrap(), "plus").await;
    let callback = format!("/v1/logins/{}/callback", second["id"].as_str().unwrap());
    let nowhere = daemon.dir().join("nowhere/auth.json");
    let signed_out = daemon.dir().join("auth.json");
    std::fs::write(&signed_out, "{}").unwrap();
    for (path, body) in [
        ("/v1/import", json!({"source": "codex", "path": nowhere})),
        ("/v1/import", json!({"source": "codex", "path": signed_out})),
        ("/v1/profiles/-/export", json!({"target": "codex", "path": nowhere})),
        (&callback, json!({"url": redirect.unwrap()})),
    ] {
        let refused = daemon.request("POST", path, &[], body.to_string()).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (409, &json!("conflict")), "{path}");
    }
    let body = json!({"rejected_generation": 143.0}).to_string();
    let refresh = daemon.request("POST", "/v1/profiles/-/refresh", &[], body).await;
    assert!(refresh.status.is_success(), "{}", refresh.text());
}

#[tokio::test]
async fn the_problem_names_an_unknown_field_safely() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (body, expected) in [
        (json!({"profil": 1}), "unknown field \"profil\" (line 1, column 9)"),
        (json!({"`, expected `": 1}), "unknown field \"\""),
        (json!({"a\u{1b}[31m\nb ä": 1}), "unknown field \"a?[31m?b ?\""),
        (json!({"x".repeat(10_000): 1}), &format!("unknown field \"{}\"", "x".repeat(64))),
    ] {
        let problem = daemon.request("POST", "/v1/logins", &[], body.to_string()).await.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
        assert!(problem["hint"].is_string(), "{problem}");
    }
    let problem = daemon.request("POST", "/v1/store/migrate", &[], "{}").await.json();
    assert!(problem["detail"].as_str().unwrap().contains("missing field \"to\""), "{problem}");
}
