//! The client of the daemon. Every request opens its own connection; there is no pool and no retry.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{
    CodexBody, CodexHomes, CreatedShare, Diagnosis, ErrorCode, ExportBody, Headers, ImportBody, Login,
    LoginBody, LoginFile, Logins, MigrateBody, Migrated, Problem, Profile, ProfileName, ProfilePatch,
    Profiles, RefreshBody, ShareBody, Shares, Status, StoreKind, StoreStatus, VERSION_HEADER, route,
};

pub use self::error::ClientError;

mod error;
mod own_credential;
mod peer;
mod provider;
mod quota;

/// A client of the daemon that listens on one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// The user that the listener must run as, if not this program's own.
    server_uid: Option<u32>,
}

/// A response whose body has not been read.
#[derive(Debug)]
pub struct StreamingResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response's headers.
    pub headers: HeaderMap,
    body: Incoming,
    socket: PathBuf,
}

/// A response with its complete body.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response's headers.
    pub headers: HeaderMap,
    /// The response's body.
    pub body: Bytes,
}

/// The longest complete body, in bytes. Thousands of profiles fit.
pub(crate) const MAX_RESPONSE: usize = 16 << 20;

impl Client {
    /// Creates a client of the daemon that listens on `socket`. Nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), server_uid: None }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gets the daemon's status.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.request(Method::GET, route::STATUS, NO_BODY).await
    }

    /// Runs the daemon's checks and gets their findings.
    pub async fn diagnosis(&self) -> Result<Diagnosis, ClientError> {
        self.request(Method::GET, route::DIAGNOSIS, NO_BODY).await
    }

    /// Starts a login. The caller opens the browser; the daemon never does.
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
    ///         (None, None) => println!("the login expired or was cancelled"),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn start_login(&self, body: &LoginBody) -> Result<Login, ClientError> {
        self.request(Method::POST, route::LOGINS, Some(body)).await
    }

    /// Gets a login. With `wait` (seconds, at most 60) the daemon responds when the login's state
    /// changes or the time is up.
    pub async fn login(&self, id: &str, wait: Option<u64>) -> Result<Login, ClientError> {
        let query = wait.map(|seconds| format!("?wait={seconds}")).unwrap_or_default();
        self.request(Method::GET, &format!("{}{query}", route::login(id)), NO_BODY).await
    }

    /// Lists the logins that wait for their user.
    pub async fn logins(&self) -> Result<Logins, ClientError> {
        self.request(Method::GET, route::LOGINS, NO_BODY).await
    }

    /// Cancels a login.
    pub async fn cancel_login(&self, id: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &route::login(id), NO_BODY).await.map(drop)
    }

    /// Lists all profiles.
    pub async fn profiles(&self) -> Result<Profiles, ClientError> {
        self.request(Method::GET, route::PROFILES, NO_BODY).await
    }

    /// Gets one profile. Here and below, the name `None` is the default profile.
    pub async fn profile(&self, name: Option<&ProfileName>) -> Result<Profile, ClientError> {
        self.request(Method::GET, &route::profile(name), NO_BODY).await
    }

    /// Makes a profile the default, or renames it.
    pub async fn patch_profile(
        &self,
        name: Option<&ProfileName>,
        patch: &ProfilePatch,
    ) -> Result<Profile, ClientError> {
        self.request(Method::PATCH, &route::profile(name), Some(patch)).await
    }

    /// Deletes a profile. With `revoke` the daemon also revokes the grant at the provider.
    pub async fn delete_profile(&self, name: Option<&ProfileName>, revoke: bool) -> Result<(), ClientError> {
        let query = if revoke { "?revoke=true" } else { "" };
        self.send(Method::DELETE, &format!("{}{query}", route::profile(name)), NO_BODY).await.map(drop)
    }

    /// Shares a profile. The key of a loopback share is in this response only.
    pub async fn create_share(&self, body: &ShareBody) -> Result<CreatedShare, ClientError> {
        self.request(Method::POST, route::SHARES, Some(body)).await
    }

    /// Lists all shares.
    pub async fn shares(&self) -> Result<Shares, ClientError> {
        self.request(Method::GET, route::SHARES, NO_BODY).await
    }

    /// Ends a share.
    pub async fn end_share(&self, id: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &route::share(id), NO_BODY).await.map(drop)
    }

    /// Holds a share that was made with `held`, until the future is dropped. Returns when the share
    /// has ended or the daemon stops.
    pub async fn hold_share(&self, id: &str) -> Result<(), ClientError> {
        self.send(Method::GET, &route::share_hold(id), NO_BODY).await.map(drop)
    }

    /// Gets headers that are valid for at least `min_ttl` more seconds (the daemon's default when
    /// `None`).
    ///
    /// Call it before every request; the daemon responds from memory. After a 401 response call
    /// [`refresh`](Self::refresh) once with the rejected headers, and then get the headers again.
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError, Headers};
    ///
    /// async fn headers(client: &Client, rejected: Option<&Headers>) -> Result<Headers, ClientError> {
    ///     if let Some(rejected) = rejected {
    ///         client.refresh(Some(&rejected.profile), &rejected.rejected()).await?;
    ///     }
    ///     let headers = client.headers(None, Some(300)).await?;
    ///     println!("for {}, until {:?}", headers.responses_url, headers.expires_at);
    ///     Ok(headers)
    /// }
    /// ```
    pub async fn headers(
        &self,
        name: Option<&ProfileName>,
        min_ttl: Option<u64>,
    ) -> Result<Headers, ClientError> {
        self.request(Method::GET, &headers_path(name, min_ttl), NO_BODY).await
    }

    /// The path of a profile's relay. The daemon appends the rest of the request's path to the
    /// profile's base URL, adds the headers and forwards the request. After a 401 response it
    /// refreshes and sends the request again. With [`stream`](Self::stream):
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError};
    /// use http::{HeaderMap, Method};
    ///
    /// async fn send(client: &Client, body: &'static [u8]) -> Result<(), ClientError> {
    ///     let path = format!("{}/responses", Client::relay_path(None));
    ///     let mut response = client.stream(Method::POST, &path, &HeaderMap::new(), body.into()).await?;
    ///     while let Some(chunk) = response.chunk().await? {
    ///         print!("{}", String::from_utf8_lossy(&chunk));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// With another HTTP library, connect to the socket and use this base URL:
    ///
    /// ```
    /// let base = format!("http://{}{}", authd_api::route::HOST, authd_api::Client::relay_path(None));
    /// assert_eq!(base, "http://authd/v1/profiles/-/relay");
    /// ```
    pub fn relay_path(name: Option<&ProfileName>) -> String {
        route::below_profile(name, "relay")
    }

    /// Imports another program's login.
    pub async fn import(&self, body: &ImportBody) -> Result<Profile, ClientError> {
        self.request(Method::POST, route::IMPORT, Some(body)).await
    }

    /// Exports a login to another program and deletes its profile.
    pub async fn export(
        &self,
        name: Option<&ProfileName>,
        body: &ExportBody,
    ) -> Result<LoginFile, ClientError> {
        self.request(Method::POST, &route::below_profile(name, "export"), Some(body)).await
    }

    /// All managed Codex homes.
    pub async fn codex_homes(&self) -> Result<CodexHomes, ClientError> {
        self.request(Method::GET, route::CODEX_HOMES, NO_BODY).await
    }

    /// Keeps a Codex home supplied with fresh access tokens.
    pub async fn install_codex(
        &self,
        name: Option<&ProfileName>,
        body: &CodexBody,
    ) -> Result<LoginFile, ClientError> {
        self.request(Method::PUT, &route::below_profile(name, "codex"), Some(body)).await
    }

    /// Stops updating a Codex home, and restores the Codex home's previous login.
    pub async fn uninstall_codex(
        &self,
        name: Option<&ProfileName>,
        body: &CodexBody,
    ) -> Result<LoginFile, ClientError> {
        self.request(Method::DELETE, &route::below_profile(name, "codex"), Some(body)).await
    }

    /// Moves all credentials to another store.
    pub async fn migrate_store(&self, to: StoreKind) -> Result<Migrated, ClientError> {
        self.request(Method::POST, route::STORE_MIGRATE, Some(&MigrateBody { to })).await
    }

    /// Encrypts all credentials with a new key.
    pub async fn rekey_store(&self) -> Result<StoreStatus, ClientError> {
        self.request(Method::POST, route::STORE_REKEY, NO_BODY).await
    }

    /// Refreshes a profile now.
    pub async fn refresh(
        &self,
        name: Option<&ProfileName>,
        body: &RefreshBody,
    ) -> Result<Profile, ClientError> {
        self.request(Method::POST, &route::below_profile(name, "refresh"), Some(body)).await
    }

    /// Sends a request with an optional JSON body, and parses the response.
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.parse(&self.send(method, path, body).await?)
    }

    /// Sends a request with an optional JSON body, and reads the response. A [`Problem`] is an
    /// error.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response, ClientError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| self.broken(error))?;
        let body = body.unwrap_or_default().into();
        self.stream(method, path, &HeaderMap::new(), body).await?.collect().await?.or_problem()
    }

    /// Sends a request. Returns as soon as the response's status and headers have arrived.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<StreamingResponse, ClientError> {
        let socket = self.socket.clone();
        let stream =
            UnixStream::connect(&socket).await.map_err(|source| ClientError::connect(&socket, source))?;
        self.check_peer(&stream)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        // An error of the connection also fails the read of the body, which reports it.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, route::HOST);
        if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.broken(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        let (parts, body) = response.into_parts();
        self.check_version_header(&parts.headers)?;
        Ok(StreamingResponse { status: parts.status, headers: parts.headers, body, socket })
    }

    /// Rejects the response of another program.
    pub(crate) fn check_version_header(&self, headers: &HeaderMap) -> Result<(), ClientError> {
        let is_authd = headers.contains_key(VERSION_HEADER);
        is_authd.then_some(()).ok_or_else(|| self.broken("the program that listens there is not authd"))
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, response: &Response) -> Result<T, ClientError> {
        serde_json::from_slice(&response.body).map_err(|error| self.broken(error))
    }

    pub(crate) fn broken(&self, detail: impl Display) -> ClientError {
        ClientError::broken(&self.socket, detail)
    }
}

impl StreamingResponse {
    /// Reads the next chunk of the body. Returns `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| ClientError::broken(&self.socket, error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads the body to its end. Fails if it is longer than 16 MiB.
    pub async fn collect(self) -> Result<Response, ClientError> {
        let body = Limited::new(self.body, MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| ClientError::broken(&self.socket, error))?.to_bytes();
        Ok(Response { status: self.status, headers: self.headers, body })
    }
}

impl Response {
    /// Returns the response, or the [`Problem`] in it as an error.
    pub fn or_problem(self) -> Result<Self, ClientError> {
        if self.status.as_u16() < 400 {
            return Ok(self);
        }
        let problem = serde_json::from_slice(&self.body).unwrap_or_else(|_| Problem {
            status: self.status.as_u16(),
            ..Problem::new(ErrorCode::Unknown, format!("authd answered {}", self.status))
        });
        Err(ClientError::Problem(Box::new(problem)))
    }
}

/// No body. The type is arbitrary.
const NO_BODY: Option<&()> = None;

pub(crate) fn headers_path(name: Option<&ProfileName>, min_ttl: Option<u64>) -> String {
    let query = min_ttl.map(|seconds| format!("?min_ttl={seconds}")).unwrap_or_default();
    route::below_profile(name, &format!("headers{query}"))
}
