//! What the browser shows: the end of a login, as the person at it should read it.

use authd_api::{Login, LoginState, Mode, Profile};
use authd_oauth::Plan;

use super::login_command;
use crate::callback::{Arrival, Who};

/// What the browser shows of a login that is over.
pub(crate) fn arrival(login: &Login, again: bool) -> Arrival {
    match (&login.result, &login.error) {
        (Some(profile), _) => {
            let who = who(profile);
            if again { Arrival::AlreadySignedIn(who) } else { Arrival::SignedIn(who) }
        }
        (None, Some(problem)) => Arrival::Failed {
            title: problem.title.clone(),
            sentence: problem.detail.clone(),
            remedy: problem.hint.clone().unwrap_or_default(),
        },
        (None, None) if login.state == LoginState::Cancelled => Arrival::Failed {
            title: "Sign-in called off".to_owned(),
            sentence: "this sign-in was called off before it was finished".to_owned(),
            remedy: login_command(&login.profile),
        },
        (None, None) => Arrival::UnknownState,
    }
}

fn who(profile: &Profile) -> Who {
    let plan = profile.plan.as_deref().map(|plan| Plan::new(plan).display_name().to_owned());
    Who {
        email: profile.email.clone(),
        plan,
        workspace: profile.account_id.clone(),
        mode: match profile.mode {
            Some(Mode::ApiKey) => "API key".to_owned(),
            Some(Mode::ChatGpt | Mode::Unknown) | None => "ChatGPT".to_owned(),
        },
        mode_reason: profile.mode_reason.clone().unwrap_or_default(),
        profile: profile.name.to_string(),
    }
}
