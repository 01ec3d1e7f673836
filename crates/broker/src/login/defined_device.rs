//! The device flow at a defined provider (RFC 8628).

use std::{sync::Arc, time::Duration};

use authd_api::{Flow, LoginBody};
use authd_oauth::{
    BearerResponse, DefinedDevicePoll, DefinedDeviceStart, ErrorCode, LoginFailure, OauthRequest,
    ProviderError, SignInClient, device_pause, schedule::later,
};
use tokio::time::Instant;
use tracing::{Instrument, debug, info_span};

use super::{
    defined::DefinedLogin, defined_exchange, error::LoginError, manager::Logins, pending::Entry,
    snapshot::LoginSnapshot,
};
use crate::clock;

/// Longest lifetime of a code that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);

impl Logins {
    pub(super) async fn start_defined_device(
        &self,
        login: DefinedLogin,
        body: LoginBody,
    ) -> Result<LoginSnapshot, LoginError> {
        let definition = self.definition(&login.provider).await?;
        // Nothing returns to the redirect URI, but a registration names it.
        let redirect = self.redirect_uri(&definition, true).await?;
        let client = self.plan(&login, definition, redirect.registered, Flow::Device).await?;
        let DefinedLogin { provider, profile, .. } = login;
        let url = client.plan.device_authorization_url.clone().ok_or(LoginError::NoDeviceFlow)?;
        let start = match self.0.deps.endpoint.start_defined_device(&client, &url).await {
            Ok(start) => start,
            Err(error) => {
                return Err(self.not_started(profile, &client, error, LoginError::DefinedDevice).await);
            }
        };
        let lifetime = start.expires_in.min(LONGEST_LIFETIME);
        let (now, deadline) = (clock::now(), Instant::now() + lifetime);
        let snapshot = LoginSnapshot {
            verification_url: Some(start.verification_url.clone()),
            verification_url_complete: start.verification_url_complete.clone(),
            user_code: Some(start.user_code.clone()),
            provider: Some(provider),
            issuer: client.plan.authority.issuer.clone(),
            ..LoginSnapshot::new(profile.clone(), Flow::Device, now, later(now, lifetime))
        };
        self.add(Entry::new(snapshot.clone(), body.replace, None, deadline), None);
        let (logins, id, client) = (self.clone(), snapshot.id.clone(), Arc::new(client));
        let span = info_span!("login", %id);
        let task = async move {
            // A shutdown cancels only the polls: tokens that have arrived are saved.
            let granted = tokio::select! {
                granted = logins.poll_defined(&id, &client, start, deadline) => granted,
                () = logins.0.deps.stopping.cancelled() => return,
            };
            let grant = match granted {
                Some(Ok(response)) if logins.claim(&id) => {
                    defined_exchange::grant(&logins.0.deps.endpoint, (*client).clone(), response).await
                }
                Some(Err(failure)) => Err(failure),
                Some(Ok(_)) | None => return,
            };
            let outcome = match grant {
                Ok(grant) => logins.save_grant(&id, grant, profile, body.replace).await,
                Err(LoginFailure::Expired) => Err(LoginError::Expired(profile)),
                Err(failure) => Err(LoginError::Rejected(profile, failure)),
            };
            logins.end(&id, outcome);
        };
        self.0.tasks.spawn(task.instrument(span));
        Ok(snapshot)
    }

    /// Polls until the user has finished. `None` if the login has ended already.
    async fn poll_defined(
        &self,
        id: &str,
        client: &SignInClient,
        start: DefinedDeviceStart,
        deadline: Instant,
    ) -> Option<Result<BearerResponse, LoginFailure>> {
        let mut pause = start.interval;
        loop {
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            if self.get(id).ok()?.state.is_final() {
                return None;
            }
            if deadline <= Instant::now() {
                return Some(Err(LoginFailure::Expired));
            }
            match self.0.deps.endpoint.poll_defined_device(client, &start, pause, clock::now).await {
                Ok(DefinedDevicePoll::Granted(response)) => return Some(Ok(*response)),
                Ok(DefinedDevicePoll::Pending(next)) => pause = next,
                Err(error @ ProviderError::Rejected { .. }) => {
                    return Some(Err(match error.code().map(ErrorCode::as_str) {
                        Some("expired_token") => LoginFailure::Expired,
                        Some("access_denied") => LoginFailure::Denied(ErrorCode::new("access_denied")),
                        _ => {
                            let request = OauthRequest::PollDevice;
                            defined_exchange::rejected(&self.0.deps.store, client, request, error).await
                        }
                    }));
                }
                Err(error) => {
                    debug!(%error, "device poll failed");
                    pause = device_pause(&error, pause);
                }
            }
        }
    }
}
