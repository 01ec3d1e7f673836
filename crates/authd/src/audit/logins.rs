//! Records the logins that have signed a user in.

use std::collections::VecDeque;

use authd_api::{AuditAction, LoginState};
use authd_broker::{ChangeEvent, Logins};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{log::AuditLog, usage::Usage};

/// How many recorded logins are remembered. More do not end between two events of one login.
const MOST_RECORDED: usize = 256;

/// Records each login that succeeds, with the process that started it, until `closing` and then the
/// ones of the events that have arrived.
pub(crate) async fn record_logins(
    log: AuditLog,
    mut events: Receiver<ChangeEvent>,
    logins: Logins,
    closing: CancellationToken,
) {
    let mut recorder = LoginRecorder { log, logins, recorded: VecDeque::new() };
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = closing.cancelled() => return,
        };
        match event {
            Ok(ChangeEvent::Login(id)) => recorder.look_at(id),
            Ok(
                ChangeEvent::Profile(_)
                | ChangeEvent::CodexHome(_)
                | ChangeEvent::Share(_)
                | ChangeEvent::Quota(_)
                | ChangeEvent::QuotaLow(..),
            ) => {}
            // A missed event may be about any login.
            Err(RecvError::Lagged(_)) => {
                recorder.log.remembered_logins().into_iter().for_each(|id| recorder.look_at(id));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

struct LoginRecorder {
    log: AuditLog,
    logins: Logins,
    /// The logins that were recorded last. Two events can arrive after the end of a login.
    recorded: VecDeque<String>,
}

impl LoginRecorder {
    /// Records a login if it has succeeded.
    fn look_at(&mut self, id: String) {
        let login = match self.logins.get(&id) {
            Ok(login) if !login.state.is_final() => return,
            login => login.ok(),
        };
        // A login of an earlier run of the daemon has none.
        let process = self.log.take_login(&id);
        let Some(login) = login.filter(|login| login.state == LoginState::Succeeded) else { return };
        if self.recorded.contains(&id) {
            return;
        }
        let (profile, generation) = match login.result {
            Some(result) => {
                let generation = result.view.snapshot().map(|snapshot| snapshot.credential.generation);
                (result.name, generation)
            }
            None => (login.profile, None),
        };
        let login = Some(id.as_str().into());
        let usage = Usage { generation, login, process, ..Usage::new(AuditAction::Login) };
        self.log.record(usage.of(&profile), None);
        self.recorded.truncate(MOST_RECORDED - 1);
        self.recorded.push_front(id);
    }
}
