//! What is said of a login that could not be shared with Codex.

use std::path::Path;

use authd_api::{ErrorCode, Problem};

use super::{keeper_failed, no_credential, stopping, store_failed};
use crate::{clock, codex::CodexFailure};

/// A login that was neither taken from Codex, nor given to it, nor kept there.
pub(crate) fn codex_failed(error: &CodexFailure) -> Problem {
    let bad = |detail: String| Problem::new(ErrorCode::BadRequest, detail);
    let conflict = |detail: String| Problem::new(ErrorCode::Conflict, detail);
    match error {
        CodexFailure::NoHome => bad("this user has no home directory".to_owned()).hint("name the path"),
        CodexFailure::Relative(path) => bad(format!("{} is not a path from the root", path.display())),
        CodexFailure::File(path, error) => bad(with_path(path, &error.to_string()))
            .hint("name the file that Codex keeps its login in, usually ~/.codex/auth.json"),
        CodexFailure::Homes(error) => {
            Problem::new(ErrorCode::StoreUnavailable, format!("the list of Codex homes: {error}"))
                .hint("mend what it says; authd goes on by itself")
        }
        CodexFailure::Interrupted(home) => {
            conflict(format!("what was begun with {} is not finished yet", home.display()))
                .hint("try again in a moment; authd's log says what keeps it")
        }
        CodexFailure::Login(path, error) => bad(format!("{}: {error}", path.display())),
        CodexFailure::Nobody(path) => {
            bad(format!("nobody is signed in to Codex in {}", path.display())).hint("run: authctl login")
        }
        CodexFailure::External(path) => {
            conflict(format!("the login in {} is kept by somebody else already", path.display()))
        }
        CodexFailure::Already(name) => conflict(format!("the same person is signed in here as \"{name}\""))
            .hint(format!("to let Codex use that: authctl codex install -p {name}"))
            .about(name),
        CodexFailure::Unusable(path, facts) => {
            let problem = no_credential(facts, clock::now());
            let detail = format!("the login in {} was not taken over: {}", path.display(), problem.detail);
            Problem { detail, ..problem }
        }
        CodexFailure::NotSupplied(home) => {
            conflict(format!("authd does not keep {} supplied", home.display()))
        }
        CodexFailure::Taken(path, name) => conflict(format!(
            "the login that was in {} is authd's now, so there is nothing to restore",
            path.display()
        ))
        .hint(format!("to give it back: authctl export codex -p {name}")),
        CodexFailure::Occupied(path) => {
            conflict(format!("there is a login in {} already, which would be lost", path.display()))
                .hint("move it away, or name another file: authctl export codex --path FILE")
        }
        CodexFailure::Unrestored(home) => {
            conflict(format!("what was in {} before is kept sealed, and would be lost", home.display()))
                .hint(format!("first restore it: authctl codex uninstall --home {}", home.display()))
        }
        CodexFailure::NoWorkspace(name) => {
            conflict(format!("profile \"{name}\" has no workspace id, and Codex needs one"))
        }
        CodexFailure::Keeper(name, error) => keeper_failed(error, name),
        CodexFailure::Store(error) => store_failed(error),
        CodexFailure::Gone => stopping(),
    }
}

/// An error's text, which may name the path already.
fn with_path(path: &Path, error: &str) -> String {
    let path = path.display().to_string();
    if error.contains(&path) { error.to_owned() } else { format!("{path}: {error}") }
}
