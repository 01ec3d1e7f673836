//! Device login: the person types a code on any device, and the provider is asked until they are done.

use std::time::Duration;

use authd_api::{Flow, Login, LoginBody, LoginState, Problem, ProfileName};
use authd_oauth::{DevicePoll, DeviceStart, Exchange, LoginFailure, ProviderError, schedule::later};
use tokio::time::Instant;
use tracing::{Instrument, debug, info_span};

use super::{Entry, Logins, new_id};
use crate::{clock, reply, signin::Wish};

/// How long the provider's user codes last (protocol.md, section 9).
const LIFETIME: Duration = Duration::from_secs(15 * 60);

impl Logins {
    pub(super) async fn start_device(&self, body: LoginBody) -> Result<Login, Problem> {
        let settings = self.0.settings.borrow().clone();
        let profile = body.profile.unwrap_or_else(ProfileName::first);
        let start = self
            .0
            .endpoint
            .device_start()
            .await
            .map_err(|failure| reply::device_failed(&failure, &profile))?;
        let (now, deadline) = (clock::now(), Instant::now() + LIFETIME);
        let login = Login {
            id: new_id(),
            profile: profile.clone(),
            flow: Flow::Device,
            state: LoginState::Pending,
            authorize_url: None,
            open_url: None,
            redirect_uri: None,
            verification_url: Some(settings.provider.device_verification_url.clone()),
            user_code: Some(start.user_code.clone()),
            created_at: now,
            expires_at: later(now, LIFETIME),
            error: None,
            result: None,
        };
        let wish = Wish {
            mode: reply::mode_preference(body.mode, settings.mode),
            workspaces: self.workspaces(body.workspace.as_deref())?,
        };
        self.enter(Entry::new(login.clone(), body.replace, None, deadline), None);
        let (logins, id, replace) = (self.clone(), login.id.clone(), body.replace);
        let redirect_uri = settings.provider.device_redirect_uri.clone();
        let span = info_span!("login", %id);
        let asking = async move {
            // Only the asking is given up when the daemon stops: a code that is being redeemed is spent.
            let granted = tokio::select! {
                granted = logins.ask_until_granted(&id, start, redirect_uri, &profile, deadline) => granted,
                () = logins.0.stopping.cancelled() => return,
            };
            let outcome = match granted {
                Some(Ok(exchange)) if logins.claim(&id) => {
                    logins.sign_in(&id, exchange, &wish, profile, replace).await
                }
                Some(Err(problem)) => Err(problem),
                Some(Ok(_)) | None => return,
            };
            logins.end(&id, outcome);
        };
        self.0.tasks.spawn(asking.instrument(span));
        Ok(login)
    }

    /// Whether the login can still be redeemed; if so, nobody can call it off any more.
    fn claim(&self, id: &str) -> bool {
        let claimed = self.registry().logins.get(id).is_some_and(Entry::claim);
        if claimed {
            self.changed(id);
        }
        claimed
    }

    /// Asks until the person is done. None: the login is over already.
    async fn ask_until_granted(
        &self,
        id: &str,
        start: DeviceStart,
        redirect_uri: String,
        profile: &ProfileName,
        deadline: Instant,
    ) -> Option<Result<Exchange, Problem>> {
        let mut pause = start.interval;
        loop {
            let login = self.get(id).ok()?;
            if login.state.is_final() {
                return None;
            }
            if deadline <= Instant::now() {
                return Some(Err(reply::login_expired(profile)));
            }
            match self.0.endpoint.device_poll(&start).await {
                Ok(DevicePoll::Granted(code, verifier)) => {
                    return Some(Ok(Exchange { code, verifier, redirect_uri }));
                }
                Ok(DevicePoll::Pending) => {}
                Err(ProviderError::Rejected { code, .. }) => {
                    return Some(Err(reply::login_failed(&LoginFailure::Denied(code), profile)));
                }
                Err(failure) => {
                    debug!(%failure, "the provider did not answer the poll");
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }
}
