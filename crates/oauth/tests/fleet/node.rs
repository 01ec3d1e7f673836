//! A node of the fleet, and its call in flight.

use authd_oauth::{
    ClaimResult, ProviderError, Record, RefreshResponse, RefreshToken, SaveError, Session, WriteResult,
    claim::{Holder, Write},
};
use jiff::{SignedDuration, Timestamp};

/// A process of a node.
pub(crate) struct Node {
    pub(crate) session: Session,
    pub(crate) holder: Holder,
    /// How far the node's clock is ahead.
    pub(crate) ahead: SignedDuration,
    pub(crate) call: Option<Call>,
    /// When the last claim was requested.
    pub(crate) claimed_at: Timestamp,
    pub(crate) rejected: bool,
    /// A successor that is not stored, and the number of the token that was spent for it.
    pub(crate) holds: Option<(String, u64)>,
}

/// A call in flight.
pub(crate) struct Call {
    pub(crate) ticket: u64,
    pub(crate) kind: CallKind,
    pub(crate) began: Timestamp,
    pub(crate) result: Option<CallResult>,
}

/// What a call does.
#[derive(Debug)]
pub(crate) enum CallKind {
    Probe,
    Claim(u64, bool),
    Write(Box<Record>, Write),
    Refresh(RefreshToken),
}

/// The result of a call.
#[derive(Clone)]
pub(crate) enum CallResult {
    Probed(bool),
    Claimed(Result<ClaimResult, SaveError>),
    Written(Result<WriteResult, SaveError>),
    Refreshed(Result<RefreshResponse, ProviderError>),
}

impl CallKind {
    /// The result of a call that fails: it certainly had no effect, or it may have had one.
    pub(crate) fn failure(&self, had_no_effect: bool) -> CallResult {
        let detail = String::new();
        let store = || SaveError { locked: false, message: "unreachable".to_owned() };
        match self {
            Self::Probe => CallResult::Probed(false),
            Self::Claim(..) => CallResult::Claimed(Err(store())),
            Self::Write(..) => CallResult::Written(Err(store())),
            Self::Refresh(_) if had_no_effect => {
                CallResult::Refreshed(Err(ProviderError::NotSent { detail }))
            }
            Self::Refresh(_) => CallResult::Refreshed(Err(ProviderError::NoResponse { detail })),
        }
    }
}

/// The refresh token of a record.
pub(crate) fn token_of(record: &Record) -> &str {
    record.grant.secrets.refresh_token().expect("every grant here has one").expose()
}
