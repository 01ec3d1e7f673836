//! Everything issued, and what became of it: codes, token families, API keys. It decides whether a credential is
//! good at a given time; it reads no clock, and words no answer.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Account, tokens};

/// How long an authorization code may wait to be redeemed.
const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// How long an id token may be exchanged for an API key.
const ID_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The sandbox's whole memory of credentials. It grows with every one issued, so that none is ever issued twice
/// and a leak test knows them all.
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
    api_keys: HashMap<String, String>,
    issued: Vec<String>,
}

/// What an authorization code was issued for.
#[derive(Clone)]
pub(crate) struct Code {
    pub account: String,
    /// Where the code was sent, which must be said again when it is redeemed.
    pub redirect_uri: String,
    pub challenge: String,
    /// Whether the id token shall name the platform organisation.
    pub organizations: bool,
    pub issued_at: SystemTime,
}

/// The answer to a redeemed code or a refresh.
pub(crate) struct Tokens {
    pub id_token: String,
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: u64,
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The number of the login that it descends from.
    pub family: usize,
    /// The account that signed in.
    pub account: String,
    /// Whether it is the newest token of its login.
    pub newest: bool,
    /// Whether the provider accepts it now.
    pub good: bool,
    /// Whether the login is over for good: revoked, expired, or one of its old tokens was used.
    pub ended: bool,
}

/// Why a code was not redeemed. Every attempt spends the code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CodeRefused {
    /// Never issued, redeemed before, or too old.
    NotLive,
    OtherRedirect,
    OtherVerifier,
}

/// Why a refresh token was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RefreshRefused {
    Unknown,
    Reused,
    Invalidated,
    Expired,
}

/// Why an access token was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AccessRefused {
    Unknown,
    Expired,
    Revoked,
}

/// Why an id token did not become an API key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExchangeRefused {
    Unknown,
    Expired,
    NoOrganization,
}

/// All refresh tokens that descend from one login: only the newest is good.
#[derive(Clone)]
struct Family {
    account: String,
    organizations: bool,
    current: String,
    end: Option<End>,
}

/// How a family ended. A reused token ends the refreshing alone; a revocation ends its access tokens too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Reused,
    Revoked,
    Expired,
}

#[derive(Clone)]
struct Access {
    family: usize,
    expires_at: SystemTime,
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
            issued: Vec::new(),
        }
    }

    pub(crate) fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    pub(crate) fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts.iter().find(|account| account.name == name).cloned()
    }

    /// Adds an account, or replaces the one of that name: what is issued from now on says so.
    pub(crate) fn put_account(&mut self, account: Account) {
        self.accounts.retain(|other| other.name != account.name);
        self.accounts.push(Arc::new(account));
    }

    /// Notes a secret made elsewhere, for the leak tests.
    pub(crate) fn note(&mut self, secret: String) -> String {
        self.issued.push(secret.clone());
        secret
    }

    pub(crate) fn issued(&self) -> &[String] {
        &self.issued
    }

    pub(crate) fn issue_code(&mut self, code: Code) -> String {
        let secret = self.note(tokens::secret("ac_", 43));
        self.codes.insert(secret.clone(), code);
        secret
    }

    pub(crate) fn redeem(
        &mut self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        now: SystemTime,
    ) -> Result<Tokens, CodeRefused> {
        let code = self.codes.remove(code).ok_or(CodeRefused::NotLive)?;
        if code.issued_at + CODE_LIFETIME < now {
            return Err(CodeRefused::NotLive);
        }
        if code.redirect_uri != redirect_uri {
            return Err(CodeRefused::OtherRedirect);
        }
        if code.challenge != tokens::challenge(verifier) {
            return Err(CodeRefused::OtherVerifier);
        }
        let account = self.account(&code.account).ok_or(CodeRefused::NotLive)?;
        self.families.push(Family {
            account: code.account,
            organizations: code.organizations,
            current: String::new(),
            end: None,
        });
        Ok(self.issue_tokens(self.families.len() - 1, &account, now))
    }

    pub(crate) fn refresh(&mut self, token: &str, now: SystemTime) -> Result<Tokens, RefreshRefused> {
        let index = *self.refresh_tokens.get(token).ok_or(RefreshRefused::Unknown)?;
        let family = &mut self.families[index];
        match family.end {
            Some(End::Expired) => return Err(RefreshRefused::Expired),
            Some(End::Reused | End::Revoked) => return Err(RefreshRefused::Invalidated),
            None if family.current != token => {
                family.end = Some(End::Reused);
                return Err(RefreshRefused::Reused);
            }
            None => {}
        }
        let name = family.account.clone();
        let account = self.account(&name).ok_or(RefreshRefused::Unknown)?;
        self.rotations += 1;
        Ok(self.issue_tokens(index, &account, now))
    }

    /// How many refresh tokens were exchanged for new ones.
    pub(crate) fn rotations(&self) -> usize {
        self.rotations
    }

    /// The account whose access token this is.
    pub(crate) fn access(&self, token: &str, now: SystemTime) -> Result<Arc<Account>, AccessRefused> {
        let access = self.access_tokens.get(token).ok_or(AccessRefused::Unknown)?;
        let family = &self.families[access.family];
        if family.end == Some(End::Revoked) {
            return Err(AccessRefused::Revoked);
        }
        if access.expires_at <= now {
            return Err(AccessRefused::Expired);
        }
        self.account(&family.account).ok_or(AccessRefused::Unknown)
    }

    /// Where a refresh or access token comes from, and whether it is good; nothing for one never issued.
    pub(crate) fn provenance(&self, token: &str, now: SystemTime) -> Option<Provenance> {
        let (family, newest) = match self.refresh_tokens.get(token) {
            Some(family) => (*family, self.families[*family].current == token),
            None => (self.access_tokens.get(token)?.family, self.access(token, now).is_ok()),
        };
        let Family { account, end, .. } = &self.families[family];
        Some(Provenance {
            family,
            account: account.clone(),
            newest,
            good: newest && end.is_none(),
            ended: end.is_some(),
        })
    }

    pub(crate) fn knows_access_token(&self, token: &str) -> bool {
        self.access_tokens.contains_key(token)
    }

    pub(crate) fn exchange(&mut self, id_token: &str, now: SystemTime) -> Result<String, ExchangeRefused> {
        let token = self.id_tokens.get(id_token).ok_or(ExchangeRefused::Unknown)?;
        if token.expires_at <= now {
            return Err(ExchangeRefused::Expired);
        }
        let account = self.account(&token.account).ok_or(ExchangeRefused::Unknown)?;
        if !token.organizations || account.organization_id.is_none() {
            return Err(ExchangeRefused::NoOrganization);
        }
        Ok(self.issue_api_key(&account.name))
    }

    pub(crate) fn issue_api_key(&mut self, account: &str) -> String {
        let key = self.note(tokens::secret("sk-proj-", 64));
        self.api_keys.insert(key.clone(), account.to_owned());
        key
    }

    /// The account that an API key belongs to.
    pub(crate) fn api_key(&self, key: &str) -> Option<Arc<Account>> {
        self.account(self.api_keys.get(key)?)
    }

    /// Revokes by refresh or access token, which ends every session of that user, as the provider does.
    /// An unknown token is no error.
    pub(crate) fn revoke_token(&mut self, token: &str) {
        let by_access = || self.access_tokens.get(token).map(|access| access.family);
        let Some(family) = self.refresh_tokens.get(token).copied().or_else(by_access) else { return };
        let name = self.families[family].account.clone();
        self.revoke_account(&name);
    }

    /// Ends every session of the account's user, in all of the user's workspaces.
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
                family.end = Some(End::Revoked);
            }
        }
    }

    /// From now on no access token issued so far is good.
    pub(crate) fn expire_access_tokens(&mut self, now: SystemTime) {
        for access in self.access_tokens.values_mut() {
            access.expires_at = access.expires_at.min(now);
        }
    }

    /// From now on no refresh token issued so far is good.
    pub(crate) fn expire_refresh_tokens(&mut self) {
        for family in self.families.iter_mut().filter(|family| family.end.is_none()) {
            family.end = Some(End::Expired);
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
