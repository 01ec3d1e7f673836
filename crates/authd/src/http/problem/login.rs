//! Maps the errors of logins to problems.

use authd_api::{ErrorCode, Problem, ProfileName};
use authd_broker::LoginError;
use authd_oauth::{LoginFailure, OauthRequest, ProviderError, discovery::DiscoveryFault};
use authd_store::StoreError;
use jiff::Timestamp;

use super::{answer, definition, login_command, own_credential, provider, registry, seconds_until, store};

/// A login, or a command about one, that failed.
pub(crate) fn login(error: &LoginError, now: Timestamp) -> Problem {
    match error {
        LoginError::Unknown(id) => {
            let id: String = id.chars().filter(char::is_ascii_graphic).take(32).collect();
            Problem::new(ErrorCode::LoginUnknown, format!("there is no login {id}"))
                .hint("start one: authctl login")
        }
        LoginError::NotRead => {
            let detail = "the pending logins have not been read yet".to_owned();
            store(&StoreError::Unavailable { detail })
        }
        LoginError::TooMany { pending, first_expires_at } => {
            Problem::new(ErrorCode::TooManyRequests, format!("{pending} logins are already pending"))
                .hint("list them: authctl logins; cancel one: authctl login --cancel ID")
                .retry_after(seconds_until(*first_expires_at, now))
        }
        LoginError::WorkspaceNotAccepted { requested, accepted } => {
            let detail =
                format!("the workspace {requested:?} is not among the workspaces that [login] accepts");
            let accepted = accepted.join(", ");
            Problem::new(ErrorCode::LoginDenied, detail)
                .hint(format!("request one of {accepted}, or add it to workspaces in [login]"))
        }
        LoginError::CallbackUnavailable(reason) => {
            let reason = reason.as_deref().unwrap_or("it has not started yet");
            Problem::new(ErrorCode::CallbackUnavailable, format!("no browser can return: {reason}"))
                .hint("free the port, or run: authctl login --paste, or: authctl login --device")
        }
        LoginError::Definition(error) => definition(error),
        LoginError::NotBuiltIn(option) => {
            let detail = format!("the built-in provider has no {option}");
            Problem::new(ErrorCode::BadRequest, detail).hint("name a provider: authctl login --provider NAME")
        }
        LoginError::NotDefined(option) => {
            let detail = format!("a provider of the configuration has no {option}");
            Problem::new(ErrorCode::BadRequest, detail).hint("leave it out")
        }
        LoginError::InvalidScope => {
            Problem::new(ErrorCode::BadRequest, "a scope has no spaces, quotes and backslashes")
                .hint("give each scope by itself: --scope ONE --scope TWO")
        }
        LoginError::Discovery(fault) => discovery(fault),
        LoginError::NoClient(provider, help) => {
            let detail = format!(
                "provider \"{provider}\" has no client id here, and it registers no client automatically"
            );
            let help = help.as_deref().unwrap_or("register a client at the provider");
            Problem::new(ErrorCode::LoginDenied, detail).hint(format!(
                "{help}; then set client_id, or for an MCP server: authctl mcp add … --client-id ID"
            ))
        }
        LoginError::Registration(error) => step(OauthRequest::Register, error),
        LoginError::NotPushed(error) => step(OauthRequest::PushAuthorization, error),
        LoginError::DefinedDevice(error) => step(OauthRequest::StartDevice, error),
        LoginError::Store(error) => store(error),
        LoginError::NoDeviceFlow => Problem::new(ErrorCode::LoginDenied, "the provider has no device flow")
            .hint("sign in with a browser on any machine: authctl login --provider NAME --paste"),
        LoginError::NotBrowser => Problem::new(ErrorCode::Conflict, "a device login takes no redirect URL"),
        LoginError::InvalidRedirect(error) => {
            Problem::new(ErrorCode::BadRequest, format!("not a redirect URL: {error}"))
                .hint("paste the whole address that the browser ended on")
        }
        LoginError::ForeignRedirect => {
            Problem::new(ErrorCode::Conflict, "this redirect URL belongs to another login")
                .hint("open the URL of this login again")
        }
        LoginError::Device(profile, ProviderError::Rejected { status: status @ (403 | 404), code })
            if !code.is_region_rule() =>
        {
            let code = code.known();
            let answer = code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
            let detail =
                format!("device login is not enabled for this account (the provider answered {answer})");
            Problem::new(ErrorCode::LoginDenied, detail)
                .hint(
                    "enable it in ChatGPT: Settings → Security → device code authorization (for a workspace \
                     its administrator does), or run: authctl login",
                )
                .about(profile)
                .provider_code(code)
        }
        LoginError::Device(profile, error) => provider(error).about(profile),
        LoginError::Expired(profile) | LoginError::Rejected(profile, LoginFailure::Expired) => {
            expired(profile)
        }
        LoginError::Rejected(profile, LoginFailure::Exchange(error)) if !error.is_permanent() => {
            provider(error).about(profile)
        }
        LoginError::Rejected(profile, failure) => Problem::new(ErrorCode::LoginDenied, failure.sentence())
            .hint(failure.remedy())
            .about(profile)
            .provider_code(failure.code()),
        LoginError::OwnCredential(error) => own_credential::problem(error),
        LoginError::Registry(profile, error) => registry(error, profile),
    }
}

/// Metadata of a provider that cannot be used.
fn discovery(fault: &DiscoveryFault) -> Problem {
    let is_transient = fault.is_transient();
    let code = if is_transient { ErrorCode::ProviderUnreachable } else { ErrorCode::ProviderRefused };
    Problem::new(code, fault.to_string()).hint(fault.remedy())
}

/// A failed request before the user is asked.
fn step(request: OauthRequest, error: &ProviderError) -> Problem {
    let what = match request {
        OauthRequest::Register => "the provider registered no client",
        OauthRequest::StartDevice => "the provider did not start the device flow",
        _ => "the provider did not accept the sign-in's parameters",
    };
    let problem = answer(request, error);
    let detail = format!("{what}: {}", problem.detail);
    Problem { detail, ..problem }
}

fn expired(profile: &ProfileName) -> Problem {
    Problem::new(ErrorCode::LoginExpired, "the sign-in was not finished in time")
        .hint(login_command(profile))
        .about(profile)
}
