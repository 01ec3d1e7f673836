//! What can be asked of a profile's actor, and how it can fail.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{Annotation, Grant, ProviderError, Rejected};
use authd_store::StoreError;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::facts::View;

/// The receiving end of a profile's commands.
pub(crate) type Mailbox = mpsc::Receiver<Command>;

/// A command. A reply without a value says only that the command is settled: the view says how.
#[derive(Debug)]
pub(crate) enum Command {
    /// A credential is needed that lasts this long.
    Want(Duration, oneshot::Sender<()>),
    /// A refresh is needed, unless the rejected credential is replaced already.
    Refresh(Option<Rejected>, oneshot::Sender<()>),
    /// A new sign-in under this name, and the id of its grant.
    SignIn(Box<Grant>, Arc<str>, oneshot::Sender<()>),
    /// The store has lost the record.
    SaveAgain,
    /// An upstream accepted the credential of this generation.
    Accepted(u64),
    /// Changes the record's mark or intent, which is saved by and by.
    Note(Annotation),
    /// These change the record, or where it is kept. Each runs alone, while no call is in flight.
    Exclusive(Exclusive),
}

/// A command that runs while no call is in flight.
#[derive(Debug)]
pub(crate) enum Exclusive {
    /// Saves the record with another mark or intent.
    Annotate(Annotation, oneshot::Sender<Result<(), StoreError>>),
    /// Copies the record to another name. The caller deletes the old one.
    Rename(ProfileName, oneshot::Sender<Result<(), RenameError>>),
    /// Writes the grant somewhere else, and deletes it here.
    Export(ExportRequest, oneshot::Sender<Result<(), ExportError>>),
    /// Deletes the record, after a revocation at the provider if asked to.
    SignOut { revoke: bool, done: oneshot::Sender<Result<(), SignOutError>> },
}

/// Why a profile was not renamed. It is there under its old name.
#[derive(Debug)]
pub(crate) enum RenameError {
    /// Nothing was written under the new name.
    NotCopied(StoreError),
    /// There may be a copy under the new name, which has to be deleted.
    CopyInDoubt(StoreError),
}

/// Why a profile was not signed out. It is still there.
#[derive(Debug)]
pub(crate) enum SignOutError {
    /// The provider did not revoke it.
    Provider(ProviderError),
    /// The store did not delete it.
    Store(StoreError),
    /// Its record could not be read, so that there is nothing to revoke with.
    Unread(View),
}

/// Where a grant goes that is given away, and how it gets there.
pub(crate) struct ExportRequest {
    /// The Codex home.
    pub(crate) home: PathBuf,
    /// The file, or the home whose keychain item it is.
    pub(crate) path: PathBuf,
    /// Whether it is an item of the keychain.
    pub(crate) item: bool,
    /// Prepares the write of the grant.
    pub(crate) prepare: ExportFn,
}

/// Prepares the write of a grant somewhere else, if it can be given away at all.
pub(crate) type ExportFn = Box<dyn FnOnce(&Grant) -> io::Result<ExportWrite> + Send + Sync>;

/// Writes a grant somewhere else, durably.
pub(crate) type ExportWrite = BoxFuture<'static, Result<Rollback, WriteError>>;

/// Why a grant was not written somewhere else.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Nothing of it is there.
    NotWritten(io::Error),
    /// It may be there: the place could not be read, or not be changed back.
    InDoubt(io::Error),
}

/// Takes a grant that was written away again. After an error it may be there still.
pub(crate) type Rollback = BoxFuture<'static, io::Result<()>>;

impl std::fmt::Debug for ExportRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportRequest").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a profile was not exported.
#[derive(Debug)]
pub(crate) enum ExportError {
    /// The other place did not take it. It is still here.
    Elsewhere(io::Error),
    /// The store did not give it, or did not delete it. It is still here.
    Store(StoreError),
    /// It may be at the other place. The record here keeps its intent until that place can be read, and its refresh
    /// token is not used until then.
    InDoubt(StoreError),
}
