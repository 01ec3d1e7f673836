//! The table of quotas: a line for each window, the binding one first.

use authd_api::{Quota, QuotaWindow};

use crate::{output::Style, sanitize::line, screen::Screen, time};

const HEADINGS: [&str; 5] = ["PROFILE", "WINDOW", "LEFT", "RESETS", "AS OF"];

/// The column of the bars.
const LEFT_COLUMN: usize = 2;

/// The characters of a whole bar, and the fewest that it is shown with.
const BAR: (usize, usize) = (20, 5);

type QuotaRow = [String; HEADINGS.len()];

/// A table of the windows, and below it what the figures do not say.
pub(crate) fn quotas(all: &[Quota], screen: &Screen) -> String {
    if all.is_empty() {
        return "no profile is signed in; run: authctl login\n".to_owned();
    }
    let rows: Vec<(QuotaRow, Option<f64>)> = all.iter().flat_map(|quota| rows(quota, screen)).collect();
    let mut widths = HEADINGS.map(str::len);
    for (row, _) in &rows {
        widths = std::array::from_fn(|column| widths[column].max(row[column].chars().count()));
    }
    let gaps = 2 * (widths.len() - 1);
    // The bar has a space after it.
    let room = screen
        .width
        .map_or(BAR.0, |width| width.saturating_sub(widths.iter().sum::<usize>() + gaps + 1).min(BAR.0));
    let bar_width = if room < BAR.1 { 0 } else { room };
    let mut text = table_line(&HEADINGS.map(str::to_owned), widths, (bar_width, None), screen.style);
    for (row, left) in &rows {
        text += &table_line(row, widths, (bar_width, *left), screen.style);
    }
    text + &all.iter().map(|quota| notes(quota, screen)).collect::<String>()
}

/// The lines of one profile. Its name is in the first one only.
fn rows(quota: &Quota, screen: &Screen) -> Vec<(QuotaRow, Option<f64>)> {
    let name = quota.profile.to_string();
    if quota.windows.is_empty() {
        let dash = || "-".to_owned();
        return vec![([name, dash(), "unknown".to_owned(), dash(), dash()], None)];
    }
    let row = |(index, window): (usize, &QuotaWindow)| {
        let left = window.left_percent();
        let of = window.limit.as_deref().map(|limit| format!(" of {}", line(limit))).unwrap_or_default();
        let row = [
            if index == 0 { name.clone() } else { String::new() },
            format!("{}{of}", line(&window.window)),
            left.map_or("unknown".to_owned(), |left| format!("{left:>3.0} %")),
            window.resets_at.map_or("-".to_owned(), |at| screen.time(at)),
            time::relative(window.as_of, screen.now),
        ];
        (row, left)
    };
    quota.windows.iter().enumerate().map(row).collect()
}

/// A line of the table; with a bar of this width for this percentage, or the room for it.
fn table_line(
    cells: &QuotaRow,
    widths: [usize; HEADINGS.len()],
    (bar_width, left): (usize, Option<f64>),
    style: Style,
) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = width - cell.chars().count() + 2;
        match left {
            Some(left) if column == LEFT_COLUMN => {
                let bar = if bar_width > 0 { bar(left, bar_width) + " " } else { String::new() };
                text += &format!("{}{:padding$}", colour(left)(style, &format!("{bar}{cell}")), "");
            }
            _ => {
                let room = if column == LEFT_COLUMN && bar_width > 0 { bar_width + 1 } else { 0 };
                text += &format!("{cell}{:width$}", "", width = padding + room);
            }
        }
    }
    format!("{}\n", text.trim_end())
}

/// A bar of what is left. It is empty only if nothing is left.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a percentage of a few characters"
)]
fn bar(left: f64, width: usize) -> String {
    let filled = ((left / 100.0 * width as f64).ceil() as usize).min(width);
    "█".repeat(filled) + &"░".repeat(width - filled)
}

fn colour(left: f64) -> fn(Style, &str) -> String {
    match left {
        left if left <= 10.0 => Style::red,
        left if left <= 25.0 => Style::yellow,
        _ => Style::green,
    }
}

/// What is left of the binding limit, in percent without a fraction; `?` if it is not known.
pub(crate) fn left(quota: &Quota) -> String {
    quota.left_percent().map_or("?".to_owned(), |left| format!("{left:.0}"))
}

fn notes(quota: &Quota, screen: &Screen) -> String {
    let name = &quota.profile;
    let mut text = String::new();
    let mut note = |detail: &str, hint: Option<&str>| {
        text += &format!("\n{} {}\n", screen.style.yellow("!"), line(detail));
        text += &hint.map(|hint| format!("  {}\n", line(hint))).unwrap_or_default();
    };
    if quota.limit_reached == Some(true) && !quota.stale {
        let kind = quota.reached_type.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        let has_credits =
            quota.credits.as_ref().is_some_and(|credits| credits.available || credits.unlimited);
        let then = if has_credits { "requests use credits now" } else { "the provider refuses requests" };
        note(&format!("\"{name}\" has reached its limit{kind}: {then}"), None);
    }
    if let Some(error) = &quota.error {
        let age = quota.as_of.map(|at| time::relative(at, screen.now));
        let of = match age {
            Some(age) if quota.stale => format!("the figures of \"{name}\" are from {age}: "),
            _ => String::new(),
        };
        note(&format!("{of}{}", error.detail), error.hint.as_deref());
    }
    text
}

#[cfg(test)]
mod tests;
