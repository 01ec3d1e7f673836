//! The order in which the nodes of a fleet renew one grant. All of it is pure: the database's row
//! goes in, the changed row comes out. The database runs each function inside one short
//! transaction, with its own clock, so that two nodes never decide on the same row at once.
//!
//! ```text
//!            claim                  the provider answers            commit
//!   free ────────────► claimed ───────────────────────────► new refresh token, free
//!    ▲                    │
//!    ├── release ◄────────┤  the token was certainly not spent
//!    └── a takeover ◄─────┘  the claim has ended without a commit
//! ```
//!
//! A provider accepts no fencing token: a refresh token that is sent twice may end the grant. So a
//! claim is the permission to send this refresh token, and it counts as sent from then on. Only the
//! claim's holder can get the successor, so a commit is accepted even after the claim has ended.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::schedule::{earlier, later};

/// How long before the expiry of the access token a lost answer is given up: one call must fit in.
const BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// How long after the end of a claim a lost answer is given up if the access token has no expiry.
const WITHOUT_EXPIRY: Duration = Duration::from_secs(600);

/// A process that may hold a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node's name.
    pub node: Arc<str>,
    /// The random id of the process. Claims of an earlier process of the node are another's: two
    /// nodes may have one name by mistake.
    pub run: Arc<str>,
}

/// The permission to send a refresh token, and the sign that it may have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The process that may send it.
    pub holder: Holder,
    /// When the claim was granted.
    pub since: Timestamp,
    /// When another node may claim the token, by the rules of [`claim`].
    pub until: Timestamp,
}

/// The state of a stored record beside its sealed text. All times are those of the database's
/// clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Changes with every write, and is never used twice.
    pub revision: u64,
    /// The number of the refresh token: the revision that stored it. So no two tokens have the same
    /// number, not even after a sign-out and a new sign-in under the same name.
    pub token: u64,
    /// When the access token expires, if that is known.
    pub expires_at: Option<Timestamp>,
    /// The claim on the refresh token.
    pub claim: Option<Claim>,
    /// No claim is granted before this time: the provider asked for a pause.
    pub retry_at: Option<Timestamp>,
}

/// A request to send a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The process that asks.
    pub holder: Holder,
    /// The revision of the record that it knows. A claim is granted on the newest record only: the
    /// provider may have rejected the token for good, or a user may have signed in again.
    pub revision: u64,
    /// An upstream rejected the access token, so that there is nothing to wait for until it
    /// expires.
    pub rejected: bool,
}

/// The answer to a [`ClaimRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    /// The token may be sent now.
    Granted {
        /// The row to store.
        row: Row,
        /// When another process claimed the token. That claim ended without a known result, so
        /// its answer may be lost.
        lost_since: Option<Timestamp>,
    },
    /// Not before this time.
    Wait {
        /// The time on the database's clock.
        until: Timestamp,
        /// The node that holds the claim, if any.
        holder: Option<Arc<str>>,
    },
    /// There is a newer record: read it.
    Superseded,
}

/// Decides on a request. The lease is how long the claim is held for its holder.
pub fn claim(row: &Row, request: &ClaimRequest, lease: Duration, now: Timestamp) -> ClaimDecision {
    if row.revision != request.revision {
        return ClaimDecision::Superseded;
    }
    let wait = row.claim.as_ref().and_then(|held| {
        let until = takeover_at(held, request, row.expires_at)?;
        Some((until, Some(held.holder.node.clone())))
    });
    let wait = wait.or_else(|| row.retry_at.map(|at| (at, None)));
    if let Some((until, holder)) = wait.filter(|(until, _)| now < *until) {
        return ClaimDecision::Wait { until, holder };
    }
    let claim = Claim { holder: request.holder.clone(), since: now, until: later(now, lease) };
    let lost = row.claim.as_ref().filter(|held| held.holder != request.holder);
    let lost_since = lost.map(|held| held.since);
    let row = Row { claim: Some(claim), retry_at: None, ..row.clone() };
    ClaimDecision::Granted { row, lost_since }
}

/// When a token that is claimed may be claimed again; `None` at once: the holder knows that its
/// call has ended. Another process waits for the holder's late commit as long as the access token
/// can be used: a token that was spent must not be sent again while its successor may still arrive.
fn takeover_at(held: &Claim, request: &ClaimRequest, expires_at: Option<Timestamp>) -> Option<Timestamp> {
    if held.holder == request.holder {
        return None;
    }
    let given_up_at = match expires_at {
        _ if request.rejected => held.until,
        Some(expires_at) => earlier(expires_at, BEFORE_EXPIRY),
        None => later(held.until, WITHOUT_EXPIRY),
    };
    Some(held.until.max(given_up_at))
}

/// Whether a claim that was requested this long ago still outlives a call with this timeout.
pub fn may_send(since_request: Duration, lease: Duration, timeout: Duration) -> bool {
    since_request + timeout <= lease
}

/// The kinds of write. Each names the state that it is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The record of a new name.
    Create,
    /// A new sign-in instead of the token with this number.
    Replace {
        /// The number.
        token: u64,
    },
    /// The successor of the token with this number.
    Commit {
        /// The number.
        token: u64,
    },
    /// A change of other fields.
    Update {
        /// The revision that was changed.
        revision: u64,
        /// Whether the writer's claim ends: its call has ended, and the token was not replaced.
        release: bool,
    },
}

/// A write that is based on an outdated state. The writer reads the row and decides anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// The row after a write, or a conflict. `revision` is a new one, and `expires_at` belongs to the
/// access token in the record that is written.
pub fn write(
    row: Option<&Row>,
    write: Write,
    holder: &Holder,
    revision: u64,
    expires_at: Option<Timestamp>,
) -> Result<Row, Conflict> {
    let free = Row { revision, token: revision, expires_at, claim: None, retry_at: None };
    match (row, write) {
        (None, Write::Create) => Ok(free),
        (Some(row), Write::Replace { token } | Write::Commit { token }) if row.token == token => Ok(free),
        (Some(row), Write::Update { revision: base, release }) if row.revision == base => {
            let kept = row.claim.clone().filter(|claim| !release || claim.holder != *holder);
            Ok(Row { revision, claim: kept, ..row.clone() })
        }
        _ => Err(Conflict),
    }
}

/// The row after its holder reports that the token was not spent. Another holder's claim stays.
pub fn release(row: &Row, holder: &Holder, retry_at: Option<Timestamp>) -> Row {
    match &row.claim {
        Some(claim) if claim.holder == *holder => Row { claim: None, retry_at, ..row.clone() },
        _ => row.clone(),
    }
}
