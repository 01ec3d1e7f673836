//! A test daemon to live in: the daemon's binary, run against a sandbox in a directory of its own, and asked over its
//! socket. For end-to-end tests and demonstrations: what goes wrong here panics, with the daemon's log.
//! It knows the daemon by its documented configuration, environment and socket only.

mod reply;
mod setup;

use std::{
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

pub use self::reply::Reply;
use crate::{Browser, BrowserEnd, Sandbox};

/// How long the daemon may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long anything else may take: a bound against hanging, not an expectation.
const PATIENCE: Duration = Duration::from_secs(90);
/// The largest answer that is read whole, in bytes.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// How a test daemon shall be.
#[derive(Clone)]
pub struct TestDaemonConfig<'a> {
    /// The daemon's binary.
    pub authd: PathBuf,
    /// The OpenAI that it shall talk to.
    pub sandbox: &'a Sandbox,
    /// The `kind` in `[store]`.
    pub store: String,
    /// More tables for `authd.toml`; `[provider]`, `[callback]` and `[store]` are taken.
    pub extra_toml: String,
    /// More keys for `[provider]`.
    pub provider_toml: String,
    /// The keys of `[callback]`: any free port, unless somebody says otherwise.
    pub callback_toml: String,
    /// More environment. Of this process's own, the daemon sees `PATH` alone.
    pub env: Vec<(String, String)>,
}

/// A running daemon. Dropping it kills the daemon and removes its directory.
pub struct TestDaemon {
    // The daemon goes before the directory it lives in.
    child: Child,
    authd: PathBuf,
    env: Vec<(String, String)>,
    browser: Browser,
    dir: TempDir,
}

impl<'a> TestDaemonConfig<'a> {
    /// A test daemon with the memory store and nothing extra.
    pub fn new(authd: impl Into<PathBuf>, sandbox: &'a Sandbox) -> Self {
        let (store, extra_toml, env) = ("memory".into(), String::new(), Vec::new());
        Self {
            authd: authd.into(),
            sandbox,
            store,
            extra_toml,
            provider_toml: String::new(),
            callback_toml: "ports = [0]".into(),
            env,
        }
    }

    /// The same with another store.
    #[must_use]
    pub fn store(self, kind: &str) -> Self {
        Self { store: kind.into(), ..self }
    }

    /// The same with more configuration.
    #[must_use]
    pub fn toml(mut self, extra: &str) -> Self {
        self.extra_toml = self.extra_toml + "\n" + extra;
        self
    }

    /// The same with more keys for `[provider]`.
    #[must_use]
    pub fn provider(self, keys: &str) -> Self {
        Self { provider_toml: keys.into(), ..self }
    }

    /// The same with other keys for `[callback]`.
    #[must_use]
    pub fn callback(self, keys: &str) -> Self {
        Self { callback_toml: keys.into(), ..self }
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

impl TestDaemon {
    /// Starts the daemon, and returns when its socket answers.
    pub async fn start(config: TestDaemonConfig<'_>) -> Self {
        let dir = tempfile::Builder::new().prefix("authd-").tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("the directory is ours");
        write(&dir.path().join("authd.toml"), &setup::toml(&config));
        let mut env = setup::environment(dir.path(), config.sandbox);
        env.extend(config.env);
        let child = spawn(&config.authd, &env, dir.path());
        let browser = config.sandbox.browser();
        let mut daemon = Self { child, authd: config.authd, env, browser, dir };
        daemon.ready().await;
        daemon
    }

    /// The directory that holds everything of this daemon, mode 0700.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("authd.sock")
    }

    /// The daemon's configuration file; edit it before [`TestDaemon::restart`] or a SIGHUP.
    pub fn config(&self) -> PathBuf {
        self.dir().join("authd.toml")
    }

    /// The daemon's state directory.
    pub fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// Everything the daemon has written to stdout and stderr, over all restarts.
    pub fn log(&self) -> String {
        let bytes = fs::read(log_path(self.dir())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The daemon's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The environment the daemon has, to give to a client of it.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Asks the daemon. The body is sent as JSON unless it is empty or the headers say otherwise.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        match self.try_request(method, path, headers, body).await {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: {error}\n{}", self.log()),
        }
    }

    /// Asks the daemon, which may be gone.
    pub async fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Reply> {
        let exchange = async {
            let (head, body) = self.open(method, path, headers, body).await?.into_parts();
            let body = Limited::new(body, MAX_REPLY).collect().await.map_err(io::Error::other)?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        timeout(PATIENCE, exchange).await?
    }

    /// Asks the daemon, and hands over the answer as it comes: for server-sent events and streams.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Response<Incoming>> {
        let body = body.into();
        let method = Method::from_bytes(method.as_bytes()).map_err(io::Error::other)?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "authd");
        if !body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        let stream = TokioIo::new(UnixStream::connect(self.socket()).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        // The connection lives as long as the answer's body; its errors come out of the request as well.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(io::Error::other)
    }

    /// `GET`, whose answer must be a success, as JSON.
    pub async fn get(&self, path: &str) -> Value {
        self.request("GET", path, &[], "").await.success(path)
    }

    /// `POST` with JSON, whose answer must be a success, as JSON.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.request("POST", path, &[], body.to_string()).await.success(path)
    }

    /// Opens an authorize URL in a browser, chooses this account, and goes where that leads.
    pub async fn browse(&self, authorize_url: &str, account: &str) -> BrowserEnd {
        match self.browser.sign_in(authorize_url, account).await {
            Ok(end) => end,
            Err(error) => panic!("browsing: {error}\n{}", self.log()),
        }
    }

    /// Signs a profile in through the browser, and returns the finished login.
    pub async fn sign_in(&self, profile: &str, account: &str) -> Value {
        let login = self.post("/v1/logins", json!({"profile": profile})).await;
        let url = login["authorize_url"].as_str().unwrap_or_else(|| panic!("no authorize_url in {login}"));
        let end = self.browse(url, account).await;
        let path = format!("/v1/logins/{}?wait=30", login["id"].as_str().unwrap_or_default());
        let login = self.get(&path).await;
        assert_eq!(login["state"], "succeeded", "{login}\nthe page said: {}\n{}", end.html, self.log());
        login
    }

    /// Stops the daemon in good order and starts it again.
    pub async fn restart(&mut self) {
        self.sigterm_and_wait().await;
        self.start_again().await;
    }

    /// Starts the daemon after it was stopped or killed.
    pub async fn start_again(&mut self) {
        assert!(self.child.id().is_none(), "the daemon still runs");
        self.child = spawn(&self.authd, &self.env, self.dir.path());
        self.ready().await;
    }

    /// Sets a variable of the environment, from the next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.into(), value.into()));
    }

    /// Starts the daemon after it was stopped or killed. It may end by itself, or not come up: that is told.
    pub async fn try_start_again(&mut self) -> io::Result<()> {
        assert!(self.child.id().is_none(), "the daemon still runs");
        self.child = spawn(&self.authd, &self.env, self.dir.path());
        let deadline = Instant::now() + START;
        while !timeout(START, self.try_request("GET", "/v1/status", &[], ""))
            .await?
            .is_ok_and(|reply| reply.status.is_success())
        {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the daemon ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the daemon does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until the daemon has ended by itself, but no longer than this.
    pub async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        timeout(within, self.child.wait()).await.ok()?.ok()
    }

    /// Kills the daemon at once, as a crash does.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("the daemon is our child");
    }

    /// Asks the daemon to stop, and waits until it has.
    pub async fn sigterm_and_wait(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait().await
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("the daemon runs");
        rustix::process::kill_process(pid, signal).expect("the daemon is our child");
    }

    /// Waits until the daemon has ended by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("the daemon does not end\n{}", self.log()));
        status.expect("the daemon is our child")
    }

    /// Returns when the socket answers. The daemon announces itself to service managers only, so this looks again
    /// and again.
    async fn ready(&mut self) {
        let deadline = Instant::now() + START;
        let mut pause = Duration::from_millis(5);
        loop {
            match timeout(START, self.try_request("GET", "/v1/status", &[], "")).await {
                Ok(Ok(reply)) if reply.status.is_success() => return,
                other if Instant::now() > deadline => {
                    panic!("the daemon does not answer: {other:?}\n{}", self.log())
                }
                _ => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the daemon ended: {status}\n{}", self.log());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Drop for TestDaemon {
    /// A failing test shows what the daemon had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test runner collects it")]
            {
                eprintln!("---- the daemon's log ----\n{}", self.log());
            }
        }
    }
}

fn spawn(authd: &Path, env: &[(String, String)], dir: &Path) -> Child {
    let log =
        OpenOptions::new().create(true).append(true).open(log_path(dir)).expect("the directory is ours");
    let stdout = log.try_clone().expect("a second handle");
    let mut command = Command::new(authd);
    command.env_clear().envs(env.iter().cloned()).current_dir(dir);
    command.stdin(Stdio::null()).stdout(stdout).stderr(log).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", authd.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("authd.log")
}
