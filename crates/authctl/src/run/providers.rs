//! `authctl providers`.

use authd_api::{ErrorCode, ProviderCheckBody};

use crate::{
    cli::{ProvidersArgs, ProvidersCommand},
    context::{Context, with_timeout},
    error::{CliError, CliResult},
    render,
    screen::Screen,
};

pub(super) async fn providers(ctx: &Context, args: ProvidersArgs) -> CliResult {
    match args.command {
        None => {
            let providers = with_timeout(ctx.client.providers()).await?;
            ctx.out.result(&providers, || render::providers(&providers.providers, &Screen::stdout(ctx.out)))
        }
        Some(ProvidersCommand::Check { provider }) => check(ctx, provider).await,
    }
}

/// Prints what the provider offers. A failed discovery has the exit code of a provider's error.
async fn check(ctx: &Context, provider: String) -> CliResult {
    let check = with_timeout(ctx.client.check_provider(&ProviderCheckBody { provider })).await?;
    // A failed check shows them in any case.
    if check.ok {
        ctx.out.verbose(render::discovery_requests(&check).trim_end());
    }
    ctx.out.result(&check, || render::provider_check(&check, &Screen::stdout(ctx.out)))?;
    if check.ok { Ok(()) } else { Err(CliError::Reported(ErrorCode::ProviderRefused.exit_code())) }
}
