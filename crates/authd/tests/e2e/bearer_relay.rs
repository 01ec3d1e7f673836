//! The relay of a defined provider's profile, and of an MCP server: its URLs, what it hides, and
//! what it learns from the upstream's challenges.

use authd_oauth::Authority;
use authd_sandbox::test_daemon::{Reply, TestDaemon};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    bearer_profile::{Server, daemon, grant, renewable},
    doors::{Door, doors},
    helpers::sandbox,
    share_client::both,
};

const TOKEN: &str = "Bearer at-1";

fn of_mcp(server: &Server) -> Authority {
    Authority { base_url: Some(format!("{}/mcp?tenant=t", server.url)), is_mcp: true, ..of_token(server) }
}

fn of_api(server: &Server) -> Authority {
    Authority { base_url: Some(format!("{}/api", server.url)), ..of_token(server) }
}

fn of_token(server: &Server) -> Authority {
    Authority {
        token_url: format!("{}/token", server.url),
        requested_scopes: vec!["read".to_owned()],
        scopes: vec!["read".to_owned()],
        ..Authority::default()
    }
}

/// Sends a request to the URL of the profile itself.
async fn send(door: &Door, method: &str, slash: &str, headers: &[(&str, &str)]) -> Reply {
    let path = door.relay("");
    let path = format!("{}{slash}", path.trim_end_matches('/'));
    match door {
        Door::Daemon { .. } => unreachable!("the daemon's door takes no headers"),
        Door::Share(share) => share.send(method, &path, headers, "").await,
    }
}

async fn profile(daemon: &TestDaemon) -> Value {
    daemon.get("/v1/profiles/lab").await
}

#[tokio::test]
async fn url_of_an_mcp_server_is_that_of_its_relay_at_every_door() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, grant(of_mcp(&server))).await;
    let expect = |line: &str| assert_eq!(server.requests(), [(line.to_owned(), TOKEN.to_owned())]);
    for door in doors(&daemon, "lab").await {
        if let Door::Daemon { .. } = door {
            for path in ["/v1/profiles/lab/relay", "/v1/profiles/lab/relay/"] {
                let session = [("mcp-session-id", "s1")];
                assert!(daemon.request("DELETE", path, &session, "").await.status.is_success());
                assert_eq!(server.last_header("mcp-session-id").as_deref(), Some("s1"));
                expect("DELETE /mcp?tenant=t");
            }
            continue;
        }
        for (method, slash) in [("POST", ""), ("GET", "/"), ("DELETE", "")] {
            let headers = [("mcp-session-id", "s1"), ("accept", "text/event-stream")];
            assert!(send(&door, method, slash, &headers).await.status.is_success());
            assert_eq!(server.last_header("mcp-session-id").as_deref(), Some("s1"));
            assert_eq!(server.last_header("accept").as_deref(), Some("text/event-stream"));
            expect(&format!("{method} /mcp?tenant=t"));
        }
        assert!(send(&door, "GET", "?x=1", &[]).await.status.is_success());
        expect("GET /mcp?tenant=t&x=1");
        assert!(door.send("GET", "below/it?x=1", "").await.status.is_success());
        expect("GET /mcp/below/it?tenant=t&x=1");
    }
    for share in both(&daemon, json!({"profile": "lab", "paths": ["below"]})).await {
        let reply = share.send("GET", &share.relay(""), &[], "").await;
        assert_eq!((reply.status.as_u16(), server.requests()), (403, vec![]), "it has a list of paths");
    }
}

#[tokio::test]
async fn mcp_client_sees_no_sign_of_oauth() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, grant(of_mcp(&server))).await;
    let challenge = r#"Bearer resource_metadata="https://rs.example/.well-known/oauth-protected-resource""#;
    for door in doors(&daemon, "lab").await {
        for status in [StatusCode::OK, StatusCode::FORBIDDEN] {
            server.challenge(status, challenge);
            let reply = door.send("POST", "x", "{}").await;
            assert_eq!((reply.status, reply.header("www-authenticate")), (status, ""));
        }
        server.requests();
        for path in ["oauth-protected-resource", "oauth-authorization-server/mcp", "openid-configuration"] {
            let reply = door.send("GET", &format!(".well-known/{path}"), "").await;
            assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (404, &json!("not_found")), "{path}");
        }
        assert_eq!(server.requests(), [], "the daemon answers itself");
    }
    // Clients look for metadata without the key, and below the path of the URL.
    for share in both(&daemon, json!({"profile": "lab"})).await {
        for path in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/v1",
            "/.well-known/oauth-authorization-server",
            "/v1/.well-known/openid-configuration",
        ] {
            for headers in [&[][..], &[("authorization", "")]] {
                let reply = share.send("GET", path, headers, "").await;
                assert_eq!((reply.status.as_u16(), reply.header("www-authenticate")), (404, ""), "{path}");
            }
        }
    }
    assert_eq!(server.requests(), []);
    assert_eq!(daemon.get("/v1/profiles/lab").await["state"], "ready");
}

/// Other servers keep their headers: a client may need them.
#[tokio::test]
async fn other_providers_challenges_and_metadata_reach_the_client() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, grant(of_api(&server))).await;
    server.challenge(StatusCode::FORBIDDEN, "Bearer realm=x");
    let reply = daemon.request("GET", "/v1/profiles/lab/relay/projects?a=1", &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.header("www-authenticate")), (403, "Bearer realm=x"));
    daemon.request("GET", "/v1/profiles/lab/relay/.well-known/openid-configuration", &[], "").await;
    let lines: Vec<String> = server.requests().into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, ["GET /api/projects?a=1", "GET /api/.well-known/openid-configuration"]);
    let backend = daemon.request("GET", "/v1/profiles/lab/relay-backend/me", &[], "").await;
    assert_eq!((backend.status.as_u16(), &backend.json()["code"]), (409, &json!("conflict")));
    assert!(backend.text().contains("in bearer mode"), "{}", backend.text());
}

#[tokio::test]
async fn provider_without_a_base_url_is_told_by_its_key() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, grant(of_token(&server))).await;
    let reply = daemon.request("GET", "/v1/profiles/lab/relay/projects", &[], "").await;
    let problem = reply.json();
    assert_eq!((reply.status.as_u16(), &problem["code"]), (409, &json!("conflict")));
    assert!(problem["detail"].as_str().unwrap().contains("provider \"lab\" has no base_url"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("[providers.lab]"), "{problem}");
}

#[tokio::test]
async fn request_is_repeated_with_a_refreshed_token_after_a_401() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, renewable(of_mcp(&server))).await;
    server.challenge(StatusCode::UNAUTHORIZED, r#"Bearer error="invalid_token""#);
    server.issue("at-2");
    let reply = daemon.request("POST", "/v1/profiles/lab/relay", &[], "{}").await;
    assert!(reply.status.is_success(), "{}", reply.text());
    let expected =
        [("POST /mcp?tenant=t", TOKEN), ("POST /token", ""), ("POST /mcp?tenant=t", "Bearer at-2")];
    let expected = expected.map(|(line, token)| (line.to_owned(), token.to_owned()));
    assert_eq!(server.requests(), expected);
}

#[tokio::test]
async fn a_401_without_a_refresh_token_reaches_the_client_and_the_status() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, grant(of_mcp(&server))).await;
    server.challenge(StatusCode::UNAUTHORIZED, "Bearer");
    let reply = daemon.request("POST", "/v1/profiles/lab/relay", &[], "{}").await;
    assert_eq!((reply.status.as_u16(), reply.header("www-authenticate")), (401, ""));
    let rejected = profile(&daemon).await;
    // One rejection may be an error of the server.
    assert_eq!((&rejected["state"], &rejected["last_error"]["code"]), (&json!("ready"), &json!("conflict")));
    let hint = rejected["last_error"]["hint"].as_str().unwrap();
    assert_eq!(hint, "if it happens again, run: authctl login lab");
    let report = json!({"rejected_generation": 1, "grant_id": "grant-1"}).to_string();
    let reported = daemon.request("POST", "/v1/profiles/lab/refresh", &[], report).await;
    assert_eq!((reported.status.as_u16(), &reported.json()["code"]), (409, &json!("conflict")));
    // The next success shows that it was one.
    assert!(daemon.request("POST", "/v1/profiles/lab/relay", &[], "{}").await.status.is_success());
    while profile(&daemon).await["last_error"] != Value::Null {}
}

#[tokio::test]
async fn insufficient_scope_needs_a_sign_in_that_names_the_scopes() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let mut daemon = daemon(&sandbox, renewable(of_mcp(&server))).await;
    // A challenge for scopes that the sign-in requested already is no reason for another one.
    server.challenge(StatusCode::FORBIDDEN, r#"Bearer error="insufficient_scope", scope="read""#);
    assert_eq!(daemon.request("POST", "/v1/profiles/lab/relay", &[], "{}").await.status, 403);
    assert_eq!(profile(&daemon).await["state"], "ready");
    let [_, share] = both(&daemon, json!({"profile": "lab"})).await;
    server.challenge(StatusCode::FORBIDDEN, r#"Bearer scope="read write", error="insufficient_scope""#);
    let reply = share.send("POST", "/v1", &[], "{}").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (403, "refused".to_owned()));
    let lacking = profile(&daemon).await;
    assert_eq!(
        (&lacking["state"], &lacking["missing_scopes"]),
        (&json!("login_required"), &json!(["write"]))
    );
    assert_eq!(
        (&lacking["last_error"]["detail"], &lacking["last_error"]["hint"]),
        (
            &json!("a server asks for scopes that profile \"lab\" lacks: write"),
            &json!("run: authctl login lab")
        )
    );
    // A restart changes nothing.
    daemon.restart().await;
    for path in ["/v1/profiles/lab/headers", "/v1/profiles/lab/relay"] {
        let reply = daemon.request("GET", path, &[], "").await;
        assert_eq!(reply.json()["code"], "login_required");
        assert!(reply.json()["detail"].as_str().unwrap().ends_with("lacks: write"), "{}", reply.text());
    }
}

#[tokio::test]
async fn client_reports_missing_scopes_once() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, renewable(of_api(&server))).await;
    let report = async |profile: &str, body: Value| {
        let path = format!("/v1/profiles/{profile}/refresh");
        let reply = daemon.request("POST", &path, &[], body.to_string()).await;
        let field = if reply.status.is_success() { "state" } else { "code" };
        (reply.status.as_u16(), reply.json()[field].as_str().unwrap().to_owned(), reply.text())
    };
    let expect = |(status, word, text): (u16, String, String), expected: (u16, &str)| {
        assert_eq!((status, word.as_str()), expected, "{text}");
        text
    };
    for invalid in
        [json!(["a b"]), json!([""]), json!(["\u{e9}"]), json!(vec!["s"; 101]), json!(["\"quoted\""])]
    {
        expect(report("lab", json!({"missing_scopes": invalid})).await, (400, "bad_request"));
    }
    let known = expect(report("lab", json!({"missing_scopes": ["read"]})).await, (409, "conflict"));
    assert!(known.contains("a new sign-in would not help"), "{known}");
    let other = json!({"missing_scopes": ["write"], "grant_id": "another"});
    expect(report("lab", other).await, (200, "ready"));
    let openai = expect(report("default", json!({"missing_scopes": ["write"]})).await, (409, "conflict"));
    assert!(openai.contains("is of OpenAI"), "{openai}");
    for _ in 0..2 {
        let scopes = json!({"missing_scopes": ["read", "write"], "grant_id": "grant-1"});
        expect(report("lab", scopes).await, (200, "login_required"));
    }
    assert_eq!(profile(&daemon).await["missing_scopes"], json!(["write"]));
    assert_eq!(server.requests(), [], "nothing is refreshed");
}
