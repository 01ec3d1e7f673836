//! The grant of a profile. For a defined provider: where it is signed in, for which resource, and
//! with which scopes. In a fleet: the node that renews it.

use authd_api::Profile;

use crate::{sanitize::line, screen::Screen};

/// Lines below the table of profiles; nothing for a profile of OpenAI.
pub(super) fn grant(profile: &Profile, screen: &Screen) -> String {
    let Some(provider) = &profile.provider else { return String::new() };
    let place = profile.issuer.clone().unwrap_or_else(|| format!("provider \"{provider}\""));
    let resource = profile.resource.as_ref().map(|resource| format!(" for {resource}")).unwrap_or_default();
    let list = |name: &str, scopes: &[String]| {
        if scopes.is_empty() { String::new() } else { format!("; {name}: {}", scopes.join(" ")) }
    };
    let how = if profile.own_credential { "a token of your own, at" } else { "signed in at" };
    let text = format!(
        "{}: {how} {place}{resource}{}{}",
        profile.name,
        list("scopes", &profile.scopes),
        list("missing scopes", &profile.missing_scopes),
    );
    wrapped(&line(&text), screen.width)
}

/// The node of the fleet that renews the grant.
pub(super) fn claim(profile: &Profile) -> Option<String> {
    let node = profile.claimed_by.as_deref()?;
    Some(format!("  {}: node {} renews it\n", profile.name, line(node)))
}

/// The words in lines of this width, with an indentation. A longer word has a line of its own.
fn wrapped(text: &str, width: Option<usize>) -> String {
    const INDENT: &str = "  ";
    let mut lines = vec![INDENT.to_owned()];
    for word in text.split(' ') {
        let last = lines.last().map(String::as_str).unwrap_or_default();
        let is_empty = last.trim().is_empty();
        let length = last.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && width.is_some_and(|width| length > width) {
            lines.push(INDENT.repeat(2) + word);
        } else if let Some(line) = lines.last_mut() {
            *line += if is_empty { "" } else { " " };
            *line += word;
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_the_terminal() {
        let text = "lab: signed in at https://as.example; scopes: openid api";
        assert_eq!(wrapped(text, None), format!("  {text}\n"));
        assert_eq!(
            wrapped(text, Some(31)),
            "  lab: signed in at\n    https://as.example; scopes:\n    openid api\n"
        );
        assert_eq!(
            wrapped("a https://long.example/x b", Some(10)),
            "  a\n    https://long.example/x\n    b\n"
        );
    }
}
