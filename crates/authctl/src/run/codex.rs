//! `authctl import`, `export` and `codex`: a login shared with the Codex CLI.

use std::path::PathBuf;

use authd_api::{CodexBody, ErrorCode, ExportBody, ImportBody, LoginFile, LoginFileOutcome};

use crate::context::{Context, with_timeout};
use crate::{
    cli::{CodexCommand, CodexHome, ProgramArg},
    env,
    error::{CliError, CliResult},
    render, sanitize,
    screen::Screen,
};

pub(super) async fn import(ctx: &Context, source: ProgramArg, path: Option<PathBuf>) -> CliResult {
    let body = ImportBody { source: source.into(), path: login_file(path)?, profile: ctx.profile().cloned() };
    let profile = with_timeout(ctx.client.import(&body)).await?;
    let account = sanitize::line(profile.email.as_deref().unwrap_or("the API key"));
    let (name, mode) = (&profile.name, render::mode(profile.mode));
    let message = format!("{account} is profile \"{name}\" now, in {mode} mode; Codex continues to work");
    ctx.out.done(&message, &profile)
}

pub(super) async fn export(ctx: &Context, target: ProgramArg, path: Option<PathBuf>) -> CliResult {
    let body = ExportBody { target: target.into(), path: login_file(path)? };
    let file = with_timeout(ctx.client.export(ctx.profile(), &body)).await?;
    let message = format!("moved the login of \"{}\" to {}", file.profile, file.path.display());
    ctx.out.done(&message, &file)?;
    ctx.tell_missing_default().await;
    Ok(())
}

pub(super) async fn codex(ctx: &Context, command: CodexCommand) -> CliResult {
    let body = |CodexHome { home }: CodexHome| {
        CliResult::Ok(CodexBody { home: absolute(home.or_else(codex_home))? })
    };
    match command {
        CodexCommand::Install(home) => {
            let file = with_timeout(ctx.client.install_codex(ctx.profile(), &body(home)?)).await?;
            let (name, path) = (&file.profile, file.path.display());
            ctx.out.done(&format!("Codex uses \"{name}\" through {path}, which authd keeps fresh"), &file)
        }
        CodexCommand::Uninstall(home) => {
            let file = with_timeout(ctx.client.uninstall_codex(ctx.profile(), &body(home)?)).await?;
            ctx.out.done(&uninstalled(&file), &file)
        }
        CodexCommand::Status => {
            let homes = with_timeout(ctx.client.codex_homes()).await?;
            if ctx.out.json {
                return ctx.out.print_json(&homes);
            }
            ctx.out.print(&render::codex_homes(&homes.homes, &Screen::stdout(ctx.out)))
        }
    }
}

fn uninstalled(file: &LoginFile) -> String {
    let path = file.path.display();
    match file.outcome {
        Some(LoginFileOutcome::Restored) => format!("restored {path}"),
        Some(LoginFileOutcome::Removed) => format!("removed the login from {path}"),
        Some(LoginFileOutcome::LeftAlone) => {
            format!("{path} is left as it is: it has a newer login that Codex made")
        }
        Some(LoginFileOutcome::Unknown) | None => format!("authd does not update {path} any more"),
    }
}

fn login_file(path: Option<PathBuf>) -> CliResult<Option<PathBuf>> {
    absolute(path.or_else(|| codex_home().map(|home| home.join("auth.json"))))
}

/// The daemon has another working directory, so it needs absolute paths.
fn absolute(path: Option<PathBuf>) -> CliResult<Option<PathBuf>> {
    let Some(path) = path else { return Ok(None) };
    std::path::absolute(&path)
        .map(Some)
        .map_err(|error| CliError::new(ErrorCode::BadRequest, format!("{}: {error}", path.display())))
}

fn codex_home() -> Option<PathBuf> {
    env::path("CODEX_HOME").or_else(|| env::path("HOME").map(|home| home.join(".codex")))
}
