//! The settings of a fleet, and what is parsed from them.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use authd_oauth::Network;
use authd_store::{SealingKey, StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The longest identifier of PostgreSQL, in bytes. The server would cut a longer one.
const MAX_IDENTIFIER: usize = 63;

/// How much longer a claim is held than a call may take: for the claim's own round trip before the
/// call, and for the write after it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// The settings of a fleet.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The connection string: a URL, or keywords and values. It may contain the password.
    pub url: SecretString,
    /// The text of the identity file that seals the records. The first identity encrypts.
    pub key: SecretString,
    /// The schema of the tables.
    pub schema: String,
    /// The name of this node.
    pub node: Arc<str>,
    /// Whether connections are encrypted.
    pub tls: Tls,
    /// A file of CA certificates (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest time that a call under a claim may take. A claim is held 15 s longer.
    pub call_limit: Duration,
    /// The time limit of a call, with the connection that it may have to make.
    pub deadline: Duration,
    /// The time between two polls for changes whose notification was lost.
    pub poll: Duration,
}

impl FleetConfig {
    /// The settings of a node with the defaults of the daemon: the schema `authd`, calls to the
    /// provider of at most 30 s, 2 s for a call, and a poll every 15 s.
    pub fn new(url: impl Into<SecretString>, key: impl Into<SecretString>, node: &str) -> Self {
        Self {
            url: url.into(),
            key: key.into(),
            schema: "authd".to_owned(),
            node: node.into(),
            tls: Tls::Auto,
            ca_file: None,
            call_limit: Duration::from_secs(30),
            deadline: Duration::from_secs(2),
            poll: Duration::from_secs(15),
        }
    }
}

/// Whether connections to the server are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// As `sslmode` in the connection string says. Without it: with TLS, except to this machine.
    #[default]
    Auto,
    /// Without TLS, wherever the server is.
    Disable,
    /// With TLS, and with a certificate for the server's name (`verify-full` of libpq).
    Require,
}

/// The parsed settings.
pub(crate) struct Settings {
    pub(crate) postgres: tokio_postgres::Config,
    /// The CA certificates that are trusted.
    pub(crate) network: Network,
    pub(crate) key: SealingKey,
    pub(crate) schema: Schema,
    pub(crate) node: Arc<str>,
    pub(crate) call_limit: Duration,
    pub(crate) deadline: Duration,
    pub(crate) poll: Duration,
}

impl Settings {
    pub(crate) fn parse(config: FleetConfig) -> Result<Self, StoreError> {
        let key = SealingKey::parse(&config.key).ok_or_else(|| {
            StoreError::refused(
                "the key of the fleet holds no age identity; restore it from a backup, or create one with \
                 age-keygen",
            )
        })?;
        Ok(Self {
            postgres: parse_url(&config.url, config.tls, config.deadline)?,
            network: Network { ca_file: config.ca_file, ..Network::default() },
            key,
            schema: Schema::parse(config.schema)?,
            node: config.node,
            call_limit: config.call_limit,
            deadline: config.deadline,
            poll: config.poll,
        })
    }

    /// How long a claim is held for its holder.
    pub(crate) fn lease(&self) -> Duration {
        self.call_limit + LEASE_MARGIN
    }

    /// The server, as shown to the user.
    pub(crate) fn server(&self) -> Server<'_> {
        Server(&self.postgres)
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.postgres.get_ssl_mode() == SslMode::Require
    }
}

fn parse_url(url: &SecretString, tls: Tls, deadline: Duration) -> Result<tokio_postgres::Config, StoreError> {
    // Every encrypted connection is verified, so that these modes are one.
    let text = url.expose_secret().trim().replace("sslmode=verify-full", "sslmode=require");
    // The parser's error may quote a part of the password.
    let mut postgres: tokio_postgres::Config = text.parse().map_err(|_| {
        StoreError::refused(
            "the connection string of the fleet cannot be read; write it as \
             postgresql://USER:PASSWORD@HOST/DATABASE, with special characters of the password \
             percent-encoded, and with sslmode=disable or verify-full, if any",
        )
    })?;
    if postgres.get_hosts().is_empty() && postgres.get_hostaddrs().is_empty() {
        return Err(StoreError::refused("the connection string of the fleet names no host"));
    }
    let mode = match (tls, postgres.get_ssl_mode()) {
        (Tls::Require, _) | (Tls::Auto, SslMode::Require) => SslMode::Require,
        (Tls::Disable, _) | (Tls::Auto, SslMode::Disable) => SslMode::Disable,
        (Tls::Auto, _) if is_on_this_machine(&postgres) => SslMode::Disable,
        (Tls::Auto, _) => SslMode::Require,
    };
    if postgres.get_application_name().is_none() {
        postgres.application_name("authd");
    }
    let hosts = postgres.get_hosts().len().max(postgres.get_hostaddrs().len());
    if hosts > 1 {
        // The primary, whichever it is now.
        postgres.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    postgres
        .ssl_mode(mode)
        .connect_timeout(deadline / u32::try_from(hosts).unwrap_or(u32::MAX))
        .tcp_user_timeout(deadline)
        .keepalives_idle(deadline)
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3);
    Ok(postgres)
}

/// Whether all servers run on this machine: the password stays inside it.
fn is_on_this_machine(postgres: &tokio_postgres::Config) -> bool {
    let addresses = postgres.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    postgres.get_hosts().iter().all(|host| match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    })
}

/// The server of a connection string, without its password.
pub(crate) struct Server<'a>(&'a tokio_postgres::Config);

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgreSQL at ")?;
        let ports = self.0.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        for (index, host) in self.0.get_hosts().iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match host {
                Host::Tcp(name) => write!(f, "{separator}{name}:{}", port(index))?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{separator}{}/.s.PGSQL.{}", path.display(), port(index))?,
            }
        }
        if self.0.get_hosts().is_empty() {
            for (index, address) in self.0.get_hostaddrs().iter().enumerate() {
                let separator = if index == 0 { "" } else { ", " };
                write!(f, "{separator}{address}:{}", port(index))?;
            }
        }
        match self.0.get_dbname().or(self.0.get_user()) {
            Some(database) => write!(f, " (database {database})"),
            None => Ok(()),
        }
    }
}

/// The name of a schema, which is also that of the notification channel.
pub(crate) struct Schema(String);

impl Schema {
    fn parse(name: String) -> Result<Self, StoreError> {
        if name.is_empty() || name.len() > MAX_IDENTIFIER || name.contains('\0') {
            return Err(StoreError::refused(format!(
                "the name of a schema has 1 to {MAX_IDENTIFIER} bytes; correct store.postgres.schema"
            )));
        }
        Ok(Self(name))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The name as an SQL identifier.
    pub(crate) fn quoted(&self) -> String {
        quote(&self.0)
    }
}

/// A name as an SQL identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, tls: Tls) -> Result<tokio_postgres::Config, StoreError> {
        parse_url(&SecretString::from(url), tls, Duration::from_secs(5))
    }

    #[test]
    fn only_a_server_on_this_machine_is_contacted_without_tls() {
        for (url, tls, expected) in [
            ("postgresql://me:secret@db.example/authd", Tls::Auto, SslMode::Require),
            ("postgresql://me@localhost.example/authd", Tls::Auto, SslMode::Require),
            ("postgresql://me@localhost,db.example/authd", Tls::Auto, SslMode::Require),
            ("host=localhost hostaddr=192.0.2.1 user=me", Tls::Auto, SslMode::Require),
            ("postgresql://me@localhost/authd?sslmode=verify-full", Tls::Auto, SslMode::Require),
            ("postgresql://me@db.example/authd?sslmode=prefer", Tls::Auto, SslMode::Require),
            ("postgresql://me@127.0.0.1/authd", Tls::Require, SslMode::Require),
            ("postgresql://me@db.example/authd?sslmode=disable", Tls::Require, SslMode::Require),
            ("postgresql://me@db.example/authd?sslmode=disable", Tls::Auto, SslMode::Disable),
            ("postgresql://me@db.example/authd", Tls::Disable, SslMode::Disable),
            ("postgresql://me@127.0.0.1/authd", Tls::Auto, SslMode::Disable),
            ("postgresql://me@[::1]:5433/authd", Tls::Auto, SslMode::Disable),
            ("postgresql://me@LOCALHOST/authd", Tls::Auto, SslMode::Disable),
            ("host=/run/postgresql user=me", Tls::Auto, SslMode::Disable),
        ] {
            assert_eq!(parse(url, tls).unwrap().get_ssl_mode(), expected, "{url} {tls:?}");
        }
    }

    #[test]
    fn wrong_connection_string_is_told_without_its_password() {
        for url in [
            "host=db.example password='secret",
            "secret",
            "dbname=secret",
            "postgresql://me@db.example/authd?sslmode=allow&x=secret",
        ] {
            let error = parse(url, Tls::Auto).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn settings_hide_password_and_key() {
        let url = "postgresql://me:secret@db.example:5432,db2.example:5433/authd";
        let config = FleetConfig::new(url, "AGE-SECRET-KEY-1SECRET", "a");
        let text = format!("{config:?}").to_lowercase();
        assert!(!text.contains("secret-key") && !text.contains("me:secret"), "{text}");
        let postgres = parse(config.url.expose_secret(), Tls::Auto).unwrap();
        let server = Server(&postgres).to_string();
        assert_eq!(server, "PostgreSQL at db.example:5432, db2.example:5433 (database authd)");
        assert_eq!(postgres.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert!(!format!("{postgres:?}").contains("secret"));
    }

    #[test]
    fn schema_is_quoted() {
        assert_eq!(Schema::parse("a\"; DROP".to_owned()).unwrap().quoted(), "\"a\"\"; DROP\"");
        for wrong in [String::new(), "x".repeat(64), "a\0b".to_owned()] {
            assert!(Schema::parse(wrong).is_err());
        }
    }
}
