//! The handle of a fleet.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use authd_oauth::claim::Holder;
use authd_store::StoreError;
use tokio::sync::watch;

use crate::{
    changes::Changes,
    config::{FleetConfig, Settings},
    connection::Tables,
    inner::Inner,
    listener, schema,
    status::FleetStatus,
};

/// The records of a fleet. A clone is cheap.
#[derive(Clone)]
pub struct Fleet(pub(crate) Arc<Inner>);

/// The future that listens for changes.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fleet ({})", self.0.settings.server())
    }
}

impl Fleet {
    /// A handle, and the task that receives changes. Makes no connection. The error names a setting
    /// that cannot be used.
    pub fn start(config: FleetConfig) -> Result<(Self, Task), StoreError> {
        let settings = Settings::parse(config)?;
        let run = format!("{:032x}", rand::random::<u128>());
        let holder = Holder { node: settings.node.clone(), run: run.into() };
        let inner = Arc::new(Inner::new(settings, holder));
        Ok((Self(inner.clone()), Box::pin(listener::run(inner))))
    }

    /// The changes from now on, also those of this node.
    pub fn changes(&self) -> Changes {
        self.0.announcer.subscribe()
    }

    /// The state of the database as this node sees it.
    pub fn watch(&self) -> watch::Receiver<FleetStatus> {
        self.0.status.subscribe()
    }

    /// This process, as its claims name it.
    pub fn holder(&self) -> &Holder {
        &self.0.holder
    }

    /// The server and its database, for users: without the password.
    pub fn server(&self) -> String {
        self.0.settings.server().to_string()
    }

    /// The schema of the tables.
    pub fn schema(&self) -> &str {
        self.0.settings.schema.name()
    }

    /// Reports the duration and the error of every call from now on. Later observers are ignored.
    pub fn observe(&self, observer: impl Fn(Duration, Option<&StoreError>) + Send + Sync + 'static) {
        self.0.observer.set(Box::new(observer)).ok();
    }

    /// How long a claim is held for its holder.
    pub fn lease(&self) -> Duration {
        self.0.settings.lease()
    }

    /// The longest time that a call under a claim may take.
    pub fn call_limit(&self) -> Duration {
        self.0.settings.call_limit
    }

    /// Creates the tables, or brings them to the current version.
    pub async fn migrate_schema(&self) -> Result<(), StoreError> {
        let inner = &*self.0;
        inner
            .call(async {
                let session = inner.session(Tables::Unchecked).await?;
                schema::migrate(&inner.settings, session.client()).await?;
                // The next call checks the new tables.
                drop(session);
                Ok(())
            })
            .await
    }

    /// Checks the connection, the server, the tables, the key and the write access.
    pub async fn check(&self) -> Result<(), StoreError> {
        let inner = &*self.0;
        inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                schema::check_write_access(&inner.settings, session.client()).await?;
                session.keep();
                Ok(())
            })
            .await
    }
}
