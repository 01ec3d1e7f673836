//! Device login (docs/protocol.md, section 9): the user enters a code on any device, and the daemon
//! polls the provider.

use std::time::Duration;

use authd_api::{Flow, LoginBody, ProfileName};
use authd_oauth::{
    DevicePoll, DeviceStart, Exchange, LoginFailure, ProviderError, device_pause,
    schedule::{later, lifetime},
};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{Instrument, debug, info_span};

use super::{
    code_exchange::LoginPreferences, error::LoginError, manager::Logins, pending::Entry,
    snapshot::LoginSnapshot,
};
use crate::clock;

/// Lifetime of a user code for which the provider states none (docs/protocol.md, section 9).
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Longest lifetime that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long the start of a login is repeated while the provider limits the rate. The client waits
/// for it.
const START_TIME: Duration = Duration::from_secs(60);

/// The pause before the first repetition is twice this, if the provider names none.
const START_PAUSE: Duration = Duration::from_secs(1);

impl Logins {
    pub(super) async fn start_device(&self, body: LoginBody) -> Result<LoginSnapshot, LoginError> {
        let settings = self.0.settings.borrow().clone();
        let profile = body.profile.unwrap_or_else(ProfileName::first);
        let start = self.request_code().await;
        let start = start.map_err(|error| LoginError::Device(profile.clone(), error))?;
        let now = clock::now();
        let lifetime = code_lifetime(&start, now);
        let deadline = Instant::now() + lifetime;
        let login = LoginSnapshot {
            verification_url: Some(settings.provider.device_verification_url.clone()),
            user_code: Some(start.user_code.clone()),
            ..LoginSnapshot::new(profile.clone(), Flow::Device, now, later(now, lifetime))
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

    /// Requests a user code. While the provider limits the rate, the request is repeated.
    async fn request_code(&self) -> Result<DeviceStart, ProviderError> {
        let deadline = Instant::now() + START_TIME;
        let mut pause = START_PAUSE;
        loop {
            let result = self.0.deps.endpoint.device_start().await;
            let Err(error @ ProviderError::Unavailable { status: 429, .. }) = result else { return result };
            pause = device_pause(&error, pause);
            if Instant::now() + pause > deadline {
                return Err(error);
            }
            debug!(%error, ?pause, "device login not started; retrying");
            tokio::time::sleep(pause).await;
        }
    }

    /// Starts the exchange if the login is still pending. Returns whether it did.
    pub(super) fn claim(&self, id: &str) -> bool {
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
                    return Some(Ok(Exchange { code, verifier, redirect_uri, defined: None }));
                }
                Ok(DevicePoll::Pending) => pause = start.interval,
                Err(ProviderError::Rejected { code, .. }) => {
                    return Some(Err(LoginError::Rejected(profile.clone(), LoginFailure::Denied(code))));
                }
                Err(error) => {
                    debug!(%error, "device poll failed");
                    pause = device_pause(&error, pause);
                }
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }
}

/// How long the user has: as the provider states, if that is plausible.
fn code_lifetime(start: &DeviceStart, now: Timestamp) -> Duration {
    let stated = start.expires_at.map(|expires_at| lifetime(now, expires_at));
    stated.filter(|stated| !stated.is_zero() && *stated <= LONGEST_LIFETIME).unwrap_or(LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_of_a_code_is_the_stated_one_if_it_is_plausible() {
        let now: Timestamp = "2026-06-22T17:00:00Z".parse().unwrap();
        for (stated, minutes) in [
            (None, 15),
            (Some("2026-06-22T17:12:00+00:00"), 12),
            (Some("2026-06-22T16:59:00Z"), 15),
            (Some("2026-06-23T17:00:00Z"), 15),
        ] {
            let start = DeviceStart {
                id: String::new(),
                user_code: String::new(),
                interval: Duration::ZERO,
                expires_at: stated.map(|stated| stated.parse().unwrap()),
            };
            assert_eq!(code_lifetime(&start, now), Duration::from_secs(minutes * 60), "{stated:?}");
        }
    }
}
