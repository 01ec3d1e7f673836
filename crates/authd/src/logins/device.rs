//! Device login: the person types a code on any device, and the provider is asked until they are done.

use std::time::Duration;

use authd_api::{Flow, Login, LoginBody, LoginState, Problem, ProfileName};
use authd_oauth::{DevicePoll, DeviceStart, Exchange, Failure, LoginFailure, schedule::later};
use tracing::{Instrument, debug, info_span};

use super::{Entry, Logins, new_id};
use crate::{clock, keeper::SignIn, reply, signin, signin::Wish};

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
        let now = clock::now();
        let login = Login {
            id: new_id(),
            profile: profile.clone(),
            flow: Flow::Device,
            state: LoginState::Pending,
            authorize_url: None,
            redirect_uri: None,
            verification_url: Some(settings.provider.device_verification_url.clone()),
            user_code: Some(start.user_code.clone()),
            created_at: now,
            expires_at: later(now, LIFETIME),
            error: None,
            result: None,
        };
        let wish = Wish {
            mode: reply::mode_wish(body.mode, settings.mode),
            workspaces: body
                .workspace
                .map_or_else(|| settings.workspaces.clone(), |workspace| vec![workspace]),
        };
        self.enter(Entry::new(login.clone(), body.replace, None), None);
        let (logins, id, replace) = (self.clone(), login.id.clone(), body.replace);
        let redirect_uri = settings.provider.device_redirect_uri.clone();
        let span = info_span!("login", %id);
        let asking = async move {
            let outcome = tokio::select! {
                outcome = logins.ask_until_done(&id, start, redirect_uri, wish, profile, replace) => outcome,
                () = logins.0.stopping.cancelled() => return,
            };
            if let Some(outcome) = outcome {
                logins.end(&id, outcome);
            }
        };
        self.0.tasks.spawn(asking.instrument(span));
        Ok(login)
    }

    /// Asks until the person is done. None: the login is over already.
    async fn ask_until_done(
        &self,
        id: &str,
        start: DeviceStart,
        redirect_uri: String,
        wish: Wish,
        profile: ProfileName,
        replace: bool,
    ) -> Option<Result<ProfileName, Problem>> {
        let mut pause = start.interval;
        let exchange = loop {
            let login = self.get(id).ok()?;
            if login.state.is_final() {
                return None;
            }
            if login.expires_at <= clock::now() {
                return Some(Err(reply::login_expired(&profile)));
            }
            match self.0.endpoint.device_poll(&start).await {
                Ok(DevicePoll::Granted(code, verifier)) => break Exchange { code, verifier, redirect_uri },
                Ok(DevicePoll::Pending) => {}
                Err(Failure::Refused { code, .. }) => {
                    return Some(Err(reply::login_failed(&LoginFailure::Denied(code), &profile)));
                }
                Err(failure) => {
                    debug!(%failure, "the provider did not answer the poll");
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
            tokio::time::sleep(pause).await;
        };
        let grant = match signin::redeem(&self.0.endpoint, exchange, &wish).await {
            Ok(grant) => grant,
            Err(failure) => return Some(Err(reply::login_failed(&failure, &profile))),
        };
        let sign_in = SignIn { wanted: profile.clone(), replace, elsewhere: true, grant };
        Some(self.0.keeper.sign_in(sign_in).await.map_err(|error| reply::keeper_failed(&error, &profile)))
    }
}
