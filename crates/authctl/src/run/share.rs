//! `authctl share`, `exec`, `shares` and `unshare`.

mod command;

use authd_api::{CreatedShare, ErrorCode, ShareBody, Shares};
use serde_json::json;

use crate::{
    cli::{ExecArgs, ShareArgs, UnshareArgs},
    context::{Context, with_timeout},
    error::{CliError, CliResult},
    render,
    screen::Screen,
};

pub(super) async fn share(ctx: &Context, args: ShareArgs) -> CliResult {
    let body = ShareBody { profile: ctx.profile_name(args.profile.clone()), ..args.body() };
    if args.command.is_empty() {
        return print(ctx, &with_timeout(ctx.client.create_share(&body)).await?).await;
    }
    command::run(ctx, body, &args.command, None).await
}

/// Runs a command with a loopback share of the profile.
pub(super) async fn exec(ctx: &Context, args: &ExecArgs) -> CliResult {
    let body = ShareBody { profile: ctx.profile().cloned(), ..args.body() };
    let result = command::run(ctx, body, &args.command, Some(&ctx.paths.socket)).await;
    result.map_err(|error| match error {
        CliError::Problem(problem) if problem.code == ErrorCode::Conflict && problem.hint.is_none() => {
            problem.hint("fix the named cause, or run the command without a share: authctl exec --raw").into()
        }
        error => error,
    })
}

/// What the holder needs, as text for a user: variables of the OpenAI SDKs, or a URL and a header,
/// which fit every provider. The key is printed in any case: nothing else has it.
async fn print(ctx: &Context, created: &CreatedShare) -> CliResult {
    let share = &created.share;
    let profile = with_timeout(ctx.client.profile(Some(&share.profile))).await;
    let is_openai = profile.is_ok_and(|profile| profile.provider.is_none());
    ctx.out.info(&format!(
        "\"{}\" is shared; the share ends {}, or with: authctl unshare {}",
        share.profile,
        Screen::stdout(ctx.out).time(share.expires_at),
        share.id
    ));
    ctx.out.result(created, || match (&created.key, &share.url, &share.socket) {
        (Some(key), Some(url), _) if is_openai => {
            format!("OPENAI_BASE_URL={url}\nOPENAI_API_KEY={key}\n")
        }
        (Some(key), Some(url), _) => format!("{url}\nAuthorization: Bearer {key}\n"),
        (_, _, Some(socket)) => format!("AUTHD_SOCKET={socket}\n"),
        _ => String::new(),
    })
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
    let (mut ended, mut failed) = (Vec::new(), None);
    for id in ids {
        match with_timeout(ctx.client.end_share(&id)).await {
            Ok(()) => {
                ctx.out.info(&format!("share {id} has ended"));
                ended.push(id);
            }
            // It has ended since it was listed.
            Err(CliError::Problem(problem)) if args.all && problem.code == ErrorCode::ShareUnknown => {}
            // The other shares end all the same.
            Err(error) => ctx.keep_first(&mut failed, error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if ctx.out.json => ctx.out.print_json(&json!({"ended": ended})),
        None => {
            if ended.is_empty() {
                ctx.out.info("nothing is shared");
            }
            Ok(())
        }
    }
}
