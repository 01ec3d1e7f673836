//! Device login (docs/protocol.md, section 9): the user enters a code on any device, and the daemon
//! polls the provider.

use std::time::Duration;

use authd_api::{Flow, LoginBody, ProfileName};
use authd_oauth::{DevicePoll, DeviceStart, Exchange, LoginFailure, ProviderError, schedule::later};
use tokio::time::Instant;
use tracing::{Instrument, debug, info_span};

use super::{
    code_exchange::LoginPreferences, error::LoginError, manager::Logins, pending::Entry,
    snapshot::LoginSnapshot,
};
use crate::clock;

/// Lifetime of the provider's user codes (docs/protocol.md, section 9).
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Longest wait between two polls while the provider fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Logins {
    pub(super) async fn start_device(&self, body: LoginBody) -> Result<LoginSnapshot, LoginError> {
        let settings = self.0.settings.borrow().clone();
        let profile = body.profile.unwrap_or_else(ProfileName::first);
        let start = self.0.deps.endpoint.device_start().await;
        let start = start.map_err(|error| LoginError::Device(profile.clone(), error))?;
        let (now, deadline) = (clock::now(), Instant::now() + LIFETIME);
        let login = LoginSnapshot {
            verification_url: Some(settings.provider.device_verification_url.clone()),
            user_code: Some(start.user_code.clone()),
            ..LoginSnapshot::new(profile.clone(), Flow::Device, now, later(now, LIFETIME))
        };
        let preferences = LoginPreferences {
            profile: profile.clone(),
            replace: body.replace,
            mode: settings.mode(body.mode),
            workspaces: self.0.settings.borrow().workspaces(body.workspace.as_deref())?,
        };
        self.add(Entry::new(login.clone(), body.replace, None, deadline), None);
        let (logins, id) = (self.clone(), login.id.clone());
        let redirect_uri = settings.provider.device_redirect_uri.clone();
        let span = info_span!("login", %id);
        let task = async move {
            // A shutdown cancels only the polls: a code that is being exchanged is spent.
            let granted = tokio::select! {
                granted = logins.poll_until_granted(&id, start, redirect_uri, &profile, deadline) => granted,
                () = logins.0.deps.stopping.cancelled() => return,
            };
            let outcome = match granted {
                Some(Ok(exchange)) if logins.claim(&id) => logins.sign_in(&id, exchange, preferences).await,
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => return,
            };
            logins.end(&id, outcome);
        };
        self.0.tasks.spawn(task.instrument(span));
        Ok(login)
    }

    /// Starts the exchange if the login is still pending. Returns whether it did.
    fn claim(&self, id: &str) -> bool {
        let claimed = self.logins().entries.get(id).is_some_and(Entry::claim);
        if claimed {
            self.publish_change(id);
        }
        claimed
    }

    /// Polls until the user has finished. `None` if the login has ended already.
    async fn poll_until_granted(
        &self,
        id: &str,
        start: DeviceStart,
        redirect_uri: String,
        profile: &ProfileName,
        deadline: Instant,
    ) -> Option<Result<Exchange, LoginError>> {
        let mut pause = start.interval;
        loop {
            if self.get(id).ok()?.state.is_final() {
                return None;
            }
            if deadline <= Instant::now() {
                return Some(Err(LoginError::Expired(profile.clone())));
            }
            match self.0.deps.endpoint.device_poll(&start).await {
                Ok(DevicePoll::Granted(code, verifier)) => {
                    return Some(Ok(Exchange { code, verifier, redirect_uri }));
                }
                Ok(DevicePoll::Pending) => {}
                Err(ProviderError::Rejected { code, .. }) => {
                    return Some(Err(LoginError::Rejected(profile.clone(), LoginFailure::Denied(code))));
                }
                Err(error) => {
                    debug!(%error, "device poll failed");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }
}
