//! From facts to messages, and from failures to problems: every failure gets its code, its sentence and
//! its hint here, in one total function a kind. Nothing is done here.

mod arrival;
mod codex;
mod login;

use std::time::Duration;

use authd_api::{
    CallbackStatus, ErrorCode, Mode, Problem, Profile, ProfileName, ProfileState, StoreKind, StoreState,
    StoreStatus,
};
use authd_oauth::{
    Credential, GrantEnd, LastError, Plan, ProfileStatus, ProviderError, RecordError, Rejected, SaveError,
    schedule::{self, Jitter},
};
use authd_store::{Kind, State, StoreError};
use jiff::Timestamp;

pub(crate) use self::{
    arrival::arrival,
    codex::codex_failed,
    login::{
        device_failed, login_expired, login_failed, mode_preference, too_many_logins, workspace_refused,
    },
};
use crate::{
    callback::CallbackFacts,
    facts::{Facts, View},
    keeper::{Directory, KeeperError},
    profile::SignOutError,
};

/// What mends a locked store.
const UNLOCK: &str = "unlock the keychain; authd goes on by itself";

/// The profile of that name, as its clients see it.
pub(crate) fn profile_of(directory: &Directory, name: &ProfileName, now: Timestamp) -> Option<Profile> {
    let view = directory.profiles.get(name)?.view();
    Some(profile(name, &view, directory.default.as_ref(), now))
}

/// A profile as its clients see it.
pub(crate) fn profile(
    name: &ProfileName,
    view: &View,
    default: Option<&ProfileName>,
    now: Timestamp,
) -> Profile {
    let blank = Profile {
        name: name.clone(),
        default: default == Some(name),
        state: ProfileState::Expired,
        mode: None,
        mode_reason: None,
        email: None,
        plan: None,
        account_id: None,
        organization_id: None,
        project_id: None,
        generation: 0,
        expires_at: None,
        refresh_at: None,
        last_refresh: None,
        last_error: None,
    };
    match view {
        View::Closed(error) => Profile {
            state: ProfileState::Unread,
            last_error: Some(store_failed(error).about(name)),
            ..blank
        },
        View::Unreadable(_) => {
            Profile { state: ProfileState::LoginRequired, last_error: Some(unusable(name, view)), ..blank }
        }
        View::Known(facts) => {
            let told = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
            let Credential { identity, mode_reason, generation, issued_at, expires_at, .. } =
                &*facts.credential;
            Profile {
                state: match facts.status(now) {
                    ProfileStatus::Ready => ProfileState::Ready,
                    ProfileStatus::Refreshing => ProfileState::Refreshing,
                    ProfileStatus::Unsaved => ProfileState::Unsaved,
                    ProfileStatus::Expired => ProfileState::Expired,
                    ProfileStatus::LoginRequired => ProfileState::LoginRequired,
                },
                mode: Some(mode(facts.mode())),
                mode_reason: Some(mode_reason.to_string()),
                email: told(&identity.email),
                plan: identity.plan.as_ref().map(Plan::to_string),
                account_id: told(&identity.account_id),
                organization_id: told(&identity.organization_id),
                project_id: told(&identity.project_id),
                generation: *generation,
                expires_at: *expires_at,
                refresh_at: facts.refresh_at,
                last_refresh: Some(*issued_at),
                last_error: last_error(facts, now),
                ..blank
            }
        }
    }
}

/// Why a profile has no facts.
pub(crate) fn unusable(name: &ProfileName, view: &View) -> Problem {
    let problem = match view {
        View::Known(_) => {
            Problem::new(ErrorCode::Timeout, format!("profile \"{name}\" has not been read yet"))
                .hint("try again")
        }
        View::Closed(error) => store_failed(error),
        View::Unreadable(error) => {
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

/// Why a refresh that was asked for did not happen; none, if it did, or was not needed any more.
pub(crate) fn refresh_failed(
    before: &Facts,
    after: &Facts,
    rejected: Option<&Rejected>,
    now: Timestamp,
) -> Option<Problem> {
    let name = &after.name;
    if !after.renewable {
        let detail = format!("there is nothing to refresh: profile \"{name}\" has no refresh token");
        return Some(Problem::new(ErrorCode::Conflict, detail).hint(login_command(name)).about(name));
    }
    let replaced = rejected.is_some_and(|rejected| {
        let another = |id: &str| *id != *after.credential.grant_id;
        rejected.generation != after.credential.generation
            || rejected.grant_id.as_deref().is_some_and(another)
    });
    if replaced {
        return None;
    }
    if let Some(problem) = last_error(after, now) {
        return Some(problem);
    }
    let renewed = after.renewals > before.renewals || after.credential.grant_id != before.credential.grant_id;
    if renewed {
        return None;
    }
    Some(if rejected.is_some() {
        let detail = format!(
            "profile \"{name}\" was refreshed just now because of a 401; another refresh would not help"
        );
        Problem::new(ErrorCode::Conflict, detail)
            .hint(format!("if it stays so, {}", login_command(name)))
            .about(name)
    } else {
        let detail = format!("profile \"{name}\" was not refreshed in time");
        Problem::new(ErrorCode::Timeout, detail)
            .hint("try again; authctl status shows how it goes")
            .about(name)
    })
}

/// Why a profile's credential is not to be had.
pub(crate) fn no_credential(facts: &Facts, now: Timestamp) -> Problem {
    let name = &facts.name;
    match last_error(facts, now) {
        Some(problem) => problem,
        None if facts.renewable => {
            let detail = format!("profile \"{name}\" was not refreshed in time");
            Problem::new(ErrorCode::Timeout, detail)
                .hint("try again; authctl status shows how it goes")
                .about(name)
        }
        None => {
            let detail =
                format!("the token of profile \"{name}\" is at its end, and it came without a refresh token");
            Problem::new(ErrorCode::LoginRequired, detail).hint(login_command(name)).about(name)
        }
    }
}

fn last_error(facts: &Facts, now: Timestamp) -> Option<Problem> {
    let name = &facts.name;
    if let Some(ended) = &facts.ended {
        return Some(signed_out(name, ended));
    }
    if facts.pinned && facts.last_error.is_none() {
        let detail =
            format!("a rename or an export of profile \"{name}\" is not finished yet; it is tried again");
        let problem = Problem::new(ErrorCode::StoreUnavailable, detail);
        return Some(problem.hint("run: authctl doctor").about(name));
    }
    let problem = match facts.last_error.as_deref()? {
        LastError::Store(SaveError { locked, message }) => {
            let detail = format!("the newest credential is not saved yet: {message}");
            if *locked {
                Problem::new(ErrorCode::StoreLocked, detail).hint(UNLOCK)
            } else {
                Problem::new(ErrorCode::StoreUnavailable, detail).hint("run: authctl doctor")
            }
        }
        LastError::Provider(failure, next) => {
            let problem = provider_failed(failure);
            let again = problem.retry_after.map(|_| seconds_until(*next, now));
            Problem { retry_after: again, ..problem }
        }
    };
    Some(problem.about(name))
}

fn signed_out(name: &ProfileName, ended: &GrantEnd) -> Problem {
    let why = match ended.answer_lost_at {
        Some(at) => format!(
            "the answer to a refresh was lost at {}, and its token is spent",
            at.strftime("%H:%M UTC")
        ),
        None => ended.code.sentence().to_owned(),
    };
    Problem::new(ErrorCode::LoginRequired, format!("profile \"{name}\" is signed out: {why}"))
        .hint(login_command(name))
        .about(name)
}

/// A call to the provider that failed.
pub(crate) fn provider_failed(failure: &ProviderError) -> Problem {
    // As long as we would wait ourselves after a first failure.
    let unreachable = |detail: String, asked: Option<Duration>| {
        let wait = schedule::back_off(1, asked, Jitter::NONE);
        Problem::new(ErrorCode::ProviderUnreachable, detail).retry_after(wait.as_secs())
    };
    match failure {
        ProviderError::NotSent { detail } => {
            unreachable(format!("the provider cannot be reached: {detail}"), None)
                .hint("check the network; authctl doctor tells more")
        }
        ProviderError::NoResponse { detail } => {
            unreachable(format!("the provider did not answer: {detail}"), None).hint("try again in a moment")
        }
        ProviderError::Unavailable { status, retry_after } => {
            unreachable(format!("the provider asks to wait (status {status})"), *retry_after)
                .hint("try again after that time")
        }
        ProviderError::InvalidResponse { detail } => {
            unreachable(format!("what answered is not the provider: {detail}"), None)
                .hint("is a captive portal or a proxy in between? authctl doctor tells more")
        }
        ProviderError::Rejected { code, .. } => {
            Problem::new(ErrorCode::ProviderRefused, format!("the provider refused: {}", code.sentence()))
        }
    }
}

/// A store that did not do its part.
pub(crate) fn store_failed(error: &StoreError) -> Problem {
    let detail = error.to_string();
    match error {
        StoreError::Locked { .. } => Problem::new(ErrorCode::StoreLocked, detail).hint(UNLOCK),
        StoreError::Unavailable { .. } => {
            Problem::new(ErrorCode::StoreUnavailable, detail).hint("run: authctl doctor")
        }
        StoreError::Refused { .. } => Problem::new(ErrorCode::Conflict, detail),
        StoreError::Damaged { .. } => {
            Problem::new(ErrorCode::StoreUnavailable, detail).hint("sign in again: authctl login --replace")
        }
    }
}

/// A change of the directory that was not made.
pub(crate) fn keeper_failed(error: &KeeperError, name: &ProfileName) -> Problem {
    let problem = match error {
        KeeperError::Unknown => return profile_unknown(name),
        KeeperError::Taken => {
            Problem::new(ErrorCode::Conflict, format!("somebody else is signed in as \"{name}\""))
                .hint(format!("choose another name, or first: authctl logout {name}"))
        }
        KeeperError::Unread(view) => unusable(name, view),
        KeeperError::Store(error) | KeeperError::SignOut(SignOutError::Store(error)) => store_failed(error),
        KeeperError::SignOut(SignOutError::Provider(failure)) => {
            let problem = provider_failed(failure);
            let detail =
                format!("\"{name}\" is still signed in, because it could not be revoked: {}", problem.detail);
            Problem { detail, ..problem }.hint(forget_command(name))
        }
        KeeperError::SignOut(SignOutError::Unread(view)) => {
            let problem = unusable(name, view);
            let detail = format!("\"{name}\" cannot be revoked, and is left as it is: {}", problem.detail);
            Problem { detail, ..problem }.hint(forget_command(name))
        }
        KeeperError::Elsewhere(error) => Problem::new(
            ErrorCode::BadRequest,
            format!("\"{name}\" stays here, because the file cannot be written: {error}"),
        )
        .hint("name another file: authctl export codex --path FILE"),
        KeeperError::Gone => return stopping(),
    };
    problem.about(name)
}

/// A move to another store, or a new key, that did not come about.
pub(crate) fn moving_failed(error: &KeeperError) -> Problem {
    match error {
        KeeperError::Store(error) => store_failed(error),
        KeeperError::Unknown
        | KeeperError::Taken
        | KeeperError::Unread(_)
        | KeeperError::SignOut(_)
        | KeeperError::Elsewhere(_)
        | KeeperError::Gone => stopping(),
    }
}

/// There is no such profile.
pub(crate) fn profile_unknown(name: &ProfileName) -> Problem {
    Problem::new(ErrorCode::ProfileUnknown, format!("there is no profile \"{name}\""))
        .hint(login_command(name))
        .about(name)
}

/// No profile is named, and there is no default one.
pub(crate) fn no_default(profiles: usize) -> Problem {
    let problem = Problem::new(
        ErrorCode::ProfileUnknown,
        if profiles == 0 {
            "nobody is signed in"
        } else {
            "no profile is named, and there is no default one"
        },
    );
    problem.hint(if profiles == 0 {
        "run: authctl login"
    } else {
        "name one with -p, or run: authctl use PROFILE"
    })
}

/// The daemon is on its way out.
pub(crate) fn stopping() -> Problem {
    Problem::new(ErrorCode::ShuttingDown, "authd is stopping").hint("try again in a moment").retry_after(1)
}

/// The callback server has no port.
pub(crate) fn callback_unavailable(facts: &CallbackFacts) -> Problem {
    let detail = facts.detail.as_deref().unwrap_or("it has not started yet");
    Problem::new(ErrorCode::CallbackUnavailable, format!("no browser could return: {detail}"))
        .hint("free the port, or run: authctl login --paste, or: authctl login --device")
}

/// The callback server, as its clients see it.
pub(crate) fn callback(facts: &CallbackFacts) -> CallbackStatus {
    CallbackStatus {
        state: facts.state,
        addresses: facts.addresses.iter().map(ToString::to_string).collect(),
        detail: facts.detail.clone(),
    }
}

/// The store, as its clients see it.
pub(crate) fn store(status: authd_store::Status) -> StoreStatus {
    StoreStatus {
        kind: status.kind.map(|kind| match kind {
            Kind::Keychain => StoreKind::Keychain,
            Kind::File => StoreKind::File,
            Kind::Memory => StoreKind::Memory,
        }),
        state: match status.state {
            State::Ready => StoreState::Ready,
            State::Locked => StoreState::Locked,
            State::Unavailable => StoreState::Unavailable,
        },
        detail: Some(status.detail).filter(|detail| !detail.is_empty()),
    }
}

/// At least one: what is due already may take a moment.
fn seconds_until(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(then.duration_since(now).as_secs()).unwrap_or(0).max(1)
}

/// The command that signs a profile in.
fn login_command(name: &ProfileName) -> String {
    format!("run: authctl login {name}")
}

/// The command that signs a profile out without a word to the provider.
fn forget_command(name: &ProfileName) -> String {
    format!("to forget it on this machine alone: authctl logout {name}")
}

/// A mode, in the words of the contract.
pub(crate) fn mode(mode: authd_oauth::Mode) -> Mode {
    match mode {
        authd_oauth::Mode::ChatGpt => Mode::ChatGpt,
        authd_oauth::Mode::ApiKey => Mode::ApiKey,
    }
}
