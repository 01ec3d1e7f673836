//! The configuration as written: one struct a section, every key with its default beside it. What the
//! values mean is decided in `meant`, and nowhere else.

use std::{path::PathBuf, time::Duration};

use authd_oauth::{ClientIdentity, ModeWish, Network, Provider};
use jiff::{SignedDuration, Span};
use serde::Deserialize;

use super::{Callback, Config, Log, Login, Refresh, Socket, Store, machine};

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Plain under journald, which knows the time itself; else with the time.
    #[default]
    Auto,
    /// Without the time.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Declares a section: its keys, their types and their defaults.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "snake_case")]
        pub(super) struct $name { $(pub(super) $key: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }
    };
}

section!(
    /// The whole file.
    Written {
        provider: ProviderSection = ProviderSection::default(),
        client: ClientSection = ClientSection::default(),
        callback: CallbackSection = CallbackSection::default(),
        login: LoginSection = LoginSection::default(),
        refresh: RefreshSection = RefreshSection::default(),
        store: StoreSection = StoreSection::default(),
        network: NetworkSection = NetworkSection::default(),
        socket: SocketSection = SocketSection::default(),
        log: LogSection = LogSection::default(),
    }
);

section!(ProviderSection {
    issuer: String = Provider::openai().issuer,
    client_id: String = Provider::openai().client_id,
    scopes: Vec<String> = Provider::openai().scopes,
    redirect_host: String = Provider::openai().redirect_host,
    chatgpt_base_url: String = Provider::openai().chatgpt_base_url,
    chatgpt_backend_url: String = Provider::openai().chatgpt_backend_url,
    api_base_url: String = Provider::openai().api_base_url,
    authorize_url: Option<String> = None,
    token_url: Option<String> = None,
    revoke_url: Option<String> = None,
    device_usercode_url: Option<String> = None,
    device_token_url: Option<String> = None,
    device_verification_url: Option<String> = None,
    device_redirect_uri: Option<String> = None,
});

section!(ClientSection {
    originator: String = "codex_cli_rs".to_owned(),
    version: String = "0.34.0".to_owned(),
    user_agent: Option<String> = None,
    organization: Option<String> = None,
    project: Option<String> = None,
});

section!(CallbackSection {
    ports: Vec<u16> = vec![1455, 1457],
    yield_for: String = "3m".to_owned(),
    login_lifetime: String = "10m".to_owned(),
});

section!(LoginSection { mode: ModeWish = ModeWish::Auto, workspaces: Vec<String> = Vec::new() });

section!(RefreshSection { min_ttl: String = "60s".to_owned(), wait: String = "15s".to_owned() });

section!(StoreSection {
    kind: authd_store::Wish = authd_store::Wish::Auto,
    deadline: String = "2s".to_owned(),
    service: String = "authd".to_owned(),
    passphrase_file: Option<PathBuf> = None,
    key_file: Option<PathBuf> = None,
    memory_control: Option<PathBuf> = None,
});

section!(NetworkSection {
    proxy: Option<String> = None,
    ca_file: Option<PathBuf> = None,
    connect_timeout: String = "10s".to_owned(),
    timeout: String = "30s".to_owned(),
});

section!(SocketSection { max_connections: usize = 4096, header_timeout: String = "60s".to_owned() });

section!(LogSection { filter: String = "info".to_owned(), format: LogFormat = LogFormat::Auto });

impl Written {
    /// The text as written; an error names the line and the key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// What is meant, or the first value that cannot be.
    pub(super) fn meant(self) -> Result<Config, String> {
        let provider = self.provider.meant(&self.client)?;
        let (organization, project) = (
            set(self.client.organization.clone()).or_else(|| variable("OPENAI_ORGANIZATION")),
            set(self.client.project.clone()).or_else(|| variable("OPENAI_PROJECT")),
        );
        for (key, value) in [("client.organization", &organization), ("client.project", &project)] {
            if let Some(value) = value {
                header_word(key, value)?;
            }
        }
        if !(1..=2).contains(&self.callback.ports.len()) {
            return Err("callback.ports takes one port or two".to_owned());
        }
        if self.socket.max_connections == 0 {
            return Err("socket.max_connections must be 1 at least".to_owned());
        }
        Ok(Config {
            provider,
            client: self.client.meant()?,
            organization,
            project,
            callback: Callback {
                ports: self.callback.ports,
                yield_for: span("callback.yield_for", &self.callback.yield_for, 0, 3600)?,
                login_lifetime: span("callback.login_lifetime", &self.callback.login_lifetime, 1, 3600)?,
            },
            login: Login { mode: self.login.mode, workspaces: self.login.workspaces },
            refresh: Refresh {
                min_ttl: span("refresh.min_ttl", &self.refresh.min_ttl, 0, 86_400)?,
                wait: span("refresh.wait", &self.refresh.wait, 1, 120)?,
            },
            store: Store {
                kind: self.store.kind,
                deadline: span("store.deadline", &self.store.deadline, 0, 60)?.max(Duration::from_millis(100)),
                service: self.store.service,
                passphrase_file: self.store.passphrase_file,
                key_file: self.store.key_file,
                memory_control: self.store.memory_control,
            },
            network: Network {
                proxy: set(self.network.proxy),
                ca_file: self.network.ca_file,
                connect_timeout: span("network.connect_timeout", &self.network.connect_timeout, 1, 120)?,
                timeout: span("network.timeout", &self.network.timeout, 1, 300)?,
            },
            socket: Socket {
                max_connections: self.socket.max_connections,
                header_timeout: span("socket.header_timeout", &self.socket.header_timeout, 1, 3600)?,
            },
            log: Log { filter: self.log.filter, format: self.log.format },
        })
    }
}

impl ProviderSection {
    fn meant(self, client: &ClientSection) -> Result<Provider, String> {
        let derived = Provider::with_issuer(&self.issuer);
        let provider = Provider {
            client_id: self.client_id,
            scopes: self.scopes,
            originator: client.originator.clone(),
            redirect_host: self.redirect_host,
            authorize_url: self.authorize_url.unwrap_or(derived.authorize_url),
            token_url: self.token_url.unwrap_or(derived.token_url),
            revoke_url: self.revoke_url.unwrap_or(derived.revoke_url),
            device_usercode_url: self.device_usercode_url.unwrap_or(derived.device_usercode_url),
            device_token_url: self.device_token_url.unwrap_or(derived.device_token_url),
            device_verification_url: self.device_verification_url.unwrap_or(derived.device_verification_url),
            device_redirect_uri: self.device_redirect_uri.unwrap_or(derived.device_redirect_uri),
            chatgpt_base_url: self.chatgpt_base_url.trim_end_matches('/').to_owned(),
            chatgpt_backend_url: self.chatgpt_backend_url,
            api_base_url: self.api_base_url.trim_end_matches('/').to_owned(),
            issuer: derived.issuer,
        };
        if !matches!(provider.redirect_host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            return Err("provider.redirect_host must be localhost, 127.0.0.1 or [::1]".to_owned());
        }
        if provider.client_id.trim().is_empty() || provider.scopes.is_empty() {
            return Err("provider.client_id and provider.scopes must not be empty".to_owned());
        }
        provider.check().map_err(|error| format!("provider.{error}"))?;
        Ok(provider)
    }
}

impl ClientSection {
    fn meant(self) -> Result<ClientIdentity, String> {
        header_word("client.originator", &self.originator)?;
        header_word("client.version", &self.version)?;
        let usual = ClientIdentity::codex(&self.originator, &self.version, &machine::this());
        let user_agent = match set(self.user_agent) {
            Some(user_agent) => {
                header_word("client.user_agent", &user_agent)?;
                user_agent
            }
            None => usual.user_agent,
        };
        Ok(ClientIdentity { user_agent, ..usual })
    }
}

/// A span of time with its unit, in whole seconds between two bounds.
fn span(key: &str, text: &str, least: u64, most: u64) -> Result<Duration, String> {
    let wrong = || format!("{key} must be a time between {least} s and {most} s, with its unit, like \"90s\" or \"3m\": {text:?}");
    let meant = text.trim().parse::<SignedDuration>().ok().or_else(|| {
        let span: Span = text.trim().parse().ok()?;
        SignedDuration::try_from(span).ok()
    });
    let meant = meant.and_then(|meant| Duration::try_from(meant).ok()).ok_or_else(wrong)?;
    let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
    if bounds.contains(&meant) { Ok(meant) } else { Err(wrong()) }
}

fn header_word(key: &str, value: &str) -> Result<(), String> {
    let fits = !value.trim().is_empty() && value.len() <= 512 && value.bytes().all(|b| (b' '..=b'~').contains(&b));
    if fits { Ok(()) } else { Err(format!("{key} must be printable ASCII, not empty, and 512 letters at most")) }
}

fn variable(name: &str) -> Option<String> {
    set(std::env::var(name).ok())
}

fn set(value: Option<String>) -> Option<String> {
    value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
