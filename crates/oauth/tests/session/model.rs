//! What a session talks to: a provider whose refresh tokens die on use, and a store. Both are perfect;
//! what goes wrong on the way to them is the world's business.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use authd_oauth::{
    AccessToken, ApiKey, Bearer, Code, Failure, Grant, Holding, IdToken, Mode, Record, RefreshAnswer,
    RefreshToken, Tokens, schedule::later,
};
use jiff::Timestamp;

/// A provider that rotates: each refresh token is good once, and using one again kills its family.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    families: Vec<Family>,
    /// Counts everything ever issued, so that no two secrets are alike.
    issued: u32,
}

#[derive(Debug)]
struct Family {
    newest: String,
    alive: bool,
}

/// The answer to a refresh, and the refresh token that its receiver has from then on.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) answer: RefreshAnswer,
    pub(crate) brings: String,
}

impl Provider {
    /// A new sign-in: a family of its own.
    pub(crate) fn sign_in(&mut self, mode: Mode, lifetime: Duration, now: Timestamp) -> Grant {
        let refresh_token = self.next(&format!("rt-{}", self.families.len()));
        let tokens = Tokens {
            id_token: IdToken::new(self.next("id")),
            access_token: AccessToken::new(self.next("at")),
            refresh_token: Some(RefreshToken::new(&*refresh_token)),
            expires_at: later(now, lifetime),
        };
        self.families.push(Family { newest: refresh_token, alive: true });
        let holding = match mode {
            Mode::ChatGpt => Holding::ChatGpt(tokens),
            Mode::ApiKey => Holding::ApiKey(self.key(), Some(tokens)),
        };
        Grant { identity: Arc::default(), holding, mode_reason: "".into(), issued_at: now }
    }

    /// Spends a refresh token. A provider that does not rotate answers without a new one.
    pub(crate) fn spend(
        &mut self,
        token: &str,
        rotates: bool,
        lifetime: Duration,
    ) -> Result<Renewal, Failure> {
        let family = family_of(token);
        let Family { newest, alive } = &mut self.families[family];
        if !*alive {
            return Err(refused("refresh_token_invalidated"));
        }
        if newest != token {
            *alive = false;
            return Err(refused("refresh_token_reused"));
        }
        let seconds = lifetime.as_secs();
        let mut body = format!(r#"{{"access_token":"{}","expires_in":{seconds}"#, self.next("at"));
        if rotates {
            let newest = self.next(&format!("rt-{family}"));
            body += &format!(r#","id_token":"{}","refresh_token":"{newest}""#, self.next("id"));
            self.families[family].newest = newest;
        }
        body += "}";
        let answer = RefreshAnswer::parse(body.as_bytes())?;
        Ok(Renewal { answer, brings: self.families[family].newest.clone() })
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
        let Family { newest, alive } = &self.families[family_of(token)];
        *alive && newest == token
    }

    fn next(&mut self, kind: &str) -> String {
        self.issued += 1;
        format!("{kind}-{}", self.issued)
    }
}

/// A permanent refusal.
pub(crate) fn refused(code: &str) -> Failure {
    Failure::Refused { status: 401, code: Code::new(code) }
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
    pub(crate) fn write(&mut self, record: Record) {
        self.ever.insert(bearer_of(&record).to_owned());
        self.durable = Some(record);
    }

    /// Whether a crash at any time since would have found this credential, or one after it.
    pub(crate) fn ever_held(&self, bearer: &str) -> bool {
        self.ever.contains(bearer)
    }
}

/// The credential that a record is for.
pub(crate) fn bearer_of(record: &Record) -> &str {
    match &record.grant.holding {
        Holding::ChatGpt(tokens) => tokens.access_token.expose(),
        Holding::ApiKey(key, _) => key.expose(),
    }
}

/// The refresh token of a record; in this world there always is one.
pub(crate) fn refresh_token_of(record: &Record) -> &str {
    record.grant.holding.refresh_token().expect("every grant of this world has one").expose()
}

/// The secret of a bearer.
pub(crate) fn secret_of(bearer: &Bearer) -> &str {
    match bearer {
        Bearer::Access(token) => token.expose(),
        Bearer::Key(key) => key.expose(),
    }
}
