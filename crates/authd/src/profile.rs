//! One profile: an actor that owns the grant, and the handle that everything else holds of it. All rules about the
//! grant are in [`authd_oauth::Session`].

mod actor;
mod command;
mod handle;
mod log;
mod persist;
mod relocate;
mod routing;

use std::sync::Arc;

use authd_oauth::Endpoint;
use authd_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    actor::{InitialState, spawn},
    command::{
        ExportError, ExportRequest, ExportWrite, Mailbox, RenameError, Rollback, SignOutError, WriteError,
    },
    handle::{ActorStopped, ProfileHandle},
    persist::{delete, load},
};
use crate::{events::Events, facts::Rendering, metrics::Metrics};

/// What every profile works with.
pub(crate) struct ProfileDeps {
    /// The provider.
    pub(crate) endpoint: Endpoint,
    /// The store that keeps the records.
    pub(crate) store: Store,
    /// What credentials are rendered with; replaced by a reload.
    pub(crate) rendering: watch::Receiver<Arc<Rendering>>,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Where changes are announced.
    pub(crate) events: Events,
    /// The stop has begun: finish what must not be cancelled, begin nothing.
    pub(crate) stopping: CancellationToken,
    /// No sign-in comes any more: an actor that has saved everything may end.
    pub(crate) closing: CancellationToken,
}
