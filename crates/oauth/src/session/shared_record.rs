//! What a session knows about a record that other nodes write, too. No rule is here.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::Record;

/// The version of a stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Changes with every write ([`crate::claim::Row::revision`]).
    pub revision: u64,
    /// The number of the refresh token ([`crate::claim::Row::token`]).
    pub token: u64,
}

/// A record as another node may have stored it.
#[derive(Clone, Debug)]
pub struct SharedRecord {
    /// The record.
    pub record: Box<Record>,
    /// Its version.
    pub version: Version,
    /// How much longer the access token can be used, by the store's clock. The record's own times
    /// are those of the node that wrote it.
    pub valid_for: Option<Duration>,
}

/// The result of [`Effect::Claim`](super::Effect::Claim).
#[derive(Clone, Debug)]
pub enum ClaimResult {
    /// The token may be sent. An earlier claim on it has ended without a known result at this time.
    Granted(Option<Timestamp>),
    /// Another node renews the grant, or the provider asked for a pause.
    Wait {
        /// Try again after this time.
        wait: Duration,
        /// The node that holds the claim, if any.
        holder: Option<Arc<str>>,
    },
    /// Another node has stored this record, or has deleted it.
    Superseded(Option<SharedRecord>),
}

/// The result of [`Effect::Write`](super::Effect::Write).
#[derive(Clone, Debug)]
pub enum WriteResult {
    /// The record is stored with this version.
    Done(Version),
    /// Another node has stored this record, or has deleted it. Nothing was written.
    Conflict(Option<SharedRecord>),
}

/// What the present record changes in the stored one. A later variant includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Fields,
    /// The refresh token is the successor of the stored one.
    Successor,
    SignIn,
}

/// The part of a session that concerns other nodes.
#[derive(Debug)]
pub(super) struct Shared {
    /// The stored record that the present one is based on. None: nothing is stored yet.
    pub(super) base: Option<Version>,
    pub(super) change: Change,
    /// The grant that a sign-in replaces.
    pub(super) replaced: Option<Arc<str>>,
    /// A newer record, which waits for the end of the call in flight.
    pub(super) newer: Option<SharedRecord>,
    /// The last claim had to wait.
    pub(super) awaits_other: bool,
    /// The node that holds the claim, while a claim here waits for it.
    pub(super) claimed_by: Option<Arc<str>>,
}

impl Shared {
    pub(super) fn new(base: Option<Version>, change: Change) -> Self {
        Self { base, change, replaced: None, newer: None, awaits_other: false, claimed_by: None }
    }

    /// The state after a new sign-in instead of this grant.
    pub(super) fn with_sign_in(mut self, replaced: Arc<str>) -> Self {
        // Of several sign-ins that are not stored, the first replaces the stored grant.
        if self.change != Change::SignIn {
            self.replaced = Some(replaced);
        }
        (self.change, self.awaits_other, self.claimed_by) = (Change::SignIn, false, None);
        self
    }
}
