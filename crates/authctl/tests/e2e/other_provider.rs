//! Commands that are for OpenAI, with a profile of another provider.

use serde_json::json;

use crate::{Outcome, fake_daemon::FakeDaemon};

fn daemon() -> FakeDaemon {
    let profile = json!({"name": "lab", "default": true, "state": "ready", "generation": 1, "provider": "lab",
        "mode": "bearer"});
    let headers = json!({"profile": "lab", "mode": "bearer", "base_url": "", "responses_url": "",
        "headers": [["Authorization", "Bearer at-1"]], "generation": 1, "grant_id": "g", "expires_at": null});
    let share = json!({"id": "q1Zb7RkXw0Tn", "profile": "lab", "allow": "relay", "door": "loopback",
        "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T15:00:00Z",
        "url": "http://127.0.0.1:40417/v1", "key": "k1"});
    FakeDaemon::start(vec![
        ("GET /v1/profiles/-/headers", headers.clone()),
        ("GET /v1/profiles/lab/headers", headers),
        ("GET /v1/profiles/lab ", profile),
        ("POST /v1/shares ", share),
    ])
}

async fn run(daemon: &FakeDaemon, args: &[&str]) -> Outcome {
    daemon.command(args).output().await.unwrap().into()
}

#[tokio::test]
async fn command_for_openai_says_so() {
    let fake = daemon();
    for args in [
        &["ask", "What is 2+2?"][..],
        &["check"],
        &["env"],
        &["env", "lab", "--json"],
        &["exec", "--raw", "--", "printenv", "OPENAI_API_KEY"],
    ] {
        let outcome = run(&fake, args).await;
        let outcome =
            outcome.failed(2, "this command is for OpenAI, and profile \"lab\" is of another provider");
        assert!(!outcome.stdout.contains("at-1"), "{outcome}");
        assert!(outcome.stderr.contains("authctl share lab --loopback"), "{outcome}");
    }
    run(&fake, &["url"]).await.failed(2, "the provider of profile \"lab\" has no base_url");
    assert_eq!(run(&fake, &["token"]).await.ok().stdout, "at-1\n");
    assert_eq!(run(&fake, &["headers", "lab"]).await.ok().stdout, "Authorization: Bearer at-1\n");
}

#[tokio::test]
async fn share_is_printed_as_a_url_and_a_header() {
    let outcome = run(&daemon(), &["share", "lab", "--loopback"]).await.ok();
    assert_eq!(outcome.stdout, "http://127.0.0.1:40417/v1\nAuthorization: Bearer k1\n");
}
