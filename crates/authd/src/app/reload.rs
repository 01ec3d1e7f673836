//! Reloads the configuration.

use std::{sync::Arc, time::Duration};

use authd_broker::{LoginSettings, ProviderDefinitions, RenderContext};
use authd_oauth::{Endpoint, Network, NetworkError, Provider};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    config::{AuditConfig, CallbackConfig, Config, Source},
    http::RequestSettings,
    platform::{notify_reloaded, notify_reloading},
    relay::Relay,
    telemetry::Telemetry,
};

/// Replaces the settings that can change while the daemon runs.
pub(super) struct Reload {
    source: Source,
    telemetry: Telemetry,
    endpoint: Endpoint,
    relay: Relay,
    /// As of the start: the endpoints were created with it.
    provider: Provider,
    /// As of the start: the callback server was created with it.
    callback: CallbackConfig,
    /// The longest time of a call to the provider, if claims of a fleet are held for it.
    claimed_timeout: Option<Duration>,
    render_context: watch::Sender<Arc<RenderContext>>,
    logins: watch::Sender<Arc<LoginSettings>>,
    providers: watch::Sender<Arc<ProviderDefinitions>>,
    requests: watch::Sender<RequestSettings>,
    quota_low: watch::Sender<u8>,
    audit: watch::Sender<AuditConfig>,
}

/// The receivers of the reloadable settings.
pub(super) struct Settings {
    pub(super) render_context: watch::Receiver<Arc<RenderContext>>,
    pub(super) logins: watch::Receiver<Arc<LoginSettings>>,
    pub(super) providers: watch::Receiver<Arc<ProviderDefinitions>>,
    pub(super) requests: watch::Receiver<RequestSettings>,
    pub(super) quota_low: watch::Receiver<u8>,
    pub(super) audit: watch::Receiver<AuditConfig>,
}

impl Reload {
    pub(super) fn new(
        source: Source,
        telemetry: Telemetry,
        (endpoint, relay): (Endpoint, Relay),
        config: &Config,
        has_fleet: bool,
    ) -> (Self, Settings) {
        let (render_context, render_context_receiver) = watch::channel(Arc::new(render_context(config, 0)));
        let (logins, logins_receiver) = watch::channel(Arc::new(login_settings(config)));
        let (providers, providers_receiver) = watch::channel(config.providers.clone());
        let (requests, requests_receiver) = watch::channel(request_settings(config));
        let (quota_low, quota_low_receiver) = watch::channel(config.quota.low);
        let (audit, audit_receiver) = watch::channel(config.audit.clone());
        let settings = Settings {
            render_context: render_context_receiver,
            logins: logins_receiver,
            providers: providers_receiver,
            requests: requests_receiver,
            quota_low: quota_low_receiver,
            audit: audit_receiver,
        };
        let (provider, callback) = (config.provider.clone(), config.callback.clone());
        let reload = Self {
            source,
            telemetry,
            endpoint,
            relay,
            provider,
            callback,
            claimed_timeout: has_fleet.then_some(config.network.timeout),
            render_context,
            logins,
            providers,
            requests,
            quota_low,
            audit,
        };
        (reload, settings)
    }

    /// Reads the configuration again and applies what a running daemon can apply. An invalid file
    /// changes nothing.
    pub(super) async fn run(&self) {
        notify_reloading();
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&source)).await;
        match read.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())) {
            Ok(config) => {
                if let Err(error) = self.apply(config) {
                    error!(%error, "configuration not reloaded");
                }
            }
            Err(error) => error!(%error, "configuration not reloaded"),
        }
        notify_reloaded();
    }

    /// Applies a configuration, unless its network settings cannot be used. The HTTP clients are
    /// made anew even if nothing has changed there: the CA certificates may have.
    fn apply(&self, read: Config) -> Result<(), NetworkError> {
        let timeout = within_claim(read.network.timeout, self.claimed_timeout);
        if timeout < read.network.timeout {
            warn!(?timeout, "a longer network.timeout takes effect at the next start");
        }
        let network = Network { timeout, ..read.network.clone() };
        self.endpoint.reload(read.client.clone(), network)?;
        self.relay.reload(read.network.clone())?;
        let CallbackConfig { login_lifetime, .. } = read.callback;
        let callback = CallbackConfig { login_lifetime, ..self.callback.clone() };
        let config = Config { provider: self.provider.clone(), callback, ..read };
        self.telemetry.reload(&config.log);
        self.render_context.send_if_modified(|current| {
            let new = render_context(&config, current.revision);
            let changed = **current != new;
            if changed {
                *current = Arc::new(RenderContext { revision: current.revision + 1, ..new });
            }
            changed
        });
        self.logins.send_replace(Arc::new(login_settings(&config)));
        self.providers.send_replace(config.providers.clone());
        self.requests.send_replace(request_settings(&config));
        self.quota_low.send_replace(config.quota.low);
        self.audit.send_replace(config.audit.clone());
        info!(
            "reloaded; provider, callback server, store, socket, metrics and hooks take effect at the next start"
        );
        Ok(())
    }
}

/// The time limit of a call to the provider. A claim of the fleet must outlive the call: another
/// node may send the refresh token after the claim.
fn within_claim(configured: Duration, claimed: Option<Duration>) -> Duration {
    claimed.map_or(configured, |claimed| configured.min(claimed))
}

fn render_context(config: &Config, revision: u32) -> RenderContext {
    RenderContext {
        revision,
        provider: config.provider.clone(),
        client: config.client.clone(),
        override_client: config.override_client,
        organization: config.organization.clone(),
        project: config.project.clone(),
    }
}

fn login_settings(config: &Config) -> LoginSettings {
    LoginSettings {
        lifetime: config.callback.login_lifetime,
        mode: config.login.mode,
        workspaces: config.login.workspaces.clone(),
        ports: config.callback.ports.clone(),
        provider: config.provider.clone(),
    }
}

fn request_settings(config: &Config) -> RequestSettings {
    RequestSettings {
        min_ttl: config.refresh.min_ttl,
        wait: config.refresh.wait,
        model: config.model.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_to_the_provider_ends_before_the_claim_of_its_token() {
        let [short, long] = [10, 60].map(Duration::from_secs);
        assert_eq!(within_claim(long, Some(short)), short);
        assert_eq!(within_claim(short, Some(long)), short);
        assert_eq!(within_claim(long, None), long);
    }
}
