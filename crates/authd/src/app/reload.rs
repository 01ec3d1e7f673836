//! What a reload takes over, and what it leaves as it was.

use std::sync::Arc;

use authd_oauth::Provider;
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    config::{Callback, Config, Source},
    facts::Rendering,
    logins::Settings,
    notify,
    server::Limits,
    telemetry::Telemetry,
};

/// The parts of the configuration that a reload replaces, each where its reader watches it.
pub(super) struct Reloadable {
    source: Source,
    telemetry: Telemetry,
    /// As it was at the start: what speaks to the provider was made with it.
    provider: Provider,
    callback: Callback,
    rendering: watch::Sender<Arc<Rendering>>,
    settings: watch::Sender<Arc<Settings>>,
    limits: watch::Sender<Limits>,
}

impl Reloadable {
    #[expect(clippy::type_complexity, reason = "three channels, taken apart where it is called")]
    pub(super) fn new(
        source: Source,
        telemetry: Telemetry,
        config: &Config,
    ) -> (Self, watch::Receiver<Arc<Rendering>>, watch::Receiver<Arc<Settings>>, watch::Receiver<Limits>)
    {
        let (rendering, seen_rendering) = watch::channel(Arc::new(rendering(config, 0)));
        let (settings, seen_settings) = watch::channel(Arc::new(settings(config)));
        let (limits, seen_limits) = watch::channel(limits(config));
        let (provider, callback) = (config.provider.clone(), config.callback.clone());
        let reloadable = Self { source, telemetry, provider, callback, rendering, settings, limits };
        (reloadable, seen_rendering, seen_settings, seen_limits)
    }

    /// Takes over what a running daemon can take over. A file that cannot be used changes nothing.
    pub(super) async fn reload(&self) {
        notify::reloading();
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&source)).await;
        match read.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())) {
            Ok(read) => {
                let Callback { login_lifetime, .. } = read.callback;
                let callback = Callback { login_lifetime, ..self.callback.clone() };
                let config = Config { provider: self.provider.clone(), callback, ..read };
                self.telemetry.reload(&config.log);
                self.rendering.send_if_modified(|now| {
                    let read = rendering(&config, now.revision);
                    let changed = **now != read;
                    if changed {
                        *now = Arc::new(Rendering { revision: now.revision + 1, ..read });
                    }
                    changed
                });
                self.settings.send_replace(Arc::new(settings(&config)));
                self.limits.send_replace(limits(&config));
                info!(
                    "reloaded; provider, ports, store, network, the socket's bounds and hooks take effect at \
                     the next start"
                );
            }
            Err(error) => error!(%error, "the configuration was not reloaded"),
        }
        notify::reloaded();
    }
}

fn rendering(config: &Config, revision: u32) -> Rendering {
    Rendering {
        revision,
        provider: config.provider.clone(),
        client: config.client.clone(),
        organization: config.organization.clone(),
        project: config.project.clone(),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        lifetime: config.callback.login_lifetime,
        mode: config.login.mode,
        workspaces: config.login.workspaces.clone(),
        first_port: config.callback.ports.first().copied().unwrap_or_default(),
        provider: config.provider.clone(),
    }
}

fn limits(config: &Config) -> Limits {
    Limits { min_ttl: config.refresh.min_ttl, patience: config.refresh.wait, model: config.model.clone() }
}
