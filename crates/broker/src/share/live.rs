//! A share as its door uses it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authd_oauth::Identity;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    hold::{Holders, ShareHold},
    key::KeyHash,
    paths::{self, PathError},
    rate::RateLimiter,
    terms::ShareTerms,
};

/// A share. Clones share its limit, its holders and its end.
#[derive(Clone, Debug)]
pub struct Share {
    /// The id.
    pub id: Arc<str>,
    /// The terms.
    pub terms: Arc<ShareTerms>,
    pub(super) key_hash: Option<KeyHash>,
    limiter: Option<Arc<Mutex<RateLimiter>>>,
    /// `None` if the share is not held.
    holders: Option<Arc<Mutex<Holders>>>,
    ended: CancellationToken,
}

impl Share {
    pub(super) fn new(id: Arc<str>, terms: ShareTerms, key_hash: Option<KeyHash>) -> Self {
        let now = Instant::now();
        let limiter = terms.rate.map(|rate| Arc::new(Mutex::new(RateLimiter::new(rate, now))));
        let holders = terms.held.then(|| Arc::new(Mutex::new(Holders::new(now))));
        Self { id, terms: Arc::new(terms), key_hash, limiter, holders, ended: CancellationToken::new() }
    }

    /// The same share with other terms.
    pub(super) fn with_terms(&self, terms: ShareTerms) -> Self {
        Self { terms: Arc::new(terms), ..self.clone() }
    }

    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Cancelled when the share has ended. Connections through its door must close then.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Whether the share can be used at this time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.terms.expires_at && !self.ended.is_cancelled()
    }

    /// Holds the share. `released` is notified when the hold ends. `None` if the share is not held.
    pub(super) fn hold(&self, released: Arc<Notify>) -> Option<ShareHold> {
        let holders = self.holders.clone()?;
        Some(ShareHold::new(holders, self.ended.clone(), released))
    }

    /// When a held share ends if nothing holds it until then. `None` if something holds it, or if
    /// the share is not held.
    pub(super) fn end_without_holder(&self) -> Option<Instant> {
        self.holders.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).end()
    }

    /// Whether the share is of this account.
    pub fn is_of(&self, identity: &Identity) -> bool {
        *self.terms.account == *account(identity)
    }

    /// Checks a path below the profile's base URL, without a leading slash. The empty one is the
    /// base URL itself, which a share with a list of paths does not allow.
    pub fn check_path(&self, path: &str) -> Result<(), PathError> {
        if path.is_empty() {
            return if self.terms.paths.is_empty() { Ok(()) } else { Err(PathError::NotAllowed) };
        }
        paths::check(path, &self.terms.paths)
    }

    /// Counts a request. If the rate limit is reached, returns the time until the next request is
    /// allowed.
    pub fn try_acquire(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.lock().unwrap_or_else(PoisonError::into_inner).try_acquire(Instant::now())
    }
}

/// The text that recognises an account without naming it.
pub(super) fn account(identity: &Identity) -> Box<str> {
    URL_SAFE_NO_PAD.encode(identity.fingerprint()).into()
}
