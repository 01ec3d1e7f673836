//! The order of the documents, and what is read from them.

use authd_oauth::{
    definition::ProviderDefinition,
    discovery::{Aspect, AspectState, Discovered, DiscoveryFault, Found, Start, report},
};
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, Method};
use serde_json::json;

use crate::server::{Server, challenge, redirect, status};

const RFC_8414: &str = "/.well-known/oauth-authorization-server";
const OIDC: &str = "/.well-known/openid-configuration";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

#[tokio::test]
async fn issuer_metadata_is_found_at_each_well_known_url() {
    for (issuer, document, requests) in [
        ("", RFC_8414.to_owned(), 1),
        ("", OIDC.to_owned(), 2),
        ("/tenant", format!("{RFC_8414}/tenant"), 1),
        ("/tenant", format!("{OIDC}/tenant"), 2),
        ("/tenant", format!("/tenant{OIDC}"), 3),
    ] {
        let server = Server::start().await;
        server.on_json(&document, &server.metadata(issuer));
        let run = server.discover(Start::Issuer, issuer).await;
        let found = run.result.unwrap();
        assert_eq!(found.found, Found::Metadata(format!("{}{document}", server.url)));
        assert_eq!(found.server.token_url, format!("{}/token", server.url));
        assert_eq!((server.paths().len(), run.requests.len()), (requests, requests), "{document}");
    }
}

#[tokio::test]
async fn a_slash_after_the_host_does_not_make_another_issuer() {
    let server = Server::start().await;
    server.on_json(RFC_8414, &server.metadata("/"));
    let found = server.discover(Start::Issuer, "").await.result.unwrap();
    assert_eq!(found.server.issuer, format!("{}/", server.url));
}

#[tokio::test]
async fn an_mcp_server_names_its_metadata_in_the_challenge() {
    let (server, issuer) = (Server::start().await, Server::start().await);
    let value = format!("Bearer scope=\"files:read\", resource_metadata=\"{}/about\"", server.url);
    server.on("/mcp", move || challenge(&value));
    server.on_json(
        "/about",
        &json!({"resource": format!("{}/mcp", server.url), "authorization_servers": [issuer.url],
            "scopes_supported": ["files:read", "files:write"]}),
    );
    issuer.on_json(RFC_8414, &issuer.metadata(""));
    let found = server.discover(Start::Mcp, "/mcp").await.result.unwrap();
    assert_eq!(found.server.issuer, issuer.url);
    assert_eq!(found.resource.as_ref().unwrap().scopes, ["files:read", "files:write"]);
    assert_eq!(found.challenge_scopes.as_ref().unwrap(), &["files:read"]);
    assert_eq!(server.paths(), ["/mcp", "/about"]);
    // A credential or a cookie has no place in these requests. The first is a ping.
    let sent: Vec<_> = [server.requests(), issuer.requests()].concat().iter().map(sent).collect();
    let (ping, document) = ("accept content-length content-type host user-agent", "accept host user-agent");
    let expected = [("POST", ping), ("GET", document), ("GET", document)];
    assert_eq!(sent, expected.map(|(method, names)| format!("{method} {names}")));
}

/// The method and the names of the headers of a request.
fn sent((method, headers): &(Method, HeaderMap)) -> String {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    format!("{method} {}", names.join(" "))
}

#[tokio::test]
async fn resource_metadata_is_found_at_each_well_known_url() {
    for (document, resource, expected) in [
        (format!("{RESOURCE}/api/mcp"), "/api/mcp", 2),
        (RESOURCE.to_owned(), "/api/mcp", 3),
        // The metadata may be that of a parent.
        (RESOURCE.to_owned(), "/", 3),
        (RESOURCE.to_owned(), "", 3),
        (RESOURCE.to_owned(), "/api", 3),
    ] {
        let server = Server::start().await;
        let resource = format!("{}{resource}", server.url);
        server.on("/api/mcp", || status(405));
        server.on_json(&document, &json!({"resource": resource, "authorization_servers": [server.url]}));
        server.on_json(RFC_8414, &server.metadata(""));
        let found = server.discover(Start::Mcp, "/api/mcp").await.result.unwrap();
        assert_eq!(found.resource.unwrap().resource, resource);
        assert_eq!(server.paths().len(), expected + 1, "{document}");
    }
}

#[tokio::test]
async fn without_resource_metadata_the_origin_is_the_issuer() {
    let server = Server::start().await;
    server.on("/api/mcp", || challenge("Bearer"));
    server.on_json(RFC_8414, &server.metadata(""));
    let found = server.discover(Start::Mcp, "/api/mcp").await.result.unwrap();
    assert_eq!((found.server.issuer, found.resource), (server.url.clone(), None));
}

#[tokio::test]
async fn metadata_at_the_origin_may_be_that_of_an_issuer_below_it() {
    let (server, other) = (Server::start().await, Server::start().await);
    server.on("/mcp", || challenge("Bearer"));
    server.on_json(RFC_8414, &server.metadata("/oauth"));
    let found = server.discover(Start::Mcp, "/mcp").await.result.unwrap();
    assert_eq!(found.server.issuer, format!("{}/oauth", server.url));
    server.on_json(RFC_8414, &other.metadata("/oauth"));
    let fault = server.discover(Start::Mcp, "/mcp").await.result.unwrap_err();
    assert!(matches!(fault, DiscoveryFault::WrongIssuer { .. }), "{fault:?}");
    // Where the server has metadata, the issuer in it must be the one of the document.
    server.on_json(RFC_8414, &server.metadata("/oauth"));
    let resource = format!("{}/mcp", server.url);
    server.on_json(RESOURCE, &json!({"resource": resource, "authorization_servers": [server.url]}));
    let fault = server.discover(Start::Mcp, "/mcp").await.result.unwrap_err();
    assert!(matches!(fault, DiscoveryFault::WrongIssuer { .. }), "{fault:?}");
}

#[tokio::test]
async fn without_any_metadata_a_protected_server_has_the_default_paths() {
    for start in [Start::Mcp, Start::Unknown] {
        let server = Server::start().await;
        server.on("/mcp", || challenge("Bearer"));
        let found = server.discover(start, "/mcp").await.result.unwrap();
        assert_eq!(found.found, Found::DefaultPaths);
        assert_eq!(found.server.authorize_url, format!("{}/authorize", server.url));
        assert_eq!(found.server.token_url, format!("{}/token", server.url));
        assert_eq!(found.server.registration_url, Some(format!("{}/register", server.url)));
    }
}

#[tokio::test]
async fn a_url_that_is_no_mcp_server_is_an_issuer() {
    let server = Server::start().await;
    server.on("/realm", || "<html>".into_response());
    server.on_json(&format!("/realm{OIDC}"), &server.metadata("/realm"));
    let found = server.discover(Start::Unknown, "/realm").await.result.unwrap();
    assert_eq!((found.server.issuer, found.mcp), (format!("{}/realm", server.url), None));
}

#[tokio::test]
async fn an_issuer_whose_home_page_redirects_elsewhere_is_found() {
    let (server, elsewhere) = (Server::start().await, Server::start().await);
    let target = elsewhere.url.clone();
    server.on("/", move || redirect(&target));
    server.on_json(OIDC, &server.metadata(""));
    let found = server.discover(Start::Unknown, "").await.result.unwrap();
    assert_eq!((found.server.issuer, found.mcp), (server.url.clone(), None));
    assert!(elsewhere.paths().is_empty());
    // An MCP server has no home page.
    assert!(server.discover(Start::Mcp, "").await.result.is_err());
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed() {
    let server = Server::start().await;
    server.on(RFC_8414, || redirect("/one")).on("/one", || redirect("two"));
    server.on_json("/two", &server.metadata(""));
    assert!(server.discover(Start::Issuer, "").await.result.is_ok());
}

/// The state and the detail of an aspect.
fn aspect<'a>(aspects: &'a [Aspect], name: &str) -> (AspectState, &'a str) {
    let found = aspects.iter().find(|aspect| aspect.name == name).expect(name);
    (found.state, &found.detail)
}

#[tokio::test]
async fn the_report_says_what_is_offered_and_how_a_client_id_is_found() {
    let server = Server::start().await;
    let url = server.url.clone();
    let mut metadata = server.metadata("");
    let own = ProviderDefinition::of_mcp(&format!("{url}/mcp"));
    server.on("/mcp", || challenge("Bearer"));
    server.on_json(RFC_8414, &metadata);
    let report_of = async |server: &Server, definition: &ProviderDefinition| {
        let found: Discovered = server.discover(Start::Mcp, "/mcp").await.result.unwrap();
        report(definition, Ok(&found))
    };
    let bare = report_of(&server, &own).await;
    for name in ["device flow", "registration", "iss", "pushed authorization", "revocation"] {
        assert_eq!(aspect(&bare, name).0, AspectState::Absent, "{name}");
    }
    assert_eq!(
        aspect(&bare, "client id"),
        (AspectState::Warning, "the provider has no automatic registration")
    );
    assert_eq!(aspect(&bare, "PKCE"), (AspectState::Offered, "S256"));

    for (name, value) in [
        ("registration_endpoint", json!(format!("{url}/register"))),
        ("device_authorization_endpoint", json!(format!("{url}/device"))),
        ("revocation_endpoint", json!(format!("{url}/revoke"))),
        ("pushed_authorization_request_endpoint", json!(format!("{url}/par"))),
        ("require_pushed_authorization_requests", json!(true)),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("client_id_metadata_document_supported", json!(true)),
        ("scopes_supported", json!(["openid", "api"])),
    ] {
        metadata[name] = value;
    }
    server.on_json(RFC_8414, &metadata);
    let full = report_of(&server, &own).await;
    let expected = format!("by dynamic registration at {url}/register");
    assert_eq!(aspect(&full, "client id"), (AspectState::Offered, expected.as_str()));
    assert_eq!(aspect(&full, "pushed authorization").1, format!("{url}/par, required"));
    assert_eq!(aspect(&full, "iss").0, AspectState::Offered);
    assert_eq!(aspect(&full, "scopes").1, "a sign-in would request none; the provider lists openid api");
    let document = "https://me.example/client.json".to_owned();
    let with_document = ProviderDefinition {
        client_metadata_url: Some(document.clone()),
        scopes: vec!["openid".into(), "apis".into()],
        ..own
    };
    let aspects = report_of(&server, &with_document).await;
    assert_eq!(aspect(&aspects, "client id").1, format!("client metadata document {document}"));
    let scopes = aspects.iter().find(|aspect| aspect.name == "scopes").unwrap();
    assert_eq!(scopes.state, AspectState::Warning);
    assert!(scopes.remedy.as_ref().unwrap().ends_with(" apis"), "{scopes:?}");
}
