//! The unit and the process in the audit log, compared with what `systemctl show` says about them.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::fixture::ServiceFixture;

/// The configuration with the audit log.
const AUDITED: &str = "[callback]\nports = [0]\n\n[audit]\nto = \"file\"\n";

/// Most milliseconds between the start of a process, as the kernel says, and its start as systemd
/// says, which notes the time a little later.
const START_TOLERANCE: i64 = 5_000;

scenario!(the_audit_log_names_a_service_and_a_scope, fixture, {
    fixture.configure(AUDITED);
    fixture.systemctl(&["start", "authd.socket"]).await;
    fixture.sign_in().await;
    let process = in_service(&fixture, "caller.service").await;
    let executable = Path::new(process["executable"].as_str().unwrap());
    assert!(executable.is_absolute() && executable.file_name().unwrap() == "curl", "{process}");

    let authctl = fixture.home().join(".cargo/bin/authctl").display().to_string();
    // The manager may move a process into a scope from its own units only.
    let scope = ["systemd-run", "--user", "--scope", "--unit=caller.scope", &authctl, "token"];
    in_unit(&fixture, &[&["--property=Type=oneshot"], &scope[..]].concat()).await;
    let process = process_in(&fixture, "caller.scope").await;
    // authctl lets no other process of the user look into it.
    assert_eq!((&process["command"], process.get("executable")), (&json!("authctl"), None));
    // This program was not started by the manager.
    fixture.headers().await;
    let own = processes(&fixture).await.into_iter().find(|process| process["pid"] == std::process::id());
    assert_eq!(own.unwrap().get("unit"), None);
});

scenario!(the_executable_is_not_readable_from_a_user_namespace, fixture, {
    fixture.configure(AUDITED);
    fixture.drop_in("authd.service", "users", "[Service]\nPrivateUsers=yes\n").await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    fixture.sign_in().await;
    let process = in_service(&fixture, "another.service").await;
    assert_eq!(process.get("executable"), None);
});

/// Runs curl as a service, and checks its process in the audit log. Returns that process.
async fn in_service(fixture: &ServiceFixture, unit: &str) -> Value {
    // The unit remains, so that it can be shown; systemd-run returns when the process has ended.
    let (name, socket) = (format!("--unit={unit}"), fixture.client.socket().to_str().unwrap());
    let unit_args = [&name, "--remain-after-exit", "--property=Type=oneshot"];
    let url = "http://authd/v1/profiles/-/headers";
    in_unit(fixture, &[&unit_args[..], &["curl", "-s", "--unix-socket", socket, url]].concat()).await;
    let process = process_in(fixture, unit).await;
    assert_eq!(process["pid"].to_string(), property(unit, "ExecMainPID").await);
    assert_eq!(process["command"], "curl");
    assert_eq!(process["uid"], rustix::process::getuid().as_raw());
    // Both clocks count from the boot, and no test machine is suspended.
    let started: i64 = property(unit, "ExecMainStartTimestampMonotonic").await.parse().unwrap();
    let boot = std::fs::read_to_string("/proc/stat").unwrap();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")).unwrap().parse::<i64>().unwrap();
    let time: jiff::Timestamp = process["started_at"].as_str().unwrap().parse().unwrap();
    let difference = (time.as_millisecond() - boot * 1_000 - started / 1_000).abs();
    assert!(difference < START_TOLERANCE, "{time} is {difference} ms from the start that systemd shows");
    fixture.systemctl(&["stop", unit]).await;
    process
}

/// Runs a command in a new unit.
async fn in_unit(fixture: &ServiceFixture, args: &[&str]) {
    let mut command = Command::new("systemd-run");
    command.args(["--user", "--quiet"]).args(args);
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}\n{}", fixture.log());
}

/// The process in the audit log that belongs to this unit. There must be one.
async fn process_in(fixture: &ServiceFixture, unit: &str) -> Value {
    let processes = processes(fixture).await;
    let mut found = processes.iter().filter(|process| process["unit"] == unit);
    let process = found.next().unwrap_or_else(|| panic!("no {unit} in {processes:?}")).clone();
    assert_eq!(found.next(), None);
    process
}

/// The processes in the audit log that have taken headers.
async fn processes(fixture: &ServiceFixture) -> Vec<Value> {
    let output = fixture.authctl(&["audit", "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["action"] == "headers").map(|entry| entry["process"].clone()).collect()
}

/// A property of a unit.
async fn property(unit: &str, name: &str) -> String {
    let mut command = Command::new("systemctl");
    let output = command.args(["--user", "show", "--value", "-p", name, unit]).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
