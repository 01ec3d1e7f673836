//! Entity tags and grant ids: each identifies exactly one credential.

use authd_sandbox::Route;
use serde_json::json;

use crate::helpers::{daemon, sandbox, value};

#[tokio::test]
async fn an_etag_matches_no_other_account_or_name() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let path = "/v1/profiles/-/headers";
    let tag = daemon.request("GET", path, &[], "").await.header("etag").to_owned();
    let status_with_tag =
        async || daemon.request("GET", path, &[("If-None-Match", &tag)], "").await.status.as_u16();
    assert_eq!(status_with_tag().await, 304);
    daemon.request("PATCH", "/v1/profiles/work", &[], r#"{"default":true}"#).await;
    assert_eq!(status_with_tag().await, 200, "the default is another profile");
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"default":true}"#).await;
    assert_eq!(status_with_tag().await, 304);
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"home"}"#).await;
    assert_eq!(status_with_tag().await, 200, "the profile has another name");
    daemon.request("PATCH", "/v1/profiles/home", &[], r#"{"name":"default"}"#).await;
    assert_eq!(status_with_tag().await, 304);
    daemon.request("DELETE", "/v1/profiles/default", &[], "").await;
    daemon.sign_in("default", "plus").await;
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"default":true}"#).await;
    assert_eq!(daemon.get("/v1/profiles/default").await["generation"], 2, "generations never repeat");
    assert_eq!(status_with_tag().await, 200, "the grant is another one");
}

/// A rejection with another grant id concerns a credential that no longer exists.
#[tokio::test]
async fn a_rejection_of_another_grant_causes_no_refresh() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let headers = daemon.get("/v1/profiles/-/headers").await;
    let refresh = async |grant: &str| {
        let body = json!({"rejected_generation": headers["generation"], "grant_id": grant}).to_string();
        daemon.request("POST", "/v1/profiles/-/refresh", &[], body).await.status
    };
    assert_eq!((refresh("another").await.as_u16(), sandbox.count(Route::Refresh)), (200, 0));
    let grant = headers["grant_id"].as_str().unwrap().to_owned();
    assert_eq!((refresh(&grant).await.as_u16(), sandbox.count(Route::Refresh)), (200, 1));
}

#[tokio::test]
async fn a_reload_that_changes_the_headers_changes_their_etag() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let path = "/v1/profiles/-/headers";
    let tag = daemon.request("GET", path, &[], "").await.header("etag").to_owned();
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), format!("{config}\n[client]\noriginator = 'another'\n")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let mut now = daemon.get(path).await;
    while value(&now, "originator") != "another" {
        now = daemon.get(path).await;
    }
    let response = daemon.request("GET", path, &[("If-None-Match", &tag)], "").await;
    assert_eq!((response.status.as_u16(), &response.json()), (200, &now));
    assert_eq!(now["generation"], 1, "the credential is the same");
    let tag = response.header("etag").to_owned();
    assert_eq!(daemon.request("GET", path, &[("If-None-Match", &tag)], "").await.status, 304);
}
