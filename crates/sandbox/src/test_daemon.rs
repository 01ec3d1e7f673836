//! Runs the binary of the daemon against a sandbox, in a temporary directory, for end-to-end tests
//! and demonstrations. It uses only the documented configuration, environment and socket. Errors
//! panic with the log of the daemon.

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
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

pub use self::reply::Reply;
use crate::{Browser, FinalPage, Sandbox};

/// Longest time until the daemon responds after its start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time of any other operation. It only stops a hanging test.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Largest response, in bytes.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// The settings of a test daemon.
#[derive(Clone)]
pub struct TestDaemonConfig<'a> {
    /// The path of the daemon's binary.
    pub authd: PathBuf,
    /// The sandbox that the daemon uses as its provider.
    pub sandbox: &'a Sandbox,
    /// The value of `kind` in `[store]`.
    pub store: String,
    /// Additional tables of `authd.toml`, except `[provider]`, `[callback]` and `[store]`.
    pub extra_toml: String,
    /// Additional keys of `[provider]`.
    pub provider_toml: String,
    /// The keys of `[callback]`; by default a free port.
    pub callback_toml: String,
    /// Additional environment. The daemon inherits only `PATH` from this process.
    pub env: Vec<(String, String)>,
}

/// A running daemon. Dropping it kills the daemon and removes its directory.
pub struct TestDaemon {
    // Dropped first: the daemon must end before its directory is deleted.
    child: Child,
    authd: PathBuf,
    env: Vec<(String, String)>,
    browser: Browser,
    dir: TempDir,
}

impl<'a> TestDaemonConfig<'a> {
    /// A test daemon with the memory store.
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

    /// Sets the store.
    #[must_use]
    pub fn store(self, kind: &str) -> Self {
        Self { store: kind.into(), ..self }
    }

    /// Adds tables to the configuration.
    #[must_use]
    pub fn toml(mut self, extra: &str) -> Self {
        self.extra_toml = self.extra_toml + "\n" + extra;
        self
    }

    /// Sets additional keys of `[provider]`.
    #[must_use]
    pub fn provider(self, keys: &str) -> Self {
        Self { provider_toml: keys.into(), ..self }
    }

    /// Sets the keys of `[callback]`.
    #[must_use]
    pub fn callback(self, keys: &str) -> Self {
        Self { callback_toml: keys.into(), ..self }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// Sends a request on a new connection, and returns the response with its body as a stream.
pub async fn send_on(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The task ends with the body of the response. The request reports its errors.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}

impl TestDaemon {
    /// Starts the daemon, and returns when it responds on its socket.
    pub async fn start(config: TestDaemonConfig<'_>) -> Self {
        let dir = tempfile::Builder::new().prefix("authd-").tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("the directory is writable");
        write(&dir.path().join("authd.toml"), &setup::toml(&config));
        let mut env = setup::environment(dir.path(), config.sandbox);
        env.extend(config.env);
        let child = spawn(&config.authd, &env, dir.path());
        let browser = config.sandbox.browser();
        let mut daemon = Self { child, authd: config.authd, env, browser, dir };
        daemon.wait_until_ready().await;
        daemon
    }

    /// The directory with all files of the daemon, mode 0700.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("authd.sock")
    }

    /// The path of the configuration file. Edit it before [`TestDaemon::restart`] or a SIGHUP.
    pub fn config(&self) -> PathBuf {
        self.dir().join("authd.toml")
    }

    /// The path of the state directory.
    pub fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// The output of the daemon on stdout and stderr, over all restarts.
    pub fn log(&self) -> String {
        let bytes = fs::read(log_path(self.dir())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The process id of the running daemon.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The environment of the daemon, which its clients need as well.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Sends a request. A body has the content type JSON, unless the headers name another one.
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

    /// Sends a request to a daemon that may not run.
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
        timeout(TIMEOUT, exchange).await?
    }

    /// Sends a request, and returns the response with its body as a stream.
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
        send_on(UnixStream::connect(self.socket()).await?, request).await
    }

    /// Sends `GET`, and returns the JSON of the response, which must be successful.
    pub async fn get(&self, path: &str) -> Value {
        self.request("GET", path, &[], "").await.success(path)
    }

    /// Sends `POST` with JSON, and returns the JSON of the response, which must be successful.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.request("POST", path, &[], body.to_string()).await.success(path)
    }

    /// Opens an authorize URL in the simulated browser, selects this account, and follows the
    /// redirects.
    pub async fn browse(&self, authorize_url: &str, account: &str) -> FinalPage {
        match self.browser.sign_in(authorize_url, account).await {
            Ok(end) => end,
            Err(error) => panic!("browser: {error}\n{}", self.log()),
        }
    }

    /// Signs in with the simulated browser, and returns the completed login.
    pub async fn sign_in(&self, profile: &str, account: &str) -> Value {
        let login = self.post("/v1/logins", json!({"profile": profile})).await;
        let url = login["authorize_url"].as_str().unwrap_or_else(|| panic!("no authorize_url in {login}"));
        let end = self.browse(url, account).await;
        let path = format!("/v1/logins/{}?wait=30", login["id"].as_str().unwrap_or_default());
        let login = self.get(&path).await;
        assert_eq!(login["state"], "succeeded", "{login}\npage: {}\n{}", end.html, self.log());
        login
    }

    /// Stops the daemon with SIGTERM, and starts it again.
    pub async fn restart(&mut self) {
        self.sigterm_and_wait().await;
        self.start_again().await;
    }

    /// Starts the stopped daemon.
    pub async fn start_again(&mut self) {
        assert!(self.child.id().is_none(), "the daemon is still running");
        self.child = spawn(&self.authd, &self.env, self.dir.path());
        self.wait_until_ready().await;
    }

    /// Sets an environment variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.into(), value.into()));
    }

    /// Starts the stopped daemon. Returns an error if it exits or does not respond.
    pub async fn try_start_again(&mut self) -> io::Result<()> {
        assert!(self.child.id().is_none(), "the daemon is still running");
        self.child = spawn(&self.authd, &self.env, self.dir.path());
        let deadline = Instant::now() + START_TIMEOUT;
        while !timeout(START_TIMEOUT, self.try_request("GET", "/v1/status", &[], ""))
            .await?
            .is_ok_and(|reply| reply.status.is_success())
        {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the daemon ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the daemon does not respond"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until the daemon has exited, at most this long.
    pub async fn wait_timeout(&mut self, limit: Duration) -> Option<ExitStatus> {
        timeout(limit, self.child.wait()).await.ok()?.ok()
    }

    /// Kills the daemon with SIGKILL.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("the daemon is our child");
    }

    /// Sends SIGTERM, and waits until the daemon has exited.
    pub async fn sigterm_and_wait(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait().await
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("the daemon runs");
        rustix::process::kill_process(pid, signal).expect("the daemon is our child");
    }

    /// Waits until the daemon has exited.
    pub async fn wait(&mut self) -> ExitStatus {
        let result = timeout(TIMEOUT, self.child.wait()).await;
        let status = result.unwrap_or_else(|_| panic!("the daemon does not exit\n{}", self.log()));
        status.expect("the daemon is our child")
    }

    /// Returns when the daemon responds on its socket. It polls, because only a service manager
    /// gets a message.
    async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut pause = Duration::from_millis(5);
        loop {
            match timeout(START_TIMEOUT, self.try_request("GET", "/v1/status", &[], "")).await {
                Ok(Ok(reply)) if reply.status.is_success() => return,
                other if Instant::now() > deadline => {
                    panic!("the daemon does not respond: {other:?}\n{}", self.log())
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
    /// Prints the log of the daemon if the test has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test runner captures stderr")]
            {
                eprintln!("---- the daemon's log ----\n{}", self.log());
            }
        }
    }
}

fn spawn(authd: &Path, env: &[(String, String)], dir: &Path) -> Child {
    let log =
        OpenOptions::new().create(true).append(true).open(log_path(dir)).expect("the directory is writable");
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
