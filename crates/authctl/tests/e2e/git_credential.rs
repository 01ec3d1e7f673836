//! `git-credential` with descriptions as git sends them.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{Outcome, fake_daemon::FakeDaemon};

/// A daemon whose provider `lab` has the host `git.example`, and the profile `work`.
fn daemon(headers: &Value) -> FakeDaemon {
    let providers = json!({"providers": [
        {"name": "lab", "defined_in": "configuration", "git_hosts": ["git.example", "git.example:8443", "127.0.0.1:8080"]},
    ]});
    let profiles = json!({"default": null, "profiles": [
        {"name": "work", "default": false, "state": "ready", "generation": 3, "provider": "lab"},
        {"name": "chat", "default": true, "state": "ready", "generation": 1},
    ]});
    let reported =
        json!({"status": 409, "type": "", "title": "", "code": "login_required", "detail": "reported"});
    FakeDaemon::start(vec![
        ("GET /v1/providers ", providers),
        ("GET /v1/profiles ", profiles),
        ("GET /v1/profiles/work/headers", headers.clone()),
        ("POST /v1/profiles/work/refresh", reported),
    ])
}

fn headers(expires_at: Option<&str>) -> Value {
    json!({"profile": "work", "mode": "bearer", "base_url": "", "responses_url": "",
        "headers": [["Authorization", "Bearer at-1"]], "generation": 3, "grant_id": "g", "expires_at": expires_at})
}

async fn ask(daemon: &FakeDaemon, args: &[&str], description: &str) -> Outcome {
    let mut command = daemon.command(&[&["git-credential"][..], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(description.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap().into()
}

#[tokio::test]
async fn git_gets_the_token_for_a_host_of_the_provider() {
    let fake = daemon(&headers(Some("2026-11-27T06:00:00Z")));
    let description = "capability[]=authtype\nprotocol=https\nhost=git.example:8443\n\n";
    let got = ask(&fake, &["get"], description).await.ok();
    assert_eq!(got.stdout, "username=oauth2\npassword=at-1\npassword_expiry_utc=1795759200\n");
    let fake = daemon(&headers(None));
    let got = ask(&fake, &["get"], "protocol=https\nhost=GIT.example\nusername=me\n").await.ok();
    assert_eq!(got.stdout, "username=me\npassword=at-1\n");
    // Nothing on the network can read what goes to this machine itself.
    let got = ask(&fake, &["get"], "protocol=http\nhost=127.0.0.1:8080\n\n").await.ok();
    assert_eq!(got.stdout, "username=oauth2\npassword=at-1\n");
}

#[tokio::test]
async fn nothing_is_printed_for_other_hosts_and_operations() {
    let fake = daemon(&headers(None));
    for (operation, description) in [
        ("get", "protocol=https\nhost=other.example\n\n"),
        ("get", ""),
        ("store", "protocol=https\nhost=git.example\nusername=a\npassword=b\n\n"),
        ("coined-later", "protocol=https\nhost=git.example\n\n"),
        ("erase", "protocol=https\nhost=git.example\npassword=an-older-one\n\n"),
        ("erase", "protocol=https\nhost=git.example\n\n"),
    ] {
        let outcome = ask(&fake, &[operation], description).await.ok();
        assert_eq!((&*outcome.stdout, &*outcome.stderr), ("", ""), "{operation} {description}");
    }
    for (args, description, code, message) in [
        (&["get"][..], "protocol=http\nhost=git.example\n\n", 2, "use an https URL"),
        (
            &["get", "-p", "chat"],
            "protocol=https\nhost=git.example\n\n",
            3,
            "\"chat\" is not of the provider",
        ),
        (&["get"], "nonsense\n\n", 2, "not key=value"),
    ] {
        let outcome = ask(&fake, args, description).await.failed(code, message);
        assert_eq!(outcome.stdout, "", "{outcome}");
    }
}

#[tokio::test]
async fn rejected_token_is_reported() {
    let fake = daemon(&headers(None));
    let description = "protocol=https\nhost=git.example\nusername=oauth2\npassword=at-1\n\n";
    let outcome = ask(&fake, &["erase"], description).await.failed(4, "reported");
    assert_eq!(outcome.stdout, "");
}

#[tokio::test]
async fn missing_daemon_is_told() {
    let fake = daemon(&headers(None));
    std::fs::remove_file(fake.path("authd.sock")).unwrap();
    let outcome = ask(&fake, &["get"], "protocol=https\nhost=git.example\n\n").await;
    assert_eq!(outcome.failed(9, "no daemon").stdout, "");
}
