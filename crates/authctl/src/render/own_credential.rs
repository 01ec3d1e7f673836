//! Credentials that the user supplied: the result of storing one, and a warning before it expires.

use authd_api::{Mode, Profile, ProfileState};

use crate::{sanitize::line, screen::Screen};

/// How long before its expiry a credential that nothing renews is worth a warning, in seconds.
const WARNING: i64 = 7 * 86_400;

/// The message after a credential was stored.
pub(crate) fn own_credential(profile: &Profile, note: Option<&str>, screen: &Screen) -> String {
    let Profile { name, .. } = profile;
    let option = if profile.default { String::new() } else { format!("-p {name} ") };
    let ask = format!("authctl ask {option}\"What is 2+2?\"");
    let (credential, example) = match (profile.mode, &profile.provider) {
        (Some(Mode::ApiKey), _) => ("API key".to_owned(), ask),
        (_, Some(provider)) => {
            (format!("token of provider \"{}\"", line(provider)), format!("authctl headers {name}"))
        }
        (_, None) => ("token".to_owned(), ask),
    };
    let plan = profile.plan.as_deref().map(|plan| format!(", plan {}", line(plan))).unwrap_or_default();
    let account = profile.email.as_deref().map(|email| format!(", for {}{plan}", line(email)));
    let note = note.map(|note| format!("\n  Note: {}.", line(note))).unwrap_or_default();
    let expiry = match (profile.mode, profile.expires_at) {
        (Some(Mode::ApiKey), _) => String::new(),
        (_, Some(at)) => format!("\n  It expires {}, and nothing renews it.", screen.time(at)),
        (_, None) => "\n  The provider does not say when it expires; nothing renews it.".to_owned(),
    };
    let account = account.unwrap_or_default();
    format!("profile \"{name}\" has your {credential}{account}; try: {example}{note}{expiry}")
}

/// What to do about a credential of the user that does not work; `None` for a sign-in.
pub(crate) fn own_credential_remedy(profile: &Profile) -> Option<String> {
    let option = if profile.mode == Some(Mode::ApiKey) { "--with-api-key" } else { "--with-token" };
    let name = &profile.name;
    let remedy = format!("create another one at the provider, and run: authctl login {name} {option} < FILE");
    profile.own_credential.then_some(remedy)
}

/// A warning about a credential that expires soon, and what to do.
pub(super) fn expires_soon(profile: &Profile, screen: &Screen) -> Option<(String, String)> {
    let at = profile.expires_at.filter(|_| profile.own_credential)?;
    let is_near = at.as_second() - screen.now.as_second() < WARNING;
    if !is_near || profile.state == ProfileState::LoginRequired {
        return None;
    }
    let name = &profile.name;
    let detail =
        format!("the token of profile \"{name}\" expires {}, and nothing renews it", screen.time(at));
    Some((detail, own_credential_remedy(profile)?))
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use serde_json::{Value, json};

    use super::*;
    use crate::output::Style;

    fn screen() -> Screen {
        Screen { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC, width: None, style: Style(false) }
    }

    fn profile(changes: &Value) -> Profile {
        let mut profile = json!({"name": "ci", "default": false, "state": "ready", "mode": "bearer",
            "mode_reason": null, "email": null, "plan": null, "account_id": null, "organization_id": null,
            "project_id": null, "generation": 1, "expires_at": null, "refresh_at": null,
            "last_refresh": null, "last_error": null, "own_credential": true});
        for (field, value) in changes.as_object().unwrap() {
            profile[field] = value.clone();
        }
        serde_json::from_value(profile).unwrap()
    }

    #[test]
    fn stored_credential_is_described_with_its_account_and_expiry() {
        let key = profile(&json!({"mode": "api-key"}));
        assert_eq!(
            own_credential(&key, Some("its quota is used up"), &screen()),
            "profile \"ci\" has your API key; try: authctl ask -p ci \"What is 2+2?\"\n  Note: its quota is used up."
        );
        let openai =
            profile(&json!({"mode": "chatgpt", "default": true, "email": "a@b.example", "plan": "business"}));
        assert_eq!(
            own_credential(&openai, None, &screen()),
            "profile \"ci\" has your token, for a@b.example, plan business; try: authctl ask \"What is 2+2?\"\n  \
             The provider does not say when it expires; nothing renews it."
        );
        let lab = profile(&json!({"provider": "lab", "expires_at": "1970-01-31T00:00:00Z"}));
        assert_eq!(
            own_credential(&lab, None, &screen()),
            "profile \"ci\" has your token of provider \"lab\"; try: authctl headers ci\n  \
             It expires in 30 d (31 Jan 00:00), and nothing renews it."
        );
    }

    #[test]
    fn only_a_credential_of_the_user_is_worth_a_warning_in_its_last_week() {
        let warns = |changes: &Value| expires_soon(&profile(changes), &screen()).is_some();
        assert!(warns(&json!({"expires_at": "1970-01-07T23:59:59Z"})));
        for changes in [
            json!({"expires_at": "1970-01-08T00:00:00Z"}),
            json!({"expires_at": null}),
            json!({"expires_at": "1970-01-02T00:00:00Z", "own_credential": false}),
            json!({"expires_at": "1969-12-31T00:00:00Z", "state": "login_required"}),
        ] {
            assert!(!warns(&changes), "{changes}");
        }
        let (detail, hint) =
            expires_soon(&profile(&json!({"expires_at": "1970-01-04T00:00:00Z"})), &screen()).unwrap();
        assert_eq!(detail, "the token of profile \"ci\" expires in 3 d (4 Jan 00:00), and nothing renews it");
        assert!(hint.ends_with("authctl login ci --with-token < FILE"), "{hint}");
    }
}
