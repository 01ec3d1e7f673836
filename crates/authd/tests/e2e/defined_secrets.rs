//! Secrets of sign-ins at defined providers: they are in the store, which is encrypted, and nowhere
//! else.

use std::{fs, path::Path};

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::{
    authorization_server::AuthorizationServer,
    helpers::{AUTHD, finished, sandbox, start, value},
};

const CLIENT_SECRET: &str = "cs-3f9d1c7a5b";
const REGISTERED_SECRET: &str = "rs-8e2b4d6f0a";
const CODE: &str = "ac-5d7f9b1c3e";
const DEVICE_CODE: &str = "dc-1a3c5e7f9b";
const ID_TOKEN_CLAIM: &str = "private-9c7e5a3b";

/// The access token and the refresh token with this number.
fn tokens(number: u32) -> [String; 2] {
    ["at", "rt"].map(|kind| format!("{kind}-7b9d{number}f1a3c5e"))
}

fn token_response(number: u32) -> Value {
    let [access_token, refresh_token] = tokens(number);
    let id_token = AuthorizationServer::id_token(&json!({"sub": "u", "nonce": ID_TOKEN_CLAIM}));
    json!({"access_token": access_token, "refresh_token": refresh_token, "id_token": id_token,
        "token_type": "bearer", "expires_in": 3600})
}

/// An error that repeats what the request contained.
fn echo(number: u32) -> Value {
    let [access_token, refresh_token] = tokens(number);
    json!({"error": "invalid_grant", "access_token_hint": access_token,
        "error_description": format!("{CODE} {DEVICE_CODE} {CLIENT_SECRET} {REGISTERED_SECRET} {refresh_token}")})
}

/// Finishes a browser login with a code of its own.
async fn redirect(
    sandbox: &Sandbox,
    daemon: &TestDaemon,
    server: &AuthorizationServer,
    body: Value,
) -> Value {
    let (login, url) = start(daemon, body).await;
    let state = url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let query = format!("code={CODE}&state={state}&iss={}", server.url);
    let url = format!("{}?{query}", login["redirect_uri"].as_str().unwrap());
    sandbox.browser().open(&url).await.unwrap();
    finished(daemon, &login).await
}

fn files_below(directory: &Path, contents: &mut Vec<u8>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, contents);
        } else {
            contents.extend(fs::read(&path).unwrap_or_default());
        }
    }
}

#[tokio::test]
async fn secrets_of_a_sign_in_are_in_no_log_response_argument_or_plain_file() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), CLIENT_SECRET).unwrap();
    let toml = format!(
        "[providers.lab]\nissuer = '{}'\nclient_id = 'me'\nclient_secret_file = '{}'\nclient_auth = 'post'\n\
         base_url = '{0}/api'\n",
        server.url,
        secret.path().display()
    );
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").toml(&toml);
    let daemon = TestDaemon::start(config.env("RUST_LOG", "trace")).await;
    daemon
        .request("PUT", "/v1/providers/tools", &[], json!({"mcp": format!("{}/mcp", server.url)}).to_string())
        .await;
    let registered = json!({"client_id": "registered", "client_secret": REGISTERED_SECRET,
        "token_endpoint_auth_method": "client_secret_post"});
    server.answer("/register", 201, registered);
    let mut received = String::new();

    // A refused and an accepted sign-in of each kind.
    for (number, provider) in [(1, "lab"), (2, "tools")] {
        let body = json!({"provider": provider});
        server.answer("/token", 400, echo(number));
        let login = redirect(&sandbox, &daemon, &server, body.clone()).await;
        received += &login["error"].to_string();
        server.answer("/token", 200, token_response(number));
        let login = redirect(&sandbox, &daemon, &server, body).await;
        assert_eq!(login["state"], "succeeded", "{login}");
        received += &login["result"].to_string();
    }
    let device = json!({"device_code": DEVICE_CODE, "user_code": "AB-CD", "expires_in": 600, "interval": 1,
        "verification_uri": format!("{}/enter", server.url)});
    server.answer("/device", 200, device);
    server.answer("/token", 200, token_response(3));
    let body = json!({"provider": "lab", "profile": "phone", "flow": "device"});
    let login = daemon.post("/v1/logins", body).await;
    // It is being exchanged, then at its end.
    for _ in 0..2 {
        received += &finished(&daemon, &login).await.to_string();
    }
    let headers = daemon.get("/v1/profiles/phone/headers").await;
    assert_eq!(value(&headers, "Authorization"), format!("Bearer {}", tokens(3)[0]));

    // Refreshes that fail in each way, one that succeeds, a relayed request, and a revocation.
    for (status, body) in [(503, echo(1)), (401, echo(1)), (302, echo(1)), (200, token_response(4))] {
        server.answer("/token", status, body);
        received += &daemon.request("POST", "/v1/profiles/lab/refresh", &[], "{}").await.text();
    }
    received += &daemon.request("GET", "/v1/profiles/lab/relay/none", &[], "").await.text();
    server.answer("/revoke", 503, echo(2));
    received += &daemon.request("DELETE", "/v1/profiles/tools?revoke=true", &[], "").await.text();
    for path in ["status", "profiles", "providers", "logins", "shares", "diagnosis", "metrics"] {
        received += &daemon.request("GET", &format!("/v1/{path}"), &[], "").await.text();
    }

    let mut secrets: Vec<String> = (1..=4).flat_map(tokens).collect();
    secrets.extend([CLIENT_SECRET, REGISTERED_SECRET, CODE, DEVICE_CODE, ID_TOKEN_CLAIM].map(str::to_owned));
    let sent = [server.requests("/token"), server.requests("/authorize")].concat();
    let fields = ["code_verifier", "state", "device_code", "refresh_token", "client_secret"];
    let fields = sent.iter().flat_map(|sent| fields.iter().filter_map(|name| sent.form.get(*name)));
    secrets.extend(fields.cloned());
    let id_token = token_response(1)["id_token"].as_str().unwrap().to_owned();
    secrets.push(id_token.split('.').nth(1).unwrap().to_owned());
    let pid = daemon.pid().unwrap();
    let mut places = vec![
        ("log", daemon.log().into_bytes()),
        ("response", received.into_bytes()),
        ("argument", fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()),
        ("environment", fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()),
    ];
    let mut files = Vec::new();
    files_below(&daemon.state(), &mut files);
    places.push(("file", files));
    for (place, text) in &places {
        let text = String::from_utf8_lossy(text);
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a {place} contains {secret}");
        }
    }
    assert!(places[0].1.len() > 1000 && String::from_utf8_lossy(&places[4].1).contains("/mcp"));
}
