//! A share as its door uses it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authd_oauth::Identity;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    key::KeyHash,
    paths::{self, PathError},
    rate::RateLimiter,
    terms::ShareTerms,
};

/// A share. Clones share its limit and its end.
#[derive(Clone, Debug)]
pub struct Share {
    /// The id.
    pub id: Arc<str>,
    /// The terms.
    pub terms: Arc<ShareTerms>,
    pub(super) key_hash: Option<KeyHash>,
    limiter: Option<Arc<Mutex<RateLimiter>>>,
    ended: CancellationToken,
}

impl Share {
    pub(super) fn new(id: Arc<str>, terms: ShareTerms, key_hash: Option<KeyHash>) -> Self {
        let limiter = terms.rate.map(|rate| Arc::new(Mutex::new(RateLimiter::new(rate, Instant::now()))));
        Self { id, terms: Arc::new(terms), key_hash, limiter, ended: CancellationToken::new() }
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

    /// Whether the share is of this account.
    pub fn is_of(&self, identity: &Identity) -> bool {
        *self.terms.account == *account(identity)
    }

    /// Checks a path below the profile's base URL, without a leading slash.
    pub fn check_path(&self, path: &str) -> Result<(), PathError> {
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
