//! The device flow of defined providers (RFC 8628).

use serde_json::json;

use crate::{
    authorization_server::AuthorizationServer,
    defined_login::daemon,
    helpers::{finished, sandbox, value},
};

#[tokio::test]
async fn device_login_polls_until_the_user_agrees() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let daemon = daemon(&sandbox, &server, "client_id = 'me'\nscopes = ['a']").await;
    server.answer("/token", 400, json!({"error": "authorization_pending"}));
    let login = daemon.post("/v1/logins", json!({"provider": "lab", "flow": "device"})).await;
    assert_eq!((&login["user_code"], &login["issuer"]), (&json!("AB-CD"), &json!(server.url)));
    assert_eq!(login["verification_url"], format!("{}/enter", server.url));
    assert_eq!(login["verification_url_complete"], format!("{}/enter?code=AB-CD", server.url));
    assert_eq!(server.last("/device").form["scope"], "a");
    let login = finished(&daemon, &login).await;
    let login = finished(&daemon, &login).await;
    assert_eq!(login["state"], "succeeded", "{login}");
    let polls = server.requests("/token");
    assert_eq!(polls.len(), 2);
    for poll in polls {
        assert_eq!(
            (&*poll.form["grant_type"], &*poll.form["device_code"], &*poll.form["client_id"]),
            ("urn:ietf:params:oauth:grant-type:device_code", "device-1", "me")
        );
    }
    let headers = daemon.get("/v1/profiles/lab/headers").await;
    assert!(value(&headers, "Authorization").starts_with("Bearer at-"));
}

#[tokio::test]
async fn device_login_ends_with_the_providers_refusal() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let daemon = daemon(&sandbox, &server, "client_id = 'me'").await;
    for (code, expected) in [
        ("access_denied", "login_denied"),
        ("expired_token", "login_expired"),
        ("invalid_grant", "login_denied"),
    ] {
        server.answer("/token", 400, json!({"error": code}));
        let login = daemon.post("/v1/logins", json!({"provider": "lab", "flow": "device"})).await;
        let login = finished(&daemon, &login).await;
        assert_eq!(login["error"]["code"], expected, "{code}: {login}");
    }
    server.answer("/device", 400, json!({"error": "unauthorized_client"}));
    let body = json!({"provider": "lab", "flow": "device"}).to_string();
    let refused = daemon.request("POST", "/v1/logins", &[], body).await;
    assert_eq!(refused.json()["code"], "provider_refused", "{}", refused.text());
}
