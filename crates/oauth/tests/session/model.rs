//! What a session talks to: a provider whose refresh tokens die on use, and a store. Both are perfect;
//! what goes wrong on the way to them is the world's business.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use authd_oauth::{
    AccessToken, ApiKey, Bearer, Code, Grant, GrantSecrets, IdToken, Mode, ProviderError, Record,
    RefreshAnswer, RefreshToken, Tokens, schedule::later,
};
use jiff::Timestamp;

/// A provider that rotates: each refresh token is good once, and using one again kills its family.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    families: Vec<Family>,
    /// Counts everything ever issued, so that no two secrets are alike.
    issued: u32,
}

#[derive(Clone, Debug)]
struct Family {
    newest: String,
    id_token: String,
    alive: bool,
}

/// The answer to a refresh, and the refresh token and the id token that its receiver has from then on.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) answer: RefreshAnswer,
    pub(crate) brings: String,
    pub(crate) id_token: String,
    /// Whether there is an access token in it.
    pub(crate) renews: bool,
}

/// What an answer to a refresh brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brings {
    All,
    /// The provider does not rotate.
    AccessToken,
    /// The provider rotates, and forgets the access token.
    RefreshToken,
}

impl Provider {
    /// A new sign-in: a family of its own.
    pub(crate) fn sign_in(&mut self, mode: Mode, lifetime: Duration, now: Timestamp) -> Grant {
        let refresh_token = self.next(&format!("rt-{}", self.families.len()));
        let attests = self.next("id");
        let id_token = IdToken::new(&*attests);
        let tokens = Tokens {
            access_token: AccessToken::new(self.next("at")),
            refresh_token: Some(RefreshToken::new(&*refresh_token)),
            expires_at: later(now, lifetime),
        };
        self.families.push(Family { newest: refresh_token, id_token: attests, alive: true });
        let secrets = match mode {
            Mode::ChatGpt => GrantSecrets::ChatGpt(tokens, Some(id_token)),
            Mode::ApiKey => GrantSecrets::ApiKey(self.key(), Some(Box::new((tokens, id_token)))),
        };
        Grant { identity: Arc::default(), secrets, mode_reason: "".into(), issued_at: now }
    }

    /// Spends a refresh token.
    pub(crate) fn spend(
        &mut self,
        token: &str,
        brings: Brings,
        lifetime: Duration,
    ) -> Result<Renewal, ProviderError> {
        let family = family_of(token);
        let Family { newest, alive, .. } = &mut self.families[family];
        if !*alive {
            return Err(refused("refresh_token_invalidated"));
        }
        if newest != token {
            *alive = false;
            return Err(refused("refresh_token_reused"));
        }
        let seconds = lifetime.as_secs();
        let mut body = format!(r#"{{"expires_in":{seconds}"#);
        if brings != Brings::RefreshToken {
            body += &format!(r#","access_token":"{}""#, self.next("at"));
        }
        if brings != Brings::AccessToken {
            let newest = self.next(&format!("rt-{family}"));
            let id_token = self.next("id");
            body += &format!(r#","id_token":"{id_token}","refresh_token":"{newest}""#);
            self.families[family] = Family { newest, id_token, alive: true };
        }
        body += "}";
        let answer = RefreshAnswer::parse(body.as_bytes())?;
        let Family { newest, id_token, .. } = self.families[family].clone();
        Ok(Renewal { answer, brings: newest, id_token, renews: brings != Brings::RefreshToken })
    }

    /// An API key.
    pub(crate) fn key(&mut self) -> ApiKey {
        ApiKey::new(self.next("sk"))
    }

    /// Somebody revokes the family of this token.
    pub(crate) fn revoke(&mut self, token: &str) {
        self.families[family_of(token)].alive = false;
    }

    /// Whether this token would still be taken.
    pub(crate) fn accepts(&self, token: &str) -> bool {
        let Family { newest, alive, .. } = &self.families[family_of(token)];
        *alive && newest == token
    }

    fn next(&mut self, kind: &str) -> String {
        self.issued += 1;
        format!("{kind}-{}", self.issued)
    }
}

/// A permanent refusal.
pub(crate) fn refused(code: &str) -> ProviderError {
    ProviderError::Rejected { status: 401, code: Code::new(code) }
}

/// The family's number, as it is written into each of its tokens.
fn family_of(token: &str) -> usize {
    token.split('-').nth(1).and_then(|number| number.parse().ok()).expect("a refresh token of this provider")
}

/// One record, and a memory of every credential that was ever in it.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) durable: Option<Record>,
    ever: BTreeSet<String>,
}

impl Store {
    /// What the record lacks stays as it is.
    pub(crate) fn write(&mut self, record: Record) {
        self.ever.insert(bearer_of(&record).to_owned());
        let at_rest = self.durable.take().filter(|_| !record.is_whole()).map(|durable| durable.to_text());
        self.durable = Some(record.with_id_token_from(at_rest.as_ref()));
    }

    /// Whether a crash at any time since would have found this credential, or one after it.
    pub(crate) fn ever_held(&self, bearer: &str) -> bool {
        self.ever.contains(bearer)
    }
}

/// The credential that a record is for.
pub(crate) fn bearer_of(record: &Record) -> &str {
    match &record.grant.secrets {
        GrantSecrets::ChatGpt(tokens, _) => tokens.access_token.expose(),
        GrantSecrets::ApiKey(key, _) => key.expose(),
    }
}

/// The refresh token of a record; in this world there always is one.
pub(crate) fn refresh_token_of(record: &Record) -> &str {
    record.grant.secrets.refresh_token().expect("every grant of this world has one").expose()
}

/// The id token of a record, if it is in it.
pub(crate) fn id_token_of(record: &Record) -> Option<&str> {
    record.grant.secrets.id_token().map(IdToken::expose)
}

/// The secret of a bearer.
pub(crate) fn secret_of(bearer: &Bearer) -> &str {
    match bearer {
        Bearer::Access(token) => token.expose(),
        Bearer::Key(key) => key.expose(),
    }
}
