//! What people read: the state of things as a table of at most 80 columns, and a finished login as a
//! sentence. It prints nothing and reads no clock.

use authd_api::{
    CallbackState, Finding, FindingState, Mode, Profile, ProfileName, ProfileState, Status, StoreKind,
    StoreState, StoreStatus,
};
use jiff::Timestamp;

use crate::{out::Paint, printable::value, time};

/// The widest line of a table, in columns: what every terminal has.
const WIDTH: usize = 80;

/// The daemon and its profiles.
pub(crate) fn status(daemon: &Status, all: &[Profile], now: Timestamp, paint: Paint) -> String {
    let up = time::length(u64::try_from(now.as_second() - daemon.started_at.as_second()).unwrap_or(0));
    let mut text =
        format!("{} {}, process {}, up {up}\n", paint.bold("authd"), value(&daemon.version), daemon.pid);
    text += &format!("store     {}\n", store(&daemon.store, paint));
    text += &format!("callback  {}\n", callback(daemon, paint));
    if daemon.pending_logins > 0 {
        text += &format!("logins    {} pending\n", daemon.pending_logins);
    }
    text.push('\n');
    text += &profiles(all, now, paint);
    text
}

/// The profiles, the default one with a star, and below them what is wrong with any.
pub(crate) fn profiles(all: &[Profile], now: Timestamp, paint: Paint) -> String {
    if all.is_empty() {
        return "nobody is signed in; run: authctl login\n".to_owned();
    }
    let mut rows = vec![["PROFILE", "WHO", "PLAN", "MODE", "STATE", "EXPIRES"].map(str::to_owned)];
    rows.extend(all.iter().map(|profile| row(profile, now)));
    let mut text = String::new();
    let widths = widths(&rows);
    for (index, cells) in rows.iter().enumerate() {
        let profile = index.checked_sub(1).and_then(|index| all.get(index));
        let line = line(cells, widths, |state| {
            profile.map_or_else(|| state.to_owned(), |profile| coloured(profile.state, state, paint))
        });
        text += if profile.is_some_and(|profile| profile.default) { "* " } else { "  " };
        text += &line;
        text.push('\n');
    }
    for profile in all {
        let unread = (profile.state == ProfileState::Unread)
            .then(|| format!("profile \"{}\" has not been read from the store yet", profile.name));
        let (detail, hint) = match &profile.last_error {
            Some(problem) => (Some(value(&problem.detail).into_owned()), problem.hint.as_deref()),
            None => (unread, None),
        };
        text += &detail.map(|detail| format!("\n{} {detail}\n", paint.yellow("!"))).unwrap_or_default();
        text += &hint.map(|hint| format!("  {}\n", value(hint))).unwrap_or_default();
    }
    text
}

/// Who is signed in, with which plan, in which mode and why; `wanted` is the name that the login was
/// started for.
pub(crate) fn signed_in(profile: &Profile, wanted: &ProfileName, paint: Paint) -> String {
    let who = value(profile.email.as_deref().unwrap_or("somebody without an address"));
    let plan = profile.plan.as_deref().map(|plan| format!(", plan {}", value(plan))).unwrap_or_default();
    let why =
        profile.mode_reason.as_deref().map(|why| format!(", because {}", value(why))).unwrap_or_default();
    let mut text = format!(
        "{} Signed in as {}{plan}, in {} mode{why}.\n",
        paint.green("✓"),
        paint.bold(&who),
        mode(profile.mode)
    );
    let name = &profile.name;
    if name != wanted {
        text += &format!("  Somebody else is signed in as \"{wanted}\", so this is profile \"{name}\".\n");
    }
    let option = if profile.default { String::new() } else { format!("-p {name} ") };
    text += &format!("  Profile \"{name}\" is ready; try: authctl ask {option}\"What is 2+2?\"");
    text
}

/// What was looked at, a line each, and below it what to do.
pub(crate) fn findings(all: &[Finding], paint: Paint) -> String {
    let width = all.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    all.iter()
        .map(|Finding { check, state, detail, remedy, .. }| {
            let mark = match state {
                FindingState::Ok => paint.green("✓"),
                FindingState::Warning | FindingState::Unknown => paint.yellow("!"),
                FindingState::Failed => paint.red("✗"),
            };
            let remedy = remedy.as_ref().map(|remedy| format!("  {:width$}    → {}\n", "", value(remedy)));
            let (check, remedy) = (value(check), remedy.unwrap_or_default());
            format!("{mark} {check:width$}  {}\n{remedy}", value(detail))
        })
        .collect()
}

/// A mode as people say it.
pub(crate) fn mode(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::ChatGpt) => "ChatGPT",
        Some(Mode::ApiKey) => "API key",
        Some(Mode::Unknown) | None => "?",
    }
}

/// A store in a line.
pub(crate) fn store(store: &StoreStatus, paint: Paint) -> String {
    let kind = match store.kind {
        Some(StoreKind::Keychain) => "keychain",
        Some(StoreKind::File) => "encrypted files",
        Some(StoreKind::Memory) => "memory: nothing survives authd",
        Some(StoreKind::Unknown) => "of a newer kind",
        None => "none yet",
    };
    let state = match store.state {
        StoreState::Ready => paint.green("ready"),
        StoreState::Locked => paint.yellow("locked"),
        StoreState::Unavailable => paint.red("unavailable"),
        StoreState::Unknown => "in an unknown state".to_owned(),
    };
    format!("{kind}, {state}{}", detail(store.detail.as_deref()))
}

fn callback(daemon: &Status, paint: Paint) -> String {
    let state = match daemon.callback.state {
        CallbackState::Listening => {
            let addresses = daemon.callback.addresses.join(", ");
            format!("{} on {}", paint.green("listening"), value(&addresses))
        }
        CallbackState::Yielded => paint.yellow("yielded its port for a while"),
        CallbackState::Unavailable => paint.red("unavailable"),
        CallbackState::Unknown => "in an unknown state".to_owned(),
    };
    format!("{state}{}", detail(daemon.callback.detail.as_deref()))
}

fn detail(detail: Option<&str>) -> String {
    detail.map(|detail| format!(": {}", value(detail))).unwrap_or_default()
}

fn state(state: ProfileState) -> &'static str {
    match state {
        ProfileState::Ready => "ready",
        ProfileState::Refreshing => "refreshing",
        ProfileState::Expired => "expired",
        ProfileState::LoginRequired => "signed out",
        ProfileState::Unsaved => "not saved",
        ProfileState::Unread => "unread",
        ProfileState::Unknown => "?",
    }
}

fn coloured(state: ProfileState, words: &str, paint: Paint) -> String {
    match state {
        ProfileState::Ready | ProfileState::Refreshing => paint.green(words),
        ProfileState::Expired | ProfileState::Unsaved | ProfileState::Unread => paint.yellow(words),
        ProfileState::LoginRequired => paint.red(words),
        ProfileState::Unknown => words.to_owned(),
    }
}

type Row = [String; 6];

fn row(profile: &Profile, now: Timestamp) -> Row {
    let or_dash = |text: &Option<String>| value(text.as_deref().unwrap_or("-")).into_owned();
    let expires = match (profile.expires_at, profile.mode) {
        (Some(at), _) => time::relative(at, now),
        (None, Some(Mode::ApiKey)) => "never".to_owned(),
        (None, Some(Mode::ChatGpt | Mode::Unknown) | None) => "-".to_owned(),
    };
    [
        profile.name.to_string(),
        or_dash(&profile.email),
        or_dash(&profile.plan),
        mode(profile.mode).to_owned(),
        state(profile.state).to_owned(),
        expires,
    ]
}

/// As wide as the widest cell; where that is too wide for a terminal, who gives way first, then the name.
fn widths(rows: &[Row]) -> [usize; 6] {
    let mut widths = [0; 6];
    for (column, width) in widths.iter_mut().enumerate() {
        *width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    }
    for (column, least) in [(1, 12), (0, 12), (2, 8)] {
        // The mark and two spaces between the columns.
        let total = 2 + widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        let excess = total.saturating_sub(WIDTH);
        widths[column] = widths[column].saturating_sub(excess).max(least.min(widths[column]));
    }
    widths
}

/// The cells side by side; the state's colour takes no room.
fn line(cells: &Row, widths: [usize; 6], colour: impl Fn(&str) -> String) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let shown = cut(cell, width);
        let room = " ".repeat(width - shown.chars().count() + 2);
        line += &if column == 4 { colour(&shown) } else { shown };
        line += &room;
    }
    line.trim_end().to_owned()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests;
