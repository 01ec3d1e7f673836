//! The only program text that connects to the socket: `authctl`, the tests and other Rust programs all
//! use it. One connection a request, no pool, no retry.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{
    CodexBody, Diagnosis, ErrorCode, ExportBody, Headers, ImportBody, Login, LoginBody, LoginFile,
    MigrateBody, Migrated, Problem, Profile, ProfileName, ProfilePatch, Profiles, RefreshBody, Status,
    StoreKind, StoreStatus, VERSION_HEADER, route,
};

pub use self::error::ClientError;

mod error;
pub(crate) mod peer;

/// A handle on the daemon behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// An answer whose body is still on its way.
#[derive(Debug)]
pub struct Streamed {
    /// The HTTP status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    body: Incoming,
    socket: PathBuf,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The answer's body.
    pub body: Bytes,
}

/// The largest whole answer, in bytes: thousands of profiles fit; a runaway answer does not.
pub(crate) const MAX_ANSWER: usize = 16 << 20;

impl Client {
    /// A client of the daemon behind `socket`. Nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The daemon's own state.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(Method::GET, route::STATUS, NOTHING).await
    }

    /// What keeps things from working, looked at now.
    pub async fn diagnosis(&self) -> Result<Diagnosis, ClientError> {
        self.ask(Method::GET, route::DIAGNOSIS, NOTHING).await
    }

    /// Starts a login. A browser is for the caller to open; the daemon never does.
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError, LoginBody, LoginState};
    ///
    /// async fn sign_in(client: &Client) -> Result<(), ClientError> {
    ///     let mut login = client.start_login(&LoginBody::default()).await?;
    ///     println!("open {}", login.authorize_url.as_deref().unwrap_or_default());
    ///     while !login.state.is_final() {
    ///         login = client.login(&login.id, Some(60)).await?;
    ///     }
    ///     match (login.result, login.error) {
    ///         (Some(profile), _) => println!("signed in as {}", profile.email.unwrap_or_default()),
    ///         (None, Some(problem)) => println!("{}", problem.detail),
    ///         (None, None) => println!("nobody came, or somebody called it off"),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn start_login(&self, body: &LoginBody) -> Result<Login, ClientError> {
        self.ask(Method::POST, route::LOGINS, Some(body)).await
    }

    /// A login; with `wait` (seconds, at most 60) answered when its state changes or the time is up.
    pub async fn login(&self, id: &str, wait: Option<u64>) -> Result<Login, ClientError> {
        let query = wait.map(|seconds| format!("?wait={seconds}")).unwrap_or_default();
        self.ask(Method::GET, &format!("{}{query}", route::login(id)), NOTHING).await
    }

    /// Calls a login off.
    pub async fn cancel_login(&self, id: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &route::login(id), NOTHING).await.map(drop)
    }

    /// All profiles.
    pub async fn profiles(&self) -> Result<Profiles, ClientError> {
        self.ask(Method::GET, route::PROFILES, NOTHING).await
    }

    /// One profile; `None` is the default one, here and below.
    pub async fn profile(&self, name: Option<&ProfileName>) -> Result<Profile, ClientError> {
        self.ask(Method::GET, &route::profile(name), NOTHING).await
    }

    /// Makes it the default, or renames it.
    pub async fn patch_profile(
        &self,
        name: Option<&ProfileName>,
        patch: &ProfilePatch,
    ) -> Result<Profile, ClientError> {
        self.ask(Method::PATCH, &route::profile(name), Some(patch)).await
    }

    /// Signs it out; with `revoke` at the provider, too.
    pub async fn delete_profile(&self, name: Option<&ProfileName>, revoke: bool) -> Result<(), ClientError> {
        let query = if revoke { "?revoke=true" } else { "" };
        self.send(Method::DELETE, &format!("{}{query}", route::profile(name)), NOTHING).await.map(drop)
    }

    /// Ready headers, valid for at least `min_ttl` more seconds (the daemon's default when `None`).
    ///
    /// Ask anew for every request: the daemon answers from memory. Who meets 401 with them asks once for
    /// [`refresh`](Self::refresh) with the headers that were refused, and then for the headers again.
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError, Headers};
    ///
    /// async fn ready(client: &Client, refused: Option<&Headers>) -> Result<Headers, ClientError> {
    ///     if let Some(refused) = refused {
    ///         client.refresh(Some(&refused.profile), &refused.rejected()).await?;
    ///     }
    ///     let ready = client.headers(None, Some(300)).await?;
    ///     println!("for {}, until {:?}", ready.responses_url, ready.expires_at);
    ///     Ok(ready)
    /// }
    /// ```
    pub async fn headers(
        &self,
        name: Option<&ProfileName>,
        min_ttl: Option<u64>,
    ) -> Result<Headers, ClientError> {
        self.ask(Method::GET, &headers_path(name, min_ttl), NOTHING).await
    }

    /// The path of a profile's relay: whatever follows it is passed on to the profile's base URL with the
    /// headers put in, and after a 401 refreshed and sent again. With [`stream`](Self::stream) it is:
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError};
    /// use http::{HeaderMap, Method};
    ///
    /// async fn ask(client: &Client, question: &'static [u8]) -> Result<(), ClientError> {
    ///     let path = format!("{}/responses", Client::relay_path(None));
    ///     let mut answer = client.stream(Method::POST, &path, &HeaderMap::new(), question.into()).await?;
    ///     while let Some(piece) = answer.chunk().await? {
    ///         print!("{}", String::from_utf8_lossy(&piece));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Another HTTP library takes the socket and this base URL:
    ///
    /// ```
    /// let base = format!("http://{}{}", authd_api::route::HOST, authd_api::Client::relay_path(None));
    /// assert_eq!(base, "http://authd/v1/profiles/-/relay");
    /// ```
    pub fn relay_path(name: Option<&ProfileName>) -> String {
        route::below_profile(name, "relay")
    }

    /// Takes over another program's login.
    pub async fn import(&self, body: &ImportBody) -> Result<Profile, ClientError> {
        self.ask(Method::POST, route::IMPORT, Some(body)).await
    }

    /// Gives a login to another program, and forgets it.
    pub async fn export(
        &self,
        name: Option<&ProfileName>,
        body: &ExportBody,
    ) -> Result<LoginFile, ClientError> {
        self.ask(Method::POST, &route::below_profile(name, "export"), Some(body)).await
    }

    /// Keeps a Codex home supplied with fresh access tokens.
    pub async fn install_codex(
        &self,
        name: Option<&ProfileName>,
        body: &CodexBody,
    ) -> Result<LoginFile, ClientError> {
        self.ask(Method::PUT, &route::below_profile(name, "codex"), Some(body)).await
    }

    /// Restores what was in a Codex home.
    pub async fn uninstall_codex(
        &self,
        name: Option<&ProfileName>,
        body: &CodexBody,
    ) -> Result<LoginFile, ClientError> {
        self.ask(Method::DELETE, &route::below_profile(name, "codex"), Some(body)).await
    }

    /// Moves every credential to another store.
    pub async fn migrate_store(&self, to: StoreKind) -> Result<Migrated, ClientError> {
        self.ask(Method::POST, route::STORE_MIGRATE, Some(&MigrateBody { to })).await
    }

    /// Seals every credential with a new key.
    pub async fn rekey_store(&self) -> Result<StoreStatus, ClientError> {
        self.ask(Method::POST, route::STORE_REKEY, NOTHING).await
    }

    /// Refreshes now.
    pub async fn refresh(
        &self,
        name: Option<&ProfileName>,
        body: &RefreshBody,
    ) -> Result<Profile, ClientError> {
        self.ask(Method::POST, &route::below_profile(name, "refresh"), Some(body)).await
    }

    /// Any request with an optional JSON body, its answer read whole and parsed.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.parsed(&self.send(method, path, body).await?)
    }

    /// Any request with an optional JSON body, its answer read whole; a problem is an error.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| self.broken(&error))?,
            None => Vec::new(),
        };
        let answer = self.stream(method, path, &HeaderMap::new(), body.into()).await?.whole().await?;
        answer.or_problem()
    }

    /// Any request; the answer's status and headers now, its body as it comes.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Streamed, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::NoDaemon { socket: self.socket.clone(), source })?;
        peer::check(&stream, &self.socket)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // The connection's own end needs no report: whoever reads the body sees it break there.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, route::HOST);
        if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let (parts, body) = response.into_parts();
        self.of_authd(&parts.headers)?;
        Ok(Streamed { status: parts.status, headers: parts.headers, body, socket: self.socket.clone() })
    }

    /// Whoever else may answer on that socket, it is not to be believed.
    pub(crate) fn of_authd(&self, headers: &HeaderMap) -> Result<(), ClientError> {
        let known = headers.contains_key(VERSION_HEADER);
        known.then_some(()).ok_or_else(|| self.broken(&"what answers there is not authd"))
    }

    pub(crate) fn parsed<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.broken(&error))
    }

    pub(crate) fn broken(&self, detail: &dyn ToString) -> ClientError {
        broken(&self.socket, detail)
    }
}

impl Streamed {
    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(broken(&self.socket, &error)),
            }
        }
    }

    /// The body read to its end, at most 16 MiB of it.
    pub async fn whole(self) -> Result<Answer, ClientError> {
        let Self { status, headers, body, socket } = self;
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| broken(&socket, &error))?;
        Ok(Answer { status, headers, body: body.to_bytes() })
    }
}

impl Answer {
    /// The answer itself, or the problem it carries.
    pub fn or_problem(self) -> Result<Self, ClientError> {
        if self.status.as_u16() < 400 {
            return Ok(self);
        }
        let problem = serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            let mut problem = Problem::new(ErrorCode::Unknown, format!("authd answered {}", self.status));
            problem.status = self.status.as_u16();
            problem
        });
        Err(ClientError::Problem(Box::new(problem)))
    }
}

/// No body: its type is any that can be serialised.
const NOTHING: Option<&()> = None;

pub(crate) fn headers_path(name: Option<&ProfileName>, min_ttl: Option<u64>) -> String {
    let query = min_ttl.map(|seconds| format!("?min_ttl={seconds}")).unwrap_or_default();
    route::below_profile(name, &format!("headers{query}"))
}

fn broken(socket: &Path, detail: &dyn ToString) -> ClientError {
    ClientError::Broken { socket: socket.to_path_buf(), detail: detail.to_string() }
}
