//! The commands that hints name.

use authd_api::ProfileName;
use authd_broker::ProfileSnapshot;
use authd_oauth::Mode;

/// The hint if the cause is not known.
pub(super) const DOCTOR: &str = "run: authctl doctor";

/// The command that signs in to a profile.
pub(super) fn login_command(name: &ProfileName) -> String {
    format!("run: authctl login {name}")
}

/// The command that gives a profile another credential: a sign-in, or one more of the user's own.
pub(super) fn sign_in_command(snapshot: &ProfileSnapshot) -> String {
    let command = login_command(&snapshot.name);
    match (snapshot.is_own_credential(), snapshot.mode()) {
        (false, _) => command,
        (true, Mode::ApiKey) => format!("{command} --with-api-key < FILE"),
        (true, Mode::ChatGpt | Mode::Bearer) => format!("{command} --with-token < FILE"),
    }
}

/// The command that deletes a profile on this machine only.
pub(super) fn forget_command(name: &ProfileName) -> String {
    format!("to delete it only on this machine: authctl logout {name}")
}
