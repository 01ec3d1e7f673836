//! `status --format waybar`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{command, run, start_daemon};

#[tokio::test]
async fn module_follows_the_state_of_the_profile() {
    let (sandbox, mut daemon) = start_daemon().await;
    let args = ["status", "--format", "waybar", "--watch"];
    let mut watching = command(&daemon, &args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = lines.next_line().await.unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    assert_eq!(next().await, json!({"text": "signed out", "tooltip": "", "class": "signed_out"}));
    daemon.sign_in("default", "plus").await;
    let mut module = next().await;
    while module["class"] != "ready" {
        module = next().await;
    }
    assert_eq!(module["text"], "default");
    assert!(module["tooltip"].as_str().unwrap().contains("expires in"), "{module}");
    sandbox.revoke_account("plus");
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    while module["class"] != "login_required" {
        module = next().await;
    }
    daemon.sigterm_and_wait().await;
    while module["class"] != "no_daemon" {
        module = next().await;
    }
    assert_eq!(module["text"], "authd stopped");
    daemon.start_again().await;
    while module["class"] != "signed_out" {
        module = next().await;
    }
}

#[tokio::test]
async fn module_is_one_line_without_the_option_to_watch() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("work", "plus").await;
    let shown = run(&daemon, &["status", "--format", "waybar"]).await.ok();
    assert_eq!(shown.stdout.lines().count(), 1, "{shown}");
    assert_eq!(shown.json()["class"], "ready");
    run(&daemon, &["status", "--format", "waybar", "--json"]).await.failed(2, "cannot be used with");
}
