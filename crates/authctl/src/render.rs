//! Renders the state of the daemon as text: a table that fits the terminal, and messages.

mod audit;
mod codex;
mod grant;
mod own_credential;
mod provider;
mod quota;
mod share;
mod store;

use authd_api::{CallbackState, Finding, FindingState, Mode, Profile, ProfileName, ProfileState, Status};

use self::store::{detail_suffix, in_status};
pub(crate) use self::{
    audit::{audit_entry, audit_heading},
    codex::{codex_homes, codex_warnings},
    own_credential::{own_credential, own_credential_remedy},
    provider::{discovery_requests, mcp_servers, mcp_usage, provider_check, providers},
    quota::{left as quota_left, quotas},
    share::shares,
    store::{saved_in, store, store_in_full},
};
use crate::{
    output::Style,
    sanitize::line,
    screen::Screen,
    selection::{self, Selection, Source},
    time,
};

const HEADINGS: [&str; 6] = ["PROFILE", "ACCOUNT", "PLAN", "MODE", "STATE", "EXPIRES"];

/// The column of [`HEADINGS`] that has a colour.
const STATE_COLUMN: usize = 4;

/// The daemon and its profiles.
pub(crate) fn status(daemon: &Status, all: &[Profile], selection: &Selection, screen: &Screen) -> String {
    let style = screen.style;
    let uptime = u64::try_from(screen.now.as_second() - daemon.started_at.as_second()).unwrap_or(0);
    let logins = match daemon.pending_logins {
        0 => String::new(),
        pending => format!("logins    {pending} pending\n"),
    };
    let shares = match daemon.shares {
        None | Some(0) => String::new(),
        Some(shares) => format!("shares    {shares} open; to list them: authctl shares\n"),
    };
    format!(
        "{} {}, process {}, up {} (since {})\nstore     {}\ncallback  {}\n{logins}{shares}{}\n{}",
        style.bold("authd"),
        line(&daemon.version),
        daemon.pid,
        time::duration(uptime),
        time::clock_time(daemon.started_at, screen.now, &screen.zone),
        in_status(&daemon.store, style),
        callback(daemon, style),
        selected(selection, all, style),
        profiles(all, screen)
    )
}

/// The profile that commands use here, unless it is the default one of the daemon.
fn selected(selection: &Selection, all: &[Profile], style: Style) -> String {
    let source = match &selection.source {
        Source::Default | Source::CommandLine => return String::new(),
        Source::Environment => format!("from {}", selection::VARIABLE),
        Source::File { path } => format!("from {}", line(&path.to_string_lossy())),
    };
    let Some(profile) = &selection.profile else { return format!("profile   the default one, {source}\n") };
    let is_known = all.iter().any(|known| known.name == *profile);
    let missing = if is_known { "" } else { &style.red(" (there is no such profile)") };
    format!("profile   {profile}{missing}, {source}\n")
}

/// A table of the profiles, the default one with a star, and their errors below it. Without room
/// for a table, each profile has lines of its own.
pub(crate) fn profiles(all: &[Profile], screen: &Screen) -> String {
    let style = screen.style;
    if all.is_empty() {
        return "no profile is signed in; run: authctl login\n".to_owned();
    }
    let rows: Vec<Row> = all.iter().map(|profile| row(profile, screen)).collect();
    let headings = HEADINGS.map(str::to_owned);
    let colour = |profile: &Profile, text: &str| state(profile.state).1(style, text);
    let mark = |profile: &Profile| if profile.default { "* " } else { "  " };
    let mut text = String::new();
    if let Some(widths) = column_widths(&headings, &rows, screen.width) {
        text += &format!("  {}\n", table_line(&headings, widths, str::to_owned));
        for (profile, row) in all.iter().zip(&rows) {
            text += &format!("{}{}\n", mark(profile), table_line(row, widths, |text| colour(profile, text)));
        }
    } else {
        for (profile, [name, account, plan, mode, state, expires]) in all.iter().zip(&rows) {
            let state = colour(profile, state);
            text += &format!(
                "{}{name}\n    {account}\n    {plan}, {mode}\n    {state}, {expires}\n",
                mark(profile)
            );
        }
    }
    let mut grants: String = all.iter().map(|profile| grant::grant(profile, screen)).collect();
    grants.extend(all.iter().filter_map(grant::claim));
    if !grants.is_empty() {
        text += &format!("\n{grants}");
    }
    for profile in all {
        let warning = own_credential::expires_soon(profile, screen);
        let (detail, hint) = match profile.last_error.as_ref().or(profile.routing_error.as_ref()) {
            Some(problem) => (line(&problem.detail), problem.hint.as_deref()),
            None if profile.state == ProfileState::Unread => {
                (format!("profile \"{}\" has not been read from the store yet", profile.name).into(), None)
            }
            None => match &warning {
                Some((detail, hint)) => (line(detail), Some(hint.as_str())),
                None => continue,
            },
        };
        text += &format!("\n{} {detail}\n", style.yellow("!"));
        text += &hint.map(|hint| format!("  {}\n", line(hint))).unwrap_or_default();
    }
    text
}

/// The result of a login. `requested` is the profile that the login was started for.
pub(crate) fn signed_in(profile: &Profile, requested: &ProfileName, style: Style) -> String {
    let account = line(profile.email.as_deref().unwrap_or("an account without an email address"));
    let plan = profile.plan.as_deref().map(|plan| format!(", plan {}", line(plan))).unwrap_or_default();
    let reason = profile.mode_reason.as_deref().map(|reason| format!(", because {}", line(reason)));
    let Profile { name, default, .. } = profile;
    let other_account = if name == requested {
        String::new()
    } else {
        format!(
            "  Profile \"{requested}\" belongs to another account, so this login is profile \"{name}\".\n"
        )
    };
    let option = if *default { String::new() } else { format!("-p {name} ") };
    if let Some(provider) = &profile.provider {
        let user = profile.email.as_deref().map(|email| format!(" as {}", style.bold(&line(email))));
        let scopes = match profile.scopes.as_slice() {
            [] => String::new(),
            scopes => format!("  Scopes: {}\n", line(&scopes.join(" "))),
        };
        let is_short = profile.refresh_at.is_none() && profile.expires_at.is_some();
        let end = if is_short {
            "  The provider issued no refresh token: the sign-in ends with this token.\n"
        } else {
            ""
        };
        return format!(
            "{} Signed in at provider \"{}\"{}.\n{other_account}{scopes}{end}  \
             Profile \"{name}\" is ready; try: authctl headers {}",
            style.green("✓"),
            line(provider),
            user.unwrap_or_default(),
            option.trim_end(),
        );
    }
    format!(
        "{} Signed in as {}{plan}, in {} mode{}.\n{other_account}  \
         Profile \"{name}\" is ready; try: authctl ask {option}\"What is 2+2?\"",
        style.green("✓"),
        style.bold(&account),
        mode(profile.mode),
        reason.unwrap_or_default(),
    )
}

/// One line for each check of `authctl doctor`, with the remedy below it.
pub(crate) fn findings(all: &[Finding], style: Style) -> String {
    let width = all.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    all.iter()
        .map(|Finding { check, state, detail, remedy, .. }| {
            let mark = match state {
                FindingState::Ok => style.green("✓"),
                FindingState::Warning | FindingState::Unknown => style.yellow("!"),
                FindingState::Failed => style.red("✗"),
            };
            let remedy = remedy.as_ref().map(|remedy| format!("  {:width$}    → {}\n", "", line(remedy)));
            format!("{mark} {:width$}  {}\n{}", line(check), line(detail), remedy.unwrap_or_default())
        })
        .collect()
}

pub(crate) fn mode(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::ChatGpt) => "ChatGPT",
        Some(Mode::ApiKey) => "API key",
        Some(Mode::Bearer) => "bearer",
        Some(Mode::Unknown) | None => "?",
    }
}

/// The callback server in one line.
pub(crate) fn callback(daemon: &Status, style: Style) -> String {
    let state = match daemon.callback.state {
        CallbackState::Listening => {
            format!("{} on {}", style.green("listening"), line(&daemon.callback.addresses.join(", ")))
        }
        CallbackState::Yielded => style.yellow("port yielded to another program"),
        CallbackState::Unavailable => style.red("unavailable"),
        CallbackState::Unknown => "in an unknown state".to_owned(),
    };
    format!("{state}{}", detail_suffix(daemon.callback.detail.as_deref()))
}

/// A state as text, and its colour.
pub(crate) fn state(state: ProfileState) -> (&'static str, fn(Style, &str) -> String) {
    match state {
        ProfileState::Ready => ("ready", Style::green),
        ProfileState::Refreshing => ("refreshing", Style::green),
        ProfileState::Expired => ("expired", Style::yellow),
        ProfileState::LoginRequired => ("signed out", Style::red),
        ProfileState::Unsaved => ("not saved", Style::yellow),
        ProfileState::Unread => ("unread", Style::yellow),
        ProfileState::Unknown => ("?", |_, text| text.to_owned()),
    }
}

type Row = [String; HEADINGS.len()];

fn row(profile: &Profile, screen: &Screen) -> Row {
    let or_dash = |text: &Option<String>| line(text.as_deref().unwrap_or("-")).into_owned();
    let expires = match (profile.expires_at, profile.mode) {
        (Some(at), _) => screen.time(at),
        (None, Some(Mode::ApiKey)) => "never".to_owned(),
        (None, _) => "-".to_owned(),
    };
    [
        profile.name.to_string(),
        or_dash(&profile.email),
        // A defined provider has no plans.
        or_dash(if profile.provider.is_some() { &profile.provider } else { &profile.plan }),
        mode(profile.mode).to_owned(),
        state(profile.state).0.to_owned(),
        expires,
    ]
}

/// The width of the widest cell of each column. If the table is wider than the screen, the account
/// gets less, then the name, then the plan; `None` if that is not enough.
fn column_widths(headings: &Row, rows: &[Row], screen: Option<usize>) -> Option<[usize; HEADINGS.len()]> {
    let mut widths = headings.each_ref().map(String::len);
    for row in rows {
        widths = std::array::from_fn(|column| widths[column].max(row[column].chars().count()));
    }
    let Some(screen) = screen else { return Some(widths) };
    // The mark, and two spaces between the columns.
    let excess = |widths: [usize; HEADINGS.len()]| {
        (2 + widths.iter().sum::<usize>() + 2 * (widths.len() - 1)).saturating_sub(screen)
    };
    for (column, min) in [(1, 12), (0, 12), (2, 8)] {
        widths[column] = widths[column].saturating_sub(excess(widths)).max(min.min(widths[column]));
    }
    (excess(widths) == 0).then_some(widths)
}

/// The cells in their columns. `colour_state` may add escape sequences, which have no width.
fn table_line(cells: &Row, widths: [usize; HEADINGS.len()], colour_state: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = truncate(cell, width);
        let padding = width - cell.chars().count() + 2;
        let cell = if column == STATE_COLUMN { colour_state(&cell) } else { cell };
        text += &format!("{cell}{:padding$}", "");
    }
    text.trim_end().to_owned()
}

fn truncate(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
