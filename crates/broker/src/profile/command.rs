//! The commands of a profile's actor and their errors.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_fleet::Fleet;
use authd_oauth::{Annotation, Grant, ProviderError, Rejected, SharedRecord};
use authd_store::StoreError;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::snapshot::ProfileView;

pub(crate) type Mailbox = mpsc::Receiver<Command>;

pub(crate) type ProfileReply<E> = oneshot::Sender<Result<(), E>>;

/// A reply without a value means that the actor has finished the command; the view shows the
/// result.
#[derive(Debug)]
pub(crate) enum Command {
    /// A client needs a credential that lasts this long.
    RequestCredential(Duration, oneshot::Sender<()>),
    /// A caller needs a refresh, unless the rejected credential has been replaced.
    Refresh(Option<Rejected>, oneshot::Sender<()>),
    /// A new sign-in with this grant id replaces the grant.
    SignIn(Box<Grant>, Arc<str>, oneshot::Sender<()>),
    /// A server asks for scopes that the grant lacks. Without a grant id it is the present one.
    AddMissingScopes(Option<Box<str>>, Vec<String>, oneshot::Sender<()>),
    /// The store may have lost the record.
    SaveAgain,
    /// An upstream accepted the credential of this generation.
    Accepted(u64),
    /// Changes the default rank or the intent of the record. The session saves it later.
    Annotate(Annotation),
    /// A caller waits until the record is saved or known not to be.
    AwaitSave(oneshot::Sender<()>),
    /// Another node may have stored this record.
    StoredElsewhere(Box<SharedRecord>),
    Exclusive(ExclusiveCommand),
}

/// A command that changes the record or its location. It runs while no call is in flight.
#[derive(Debug)]
pub(crate) enum ExclusiveCommand {
    Annotate(Annotation, ProfileReply<StoreError>),
    Rename(ProfileName, ProfileReply<RenameError>),
    Export(ExportRequest, ProfileReply<ExportError>),
    SignOut {
        revoke: bool,
        done: ProfileReply<SignOutError>,
    },
    /// Ends the actor if another node has deleted the record. The reply says whether it ends.
    EndIfDeleted(oneshot::Sender<Result<bool, StoreError>>),
    /// Begins to move the record to the fleet's store.
    MoveToFleet {
        fleet: Fleet,
        keeps_rank: bool,
        done: ProfileReply<StoreError>,
    },
    /// Moves the record from the fleet's store to this node's store.
    MoveToLocal(ProfileReply<StoreError>),
}

/// Why a profile was not renamed. It keeps its old name.
#[derive(Debug)]
pub(crate) enum RenameError {
    /// Nothing was written under the new name.
    NotCopied(StoreError),
    /// There may be a copy under the new name. The caller deletes it.
    CopyInDoubt(StoreError),
    /// Another node has given the name to another record.
    Taken,
}

/// Why a profile was not signed out. It still exists.
#[derive(Debug)]
pub enum SignOutError {
    /// The provider did not revoke the grant.
    Provider(ProviderError),
    /// A defined provider did not revoke the grant.
    DefinedProvider(ProviderError),
    /// The defined provider has no revocation endpoint.
    NoRevocation,
    /// The user supplied the credential, and revokes it at the provider.
    OwnCredential,
    /// The store did not delete the record.
    Store(StoreError),
    /// The record could not be read, so there is no token to revoke.
    Unread(ProfileView),
}

/// Where an exported grant goes, and how it is written.
pub(crate) struct ExportRequest {
    pub(crate) home: PathBuf,
    /// The login file, or the home whose keychain item holds the login.
    pub(crate) path: PathBuf,
    /// Whether the login is a keychain item.
    pub(crate) item: bool,
    pub(crate) prepare: ExportFn,
}

/// Prepares the write of a grant to the target. Fails if the grant cannot be exported.
pub(crate) type ExportFn = Box<dyn FnOnce(&Grant) -> io::Result<ExportWrite> + Send + Sync>;

/// Writes a grant to the target, durably.
pub(crate) type ExportWrite = BoxFuture<'static, Result<Rollback, WriteError>>;

/// Why a grant was not written to the target.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Nothing was written.
    NotWritten(io::Error),
    /// It may have been written: the target could not be read or not be restored.
    InDoubt(io::Error),
}

/// Removes an exported grant from the target. After an error it may still be there.
pub(crate) type Rollback = BoxFuture<'static, io::Result<()>>;

impl std::fmt::Debug for ExportRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportRequest").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a profile was not exported.
#[derive(Debug)]
pub(crate) enum ExportError {
    /// The target did not take it. The profile is unchanged.
    Target(io::Error),
    /// The store did not load it or did not delete it. The profile is unchanged.
    Store(StoreError),
    /// The target may have it. The record keeps its intent, and its refresh token is not used,
    /// until the target can be read.
    InDoubt(StoreError),
}
