//! The task of a fleet: receives notifications, and polls in case one was lost.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use authd_oauth::schedule::Jitter;
use authd_store::StoreError;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_postgres::Notification;

use crate::{
    changes::Change,
    config::quote,
    connection::{Connection, Tables},
    error::{describe, timed_out},
    inner::Inner,
    status::StatusSender,
};

/// The first wait before a new connection, and the longest one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The revision of every record.
type Revisions = BTreeMap<String, u64>;

/// Announces changes until it is dropped.
pub(crate) async fn run(inner: Arc<Inner>) {
    let seed = RandomState::new().hash_one(&*inner.holder.run);
    let (mut wait, mut failures, mut was_connected) = (BACK_OFF.0, 0, false);
    loop {
        match connect(&inner, was_connected).await {
            Ok(mut listener) => {
                (wait, was_connected) = (BACK_OFF.0, true);
                inner.announcer.announce(Change::Everything);
                let error = listener.listen(&inner).await;
                tracing::warn!(%error, "notifications interrupted");
                inner.status.failed(&error);
            }
            Err(error) => inner.status.failed(&error),
        }
        failures += 1;
        pause(&inner.status, Jitter::of(seed, failures).spread(wait)).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// Waits after a failure. The success of a call ends the wait early.
async fn pause(status: &StatusSender, longest: Duration) {
    sleep(BACK_OFF.0).await;
    timeout(longest, status.until_connected()).await.ok();
}

struct Listener {
    connection: Connection,
    notifications: mpsc::UnboundedReceiver<Notification>,
    known: Revisions,
}

/// Connects. A new connection is counted before the state says that the database can be used.
async fn connect(inner: &Inner, was_connected: bool) -> Result<Listener, StoreError> {
    let started = Instant::now();
    let settings = &inner.settings;
    let connect = async {
        let (sender, notifications) = mpsc::unbounded_channel();
        let connection = Connection::open(settings, &inner.status, Tables::Ready, Some(sender)).await?;
        let listen = format!("LISTEN {}", quote(settings.schema.name()));
        connection.client.batch_execute(&listen).await.map_err(|error| describe(settings, &error))?;
        let known = revisions(inner, &connection).await?;
        Ok(Listener { connection, notifications, known })
    };
    let result = timeout(settings.deadline, connect).await;
    let listener = result.unwrap_or_else(|_| Err(timed_out(settings, settings.deadline)))?;
    inner.status.count(|counters| counters.reconnections += u64::from(was_connected));
    inner.status.succeeded(started.elapsed());
    Ok(listener)
}

impl Listener {
    /// Announces changes until the connection ends.
    async fn listen(&mut self, inner: &Inner) -> StoreError {
        let mut polls = polls(inner.settings.poll);
        loop {
            tokio::select! {
                notification = self.notifications.recv() => {
                    let Some(notification) = notification else {
                        return StoreError::unavailable(format!("{}: connection closed", inner.settings.server()));
                    };
                    self.notified(inner, notification.payload());
                }
                _ = polls.tick() => {
                    if let Err(error) = self.poll(inner).await {
                        return error;
                    }
                }
            }
        }
    }

    fn notified(&mut self, inner: &Inner, payload: &str) {
        let change = match payload.split_once(' ') {
            Some((revision, name)) => {
                let (name, revision) = (name.to_owned(), revision.parse().ok());
                match revision {
                    Some(revision) => self.known.insert(name.clone(), revision),
                    None => self.known.remove(&name),
                };
                Change::Record { name, revision }
            }
            None => Change::Everything,
        };
        inner.announcer.announce(change);
    }

    /// Compares all revisions with those that are known.
    async fn poll(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let deadline = inner.settings.deadline;
        let started = Instant::now();
        let found = timeout(deadline, revisions(inner, &self.connection)).await;
        let found = found.unwrap_or_else(|_| Err(timed_out(&inner.settings, deadline)))?;
        inner.status.succeeded(started.elapsed());
        // Notifications of these changes may still be waiting, and announce them again.
        for name in changed(&self.known, &found) {
            let revision = found.get(name).copied();
            inner.announcer.announce(Change::Record { name: name.to_owned(), revision });
        }
        self.known = found;
        Ok(())
    }
}

fn polls(period: Duration) -> Interval {
    let mut polls = interval(period);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    polls.reset();
    polls
}

async fn revisions(inner: &Inner, connection: &Connection) -> Result<Revisions, StoreError> {
    let failed = |error: tokio_postgres::Error| describe(&inner.settings, &error);
    let rows =
        connection.client.query_typed("SELECT name, revision FROM record", &[]).await.map_err(failed)?;
    let parse = |row: &tokio_postgres::Row| {
        let revision: i64 = row.try_get(1)?;
        Ok((row.try_get(0)?, u64::try_from(revision).unwrap_or_default()))
    };
    rows.iter().map(parse).collect::<Result<_, _>>().map_err(failed)
}

/// The names whose revision differs.
fn changed<'a>(known: &'a Revisions, found: &'a Revisions) -> impl Iterator<Item = &'a str> {
    let new = found.iter().filter(|(name, revision)| known.get(*name) != Some(revision));
    let gone = known.iter().filter(|(name, _)| !found.contains_key(*name));
    new.chain(gone).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn success_during_the_shortest_pause_ends_it() {
        let status = StatusSender::new();
        status.failed(&StoreError::unavailable("down".to_owned()));
        let success = async {
            tokio::task::yield_now().await;
            status.succeeded(Duration::ZERO);
        };
        let both = async { tokio::join!(pause(&status, Duration::MAX), success) };
        timeout(Duration::from_secs(60), both).await.expect("the pause ends");
    }

    #[test]
    fn poll_finds_new_changed_and_deleted_records() {
        let revisions = |list: &[(&str, u64)]| -> Revisions {
            list.iter().map(|(name, revision)| ((*name).to_owned(), *revision)).collect()
        };
        let known = revisions(&[("changed", 1), ("gone", 2), ("same", 3)]);
        let found = revisions(&[("changed", 4), ("new", 5), ("same", 3)]);
        assert_eq!(changed(&known, &found).collect::<Vec<_>>(), ["changed", "new", "gone"]);
        assert_eq!(changed(&known, &known).count(), 0);
    }
}
