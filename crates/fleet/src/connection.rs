//! One connection to the database, checked before its first use.

use std::{
    future::poll_fn,
    time::{Duration, Instant, SystemTime},
};

use authd_store::StoreError;
use futures_util::future::join3;
use jiff::SignedDuration;
use tokio::{io::AsyncRead, io::AsyncWrite, sync::mpsc, task::JoinHandle};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification, error::SqlState, types::Type};
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use crate::{
    config::Settings,
    error::{describe, grants_hint, missing_schema},
    row::time,
    schema,
    status::StatusSender,
};

/// The oldest server that is supported, as `server_version_num`.
const OLDEST_SERVER: i32 = 100_000;

/// The largest difference of the clocks at the first connection.
const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_secs(300);

const SERVER: &str = "SELECT current_setting('server_version_num')::int4, \
                      current_setting('server_version'), clock_timestamp(), \
                      (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1)";
const META: &str = "SELECT version, recipient FROM meta";

/// What a connection expects of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// They exist in this version, and belong to this fleet.
    Ready,
    /// Anything: they are made.
    Unchecked,
}

/// A connection. Dropping it closes it, whatever the server does.
pub(crate) struct Connection {
    pub(crate) client: Client,
    tables: Tables,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects, and checks the server, its clock and the tables.
    pub(crate) async fn open(
        settings: &Settings,
        status: &StatusSender,
        tables: Tables,
        notifications: Option<mpsc::UnboundedSender<Notification>>,
    ) -> Result<Self, StoreError> {
        let failed = |error: &tokio_postgres::Error| describe(settings, error);
        let (client, driver) = if settings.is_encrypted() {
            let tls = settings.network.tls().map_err(StoreError::unavailable)?;
            let connector = MakeRustlsConnect::new(tls);
            let (client, connection) = settings.postgres.connect(connector).await.map_err(|e| failed(&e))?;
            (client, tokio::spawn(drive(connection, notifications)))
        } else {
            let (client, connection) = settings.postgres.connect(NoTls).await.map_err(|e| failed(&e))?;
            (client, tokio::spawn(drive(connection, notifications)))
        };
        let connection = Self { client, tables, driver };
        connection.set_up(settings, status).await?;
        Ok(connection)
    }

    /// Whether the connection can be used for a call.
    pub(crate) fn fits(&self, tables: Tables) -> bool {
        !self.client.is_closed() && (tables == Tables::Unchecked || self.tables == Tables::Ready)
    }

    async fn set_up(&self, settings: &Settings, status: &StatusSender) -> Result<(), StoreError> {
        let failed = |error: tokio_postgres::Error| describe(settings, &error);
        let started = Instant::now();
        let (configured, server, meta) = join3(
            self.client.batch_execute(&session_settings(settings)),
            self.client.query_typed_one(SERVER, &[(&settings.schema.name(), Type::TEXT)]),
            self.client.query_typed_opt(META, &[]),
        )
        .await;
        // The database read its clock about half a round trip ago.
        let local = time(SystemTime::now() - started.elapsed() / 2)?;
        let server = server.map_err(failed)?;
        let version: String = server.try_get(1).map_err(failed)?;
        check_server(server.try_get(0).map_err(failed)?, &version)
            .map_err(|detail| StoreError::unavailable(format!("{}: {detail}", settings.server())))?;
        configured.map_err(failed)?;
        let clock = time(server.try_get::<_, SystemTime>(2).map_err(failed)?)?;
        let ahead = clock.duration_since(local);
        if !status.was_connected() {
            check_clock(ahead)
                .map_err(|detail| StoreError::unavailable(format!("{}: {detail}", settings.server())))?;
        }
        if server.try_get::<_, Option<bool>>(3).map_err(failed)? == Some(false) {
            let (server, schema, hint) = (settings.server(), settings.schema.quoted(), grants_hint(settings));
            return Err(StoreError::unavailable(format!(
                "{server}: permission denied for schema {schema}; {hint}"
            )));
        }
        if self.tables == Tables::Ready {
            let meta = meta.map_err(failed)?.ok_or_else(|| missing_schema(settings))?;
            let (version, recipient): (i32, String) =
                (meta.try_get(0).map_err(failed)?, meta.try_get(1).map_err(failed)?);
            schema::check(settings, version, &recipient)?;
        } else if let Err(error) = meta
            && error.code() != Some(&SqlState::UNDEFINED_TABLE)
        {
            return Err(failed(error));
        }
        status.connected(&version, ahead);
        Ok(())
    }
}

/// The settings of a session. The time limits on the server end what a lost client left.
fn session_settings(settings: &Settings) -> String {
    let limit = settings.deadline.as_millis().max(2);
    format!(
        "SET search_path TO {schema}; SET statement_timeout TO {limit}; SET lock_timeout TO {limit}; \
         SET idle_in_transaction_session_timeout TO {idle}; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') = 'off'",
        schema = settings.schema.quoted(),
        // A node that stops in a transaction holds a row's lock for less than a call waits for it.
        idle = limit / 2,
    )
}

/// Drives a connection until it ends.
async fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    notifications: Option<mpsc::UnboundedSender<Notification>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match (message, &notifications) {
            (Ok(AsyncMessage::Notification(notification)), Some(sender)) => {
                sender.send(notification).ok();
            }
            (Ok(_), _) => {}
            // The call that uses the connection gets an error, too.
            (Err(error), _) => {
                tracing::debug!(%error, "connection to the database ended");
                return;
            }
        }
    }
}

fn check_server(number: i32, version: &str) -> Result<(), String> {
    if number < OLDEST_SERVER {
        return Err(format!("the server is PostgreSQL {version}; a fleet needs version 10 or newer"));
    }
    Ok(())
}

fn check_clock(ahead: SignedDuration) -> Result<(), String> {
    if ahead.abs() <= MAX_CLOCK_DIFFERENCE {
        return Ok(());
    }
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    let difference = Duration::from_secs(ahead.unsigned_abs().as_secs());
    Err(format!(
        "the server's clock is {difference:?} {direction} this machine's; correct the wrong one (timedatectl \
         shows whether a clock is synchronised)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_older_than_version_10_is_refused() {
        assert!(check_server(100_000, "10.0").is_ok() && check_server(150_004, "15.4").is_ok());
        let error = check_server(90_624, "9.6.24").unwrap_err();
        assert_eq!(error, "the server is PostgreSQL 9.6.24; a fleet needs version 10 or newer");
    }

    #[test]
    fn clock_may_differ_by_five_minutes() {
        for fine in [0, 300, -300] {
            assert_eq!(check_clock(SignedDuration::from_secs(fine)), Ok(()));
        }
        let ahead = check_clock(SignedDuration::from_secs(301)).unwrap_err();
        assert!(ahead.starts_with("the server's clock is 301s ahead of this machine's"), "{ahead}");
        let behind = check_clock(SignedDuration::from_secs(-3600)).unwrap_err();
        assert!(behind.starts_with("the server's clock is 3600s behind this machine's"), "{behind}");
    }
}
