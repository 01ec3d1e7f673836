//! What the commands that talk to the daemon need.

use std::time::Duration;

use authd_api::{
    Client, ClientError, ErrorCode, Headers, Mode, Paths, Problem, ProfileName, Profiles, Response, route,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::{
    cli::{Common, CredentialArgs, LoginArgs, ProfileArg, TimeArg},
    env,
    error::{CliError, CliResult},
    launch,
    output::Output,
    render,
    selection::Selection,
    upstream_error,
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
    /// The profile that the command uses.
    pub(crate) selection: Selection,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(common: Common, selection: Selection, out: Output) -> CliResult<Self> {
        let socket_from_args = common.socket.is_some();
        let paths = Paths::from_env()?.with_socket(common.socket)?;
        out.verbose(&format!("socket: {}", paths.socket.display()));
        let client = Client::new(&paths.socket);
        let client = match server_uid_from_env()? {
            Some(uid) => client.with_server_uid(uid),
            None => client,
        };
        Ok(Self { client, paths, socket_from_args, selection, out })
    }

    /// The profile that the command uses; `None` is the default profile of the daemon.
    pub(crate) fn profile(&self) -> Option<&ProfileName> {
        self.selection.profile.as_ref()
    }

    /// The argument of the command, else the profile of the context.
    pub(crate) fn profile_name(&self, arg: ProfileArg) -> Option<ProfileName> {
        arg.name.or_else(|| self.profile().cloned())
    }

    /// The profile that a login names. That of the directory is not meant if a provider is named.
    pub(crate) fn login_profile(&self, args: &LoginArgs) -> Option<ProfileName> {
        let selected = if args.provider.is_some() { self.selection.explicit() } else { self.profile() };
        args.profile.name.as_ref().or(selected).cloned()
    }

    /// Sends a GET to a path below a profile, and returns the response whatever its status.
    pub(crate) async fn get(&self, profile: Option<&ProfileName>, path: &str) -> CliResult<Response> {
        let path = route::below_profile(profile, path);
        with_timeout(async {
            self.client.stream(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?.collect().await
        })
        .await
    }

    /// The error of a relayed request that failed. If the provider rejects a credential that the
    /// user supplied, only another one helps.
    pub(crate) async fn relay_error(&self, response: &Response) -> CliError {
        let problem = upstream_error::problem(response);
        if response.status != StatusCode::UNAUTHORIZED {
            return problem.into();
        }
        // The socket of a share describes no profile.
        let profile = with_timeout(self.client.profile(self.profile())).await.ok();
        match profile.and_then(|profile| render::own_credential_remedy(&profile)) {
            Some(remedy) => problem.hint(remedy).into(),
            None => problem.into(),
        }
    }

    /// Sends a request. If no daemon runs, starts it and sends the request again.
    pub(crate) async fn send_or_start<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        send: impl Fn() -> F,
    ) -> CliResult<T> {
        match with_timeout(send()).await {
            Err(error) if error.is_no_daemon() => {
                launch::start_daemon(&self.paths, self.socket_from_args, self.out).await?;
                with_timeout(send()).await
            }
            result => result,
        }
    }

    /// The headers of a profile.
    pub(crate) fn headers(&self, profile: ProfileArg) -> CliResult<Headers> {
        Ok(self.client.headers_blocking(self.profile_name(profile).as_ref(), None, TIMEOUT)?)
    }

    /// The headers of the context's profile. `None` if the socket does not give them: that of a
    /// share may allow the relay only.
    pub(crate) fn headers_if_allowed(&self) -> CliResult<Option<Headers>> {
        match self.client.headers_blocking(self.profile(), None, TIMEOUT) {
            Err(ClientError::Problem(problem)) if problem.code == ErrorCode::Forbidden => Ok(None),
            headers => Ok(Some(headers?)),
        }
    }

    /// The headers for a program that waits for them no longer than `--timeout`, by default
    /// `default_timeout`.
    pub(crate) fn headers_in_time(
        &self,
        args: CredentialArgs,
        default_timeout: Duration,
    ) -> CliResult<Headers> {
        let (name, min_ttl) = (self.profile_name(args.profile), args.min_ttl.map(TimeArg::seconds));
        let timeout = args.timeout.map_or(default_timeout, TimeArg::duration);
        let headers = self.client.headers_blocking(name.as_ref(), min_ttl, timeout);
        headers.map_err(|error| match error.into() {
            CliError::Problem(problem) if problem.code == ErrorCode::Timeout => {
                problem.hint("run the command again in a moment, or let it wait longer: --timeout 30s").into()
            }
            error => error,
        })
    }

    /// Keeps the first error of several actions, and prints each later one.
    pub(crate) fn keep_first(&self, first: &mut Option<CliError>, error: CliError) {
        match (&first, error.problem()) {
            (None, _) => *first = Some(error),
            (Some(_), Some(problem)) => self.out.error(problem),
            (Some(_), None) => {}
        }
    }

    /// Tells the user if a profile left and none is the default now: the others may belong to other
    /// users, so the daemon promotes none.
    pub(crate) async fn tell_missing_default(&self) {
        let Ok(Profiles { default: None, profiles }) = with_timeout(self.client.profiles()).await else {
            return;
        };
        // The profile of a defined provider is only the default if the user makes it that.
        let usual = profiles.iter().filter(|profile| profile.provider.is_none());
        let names: Vec<&str> = usual.map(|profile| profile.name.as_str()).collect();
        let Some(first) = names.first() else { return };
        let names = names.join(", ");
        self.out
            .info(&format!("No profile is the default now; there are: {names}. Choose: authctl use {first}"));
    }
}

/// Fails for a profile of a defined provider: the command is for the API of OpenAI, or for programs
/// that would send the token there.
pub(crate) fn require_openai(headers: &Headers) -> CliResult {
    if headers.mode != Mode::Bearer {
        return Ok(());
    }
    let name = &headers.profile;
    let detail = format!("this command is for OpenAI, and profile \"{name}\" is of another provider");
    let hint = format!(
        "name a profile of OpenAI with -p; for requests with \"{name}\": authctl headers {name}, or \
         authctl share {name} --loopback"
    );
    Err(Problem::new(ErrorCode::Conflict, detail).hint(hint).into())
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

/// The user of the daemon, for a socket of another user: in a container the daemon may have another
/// uid.
fn server_uid_from_env() -> CliResult<Option<u32>> {
    let Some(uid) = env::var("AUTHD_SOCKET_UID") else { return Ok(None) };
    let error = |_| CliError::new(ErrorCode::BadRequest, "AUTHD_SOCKET_UID is not the number of a user");
    uid.to_string_lossy().parse().map(Some).map_err(error)
}
