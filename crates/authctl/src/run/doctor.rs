//! `authctl doctor`: prints the findings of the daemon, and those about the daemon itself.

use std::{io, os::unix::fs::MetadataExt, path::Path};

use authd_api::{ErrorCode, Finding, FindingState, Status};
use serde_json::json;

use crate::context::{Context, with_timeout};
use crate::{
    error::{CliError, CliResult, OWN_SOCKET},
    launch, owned_file, render,
};

/// Prints all findings. The exit code is the one of the unreachable daemon, else of the first
/// failed check.
pub(super) async fn doctor(ctx: &Context) -> CliResult {
    let mut findings = vec![check_socket(&ctx.paths.socket), check_service()];
    let exit_code = match with_timeout(ctx.client.status()).await {
        Ok(status) => {
            findings.push(check_version(&status));
            findings.extend(with_timeout(ctx.client.diagnosis()).await?.findings);
            let failed = findings.iter().find(|finding| finding.state == FindingState::Failed);
            failed.map(|failed| failed.code.unwrap_or(ErrorCode::Internal).exit_code())
        }
        Err(error) => {
            let Some(problem) = error.problem() else { return Err(error) };
            let socket = ctx.socket_from_args.then_some(ctx.paths.socket.as_path());
            let hint = problem.hint.clone().unwrap_or_else(|| launch::start_hint(socket));
            findings.push(Finding::failed("daemon", problem.detail.clone(), problem.code).remedy(&hint));
            Some(problem.code.exit_code())
        }
    };
    ctx.out.result(&json!({"findings": findings}), || render::findings(&findings, ctx.out.stdout_style))?;
    exit_code.map_or(Ok(()), |code| Err(CliError::Reported(code)))
}

fn check_version(daemon: &Status) -> Finding {
    let (version, own) = (&daemon.version, env!("CARGO_PKG_VERSION"));
    if version == own {
        Finding::ok("daemon", format!("version {version}, process {}", daemon.pid))
    } else {
        let detail = format!("authd has version {version}, and authctl {own}");
        Finding::warning("daemon", detail).remedy("restart authd")
    }
}

/// The socket must exist, belong to this user and be private.
fn check_socket(path: &Path) -> Finding {
    let shown = path.display();
    let warning = |detail| Finding::warning("socket", detail);
    match std::fs::metadata(path) {
        Ok(socket) if socket.uid() != rustix::process::geteuid().as_raw() => {
            let detail = format!("{shown} belongs to another user (uid {})", socket.uid());
            Finding::failed("socket", detail, ErrorCode::Forbidden).remedy(OWN_SOCKET)
        }
        Ok(socket) if socket.mode() & 0o077 != 0 => warning(format!("{shown} is open to other users"))
            .remedy("restart authd, which makes its socket private; that of a share is open on purpose"),
        Ok(_) => match path.parent().map(|directory| owned_file::check_own_directory(directory, 0o022)) {
            Some(Err(error)) => warning(format!("{shown}: {error}"))
                .remedy("run chmod 700 on the directory, or put the socket into a directory of your own"),
            Some(Ok(())) | None => Finding::ok("socket", shown.to_string()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            warning(format!("{shown} does not exist")).remedy("the daemon creates it; see below")
        }
        Err(error) => {
            Finding::failed("socket", format!("{shown}: {error}"), ErrorCode::Forbidden).remedy(OWN_SOCKET)
        }
    }
}

fn check_service() -> Finding {
    let detail = match launch::installed_unit() {
        Some(unit) => format!("{unit} is installed"),
        None => "not installed; authctl login starts authd when it does not run, \
                 authctl service install keeps it running"
            .to_owned(),
    };
    Finding::ok("service", detail)
}
