//! From what is written to what is meant: every value is checked here and nowhere else. Each check says
//! the key, what is wrong with its value, and what is allowed; a value that may hold a password (the
//! proxy's) is never repeated.

use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf, time::Duration};

use authd_oauth::{ClientIdentity, Network, Provider};
use jiff::SignedDuration;

use super::{
    Callback, Config, Log, Login, Refresh, Socket, Store,
    surroundings::Surroundings,
    written::{
        CallbackSection, ClientSection, HooksSection, LogSection, LoginSection, NetworkSection,
        ProviderSection, RefreshSection, SocketSection, StoreSection, Written,
    },
};
use crate::{hooks::Hooks, telemetry};

/// The longest value of a header, in bytes.
const MAX_HEADER: usize = 512;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A value that cannot be meant. Key and rest make one sentence.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The key, or the variable of the environment.
    pub(super) key: String,
    /// What is wrong, and what is allowed.
    pub(super) what: String,
}

impl Written {
    /// What is meant, or the first value that cannot be.
    pub(super) fn meant(self, surroundings: &Surroundings) -> Result<Config, Wrong> {
        let Self { provider, client, callback, login, refresh, store, network, socket, hooks, log } = self;
        Ok(Config {
            provider: provider.meant(&client.originator)?,
            organization: tenant(
                ("client.organization", &client.organization),
                ("OPENAI_ORGANIZATION", &surroundings.organization),
            )?,
            project: tenant(("client.project", &client.project), ("OPENAI_PROJECT", &surroundings.project))?,
            model: client.model()?,
            client: client.meant(surroundings)?,
            callback: callback.meant()?,
            login: login.meant()?,
            refresh: refresh.meant()?,
            store: store.meant()?,
            network: network.meant()?,
            socket: socket.meant()?,
            hooks: hooks.meant()?,
            log: log.meant()?,
        })
    }
}

impl ProviderSection {
    fn meant(self, originator: &str) -> Result<Provider, Wrong> {
        if !matches!(self.redirect_host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            return wrong("provider.redirect_host", "must be localhost, 127.0.0.1 or [::1]");
        }
        header("provider.client_id", &self.client_id)?;
        let is_scope =
            |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if self.scopes.is_empty() || !self.scopes.iter().all(is_scope) {
            return wrong("provider.scopes", "must be one scope at least, each without spaces");
        }
        let derived = Provider::with_issuer(&self.issuer);
        let provider = Provider {
            client_id: self.client_id,
            scopes: self.scopes,
            originator: originator.to_owned(),
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
            workspace_hosts: self.workspace_hosts,
            api_base_url: self.api_base_url.trim_end_matches('/').to_owned(),
            issuer: derived.issuer,
        };
        match provider.check() {
            Ok(()) => Ok(provider.normalised()),
            Err(said) => {
                let (key, what) = said.split_once(' ').unwrap_or((&said, "cannot be used"));
                wrong(&format!("provider.{key}"), what)
            }
        }
    }
}

impl ClientSection {
    fn model(&self) -> Result<Option<String>, Wrong> {
        let model = set(self.model.clone());
        model.as_deref().map_or(Ok(()), |model| header("client.model", model))?;
        Ok(model)
    }

    fn meant(self, surroundings: &Surroundings) -> Result<ClientIdentity, Wrong> {
        header("client.originator", &self.originator)?;
        header("client.version", &self.version)?;
        let usual = ClientIdentity::codex(&self.originator, &self.version, &surroundings.machine);
        match set(self.user_agent) {
            Some(user_agent) => {
                header("client.user_agent", &user_agent)?;
                Ok(ClientIdentity { user_agent, ..usual })
            }
            None => Ok(usual),
        }
    }
}

impl CallbackSection {
    fn meant(self) -> Result<Callback, Wrong> {
        let different = self.ports.iter().collect::<BTreeSet<_>>().len() == self.ports.len();
        if !(1..=2).contains(&self.ports.len()) || !different {
            return wrong("callback.ports", "must be one port or two different ones; 0 means any free port");
        }
        Ok(Callback {
            ports: self.ports,
            yield_for: time("callback.yield", &self.r#yield, SECOND..=HOUR)?,
            login_lifetime: time("callback.login_lifetime", &self.login_lifetime, SECOND..=HOUR)?,
        })
    }
}

impl LoginSection {
    fn meant(self) -> Result<Login, Wrong> {
        if self.workspaces.iter().any(|workspace| workspace.trim().is_empty()) {
            return wrong(
                "login.workspaces",
                "must be account ids, none of them empty; without any, all are accepted",
            );
        }
        Ok(Login { mode: self.mode, workspaces: self.workspaces })
    }
}

impl RefreshSection {
    fn meant(self) -> Result<Refresh, Wrong> {
        Ok(Refresh {
            min_ttl: time("refresh.min_ttl", &self.min_ttl, Duration::ZERO..=24 * HOUR)?,
            wait: time("refresh.wait", &self.wait, SECOND..=2 * MINUTE)?,
        })
    }
}

impl StoreSection {
    fn meant(self) -> Result<Store, Wrong> {
        if self.service.trim().is_empty() {
            return wrong("store.service", "must be the name of the keychain's items, not empty");
        }
        Ok(Store {
            kind: self.kind,
            deadline: time("store.deadline", &self.deadline, SECOND / 10..=MINUTE)?,
            service: self.service,
            passphrase_file: file("store.passphrase_file", self.passphrase_file)?,
            key_file: file("store.key_file", self.key_file)?,
            memory_control: file("store.memory_control", self.memory_control)?,
        })
    }
}

impl NetworkSection {
    fn meant(self) -> Result<Network, Wrong> {
        let proxy = set(self.proxy);
        let usable = |url: &String| {
            let url = url.parse::<http::Uri>().ok()?;
            url.host().filter(|host| !host.is_empty())?;
            url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).map(drop)
        };
        if proxy.as_ref().is_some_and(|url| usable(url).is_none()) {
            return wrong(
                "network.proxy",
                "must be an http or https URL, like \"http://proxy.example:3128\"",
            );
        }
        Ok(Network {
            proxy,
            ca_file: file("network.ca_file", self.ca_file)?,
            connect_timeout: time("network.connect_timeout", &self.connect_timeout, SECOND..=2 * MINUTE)?,
            timeout: time("network.timeout", &self.timeout, SECOND..=5 * MINUTE)?,
        })
    }
}

impl SocketSection {
    fn meant(self) -> Result<Socket, Wrong> {
        if !(1..=65_536).contains(&self.max_connections) {
            return wrong("socket.max_connections", "must be between 1 and 65536");
        }
        Ok(Socket {
            max_connections: self.max_connections,
            header_timeout: time("socket.header_timeout", &self.header_timeout, SECOND..=HOUR)?,
        })
    }
}

impl HooksSection {
    fn meant(self) -> Result<Hooks, Wrong> {
        let Self { login_required, unsaved, notify } = self;
        for (key, command) in [("hooks.login_required", &login_required), ("hooks.unsaved", &unsaved)] {
            if command.first().is_some_and(|program| program.trim().is_empty()) {
                return wrong(key, "must be a command and its arguments, like [\"notify-send\", \"authd\"]");
            }
        }
        Ok(Hooks { login_required, unsaved, notify })
    }
}

impl LogSection {
    fn meant(self) -> Result<Log, Wrong> {
        match telemetry::check(&self.filter) {
            Ok(()) => Ok(Log { filter: self.filter, format: self.format }),
            Err(_) => {
                wrong("log.filter", "must be a level or directives, like \"info\" or \"warn,authd=debug\"")
            }
        }
    }
}

/// An organization or a project: the key's, else the variable's; empty counts as unset.
fn tenant(key: (&str, &Option<String>), variable: (&str, &Option<String>)) -> Result<Option<String>, Wrong> {
    for (name, value) in [key, variable] {
        if let Some(value) = set(value.clone()) {
            header(name, &value)?;
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// A time with its unit, between two bounds.
fn time(key: &str, text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let has_unit = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let meant = text.trim().parse::<SignedDuration>().ok().filter(|_| has_unit);
    match meant.and_then(|meant| Duration::try_from(meant).ok()) {
        Some(meant) if bounds.contains(&meant) => Ok(meant),
        Some(_) | None => {
            let (least, most) = (shown(*bounds.start()), shown(*bounds.end()));
            wrong(
                key,
                &format!("must be a time with its unit, from \"{least}\" to \"{most}\", and is {text:?}"),
            )
        }
    }
}

fn shown(time: Duration) -> String {
    SignedDuration::try_from(time).map_or_else(|_| format!("{time:?}"), |time| format!("{time:#}"))
}

/// A file, from the root: a daemon's working directory is nobody's business.
fn file(key: &str, path: Option<PathBuf>) -> Result<Option<PathBuf>, Wrong> {
    match path {
        Some(path) if !path.is_absolute() => {
            wrong(key, &format!("must be an absolute path (`~` is not expanded), and is {}", path.display()))
        }
        path => Ok(path),
    }
}

/// Whether a text can stand in a header.
fn header(key: &str, value: &str) -> Result<(), Wrong> {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if printable && !value.trim().is_empty() && value.len() <= MAX_HEADER {
        return Ok(());
    }
    wrong(key, &format!("must be printable ASCII, not empty, and {MAX_HEADER} letters at most"))
}

fn wrong<T>(key: &str, what: &str) -> Result<T, Wrong> {
    Err(Wrong { key: key.to_owned(), what: what.to_owned() })
}

/// A value that is not empty.
fn set(value: Option<String>) -> Option<String> {
    value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
