//! What the commands that talk to the daemon need.

use std::time::Duration;

use authd_api::{Client, ClientError, ErrorCode, Headers, Paths, Problem, ProfileName, Response, route};
use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::{
    cli::{Common, ProfileArg},
    env,
    error::{CliError, CliResult},
    output::Output,
};

/// How long the daemon may take to respond. It has its own, shorter deadlines and reports them;
/// this one is for a daemon that hangs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The client, and what the command line and the environment say about it.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) paths: Paths,
    /// The command line names the socket.
    pub(crate) socket_from_args: bool,
    /// The profile of `--profile`, else of the environment.
    pub(crate) profile: Option<ProfileName>,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(common: Common, out: Output) -> CliResult<Self> {
        let socket_from_args = common.socket.is_some();
        let paths = Paths::from_env()?.with_socket(common.socket)?;
        let profile = common.profile.map_or_else(profile_from_env, |name| Ok(Some(name)))?;
        out.verbose(&format!("socket: {}", paths.socket.display()));
        Ok(Self { client: Client::new(&paths.socket), paths, socket_from_args, profile, out })
    }

    /// The argument of the command, else the profile of the context.
    pub(crate) fn profile_name(&self, arg: ProfileArg) -> Option<ProfileName> {
        arg.name.or_else(|| self.profile.clone())
    }

    /// Sends a GET to a path below a profile, and returns the response whatever its status.
    pub(crate) async fn get(&self, profile: &ProfileName, path: &str) -> CliResult<Response> {
        let path = route::below_profile(Some(profile), path);
        with_timeout(async {
            self.client.stream(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?.collect().await
        })
        .await
    }

    pub(crate) fn headers(&self, profile: ProfileArg, min_ttl: Option<u64>) -> CliResult<Headers> {
        Ok(self.client.headers_blocking(self.profile_name(profile).as_ref(), min_ttl, TIMEOUT)?)
    }
}

/// Limits a request to [`TIMEOUT`].
pub(crate) async fn with_timeout<T>(response: impl Future<Output = Result<T, ClientError>>) -> CliResult<T> {
    match tokio::time::timeout(TIMEOUT, response).await {
        Ok(response) => Ok(response?),
        Err(_) => {
            Err(Problem::new(ErrorCode::Timeout, "authd does not answer").hint("see the log of authd").into())
        }
    }
}

fn profile_from_env() -> CliResult<Option<ProfileName>> {
    let Some(name) = env::var("AUTHCTL_PROFILE") else { return Ok(None) };
    let error = |error| CliError::new(ErrorCode::BadRequest, format!("AUTHCTL_PROFILE is {error}"));
    name.to_string_lossy().parse().map(Some).map_err(error)
}
