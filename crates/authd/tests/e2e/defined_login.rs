//! Browser logins at defined providers.

use std::{fs, os::unix::fs::PermissionsExt};

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    authorization_server::{AuthorizationServer, MCP_SCOPE},
    helpers::{AUTHD, finished, sandbox, start, value},
};

/// A daemon that knows the server as the provider `lab`, with these further keys.
pub(crate) async fn daemon(sandbox: &Sandbox, server: &AuthorizationServer, keys: &str) -> TestDaemon {
    let toml = format!("[providers.lab]\nissuer = '{}'\n{keys}\n", server.url);
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file").toml(&toml)).await
}

/// The same with one callback port, which a restart keeps: redirect URIs contain it.
async fn daemon_with_port(sandbox: &Sandbox, server: &AuthorizationServer, keys: &str) -> TestDaemon {
    let toml = format!("[providers.lab]\nissuer = '{}'\n{keys}\n", server.url);
    let config = TestDaemonConfig::new(AUTHD, sandbox).store("file").toml(&toml);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    TestDaemon::start(config.callback(&format!("ports = [{port}]"))).await
}

/// Signs in with a browser, and returns the login after its end.
pub(crate) async fn sign_in(sandbox: &Sandbox, daemon: &TestDaemon, body: Value) -> Value {
    let (login, url) = start(daemon, body).await;
    sandbox.browser().open(&url).await.unwrap();
    finished(daemon, &login).await
}

async fn token(daemon: &TestDaemon, profile: &str) -> String {
    value(&daemon.get(&format!("/v1/profiles/{profile}/headers")).await, "Authorization")
}

#[tokio::test]
async fn login_follows_the_metadata_and_yields_one_header() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let keys = "client_id = 'me'\nscopes = ['openid', 'api']\nresource = 'https://api.example/v1'\n\
                audience = 'api'\nauthorize_params = { access_type = 'offline' }\n\
                base_url = 'https://api.example/v1'";
    let daemon = daemon(&sandbox, &server, keys).await;
    let claims = json!({"iss": server.url, "aud": "me", "sub": "user-1", "email": "user@example.com"});
    server.answer(
        "/token",
        200,
        json!({"access_token": "at-1", "refresh_token": "rt-1", "token_type": "bearer", "expires_in": 3600,
            "scope": "openid", "id_token": AuthorizationServer::id_token(&claims)}),
    );
    let login = sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
    assert_eq!(login["state"], "succeeded", "{login}");
    assert_eq!((&login["provider"], &login["issuer"]), (&json!("lab"), &json!(server.url)));
    let sent = server.last("/authorize").form;
    let redirect_uri = login["redirect_uri"].as_str().unwrap();
    assert!(redirect_uri.starts_with("http://127.0.0.1:") && redirect_uri.ends_with("/callback"));
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "me"),
        ("redirect_uri", redirect_uri),
        ("code_challenge_method", "S256"),
        ("scope", "openid api"),
        ("resource", "https://api.example/v1"),
        ("audience", "api"),
        ("access_type", "offline"),
    ] {
        assert_eq!(sent[name], expected, "{name}");
    }
    let sent = server.last("/token");
    assert_eq!(sent.authorization, None);
    for (name, expected) in [
        ("grant_type", "authorization_code"),
        ("code", "code-1"),
        ("redirect_uri", redirect_uri),
        ("client_id", "me"),
        ("resource", "https://api.example/v1"),
    ] {
        assert_eq!(sent.form[name], expected, "{name}");
    }
    assert_eq!(sent.form["code_verifier"].len(), 86);
    let headers = daemon.get("/v1/profiles/lab/headers").await;
    assert_eq!(headers["headers"], json!([["Authorization", "Bearer at-1"]]));
    assert_eq!(
        (&headers["mode"], &headers["base_url"], &headers["responses_url"]),
        (&json!("bearer"), &json!("https://api.example/v1"), &json!(""))
    );
    let profile = daemon.get("/v1/profiles/lab").await;
    for (field, expected) in [
        ("email", json!("user@example.com")),
        ("provider", json!("lab")),
        ("issuer", json!(server.url)),
        ("resource", json!("https://api.example/v1")),
        ("scopes", json!(["openid"])),
        ("default", json!(false)),
    ] {
        assert_eq!(profile[field], expected, "{field}");
    }
    // A refresh sends the resource, too, and keeps what the response does not mention.
    server.answer("/token", 200, json!({"access_token": "at-2", "expires_in": 3600}));
    daemon.post("/v1/profiles/lab/refresh", json!({})).await;
    let sent = server.last("/token").form;
    assert_eq!(
        (&*sent["grant_type"], &*sent["refresh_token"], &*sent["resource"]),
        ("refresh_token", "rt-1", "https://api.example/v1")
    );
    assert_eq!(token(&daemon, "lab").await, "Bearer at-2");
    daemon.post("/v1/profiles/lab/refresh", json!({})).await;
    assert_eq!(server.last("/token").form["refresh_token"], "rt-1");
    // A sign-out revokes the refresh token.
    let reply = daemon.request("DELETE", "/v1/profiles/lab?revoke=true", &[], "").await;
    assert!(reply.status.is_success(), "{}", reply.text());
    let sent = server.last("/revoke").form;
    assert_eq!((sent["token"].starts_with("rt-"), &*sent["token_type_hint"]), (true, "refresh_token"));
}

#[tokio::test]
async fn pending_login_and_its_client_outlive_a_restart() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let mut daemon = daemon_with_port(&sandbox, &server, "registration = 'auto'").await;
    let (login, url) = start(&daemon, json!({"provider": "lab"})).await;
    daemon.kill9().await;
    daemon.start_again().await;
    sandbox.browser().open(&url).await.unwrap();
    let login = finished(&daemon, &login).await;
    assert_eq!(login["state"], "succeeded", "{login}");
    daemon.restart().await;
    let first = token(&daemon, "lab").await;
    daemon.post("/v1/profiles/lab/refresh", json!({})).await;
    assert_ne!(token(&daemon, "lab").await, first);
    assert_eq!(server.last("/token").form["client_id"], "client-1");
}

#[tokio::test]
async fn client_is_registered_once() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let mut daemon = daemon_with_port(&sandbox, &server, "registration = 'auto'").await;
    for profile in ["lab", "other"] {
        let login = sign_in(&sandbox, &daemon, json!({"provider": "lab", "profile": profile})).await;
        assert_eq!(login["state"], "succeeded", "{login}");
        daemon.restart().await;
    }
    let both = [0, 1].map(|_| json!({"provider": "lab", "profile": "third"}));
    for body in both {
        start(&daemon, body).await;
    }
    let registrations = server.requests("/register");
    assert_eq!(registrations.len(), 1);
    let body: Value = serde_json::from_str(&registrations[0].body).unwrap();
    assert_eq!(
        (&body["token_endpoint_auth_method"], &body["application_type"], &body["response_types"]),
        (&json!("none"), &json!("native"), &json!(["code"]))
    );
    let redirect_uris = body["redirect_uris"].as_array().unwrap();
    let login = daemon.get("/v1/logins").await["logins"][0].clone();
    assert!(redirect_uris.contains(&login["redirect_uri"]), "{redirect_uris:?}");

    // A registration that cannot be read is not an absence.
    let store = daemon.state().join("store");
    let is_client = |path: &std::path::Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("client."))
    };
    let file = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).find(|path| is_client(path));
    let file = file.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let refused = daemon.request("POST", "/v1/logins", &[], json!({"provider": "lab"}).to_string()).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    fs::remove_dir(&file).unwrap();
    fs::write(&file, kept).unwrap();

    // A client that the server has forgotten is registered again, at the next login.
    server.answer("/token", 401, json!({"error": "invalid_client"}));
    let login = sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
    assert_eq!(login["error"]["provider_code"], "invalid_client", "{login}");
    assert!(login["error"]["hint"].as_str().unwrap().contains("registers a new client"), "{login}");
    let login = sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
    assert_eq!((&login["state"], server.requests("/register").len()), (&json!("succeeded"), 2));
}

#[tokio::test]
async fn secret_of_a_client_goes_where_the_server_wants_it() {
    let methods = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(methods).await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "s3:cret\n").unwrap();
    let keys = format!("client_id = 'me'\nclient_secret_file = '{}'", secret.path().display());
    let daemon = daemon(&sandbox, &server, &keys).await;
    let login = sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
    assert_eq!(login["state"], "succeeded", "{login}");
    let sent = server.last("/token");
    assert_eq!((sent.authorization.as_deref(), &*sent.form["client_secret"]), (None, "s3:cret"));

    let basic = json!({"client_id": "registered", "client_secret": "a b", "token_endpoint_auth_method":
        "client_secret_basic"});
    let pushed = json!({"pushed_authorization_request_endpoint": "URL/push",
        "require_pushed_authorization_requests": true});
    let server = AuthorizationServer::start(pushed).await;
    server.answer("/register", 201, basic);
    let daemon = self::daemon(&sandbox, &server, "registration = 'auto'").await;
    sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
    daemon.post("/v1/profiles/lab/refresh", json!({})).await;
    // base64 of `registered:a%20b`.
    let authorization = Some("Basic cmVnaXN0ZXJlZDphJTIwYg==");
    // The client id is a parameter of a pushed request, too (RFC 9126, section 2.1).
    let sent = server.last("/push");
    assert_eq!((sent.authorization.as_deref(), &*sent.form["client_id"]), (authorization, "registered"));
    for sent in server.requests("/token") {
        assert_eq!(sent.authorization.as_deref(), authorization);
        assert!(!sent.form.contains_key("client_id") && !sent.form.contains_key("client_secret"));
    }
}

#[tokio::test]
async fn required_pushed_request_carries_the_parameters() {
    let changes = json!({"pushed_authorization_request_endpoint": "URL/push",
        "require_pushed_authorization_requests": true});
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(changes).await);
    let daemon = daemon(&sandbox, &server, "client_id = 'me'\nscopes = ['a']").await;
    let (login, url) = start(&daemon, json!({"provider": "lab"})).await;
    assert_eq!(url, format!("{}/authorize?client_id=me&request_uri=urn%3Arequest%3A0", server.url));
    let sent = server.last("/push").form;
    assert_eq!((&*sent["scope"], &*sent["client_id"], sent["code_challenge"].len()), ("a", "me", 43));
    sandbox.browser().open(&url).await.unwrap();
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    assert_eq!(server.last("/push").body.matches("client_id=").count(), 1);
    server.answer("/push", 400, json!({"error": "invalid_redirect_uri"}));
    let refused = daemon.request("POST", "/v1/logins", &[], json!({"provider": "lab"}).to_string()).await;
    assert_eq!(refused.json()["code"], "provider_refused", "{}", refused.text());
}

#[tokio::test]
async fn redirect_of_another_issuer_sends_no_code_anywhere() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let daemon = daemon(&sandbox, &server, "client_id = 'me'").await;
    for issuer in ["&iss=https%3A%2F%2Fevil.example", ""] {
        let (login, url) = start(&daemon, json!({"provider": "lab"})).await;
        let state = url.split("state=").nth(1).unwrap().split('&').next().unwrap();
        let redirect = format!("{}?code=x&state={state}{issuer}", login["redirect_uri"].as_str().unwrap());
        let page = sandbox.browser().open(&redirect).await.unwrap();
        assert_eq!(page.status, 400);
        let login = finished(&daemon, &login).await;
        assert_eq!(login["error"]["code"], "login_denied", "{login}");
        assert!(login["error"]["detail"].as_str().unwrap().contains("another issuer"), "{login}");
    }
    assert_eq!(server.requests("/token").len(), 0);
    // The state is only known at the path of its own redirect URI.
    let (login, url) = start(&daemon, json!({"provider": "lab"})).await;
    let state = url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let other_path = login["redirect_uri"].as_str().unwrap().replace("/callback", "/auth/callback");
    let query = format!("code=x&state={state}&iss={}", server.url);
    let page = sandbox.browser().open(&format!("{other_path}?{query}")).await.unwrap();
    assert_eq!((page.status, finished_now(&daemon, &login).await), (400, json!("pending")));
}

async fn finished_now(daemon: &TestDaemon, login: &Value) -> Value {
    daemon.get(&format!("/v1/logins/{}", login["id"].as_str().unwrap())).await["state"].clone()
}

#[tokio::test]
async fn id_token_of_another_sign_in_is_refused() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let daemon = daemon(&sandbox, &server, "client_id = 'me'").await;
    for claims in [
        json!({"iss": "https://other.example", "aud": "me", "sub": "user-1"}),
        json!({"iss": server.url, "aud": ["you"], "sub": "user-1"}),
    ] {
        let id_token = AuthorizationServer::id_token(&claims);
        server.answer("/token", 200, json!({"access_token": "at", "id_token": id_token}));
        let login = sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
        assert_eq!(login["error"]["code"], "login_denied", "{login}");
    }
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]));
}

/// A provider that fails to state the user once leaves the login under its name.
#[tokio::test]
async fn users_of_a_provider_are_two_only_if_it_says_so() {
    let changes = json!({"userinfo_endpoint": "URL/userinfo"});
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(changes).await);
    let daemon = daemon(&sandbox, &server, "client_id = 'me'\nscopes = ['openid']").await;
    for (status, body, name) in [
        (200, json!({"sub": "user-1"}), "lab"),
        (500, json!({}), "lab"),
        (200, json!({"sub": "user-1"}), "lab"),
        (200, json!({"sub": "user-2"}), "lab-2"),
    ] {
        server.answer("/token", 200, json!({"access_token": "at", "expires_in": 3600}));
        server.answer("/userinfo", status, body);
        let login = sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await;
        assert_eq!(login["result"]["name"], name, "{login}");
    }
}

#[tokio::test]
async fn fixed_port_of_a_redirect_uri_is_open_while_its_login_is_pending() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    let keys = format!("client_id = 'me'\nredirect_uri = 'http://localhost:{port}/my/app'");
    let mut daemon = daemon(&sandbox, &server, &keys).await;
    let body = json!({"provider": "lab"});
    let refused = daemon.request("POST", "/v1/logins", &[], body.to_string()).await;
    assert_eq!(refused.json()["code"], "callback_unavailable", "{}", refused.text());
    drop(free);
    let login = sign_in(&sandbox, &daemon, body.clone()).await;
    assert_eq!(
        (&login["state"], &login["redirect_uri"]),
        (&json!("succeeded"), &json!(format!("http://localhost:{port}/my/app")))
    );
    // It opens again after a restart, and closes with the end of the login.
    let (login, url) = start(&daemon, body).await;
    daemon.restart().await;
    // The response waits until the logins of the last run are restored.
    assert_eq!(finished_now(&daemon, &login).await, "pending");
    sandbox.browser().open(&url).await.unwrap();
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        daemon.get("/v1/status").await;
    }
}

#[tokio::test]
async fn logins_share_the_fixed_port_of_their_redirect_uris() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let redirect_uri = format!("http://{}/", free.local_addr().unwrap());
    let keys = format!("client_id = 'me'\nredirect_uri = '{redirect_uri}'");
    drop(free);
    let daemon = daemon(&sandbox, &server, &keys).await;
    let mut logins = Vec::new();
    for profile in ["one", "two"] {
        logins.push(start(&daemon, json!({"provider": "lab", "profile": profile})).await);
    }
    for (login, url) in logins {
        sandbox.browser().open(&url).await.unwrap();
        assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    }
    // The port of the last login closes before it is opened for the next one.
    let login = sign_in(&sandbox, &daemon, json!({"provider": "lab", "profile": "three"})).await;
    assert_eq!(login["state"], "succeeded", "{login}");
}

#[tokio::test]
async fn mcp_server_leads_to_its_issuer_scopes_and_resource() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let toml = format!("[providers.tools]\nmcp = '{}/mcp'\n", server.url);
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    let login = sign_in(&sandbox, &daemon, json!({"provider": "tools"})).await;
    assert_eq!((&login["state"], &login["issuer"]), (&json!("succeeded"), &json!(server.url)), "{login}");
    let (sent, resource) = (server.last("/authorize").form, format!("{}/mcp", server.url));
    assert_eq!((&sent["scope"], &sent["resource"]), (&MCP_SCOPE.to_owned(), &resource));
    assert_eq!(daemon.get("/v1/profiles/tools/headers").await["base_url"], resource);
    // A step-up: the next sign-in requests what was missing, without naming the provider.
    let missing = json!({"missing_scopes": ["tools:write"]});
    let profile = daemon.post("/v1/profiles/tools/refresh", missing).await;
    assert_eq!(
        (&profile["state"], &profile["missing_scopes"]),
        (&json!("login_required"), &json!(["tools:write"]))
    );
    let refused = daemon.request("GET", "/v1/profiles/tools/headers", &[], "").await;
    assert_eq!(refused.json()["code"], "login_required", "{}", refused.text());
    sign_in(&sandbox, &daemon, json!({"profile": "tools", "scopes": ["extra"]})).await;
    assert_eq!(server.last("/authorize").form["scope"], format!("{MCP_SCOPE} tools:write extra"));
    let profile = daemon.get("/v1/profiles/tools").await;
    assert_eq!((&profile["state"], &profile["missing_scopes"]), (&json!("ready"), &Value::Null));
}

#[tokio::test]
async fn login_that_cannot_begin_says_why_and_has_no_effect() {
    let no_registration = json!({"registration_endpoint": null, "device_authorization_endpoint": null});
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(no_registration).await);
    let daemon = daemon(&sandbox, &server, "registration = 'auto'").await;
    for (body, code, text) in [
        (json!({"provider": "lab"}), "login_denied", "registers no client"),
        (json!({"provider": "unknown"}), "provider_unknown", "no provider"),
        (json!({"provider": "lab", "mode": "chatgpt"}), "bad_request", "mode"),
        (json!({"provider": "lab", "workspace": "w"}), "bad_request", "workspace"),
        (json!({"provider": "lab", "scopes": ["a b"]}), "bad_request", "scope"),
        (json!({"scopes": ["a"]}), "bad_request", "scopes"),
        (json!({"provider": "lab", "flow": "device"}), "login_denied", "device flow"),
    ] {
        let refused = daemon.request("POST", "/v1/logins", &[], body.to_string()).await;
        assert_eq!(refused.json()["code"], code, "{body}: {}", refused.text());
        assert!(refused.json()["detail"].as_str().unwrap().contains(text), "{body}: {}", refused.text());
        assert!(refused.json()["hint"].is_string(), "{body}: {}", refused.text());
    }
    assert_eq!(daemon.get("/v1/logins").await["logins"], json!([]));
    server.answer("/.well-known/oauth-authorization-server", 200, json!({"issuer": "https://other.example"}));
    let refused = daemon.request("POST", "/v1/logins", &[], json!({"provider": "lab"}).to_string()).await;
    assert_eq!(refused.json()["code"], "provider_refused", "{}", refused.text());
}
