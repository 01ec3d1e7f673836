//! The audit log on a full disk: a small file system in a mount namespace of the test.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::Command,
};

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::Value;

use crate::{
    audit::{entries, lines, relay_different_uses},
    helpers::{AUTHD, sandbox, value},
    namespaces::in_own_namespaces,
};

/// More different uses than the lines that fit on the disk and the 4096 that can wait.
const USES: usize = 5_000;

/// Mounts an empty file system of 4 MiB.
fn mount_small(directory: &Path) {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"]).arg(directory);
    assert!(command.status().unwrap().success());
}

/// Fills a file system with this file.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

fn sum_of_counts(entries: &[Value]) -> u64 {
    entries.iter().map(|entry| entry["count"].as_u64().unwrap()).sum()
}

/// The uses that the log misses. The status and the metrics must say the same.
async fn lost(daemon: &TestDaemon) -> u64 {
    let lost = daemon.get("/v1/status").await["audit"]["lost"].as_u64().unwrap();
    let metrics = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    assert!(metrics.contains(&format!("\nauthd_audit_lost_total {lost}\n")), "{metrics}");
    lost
}

#[test]
fn full_disk_delays_the_log_and_stops_no_credential() {
    in_own_namespaces("audit_disk::full_disk_delays_the_log_and_stops_no_credential", async || {
        let (sandbox, state) = (sandbox().await, tempfile::tempdir().unwrap());
        mount_small(state.path());
        let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").toml("[audit]\nto = 'file'");
        let config = config.env("AUTHD_STATE_DIR", state.path().to_str().unwrap());
        let mut daemon = TestDaemon::start(config).await;
        let (log, filler) = (state.path().join("audit.jsonl"), state.path().join("filler"));
        daemon.sign_in("me", "plus").await;
        let before = daemon.get("/v1/profiles/me/headers").await;
        assert_eq!(sum_of_counts(&entries(&daemon, "").await), 3);

        // The disk becomes full while the provider issues new tokens: they cannot be saved.
        sandbox.faults().push(Route::Refresh, Fault::Stall);
        let refresh = daemon.request("POST", "/v1/profiles/me/refresh", &[], "{}");
        let fill_disk = async {
            sandbox.wait_for(Route::Refresh, 1).await;
            fill(&filler);
            sandbox.faults().release();
        };
        let (refreshed, ()) = tokio::join!(refresh, fill_disk);
        let detail = refreshed.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("the newest credential is not saved"), "{detail}");
        assert!(detail.ends_with("No space left on device (os error 28)"), "{detail}");
        relay_different_uses(&daemon, USES).await;
        let status = daemon.get("/v1/status").await;
        let error = format!("{}: No space left on device (os error 28)", log.display());
        assert_eq!(status["audit"]["error"], error, "{status}");
        let unsaved = daemon.get("/v1/profiles/me/headers").await;
        assert_eq!((&before["generation"], &unsaved["generation"]), (&1.into(), &2.into()));
        assert_ne!(value(&before, "Authorization"), value(&unsaved, "Authorization"));
        assert_eq!(daemon.get("/v1/profiles/me").await["state"], "unsaved");
        // What is on the disk can be read.
        assert!(sum_of_counts(&entries(&daemon, "").await) >= 3);
        let lost_uses = lost(&daemon).await;
        assert!(lost_uses > 0);

        // With space, the daemon writes what has waited. No request is needed for that.
        fs::remove_file(&filler).unwrap();
        while daemon.get("/v1/status").await["audit"]["error"].is_string() {}
        while daemon.get("/v1/profiles/me").await["state"] == "unsaved" {}
        let found = entries(&daemon, "").await;
        // The login and its start, the headers twice, and the refresh.
        assert_eq!(sum_of_counts(&found) + lost(&daemon).await, USES as u64 + 5);
        assert_eq!(lost(&daemon).await, lost_uses);
        assert_eq!(lines(&fs::read_to_string(&log).unwrap()), found, "no line is torn");
        let relayed: Vec<_> = found.iter().filter(|entry| entry["action"] == "relay").collect();
        let paths: BTreeSet<_> = relayed.iter().map(|entry| entry["path"].as_str()).collect();
        assert_eq!(paths.len(), relayed.len(), "no line is written twice");
        daemon.restart().await;
        assert_eq!(daemon.get("/v1/profiles/me/headers").await, unsaved);
    });
}
