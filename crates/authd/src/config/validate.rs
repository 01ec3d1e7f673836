//! Validates the values of a configuration. A message names the key, the fault and the allowed
//! values; a value that may contain a password, such as the proxy's, is not repeated.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use authd_api::AuditTarget;
use authd_oauth::{ClientIdentity, Network, Provider};
use jiff::SignedDuration;
use tracing_subscriber::filter::Targets;

use super::{
    environment::Environment,
    problem::InvalidValue,
    raw::{
        AuditSection, CallbackSection, ClientSection, HooksSection, LogSection, LoginSection, MetricsSection,
        NetworkSection, ProviderSection, QuotaSection, RawConfig, RefreshSection, SocketSection, Time,
    },
    settings::{
        AuditConfig, AuditDestination, CallbackConfig, Config, HookConfig, LogConfig, LoginConfig,
        MetricsConfig, QuotaConfig, RefreshConfig, SocketConfig,
    },
};

mod store;

/// Longest value of a header, in bytes.
const MAX_HEADER: usize = 512;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl RawConfig {
    /// The validated configuration, or the first invalid value.
    pub(super) fn validate(self, environment: &Environment) -> Result<Config, InvalidValue> {
        let Self {
            provider,
            providers,
            client,
            callback,
            login,
            refresh,
            store,
            network,
            socket,
            metrics,
            quota,
            hooks,
            audit,
            log,
        } = self;
        Ok(Config {
            provider: provider.validate(&client.originator)?,
            providers: super::providers::validate(providers)?.into(),
            organization: tenant(
                ("client.organization", &client.organization),
                ("OPENAI_ORGANIZATION", &environment.organization),
            )?,
            project: tenant(("client.project", &client.project), ("OPENAI_PROJECT", &environment.project))?,
            model: client.model()?,
            override_client: client.r#override,
            client: client.validate(environment)?,
            callback: callback.validate()?,
            login: login.validate()?,
            refresh: refresh.validate()?,
            store: store.validate(environment)?,
            network: network.validate()?,
            socket: socket.validate()?,
            metrics: metrics.validate()?,
            quota: quota.validate()?,
            hooks: hooks.validate()?,
            audit: audit.validate()?,
            log: log.validate()?,
        })
    }
}

impl ProviderSection {
    fn validate(self, originator: &str) -> Result<Provider, InvalidValue> {
        if !matches!(self.redirect_host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            return invalid("provider.redirect_host", "must be localhost, 127.0.0.1 or [::1]");
        }
        header("provider.client_id", &self.client_id)?;
        let is_scope =
            |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if self.scopes.is_empty() || !self.scopes.iter().all(is_scope) {
            return invalid("provider.scopes", "must be one scope at least, each without spaces");
        }
        let derived = Provider::with_issuer(&self.issuer);
        let provider = Provider {
            client_id: self.client_id,
            scopes: self.scopes,
            originator: originator.to_owned(),
            redirect_host: self.redirect_host,
            whoami_url: self.whoami_url.unwrap_or(derived.whoami_url),
            authorize_url: self.authorize_url.unwrap_or(derived.authorize_url),
            token_url: self.token_url.unwrap_or(derived.token_url),
            revoke_url: self.revoke_url.unwrap_or(derived.revoke_url),
            device_usercode_url: self.device_usercode_url.unwrap_or(derived.device_usercode_url),
            device_token_url: self.device_token_url.unwrap_or(derived.device_token_url),
            device_verification_url: self.device_verification_url.unwrap_or(derived.device_verification_url),
            device_redirect_uri: self.device_redirect_uri.unwrap_or(derived.device_redirect_uri),
            chatgpt_base_url: self.chatgpt_base_url.trim_end_matches('/').to_owned(),
            chatgpt_backend_url: self.chatgpt_backend_url,
            workspace_hosts: self.workspace_hosts,
            api_base_url: self.api_base_url.trim_end_matches('/').to_owned(),
            issuer: derived.issuer,
        };
        match provider.check() {
            Ok(()) => Ok(provider.normalised()),
            Err(message) => {
                let (key, reason) = message.split_once(' ').unwrap_or((&message, "cannot be used"));
                invalid(&format!("provider.{key}"), reason)
            }
        }
    }
}

impl ClientSection {
    fn model(&self) -> Result<Option<String>, InvalidValue> {
        let model = non_empty(self.model.clone());
        model.as_deref().map_or(Ok(()), |model| header("client.model", model))?;
        Ok(model)
    }

    fn validate(self, environment: &Environment) -> Result<ClientIdentity, InvalidValue> {
        header("client.originator", &self.originator)?;
        header("client.version", &self.version)?;
        let default = ClientIdentity::codex(&self.originator, &self.version, &environment.machine);
        match non_empty(self.user_agent) {
            Some(user_agent) => {
                header("client.user_agent", &user_agent)?;
                Ok(ClientIdentity { user_agent, ..default })
            }
            None => Ok(default),
        }
    }
}

impl CallbackSection {
    fn validate(self) -> Result<CallbackConfig, InvalidValue> {
        let different = self.ports.iter().collect::<BTreeSet<_>>().len() == self.ports.len();
        if !(1..=2).contains(&self.ports.len()) || !different {
            return invalid(
                "callback.ports",
                "must be one port or two different ones; 0 means any free port",
            );
        }
        Ok(CallbackConfig {
            addresses: addresses(&self.addresses)?,
            ports: self.ports,
            yield_for: duration("callback.yield", &self.r#yield, SECOND..=HOUR)?,
            login_lifetime: duration("callback.login_lifetime", &self.login_lifetime, SECOND..=HOUR)?,
        })
    }
}

impl LoginSection {
    fn validate(self) -> Result<LoginConfig, InvalidValue> {
        if self.workspaces.iter().any(|workspace| workspace.trim().is_empty()) {
            return invalid(
                "login.workspaces",
                "must be account ids, none of them empty; without any, all are accepted",
            );
        }
        Ok(LoginConfig { mode: self.mode, workspaces: self.workspaces })
    }
}

impl RefreshSection {
    fn validate(self) -> Result<RefreshConfig, InvalidValue> {
        Ok(RefreshConfig {
            min_ttl: duration("refresh.min_ttl", &self.min_ttl, Duration::ZERO..=24 * HOUR)?,
            wait: duration("refresh.wait", &self.wait, SECOND..=2 * MINUTE)?,
        })
    }
}

impl NetworkSection {
    fn validate(self) -> Result<Network, InvalidValue> {
        let proxy = non_empty(self.proxy);
        let usable = |url: &String| {
            let url = url.parse::<http::Uri>().ok()?;
            url.host().filter(|host| !host.is_empty())?;
            url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).map(drop)
        };
        if proxy.as_ref().is_some_and(|url| usable(url).is_none()) {
            return invalid(
                "network.proxy",
                "must be an http or https URL, like \"http://proxy.example:3128\"",
            );
        }
        Ok(Network {
            proxy,
            ca_file: file("network.ca_file", self.ca_file)?,
            connect_timeout: duration("network.connect_timeout", &self.connect_timeout, SECOND..=2 * MINUTE)?,
            timeout: duration("network.timeout", &self.timeout, SECOND..=5 * MINUTE)?,
        })
    }
}

impl SocketSection {
    fn validate(self) -> Result<SocketConfig, InvalidValue> {
        if !(1..=65_536).contains(&self.max_connections) {
            return invalid("socket.max_connections", "must be between 1 and 65536");
        }
        Ok(SocketConfig {
            max_connections: self.max_connections,
            header_timeout: duration("socket.header_timeout", &self.header_timeout, SECOND..=HOUR)?,
        })
    }
}

impl MetricsSection {
    fn validate(self) -> Result<MetricsConfig, InvalidValue> {
        let Some(text) = non_empty(self.listen) else { return Ok(MetricsConfig::default()) };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(MetricsConfig { listen: Some(address) }),
            Ok(_) | Err(_) => invalid(
                "metrics.listen",
                "must be an address of this machine and a port, like \"127.0.0.1:9464\"",
            ),
        }
    }
}

impl QuotaSection {
    fn validate(self) -> Result<QuotaConfig, InvalidValue> {
        match self.low {
            low @ 0..=100 => Ok(QuotaConfig { low }),
            _ => invalid("quota.low", "must be a percentage from 0 (off) to 100"),
        }
    }
}

impl HooksSection {
    fn validate(self) -> Result<HookConfig, InvalidValue> {
        let Self { login_required, unsaved, quota_low, notify } = self;
        for (key, command) in [
            ("hooks.login_required", &login_required),
            ("hooks.unsaved", &unsaved),
            ("hooks.quota_low", &quota_low),
        ] {
            if command.first().is_some_and(|program| program.trim().is_empty()) {
                return invalid(
                    key,
                    "must be a command and its arguments, like [\"notify-send\", \"authd\"]",
                );
            }
        }
        Ok(HookConfig { login_required, unsaved, quota_low, notify })
    }
}

impl AuditSection {
    fn validate(self) -> Result<AuditConfig, InvalidValue> {
        if !(1..=1024).contains(&self.size) {
            return invalid("audit.size", "must be between 1 and 1024, in MiB");
        }
        let most = AuditConfig::MOST_FILES;
        if !(1..=most).contains(&self.files) {
            return invalid("audit.files", &format!("must be between 1 and {most}"));
        }
        let to = match self.to {
            AuditDestination::Off => AuditTarget::Off,
            AuditDestination::File => AuditTarget::File,
            AuditDestination::Journal if cfg!(target_os = "linux") => AuditTarget::Journal,
            AuditDestination::Journal => return invalid("audit.to", "must be off or file on this system"),
        };
        Ok(AuditConfig { to, size: self.size << 20, files: self.files })
    }
}

impl LogSection {
    fn validate(self) -> Result<LogConfig, InvalidValue> {
        match self.filter.parse::<Targets>() {
            Ok(_) => Ok(LogConfig { filter: self.filter, format: self.format }),
            Err(_) => {
                invalid("log.filter", "must be a level or directives, like \"info\" or \"warn,authd=debug\"")
            }
        }
    }
}

/// The addresses of the callback server. A wildcard includes all others.
fn addresses(texts: &[String]) -> Result<Vec<IpAddr>, InvalidValue> {
    let parsed: Option<BTreeSet<IpAddr>> = texts.iter().map(|text| text.parse().ok()).collect();
    match parsed {
        Some(all) if !all.is_empty() && (all.len() == 1 || !all.iter().any(IpAddr::is_unspecified)) => {
            Ok(all.into_iter().collect())
        }
        _ => invalid(
            "callback.addresses",
            "must be IP addresses, like [\"127.0.0.1\", \"::1\"], or one of \"0.0.0.0\" and \"::\"",
        ),
    }
}

/// An organization or a project: of the key, else of the variable. Empty counts as unset.
fn tenant(
    key: (&str, &Option<String>),
    variable: (&str, &Option<String>),
) -> Result<Option<String>, InvalidValue> {
    for (name, value) in [key, variable] {
        if let Some(value) = non_empty(value.clone()) {
            header(name, &value)?;
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Parses a duration with its unit, within bounds.
fn duration(
    key: &str,
    Time(text): &Time,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, InvalidValue> {
    let has_unit = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let parsed = text.trim().parse::<SignedDuration>().ok().filter(|_| has_unit);
    match parsed.and_then(|parsed| Duration::try_from(parsed).ok()) {
        Some(parsed) if bounds.contains(&parsed) => Ok(parsed),
        Some(_) | None => {
            let (least, most) = (display(*bounds.start()), display(*bounds.end()));
            invalid(
                key,
                &format!("must be a time with its unit, from \"{least}\" to \"{most}\", and is {text:?}"),
            )
        }
    }
}

fn display(time: Duration) -> String {
    SignedDuration::try_from(time).map_or_else(|_| format!("{time:?}"), |time| format!("{time:#}"))
}

/// Checks that a path is absolute: the daemon's working directory has no meaning.
fn file(key: &str, path: Option<PathBuf>) -> Result<Option<PathBuf>, InvalidValue> {
    match path {
        Some(path) if !path.is_absolute() => invalid(
            key,
            &format!("must be an absolute path (`~` is not expanded), and is {}", path.display()),
        ),
        path => Ok(path),
    }
}

/// Checks that a text is a valid header value.
fn header(key: &str, value: &str) -> Result<(), InvalidValue> {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if printable && !value.trim().is_empty() && value.len() <= MAX_HEADER {
        return Ok(());
    }
    invalid(key, &format!("must be printable ASCII, not empty, and at most {MAX_HEADER} characters"))
}

fn invalid<T>(key: &str, reason: &str) -> Result<T, InvalidValue> {
    Err(InvalidValue { key: key.to_owned(), reason: reason.to_owned() })
}

/// The value, unless it is empty.
fn non_empty(value: Option<String>) -> Option<String> {
    value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
