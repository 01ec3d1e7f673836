//! Maps every error to a problem with its code, its detail and its hint.

mod codex;
mod command;
mod login;
mod own_credential;
mod provider;
mod quota;
mod refusal;
mod relay;
mod scopes;
mod share;
mod store;
mod unknown;

use std::time::Duration;

use authd_api::{ErrorCode, Problem, ProfileName};
use authd_broker::{ProfileSnapshot, ProfileView, RegistryError, SignOutError};
use authd_oauth::{
    ErrorCode as ProviderCode, GrantEnd, LastError, OauthRequest, ProviderError, RecordError, Rejected,
    schedule::{self, Jitter},
};
use jiff::Timestamp;

pub(super) use self::{
    codex::codex_home,
    provider::{definition, provider_in_use},
    quota::quota,
    relay::{no_oauth_metadata, relay},
    scopes::{invalid_scopes, missing_scopes},
    share::share,
    unknown::profile_unknown,
};
use self::{
    command::{DOCTOR, forget_command, login_command, sign_in_command},
    store::not_stored,
};
pub(crate) use self::{login::login, store::store};

/// A profile whose record has not been read or cannot be used.
pub(crate) fn not_loaded(name: &ProfileName, view: &ProfileView) -> Problem {
    let problem = match view {
        ProfileView::Loaded(_) => {
            Problem::new(ErrorCode::Timeout, format!("profile \"{name}\" has not been read yet"))
                .hint("try again")
        }
        ProfileView::StoreUnavailable(error) => store(error),
        ProfileView::Unreadable(error) => {
            let detail = format!("the record of profile \"{name}\" cannot be used: {error}");
            Problem::new(ErrorCode::LoginRequired, detail).hint(match **error {
                RecordError::TooNew(_) | RecordError::UnknownIntent => {
                    "upgrade authd; a new sign-in would replace the record".to_owned()
                }
                RecordError::Damaged { .. } => login_command(name),
            })
        }
    };
    problem.about(name)
}

/// A requested refresh that did not happen; `None` if it did or was not needed any more.
pub(super) fn refresh(
    before: &ProfileSnapshot,
    after: &ProfileSnapshot,
    rejected: Option<&Rejected>,
    now: Timestamp,
) -> Option<Problem> {
    let name = &after.name;
    if !after.flags.renewable {
        let detail = format!("nothing to refresh: profile \"{name}\" has no refresh token");
        let hint = sign_in_command(after);
        let problem = Problem::new(ErrorCode::Conflict, detail).hint(hint).about(name);
        let rejected = after.flags.rejected.then(|| last_error(after, now)).flatten();
        return Some(rejected.unwrap_or(problem));
    }
    let replaced = rejected.is_some_and(|rejected| {
        let is_other = |id: &str| *id != *after.credential.grant_id;
        rejected.generation != after.credential.generation
            || rejected.grant_id.as_deref().is_some_and(is_other)
    });
    if replaced {
        return None;
    }
    if let Some(problem) = last_error(after, now) {
        return Some(problem);
    }
    let refreshed =
        after.renewals > before.renewals || after.credential.grant_id != before.credential.grant_id;
    if refreshed {
        return None;
    }
    if rejected.is_none() {
        return Some(not_in_time(name));
    }
    let detail = format!("profile \"{name}\" was just refreshed after a 401; another refresh would not help");
    let hint = format!("if the 401 persists, {}", login_command(name));
    Some(Problem::new(ErrorCode::Conflict, detail).hint(hint).about(name))
}

/// A profile without a usable credential.
pub(crate) fn no_credential(snapshot: &ProfileSnapshot, now: Timestamp) -> Problem {
    let name = &snapshot.name;
    match last_error(snapshot, now) {
        Some(problem) => problem,
        None if snapshot.flags.renewable => not_in_time(name),
        None => expired(snapshot),
    }
}

/// A token that has expired, or expires before the client is done, and that cannot be renewed.
fn expired(snapshot: &ProfileSnapshot) -> Problem {
    let name = &snapshot.name;
    let detail = format!(
        "the token of profile \"{name}\" has expired or expires too soon, and there is no refresh token"
    );
    Problem::new(ErrorCode::LoginRequired, detail).hint(sign_in_command(snapshot)).about(name)
}

fn not_in_time(name: &ProfileName) -> Problem {
    let detail = format!("profile \"{name}\" was not refreshed in time");
    Problem::new(ErrorCode::Timeout, detail).hint("try again; authctl status shows the progress").about(name)
}

/// The last failure of a profile, while it still matters.
pub(crate) fn last_error(snapshot: &ProfileSnapshot, now: Timestamp) -> Option<Problem> {
    let name = &snapshot.name;
    if let Some(problem) = lacking_scopes(snapshot) {
        return Some(problem);
    }
    if let Some(ended) = &snapshot.ended {
        return Some(signed_out(snapshot, ended));
    }
    if snapshot.has_open_move && snapshot.last_error.is_none() {
        let detail = format!("a rename or export of profile \"{name}\" is not finished; authd retries it");
        return Some(Problem::new(ErrorCode::StoreUnavailable, detail).hint(DOCTOR).about(name));
    }
    let Some(last) = snapshot.last_error.as_deref() else { return unrenewable(snapshot, now) };
    let problem = match last {
        LastError::Store(error) => not_stored(error, snapshot.flags.unsaved),
        LastError::EarlyRefusal(code) => early_refusal(snapshot, code),
        LastError::Provider { error, next_attempt, refusals } => {
            let problem = refusal::explain_refresh(provider(error), snapshot, error);
            let retry_after = problem.retry_after.map(|_| seconds_until(*next_attempt, now));
            let problem = Problem { retry_after, ..problem };
            let again = format!("authd tries again in {}", in_words(retry_after.unwrap_or_default()));
            if last.suggests_sign_in() {
                let reason = error.code().map(|code| refusal::reason(snapshot, code)).unwrap_or_default();
                let detail = format!(
                    "the provider refused the last {refusals} refreshes of profile \"{name}\": {reason}; authd \
                     keeps trying"
                );
                Problem::new(ErrorCode::LoginRequired, detail)
                    .hint(login_command(name))
                    .provider_code(problem.provider_code)
            } else if error.code().is_some_and(ProviderCode::calls_token_invalid) {
                problem.hint(format!("{again}; if it lasts, {}", login_command(name)))
            } else if matches!(error, ProviderError::Unavailable { .. }) {
                problem.hint(again)
            } else {
                problem
            }
        }
    };
    Some(problem.about(name))
}

/// The scopes that a server has asked for since the sign-in.
fn lacking_scopes(snapshot: &ProfileSnapshot) -> Option<Problem> {
    let name = &snapshot.name;
    let authority = snapshot.credential.authority.as_ref().filter(|_| snapshot.flags.lacks_scopes)?;
    let detail = format!(
        "a server asks for scopes that profile \"{name}\" lacks: {}",
        authority.missing_scopes.join(" ")
    );
    let hint = sign_in_command(snapshot);
    Some(Problem::new(ErrorCode::LoginRequired, detail).hint(hint).about(name))
}

/// Why a token that cannot be renewed does not work, or may not.
fn unrenewable(snapshot: &ProfileSnapshot, now: Timestamp) -> Option<Problem> {
    let name = &snapshot.name;
    if !snapshot.flags.renewable && snapshot.credential.remaining(now).is_zero() {
        return Some(expired(snapshot));
    }
    if !snapshot.flags.rejected {
        return None;
    }
    let detail =
        format!("a server rejected the token of profile \"{name}\" (401), and there is no refresh token");
    let command = sign_in_command(snapshot);
    let (code, hint) = if snapshot.flags.spent {
        (ErrorCode::LoginRequired, command)
    } else {
        (ErrorCode::Conflict, format!("if it happens again, {command}"))
    };
    Some(Problem::new(code, detail).hint(hint).about(name))
}

/// Why the current routing of a profile's workspace is unknown.
pub(crate) fn routing(snapshot: &ProfileSnapshot, now: Timestamp) -> Option<Problem> {
    let failure = snapshot.routing_failure.as_ref()?;
    let problem = provider(&failure.error);
    let detail = format!("the workspace's region was not received: {}", problem.detail);
    let hint = "authd tries again by itself; requests go to the host that was known before";
    let retry_after = Some(seconds_until(failure.next_attempt, now));
    Some(Problem { detail, retry_after, ..problem }.hint(hint).about(&snapshot.name))
}

/// A refused refresh of a credential that is still good.
fn early_refusal(snapshot: &ProfileSnapshot, code: &ProviderCode) -> Problem {
    let name = &snapshot.name;
    let until = match snapshot.credential.expires_at {
        Some(at) => format!("until it expires at {}", at.strftime("%H:%M UTC")),
        None => "until a server rejects it".to_owned(),
    };
    let reason = refusal::reason(snapshot, code);
    let detail =
        format!("the provider refused to refresh profile \"{name}\": {reason}; its token is served {until}");
    Problem::new(ErrorCode::ProviderRefused, detail)
        .hint(format!("authd tries once more then; if it is refused again, {}", login_command(name)))
        .provider_code(code.known())
}

fn signed_out(snapshot: &ProfileSnapshot, ended: &GrantEnd) -> Problem {
    let name = &snapshot.name;
    let reason = match ended.answer_lost_at {
        Some(at) => {
            format!(
                "the response to the refresh at {} was lost, and the old refresh token is no longer valid",
                at.strftime("%H:%M UTC")
            )
        }
        None => refusal::reason(snapshot, &ended.code).into_owned(),
    };
    Problem::new(ErrorCode::LoginRequired, format!("profile \"{name}\" is signed out: {reason}"))
        .hint(login_command(name))
        .about(name)
        .provider_code(ended.code.known())
}

/// A failed call to the provider.
pub(crate) fn provider(error: &ProviderError) -> Problem {
    // The same wait as the daemon's own after a first failure.
    let unreachable = |detail: String, requested: Option<Duration>| {
        let wait = schedule::back_off(1, requested, Jitter::NONE);
        Problem::new(ErrorCode::ProviderUnreachable, detail).retry_after(wait.as_secs())
    };
    let code = error.code();
    let problem = match error {
        ProviderError::NotSent { detail } => {
            unreachable(format!("the provider cannot be reached: {detail}"), None)
                .hint("check the network; for details: authctl doctor")
        }
        ProviderError::NoClientSecret { detail } => Problem::new(ErrorCode::Conflict, detail.clone())
            .hint("check client_secret_file in the provider's definition; authd tries again by itself"),
        ProviderError::NoResponse { detail } => {
            unreachable(format!("the provider did not answer: {detail}"), None).hint("try again in a moment")
        }
        ProviderError::Unavailable { status, retry_after, .. } => {
            let code = code.map(|code| format!(", {code}")).unwrap_or_default();
            let wait = schedule::back_off(1, *retry_after, Jitter::NONE).as_secs();
            unreachable(format!("the provider is unavailable (status {status}{code})"), *retry_after)
                .hint(format!("try again in {}", in_words(wait)))
        }
        ProviderError::InvalidResponse { detail } => {
            unreachable(format!("the response is not the provider's: {detail}"), None)
                .hint("check for a captive portal or a proxy; for details: authctl doctor")
        }
        ProviderError::RejectedForNow { status, code, retry_after } => {
            let wait = schedule::back_off(1, *retry_after, Jitter::NONE);
            let detail = format!("the provider refuses for now (status {status}): {}", code.explained());
            Problem::new(ErrorCode::ProviderRefused, detail)
                .hint("authd tries again by itself; for details: authctl doctor")
                .retry_after(wait.as_secs())
        }
        ProviderError::Rejected { code, .. } => {
            Problem::new(ErrorCode::ProviderRefused, format!("the provider refused: {}", code.explained()))
        }
    };
    let problem = problem.provider_code(code.map(ProviderCode::as_str));
    if code.is_some_and(ProviderCode::is_region_rule) {
        return problem.hint(ProviderCode::REGION_REMEDY);
    }
    problem
}

/// A failed request to a defined provider.
fn answer(request: OauthRequest, error: &ProviderError) -> Problem {
    refusal::explain(provider(error), request, error)
}

/// A wait for a user.
fn in_words(seconds: u64) -> String {
    if seconds <= 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

/// A failed change of a profile.
pub(super) fn registry(error: &RegistryError, name: &ProfileName) -> Problem {
    let problem = match error {
        RegistryError::Unknown => return profile_unknown(name, &[]),
        RegistryError::Taken => {
            Problem::new(ErrorCode::Conflict, format!("another user is signed in as \"{name}\""))
                .hint(format!("choose another name, or first: authctl logout {name}"))
        }
        RegistryError::SignedInElsewhere => {
            let detail = format!(
                "another node of the fleet signed in as \"{name}\" at the same time; this sign-in was dropped"
            );
            Problem::new(ErrorCode::Conflict, detail)
                .hint(format!("use it, or sign in under another name, or: authctl login {name} --replace"))
        }
        RegistryError::Unread(view) => not_loaded(name, view),
        RegistryError::Store(error) | RegistryError::SignOut(SignOutError::Store(error)) => store(error),
        RegistryError::SignOut(SignOutError::Provider(error)) => not_revoked(provider(error), name),
        RegistryError::SignOut(SignOutError::DefinedProvider(error)) => {
            not_revoked(answer(OauthRequest::Revoke, error), name)
        }
        RegistryError::SignOut(SignOutError::NoRevocation) => {
            let detail = "the provider has no revocation endpoint";
            not_revoked(Problem::new(ErrorCode::Conflict, detail), name)
        }
        RegistryError::SignOut(SignOutError::OwnCredential) => {
            let detail = "authd cannot revoke a credential of your own; revoke it at the provider";
            not_revoked(Problem::new(ErrorCode::Conflict, detail), name)
        }
        RegistryError::SignOut(SignOutError::Unread(view)) => {
            let problem = not_loaded(name, view);
            let detail = format!("\"{name}\" cannot be revoked and is unchanged: {}", problem.detail);
            Problem { detail, ..problem }.hint(forget_command(name))
        }
        RegistryError::ExportTarget(error) => {
            let detail = format!("\"{name}\" was not exported: the file cannot be written: {error}");
            Problem::new(ErrorCode::Conflict, detail)
                .hint("name another file: authctl export codex --path FILE")
        }
        RegistryError::Stopping => return stopping(),
    };
    problem.about(name)
}

fn not_revoked(problem: Problem, name: &ProfileName) -> Problem {
    let detail = format!("\"{name}\" is still signed in: it could not be revoked: {}", problem.detail);
    Problem { detail, ..problem }.hint(forget_command(name))
}

/// A failed migration or rekey of the store.
pub(super) fn migration(error: &RegistryError) -> Problem {
    match error {
        RegistryError::Store(error) => store(error),
        RegistryError::Unknown
        | RegistryError::Taken
        | RegistryError::SignedInElsewhere
        | RegistryError::Unread(_)
        | RegistryError::SignOut(_)
        | RegistryError::ExportTarget(_)
        | RegistryError::Stopping => stopping(),
    }
}

/// A request that names no profile while there is no default.
pub(super) fn no_default(profiles: usize) -> Problem {
    if profiles == 0 {
        return Problem::new(ErrorCode::LoginRequired, "no profile is signed in").hint("run: authctl login");
    }
    Problem::new(ErrorCode::ProfileUnknown, "no profile is named, and there is no default")
        .hint("list them: authctl profiles; name one with -p, or choose one: authctl use PROFILE")
}

/// A request during the shutdown.
pub(super) fn stopping() -> Problem {
    Problem::new(ErrorCode::ShuttingDown, "authd is stopping").hint("try again in a moment").retry_after(1)
}

/// At least 1, because something that is due may still take a moment.
fn seconds_until(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(then.duration_since(now).as_secs()).unwrap_or(0).max(1)
}
