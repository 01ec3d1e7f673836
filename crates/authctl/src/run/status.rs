//! `authctl status`.

mod changes;

use std::{io::IsTerminal, time::Duration};

use authd_api::{ProfileName, Profiles, Status, StoreState, route};
use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use self::changes::Snapshot;
use crate::context::{Context, with_timeout};
use crate::{cli::StatusArgs, error::CliResult, render, sanitize::line, screen::Screen, time};

/// Clears the screen and moves to its top.
const CLEAR_SCREEN: &[u8] = b"\x1b[2J\x1b[H";

/// Events within this time cause one update.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The time between updates without an event: the relative times change.
const UPDATE_INTERVAL: Duration = Duration::from_secs(30);

/// The pause between two attempts to reach a daemon that stopped.
const PAUSE: Duration = Duration::from_secs(1);

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
    let name = ctx.profile_name(args.profile);
    let snapshot = read(ctx, name.as_ref()).await?;
    if args.watch {
        return watch(ctx, name.as_ref(), snapshot).await;
    }
    ctx.out.result(&snapshot, || text(ctx, &snapshot))
}

async fn read(ctx: &Context, name: Option<&ProfileName>) -> CliResult<Snapshot> {
    let daemon: Status = with_timeout(ctx.client.status()).await?;
    let mut profiles: Profiles = with_timeout(ctx.client.profiles()).await?;
    if let Some(name) = name {
        profiles.profiles.retain(|profile| profile.name == *name);
        if profiles.profiles.is_empty() {
            // The daemon's own error names the profiles that there are.
            profiles.profiles.push(with_timeout(ctx.client.profile(Some(name))).await?);
        }
    }
    // While the daemon cannot read the list, `authctl doctor` and `authctl codex status` say why.
    let mut homes = with_timeout(ctx.client.codex_homes()).await.map(|list| list.homes).unwrap_or_default();
    homes.retain(|home| name.is_none_or(|name| home.profile == *name));
    let failure = daemon.store.detail.as_ref().filter(|_| daemon.store.state != StoreState::Ready);
    if let Some(cause) = failure.or(daemon.store.fallback.as_ref()) {
        ctx.out.verbose(&format!("store: {}", line(cause)));
    }
    Ok(Snapshot { daemon, profiles, codex_homes: homes })
}

fn text(ctx: &Context, snapshot: &Snapshot) -> String {
    let Snapshot { daemon, profiles, codex_homes } = snapshot;
    let status = render::status(daemon, &profiles.profiles, &Screen::stdout(ctx.out));
    status + &render::codex_warnings(codex_homes, ctx.out.stdout_style)
}

/// Prints the status, and again after each change. The events only trigger the update: it reads the
/// state again.
async fn watch(ctx: &Context, name: Option<&ProfileName>, snapshot: Snapshot) -> CliResult {
    let mut watch = Watch { ctx, is_terminal: std::io::stdout().is_terminal(), snapshot };
    watch.print(&[])?;
    loop {
        let headers = HeaderMap::new();
        let stream = ctx.client.stream(Method::GET, route::EVENTS, &headers, Bytes::new());
        if let Ok(mut stream) = with_timeout(stream).await {
            // The first events report the state that is shown already.
            let mut is_open = tokio::time::timeout(PAUSE, stream.chunk()).await.is_ok();
            while is_open {
                match tokio::time::timeout(UPDATE_INTERVAL, stream.chunk()).await {
                    Ok(Ok(Some(_))) => {
                        while let Ok(Ok(Some(_))) = tokio::time::timeout(DEBOUNCE, stream.chunk()).await {}
                        watch.update(read(ctx, name).await?)?;
                    }
                    Ok(_) => is_open = false,
                    Err(_) => watch.update(read(ctx, name).await?)?,
                }
            }
        }
        ctx.out.info("authd stopped; waiting for it to start again");
        while with_timeout(ctx.client.status()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        watch.update(read(ctx, name).await?)?;
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
