//! `authctl status`.

use std::{io::IsTerminal, time::Duration};

use authd_api::{ErrorCode, Problem, ProfileName, Profiles, Status, route};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::json;

use crate::context::{Context, with_timeout};
use crate::{cli::StatusArgs, error::CliResult, render, time};

/// Clears the screen and moves to its top.
const CLEAR_SCREEN: &[u8] = b"\x1b[2J\x1b[H";

/// Events within this time cause one update.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The time between updates without an event: the relative times change.
const UPDATE_INTERVAL: Duration = Duration::from_secs(30);

/// The pause between two attempts to reach a daemon that stopped.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn status(ctx: &Context, args: StatusArgs) -> CliResult {
    let name = ctx.profile_name(args.profile);
    print(ctx, name.as_ref(), None).await?;
    if args.watch { watch(ctx, name.as_ref()).await } else { Ok(()) }
}

/// Prints the status after a separator.
async fn print(ctx: &Context, name: Option<&ProfileName>, separator: Option<&[u8]>) -> CliResult {
    let daemon: Status = with_timeout(ctx.client.status()).await?;
    let mut profiles: Profiles = with_timeout(ctx.client.profiles()).await?;
    if let Some(name) = name {
        profiles.profiles.retain(|profile| profile.name == *name);
        if profiles.profiles.is_empty() {
            let detail = format!("there is no profile \"{name}\"");
            let problem = Problem::new(ErrorCode::ProfileUnknown, detail).about(name);
            return Err(problem.hint(format!("run: authctl login {name}")).into());
        }
    }
    // While the daemon cannot read the list, `authctl doctor` and `authctl codex status` say why.
    let mut homes = with_timeout(ctx.client.codex_homes()).await.map(|list| list.homes).unwrap_or_default();
    homes.retain(|home| name.is_none_or(|name| home.profile == *name));
    if ctx.out.json {
        return ctx.out.print_json(&json!({"daemon": daemon, "profiles": profiles, "codex_homes": homes}));
    }
    ctx.out.write(separator.unwrap_or_default())?;
    let style = ctx.out.stdout_style;
    let status = render::status(&daemon, &profiles.profiles, time::now(), style);
    ctx.out.print(&(status + &render::codex_warnings(&homes, style)))
}

/// Prints the status after each event. The events only trigger the update: it reads the state
/// again.
async fn watch(ctx: &Context, name: Option<&ProfileName>) -> CliResult {
    let is_terminal = std::io::stdout().is_terminal();
    let separator = if is_terminal { CLEAR_SCREEN } else { b"\n" };
    let update = || print(ctx, name, Some(separator));
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
                        update().await?;
                    }
                    Ok(_) => is_open = false,
                    Err(_) if is_terminal => update().await?,
                    Err(_) => {}
                }
            }
        }
        ctx.out.info("authd stopped; waiting for it to start again");
        while with_timeout(ctx.client.status()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        update().await?;
    }
}
