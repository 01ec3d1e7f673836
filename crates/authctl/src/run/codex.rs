//! `authctl import`, `export` and `codex`: the verbs that share a login with the Codex CLI.

use std::path::{Path, PathBuf};

use authd_api::{CodexBody, ErrorCode, ExportBody, ImportBody, LoginFile, LoginFileOutcome};

use super::{Ctl, within};
use crate::{
    cli::{CodexDeed, CodexHome, ProgramArg},
    failure::Failure,
    printable, show,
};

/// Takes over a login.
pub(super) async fn import(ctl: &Ctl, source: ProgramArg, path: Option<PathBuf>) -> Result<(), Failure> {
    let path = from_root(path.or_else(|| codex_home().map(|home| home.join("auth.json"))))?;
    let body = ImportBody { source: source.into(), path, profile: ctl.profile.clone() };
    let profile = within(ctl.client.import(&body)).await?;
    let who = printable::value(profile.email.as_deref().unwrap_or("a key"));
    let mode = show::mode(profile.mode);
    ctl.out.say(&format!("{who} is profile \"{}\" now, in {mode} mode; Codex goes on working", profile.name));
    if ctl.out.wants_json() { ctl.out.json(&profile) } else { Ok(()) }
}

/// Gives a login back.
pub(super) async fn export(ctl: &Ctl, target: ProgramArg, path: Option<PathBuf>) -> Result<(), Failure> {
    let path = from_root(path.or_else(|| codex_home().map(|home| home.join("auth.json"))))?;
    let body = ExportBody { target: target.into(), path };
    let given = within(ctl.client.export(ctl.profile.as_ref(), &body)).await?;
    ctl.out.say(&format!(
        "the login of \"{}\" is in {} now, and forgotten here",
        given.profile,
        given.path.display()
    ));
    if ctl.out.wants_json() { ctl.out.json(&given) } else { Ok(()) }
}

/// Supplies a home of Codex, or no more.
pub(super) async fn codex(ctl: &Ctl, deed: CodexDeed) -> Result<(), Failure> {
    let body = |CodexHome { home }: CodexHome| {
        Ok::<_, Failure>(CodexBody { home: from_root(home.or_else(codex_home))? })
    };
    let (file, words) = match deed {
        CodexDeed::Install(home) => {
            let file = within(ctl.client.install_codex(ctl.profile.as_ref(), &body(home)?)).await?;
            let words = format!(
                "Codex uses \"{}\" through {}, which authd keeps fresh",
                file.profile,
                file.path.display()
            );
            (file, words)
        }
        CodexDeed::Uninstall(home) => {
            let file = within(ctl.client.uninstall_codex(ctl.profile.as_ref(), &body(home)?)).await?;
            let words = uninstalled(&file);
            (file, words)
        }
    };
    ctl.out.say(&words);
    if ctl.out.wants_json() { ctl.out.json(&file) } else { Ok(()) }
}

/// What came of a home that is supplied no more.
fn uninstalled(file: &LoginFile) -> String {
    let path = file.path.display();
    match file.outcome {
        Some(LoginFileOutcome::Restored) => format!("{path} is as it was"),
        Some(LoginFileOutcome::Removed) => format!("there is no login in {path} any more"),
        Some(LoginFileOutcome::LeftAlone) => {
            format!("{path} is left as it is: somebody signed in to Codex there meanwhile")
        }
        Some(LoginFileOutcome::Unknown) | None => format!("{path} is not kept fresh any more"),
    }
}

/// The daemon works in another directory, so it is told paths from the root.
fn from_root(path: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = path else { return Ok(None) };
    std::path::absolute(&path)
        .map(Some)
        .map_err(|error| Failure::new(ErrorCode::BadRequest, format!("{}: {error}", path.display())))
}

/// Where Codex keeps its things, if this shell says so or has a home.
fn codex_home() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("CODEX_HOME").map(PathBuf::from).or_else(|| Some(Path::new(&set("HOME")?).join(".codex")))
}
