//! `authctl status`.

mod changes;
mod waybar;

use std::io::IsTerminal;

use authd_api::ProfileName;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use self::changes::Snapshot;
use super::watch::{CLEAR_SCREEN, Changes, Wake, wait_for_restart};
use crate::{
    cli::{FormatArg, StatusArgs},
    context::Context,
    error::CliResult,
    render,
    screen::Screen,
    time,
};

/// One line of `--watch --json`.
#[derive(Serialize)]
struct Update<'a> {
    /// The time of the update.
    at: Timestamp,
    /// What has changed since the last line, in words for users.
    changes: &'a [String],
    #[serde(flatten)]
    snapshot: &'a Snapshot,
}

pub(super) async fn status(ctx: &Context, args: StatusArgs) -> CliResult {
    // The profile of the directory is one of the list, and no reason to hide the others.
    let name = args.profile.name.as_ref().or(ctx.selection.explicit());
    if let Some(FormatArg::Waybar) = args.format {
        return waybar::print(ctx, name, args.watch).await;
    }
    let snapshot = Snapshot::read(ctx, name).await?;
    if args.watch {
        return watch(ctx, name, snapshot).await;
    }
    ctx.out.result(&snapshot, || text(ctx, &snapshot))
}

fn text(ctx: &Context, snapshot: &Snapshot) -> String {
    let Snapshot { daemon, profiles, codex_homes, selection } = snapshot;
    let status = render::status(daemon, &profiles.profiles, selection, &Screen::stdout(ctx.out));
    status + &render::codex_warnings(codex_homes, ctx.out.stdout_style)
}

/// Prints the status, and again after each change.
async fn watch(ctx: &Context, name: Option<&ProfileName>, snapshot: Snapshot) -> CliResult {
    let mut watch = Watch { ctx, is_terminal: std::io::stdout().is_terminal(), snapshot };
    watch.print(&[])?;
    let mut changes = Changes::default();
    loop {
        if changes.next(ctx).await == Wake::Stopped {
            wait_for_restart(ctx).await;
        }
        watch.update(Snapshot::read(ctx, name).await?)?;
    }
}

/// The state that was shown last.
struct Watch<'a> {
    ctx: &'a Context,
    is_terminal: bool,
    snapshot: Snapshot,
}

impl Watch<'_> {
    /// Shows a new state. Without a change only a terminal is updated.
    fn update(&mut self, snapshot: Snapshot) -> CliResult {
        let changes = changes::between(&self.snapshot, &snapshot);
        self.snapshot = snapshot;
        let shows_times = self.is_terminal && !self.ctx.out.json;
        if changes.is_empty() && !shows_times { Ok(()) } else { self.print(&changes) }
    }

    fn print(&self, changes: &[String]) -> CliResult {
        let (out, at) = (self.ctx.out, time::now());
        if out.json {
            return out.print_json_line(&Update { at, changes, snapshot: &self.snapshot });
        }
        if self.is_terminal {
            out.write(CLEAR_SCREEN)?;
        }
        let clock = time::clock_time_with_seconds(at, &TimeZone::system());
        let changes: String = changes.iter().map(|change| format!("{clock}  {change}\n")).collect();
        let heading = if changes.is_empty() { format!("{clock}\n") } else { changes };
        out.print(&format!("{heading}{}\n", text(self.ctx, &self.snapshot)))
    }
}
