//! Connects the callback server with the broker's logins.

use authd_api::{LoginState, Mode, Profile};
use authd_broker::{LinkTarget, LoginSnapshot, Logins, now};
use authd_oauth::Plan;

use crate::{
    callback::{CallbackHandler, CallbackOutcome, SignedInUser},
    http::convert,
};

/// Finishes the broker's logins.
#[derive(Clone)]
pub(super) struct LoginCallbacks(pub(super) Logins);

impl CallbackHandler for LoginCallbacks {
    fn is_redirect_path(&self, path: &str) -> bool {
        self.0.is_redirect_path(path)
    }

    async fn handle(&self, path: &str, query: &str) -> CallbackOutcome {
        match self.0.finish_with_query(path, query).await {
            Some((login, again)) => outcome(login, again),
            None => CallbackOutcome::UnknownState,
        }
    }

    fn follow_link(&self, token: &str) -> LinkTarget {
        self.0.follow_link(token)
    }

    fn pending(&self) -> usize {
        self.0.pending()
    }
}

/// The outcome of a login that has ended; `again` if it had ended before this redirect.
fn outcome(login: LoginSnapshot, again: bool) -> CallbackOutcome {
    let login = convert::login(login, now());
    match (&login.result, login.error) {
        (Some(profile), _) if again => CallbackOutcome::AlreadySignedIn(user(profile)),
        (Some(profile), _) => CallbackOutcome::SignedIn(user(profile)),
        (None, Some(problem)) => CallbackOutcome::Failed {
            title: problem.title,
            detail: problem.detail,
            hint: problem.hint.unwrap_or_default(),
        },
        (None, None) if login.state == LoginState::Cancelled => CallbackOutcome::Failed {
            title: "Sign-in cancelled".to_owned(),
            detail: "this sign-in was cancelled before it was finished".to_owned(),
            hint: format!("run: authctl login {}", login.profile),
        },
        (None, None) => CallbackOutcome::UnknownState,
    }
}

fn user(profile: &Profile) -> SignedInUser {
    let plan = profile.plan.as_deref().map(|plan| Plan::new(plan).display_name().to_owned());
    SignedInUser {
        email: profile.email.clone(),
        plan,
        workspace: profile.account_id.clone(),
        provider: profile.provider.clone(),
        mode: match profile.mode {
            Some(Mode::ApiKey) => Some("API key".to_owned()),
            Some(Mode::ChatGpt | Mode::Unknown) | None => Some("ChatGPT".to_owned()),
            Some(Mode::Bearer) => None,
        },
        mode_reason: profile.mode_reason.clone().unwrap_or_default(),
        profile: profile.name.to_string(),
    }
}
