//! Renders the managed Codex homes.

use authd_api::{CodexHome, CodexHomeState};
use jiff::Timestamp;

use crate::{output::Style, sanitize::line, time};

/// A paragraph for each home: where it is, which profile it uses, and what to do if it does not.
pub(crate) fn codex_homes(all: &[CodexHome], now: Timestamp, style: Style) -> String {
    if all.is_empty() {
        return "authd manages no Codex home; run: authctl codex install\n".to_owned();
    }
    all.iter().map(|home| codex_home(home, now, style)).collect()
}

/// A line for each home that is not as authd left it.
pub(crate) fn codex_warnings(all: &[CodexHome], style: Style) -> String {
    let is_changed = |home: &&CodexHome| home.state != CodexHomeState::Present || home.last_error.is_some();
    let warning = |home: &CodexHome| {
        let path = home.home.display().to_string();
        format!(
            "\n{} Codex home {}: {}\n  for details: authctl codex status\n",
            style.yellow("!"),
            line(&path),
            state(home)
        )
    };
    all.iter().filter(is_changed).map(warning).collect()
}

fn codex_home(home: &CodexHome, now: Timestamp, style: Style) -> String {
    let path = |path: &std::path::Path| line(&path.display().to_string()).into_owned();
    let written = home.last_written.map_or_else(|| "-".to_owned(), |at| time::relative(at, now));
    let colour = match (home.state, &home.last_error) {
        (CodexHomeState::Present, None) => Style::green,
        _ => Style::yellow,
    };
    let place = match (&home.link, home.keychain) {
        (_, true) => "an item of the keychain".to_owned(),
        (Some(link), _) => format!("{}, a link to {}", path(&home.path), path(link)),
        (None, _) => path(&home.path),
    };
    let mut text = format!(
        "{}\n  profile  {}\n  state    {}\n  login    {place}\n  written  {written}\n",
        style.bold(&path(&home.home)),
        home.profile,
        colour(style, state(home)),
    );
    if let Some(problem) = &home.last_error {
        text += &format!("  error    {}\n", line(&problem.detail));
        text += &problem.hint.as_ref().map(|hint| format!("           {}\n", line(hint))).unwrap_or_default();
    }
    text
}

/// A state as text.
fn state(home: &CodexHome) -> &'static str {
    match home.state {
        CodexHomeState::Present if home.last_error.is_some() => "in use, but not up to date",
        CodexHomeState::Present => "in use",
        CodexHomeState::Missing => "signed out of Codex",
        CodexHomeState::ForeignLogin => "Codex has a login of its own",
        CodexHomeState::Unreadable => "unreadable",
        CodexHomeState::Pending => "not read yet",
        CodexHomeState::Unknown => "?",
    }
}
