//! The daemon and its own document: every route and method that is in it, and no other.

use std::collections::BTreeSet;

use authd_sandbox::test_daemon::TestDaemon;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::support::{daemon, sandbox};

/// Every method that OpenAPI has a word for, and one that nobody has.
const METHODS: [&str; 9] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "BREW"];

#[tokio::test]
async fn the_router_knows_what_is_documented_and_nothing_else() {
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
        let is_relay = path.ends_with("{path}");
        let at = path.replace("{profile}", "nobody").replace("{id}", "lg_none").replace("{path}", "models");
        for method in METHODS {
            let known = documented.contains(method) || is_relay && method != "TRACE";
            let answer = daemon.open(method, &at, &[], "").await.unwrap();
            assert_eq!(answer.status() != 405, known, "{method} {path}");
            let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
            if !known {
                let allow = allow.unwrap_or_default();
                let allowed: BTreeSet<String> =
                    allow.split(',').map(|method| method.trim().to_owned()).collect();
                assert_eq!(allowed, documented, "{method} {path}");
                let problem: Value =
                    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes())
                        .unwrap_or_default();
                assert!(
                    method == "HEAD" || problem["code"] == "method_not_allowed",
                    "{method} {path}: {problem}"
                );
            } else if method != "HEAD" && answer.status() == 404 {
                let problem: Value =
                    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
                assert_ne!(problem["code"], "not_found", "{method} {path} is documented, and is not there");
            }
        }
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_however_odd_the_request() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (method, path, code) in [
        // A place in the path that is no text once it is decoded.
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
        refused(&daemon, method, path, "", code).await;
    }
    for body in ["[]", " [\"work\"]", "null", "7", "{", "{\"profile\":\"Work\"}", "\u{feff}{}"] {
        refused(&daemon, "POST", "/v1/logins", body, "bad_request").await;
    }
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 0);
}

#[tokio::test]
async fn a_connection_that_ends_with_an_answer_is_said_to() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let ask = async |head: &str, body: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
        stream.write_all(format!("{head}\r\nHost: authd\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it hung up without an answer");
        }
        String::from_utf8(answer).unwrap()
    };
    // Refused before the body has even arrived.
    for head in ["PATCH /v1/status HTTP/1.1", "POST /v1/nowhere HTTP/1.1", "GET /v1/status HTTP/1.1"] {
        let answer = ask(&format!("{head}\r\nContent-Length: 5"), "").await;
        assert!(answer.contains("connection: close"), "{head}: {answer}");
    }
    for (head, body) in [
        ("PATCH /v1/status HTTP/1.1", ""),
        ("POST /v1/logins HTTP/1.1\r\nContent-Length: 2", "{}"),
        ("POST /v1/logins HTTP/1.1\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
    ] {
        let answer = ask(head, body).await;
        assert!(!answer.contains("connection: close"), "{head}: {answer}");
    }
}

async fn refused(daemon: &TestDaemon, method: &str, path: &str, body: &str, code: &str) {
    let answer = daemon.request(method, path, &[], body.to_owned()).await;
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{method} {path}: {}",
        answer.text()
    );
    assert_eq!(answer.json()["code"], code, "{method} {path}: {}", answer.text());
    assert_eq!(answer.json()["status"], answer.status.as_u16(), "{method} {path}");
    assert!(!answer.header("authd-version").is_empty() && !answer.header("authd-request").is_empty());
}

#[tokio::test]
async fn a_refused_body_is_never_quoted() {
    const SECRET: &str = "sk-SECRET of somebody";
    // Any text fits the other fields.
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
        let at = path.replace("{profile}", "nobody").replace("{id}", "lg_none");
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
                let answer = daemon.request(&method.to_uppercase(), &at, &[], body.clone()).await;
                let text = answer.text();
                assert_eq!(answer.json()["code"], "bad_request", "{method} {path} {body}: {text}");
                assert!(!text.contains("SECRET"), "{method} {path} {body}: {text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 80, "{refused}");
}

#[tokio::test]
async fn an_unknown_field_is_named_however_odd_it_is() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (body, named) in [
        (json!({"profil": 1}), "unknown field \"profil\" (line 1, column 9)"),
        (json!({"`, expected `": 1}), "unknown field \"\""),
        (json!({"a\u{1b}[31m\nb ä": 1}), "unknown field \"a?[31m?b ?\""),
        (json!({"x".repeat(10_000): 1}), &format!("unknown field \"{}\"", "x".repeat(64))),
    ] {
        let problem = daemon.request("POST", "/v1/logins", &[], body.to_string()).await.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{detail}");
        assert!(problem["hint"].is_string(), "{problem}");
    }
    let problem = daemon.request("POST", "/v1/store/migrate", &[], "{}").await.json();
    assert!(problem["detail"].as_str().unwrap().contains("missing field \"to\""), "{problem}");
}
