//! Automatically registered clients (RFC 7591) that their server does not know any more.

use authd_sandbox::test_daemon::TestDaemon;
use serde_json::{Value, json};

use crate::{
    authorization_server::AuthorizationServer,
    defined_login::daemon,
    helpers::{finished, sandbox, start},
};

/// The client id in the authorize URL of a new login.
async fn client_of_new_login(daemon: &TestDaemon) -> (Value, String) {
    let (login, url) = start(daemon, json!({"provider": "lab"})).await;
    let query = url.split_once('?').unwrap().1;
    let id = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "client_id");
    (login, id.unwrap().1.into_owned())
}

/// A server that does not know the client shows a page of its own, and no redirect comes.
#[tokio::test]
async fn client_of_a_login_without_a_redirect_is_registered_again() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let daemon = daemon(&sandbox, &server, "registration = 'auto'").await;
    let (login, first) = client_of_new_login(&daemon).await;
    assert_eq!(client_of_new_login(&daemon).await.1, first, "a pending login keeps it");
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    let reply = daemon.request("DELETE", &path, &[], "").await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    let (login, second) = client_of_new_login(&daemon).await;
    assert_ne!(second, first);
    assert_eq!(server.requests("/register").len(), 2);
    // The server knows the client of a profile that can be used.
    sandbox.browser().open(login["authorize_url"].as_str().unwrap()).await.unwrap();
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    let (login, third) = client_of_new_login(&daemon).await;
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    daemon.request("DELETE", &path, &[], "").await;
    assert_eq!((client_of_new_login(&daemon).await.1, third), (second.clone(), second));
}

#[tokio::test]
async fn client_that_the_first_request_shows_as_unknown_is_registered_again() {
    let pushed = json!({"pushed_authorization_request_endpoint": "URL/push",
        "require_pushed_authorization_requests": true});
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(pushed).await);
    let daemon = daemon(&sandbox, &server, "registration = 'auto'").await;
    for (path, flow) in [("/push", "browser"), ("/device", "device")] {
        let before = server.requests("/register").len();
        server.answer(path, 401, json!({"error": "invalid_client"}));
        let body = json!({"provider": "lab", "flow": flow});
        let refused = daemon.request("POST", "/v1/logins", &[], body.to_string()).await.json();
        assert_eq!(refused["provider_code"], "invalid_client", "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains("registers a new client"), "{refused}");
        let login = daemon.post("/v1/logins", body).await;
        assert_eq!(login["state"], "pending", "{login}");
        assert!(server.requests("/register").len() > before, "{flow}");
    }
}
