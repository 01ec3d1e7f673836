//! Signs in with a credential that the user supplies. One request shows that the provider accepts
//! it. Only then it is stored, in the same way as the grant of a login.

use authd_api::ProfileName;
use authd_oauth::{
    AccessToken, ApiKey, Authority, Grant, Target,
    definition::{BUILT_IN, ProviderDefinition, ProviderSource},
    discovery::Start,
    new_grant_id,
    own_credential::{CheckError, KeyState, PERSONAL_ACCESS_TOKEN, TokenCheck},
};
use tracing::info;

use super::{
    code_exchange::accept_workspace,
    error::{CredentialKind, LoginError, OwnCredentialError},
    manager::Logins,
};
use crate::{
    clock,
    profile::ProfileHandle,
    registry::{NamePolicy, RegistryError, SignIn},
};

impl Logins {
    /// Stores an API key of the user. Without `check`, nothing is sent, and its state is unknown.
    pub async fn store_api_key(
        &self,
        profile: ProfileName,
        key: ApiKey,
        replace: bool,
        check: bool,
    ) -> Result<(ProfileName, Option<KeyState>), LoginError> {
        match self.provider_of(&profile).filter(|_| !replace) {
            Some(provider) => return Err(OwnCredentialError::OtherProvider(profile, provider).into()),
            None if key.expose().starts_with(PERSONAL_ACCESS_TOKEN) => {
                return Err(OwnCredentialError::NotApiKey.into());
            }
            None => {}
        }
        let state = if check {
            let checked = self.0.deps.endpoint.check_api_key(&key, clock::now).await;
            Some(checked.map_err(|error| not_accepted(&profile, CredentialKind::ApiKey, error))?)
        } else {
            None
        };
        let grant = Grant::own_key(key, "a key of your own", clock::now());
        Ok((self.store_own(profile, grant, replace).await?, state))
    }

    /// Stores a token of the user: of the named provider, else of that of the existing profile,
    /// else of OpenAI.
    pub async fn store_token(
        &self,
        profile: ProfileName,
        provider: Option<String>,
        token: AccessToken,
        replace: bool,
    ) -> Result<ProfileName, LoginError> {
        let existing = self.provider_of(&profile);
        // A token of OpenAI goes to another provider only if the caller names that.
        let is_of_openai = token.expose().starts_with(PERSONAL_ACCESS_TOKEN);
        let implied = existing.clone().filter(|_| !is_of_openai);
        let provider = provider.or(implied).filter(|provider| provider != BUILT_IN);
        if let (Some(existing), false) = (existing, replace)
            && Some(&existing) != provider.as_ref()
        {
            return Err(OwnCredentialError::OtherProvider(profile, existing).into());
        }
        let grant = match provider {
            Some(provider) => self.own_token(&profile, provider, token).await?,
            None => self.personal_access_token(&profile, token).await?,
        };
        self.store_own(profile, grant, replace).await
    }

    async fn personal_access_token(
        &self,
        profile: &ProfileName,
        token: AccessToken,
    ) -> Result<Grant, LoginError> {
        if !token.expose().starts_with(PERSONAL_ACCESS_TOKEN) {
            return Err(OwnCredentialError::NotPersonalAccessToken.into());
        }
        let identity = self.0.deps.endpoint.whoami(&token, clock::now).await;
        let kind = CredentialKind::PersonalAccessToken;
        let identity = identity.map_err(|error| not_accepted(profile, kind, error))?;
        let workspaces = self.0.settings.borrow().workspaces(None)?;
        accept_workspace(identity.account_id.as_deref(), &workspaces)
            .map_err(|failure| LoginError::Rejected(profile.clone(), failure))?;
        Ok(Grant::personal_access_token(token, identity, clock::now()))
    }

    async fn own_token(
        &self,
        profile: &ProfileName,
        provider: String,
        token: AccessToken,
    ) -> Result<Grant, LoginError> {
        let definition = self.definition(&provider).await?;
        let (check, authority) = self.token_check(provider, &definition).await?;
        let checked = self.0.deps.endpoint.check_token(&check, &token, &authority, clock::now).await;
        let checked = checked.map_err(|error| not_accepted(profile, CredentialKind::Token, error))?;
        Ok(Grant::own_token(token, authority, checked, clock::now()))
    }

    /// How a token of this provider is checked, and what its grant will keep. Only an issuer
    /// without a `check_url` is asked for its metadata.
    async fn token_check(
        &self,
        provider: String,
        definition: &ProviderDefinition,
    ) -> Result<(TokenCheck, Authority), LoginError> {
        let base_url = definition.base_url.clone();
        let by_base_url = base_url.clone().map(TokenCheck::BaseUrl);
        let mut authority = Authority { provider, base_url, ..Authority::default() };
        let found = match &definition.source {
            ProviderSource::Endpoints(endpoints) => {
                authority.token_url.clone_from(&endpoints.token_url);
                by_base_url
            }
            ProviderSource::Mcp(url) => {
                authority.is_mcp = true;
                authority.base_url.get_or_insert_with(|| url.clone());
                Some(TokenCheck::Mcp(url.clone()))
            }
            ProviderSource::Issuer(issuer) => {
                authority.issuer = Some(issuer.clone());
                if definition.check_url.is_some() {
                    None
                } else {
                    let run = self.0.deps.endpoint.discover(Start::Issuer(issuer.clone())).await;
                    match run.result {
                        Ok(found) => {
                            authority.public_only = run.public_only;
                            let userinfo =
                                Target::of_discovered(definition, found, run.public_only).userinfo_url();
                            userinfo.map(TokenCheck::Userinfo).or(by_base_url)
                        }
                        Err(fault) if fault.is_transient() || by_base_url.is_none() => {
                            return Err(LoginError::Discovery(Box::new(fault)));
                        }
                        Err(_) => by_base_url,
                    }
                }
            }
        };
        let check = definition.check_url.clone().map(TokenCheck::CheckUrl).or(found);
        match check {
            Some(check) => Ok((check, authority)),
            None => Err(OwnCredentialError::Uncheckable(authority.provider).into()),
        }
    }

    /// Stores the grant under this very name.
    async fn store_own(
        &self,
        profile: ProfileName,
        grant: Grant,
        replace: bool,
    ) -> Result<ProfileName, LoginError> {
        let name_policy = if replace { NamePolicy::Replace } else { NamePolicy::Own };
        let (requested, grant_id) = (profile.clone(), new_grant_id());
        let sign_in = SignIn { requested, name_policy, grant, grant_id, intent: None };
        let name = self.0.registry.sign_in(sign_in).await;
        let name = name.map_err(|error| match error {
            RegistryError::Taken => OwnCredentialError::Taken(profile).into(),
            error => LoginError::Registry(profile, error.into()),
        })?;
        info!(profile = %name, "credential of the user stored");
        Ok(name)
    }

    /// The defined provider of an existing profile.
    fn provider_of(&self, profile: &ProfileName) -> Option<String> {
        let view = self.0.registry.snapshot().profiles.get(profile).map(ProfileHandle::view)?;
        Some(view.snapshot()?.credential.authority.as_ref()?.provider.clone())
    }
}

fn not_accepted(profile: &ProfileName, kind: CredentialKind, error: CheckError) -> LoginError {
    OwnCredentialError::NotAccepted { profile: profile.clone(), kind, error }.into()
}
