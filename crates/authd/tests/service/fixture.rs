//! The fixture of the scenarios: a new sandbox and configuration, systemctl, and a client. The end
//! of each scenario checks the log for secrets.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use authd_api::{Client, Headers, Login, LoginBody, LoginState, RefreshBody};
use authd_sandbox::{Account, Config, Sandbox};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::manager::INSIDE;

/// Time limit for each step. It only ends a test that hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The units, as the repository has them.
pub(crate) const UNITS: [(&str, &str); 2] = [
    ("authd.socket", include_str!("../../../../systemd/authd.socket")),
    ("authd.service", include_str!("../../../../systemd/authd.service")),
];

/// The daemon, its configuration and its service manager.
pub(crate) struct ServiceFixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    home: PathBuf,
}

impl ServiceFixture {
    /// A new fixture without a login or a running daemon. `None` outside of the user manager that
    /// `manager.rs` starts.
    pub(crate) async fn new() -> Option<Self> {
        env::var_os(INSIDE)?;
        let home = PathBuf::from(env::var_os("HOME").unwrap());
        let socket = PathBuf::from(env::var_os("XDG_RUNTIME_DIR").unwrap()).join("authd/authd.sock");
        let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
        let fixture = Self { sandbox, client: Client::new(socket), home };
        systemctl(&["stop", "authd.socket", "authd.service"]).await;
        systemctl(&["unset-environment", "XDG_STATE_HOME"]).await;
        for leftover in [".local", "authd.log", ".config/systemd/user/authd.service.d"] {
            drop(fs::remove_dir_all(fixture.home.join(leftover)));
        }
        drop(fs::remove_dir_all(fixture.home.join(".config/systemd/user/authd.socket.d")));
        drop(fs::remove_file(fixture.log_path()));
        fixture.configure("[callback]\nports = [0]\n");
        fixture.install_units(".config");
        // The user manager has no journal, so the log goes to a file.
        fixture.drop_in("authd.service", "log", "[Service]\nStandardError=append:%h/authd.log\n").await;
        systemctl(&["reset-failed"]).await;
        Some(fixture)
    }

    /// Writes the configuration: the sandbox's endpoints, the file store, and these tables.
    pub(crate) fn configure(&self, extra: &str) {
        let endpoints = self.sandbox.endpoints();
        let store = if extra.contains("[store]") { "" } else { "[store]\nkind = \"file\"\n" };
        let text = format!(
            "[provider]\nissuer = {:?}\nclient_id = {:?}\nchatgpt_base_url = {:?}\n\
             chatgpt_backend_url = {:?}\napi_base_url = {:?}\n\n[log]\nformat = \"plain\"\n\
             filter = \"debug\"\n\n{store}{extra}",
            endpoints.issuer,
            endpoints.client_id,
            endpoints.chatgpt_base_url,
            endpoints.chatgpt_backend_url,
            endpoints.api_base_url,
        );
        fs::write(self.home.join(".config/authd/authd.toml"), text).unwrap();
    }

    /// Copies the repository's units to a directory below the home that the manager searches.
    pub(crate) fn install_units(&self, below: &str) {
        let directory = self.home.join(below).join("systemd/user");
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in UNITS {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    /// Removes the units.
    pub(crate) async fn remove_units(&self, below: &str) {
        for (name, _) in UNITS {
            fs::remove_file(self.home.join(below).join("systemd/user").join(name)).unwrap();
        }
        self.systemctl(&["daemon-reload"]).await;
    }

    /// Adds a drop-in file to a unit.
    pub(crate) async fn drop_in(&self, unit: &str, name: &str, text: &str) {
        let directory = self.home.join(format!(".config/systemd/user/{unit}.d"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.conf")), text).unwrap();
        self.systemctl(&["daemon-reload"]).await;
    }

    /// Runs systemctl, which must succeed.
    pub(crate) async fn systemctl(&self, args: &[&str]) {
        let output = systemctl(args).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "systemctl {args:?}: {stderr}\n{}", self.log());
    }

    /// A property of the service.
    pub(crate) async fn show(&self, property: &str) -> String {
        let output = systemctl(&["show", "--value", "-p", property, "authd.service"]).await;
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a property of the service has an expected value.
    pub(crate) async fn wait_for(&self, property: &str, is_expected: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let value = self.show(property).await;
            if is_expected(&value) {
                return value;
            }
            assert!(started.elapsed() < TIMEOUT, "{property} stays {value:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The daemon's process.
    pub(crate) async fn pid(&self) -> rustix::process::Pid {
        let pid = self.show("MainPID").await;
        rustix::process::Pid::from_raw(pid.parse().unwrap()).expect("the daemon runs")
    }

    /// Runs authctl.
    pub(crate) async fn authctl(&self, args: &[&str]) -> Output {
        Command::new(self.home.join(".cargo/bin/authctl")).args(args).output().await.unwrap()
    }

    /// Starts a login in the browser.
    pub(crate) async fn start_login(&self) -> Login {
        self.client.start_login(&LoginBody::default()).await.unwrap()
    }

    /// Completes a login in the browser, and returns when it has succeeded.
    pub(crate) async fn finish_login(&self, login: &Login) {
        let url = login.authorize_url.as_deref().unwrap();
        let end = self.sandbox.browser().sign_in(url, "plus").await.unwrap();
        let login = self.client.login(&login.id, Some(30)).await.unwrap();
        assert_eq!(login.state, LoginState::Succeeded, "{:?}\n{}\n{}", login.error, end.html, self.log());
    }

    /// Signs in, and returns the headers.
    pub(crate) async fn sign_in(&self) -> Headers {
        let login = self.start_login().await;
        self.finish_login(&login).await;
        self.headers().await
    }

    /// The headers, which must be available.
    pub(crate) async fn headers(&self) -> Headers {
        let headers = tokio::time::timeout(TIMEOUT, self.client.headers(None, None)).await;
        headers.unwrap().unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Waits for headers. A locked keychain that the bus has started may answer before the unlocked
    /// one replaces it.
    pub(crate) async fn wait_for_headers(&self) -> Headers {
        let request = async {
            loop {
                match self.client.headers(None, None).await {
                    Ok(headers) => return headers,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let headers = tokio::time::timeout(TIMEOUT, request).await;
        headers.unwrap_or_else(|_| panic!("no headers within {TIMEOUT:?}\n{}", self.log()))
    }

    /// Requests a refresh in a new task.
    pub(crate) fn refresh(&self) -> tokio::task::JoinHandle<Result<authd_api::Profile, String>> {
        let client = self.client.clone();
        tokio::spawn(async move {
            client.refresh(None, &RefreshBody::default()).await.map_err(|error| error.to_string())
        })
    }

    /// Starts a session bus with an unlocked keychain. Dropping the processes ends both. `None`
    /// where they are not installed.
    pub(crate) async fn keychain(&self) -> Option<[Child; 2]> {
        let bus = PathBuf::from(env::var_os("XDG_RUNTIME_DIR").unwrap()).join("bus");
        let address = format!("unix:path={}", bus.display());
        // Some machines have a D-Bus for each user session. Its socket must be removed first.
        systemctl(&["stop", "dbus.socket", "dbus.service"]).await;
        drop(fs::remove_file(&bus));
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
        let Ok(daemon) = daemon.kill_on_drop(true).spawn() else {
            println!("skipped: dbus-daemon is not installed");
            return None;
        };
        wait_until(|| bus.exists()).await;
        Some([daemon, self.keyring().await?])
    }

    /// Starts an unlocked keychain on the session bus.
    pub(crate) async fn keyring(&self) -> Option<Child> {
        let bus = PathBuf::from(env::var_os("XDG_RUNTIME_DIR").unwrap()).join("bus");
        let mut keyring = Command::new("gnome-keyring-daemon");
        keyring.args(["--foreground", "--replace", "--unlock", "--components=secrets"]);
        keyring.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        keyring.stdin(Stdio::piped()).stdout(Stdio::null());
        let Ok(mut keyring) = keyring.kill_on_drop(true).spawn() else {
            println!("skipped: gnome-keyring-daemon is not installed");
            return None;
        };
        keyring.stdin.take().unwrap().write_all(b"password").await.unwrap();
        Some(keyring)
    }

    /// The user's home.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The daemon's stderr.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("authd.log")
    }

    /// Stops the service, and checks the log: plain lines, and no issued secret.
    pub(crate) async fn end(self) {
        self.systemctl(&["stop", "authd.socket", "authd.service"]).await;
        let log = self.log();
        assert!(!log.is_empty(), "the log is captured");
        for line in log.lines() {
            let first_word = line.trim_start().split(' ').next().unwrap_or_default();
            // A daemon that cannot start prints a line with `authd:`.
            let allowed = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE", "authd:"];
            assert!(allowed.contains(&first_word), "not plain: {line:?}");
            assert!(!line.contains('\x1b'), "not plain: {line:?}");
        }
        let secrets = self.sandbox.issued_secrets();
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "the log contains a secret:\n{log}");
        }
    }
}

/// Waits until a condition is true.
pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TIMEOUT, "the condition stays false");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn systemctl(args: &[&str]) -> Output {
    Command::new("systemctl").arg("--user").args(args).output().await.unwrap()
}
