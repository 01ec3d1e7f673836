//! The table of audit entries. Its rows are printed as they arrive, so that no column can be as
//! wide as its longest cell.

use authd_api::{AuditAction, AuditEntry};

use crate::{sanitize::line, screen::Screen, time};

const COLUMNS: [(&str, usize); 6] =
    [("TIME", 15), ("TIMES", 5), ("PROFILE", 10), ("ACTION", 15), ("PROCESS", 18), ("UNIT OR CONTAINER", 22)];

pub(crate) fn audit_heading(screen: &Screen) -> String {
    let cells = COLUMNS.map(|(name, _)| name.to_owned());
    screen.style.bold(&row(&cells, "DETAILS")) + "\n"
}

/// The line of an entry.
pub(crate) fn audit_entry(entry: &AuditEntry, screen: &Screen) -> String {
    let process = entry.process.as_ref();
    let named = process.map(|process| match &process.command {
        Some(command) => format!("{} {}", line(command), process.pid),
        None => format!("? {}", process.pid),
    });
    let container = process.and_then(|process| process.container.as_ref());
    // The whole id has 64 digits. Container tools print and accept the first twelve.
    let container = container.map(|id| id.chars().take(12).collect());
    let unit = process.and_then(|process| process.unit.clone());
    let details = [("share", &entry.share), ("path", &entry.path), ("login", &entry.login)];
    let details = details.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let details: Vec<String> = details.collect();
    let cells = [
        time::date_time(entry.time, &screen.zone),
        format!("{:>5}", entry.count),
        entry.profile.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        action(entry.action).to_owned(),
        named.unwrap_or_else(|| "-".to_owned()),
        container.or(unit).unwrap_or_else(|| "-".to_owned()),
    ];
    row(&cells, &details.join(", ")) + "\n"
}

fn row(cells: &[String; COLUMNS.len()], details: &str) -> String {
    let mut text = String::new();
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        text += &format!("{:width$}  ", line(cell));
    }
    (text + &line(details)).trim_end().to_owned()
}

fn action(action: AuditAction) -> &'static str {
    match action {
        AuditAction::Headers => "headers",
        AuditAction::Relay => "relay",
        AuditAction::Refresh => "refresh",
        AuditAction::LoginStarted => "login started",
        AuditAction::Login => "login",
        AuditAction::TokenStored => "token stored",
        AuditAction::SignOut => "sign-out",
        AuditAction::Import => "import",
        AuditAction::Export => "export",
        AuditAction::CodexInstalled => "codex install",
        AuditAction::CodexUninstalled => "codex uninstall",
        AuditAction::Share => "share",
        AuditAction::Unshare => "unshare",
        AuditAction::Unknown => "?",
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use serde_json::json;

    use super::*;
    use crate::output::Style;

    #[test]
    fn entry_is_one_line_that_cannot_write_to_the_terminal() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let screen = Screen { now: Timestamp::UNIX_EPOCH, zone, width: None, style: Style(false) };
        let entry = |value| audit_entry(&serde_json::from_value(value).unwrap(), &screen);
        let container = "4f1c2d".repeat(10) + "4f1c";
        let full = json!({"time": "2026-11-03T23:05:09Z", "action": "relay", "count": 12, "profile": "me",
            "share": "q1Zb7RkXw0Tn", "path": "responses",
            "process": {"pid": 4711, "uid": 1000, "command": "a\u{1b}[31m\nb", "container": container}});
        let text = audit_heading(&screen) + &entry(full);
        let expected = "\
TIME             TIMES  PROFILE     ACTION           PROCESS             UNIT OR CONTAINER       DETAILS
 4 Nov 00:05:09     12  me          relay            a�[31m�b 4711       4f1c2d4f1c2d            share q1Zb7RkXw0Tn, path responses
";
        assert_eq!(text, expected);
        let bare = json!({"time": "2026-11-03T23:05:09Z", "action": "of a later version", "count": 1});
        assert_eq!(
            entry(bare),
            " 4 Nov 00:05:09      1  -           ?                -                   -\n"
        );
    }
}
