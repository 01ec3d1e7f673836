//! `authctl service`: installation of the units, with and without a package's units.

use std::{fs, path::PathBuf};

use rustix::process::test_kill_process;
use serde_json::Value;

use crate::fixture::{ServiceFixture, UNITS};

/// Runs `authctl service`. Returns its exit code, stdout and stderr.
async fn run(fixture: &ServiceFixture, args: &[&str]) -> (i32, String, String) {
    let output = fixture.authctl(&[&["service"], args].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Runs `authctl service`, which must succeed. Returns its messages.
async fn expect_success(fixture: &ServiceFixture, args: &[&str]) -> String {
    let (code, _, stderr) = run(fixture, args).await;
    assert_eq!(code, 0, "authctl service {args:?}: {stderr}\n{}", fixture.log());
    stderr
}

async fn status(fixture: &ServiceFixture) -> (i32, Value) {
    let (code, stdout, stderr) = run(fixture, &["status", "--json"]).await;
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

/// The files in the directory of the user's units, except the drop-ins of the tests.
fn user_units(fixture: &ServiceFixture) -> Vec<PathBuf> {
    let mut directories = vec![fixture.home().join(".config/systemd/user")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_link = fs::symlink_metadata(&path).unwrap().is_symlink();
            match path.is_dir() && !is_link {
                true if path.extension().is_some_and(|extension| extension == "d") => {}
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

scenario!(install_replaces_a_running_daemon_and_uninstall_removes_everything, fixture, {
    fixture.remove_units(".config").await;
    // A login starts a daemon without a service.
    let output = fixture.authctl(&["login", "--no-browser", "--no-wait"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = fixture.sign_in().await;
    let unmanaged = fixture.client.status().await.unwrap().pid;

    let (code, stdout, _) = run(&fixture, &["install", "--print"]).await;
    assert!(code == 0 && stdout.contains("ExecStart=%h/.cargo/bin/authd"), "{stdout}");
    assert!(stdout.contains(&format!("kill {unmanaged} ")), "{stdout}");
    assert_eq!(user_units(&fixture), [] as [PathBuf; 0], "--print changes nothing");
    assert_eq!(status(&fixture).await.0, 9);

    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains(&format!("stopped authd (process {unmanaged})")), "{stderr}");
    for (name, text) in UNITS {
        let written = fs::read_to_string(fixture.home().join(".config/systemd/user").join(name)).unwrap();
        assert_eq!(written, text, "{name} is the repository's");
    }
    let (code, now) = status(&fixture).await;
    assert_eq!((code, &now["enabled"], &now["running"]), (0, &true.into(), &true.into()), "{now}");
    assert_eq!(now["daemon"]["pid"], fixture.pid().await.as_raw_nonzero().get(), "{now}");
    assert_eq!(now["stranger"], Value::Null, "{now}");
    assert_eq!(fixture.headers().await, before, "the login is kept");
    assert_eq!(fixture.show("NRestarts").await, "0", "the first start succeeded");

    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("already installed"), "{stderr}");
    assert_eq!(
        now["daemon"]["pid"],
        fixture.pid().await.as_raw_nonzero().get(),
        "the daemon was not restarted"
    );
    // A unit of an older version is replaced, and its service is restarted.
    let unit = fixture.home().join(".config/systemd/user/authd.service");
    fs::write(&unit, UNITS[1].1.replace("RestartSec=1s", "RestartSec=2s")).unwrap();
    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("wrote") && !stderr.contains("authd.socket\n"), "{stderr}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), UNITS[1].1);
    assert_eq!(fixture.headers().await, before);

    let daemon = fixture.pid().await;
    expect_success(&fixture, &["uninstall"]).await;
    assert_eq!(user_units(&fixture), [] as [PathBuf; 0]);
    assert!(test_kill_process(daemon).is_err() && !fixture.client.socket().exists(), "nothing runs");
    let (code, now) = status(&fixture).await;
    assert_eq!((code, &now["installed"]), (9, &false.into()), "{now}");
    let stderr = expect_success(&fixture, &["uninstall"]).await;
    assert!(stderr.contains("was not installed"), "{stderr}");
    fixture.install_units(".config");
    fixture.systemctl(&["daemon-reload"]).await;
});

scenario!(install_uses_the_units_of_a_package, fixture, {
    fixture.remove_units(".config").await;
    fixture.install_units("package");
    fixture.systemctl(&["daemon-reload"]).await;
    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("with the package's units") && !stderr.contains("wrote"), "{stderr}");
    let (code, now) = status(&fixture).await;
    assert_eq!((code, &now["running"]), (0, &true.into()), "{now}");
    assert!(now["packaged"].as_str().unwrap().ends_with("package/systemd/user"), "{now}");
    assert!(
        user_units(&fixture).iter().all(|path| fs::symlink_metadata(path).unwrap().is_symlink()),
        "only links"
    );
    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("already installed"), "{stderr}");
    let stderr = expect_success(&fixture, &["uninstall"]).await;
    assert!(stderr.contains("the package's units stay"), "{stderr}");
    assert_eq!(user_units(&fixture), [] as [PathBuf; 0]);
    assert_eq!(fixture.show("ActiveState").await, "inactive");
    fixture.remove_units("package").await;
    fixture.install_units(".config");
    fixture.systemctl(&["daemon-reload"]).await;
});

scenario!(install_reports_a_failed_start_and_the_service_recovers, fixture, {
    fixture.remove_units(".config").await;
    fixture.configure("[nonsense]\n");
    let (code, _, stderr) = run(&fixture, &["install"]).await;
    assert!(code == 9 && stderr.contains("hint: see: authctl service logs"), "{code}: {stderr}");
    let (code, now) = status(&fixture).await;
    assert_eq!((code, &now["enabled"], &now["running"]), (9, &true.into(), &false.into()), "{now}");
    fixture.configure("[callback]\nports = [0]\n");
    fixture.wait_for("ActiveState", |state| state == "active").await;
    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("already installed"), "{stderr}");
});
