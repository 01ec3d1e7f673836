//! A provider whose refresh tokens are valid once, and its ledger of what every process has sent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use authd_oauth::{
    AccessToken, ErrorCode, Grant, GrantSecrets, IdToken, ProviderError, RefreshResponse, RefreshToken,
    Tokens,
    schedule::{earlier, later, shifted},
};
use jiff::{SignedDuration, Timestamp};

use crate::database::LEASE;

/// The lifetime of the access tokens in the model tests.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3_600);

/// How long before the expiry of the access token a token whose answer is lost may be sent again.
const GIVEN_UP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Provider {
    /// The lifetime of every access token.
    lifetime: Duration,
    families: Vec<Family>,
    issued: u32,
    sent: BTreeMap<String, Sent>,
    /// Whether the rules of order hold. A store that was restored from a backup does not know the
    /// claims and the tokens since.
    pub(crate) knows_order: bool,
}

#[derive(Debug)]
struct Family {
    newest: String,
    alive: bool,
    /// When the newest access token expires.
    expires_at: Timestamp,
}

/// The last time that a token was sent.
#[derive(Debug)]
struct Sent {
    by: Arc<str>,
    claimed_at: Timestamp,
    /// When the answer counts as lost: shortly before the access token of then expires.
    given_up_at: Timestamp,
}

/// A request of a process.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) token: RefreshToken,
    /// The process.
    pub(crate) run: Arc<str>,
    pub(crate) claimed_at: Timestamp,
    /// An upstream rejected the access token.
    pub(crate) rejected: bool,
}

impl Provider {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, families: Vec::new(), issued: 0, sent: BTreeMap::new(), knows_order: true }
    }

    /// Signs in at a node whose clock is ahead by this much.
    pub(crate) fn sign_in(&mut self, now: Timestamp, ahead: SignedDuration) -> Grant {
        let refresh_token = self.next(&format!("rt-{}", self.families.len()));
        let expires_at = later(now, self.lifetime);
        let issued_at = shifted(now, ahead);
        let tokens = Tokens {
            access_token: AccessToken::new(self.next("at")),
            refresh_token: Some(RefreshToken::new(&*refresh_token)),
            expires_at: Some(shifted(expires_at, ahead)),
        };
        self.families.push(Family { newest: refresh_token, alive: true, expires_at });
        let secrets = GrantSecrets::ChatGpt(tokens, Some(IdToken::new("id")));
        Grant { identity: Arc::default(), secrets, mode_reason: "".into(), issued_at }
    }

    /// Spends a refresh token. The error is a broken rule of order.
    pub(crate) fn spend(
        &mut self,
        request: &Request,
        now: Timestamp,
    ) -> Result<Result<RefreshResponse, ProviderError>, String> {
        let token = request.token.expose();
        let family = family_of(token);
        let by = request.run.clone();
        let before = self.sent.remove(token);
        let given_up_at = match &before {
            Some(before) => before.given_up_at,
            None => earlier(self.families[family].expires_at, GIVEN_UP),
        };
        self.sent.insert(token.to_owned(), Sent { by, claimed_at: request.claimed_at, given_up_at });
        let before = before.filter(|before| before.by != request.run);
        let before = before.filter(|_| self.knows_order);
        if before.as_ref().is_some_and(|before| now < later(before.claimed_at, LEASE)) {
            return Err(format!("{token} was sent twice within a lease"));
        }
        let Family { newest, alive, .. } = &mut self.families[family];
        if !*alive {
            return Ok(Err(rejected("refresh_token_invalidated")));
        }
        if newest != token {
            *alive = false;
            if before.is_some() && !request.rejected && now < given_up_at {
                return Err(format!("{token} was sent again while its access token was valid"));
            }
            return Ok(Err(rejected("refresh_token_reused")));
        }
        let (next, access) = (self.next(&format!("rt-{family}")), self.next("at"));
        let seconds = self.lifetime.as_secs();
        let body = format!(
            r#"{{"access_token":"{access}","refresh_token":"{next}","id_token":"id","expires_in":{seconds}}}"#
        );
        let family = &mut self.families[family];
        (family.newest, family.expires_at) = (next, later(now, self.lifetime));
        Ok(RefreshResponse::parse(body.as_bytes()))
    }

    /// Whether this token is valid.
    pub(crate) fn accepts(&self, token: &str) -> bool {
        let family = &self.families[family_of(token)];
        family.alive && family.newest == token
    }

    /// Whether the family of this token is alive.
    pub(crate) fn is_alive(&self, token: &str) -> bool {
        self.families[family_of(token)].alive
    }

    fn next(&mut self, kind: &str) -> String {
        self.issued += 1;
        format!("{kind}-{}", self.issued)
    }
}

fn rejected(code: &str) -> ProviderError {
    ProviderError::Rejected { status: 401, code: ErrorCode::new(code) }
}

fn family_of(token: &str) -> usize {
    token.split('-').nth(1).and_then(|number| number.parse().ok()).expect("a refresh token of this provider")
}
