//! Renders the managed Codex homes.

use std::path::Path;

use authd_api::{CodexHome, CodexHomeState};

use crate::{output::Style, sanitize::line, screen::Screen};

/// A table of the homes, and below it the links and what keeps a home from being up to date.
pub(crate) fn codex_homes(all: &[CodexHome], screen: &Screen) -> String {
    if all.is_empty() {
        return "authd manages no Codex home; run: authctl codex install\n".to_owned();
    }
    let rows: Vec<[String; 4]> = all.iter().map(|home| row(home, screen)).collect();
    let headings = ["HOME", "PROFILE", "WRITTEN", "STATE"].map(str::to_owned);
    let widths: [usize; 4] = std::array::from_fn(|column| {
        let cells = rows.iter().chain([&headings]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let table_line = |[home, profile, written, state]: &[String; 4]| {
        let [home_width, profile_width, written_width, _] = widths;
        format!("{home:home_width$}  {profile:profile_width$}  {written:written_width$}  {state}\n")
    };
    let mut text = table_line(&headings);
    for (row, home) in rows.iter().zip(all) {
        let [home_cell, profile, written, state] = row;
        let colour = if is_in_use(home) { Style::green } else { Style::yellow };
        text +=
            &table_line(&[home_cell.clone(), profile.clone(), written.clone(), colour(screen.style, state)]);
    }
    text + &all.iter().map(|home| notes(home, screen.style)).collect::<String>()
}

/// A line for each home that is not as authd left it.
pub(crate) fn codex_warnings(all: &[CodexHome], style: Style) -> String {
    let warning = |home: &CodexHome| {
        format!(
            "\n{} Codex home {}: {}\n  for details: authctl codex status\n",
            style.yellow("!"),
            shown(&home.home),
            state(home)
        )
    };
    all.iter().filter(|home| !is_in_use(home)).map(warning).collect()
}

fn row(home: &CodexHome, screen: &Screen) -> [String; 4] {
    let written = home.last_written.map_or_else(|| "-".to_owned(), |at| screen.time(at));
    [shown(&home.home), home.profile.to_string(), written, state(home).to_owned()]
}

/// Where an unusual login is, and what is wrong.
fn notes(home: &CodexHome, style: Style) -> String {
    let mut text = String::new();
    if home.keychain {
        text += &format!("\n{}: the login is an item of the keychain\n", shown(&home.home));
    } else if let Some(link) = &home.link {
        text += &format!("\n{} is a link to {}\n", shown(&home.path), shown(link));
    }
    let (detail, hint) = match &home.last_error {
        Some(problem) => (problem.detail.clone(), problem.hint.clone()),
        None if matches!(home.state, CodexHomeState::Missing | CodexHomeState::ForeignLogin) => {
            let (home_path, profile) = (shown(&home.home), &home.profile);
            let hint =
                format!("to use \"{profile}\" again: authctl codex install -p {profile} --home {home_path}");
            (format!("{home_path}: {}", state(home)), Some(hint))
        }
        None => return text,
    };
    text += &format!("\n{} {}\n", style.yellow("!"), line(&detail));
    text += &hint.map(|hint| format!("  {}\n", line(&hint))).unwrap_or_default();
    text
}

fn is_in_use(home: &CodexHome) -> bool {
    home.state == CodexHomeState::Present && home.last_error.is_none()
}

fn shown(path: &Path) -> String {
    line(&path.display().to_string()).into_owned()
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

#[cfg(test)]
mod tests {
    use authd_api::{ErrorCode, Problem};

    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn each_home_is_a_row_and_a_trouble_has_its_remedy() {
        let now = "2026-11-23T14:00:00Z".parse().unwrap();
        let screen = Screen { now, zone: TimeZone::UTC, width: None, style: Style(false) };
        let present = CodexHome {
            home: "/home/user/.codex".into(),
            path: "/home/user/.codex/auth.json".into(),
            keychain: false,
            profile: "default".parse().unwrap(),
            state: CodexHomeState::Present,
            link: Some("../dotfiles/auth.json".into()),
            last_written: Some("2026-11-23T13:00:00Z".parse().unwrap()),
            last_error: None,
        };
        let foreign = CodexHome {
            home: "/srv/codex".into(),
            profile: "work".parse().unwrap(),
            state: CodexHomeState::ForeignLogin,
            link: None,
            last_written: None,
            ..present.clone()
        };
        let problem = Problem::new(ErrorCode::Conflict, "auth.json is read-only").hint("chmod u+w auth.json");
        let read_only = CodexHome { link: None, last_error: Some(problem), ..present.clone() };
        let all = [present.clone(), foreign, read_only];
        let text = codex_homes(&all, &screen);
        assert_eq!(
            text,
            "HOME               PROFILE  WRITTEN          STATE\n\
             /home/user/.codex  default  1 h ago (13:00)  in use\n\
             /srv/codex         work     -                Codex has a login of its own\n\
             /home/user/.codex  default  1 h ago (13:00)  in use, but not up to date\n\
             \n/home/user/.codex/auth.json is a link to ../dotfiles/auth.json\n\
             \n! /srv/codex: Codex has a login of its own\n  \
               to use \"work\" again: authctl codex install -p work --home /srv/codex\n\
             \n! auth.json is read-only\n  chmod u+w auth.json\n"
        );
        let warnings = codex_warnings(&all, Style(false));
        assert!(warnings.contains("! Codex home /srv/codex: Codex has a login of its own\n"), "{warnings}");
        assert_eq!(codex_warnings(&[present], Style(false)), "");
        assert!(codex_homes(&[], &screen).contains("authctl codex install"));
    }
}
