//! The issued credentials and their state: codes, token families and API keys. It checks whether a
//! credential is valid at a given time. It reads no clock, and knows nothing of HTTP.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Account, tokens};

/// The lifetime of an authorization code.
const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// The lifetime of an id token.
const ID_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// All issued credentials. None is removed, so that a test can search logs for each of them.
#[derive(Clone)]
pub(crate) struct Ledger {
    client_id: String,
    accounts: Vec<Arc<Account>>,
    codes: HashMap<String, Code>,
    families: Vec<Family>,
    refresh_tokens: HashMap<String, usize>,
    rotations: usize,
    access_tokens: HashMap<String, Access>,
    id_tokens: HashMap<String, IdToken>,
    api_keys: HashMap<String, Key>,
    personal_access_tokens: HashMap<String, PersonalAccessToken>,
    issued: Vec<String>,
}

/// The request that an authorization code was issued for.
#[derive(Clone)]
pub(crate) struct Code {
    pub account: String,
    /// The redirect URI, which the exchange must repeat.
    pub redirect_uri: String,
    pub challenge: String,
    /// Whether the id token names the platform organisation.
    pub organizations: bool,
    pub issued_at: SystemTime,
}

/// The tokens of a code exchange or a refresh.
pub(crate) struct Tokens {
    pub id_token: String,
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: u64,
}

/// The origin and the state of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// The number of its login.
    pub family: usize,
    /// The account that signed in.
    pub account: String,
    /// Whether it is the newest token of its login.
    pub newest: bool,
    /// Whether the provider accepts it now.
    pub valid: bool,
    /// Whether the login has ended: it was revoked, it expired, or one of its old tokens was used.
    pub ended: bool,
}

/// Why a code exchange failed. Every attempt consumes the code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CodeError {
    /// Never issued, used before, or expired.
    Invalid,
    RedirectMismatch,
    VerifierMismatch,
}

/// Why a refresh failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RefreshError {
    Unknown,
    Reused,
    Invalidated,
    Expired,
}

/// Why an access token is not valid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AccessTokenError {
    Unknown,
    Expired,
    Revoked,
}

/// Why the exchange of an id token for an API key failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    Unknown,
    Expired,
    NoOrganization,
}

/// The refresh tokens of one login. Only the newest is valid.
#[derive(Clone)]
struct Family {
    account: String,
    organizations: bool,
    current: String,
    end: Option<FamilyEnd>,
}

/// How a family ended. Reuse only ends refreshes; a revocation also invalidates the access tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FamilyEnd {
    Reused,
    Revoked,
    Expired,
}

#[derive(Clone)]
struct Access {
    family: usize,
    expires_at: SystemTime,
}

/// An API key.
#[derive(Clone)]
struct Key {
    account: String,
    /// Whether it may not list the models.
    restricted: bool,
}

/// A token that a user has created on the provider's website. It does not expire.
#[derive(Clone)]
struct PersonalAccessToken {
    account: String,
    revoked: bool,
}

#[derive(Clone)]
struct IdToken {
    account: String,
    organizations: bool,
    expires_at: SystemTime,
}

impl Ledger {
    pub(crate) fn new(client_id: String, accounts: Vec<Account>) -> Self {
        Self {
            client_id,
            accounts: accounts.into_iter().map(Arc::new).collect(),
            codes: HashMap::new(),
            families: Vec::new(),
            refresh_tokens: HashMap::new(),
            rotations: 0,
            access_tokens: HashMap::new(),
            id_tokens: HashMap::new(),
            api_keys: HashMap::new(),
            personal_access_tokens: HashMap::new(),
            issued: Vec::new(),
        }
    }

    pub(crate) fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    pub(crate) fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts.iter().find(|account| account.name == name).cloned()
    }

    /// Adds an account, or replaces the one of that name.
    pub(crate) fn put_account(&mut self, account: Account) {
        self.accounts.retain(|other| other.name != account.name);
        self.accounts.push(Arc::new(account));
    }

    /// Adds a secret to the list of issued ones.
    pub(crate) fn record_secret(&mut self, secret: String) -> String {
        self.issued.push(secret.clone());
        secret
    }

    pub(crate) fn issued(&self) -> &[String] {
        &self.issued
    }

    pub(crate) fn issue_code(&mut self, code: Code) -> String {
        let secret = self.record_secret(tokens::secret("ac_", 43));
        self.codes.insert(secret.clone(), code);
        secret
    }

    pub(crate) fn redeem(
        &mut self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        now: SystemTime,
    ) -> Result<Tokens, CodeError> {
        let code = self.codes.remove(code).ok_or(CodeError::Invalid)?;
        if code.issued_at + CODE_LIFETIME < now {
            return Err(CodeError::Invalid);
        }
        if code.redirect_uri != redirect_uri {
            return Err(CodeError::RedirectMismatch);
        }
        if code.challenge != tokens::challenge(verifier) {
            return Err(CodeError::VerifierMismatch);
        }
        let account = self.account(&code.account).ok_or(CodeError::Invalid)?;
        self.families.push(Family {
            account: code.account,
            organizations: code.organizations,
            current: String::new(),
            end: None,
        });
        Ok(self.issue_tokens(self.families.len() - 1, &account, now))
    }

    pub(crate) fn refresh(&mut self, token: &str, now: SystemTime) -> Result<Tokens, RefreshError> {
        let index = *self.refresh_tokens.get(token).ok_or(RefreshError::Unknown)?;
        let family = &mut self.families[index];
        match family.end {
            Some(FamilyEnd::Expired) => return Err(RefreshError::Expired),
            Some(FamilyEnd::Reused | FamilyEnd::Revoked) => return Err(RefreshError::Invalidated),
            None if family.current != token => {
                family.end = Some(FamilyEnd::Reused);
                return Err(RefreshError::Reused);
            }
            None => {}
        }
        let name = family.account.clone();
        let account = self.account(&name).ok_or(RefreshError::Unknown)?;
        self.rotations += 1;
        Ok(self.issue_tokens(index, &account, now))
    }

    /// The number of rotated refresh tokens.
    pub(crate) fn rotations(&self) -> usize {
        self.rotations
    }

    /// The account of a valid access token.
    pub(crate) fn access(&self, token: &str, now: SystemTime) -> Result<Arc<Account>, AccessTokenError> {
        if let Some(PersonalAccessToken { account, revoked }) = self.personal_access_tokens.get(token) {
            let account = self.account(account).ok_or(AccessTokenError::Unknown)?;
            return if *revoked { Err(AccessTokenError::Revoked) } else { Ok(account) };
        }
        let access = self.access_tokens.get(token).ok_or(AccessTokenError::Unknown)?;
        let family = &self.families[access.family];
        if family.end == Some(FamilyEnd::Revoked) {
            return Err(AccessTokenError::Revoked);
        }
        if access.expires_at <= now {
            return Err(AccessTokenError::Expired);
        }
        self.account(&family.account).ok_or(AccessTokenError::Unknown)
    }

    /// The origin and state of a refresh or access token; `None` if it was never issued.
    pub(crate) fn token_info(&self, token: &str, now: SystemTime) -> Option<TokenInfo> {
        let (family, newest) = match self.refresh_tokens.get(token) {
            Some(family) => (*family, self.families[*family].current == token),
            None => (self.access_tokens.get(token)?.family, self.access(token, now).is_ok()),
        };
        let Family { account, end, .. } = &self.families[family];
        Some(TokenInfo {
            family,
            account: account.clone(),
            newest,
            valid: newest && end.is_none(),
            ended: end.is_some(),
        })
    }

    pub(crate) fn is_access_token(&self, token: &str) -> bool {
        self.access_tokens.contains_key(token) || self.is_personal_access_token(token)
    }

    pub(crate) fn is_personal_access_token(&self, token: &str) -> bool {
        self.personal_access_tokens.contains_key(token)
    }

    /// Creates a personal access token.
    pub(crate) fn issue_personal_access_token(&mut self, account: &str) -> String {
        let token = self.record_secret(tokens::secret("at-", 64));
        let account = account.to_owned();
        self.personal_access_tokens.insert(token.clone(), PersonalAccessToken { account, revoked: false });
        token
    }

    /// Revokes a personal access token. An unknown one is ignored.
    pub(crate) fn revoke_personal_access_token(&mut self, token: &str) {
        if let Some(token) = self.personal_access_tokens.get_mut(token) {
            token.revoked = true;
        }
    }

    pub(crate) fn exchange(&mut self, id_token: &str, now: SystemTime) -> Result<String, ExchangeError> {
        let token = self.id_tokens.get(id_token).ok_or(ExchangeError::Unknown)?;
        if token.expires_at <= now {
            return Err(ExchangeError::Expired);
        }
        let account = self.account(&token.account).ok_or(ExchangeError::Unknown)?;
        if !token.organizations || account.organization_id.is_none() {
            return Err(ExchangeError::NoOrganization);
        }
        Ok(self.issue_api_key(&account.name, false))
    }

    /// Creates an API key. A restricted one may not list the models.
    pub(crate) fn issue_api_key(&mut self, account: &str, restricted: bool) -> String {
        let key = self.record_secret(tokens::secret("sk-proj-", 64));
        self.api_keys.insert(key.clone(), Key { account: account.to_owned(), restricted });
        key
    }

    /// The account of an API key, and whether the key is restricted.
    pub(crate) fn api_key(&self, key: &str) -> Option<(Arc<Account>, bool)> {
        let Key { account, restricted } = self.api_keys.get(key)?;
        Some((self.account(account)?, *restricted))
    }

    /// Revokes the user of a refresh or access token, as the provider does. An unknown token is
    /// ignored.
    pub(crate) fn revoke_token(&mut self, token: &str) {
        let by_access = || self.access_tokens.get(token).map(|access| access.family);
        let Some(family) = self.refresh_tokens.get(token).copied().or_else(by_access) else { return };
        let name = self.families[family].account.clone();
        self.revoke_account(&name);
    }

    /// Revokes all sessions of the user of an account, in all workspaces.
    pub(crate) fn revoke_account(&mut self, name: &str) {
        let Some(user) = self.account(name).map(|account| account.user_id.clone()) else { return };
        let same_user: Vec<&str> = self
            .accounts
            .iter()
            .filter(|other| other.user_id == user)
            .map(|other| other.name.as_str())
            .collect();
        for family in &mut self.families {
            if same_user.contains(&family.account.as_str()) {
                family.end = Some(FamilyEnd::Revoked);
            }
        }
    }

    /// Expires all issued access tokens.
    pub(crate) fn expire_access_tokens(&mut self, now: SystemTime) {
        for access in self.access_tokens.values_mut() {
            access.expires_at = access.expires_at.min(now);
        }
    }

    /// Expires all issued refresh tokens.
    pub(crate) fn expire_refresh_tokens(&mut self) {
        for family in self.families.iter_mut().filter(|family| family.end.is_none()) {
            family.end = Some(FamilyEnd::Expired);
        }
    }

    fn issue_tokens(&mut self, index: usize, account: &Account, now: SystemTime) -> Tokens {
        let organizations = self.families[index].organizations;
        let id_token = tokens::id_token(account, &self.client_id, organizations, now, ID_TOKEN_LIFETIME);
        let access_token = tokens::access_token(account, &self.client_id, now);
        let refresh_token = tokens::secret("rt_", 86);
        for secret in [&id_token, &access_token, &refresh_token] {
            self.issued.push(secret.clone());
        }
        self.families[index].current.clone_from(&refresh_token);
        self.refresh_tokens.insert(refresh_token.clone(), index);
        let expires_at = now + account.access_token_lifetime;
        self.access_tokens.insert(access_token.clone(), Access { family: index, expires_at });
        let expires_at = now + ID_TOKEN_LIFETIME;
        self.id_tokens
            .insert(id_token.clone(), IdToken { account: account.name.clone(), organizations, expires_at });
        Tokens { id_token, access_token, refresh_token, expires_in: account.access_token_lifetime.as_secs() }
    }
}
