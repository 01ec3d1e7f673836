//! The configuration as written: one struct a section, every key with its default beside it. What the
//! values mean is decided in `meant`, and nowhere else.

use std::path::PathBuf;

use authd_oauth::{ModePreference, Provider};
use authd_store::StorePreference;
use serde::Deserialize;
use toml::de::{DeTable, Deserializer, Error};

use super::{Complaint, LogFormat, places::Places};

/// Declares a section: its keys, their types and their defaults.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, default, expecting = "a table")]
        pub(super) struct $name { $(pub(super) $key: $type),* }

        impl $name {
            const KEYS: &[&str] = &[$(stringify!($key)),*];
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
    Written {
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
    version: String = "0.34.0".to_owned(),
    user_agent: Option<String> = None,
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

impl Written {
    /// The text as written, and where in it everything is.
    pub(super) fn parse(text: &str) -> Result<(Self, Places<'_>), Complaint> {
        let table = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
        let places = Places::of(text, table.get_ref());
        match Self::deserialize(Deserializer::from(table)) {
            Ok(written) => Ok((written, places)),
            Err(error) => Err(refused(&places, &error)),
        }
    }

    /// Every key: the sections, and after each its own, as `section.key`.
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

/// What is said of a text that is not TOML.
fn unreadable(text: &str, error: &Error) -> Complaint {
    let line = error.span().map(|span| Places::line_at(text, span.start));
    Complaint { line, said: format!("this is not TOML: {}", error.message()) }
}

/// What is said of TOML that is not a configuration: a key that nobody knows, or a value of another type.
fn refused(places: &Places<'_>, error: &Error) -> Complaint {
    let Some((line, path)) = error.span().and_then(|span| places.at(span.start)) else {
        return Complaint { line: None, said: error.message().to_owned() };
    };
    let known = Written::keys();
    let said = if known.iter().any(|key| key == path) {
        format!("{path} cannot be used: {}", error.message())
    } else {
        format!("{path} is not a key of authd; {}", advice(path, &known))
    };
    Complaint { line: Some(line), said }
}

/// The key that was probably meant; where none is near, those that there are.
fn advice(path: &str, known: &[String]) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &String| strsim::damerau_levenshtein(&last(key), &last(path));
    let near = known.iter().filter(|key| distance(key) * 3 <= last(path).len());
    // Of keys that are as near, the one in the same section: a whole path is nearer then.
    let nearest = near.min_by_key(|key| (distance(key), strsim::damerau_levenshtein(key, path)));
    match (nearest, path.split_once('.')) {
        (Some(key), _) => format!("did you mean {key}?"),
        (None, Some((section, _))) => {
            let inside = format!("{section}.");
            let keys: Vec<_> = known.iter().filter_map(|key| key.strip_prefix(&inside)).collect();
            format!("[{section}] takes {}", keys.join(", "))
        }
        (None, None) => format!("the sections are {}", Written::KEYS.join(", ")),
    }
}
