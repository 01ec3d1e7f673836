//! Shares: what their doors give and refuse, and how they end.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use authd_sandbox::{Fault, Route, test_daemon::TestDaemon, test_daemon::TestDaemonConfig};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::{
    client_async,
    tungstenite::{ClientRequestBuilder, Message},
};

use crate::{
    helpers::{AUTHD, daemon, responses_request, sandbox},
    share_client::{Holder, both},
};

#[tokio::test]
async fn both_doors_give_the_relay_and_the_allowed_headers() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let expected = daemon.get("/v1/profiles/me/headers").await;
    for share in both(&daemon, json!({"profile": "me", "allow": "headers"})).await {
        let body = responses_request("What is 2+2?").to_string();
        let reply = share.send("POST", &share.relay("responses"), &[], body).await;
        assert!(reply.text().contains("= 4."), "{}", reply.text());
        let reply = share.send("GET", "/v1/profiles/-/headers", &[], "").await;
        assert_eq!(reply.json(), expected);
    }
    // The upstream gets the profile's credential, and not the key of the share.
    for request in sandbox.requests_of(Route::ChatGptResponses) {
        assert_eq!(request.header("authorization"), expected["headers"][0][1].as_str());
    }
}

#[tokio::test]
async fn relay_share_does_not_give_the_headers() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for share in both(&daemon, json!({})).await {
        let reply = share.send("GET", "/v1/profiles/-/headers", &[], "").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (403, &json!("forbidden")));
        assert_eq!(share.models().await, 200);
    }
}

#[tokio::test]
async fn every_other_request_is_refused_and_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("other", "business").await;
    let state = async || (daemon.get("/v1/profiles").await, daemon.get("/v1/shares").await);
    let shares = both(&daemon, json!({"profile": "me", "allow": "headers", "paths": ["models"]})).await;
    let before = state().await;
    sandbox.clear_requests();
    let document: Value = serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap();
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(move |method| (path.clone(), method.to_uppercase()))
    });
    let id = shares[0].id().to_owned();
    let mut refused = 0;
    for (path, method) in operations {
        for profile in ["-", "me", "other"] {
            let path = path.replace("{profile}", profile).replace("{id}", &id).replace("{path}", "responses");
            let is_allowed = path == "/v1/profiles/-/headers" && matches!(&*method, "GET" | "HEAD");
            for share in shares.iter().filter(|_| !is_allowed) {
                let body = if matches!(&*method, "GET" | "HEAD") { "" } else { "{}" };
                let reply = share.send(&method, &path, &[], body).await;
                assert_eq!(reply.status.as_u16(), 403, "{method} {path}: {}", reply.text());
                refused += 1;
            }
        }
    }
    assert!(refused > 150, "{refused}");
    assert_eq!(state().await, before);
    assert!(sandbox.requests().is_empty(), "{:?}", sandbox.requests());
}

#[tokio::test]
async fn loopback_door_needs_the_key_and_its_own_address() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let [_, share] = both(&daemon, json!({})).await;
    let port = share.address().rsplit_once(':').unwrap().1.to_owned();
    let (key, localhost) = (share.key().to_owned(), format!("localhost:{port}"));
    let other = Holder::new(&daemon, json!({"door": "loopback"})).await;
    let mixed = key.replace(share.id(), other.id());
    let cases: &[(&str, &str, u16)] = &[
        ("authorization", &format!("bearer {key}"), 200),
        ("host", &localhost, 200),
        ("authorization", "", 401),
        ("authorization", &key, 401),
        ("authorization", &format!("Basic {key}"), 401),
        ("authorization", &format!("Bearer {key}x"), 401),
        ("authorization", &format!("Bearer {mixed}"), 401),
        ("authorization", "Bearer sk-test", 401),
        ("host", "authd", 403),
        ("host", "127.0.0.1", 403),
        ("host", &format!("127.0.0.1:{port}.example.com"), 403),
        ("host", &format!("evil.example:{port}"), 403),
        ("host", &format!("[::1]:{port}"), 403),
        ("origin", "http://127.0.0.1", 403),
        ("origin", "null", 403),
        ("referer", "http://example.com/", 403),
    ];
    for (name, value, expected) in cases {
        let reply = share.send("GET", "/v1/models?client_version=0.34.0", &[(name, value)], "").await;
        assert_eq!(reply.status.as_u16(), *expected, "{name}: {value}: {}", reply.text());
        assert_eq!(reply.header("access-control-allow-origin"), "");
        if *expected == 401 {
            assert_eq!(
                (reply.header("www-authenticate"), &reply.json()["code"]),
                ("Bearer", &json!("key_invalid"))
            );
        }
    }
}

#[tokio::test]
async fn path_outside_the_allowed_ones_is_refused_in_every_form() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for share in both(&daemon, json!({"paths": ["models"]})).await {
        assert_eq!(share.models().await, 200);
        sandbox.clear_requests();
        for path in [
            "responses",
            "models/../responses",
            "models/..%2fresponses",
            "models/%2e%2e/responses",
            "models//..//responses",
            "models%2f..%2fresponses",
            "./responses",
            "models2",
            "models\\..\\responses",
            "models/.%2e/responses",
            "",
            "/models",
            "models/",
            "profiles/me/headers",
        ] {
            let reply = share.send("GET", &share.relay(path), &[], "").await;
            assert_eq!(reply.status.as_u16(), 403, "{path}: {}", reply.text());
        }
        assert!(sandbox.requests().is_empty(), "{:?}", sandbox.requests());
    }
}

#[tokio::test]
async fn rate_limit_is_told_with_the_time_of_the_next_request() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for share in both(&daemon, json!({"rate": 2})).await {
        assert_eq!((share.models().await, share.models().await), (200, 200));
        let reply = share.send("GET", &share.relay("models"), &[], "").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (429, &json!("too_many_requests")));
        let seconds: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&seconds), "{seconds}");
    }
}

#[tokio::test]
async fn ended_share_closes_its_connections() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for share in both(&daemon, json!({"profile": "me"})).await {
        // A response that the upstream holds, a WebSocket, and an idle connection.
        sandbox.faults().push(Route::ChatGptResponses, Fault::HoldStream);
        let body = responses_request("What is 2+2?").to_string();
        let mut held = share.open("POST", &share.relay("responses"), &[], body).await.unwrap().into_body();
        held.frame().await.unwrap().unwrap();
        let mut socket = websocket(&share).await;
        let path = format!("/v1/shares/{}", share.id());
        assert_eq!(daemon.request("DELETE", &path, &[], "").await.status.as_u16(), 204);
        let closed = async {
            while let Some(Ok(_)) = held.frame().await {}
            while let Some(Ok(_)) = socket.next().await {}
        };
        tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap();
        assert_closed(&share).await;
        assert!(share.is_loopback() || !share.socket().parent().unwrap().exists());
        assert_eq!(daemon.request("DELETE", &path, &[], "").await.json()["code"], "share_unknown");
    }
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

/// Checks that the door of a share is closed, or refuses its key: the loopback listener stays open
/// for other shares.
async fn assert_closed(share: &Holder) {
    if let Ok(response) = share.open("GET", &share.relay("models"), &[], "").await {
        assert!(share.is_loopback());
        assert_eq!(response.status().as_u16(), 401);
    }
}

async fn websocket(
    share: &Holder,
) -> tokio_tungstenite::WebSocketStream<Box<dyn crate::share_client::Stream>> {
    let host = if share.is_loopback() { share.address() } else { "authd".to_owned() };
    let uri = format!("ws://{host}{}", share.relay("responses")).parse().unwrap();
    let request = ClientRequestBuilder::new(uri)
        .with_header("OpenAI-Beta", "responses_websockets=2026-02-06")
        .with_header("Authorization", format!("Bearer {}", share.key()));
    let (mut socket, _) = client_async(request, share.connect().await.unwrap()).await.unwrap();
    let mut body = responses_request("What is 2+2?");
    body["type"] = json!("response.create");
    socket.send(Message::text(body.to_string())).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_text());
    socket
}

#[tokio::test]
async fn share_ends_at_its_time() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for share in both(&daemon, json!({"ttl": 1})).await {
        // An open connection is closed when the share ends.
        if !share.is_loopback() {
            let mut stream = share.connect().await.unwrap();
            let mut rest = Vec::new();
            let read = stream.read_to_end(&mut rest);
            tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().ok();
        }
        while daemon.get("/v1/shares").await["shares"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["id"] == share.id())
        {
            tokio::task::yield_now().await;
        }
        assert_closed(&share).await;
    }
}

#[tokio::test]
async fn share_outlives_a_restart_and_follows_a_rename() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("me", "plus").await;
    let shares = both(&daemon, json!({"profile": "me", "label": "test"})).await;
    daemon.request("PATCH", "/v1/profiles/me", &[], json!({"name": "you"}).to_string()).await;
    daemon.restart().await;
    for share in &shares {
        assert_eq!(share.models().await, 200);
    }
    // A killed daemon leaves the sockets of its shares.
    daemon.kill9().await;
    daemon.start_again().await;
    for share in &shares {
        assert_eq!(share.models().await, 200);
    }
    let listed = daemon.get("/v1/shares").await;
    for share in listed["shares"].as_array().unwrap() {
        assert_eq!(
            (&share["profile"], &share["label"], &share["error"]),
            (&json!("you"), &json!("test"), &json!(null))
        );
    }
    // The list has no key, only its hash.
    let file = daemon.state().join("shares.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(shares[1].key()) && text.contains("key_hash"), "{text}");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!daemon.log().contains(shares[1].key()));
}

#[tokio::test]
async fn share_whose_profile_cannot_be_read_tells_the_reason_and_stays() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    // This key directly follows the table `[store]`.
    let store = format!("memory_control = \"{}\"", control.display());
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&store)).await;
    daemon.sign_in("me", "plus").await;
    let shares = both(&daemon, json!({})).await;
    fs::write(control, "locked").unwrap();
    daemon.restart().await;
    for share in &shares {
        let reply = share.send("GET", &share.relay("models"), &[], "").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (503, &json!("store_locked")));
    }
    assert_eq!(daemon.get("/v1/shares").await["shares"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sign_out_and_another_account_end_the_shares() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for change in ["sign out", "another account"] {
        daemon.sign_in("me", "plus").await;
        let shares = both(&daemon, json!({"profile": "me"})).await;
        if change == "sign out" {
            daemon.request("DELETE", "/v1/profiles/me", &[], "").await;
        } else {
            let login = daemon.post("/v1/logins", json!({"profile": "me", "replace": true})).await;
            daemon.browse(login["authorize_url"].as_str().unwrap(), "business").await;
        }
        assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}), "{change}");
        for share in &shares {
            assert_closed(share).await;
        }
    }
}

#[tokio::test]
async fn expired_access_token_is_refreshed_once_for_the_share() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for share in both(&daemon, json!({})).await {
        sandbox.expire_access_tokens();
        let before = sandbox.rotations();
        let body = responses_request("What is 2+2?").to_string();
        let reply = share.send("POST", &share.relay("responses"), &[], body).await;
        assert!(reply.text().contains("= 4."), "{}", reply.text());
        assert_eq!(sandbox.rotations(), before + 1);
    }
}

#[tokio::test]
async fn socket_is_open_below_a_private_directory() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({})).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let socket = share.socket();
    let directory = socket.parent().unwrap();
    assert_eq!((mode(&socket), mode(directory), mode(directory.parent().unwrap())), (0o666, 0o755, 0o700));
}

#[tokio::test]
async fn request_for_a_share_is_checked() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let create = async |body: Value| daemon.request("POST", "/v1/shares", &[], body.to_string()).await;
    assert!(create(json!({})).await.status.is_client_error());
    daemon.sign_in("me", "plus").await;
    for (body, code) in [
        (json!({"profile": "nobody"}), "profile_unknown"),
        (json!({"ttl": 0}), "bad_request"),
        (json!({"paths": ["../x"]}), "bad_request"),
        (json!({"compat": "responses"}), "bad_request"),
        (json!({"lifetime": 1}), "bad_request"),
    ] {
        let reply = create(body.clone()).await;
        assert_eq!(reply.json()["code"], code, "{body}: {}", reply.text());
    }
    let reply = create(json!({})).await;
    let location = format!("/v1/shares/{}", reply.json()["id"].as_str().unwrap());
    assert_eq!(
        (reply.status.as_u16(), reply.header("location"), reply.header("cache-control")),
        (201, &*location, "no-store")
    );
}
