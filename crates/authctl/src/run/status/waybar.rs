//! `authctl status --format waybar`: one line of JSON for a custom module of Waybar
//! (waybar-custom(5), `return-type: json`). The profile that commands use here is the text, and its
//! state the class.

use authd_api::{Profile, ProfileName, ProfileState};
use serde::Serialize;

use super::{
    super::watch::{Changes, PAUSE, Wake},
    changes::Snapshot,
};
use crate::{
    context::Context,
    error::{CliError, CliResult},
    render,
    sanitize::line,
    screen::Screen,
};

/// What Waybar reads.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Module {
    text: String,
    tooltip: String,
    /// A class of the style sheet: the state of the profile, `signed_out` or `no_daemon`.
    class: String,
}

/// Prints the module, with `watch` again after each change. Without a daemon the module says so:
/// Waybar hides the module of a program that fails.
pub(super) async fn print(ctx: &Context, name: Option<&ProfileName>, watch: bool) -> CliResult {
    let mut changes = Changes::default();
    let mut shown = None;
    loop {
        let module = match Snapshot::read(ctx, name).await {
            Ok(snapshot) => Module::of(&snapshot, &Screen::stdout(ctx.out)),
            Err(error) => Module::of_error(&error).ok_or(error)?,
        };
        if shown.as_ref() != Some(&module) {
            ctx.out.print_json_line(&module)?;
            shown = Some(module);
        }
        if !watch {
            return Ok(());
        }
        if changes.next(ctx).await == Wake::Stopped {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Module {
    fn of(snapshot: &Snapshot, screen: &Screen) -> Self {
        let all = &snapshot.profiles.profiles;
        let wanted = snapshot.selection.profile.as_ref();
        let shown = all.iter().find(|profile| wanted.map_or(profile.default, |name| profile.name == *name));
        let tooltip: Vec<String> = all.iter().map(|profile| tooltip(profile, screen)).collect();
        let (text, class) = match (shown, wanted) {
            (Some(profile), _) => (text(profile), class(state(profile))),
            (None, Some(name)) => (format!("{name}?"), "signed_out".to_owned()),
            (None, None) => ("signed out".to_owned(), "signed_out".to_owned()),
        };
        Self { text: escape(&text), tooltip: escape(&tooltip.join("\n")), class }
    }

    /// The module for a daemon that cannot be reached; `None` for another error.
    fn of_error(error: &CliError) -> Option<Self> {
        let problem = error.problem().filter(|_| error.is_no_daemon())?;
        let tooltip = escape(&line(&problem.detail));
        Some(Self { text: "authd stopped".to_owned(), tooltip, class: "no_daemon".to_owned() })
    }
}

/// The state, or that a sign-in is required while the token is still valid.
fn state(profile: &Profile) -> ProfileState {
    if profile.sign_in_required { ProfileState::LoginRequired } else { profile.state }
}

fn text(profile: &Profile) -> String {
    match state(profile) {
        ProfileState::Ready | ProfileState::Refreshing => profile.name.to_string(),
        state => format!("{}: {}", profile.name, render::state(state).0),
    }
}

fn tooltip(profile: &Profile, screen: &Screen) -> String {
    let account = profile.email.as_deref().or(profile.provider.as_deref()).map(line).unwrap_or_default();
    let expiry = profile.expires_at.map(|at| format!(", expires {}", screen.time(at))).unwrap_or_default();
    format!("{}  {account}  {}{expiry}", profile.name, render::state(state(profile)).0)
}

/// The state as the API names it.
fn class(state: ProfileState) -> String {
    let name = serde_json::to_value(state).ok();
    name.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
}

/// The text as Pango markup, which Waybar reads.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_account_cannot_contain_markup() {
        assert_eq!(escape("<b>a&b</b>"), "&lt;b&gt;a&amp;b&lt;/b&gt;");
    }

    #[test]
    fn class_is_the_state_of_the_api() {
        assert_eq!(class(ProfileState::LoginRequired), "login_required");
    }

    #[test]
    fn required_sign_in_is_shown_while_the_token_is_valid() {
        let mut message = serde_json::json!({"name": "work", "default": true, "state": "ready",
            "mode": null, "mode_reason": null, "email": null, "plan": null, "account_id": null,
            "organization_id": null, "project_id": null, "generation": 1, "expires_at": null,
            "refresh_at": null, "last_refresh": null, "last_error": null});
        let shown = |message: &serde_json::Value| state(&serde_json::from_value(message.clone()).unwrap());
        assert_eq!(shown(&message), ProfileState::Ready, "an older daemon omits the field");
        message["sign_in_required"] = true.into();
        assert_eq!(shown(&message), ProfileState::LoginRequired);
    }
}
