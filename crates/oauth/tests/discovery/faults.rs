//! Malformed documents: each has a sentence and a remedy, and ends the discovery.

use std::time::Duration;

use authd_oauth::discovery::{DiscoveryFault, MAX_DOCUMENT, Start};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::server::{Server, challenge, discover, redirect, status};

const RFC_8414: &str = "/.well-known/oauth-authorization-server";

/// Checks the sentence and the remedy of a fault.
fn check(fault: &DiscoveryFault, sentence: &str) {
    let text = fault.to_string();
    assert!(text.contains(sentence), "{text}");
    assert!(!text.contains(char::is_control) && text.len() < 400, "{text}");
    assert!(fault.remedy().len() > 20, "{text}");
}

#[tokio::test]
async fn a_malformed_document_is_refused_and_no_other_is_tried() {
    let text = |text: &'static str| Value::String(text.to_owned());
    for (field, value, sentence) in [
        ("issuer", text("https://other.example"), "belongs to https://other.example, and the issuer http"),
        ("issuer", text("call:0800"), "belongs to another issuer, and the issuer http"),
        ("issuer", Value::Null, "lacks issuer"),
        ("authorization_endpoint", Value::Null, "lacks authorization_endpoint"),
        ("token_endpoint", Value::Null, "lacks token_endpoint"),
        ("token_endpoint", text("http://as.example/token"), "token_endpoint is not an https URL"),
        ("token_endpoint", text("/token"), "token_endpoint is not an https URL"),
        ("token_endpoint", text("https://user@as.example/token"), "token_endpoint is not an https URL"),
        ("token_endpoint", text("https://as.example/a\u{1b}[31m"), "wrong form in token_endpoint"),
        ("token_endpoint", json!(["https://as.example"]), "wrong form in token_endpoint"),
        ("authorization_endpoint", text("javascript:alert(1)"), "authorization_endpoint is not an https URL"),
        ("registration_endpoint", text("http://as.example/"), "registration_endpoint is not an https URL"),
        ("scopes_supported", text("a b"), "wrong form in scopes_supported"),
        ("scopes_supported", json!(["a b"]), "wrong form in scopes_supported"),
        ("scopes_supported", json!(vec!["a"; 2001]), "wrong form in scopes_supported"),
        ("code_challenge_methods_supported", Value::Null, "does not offer PKCE with S256"),
        ("code_challenge_methods_supported", json!(["plain"]), "does not offer PKCE with S256"),
        ("require_pushed_authorization_requests", json!(true), "lacks pushed_authorization_request_endpoint"),
        ("require_pushed_authorization_requests", text("yes"), "wrong form in require_pushed"),
    ] {
        let server = Server::start().await;
        let mut metadata = server.metadata("");
        metadata[field] = value;
        server.on_json(RFC_8414, &metadata);
        server.on_json("/.well-known/openid-configuration", &server.metadata(""));
        check(&server.fault().await, sentence);
        assert_eq!(server.paths(), [RFC_8414]);
    }
}

#[tokio::test]
async fn a_response_that_is_no_document_is_refused() {
    let body = |text: &'static str| move || text.into_response();
    let server = Server::start().await;
    let elsewhere = Server::start().await;
    let other = format!("{}{RFC_8414}", elsewhere.url);
    elsewhere.on_json(RFC_8414, &server.metadata(""));
    server.on(RFC_8414, body("<html>"));
    check(&server.fault().await, "is not a JSON object");
    server.on(RFC_8414, body("[]"));
    check(&server.fault().await, "is not a JSON object");
    server.on(RFC_8414, move || redirect(&other));
    check(&server.fault().await, "redirects to another host");
    server.on(RFC_8414, || redirect("https://127.0.0.1/"));
    check(&server.fault().await, "redirects to another host or scheme");
    server.on(RFC_8414, || redirect(RFC_8414));
    check(&server.fault().await, "redirects again and again");
    server.on(RFC_8414, || status(302));
    check(&server.fault().await, "responds with status 302");
    for number in [429, 500, 503] {
        server.on(RFC_8414, move || status(number));
        let fault = server.fault().await;
        check(&fault, &format!("responds with status {number}"));
        assert!(fault.is_transient());
    }
    assert!(elsewhere.paths().is_empty(), "a redirect to another host was followed");
    check(&Server::start().await.fault().await, "publishes no authorization server metadata");
}

#[tokio::test]
async fn a_document_is_bounded_in_size_and_time() {
    let server = Server::start().await;
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_DOCUMENT));
    server.on(RFC_8414, move || long.clone().into_response());
    check(&server.fault().await, "is longer than 256 KiB");
    let endless =
        || Response::new(Body::from_stream(stream::repeat_with(|| Ok::<_, String>(" ".repeat(4096)))));
    server.on(RFC_8414, endless);
    check(&server.fault().await, "is longer than 256 KiB");
    // The head arrives, and the body never ends.
    let stalled = || {
        let begin = stream::iter([Ok::<_, String>("{")]);
        Response::new(Body::from_stream(begin.chain(stream::pending())))
    };
    server.on(RFC_8414, stalled);
    let run = discover(Start::Issuer(server.url.clone()), Duration::from_millis(200)).await;
    let fault = run.result.unwrap_err();
    check(&fault, "did not send the document in time");
    assert!(fault.is_transient());
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let fault = discover(Start::Issuer(url.clone()), Duration::from_secs(30)).await.result.unwrap_err();
    check(&fault, &format!("{} cannot be reached: ", url.trim_start_matches("http://")));
    let run = discover(Start::Issuer("http://as.example".to_owned()), Duration::from_secs(30)).await;
    check(&run.result.unwrap_err(), "discovery needs an https URL");
    assert!(run.requests.is_empty());
}

#[tokio::test]
async fn malformed_metadata_of_a_resource_is_refused() {
    let server = Server::start().await;
    let own = format!("{}/mcp", server.url);
    let fault = async || server.discover(Start::Mcp, "/mcp").await.result.unwrap_err();
    let about = format!("Bearer resource_metadata=\"{}/about\"", server.url);
    server.on("/mcp", move || challenge(&about));
    for (resource, servers, sentence) in [
        (json!("https://other.example/mcp"), json!(["https://as.example"]), "describes another resource"),
        (json!(format!("{}/mc", server.url)), json!(["https://as.example"]), "describes another resource"),
        (json!(format!("{own}/x")), json!(["https://as.example"]), "describes another resource"),
        (Value::Null, json!(["https://as.example"]), "lacks resource"),
        (json!(own), Value::Null, "lacks authorization_servers"),
        (json!(own), json!([]), "lacks authorization_servers"),
        (json!(own), json!("https://as.example"), "wrong form in authorization_servers"),
        (json!(own), json!(["http://as.example"]), "authorization_servers is not an https URL"),
        (json!(own), json!(["https://as.example/?a=b"]), "authorization_servers is not an https URL"),
    ] {
        server.on_json("/about", &json!({"resource": resource, "authorization_servers": servers}));
        check(&fault().await, sentence);
    }
    // What the server names must exist, and may not be insecure.
    server.on("/about", || status(404));
    check(&fault().await, "responds with status 404");
    server.on("/mcp", || challenge("Bearer resource_metadata=\"http://rs.example/about\""));
    check(&fault().await, "resource_metadata is not an https URL");
    // A named document in place of the well-known ones.
    server.on("/mcp", || status(200));
    check(&fault().await, "asks for no sign-in (status 200) and publishes no metadata");
}
