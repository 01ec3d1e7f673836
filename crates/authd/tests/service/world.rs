//! What the scenes share: a fresh sandbox and configuration for each, the service manager's verbs, a
//! client. At the end of each, its log is read for secrets.

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

/// A bound against hanging, not an expectation.
const PATIENCE: Duration = Duration::from_secs(60);

/// The units, as the repository has them.
pub(crate) const UNITS: [(&str, &str); 2] = [
    ("authd.socket", include_str!("../../../../systemd/authd.socket")),
    ("authd.service", include_str!("../../../../systemd/authd.service")),
];

/// The daemon, its configuration and its service manager.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    home: PathBuf,
}

impl World {
    /// A world where nobody is signed in and nothing runs; nothing, outside of the place made for it.
    pub(crate) async fn new() -> Option<Self> {
        env::var_os(INSIDE)?;
        let home = PathBuf::from(env::var_os("HOME").unwrap());
        let socket = PathBuf::from(env::var_os("XDG_RUNTIME_DIR").unwrap()).join("authd/authd.sock");
        let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
        let world = Self { sandbox, client: Client::new(socket), home };
        systemctl(&["stop", "authd.socket", "authd.service"]).await;
        for leftover in [".local", "authd.log", ".config/systemd/user/authd.service.d"] {
            drop(fs::remove_dir_all(world.home.join(leftover)));
        }
        drop(fs::remove_dir_all(world.home.join(".config/systemd/user/authd.socket.d")));
        drop(fs::remove_file(world.log_path()));
        world.configure("[callback]\nports = [0]\n");
        world.lay_units(".config");
        // There is no journal here; its stream is a file.
        world.drop_in("authd.service", "log", "[Service]\nStandardError=append:%h/authd.log\n").await;
        systemctl(&["reset-failed"]).await;
        Some(world)
    }

    /// Writes the configuration: the sandbox, files as the store, and this.
    pub(crate) fn configure(&self, extra: &str) {
        let at = self.sandbox.endpoints();
        let store = if extra.contains("[store]") { "" } else { "[store]\nkind = \"file\"\n" };
        let text = format!(
            "[provider]\nissuer = {:?}\nclient_id = {:?}\nchatgpt_base_url = {:?}\n\
             chatgpt_backend_url = {:?}\napi_base_url = {:?}\n\n[log]\nformat = \"plain\"\n\
             filter = \"debug\"\n\n{store}{extra}",
            at.issuer, at.client_id, at.chatgpt_base_url, at.chatgpt_backend_url, at.api_base_url,
        );
        fs::write(self.home.join(".config/authd/authd.toml"), text).unwrap();
    }

    /// Lays the repository's units into a directory of the home where the manager looks for them.
    pub(crate) fn lay_units(&self, below: &str) {
        let directory = self.home.join(below).join("systemd/user");
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in UNITS {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    /// Takes them away again.
    pub(crate) async fn remove_units(&self, below: &str) {
        for (name, _) in UNITS {
            fs::remove_file(self.home.join(below).join("systemd/user").join(name)).unwrap();
        }
        self.systemctl(&["daemon-reload"]).await;
    }

    /// Adds to a unit, as an administrator does.
    pub(crate) async fn drop_in(&self, unit: &str, name: &str, text: &str) {
        let directory = self.home.join(format!(".config/systemd/user/{unit}.d"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.conf")), text).unwrap();
        self.systemctl(&["daemon-reload"]).await;
    }

    /// A verb of the service manager, which must succeed.
    pub(crate) async fn systemctl(&self, args: &[&str]) {
        let output = systemctl(args).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "systemctl {args:?}: {said}\n{}", self.log());
    }

    /// A property of the service, as the manager shows it.
    pub(crate) async fn show(&self, property: &str) -> String {
        let output = systemctl(&["show", "--value", "-p", property, "authd.service"]).await;
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a property of the service is as it should be.
    pub(crate) async fn until(&self, property: &str, wanted: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let value = self.show(property).await;
            if wanted(&value) {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{property} stays {value:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The daemon's process.
    pub(crate) async fn pid(&self) -> rustix::process::Pid {
        let shown = self.show("MainPID").await;
        rustix::process::Pid::from_raw(shown.parse().unwrap()).expect("the daemon runs")
    }

    /// The command line client.
    pub(crate) async fn authctl(&self, args: &[&str]) -> Output {
        Command::new(self.home.join(".cargo/bin/authctl")).args(args).output().await.unwrap()
    }

    /// Starts a login in the browser.
    pub(crate) async fn start_login(&self) -> Login {
        self.client.start_login(&LoginBody::default()).await.unwrap()
    }

    /// Plays the person, and returns once the login has succeeded.
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

    /// The headers, which must be there.
    pub(crate) async fn headers(&self) -> Headers {
        let asked = tokio::time::timeout(PATIENCE, self.client.headers(None, None)).await;
        asked.unwrap().unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The headers, once they are there: a keychain that the bus has started may answer, locked, before the one that is
    /// unlocked has taken its place.
    pub(crate) async fn headers_in_the_end(&self) -> Headers {
        let asking = async {
            loop {
                match self.client.headers(None, None).await {
                    Ok(headers) => return headers,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        asked.unwrap_or_else(|_| panic!("no headers in the end\n{}", self.log()))
    }

    /// Asks for a refresh, in a task of its own.
    pub(crate) fn refresh(&self) -> tokio::task::JoinHandle<Result<authd_api::Profile, String>> {
        let client = self.client.clone();
        tokio::spawn(async move {
            client.refresh(None, &RefreshBody::default()).await.map_err(|error| error.to_string())
        })
    }

    /// A keychain on the user's session bus, unlocked, for as long as what is returned lives; nothing,
    /// where none is installed.
    pub(crate) async fn keychain(&self) -> Option<[Child; 2]> {
        let bus = PathBuf::from(env::var_os("XDG_RUNTIME_DIR").unwrap()).join("bus");
        let address = format!("unix:path={}", bus.display());
        // A machine with a D-Bus for each user session has one here already: its socket is in the way.
        systemctl(&["stop", "dbus.socket", "dbus.service"]).await;
        drop(fs::remove_file(&bus));
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
        let Ok(daemon) = daemon.kill_on_drop(true).spawn() else {
            println!("skipped: dbus-daemon is not installed");
            return None;
        };
        until(|| bus.exists()).await;
        Some([daemon, self.keyring().await?])
    }

    /// The keychain on the user's session bus, unlocked.
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

    /// What the daemon has written to stderr.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("authd.log")
    }

    /// Stops everything, and reads the log: plain lines, and no secret that was ever issued.
    pub(crate) async fn end(self) {
        self.systemctl(&["stop", "authd.socket", "authd.service"]).await;
        let log = self.log();
        assert!(!log.is_empty(), "the log is captured");
        for line in log.lines() {
            let plain = line.trim_start().split(' ').next().unwrap_or_default();
            // The last is of a daemon that could not start.
            let words = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE", "authd:"];
            assert!(words.contains(&plain), "not plain: {line:?}");
            assert!(!line.contains('\x1b'), "not plain: {line:?}");
        }
        let secrets = self.sandbox.issued_secrets();
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "the log holds a secret:\n{log}");
        }
    }
}

/// Waits until something is so.
async fn until(so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "it does not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn systemctl(args: &[&str]) -> Output {
    Command::new("systemctl").arg("--user").args(args).output().await.unwrap()
}
