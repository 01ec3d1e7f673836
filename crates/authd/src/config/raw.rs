//! The keys of the configuration file, one struct a section, each key with its type and default.
//! `validate` checks the values.

use std::{collections::BTreeMap, path::PathBuf};

use authd_fleet::Tls;
use authd_oauth::{CODEX_VERSION, ModePreference, Provider, definition::RawDefinition};
use authd_store::StorePreference;
use serde::Deserialize;

use super::settings::{AuditDestination, LogFormat, StoreChoice};

/// The name that stands for any provider in the keys of the reference.
pub(super) const ANY_NAME: &str = "NAME";

/// The definitions of providers as they are written, by name.
pub(super) type RawProviders = BTreeMap<String, RawDefinition>;

/// The words for a value of this type, for the message about a value of another type.
pub(super) trait Expected {
    const EXPECTED: &'static str;

    /// The words for the value at a path below this one; `None` if there is no such key.
    fn of_key(_path: &str) -> Option<&'static str> {
        None
    }
}

/// A time with its unit, not yet parsed.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Time(pub(super) String);

impl From<&str> for Time {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

macro_rules! expected {
    ($($type:ty => $words:literal,)*) => {
        $(impl Expected for $type {
            const EXPECTED: &'static str = $words;
        })*
    };
}

expected! {
    String => "a text in quotes",
    Option<String> => "a text in quotes",
    Vec<String> => "a list of texts such as [\"a\", \"b\"]",
    Option<PathBuf> => "a path in quotes",
    Time => "a time such as \"15s\"",
    Vec<u16> => "a list of ports from 0 to 65535, such as [1455, 1457]",
    usize => "a number such as 4096, without quotes",
    u8 => "a number such as 10, without quotes",
    bool => "true or false, without quotes",
    ModePreference => "\"auto\", \"chatgpt\" or \"api-key\"",
    StoreChoice => "\"auto\", \"keychain\", \"file\", \"memory\" or \"postgres\"",
    StorePreference => "\"auto\", \"keychain\", \"file\" or \"memory\"",
    Tls => "\"auto\", \"disable\" or \"require\"",
    LogFormat => "\"auto\", \"plain\" or \"json\"",
    AuditDestination => "\"off\", \"file\" or \"journal\"",
    u64 => "a number such as 10, without quotes",
}

impl Expected for RawProviders {
    const EXPECTED: &'static str = "tables such as [providers.gitlab]";

    fn of_key(path: &str) -> Option<&'static str> {
        let Some((_, key)) = path.split_once('.') else { return Some("a table") };
        let key = if key.starts_with("authorize_params.") { "authorize_params" } else { key };
        RawDefinition::KEYS.iter().find(|(name, _)| *name == key).map(|(_, expected)| *expected)
    }
}

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

        impl Expected for $name {
            const EXPECTED: &'static str = "a table";

            fn of_key(path: &str) -> Option<&'static str> {
                let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
                $(if key == stringify!($key).trim_start_matches("r#") {
                    return match rest {
                        Some(rest) => <$type>::of_key(rest),
                        None => Some(<$type>::EXPECTED),
                    };
                })*
                None
            }
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
        providers: RawProviders = RawProviders::new(),
        client: ClientSection = ClientSection::default(),
        callback: CallbackSection = CallbackSection::default(),
        login: LoginSection = LoginSection::default(),
        refresh: RefreshSection = RefreshSection::default(),
        store: StoreSection = StoreSection::default(),
        network: NetworkSection = NetworkSection::default(),
        socket: SocketSection = SocketSection::default(),
        metrics: MetricsSection = MetricsSection::default(),
        quota: QuotaSection = QuotaSection::default(),
        hooks: HooksSection = HooksSection::default(),
        audit: AuditSection = AuditSection::default(),
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
    whoami_url: Option<String> = None,
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
    addresses: Vec<String> = vec!["127.0.0.1".to_owned(), "::1".to_owned()],
    ports: Vec<u16> = vec![1455, 1457],
    r#yield: Time = Time::from("3m"),
    login_lifetime: Time = Time::from("10m"),
});

section!(LoginSection { mode: ModePreference = ModePreference::Auto, workspaces: Vec<String> = Vec::new() });

section!(RefreshSection { min_ttl: Time = Time::from("60s"), wait: Time = Time::from("15s") });

section!(StoreSection {
    kind: StoreChoice = StoreChoice::Auto,
    deadline: Time = Time::from("2s"),
    service: String = "authd".to_owned(),
    passphrase_file: Option<PathBuf> = None,
    key_file: Option<PathBuf> = None,
    memory_control: Option<PathBuf> = None,
    postgres: PostgresSection = PostgresSection::default(),
});

section!(PostgresSection {
    url_file: Option<PathBuf> = None,
    key_file: Option<PathBuf> = None,
    schema: String = "authd".to_owned(),
    node: Option<String> = None,
    tls: Tls = Tls::Auto,
    ca_file: Option<PathBuf> = None,
    local: StorePreference = StorePreference::Auto,
    poll: Time = Time::from("15s"),
});

section!(NetworkSection {
    proxy: Option<String> = None,
    ca_file: Option<PathBuf> = None,
    connect_timeout: Time = Time::from("10s"),
    timeout: Time = Time::from("30s"),
});

section!(SocketSection { max_connections: usize = 4096, header_timeout: Time = Time::from("60s") });

section!(MetricsSection { listen: Option<String> = None });

section!(QuotaSection { low: u8 = 10 });

section!(HooksSection {
    login_required: Vec<String> = Vec::new(),
    unsaved: Vec<String> = Vec::new(),
    quota_low: Vec<String> = Vec::new(),
    notify: bool = true,
});

section!(AuditSection { to: AuditDestination = AuditDestination::Off, size: u64 = 10, files: usize = 5 });

section!(LogSection { filter: String = "info".to_owned(), format: LogFormat = LogFormat::Auto });

impl RawConfig {
    /// Every section, and every key as `section.key`. `NAME` stands for the name of a provider.
    pub(super) fn keys() -> Vec<String> {
        let providers: Vec<&str> = RawDefinition::KEYS.iter().map(|(key, _)| *key).collect();
        let sections: [&[&str]; 14] = [
            ProviderSection::KEYS,
            &providers,
            ClientSection::KEYS,
            CallbackSection::KEYS,
            LoginSection::KEYS,
            RefreshSection::KEYS,
            StoreSection::KEYS,
            NetworkSection::KEYS,
            SocketSection::KEYS,
            MetricsSection::KEYS,
            QuotaSection::KEYS,
            HooksSection::KEYS,
            AuditSection::KEYS,
            LogSection::KEYS,
        ];
        let mut all = Vec::new();
        for (section, keys) in Self::KEYS.iter().zip(sections) {
            let section =
                if *section == "providers" { format!("providers.{ANY_NAME}") } else { (*section).to_owned() };
            all.push(section.clone());
            all.extend(keys.iter().map(|key| format!("{section}.{}", key.trim_start_matches("r#"))));
        }
        // `store.postgres` is a key of `store`.
        all.extend(PostgresSection::KEYS.iter().map(|key| format!("store.postgres.{key}")));
        all
    }
}
