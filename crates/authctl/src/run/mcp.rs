//! `authctl mcp`.

use authd_api::{ErrorCode, Profile, Provider, ProviderDefinedIn};
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{
        LoginArgs, ProfileArg,
        mcp::{McpAddArgs, McpCommand},
    },
    context::{Context, with_timeout},
    error::{CliError, CliResult},
    render,
    run::login,
    screen::Screen,
};

/// An MCP server, as `mcp list --json` prints it.
#[derive(Serialize)]
struct Server<'a> {
    #[serde(flatten)]
    provider: &'a Provider,
    /// The names of its profiles.
    profiles: Vec<&'a str>,
}

pub(super) async fn mcp(ctx: &Context, command: McpCommand) -> CliResult {
    match command {
        McpCommand::Add(args) => add(ctx, args).await,
        McpCommand::List => list(ctx).await,
        McpCommand::Remove { name } => remove(ctx, name.as_str()).await,
    }
}

async fn list(ctx: &Context) -> CliResult {
    let providers = with_timeout(ctx.client.providers()).await?.providers;
    let profiles = with_timeout(ctx.client.profiles()).await?.profiles;
    let is_server =
        |provider: &&Provider| provider.mcp.is_some() || provider.defined_in == ProviderDefinedIn::Added;
    let servers: Vec<_> =
        providers.iter().filter(is_server).map(|provider| (provider, users(&profiles, provider))).collect();
    let json = servers.iter().map(|(provider, users)| Server {
        provider,
        profiles: users.iter().map(|profile| profile.name.as_str()).collect(),
    });
    let json = json!({"servers": json.collect::<Vec<_>>()});
    ctx.out.result(&json, || render::mcp_servers(&servers, &Screen::stdout(ctx.out)))
}

/// The profiles of a provider. A definition that is not used has none.
fn users<'a>(profiles: &'a [Profile], provider: &Provider) -> Vec<&'a Profile> {
    let is_user = |profile: &&Profile| profile.provider.as_ref() == Some(&provider.name);
    if provider.error.is_some() { Vec::new() } else { profiles.iter().filter(is_user).collect() }
}

/// Signs out of every profile of the server, and removes its definition. A profile that cannot be
/// revoked stays, and the definition with it.
async fn remove(ctx: &Context, name: &str) -> CliResult {
    let providers = with_timeout(ctx.client.providers()).await?.providers;
    let profiles = with_timeout(ctx.client.profiles()).await?.profiles;
    let added = providers.iter().filter(|one| one.defined_in == ProviderDefinedIn::Added);
    let users: Vec<_> =
        added.filter(|one| one.name == name).flat_map(|provider| users(&profiles, provider)).collect();
    let names: Vec<&str> = users.iter().map(|profile| profile.name.as_str()).collect();
    if !names.is_empty() {
        ctx.out.info(&format!("signing out of {name}, as profile {}", names.join(", ")));
    }
    for profile in &users {
        with_timeout(ctx.client.delete_profile(Some(&profile.name), true)).await?;
        ctx.out.info(&format!("\"{}\" is signed out", profile.name));
    }
    with_timeout(ctx.client.delete_provider(name)).await?;
    if !names.is_empty() {
        ctx.tell_missing_default().await;
    }
    ctx.out.done(&format!("\"{name}\" is removed"), &json!({"removed": name, "signed_out": names}))
}

/// Adds the definition, signs in as `login` does, and says how to use the sign-in. If the sign-in
/// fails, the definition stays.
async fn add(ctx: &Context, args: McpAddArgs) -> CliResult {
    let unusable = |error| {
        CliError::new(
            ErrorCode::BadRequest,
            format!("the path of --client-secret-file cannot be used: {error}"),
        )
    };
    let (name, body) = (args.name.clone(), args.body().map_err(unusable)?);
    ctx.send_or_start(|| ctx.client.put_provider(name.as_str(), &body)).await?;
    ctx.out.info(&format!("\"{name}\" is the MCP server {}", body.mcp));
    // The profile has the name of the server, whatever the environment says.
    let login = LoginArgs {
        provider: Some(name.to_string()),
        profile: ProfileArg { name: Some(name.clone()) },
        no_browser: args.no_browser,
        ..LoginArgs::default()
    };
    match login::login(ctx, login).await {
        Ok(()) => {
            ctx.out.info(&render::mcp_usage(name.as_str(), &body.mcp));
            Ok(())
        }
        Err(error) => Err(stays_defined(ctx, error, name.as_str())),
    }
}

/// The error of a sign-in, with what the user can do about the definition, which stays.
fn stays_defined(ctx: &Context, error: CliError, name: &str) -> CliError {
    let again =
        format!("to try again: authctl login --provider {name}; to remove it: authctl mcp remove {name}");
    match error {
        CliError::Problem(problem) => {
            let hint = problem.hint.as_ref().map(|hint| format!("{hint}; {again}"));
            problem.hint(hint.unwrap_or(again)).into()
        }
        error => {
            ctx.out.info(&again);
            error
        }
    }
}
