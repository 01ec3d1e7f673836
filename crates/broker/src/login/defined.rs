//! Plans sign-ins at defined providers: the definition, the server and the client.

use std::sync::Arc;

use authd_api::{Flow, LoginBody, ModePreference, ProfileName};
use authd_oauth::{
    ClientAuth, ClientSource, ProviderError, RegisteredClient, SignInClient, Target,
    definition::{BUILT_IN, MAX_SCOPES, ProviderDefinition, ProviderSource, is_scope},
    discovery::Start,
};
use authd_store::{Key, StoreError};
use secrecy::ExposeSecret;
use tracing::info;

use super::{defined_exchange, error::LoginError, manager::Logins};
use crate::{blocking::finish, clock};

/// A login at a defined provider.
pub(super) struct DefinedLogin {
    /// The name of the definition.
    pub(super) provider: String,
    /// The profile.
    pub(super) profile: ProfileName,
    /// The scopes that the login asks for besides those of the definition.
    pub(super) scopes: Vec<String>,
}

impl Logins {
    /// The profile that a login signs in.
    pub fn profile_of(body: &LoginBody) -> ProfileName {
        let of_provider = || body.provider.as_deref().filter(|name| *name != BUILT_IN)?.parse().ok();
        body.profile.clone().or_else(of_provider).unwrap_or_else(ProfileName::first)
    }

    /// The requested defined provider, else that of the existing profile. `None` for the built-in
    /// provider.
    pub(super) fn defined_login(&self, body: &LoginBody) -> Result<Option<DefinedLogin>, LoginError> {
        let profile = Self::profile_of(body);
        let snapshot = self.0.registry.snapshot();
        let view = snapshot.profiles.get(&profile).map(crate::profile::ProfileHandle::view);
        let existing = view.and_then(|view| view.snapshot()?.credential.authority.clone());
        let requested = body.provider.clone().or_else(|| Some(existing.as_ref()?.provider.clone()));
        let Some(provider) = requested.filter(|name| name != BUILT_IN) else {
            return if body.scopes.is_empty() { Ok(None) } else { Err(LoginError::NotBuiltIn("scopes")) };
        };
        if body.mode != ModePreference::Auto {
            return Err(LoginError::NotDefined("mode"));
        }
        if body.workspace.is_some() {
            return Err(LoginError::NotDefined("workspace"));
        }
        if body.scopes.len() > MAX_SCOPES || !body.scopes.iter().all(|scope| is_scope(scope)) {
            return Err(LoginError::InvalidScope);
        }
        let before = existing.filter(|authority| authority.provider == provider);
        let before = before.iter().flat_map(|authority| authority.wanted_scopes());
        let scopes = before.chain(&body.scopes).cloned().collect();
        Ok(Some(DefinedLogin { provider, profile, scopes }))
    }

    /// The definition of a provider.
    pub(super) async fn definition(&self, provider: &str) -> Result<Arc<ProviderDefinition>, LoginError> {
        let definition = self.0.providers.find(provider).await;
        definition.map_err(|error| LoginError::Definition(error.into()))
    }

    /// Finds the server and the client, and plans the sign-in. It finishes even if the caller
    /// disconnects: a client that was registered must be saved.
    pub(super) async fn plan(
        &self,
        login: &DefinedLogin,
        definition: Arc<ProviderDefinition>,
        redirect_uris: Vec<String>,
        flow: Flow,
    ) -> Result<SignInClient, LoginError> {
        let DefinedLogin { provider, scopes, .. } = login;
        let (logins, provider, scopes) = (self.clone(), provider.clone(), scopes.clone());
        finish(async move {
            let target = logins.target(&definition).await?;
            if flow == Flow::Device && !target.offers_device_flow() {
                return Err(LoginError::NoDeviceFlow);
            }
            let (client, secret, registration) = match target.client_source() {
                ClientSource::Known(client) => (client, None, None),
                ClientSource::Missing => {
                    let help = target.registration_help().map(str::to_owned);
                    return Err(LoginError::NoClient(provider, help));
                }
                ClientSource::Register { url, auth } => {
                    let key = RegisteredClient::key(target.issuer(), &redirect_uris);
                    let registered = logins.registered(&key, &target, &url, auth, &redirect_uris).await?;
                    (registered.client, registered.secret, Some(key))
                }
            };
            let plan = target.plan(&provider, client, registration, scopes);
            Ok(SignInClient { plan, secret })
        })
        .await
    }

    /// Why a server did not accept the first request of a login.
    pub(super) async fn not_started(
        &self,
        profile: ProfileName,
        client: &SignInClient,
        error: ProviderError,
        other: fn(ProviderError) -> LoginError,
    ) -> LoginError {
        match defined_exchange::forget_unknown(&self.0.deps.store, client, &error).await {
            Some(failure) => LoginError::Rejected(profile, failure),
            None => other(error),
        }
    }

    async fn target<'d>(&self, definition: &'d ProviderDefinition) -> Result<Target<'d>, LoginError> {
        if let Some(target) = Target::of_endpoints(definition) {
            return Ok(target);
        }
        let start = match &definition.source {
            ProviderSource::Mcp(url) => Start::Mcp(url.clone()),
            ProviderSource::Issuer(url) => Start::Issuer(url.clone()),
            ProviderSource::Endpoints(endpoints) => Start::Issuer(endpoints.token_url.clone()),
        };
        let run = self.0.deps.endpoint.discover(start).await;
        let found = run.result.map_err(|fault| LoginError::Discovery(Box::new(fault)))?;
        Ok(Target::of_discovered(definition, found, run.public_only))
    }

    /// The client that the server has registered for these redirect URIs: the saved one, else a new
    /// one. A registration that cannot be read is not an absence, and one that cannot be saved is
    /// saved at the next login.
    async fn registered(
        &self,
        key: &str,
        target: &Target<'_>,
        url: &str,
        auth: ClientAuth,
        redirect_uris: &[String],
    ) -> Result<RegisteredClient, LoginError> {
        let store = &self.0.deps.store;
        let store_key = Key::client(key);
        let is_valid = |client: &RegisteredClient| client.is_valid(clock::now());
        // One registration at a time, so that two logins do not make two.
        let mut unsaved = self.0.unsaved_clients.lock().await;
        let registered = if let Some(unsaved) = unsaved.remove(key).filter(is_valid) {
            unsaved
        } else {
            let saved = match store.load(&store_key).await {
                Ok(text) => text.and_then(|text| {
                    RegisteredClient::from_secret_json(text.expose_secret(), target.issuer())
                }),
                // No key opens it any more.
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(LoginError::Store(error.into())),
            };
            if let Some(saved) = saved.filter(is_valid) {
                return Ok(saved);
            }
            let registered = self.0.deps.endpoint.register(target, url, auth, redirect_uris).await;
            let registered = registered.map_err(LoginError::Registration)?;
            info!(issuer = target.issuer(), "client registered");
            registered
        };
        let label = format!("authd: client at {}", target.issuer());
        let text = registered.to_secret_json(target.issuer());
        if let Err(error) = store.save(&store_key, &label, text).await {
            unsaved.insert(key.to_owned(), registered);
            return Err(LoginError::Store(error.into()));
        }
        Ok(registered)
    }
}
