//! Maps the errors of Codex homes to problems.

use std::{io, path::Path};

use authd_api::{ErrorCode, Problem};
use authd_broker::{CodexHomeError, now};
use authd_oauth::CodexError;

use super::{no_credential, registry, stopping, store};

/// A login that was not imported from Codex, exported to it, or kept up to date in its home.
pub(in crate::http) fn codex_home(error: &CodexHomeError) -> Problem {
    let conflict = |detail: String| Problem::new(ErrorCode::Conflict, detail);
    match error {
        CodexHomeError::NoHome => {
            conflict("this user has no home directory".to_owned()).hint("name the path")
        }
        CodexHomeError::Relative(path) => {
            let detail = format!("{} is not an absolute path", path.display());
            Problem::new(ErrorCode::BadRequest, detail)
        }
        CodexHomeError::File(path, error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            let directory = path.parent().unwrap_or(path).display();
            conflict(with_path(path, &error.to_string())).hint(format!(
                "if the service's unit forbids it: systemctl --user edit authd, with \
                 ReadWritePaths={directory} below [Service], then: systemctl --user restart authd"
            ))
        }
        CodexHomeError::File(path, error) => conflict(with_path(path, &error.to_string()))
            .hint("name the file of Codex's login, usually ~/.codex/auth.json"),
        CodexHomeError::HomeMissing(home) => {
            let home = home.display();
            conflict(format!("the Codex home {home} does not exist")).hint(format!(
                "make it: mkdir -p {home}; or, if authd manages it: authctl codex uninstall --home {home}"
            ))
        }
        CodexHomeError::Locked(lock) => {
            conflict(format!("another program holds the lock {}", lock.display()))
                .hint("Codex is changing this login; try again when it is done")
                .retry_after(1)
        }
        CodexHomeError::HardLinked(path, links) => {
            let path = path.display();
            conflict(format!(
                "{path} has {links} names (hard links), and the others would keep the old login"
            ))
            .hint(format!("replace the other names by symbolic links; to find them: find ~ -samefile {path}"))
        }
        CodexHomeError::ReadOnly(path) => conflict(format!("{} is read-only", path.display()))
            .hint(format!("if authd may write it: chmod u+w {}", path.display())),
        CodexHomeError::Homes(error) => Problem::new(
            ErrorCode::StoreUnavailable,
            format!("the list of Codex homes cannot be read or written: {error}"),
        )
        .hint("fix the named cause; authd continues by itself"),
        CodexHomeError::Interrupted(home) => {
            conflict(format!("an earlier change of {} is not finished", home.display()))
                .hint("try again in a moment; authd's log names the cause")
        }
        CodexHomeError::Login(path, error) => {
            let problem = conflict(format!("{}: {error}", path.display()));
            match error {
                CodexError::Unknown(kind) if kind == "personalAccessToken" => {
                    problem.hint("give the token itself to authd: authctl login --with-token < FILE")
                }
                _ => problem,
            }
        }
        CodexHomeError::NotSignedIn(path) => {
            conflict(format!("{} holds no Codex login", path.display())).hint("run: authctl login")
        }
        CodexHomeError::External(path) => {
            conflict(format!("another program owns the login in {}", path.display()))
        }
        CodexHomeError::AlreadySignedIn(name) => {
            conflict(format!("the same user is signed in as \"{name}\""))
                .hint(format!("to let Codex use that profile: authctl codex install -p {name}"))
                .about(name)
        }
        CodexHomeError::Unusable(path, snapshot) => {
            let problem = no_credential(snapshot, now());
            let detail = format!("the login in {} was not imported: {}", path.display(), problem.detail);
            Problem { detail, ..problem }
        }
        CodexHomeError::NotManaged(home) => conflict(format!("authd does not manage {}", home.display())),
        CodexHomeError::Taken(path, name) => {
            let path = path.display();
            conflict(format!("the login of {path} became profile \"{name}\", so there is nothing to restore"))
                .hint(format!("to export it again: authctl export codex -p {name}"))
        }
        CodexHomeError::Occupied(path) => {
            conflict(format!("{} holds a login, which would be lost", path.display()))
                .hint("move it away, or name another file: authctl export codex --path FILE")
        }
        CodexHomeError::Unrestored(home) => {
            let home = home.display();
            conflict(format!("the earlier login of {home} is in the store and would be lost"))
                .hint(format!("first restore it: authctl codex uninstall --home {home}"))
        }
        CodexHomeError::NoWorkspace(name) => {
            conflict(format!("profile \"{name}\" has no workspace id, which Codex needs"))
        }
        CodexHomeError::OtherProvider(name) => {
            conflict(format!("profile \"{name}\" is not of OpenAI, and Codex has no use for its token"))
                .hint("name a profile of OpenAI with -p; list them: authctl profiles")
                .about(name)
        }
        CodexHomeError::Registry(name, error) => registry(error, name),
        CodexHomeError::Store(error) => store(error),
        CodexHomeError::Stopping => stopping(),
    }
}

/// The text of an error, with the path unless it contains the path already.
fn with_path(path: &Path, error: &str) -> String {
    let path = path.display().to_string();
    if error.contains(&path) { error.to_owned() } else { format!("{path}: {error}") }
}
