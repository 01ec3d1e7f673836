//! `authctl mcp` against a daemon and an MCP server.

use authd_sandbox::test_daemon::TestDaemon;
use serde_json::json;

use crate::{
    InteractiveClient, Outcome,
    mcp_server::{self, McpServer},
    run, start_daemon,
};

/// Adds the server as `lab`, and agrees to the sign-in.
async fn add(daemon: &TestDaemon, server: &McpServer, more: &[&str]) -> Outcome {
    let url = server.url();
    let args = [&["mcp", "add", "lab", &url, "--no-browser"], more].concat();
    let mut client = InteractiveClient::start(daemon, &args);
    let page = client.wait_for_word(&format!("{}/authorize?", server.origin())).await;
    mcp_server::agree(&page);
    client.end().await.ok()
}

#[tokio::test]
async fn mcp_server_is_added_with_its_url_alone_used_and_removed() {
    let (_sandbox, daemon) = start_daemon().await;
    let server = McpServer::start();
    let added = add(&daemon, &server, &[]).await;
    assert_eq!(added.stdout, "");
    let issuer = added.stderr.find(&format!("you sign in at {}", server.origin())).unwrap();
    let page = added.stderr.find(&format!("{}/authorize?", server.origin())).unwrap();
    assert!(issuer < page, "the issuer comes before the page: {added}");
    for usage in ["authctl headers lab", "\"headersHelper\"", "authctl share lab --loopback"] {
        assert!(added.stderr.contains(usage), "no {usage} in {added}");
    }
    assert_eq!(run(&daemon, &["token", "lab"]).await.ok().stdout, "an-access-token\n");
    let listed = run(&daemon, &["mcp", "list"]).await.ok().stdout;
    assert_eq!(listed, format!("lab  {}  profile lab, ready\n", server.url()));

    let in_use = daemon.request("DELETE", "/v1/providers/lab", &[], "").await;
    assert_eq!((in_use.status.as_u16(), &in_use.json()["code"]), (409, &json!("conflict")));
    assert!(in_use.text().contains("profile \\\"lab\\\" uses this provider"), "{}", in_use.text());

    // A revocation that fails changes nothing.
    server.refuse_revocation(true);
    run(&daemon, &["mcp", "remove", "lab"]).await.failed(5, "authctl logout lab");
    assert_eq!(run(&daemon, &["mcp", "list"]).await.ok().stdout, listed);
    server.refuse_revocation(false);
    let removed = run(&daemon, &["mcp", "remove", "lab", "--json"]).await.ok();
    assert!(removed.stderr.contains("signing out of lab, as profile lab"), "{removed}");
    assert_eq!(removed.json(), json!({"removed": "lab", "signed_out": ["lab"]}));
    assert_eq!(server.count("POST /revoke"), 2);
    assert!(run(&daemon, &["mcp", "list"]).await.ok().stdout.starts_with("there is no MCP server"));
    run(&daemon, &["mcp", "remove", "lab"]).await.failed(3, "no provider with this name");
}

#[tokio::test]
async fn mcp_server_stays_after_a_refused_sign_in() {
    let (_sandbox, daemon) = start_daemon().await;
    let server = McpServer::start();
    let url = server.url();
    let mut client = InteractiveClient::start(&daemon, &["mcp", "add", "lab", &url, "--no-browser"]);
    mcp_server::deny(&client.wait_for_word(&format!("{}/authorize?", server.origin())).await);
    let refused = client.end().await.failed(4, "access_denied");
    for next in ["authctl login --provider lab", "authctl mcp remove lab"] {
        assert!(refused.stderr.contains(next), "{refused}");
    }
    let listed = run(&daemon, &["mcp", "list"]).await.ok().stdout;
    assert_eq!(listed, format!("lab  {url}  not signed in; run: authctl login --provider lab\n"));
    // The same command is the next try.
    add(&daemon, &server, &[]).await;
    assert_eq!(server.count("POST /register"), 1, "a client is registered once");
    // Another definition needs another name.
    let other = format!("{}/other", server.origin());
    run(&daemon, &["mcp", "add", "lab", &other]).await.failed(2, "its definition is another one");
    run(&daemon, &["mcp", "add", "check", &url]).await.failed(2, "use another name");
    run(&daemon, &["mcp", "add", "plain", "http://mcp.example/mcp"])
        .await
        .failed(2, "mcp must be an https URL");
}

#[tokio::test]
async fn options_are_kept_with_the_absolute_path_of_the_secret() {
    let (_sandbox, daemon) = start_daemon().await;
    let server = McpServer::start();
    let url = server.url();
    let args = ["mcp", "add", "lab", &url, "--no-browser", "--scope", "read", "--scope", "write"];
    let client = ["--client-id", "me", "--client-secret-file", "a/secret"];
    let mut client = InteractiveClient::start(&daemon, &[&args[..], &client[..]].concat());
    let page = client.wait_for_word(&format!("{}/authorize?", server.origin())).await;
    assert!(page.contains("client_id=me&") && page.contains("scope=read%20write"), "{page}");
    mcp_server::deny(&page);
    client.end().await.failed(4, "access_denied");
    assert_eq!(server.count("POST /register"), 0);
    let list = std::fs::read_to_string(daemon.state().join("providers.json")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let secret = std::env::current_dir().unwrap().join("a/secret");
    assert_eq!(
        list["providers"]["lab"],
        json!({"mcp": url, "client_id": "me", "client_secret_file": secret, "scopes": ["read", "write"]})
    );
}
