//! Faults of the system: a wall clock that jumps, and a disk that stalls. A preloaded library
//! causes them, so these tests need Linux.
#![cfg(target_os = "linux")]

use std::{fs, process::Command, time::Duration};

use authd_sandbox::{
    Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::Door,
    helpers::{AUTHD, finished, sandbox, start},
    share_client::{Holder, both},
    upstream::read_head,
};

/// Shifts the wall clock of a program by the seconds in a file, and leaves the monotonic clock
/// alone.
const SHIFTED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *file_path) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(id, file_path);
    FILE *file = id == CLOCK_REALTIME ? fopen(getenv("CONTROL"), "r") : NULL;
    long shift = 0;
    if (file && fscanf(file, "%ld", &shift) == 1) file_path->tv_sec += shift;
    if (file) fclose(file);
    return result;
}
"#;

/// Stalls every `fsync` of a program while a file exists.
const STALLED_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fsync(int fd) {
    static int (*next)(int);
    if (!next) next = dlsym(RTLD_NEXT, "fsync");
    while (access(getenv("CONTROL"), F_OK) == 0) usleep(1000);
    return next(fd);
}
"#;

/// Compiles a C source. Returns its directory, the library, and the path of the control file.
fn library(source: &str) -> (TempDir, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file_path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (text, library, control) = (file_path("library.c"), file_path("library.so"), file_path("control"));
    fs::write(&text, source).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o", &library, &text]).status().unwrap();
    assert!(compiled.success());
    (directory, library, control)
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_does_not_change_the_lifetime_of_a_login() {
    let (_directory, library, shift) = library(SHIFTED_CLOCK);
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).callback("ports = [0]\nlogin_lifetime = \"3s\"");
    let daemon = TestDaemon::start(config.env("LD_PRELOAD", &library).env("CONTROL", &shift)).await;
    let month = 30 * 24 * 3600;
    let (login, url) = start(&daemon, json!({})).await;
    fs::write(&shift, format!("{month}")).unwrap();
    // The tokens look expired by that clock. This test is about the exchange of the code.
    daemon.browse(&url, "plus").await;
    assert_ne!(finished(&daemon, &login).await["error"]["code"], "login_expired");
    assert_eq!(sandbox.count(Route::CodeExchange), 1);
    let (login, _) = start(&daemon, json!({})).await;
    fs::write(&shift, format!("-{month}")).unwrap();
    assert_eq!(finished(&daemon, &login).await["state"], "expired");
}

#[tokio::test]
async fn a_stalled_disk_does_not_delay_responses_from_memory() {
    let (_directory, library, stall) = library(STALLED_DISK);
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").toml("deadline = \"30s\"");
    let daemon = TestDaemon::start(config.env("LD_PRELOAD", &library).env("CONTROL", &stall)).await;
    daemon.sign_in("default", "plus").await;
    let home = daemon.dir().join("codex");
    fs::create_dir(&home).unwrap();
    fs::write(&stall, "").unwrap();
    // The daemon is writing a record, the list of Codex homes, and a login in one of them.
    let refresh = daemon.request("POST", "/v1/profiles/default/refresh", &[], "{}");
    let body = json!({"home": home}).to_string();
    let install = daemon.request("PUT", "/v1/profiles/default/codex", &[], body);
    let reads = async {
        while !fs::read_dir(daemon.state())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".codex.json"))
        {
            daemon.get("/v1/profiles/default/headers").await;
        }
        for _ in 0..100 {
            daemon.get("/v1/profiles/default/headers").await;
        }
        assert_eq!(sandbox.count(Route::Refresh), 0, "the journal entry is not on the disk yet");
        fs::remove_file(&stall).unwrap();
    };
    let (refreshed, installed, ()) = tokio::join!(refresh, install, reads);
    assert!(refreshed.status.is_success(), "{}", refreshed.text());
    assert!(installed.status.is_success(), "{}", installed.text());
}

/// Waits until the daemon has started to write the list of shares.
async fn wait_for_list_of_shares(daemon: &TestDaemon) {
    let is_list = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".shares.json");
    while !fs::read_dir(daemon.state()).unwrap().any(|entry| is_list(entry.unwrap())) {
        daemon.get("/v1/status").await;
    }
}

#[tokio::test]
async fn a_stalled_disk_delays_neither_the_end_of_a_share_nor_its_requests() {
    let (_directory, library, stall) = library(STALLED_DISK);
    let sandbox = sandbox().await;
    // The list of shares is the only file that the daemon writes here.
    let config = TestDaemonConfig::new(AUTHD, &sandbox);
    let daemon = TestDaemon::start(config.env("LD_PRELOAD", &library).env("CONTROL", &stall)).await;
    daemon.sign_in("me", "plus").await;
    let shares = both(&daemon, json!({})).await;
    let ended = Holder::new(&daemon, json!({"door": "loopback"})).await;
    let expiring = Holder::new(&daemon, json!({"door": "loopback", "ttl": 2})).await;
    let mut connections = Vec::new();
    for share in [&ended, &expiring] {
        let door = Door::Share(share.clone());
        let mut connection = door.send_head("GET", "models?client_version=0.34.0", &[]).await;
        read_head(&mut connection).await;
        connections.push(connection);
    }
    fs::write(&stall, "").unwrap();
    let rename = daemon.request("PATCH", "/v1/profiles/me", &[], r#"{"name":"you"}"#);
    let path = format!("/v1/shares/{}", ended.id());
    let unshare = async {
        wait_for_list_of_shares(&daemon).await;
        daemon.request("DELETE", &path, &[], "").await
    };
    let others = async {
        wait_for_list_of_shares(&daemon).await;
        for share in &shares {
            assert_eq!(share.models().await, 200);
        }
        for connection in &mut connections {
            // Without the end of its share, an idle connection lasts a minute.
            let mut rest = Vec::new();
            let closed = connection.read_to_end(&mut rest);
            tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap().unwrap();
        }
        fs::remove_file(&stall).unwrap();
    };
    let (renamed, unshared, ()) = tokio::join!(rename, unshare, others);
    assert!(renamed.status.is_success(), "{}", renamed.text());
    assert_eq!(unshared.status.as_u16(), 204, "{}", unshared.text());
    assert_eq!(daemon.get("/v1/shares").await["shares"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_client_that_disconnects_during_a_write_leaves_the_list_of_shares_like_its_file() {
    let (_directory, library, stall) = library(STALLED_DISK);
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file");
    let mut daemon = TestDaemon::start(config.env("LD_PRELOAD", &library).env("CONTROL", &stall)).await;
    daemon.sign_in("me", "plus").await;
    fs::write(&stall, "").unwrap();
    let head = "POST /v1/shares HTTP/1.1\r\nHost: authd\r\nContent-Length: 2\r\n\r\n{}";
    let mut client = tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    wait_for_list_of_shares(&daemon).await;
    client.shutdown().await.unwrap();
    // The daemon closes the connection of a client that has gone, and drops its request.
    client.read_to_end(&mut Vec::new()).await.unwrap();
    let resume = async {
        daemon.get("/v1/status").await;
        fs::remove_file(&stall).unwrap();
        while !daemon.state().join("shares.json").exists() {
            daemon.get("/v1/status").await;
        }
    };
    let (list, ()) = tokio::join!(daemon.get("/v1/shares"), resume);
    daemon.restart().await;
    assert_eq!(daemon.get("/v1/shares").await, list);
}

#[tokio::test]
async fn a_stalled_disk_does_not_keep_the_shares_of_a_profile_that_is_signed_out() {
    let (_directory, library, stall) = library(STALLED_DISK);
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox);
    let daemon = TestDaemon::start(config.env("LD_PRELOAD", &library).env("CONTROL", &stall)).await;
    daemon.sign_in("me", "plus").await;
    let early = Holder::new(&daemon, json!({"door": "loopback"})).await;
    let mut connection = early.connect().await.unwrap();
    let head = Door::Share(early.clone()).head("GET", "models?client_version=0.34.0", &[]);
    connection.write_all(head.as_bytes()).await.unwrap();
    read_head(&mut connection).await;
    fs::write(&stall, "").unwrap();
    let make = || daemon.request("POST", "/v1/shares", &[], r#"{"profile":"me"}"#);
    let sign_out = async {
        wait_for_list_of_shares(&daemon).await;
        daemon.request("DELETE", "/v1/profiles/me", &[], "").await
    };
    let late = async {
        // The list is still being written with the share that was made before the sign-out.
        connection.read_to_end(&mut Vec::new()).await.unwrap();
        let late = make().await;
        fs::remove_file(&stall).unwrap();
        late
    };
    let (_, signed_out, late) = tokio::join!(make(), sign_out, late);
    assert!(signed_out.status.is_success(), "{}", signed_out.text());
    assert_eq!(late.status.as_u16(), 404, "{}", late.text());
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}
