//! Entity tags and grant ids: what names a credential fits no other.

use authd_sandbox::Route;
use serde_json::json;

use crate::support::{daemon, sandbox};

/// The entity tag names the credential: what a client holds of one account is never taken for another's.
#[tokio::test]
async fn an_etag_fits_no_other_account_and_no_other_name() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let path = "/v1/profiles/-/headers";
    let tag = daemon.request("GET", path, &[], "").await.header("etag").to_owned();
    let held = async || daemon.request("GET", path, &[("If-None-Match", &tag)], "").await.status.as_u16();
    assert_eq!(held().await, 304);
    daemon.request("PATCH", "/v1/profiles/work", &[], r#"{"default":true}"#).await;
    assert_eq!(held().await, 200, "another default");
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"default":true}"#).await;
    assert_eq!(held().await, 304);
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"home"}"#).await;
    assert_eq!(held().await, 200, "another name");
    daemon.request("PATCH", "/v1/profiles/home", &[], r#"{"name":"default"}"#).await;
    assert_eq!(held().await, 304);
    daemon.request("DELETE", "/v1/profiles/default", &[], "").await;
    daemon.sign_in("default", "plus").await;
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"default":true}"#).await;
    assert_eq!(daemon.get("/v1/profiles/default").await["generation"], 2, "it goes on from the highest");
    assert_eq!(held().await, 200, "another sign-in");
}

/// A rejection of a credential of another grant is about one that is gone.
#[tokio::test]
async fn a_rejection_names_its_grant() {
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
