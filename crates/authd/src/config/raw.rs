//! The keys of the configuration file, one struct a section, each key with its type and default.
//! `validate` checks the values.

use std::path::PathBuf;

use authd_oauth::{CODEX_VERSION, ModePreference, Provider};
use authd_store::StorePreference;
use serde::Deserialize;

use super::settings::LogFormat;

/// Declares a section: its keys, their types and their defaults.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, default, expecting = "a table")]
        pub(super) struct $name { $(pub(super) $key: $type),* }

        impl $name {
            pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }
    };
}

section!(
    /// The whole file.
    RawConfig {
        provider: ProviderSection = ProviderSection::default(),
        client: ClientSection = ClientSection::default(),
        callback: CallbackSection = CallbackSection::default(),
        login: LoginSection = LoginSection::default(),
        refresh: RefreshSection = RefreshSection::default(),
        store: StoreSection = StoreSection::default(),
        network: NetworkSection = NetworkSection::default(),
        socket: SocketSection = SocketSection::default(),
        hooks: HooksSection = HooksSection::default(),
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
    workspace_hosts: Vec<String> = Vec::new(),
    authorize_url: Option<String> = None,
    token_url: Option<String> = None,
    revoke_url: Option<String> = None,
    device_usercode_url: Option<String> = None,
    device_token_url: Option<String> = None,
    device_verification_url: Option<String> = None,
    device_redirect_uri: Option<String> = None,
});

section!(ClientSection {
    originator: String = Provider::openai().originator,
    version: String = CODEX_VERSION.to_owned(),
    user_agent: Option<String> = None,
    r#override: bool = false,
    organization: Option<String> = None,
    project: Option<String> = None,
    model: Option<String> = None,
});

section!(CallbackSection {
    ports: Vec<u16> = vec![1455, 1457],
    r#yield: String = "3m".to_owned(),
    login_lifetime: String = "10m".to_owned(),
});

section!(LoginSection { mode: ModePreference = ModePreference::Auto, workspaces: Vec<String> = Vec::new() });

section!(RefreshSection { min_ttl: String = "60s".to_owned(), wait: String = "15s".to_owned() });

section!(StoreSection {
    kind: StorePreference = StorePreference::Auto,
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

section!(HooksSection {
    login_required: Vec<String> = Vec::new(),
    unsaved: Vec<String> = Vec::new(),
    notify: bool = true,
});

section!(LogSection { filter: String = "info".to_owned(), format: LogFormat = LogFormat::Auto });

impl RawConfig {
    /// Every section, and every key as `section.key`.
    pub(super) fn keys() -> Vec<String> {
        let sections: [&[&str]; 10] = [
            ProviderSection::KEYS,
            ClientSection::KEYS,
            CallbackSection::KEYS,
            LoginSection::KEYS,
            RefreshSection::KEYS,
            StoreSection::KEYS,
            NetworkSection::KEYS,
            SocketSection::KEYS,
            HooksSection::KEYS,
            LogSection::KEYS,
        ];
        let mut all = Vec::new();
        for (section, keys) in Self::KEYS.iter().zip(sections) {
            all.push((*section).to_owned());
            all.extend(keys.iter().map(|key| format!("{section}.{}", key.trim_start_matches("r#"))));
        }
        all
    }
}
