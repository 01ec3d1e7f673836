//! The profile of a directory: `.authd-profile`.

use std::{
    fs,
    os::unix::fs::{chown, symlink},
    path::Path,
};

use authd_sandbox::test_daemon::TestDaemon;
use serde_json::json;

use crate::{Outcome, command, run, start_daemon};

/// A user id that no test runs as.
const OTHER_USER: u32 = 48_613;

async fn run_in(daemon: &TestDaemon, directory: &Path, args: &[&str]) -> Outcome {
    command(daemon, args).current_dir(directory).output().await.unwrap().into()
}

#[tokio::test]
async fn nearest_file_names_the_profile() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    daemon.sign_in("home", "plus").await;
    let project = daemon.dir().join("home/project");
    let inner = project.join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let written = run_in(&daemon, &project, &["use", "work", "--here"]).await.ok();
    assert!(written.stderr.contains("project/.authd-profile"), "{written}");
    assert_eq!(fs::read_to_string(project.join(".authd-profile")).unwrap(), "work\n");
    assert_eq!(daemon.get("/v1/profiles").await["default"], "default", "--here changes no default");
    let profile = async |directory: &Path, variable: Option<&str>, args: &[&str]| {
        let mut command = command(&daemon, &[&["token", "--json"], args].concat());
        let client = command.current_dir(directory).envs(variable.map(|name| ("AUTHCTL_PROFILE", name)));
        Outcome::from(client.output().await.unwrap()).ok().json()["profile"].clone()
    };
    assert_eq!(profile(&inner, None, &[]).await, "work");
    assert_eq!(profile(&inner, Some("home"), &[]).await, "home", "the variable goes first");
    assert_eq!(profile(&inner, Some("-"), &[]).await, "default", "the variable can name the default");
    assert_eq!(profile(&inner, None, &["-p", "home"]).await, "home");
    assert_eq!(profile(&inner, None, &["home"]).await, "home");
    run_in(&daemon, &inner, &["use", "home", "--here"]).await.ok();
    assert_eq!(profile(&inner, None, &[]).await, "home", "the nearest one counts");
    assert_eq!(profile(&project, None, &[]).await, "work");
    assert_eq!(profile(&daemon.dir().join("home"), None, &[]).await, "default");
}

#[tokio::test]
async fn status_lists_all_profiles_and_names_the_file() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let home = daemon.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    let file = home.join(".authd-profile");
    fs::write(&file, "work\n").unwrap();
    let shown = run_in(&daemon, &home, &["status"]).await.ok().stdout;
    assert!(shown.contains(&format!("profile   work, from {}\n", file.display())), "{shown}");
    assert!(shown.contains("* default"), "{shown}");
    let selection = run_in(&daemon, &home, &["status", "--json"]).await.ok().json()["selection"].clone();
    assert_eq!(selection, json!({"profile": "work", "from": "file", "path": file}));
    let elsewhere = run_in(&daemon, Path::new("/"), &["status"]).await.ok().stdout;
    assert!(!elsewhere.contains("profile   "), "{elsewhere}");
    fs::write(&file, "wrk\n").unwrap();
    let shown = run_in(&daemon, &home, &["status"]).await.ok().stdout;
    assert!(shown.contains("profile   wrk (there is no such profile), from /"), "{shown}");
}

#[tokio::test]
async fn errors_name_the_file() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let home = daemon.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    let file = home.join(".authd-profile");
    let name = file.to_str().unwrap();
    fs::write(&file, "wrk\n").unwrap();
    for args in [&["token"][..], &["headers"], &["ask", "What?"], &["refresh"], &["exec", "true"]] {
        let outcome = run_in(&daemon, &home, args).await.failed(3, "there is no profile \"wrk\"");
        assert!(outcome.stderr.contains(name), "{outcome}");
    }
    fs::write(&file, "two words\n").unwrap();
    let outcome = run_in(&daemon, &home, &["token"]).await.failed(2, "not a profile name");
    assert!(outcome.stderr.contains(name) && outcome.stderr.contains("use PROFILE --here"), "{outcome}");
    run_in(&daemon, &home, &["profiles"]).await.ok();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    run_in(&daemon, &home, &["token"]).await.failed(2, "is not a regular file");
    run_in(&daemon, &home, &["use", "default", "--here"]).await.failed(2, "cannot write");
    fs::remove_dir(&file).unwrap();
    run_in(&daemon, &home, &["use", "nobody", "--here"]).await.failed(3, "nobody");
    assert!(!file.exists(), "the name of a missing profile is not written");
    run_in(&daemon, daemon.dir(), &["use", "default", "--here"]).await.failed(2, "above the home directory");
}

#[tokio::test]
async fn directories_above_the_home_directory_are_not_searched() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let home = daemon.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    fs::write(daemon.dir().join(".authd-profile"), "wrk\n").unwrap();
    run_in(&daemon, &home, &["token"]).await.ok();
    run_in(&daemon, daemon.dir(), &["token"]).await.ok();
}

#[tokio::test]
async fn files_of_other_users_are_skipped() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let home = daemon.dir().join("home");
    let inner = home.join("a");
    fs::create_dir_all(&inner).unwrap();
    fs::write(home.join(".authd-profile"), "work\n").unwrap();
    let file = inner.join(".authd-profile");
    fs::write(&file, "default\n").unwrap();
    chown(&file, Some(OTHER_USER), None).unwrap();
    let token = run_in(&daemon, &inner, &["token", "--json", "-v"]).await.ok();
    assert_eq!(token.json()["profile"], "work", "the next one upward counts");
    assert!(token.stderr.contains("it belongs to another user"), "{token}");
    run_in(&daemon, &inner, &["use", "work", "--here"]).await.failed(2, "it belongs to another user");
    // A link of this user to a file of another one.
    let foreign = home.join("foreign");
    fs::rename(&file, &foreign).unwrap();
    symlink(&foreign, &file).unwrap();
    assert_eq!(run_in(&daemon, &inner, &["token", "--json"]).await.ok().json()["profile"], "work");
}

#[tokio::test]
async fn share_has_its_own_profile_whatever_the_directory_has() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let home = daemon.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    let share = run(&daemon, &["share", "--headers", "--json"]).await.ok().json();
    let socket = share["socket"].as_str().unwrap();
    fs::write(home.join(".authd-profile"), "default\n").unwrap();
    let mut client = command(&daemon, &["token"]);
    let refused = client.env("AUTHD_SOCKET", socket).current_dir(&home).output().await.unwrap();
    Outcome::from(refused).failed(6, "export AUTHCTL_PROFILE=-");
    let allowed = client.env("AUTHCTL_PROFILE", "-").output().await.unwrap();
    Outcome::from(allowed).ok();
}
