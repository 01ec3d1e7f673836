//! Executes the commands. Those with more code have a file each.

mod ask;
mod audit;
mod check;
mod codex;
mod doctor;
mod environment;
mod git_credential;
mod login;
mod mcp;
mod models;
mod providers;
mod quota;
mod service;
mod share;
mod status;
mod store;
mod watch;

use std::{path::Path, pin::Pin, time::Duration};

use authd_api::{ErrorCode, Headers, Problem, ProfileName, ProfilePatch, RefreshBody};
use serde_json::json;

use crate::{
    cli::{self, Cli, Command, CredentialArgs, LogoutArgs, ProfileArg, RefreshArgs, UseArgs},
    completions,
    context::{Context, with_timeout},
    error::{CliError, CliResult},
    launch, manual,
    output::Output,
    render,
    screen::Screen,
    selection::{ProfileFile, Selection},
};

/// How long `token` waits: programs end a token command that takes longer, Codex after 5 s.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(4);

/// How long `headers` waits: longer than the daemon waits for a refresh by default, so that the
/// daemon reports the cause.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(20);

/// Executes the command. The commands that programs run for a credential do without an async
/// runtime: its start and end would take longer than the request.
pub(crate) fn run(cli: Cli, out: Output) -> CliResult {
    cli::profile_option::check(&cli)?;
    let socket = cli.common.socket.clone();
    let selection = Selection::of(&cli, out)?;
    execute(cli, selection.clone(), out)
        .map_err(|error| selection.explain(error).or_start_hint(|| launch::start_hint(socket.as_deref())))
}

fn execute(cli: Cli, selection: Selection, out: Output) -> CliResult {
    let socket_from_args = cli.common.socket.is_some();
    let ctx = || Context::new(cli.common, selection, out);
    match cli.command {
        Command::Headers(args) => headers(&ctx()?, args),
        Command::Token(args) => token(&ctx()?, args),
        Command::Url(profile) => url(&ctx()?, profile),
        Command::Exec(args) if args.raw => environment::exec(&ctx()?, &args.command),
        Command::Exec(args) => block_on(Box::pin(share::exec(&ctx()?, &args))),
        Command::Env { profile, shell } => environment::print(&ctx()?, profile, shell),
        Command::Socket => socket(&ctx()?),
        Command::Login(args) => block_on(Box::pin(login::login(&ctx()?, args))),
        Command::Status(args) => block_on(Box::pin(status::status(&ctx()?, args))),
        Command::Logins => block_on(Box::pin(login::list(&ctx()?))),
        Command::Profiles => block_on(Box::pin(profiles(&ctx()?))),
        Command::Use(args) => block_on(Box::pin(use_profile(&ctx()?, &args))),
        Command::Rename { profile, new_name } => block_on(Box::pin(rename(&ctx()?, &profile, new_name))),
        Command::Refresh(args) => block_on(Box::pin(refresh(&ctx()?, args))),
        Command::Logout(args) => block_on(Box::pin(logout(&ctx()?, args))),
        Command::Ask(args) => block_on(Box::pin(ask::ask(&ctx()?, args))),
        Command::Import { source, path } => block_on(Box::pin(codex::import(&ctx()?, source, path))),
        Command::Export { target, path } => block_on(Box::pin(codex::export(&ctx()?, target, path))),
        Command::Codex(command) => block_on(Box::pin(codex::codex(&ctx()?, command))),
        Command::Audit(args) => block_on(Box::pin(audit::audit(&ctx()?, &args))),
        Command::Doctor => block_on(Box::pin(doctor::doctor(&ctx()?))),
        Command::Share(args) => block_on(Box::pin(share::share(&ctx()?, args))),
        Command::Providers(args) => block_on(Box::pin(providers::providers(&ctx()?, args))),
        Command::GitCredential(args) => block_on(Box::pin(git_credential::git_credential(&ctx()?, args))),
        Command::Mcp(command) => block_on(Box::pin(mcp::mcp(&ctx()?, command))),
        Command::Shares => block_on(Box::pin(share::shares(&ctx()?))),
        Command::Unshare(args) => block_on(Box::pin(share::unshare(&ctx()?, args))),
        Command::Store(command) => block_on(Box::pin(store::store(&ctx()?, command))),
        Command::Service(command) => block_on(Box::pin(service::service(socket_from_args, command, out))),
        Command::Quota(args) => block_on(Box::pin(quota::quota(&ctx()?, args))),
        Command::Check(profile) => block_on(Box::pin(check::check(&ctx()?, profile))),
        Command::Completions { shell } => out.write(completions::script(shell).as_bytes()),
        Command::Man { directory } => man(directory.as_deref(), out),
    }
}

/// Runs a future on this thread. It is boxed so that the runtime is compiled once, and not for each
/// command.
fn block_on(future: Pin<Box<dyn Future<Output = CliResult> + '_>>) -> CliResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::system(&error))?.block_on(future)
}

fn headers(ctx: &Context, args: CredentialArgs) -> CliResult {
    let headers = ctx.headers_in_time(args, HEADERS_TIMEOUT)?;
    ctx.out.result(&headers, || {
        headers.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    })
}

fn token(ctx: &Context, args: CredentialArgs) -> CliResult {
    let headers = ctx.headers_in_time(args, TOKEN_TIMEOUT)?;
    let token = environment::bearer_token(&headers)?;
    let Headers { profile, expires_at, generation, grant_id, .. } = &headers;
    let json = json!({"profile": profile, "token": token, "expires_at": expires_at,
        "generation": generation, "grant_id": grant_id});
    ctx.out.result(&json, || format!("{token}\n"))
}

fn url(ctx: &Context, profile: ProfileArg) -> CliResult {
    let Headers { profile, base_url, responses_url, .. } = ctx.headers(profile)?;
    if base_url.is_empty() {
        let detail = format!("the provider of profile \"{profile}\" has no base_url");
        let hint = format!("set base_url in its definition in authd.toml, then: authctl login {profile}");
        return Err(Problem::new(ErrorCode::Conflict, detail).hint(hint).into());
    }
    let json = json!({"profile": profile, "base_url": base_url, "responses_url": responses_url});
    ctx.out.result(&json, || format!("{base_url}\n"))
}

fn socket(ctx: &Context) -> CliResult {
    let socket = &ctx.paths.socket;
    if ctx.out.json {
        return ctx.out.print_json(&json!({"socket": socket}));
    }
    ctx.out.write(&[socket.as_os_str().as_encoded_bytes(), b"\n"].concat())
}

async fn profiles(ctx: &Context) -> CliResult {
    let profiles = with_timeout(ctx.client.profiles()).await?;
    ctx.out.result(&profiles, || {
        if ctx.out.quiet {
            profiles.profiles.iter().map(|profile| format!("{}\n", profile.name)).collect()
        } else {
            render::profiles(&profiles.profiles, &Screen::stdout(ctx.out))
        }
    })
}

async fn use_profile(ctx: &Context, args: &UseArgs) -> CliResult {
    let name = &args.profile;
    if args.here {
        return use_here(ctx, name).await;
    }
    let patch = ProfilePatch { default: Some(true), name: None };
    let profile = with_timeout(ctx.client.patch_profile(Some(name), &patch)).await?;
    ctx.out.done(&format!("\"{name}\" is the default profile now"), &profile)
}

/// Writes the file of the working directory, if the profile exists.
async fn use_here(ctx: &Context, name: &ProfileName) -> CliResult {
    let profile = with_timeout(ctx.client.profile(Some(name))).await?;
    let path = ProfileFile::write_here(name)?;
    let message = format!("\"{name}\" is the profile here and below; the name is in {}", path.display());
    ctx.out.done(&message, &profile)
}

async fn rename(ctx: &Context, name: &ProfileName, new_name: ProfileName) -> CliResult {
    let patch = ProfilePatch { default: None, name: Some(new_name) };
    let profile = with_timeout(ctx.client.patch_profile(Some(name), &patch)).await?;
    ctx.out.done(&format!("renamed \"{name}\" to \"{}\"", profile.name), &profile)
}

async fn refresh(ctx: &Context, args: RefreshArgs) -> CliResult {
    let name = ctx.profile_name(args.profile);
    let is_report = !args.missing_scopes.is_empty();
    let body = RefreshBody { missing_scopes: args.missing_scopes, ..RefreshBody::default() };
    let profile = with_timeout(ctx.client.refresh(name.as_ref(), &body)).await?;
    if is_report {
        let (name, scopes) = (&profile.name, profile.missing_scopes.join(" "));
        let message =
            format!("\"{name}\" needs a sign-in that requests: {scopes}\nrun: authctl login {name}");
        return ctx.out.done(&message, &profile);
    }
    let screen = Screen::stdout(ctx.out);
    let expiry = profile.expires_at.map(|at| format!("; its token expires {}", screen.time(at)));
    ctx.out.done(&format!("refreshed \"{}\"{}", profile.name, expiry.unwrap_or_default()), &profile)
}

/// With `--all` it continues after an error. The first error ends the program, further ones are
/// printed.
async fn logout(ctx: &Context, args: LogoutArgs) -> CliResult {
    let names: Vec<ProfileName> = if args.all {
        with_timeout(ctx.client.profiles()).await?.profiles.into_iter().map(|profile| profile.name).collect()
    } else {
        vec![with_timeout(ctx.client.profile(ctx.profile_name(args.profile).as_ref())).await?.name]
    };
    if args.revoke {
        ctx.out.info("Revoking the login. The provider may end sessions on other machines, too.");
    }
    let mut signed_out = Vec::new();
    let mut first_error = None;
    for name in names {
        match with_timeout(ctx.client.delete_profile(Some(&name), args.revoke)).await {
            Ok(()) => {
                let revoked = if args.revoke { " and revoked" } else { "" };
                ctx.out.info(&format!("\"{name}\" is signed out{revoked}"));
                signed_out.push(name);
            }
            Err(error) => ctx.keep_first(&mut first_error, error),
        }
    }
    ctx.tell_missing_default().await;
    match first_error {
        Some(error) => Err(error),
        None if ctx.out.json => ctx.out.print_json(&json!({"signed_out": signed_out})),
        None => Ok(()),
    }
}

fn man(directory: Option<&Path>, out: Output) -> CliResult {
    let Some(directory) = directory else {
        return out.write(&manual::main_page().map_err(|error| CliError::system(&error))?);
    };
    std::fs::create_dir_all(directory).and_then(|()| manual::write_all(directory)).map_err(|error| {
        CliError::new(ErrorCode::BadRequest, format!("cannot write {}: {error}", directory.display()))
    })?;
    out.info(&format!("the manual pages are in {}", directory.display()));
    Ok(())
}
