//! `authctl service` without a service manager. `cargo xtask test service` tests it with one.

use crate::{run, start_daemon};

// On macOS the manager does not depend on the environment.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn missing_service_manager_has_a_hint() {
    let (_sandbox, daemon) = start_daemon().await;
    // The runtime directory of a test daemon belongs to no service manager.
    for command in ["install", "uninstall", "status", "logs"] {
        run(&daemon, &["service", command]).await.failed(9, "authd &");
    }
    let problem = run(&daemon, &["service", "install", "--json"]).await.json();
    assert_eq!(problem["type"], "urn:authd:problem:no_service_manager");
    run(&daemon, &["service", "status", "--socket", "/s"]).await.failed(2, "--socket cannot be used here");
}

#[tokio::test]
async fn dry_run_shows_the_units_and_writes_none() {
    let (_sandbox, daemon) = start_daemon().await;
    let outcome = run(&daemon, &["service", "install", "--print"]).await.ok();
    let program = crate::authd();
    // The formats of systemd and launchd differ; both have the path.
    assert!(outcome.stdout.contains(program.to_str().unwrap()), "{outcome}");
    assert!(outcome.stderr.contains("AUTHD_SOCKET is set in this shell"), "{outcome}");
    let steps = run(&daemon, &["service", "install", "--print", "--json"]).await.ok().json();
    let path = steps["would"][0]["write"]["path"].as_str().unwrap();
    assert!(!std::path::Path::new(path).exists(), "{path}");
    run(&daemon, &["service", "uninstall", "--print"]).await.ok();
}
