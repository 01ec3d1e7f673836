//! `authctl doctor`: what could keep things from working, a line each with its remedy. What only the
//! daemon can see, it is asked; what it cannot say of itself, is looked at here.

use std::{os::unix::fs::MetadataExt, path::Path};

use authd_api::{ErrorCode, Finding, FindingState};
use serde_json::json;

use super::{Ctl, within};
use crate::{failure::Failure, private, show, start};

/// Looks at everything, and fails as the first thing that does.
pub(super) async fn doctor(ctl: &Ctl) -> Result<(), Failure> {
    let mut findings = vec![socket(&ctl.paths.socket), service()];
    let daemon = within(ctl.client.status()).await;
    let absent = match &daemon {
        Ok(status) if status.version == env!("CARGO_PKG_VERSION") => {
            findings.push(found(
                "daemon",
                FindingState::Ok,
                format!("version {}, process {}", status.version, status.pid),
            ));
            None
        }
        Ok(status) => {
            let detail =
                format!("authd has version {}, and authctl {}", status.version, env!("CARGO_PKG_VERSION"));
            findings.push(found("daemon", FindingState::Warning, detail).remedy("restart authd"));
            None
        }
        Err(failure) => failure.problem().cloned(),
    };
    if let Some(problem) = absent {
        let finding = found("daemon", FindingState::Failed, problem.detail.clone());
        findings.push(finding.remedy(problem.hint.as_deref().unwrap_or("start it: authd &")));
        tell(ctl, &findings)?;
        return Err(Failure::Told(problem.code.exit_code()));
    }
    findings.extend(within(ctl.client.diagnosis()).await?.findings);
    tell(ctl, &findings)?;
    match findings.iter().find(|finding| finding.state == FindingState::Failed) {
        None => Ok(()),
        Some(failed) => Err(Failure::Told(failed.code.unwrap_or(ErrorCode::Internal).exit_code())),
    }
}

fn tell(ctl: &Ctl, findings: &[Finding]) -> Result<(), Failure> {
    if ctl.out.wants_json() {
        return ctl.out.json(&json!({"findings": findings}));
    }
    ctl.out.answer(&show::findings(findings, ctl.out.paint()))
}

/// The socket must be there, ours, and private.
fn socket(path: &Path) -> Finding {
    let shown = path.display();
    let own = rustix::process::geteuid().as_raw();
    match std::fs::metadata(path) {
        Ok(there) if there.uid() != own => {
            let detail = format!("{shown} belongs to another user (uid {})", there.uid());
            let finding = found("socket", FindingState::Failed, detail);
            Finding { code: Some(ErrorCode::Forbidden), ..finding }
                .remedy("name the socket of your own daemon with --socket or AUTHD_SOCKET")
        }
        Ok(there) if there.mode() & 0o077 != 0 => {
            found("socket", FindingState::Warning, format!("{shown} is open to other users"))
                .remedy("restart authd; it makes its socket private")
        }
        Ok(_) => {
            match path.parent().map_or(Ok(()), |directory| private::check_own_directory(directory, 0o022)) {
                Ok(()) => found("socket", FindingState::Ok, shown.to_string()),
                Err(error) => found("socket", FindingState::Warning, format!("{shown}: {error}"))
                    .remedy("have the socket in a directory of your own: chmod 700 it, or name another"),
            }
        }
        Err(error) => found("socket", FindingState::Warning, format!("{shown}: {error}"))
            .remedy("no daemon has made it; see below"),
    }
}

fn service() -> Finding {
    match start::installed_unit() {
        Some(unit) => found("service", FindingState::Ok, format!("{unit} is installed")),
        None => found(
            "service",
            FindingState::Ok,
            "not installed; authctl login starts authd when it is needed, authctl service install for good"
                .to_owned(),
        ),
    }
}

fn found(check: &str, state: FindingState, detail: String) -> Finding {
    Finding { check: check.to_owned(), state, detail, remedy: None, code: None }
}
