//! A provider with single-use refresh tokens, and a store. Neither fails by itself: the simulation
//! adds failures to the calls.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use authd_oauth::{
    AccessToken, ApiKey, Bearer, BearerGrant, ErrorCode, Grant, GrantSecrets, IdToken, Mode, ProviderError,
    Record, RefreshResponse, RefreshToken, Tokens, schedule::later,
};
use jiff::Timestamp;

/// A provider that rotates refresh tokens. Each is valid once; reuse revokes its family.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    families: Vec<Family>,
    /// Number of issued secrets, so that each is unique.
    issued: u32,
}

#[derive(Clone, Debug)]
struct Family {
    newest: String,
    /// None in bearer mode.
    id_token: Option<String>,
    alive: bool,
}

/// The response to a refresh, and the refresh token, the id token and the scopes after it.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) response: RefreshResponse,
    pub(crate) refresh_token: String,
    pub(crate) id_token: Option<String>,
    /// The scopes that the response states: narrower ones with every refresh.
    pub(crate) scopes: Option<Vec<String>>,
    /// Whether the response contains an access token.
    pub(crate) has_access_token: bool,
}

/// The tokens in a refresh response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseContent {
    All,
    /// The provider does not state a lifetime.
    AllWithoutLifetime,
    /// The provider does not rotate.
    AccessToken,
    /// The provider rotates and sends no access token.
    RefreshToken,
}

impl Provider {
    /// A new sign-in starts a new family.
    pub(crate) fn sign_in(&mut self, mode: Mode, lifetime: Duration, now: Timestamp) -> Grant {
        let refresh_token = self.next(&format!("rt-{}", self.families.len()));
        let id_token_text = self.next("id");
        let id_token = IdToken::new(&*id_token_text);
        let is_bearer = mode == Mode::Bearer;
        let tokens = Tokens {
            access_token: AccessToken::new(self.next("at")),
            refresh_token: Some(RefreshToken::new(&*refresh_token)),
            expires_at: Some(later(now, lifetime)),
        };
        let id_token_text = Some(id_token_text).filter(|_| !is_bearer);
        self.families.push(Family { newest: refresh_token, id_token: id_token_text, alive: true });
        let secrets = match mode {
            Mode::ChatGpt => GrantSecrets::ChatGpt(tokens, Some(id_token)),
            Mode::ApiKey => GrantSecrets::ApiKey(self.key(), Some(Box::new((tokens, id_token)))),
            Mode::Bearer => GrantSecrets::Bearer(Box::new(BearerGrant {
                tokens,
                client_secret: None,
                authority: Arc::default(),
            })),
        };
        Grant { identity: Arc::default(), secrets, mode_reason: "".into(), issued_at: now }
    }

    /// Spends a refresh token.
    pub(crate) fn spend(
        &mut self,
        token: &str,
        content: ResponseContent,
        lifetime: Duration,
    ) -> Result<Renewal, ProviderError> {
        let family = family_of(token);
        let Family { newest, alive, .. } = &mut self.families[family];
        if !*alive {
            return Err(rejected_with("refresh_token_invalidated"));
        }
        if newest != token {
            *alive = false;
            return Err(rejected_with("refresh_token_reused"));
        }
        let mut fields = vec![];
        if content != ResponseContent::AllWithoutLifetime {
            fields.push(format!(r#""expires_in":{}"#, lifetime.as_secs()));
        }
        if content != ResponseContent::RefreshToken {
            fields.push(format!(r#""access_token":"{}""#, self.next("at")));
        }
        if content != ResponseContent::AccessToken {
            let (newest, id_token) = (self.next(&format!("rt-{family}")), self.next("id"));
            fields.push(format!(r#""id_token":"{id_token}","refresh_token":"{newest}""#));
            let before = &mut self.families[family];
            before.newest = newest;
            before.id_token = before.id_token.take().map(|_| id_token);
        }
        let scopes = (content != ResponseContent::AccessToken).then(|| vec![self.next("scope")]);
        fields.extend(scopes.iter().map(|scopes| format!(r#""scope":"{}""#, scopes.join(" "))));
        let response = RefreshResponse::parse(format!("{{{}}}", fields.join(",")).as_bytes())?;
        let Family { newest, id_token, .. } = self.families[family].clone();
        Ok(Renewal {
            response,
            refresh_token: newest,
            id_token,
            scopes,
            has_access_token: content != ResponseContent::RefreshToken,
        })
    }

    /// An API key.
    pub(crate) fn key(&mut self) -> ApiKey {
        ApiKey::new(self.next("sk"))
    }

    /// Revokes the family of this token.
    pub(crate) fn revoke(&mut self, token: &str) {
        self.families[family_of(token)].alive = false;
    }

    /// Whether this token is valid.
    pub(crate) fn accepts(&self, token: &str) -> bool {
        let Family { newest, alive, .. } = &self.families[family_of(token)];
        *alive && newest == token
    }

    fn next(&mut self, kind: &str) -> String {
        self.issued += 1;
        format!("{kind}-{}", self.issued)
    }
}

/// A permanent rejection.
pub(crate) fn rejected_with(code: &str) -> ProviderError {
    ProviderError::Rejected { status: 401, code: ErrorCode::new(code) }
}

/// A rejection that does not end the grant.
pub(crate) fn rejected_for_now(code: &str) -> ProviderError {
    ProviderError::RejectedForNow { status: 400, code: ErrorCode::new(code), retry_after: None }
}

/// The family number in a token.
fn family_of(token: &str) -> usize {
    token.split('-').nth(1).and_then(|number| number.parse().ok()).expect("a refresh token of this provider")
}

/// One record, and every credential that it has ever contained.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) durable: Option<Record>,
    ever: BTreeSet<String>,
}

impl Store {
    /// Keeps the stored id token if the record has none.
    pub(crate) fn write(&mut self, record: Record) {
        self.ever.insert(bearer_of(&record).to_owned());
        let stored = self.durable.take().filter(|_| !record.is_complete()).map(|durable| durable.to_text());
        self.durable = Some(record.with_id_token_from(stored.as_ref()));
    }

    /// Whether this credential was ever stored.
    pub(crate) fn ever_held(&self, bearer: &str) -> bool {
        self.ever.contains(bearer)
    }
}

/// The credential of a record.
pub(crate) fn bearer_of(record: &Record) -> &str {
    match &record.grant.secrets {
        GrantSecrets::ChatGpt(tokens, _) => tokens.access_token.expose(),
        GrantSecrets::ApiKey(key, _) => key.expose(),
        GrantSecrets::Bearer(grant) => grant.tokens.access_token.expose(),
    }
}

/// The refresh token of a record; every simulated grant has one.
pub(crate) fn refresh_token_of(record: &Record) -> &str {
    record.grant.secrets.refresh_token().expect("every simulated grant has one").expose()
}

/// The scopes of a record that the provider granted, and those that a server has asked for since.
pub(crate) fn scopes_of(record: &Record) -> [&[String]; 2] {
    let authority = record.grant.secrets.authority();
    authority.map(|authority| [&authority.scopes[..], &authority.missing_scopes]).unwrap_or_default()
}

/// The id token of a record, if it has one.
pub(crate) fn id_token_of(record: &Record) -> Option<&str> {
    record.grant.secrets.id_token().map(IdToken::expose)
}

/// The secret of a bearer.
pub(crate) fn secret_of(bearer: &Bearer) -> &str {
    match bearer {
        Bearer::Access(token) | Bearer::Token(token) => token.expose(),
        Bearer::Key(key) => key.expose(),
    }
}
