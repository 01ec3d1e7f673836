//! `authctl service`: installation of the units, with and without a package's units.

use std::{fs, path::PathBuf};

use rustix::process::test_kill_process;
use serde_json::Value;

use crate::fixture::{ServiceFixture, UNITS, wait_until};

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
    assert_eq!(now["unmanaged_pid"], Value::Null, "{now}");
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

/// The drop-in that `authctl service install` writes.
const DROP_IN: &str = ".config/systemd/user/authd.service.d/authd-paths.conf";

/// Makes the hardening effective also before systemd 254, and creates a directory outside the home
/// whose name needs quotes.
async fn outside_directory(fixture: &ServiceFixture) -> PathBuf {
    fixture.drop_in("authd.service", "users", "[Service]\nPrivateUsers=yes\n").await;
    let directory = fixture.home().with_file_name("it's 100% \"outside\"");
    drop(fs::remove_dir_all(&directory));
    fs::create_dir(&directory).unwrap();
    directory
}

/// Checks that systemd understands the installed files.
async fn verify(fixture: &ServiceFixture) {
    let mut command = tokio::process::Command::new("systemd-analyze");
    let unit = fixture.home().join(".config/systemd/user/authd.service");
    let output = command.args(["--user", "verify"]).arg(unit).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let has_warning = stderr.lines().any(|line| line.contains("authd"));
    assert!(output.status.success() && !has_warning, "{stderr}");
}

scenario!(install_makes_a_state_directory_outside_the_home_writable, fixture, {
    let directory = outside_directory(&fixture).await;
    let variable = format!("XDG_STATE_HOME={}", directory.display());
    fixture.systemctl(&["set-environment", &variable]).await;
    fixture.systemctl(&["start", "--no-block", "authd.service"]).await;
    fixture.wait_for("NRestarts", |restarts| restarts != "0").await;
    assert!(fixture.log().contains("Read-only file system"), "the unit alone fails: {}", fixture.log());

    let (code, stdout, _) = run(&fixture, &["install", "--print"]).await;
    assert!(code == 0 && stdout.contains("ReadWritePaths=\"-/") && stdout.contains("mkdir -p"), "{stdout}");
    expect_success(&fixture, &["install"]).await;
    verify(&fixture).await;
    let login = fixture.sign_in().await;
    assert!(directory.join("authd/store.json").exists(), "{}", fixture.log());
    let drop_in = fixture.home().join(DROP_IN);
    let (_, now) = status(&fixture).await;
    let files = now["files"].as_array().unwrap();
    assert!(files.contains(&drop_in.to_str().unwrap().into()), "{now}");
    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("already installed"), "{stderr}");
    assert_eq!(fixture.headers().await, login);

    // Without the variable the drop-in is not needed.
    fixture.systemctl(&["unset-environment", "XDG_STATE_HOME"]).await;
    let stderr = expect_success(&fixture, &["install"]).await;
    assert!(stderr.contains("removed") && !drop_in.exists(), "{stderr}");
    fixture.systemctl(&["set-environment", &variable]).await;
    expect_success(&fixture, &["install"]).await;
    assert_eq!(fixture.headers().await, login);
    expect_success(&fixture, &["uninstall"]).await;
    assert!(!drop_in.exists());
    fixture.systemctl(&["unset-environment", "XDG_STATE_HOME"]).await;
    fixture.install_units(".config");
    fixture.systemctl(&["daemon-reload"]).await;
});

scenario!(install_makes_codex_homes_outside_the_home_writable, fixture, {
    let home = outside_directory(&fixture).await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    fixture.sign_in().await;
    let codex_install = ["codex", "install", "--home", home.to_str().unwrap()];
    let output = fixture.authctl(&codex_install).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("Read-only file system"), "{stderr}");
    assert!(stderr.contains("hint: ") && stderr.contains("ReadWritePaths=/"), "{stderr}");
    // A daemon outside the service may write there.
    expect_success(&fixture, &["uninstall"]).await;
    let output = fixture.authctl(&["login", "--no-browser", "--no-wait"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = fixture.authctl(&codex_install).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    expect_success(&fixture, &["install"]).await;
    verify(&fixture).await;
    fixture.refresh().await.unwrap().unwrap();
    let headers = fixture.headers().await;
    let token = headers.token().unwrap();
    wait_until(|| fs::read_to_string(home.join("auth.json")).is_ok_and(|text| text.contains(token))).await;
    expect_success(&fixture, &["uninstall"]).await;
    fixture.install_units(".config");
    fixture.systemctl(&["daemon-reload"]).await;
});

scenario!(install_refuses_a_path_that_the_unit_hides, fixture, {
    fixture.remove_units(".config").await;
    let file = fixture.home().join(".ssh/authd-key");
    fixture.configure(&format!("[store]\nkind = \"file\"\npassphrase_file = {file:?}\n"));
    let (code, _, stderr) = run(&fixture, &["install"]).await;
    let expected = format!("the service cannot use {}: its unit hides ", file.display());
    assert!(code != 0 && stderr.contains(&expected), "{code}: {stderr}");
    assert_eq!(user_units(&fixture), [] as [PathBuf; 0]);
    fixture.configure("[callback]\nports = [0]\n");
    expect_success(&fixture, &["install"]).await;
    expect_success(&fixture, &["uninstall"]).await;
    fixture.install_units(".config");
    fixture.systemctl(&["daemon-reload"]).await;
});
