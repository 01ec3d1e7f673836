//! `authctl share`, `shares` and `unshare`.

use std::process;

use authd_api::{CreatedShare, ErrorCode, Shares};
use serde_json::json;

use crate::{
    child,
    cli::{ShareArgs, UnshareArgs},
    context::{Context, with_timeout},
    error::CliResult,
    render,
    screen::Screen,
};

pub(super) async fn share(ctx: &Context, args: ShareArgs) -> CliResult {
    let mut body = args.body();
    body.profile = ctx.profile_name(args.profile);
    if !args.command.is_empty() && body.label.is_none() {
        body.label =
            args.command.first().map(|program| program.to_string_lossy().chars().take(100).collect());
    }
    let created = with_timeout(ctx.client.create_share(&body)).await?;
    if args.command.is_empty() {
        return print(ctx, &created);
    }
    let mut command = process::Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    set_environment(&mut command, &created);
    let status = child::run(&mut command);
    // The share ends with its command, whether the command started or not.
    let ended = with_timeout(ctx.client.end_share(&created.share.id)).await;
    child::result(&args.command[0].to_string_lossy(), status)?;
    match ended {
        // The share has expired, or another command ended it.
        Err(error) if error.problem().is_some_and(|problem| problem.code == ErrorCode::ShareUnknown) => {
            Ok(())
        }
        ended => ended,
    }
}

/// What the holder needs, as text for a user.
fn print(ctx: &Context, created: &CreatedShare) -> CliResult {
    let share = &created.share;
    ctx.out.info(&format!(
        "\"{}\" is shared; the share ends {}, or with: authctl unshare {}",
        share.profile,
        Screen::stdout(ctx.out).time(share.expires_at),
        share.id
    ));
    ctx.out.result(created, || match (&created.key, &share.url, &share.socket) {
        (Some(key), Some(url), _) => format!("OPENAI_BASE_URL={url}\nOPENAI_API_KEY={key}\n"),
        (_, _, Some(socket)) => format!("AUTHD_SOCKET={socket}\n"),
        _ => String::new(),
    })
}

/// The variables that OpenAI's SDKs and the clients of authd read. Variables that would override
/// them are removed.
fn set_environment(command: &mut process::Command, created: &CreatedShare) {
    let share = &created.share;
    for name in
        ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "CHATGPT_ACCOUNT_ID", "AUTHD_SOCKET"]
    {
        command.env_remove(name);
    }
    if let (Some(key), Some(url)) = (&created.key, &share.url) {
        command.env("OPENAI_API_KEY", key).env("OPENAI_BASE_URL", url);
    }
    if let Some(socket) = &share.socket {
        command.env("AUTHD_SOCKET", socket);
    }
}

pub(super) async fn shares(ctx: &Context) -> CliResult {
    let shares: Shares = with_timeout(ctx.client.shares()).await?;
    ctx.out.result(&shares, || render::shares(&shares.shares, &Screen::stdout(ctx.out)))
}

pub(super) async fn unshare(ctx: &Context, args: UnshareArgs) -> CliResult {
    let ids = if args.all {
        with_timeout(ctx.client.shares()).await?.shares.into_iter().map(|share| share.id).collect()
    } else {
        args.ids
    };
    for id in &ids {
        with_timeout(ctx.client.end_share(id)).await?;
        ctx.out.info(&format!("share {id} has ended"));
    }
    if ctx.out.json { ctx.out.print_json(&json!({"ended": ids})) } else { Ok(()) }
}
