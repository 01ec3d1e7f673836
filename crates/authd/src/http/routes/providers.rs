//! The providers that authd knows, those that a user adds, and the dry check of one.

use std::sync::Arc;

use authd_api::{
    DiscoveryRequest, Problem, ProfileState, Provider, ProviderAspect, ProviderAspectState, ProviderBody,
    ProviderCheck, ProviderCheckBody, ProviderDefinedIn, Providers,
};
use authd_broker::{DefinitionError, StoredDefinition, now};
use authd_oauth::{
    DiscoveryRun, SentRequest,
    definition::{BUILT_IN, Endpoints, ProviderDefinition, ProviderSource},
    discovery::{Aspect, AspectState, DiscoveryFault, Start, report},
};
use axum::{extract::State, response::Response};
use http::StatusCode;

#[cfg(test)]
use super::openapi::responses::{
    BodyErrors, ConflictErrors, ProviderListErrors, ProviderNameErrors, StoreErrors,
};
use crate::{
    config::templates,
    http::{
        convert,
        extract::{Json, PathParam},
        problem,
        respond::{ApiError, json},
        state::{AppState, SharedState},
    },
};

/// Why an added definition is not used.
const REPLACED: &str = "authd.toml defines a provider of the same name, which is used";

/// All providers
///
/// The built-in one, those of the configuration, those that were added, and the templates.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::PROVIDERS, operation_id = "providers", tag = "providers",
    responses((status = 200, description = "All of them.", body = Providers), ProviderListErrors),
))]
pub(super) async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let directory = &state.broker.providers;
    let added = directory.added().await.map_err(|error| problem::definition(&error))?;
    let configured = directory.configured();
    let built_in = Provider {
        issuer: Some(state.endpoint.issuer().to_owned()),
        ..blank(BUILT_IN, ProviderDefinedIn::BuiltIn)
    };
    let added = added.iter().map(|(name, definition)| {
        let replaced = configured.contains_key(name).then(|| REPLACED.to_owned());
        match definition {
            Ok(one) => Provider { error: replaced, ..provider(name, one, ProviderDefinedIn::Added) },
            Err(reason) => {
                Provider { error: Some(reason.to_owned()), ..blank(name, ProviderDefinedIn::Added) }
            }
        }
    });
    let configured =
        configured.iter().map(|(name, one)| provider(name, one, ProviderDefinedIn::Configuration));
    let templates = templates();
    let templates = templates.iter().map(|(name, one)| provider(name, one, ProviderDefinedIn::Template));
    let providers = [built_in].into_iter().chain(configured).chain(added).chain(templates).collect();
    Ok(json(StatusCode::OK, &Providers { providers }))
}

/// Add a provider
///
/// The definition of an MCP server. It outlasts a restart. The same request again changes nothing.
#[cfg_attr(test, utoipa::path(
    put, path = authd_api::route::PROVIDER, operation_id = "add_provider", tag = "providers",
    request_body = ProviderBody,
    responses(
        (status = 201, description = "It was added.", body = Provider),
        (status = 200, description = "It was there already.", body = Provider),
        BodyErrors, ConflictErrors, ProviderListErrors,
    ),
))]
pub(super) async fn put(
    State(state): SharedState,
    PathParam(name): PathParam<String>,
    Json(body): Json<ProviderBody>,
) -> Result<Response, ApiError> {
    let directory = &state.broker.providers;
    let stored = directory.add(&name, body).await.map_err(|error| problem::definition(&error))?;
    let StoredDefinition { definition, is_new } = stored;
    let is_configured = !is_new && directory.configured().contains_key(&name);
    let defined_in = if is_configured { ProviderDefinedIn::Configuration } else { ProviderDefinedIn::Added };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &provider(&name, &definition, defined_in)))
}

/// Remove a provider
///
/// One that was added, and that no profile uses. Sign out of those profiles first. Its pending
/// logins are cancelled.
#[cfg_attr(test, utoipa::path(
    delete, path = authd_api::route::PROVIDER, operation_id = "remove_provider", tag = "providers",
    responses((status = 204, description = "Done."), ProviderNameErrors, StoreErrors),
))]
pub(super) async fn delete(
    State(state): SharedState,
    PathParam(name): PathParam<String>,
) -> Result<StatusCode, ApiError> {
    check_unused(&state, &name).await?;
    state.broker.providers.remove(&name).await.map_err(|error| problem::definition(&error))?;
    let logins = &state.broker.logins;
    for login in logins.list().into_iter().filter(|login| login.provider.as_ref() == Some(&name)) {
        // One that has ended meanwhile needs no cancelling.
        logins.cancel(&login.id).await.ok();
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Fails if a profile uses the added definition, or may use it, because its record was not read.
async fn check_unused(state: &AppState, provider: &str) -> Result<(), Problem> {
    let directory = &state.broker.providers;
    let added = directory.added().await.map_err(|error| problem::definition(&error))?;
    let is_used = added.iter().any(|(name, _)| name == provider);
    // A definition of the configuration is the one that profiles use.
    if !is_used || directory.configured().contains_key(provider) {
        return Ok(());
    }
    let (registry, now) = (state.registry().await?, now());
    let mut users = Vec::new();
    for profile in registry.profiles.keys().filter_map(|name| convert::profile_of(&registry, name, now)) {
        match (profile.state, profile.last_error) {
            (ProfileState::Unread, Some(problem)) => return Err(problem),
            _ if profile.provider.as_deref() == Some(provider) => users.push(profile.name),
            _ => {}
        }
    }
    if users.is_empty() { Ok(()) } else { Err(problem::provider_in_use(&users)) }
}

/// What a provider offers
///
/// Reads the metadata of a provider. Sends no credential, and changes nothing. A failed discovery
/// is a result, too: `ok` is false, and the first aspect has the reason.
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::PROVIDERS_CHECK, operation_id = "check_provider", tag = "providers",
    request_body = ProviderCheckBody,
    responses((status = 200, description = "The result.", body = ProviderCheck), BodyErrors,
        ConflictErrors, ProviderListErrors, ProviderNameErrors),
))]
pub(super) async fn check(
    State(state): SharedState,
    Json(ProviderCheckBody { provider }): Json<ProviderCheckBody>,
) -> Result<Response, ApiError> {
    let definition = find(&state, &provider).await?;
    let start = match &definition.source {
        ProviderSource::Endpoints(endpoints) => {
            return Ok(json(StatusCode::OK, &named(provider, &definition, endpoints)));
        }
        ProviderSource::Issuer(issuer) => Start::Issuer(issuer.clone()),
        ProviderSource::Mcp(url) if *url == provider => Start::Unknown(url.clone()),
        ProviderSource::Mcp(url) => Start::Mcp(url.clone()),
    };
    let run = tokio::select! {
        run = state.endpoint.discover(start) => run,
        // A slow provider must not delay the shutdown.
        () = state.stopping.cancelled() => return Err(problem::stopping().into()),
    };
    Ok(json(StatusCode::OK, &checked(provider, &definition, run)))
}

/// The definition with this name, or that of a URL.
async fn find(state: &AppState, provider: &str) -> Result<Arc<ProviderDefinition>, Problem> {
    if provider == BUILT_IN {
        return Ok(Arc::new(state.endpoint.definition()));
    }
    if provider.contains("://") {
        return Ok(Arc::new(ProviderDefinition::of_mcp(provider)));
    }
    match state.broker.providers.find(provider).await {
        Err(error @ DefinitionError::Unknown) => {
            templates().remove(provider).ok_or_else(|| problem::definition(&error))
        }
        found => found.map_err(|error| problem::definition(&error)),
    }
}

fn provider(name: &str, definition: &ProviderDefinition, defined_in: ProviderDefinedIn) -> Provider {
    let named = Provider { git_hosts: definition.git_hosts.clone(), ..blank(name, defined_in) };
    match &definition.source {
        ProviderSource::Issuer(url) => Provider { issuer: Some(url.clone()), ..named },
        ProviderSource::Mcp(url) => Provider { mcp: Some(url.clone()), ..named },
        ProviderSource::Endpoints(endpoints) => {
            Provider { authorize_url: Some(endpoints.authorize_url.clone()), ..named }
        }
    }
}

/// A provider of which only the name is known.
fn blank(name: &str, defined_in: ProviderDefinedIn) -> Provider {
    let name = name.to_owned();
    Provider {
        name,
        defined_in,
        issuer: None,
        mcp: None,
        authorize_url: None,
        git_hosts: Vec::new(),
        error: None,
    }
}

/// The check of a definition that has the endpoints itself.
fn named(provider: String, definition: &ProviderDefinition, endpoints: &Endpoints) -> ProviderCheck {
    let aspects = report(definition, Err(endpoints)).into_iter().map(aspect).collect();
    ProviderCheck { provider, ok: true, transient: false, requests: Vec::new(), aspects }
}

fn checked(provider: String, definition: &ProviderDefinition, run: DiscoveryRun) -> ProviderCheck {
    let DiscoveryRun { requests, result, .. } = run;
    let requests = requests.into_iter().map(|SentRequest { method, url, status }| {
        let method = method.to_string();
        DiscoveryRequest { method, url, status }
    });
    let (ok, transient, aspects) = match &result {
        Ok(found) => (true, false, report(definition, Ok(found)).into_iter().map(aspect).collect()),
        Err(fault) => (false, fault.is_transient(), vec![failed(fault)]),
    };
    ProviderCheck { provider, ok, transient, requests: requests.collect(), aspects }
}

fn aspect(Aspect { name, state, detail, remedy }: Aspect) -> ProviderAspect {
    let state = match state {
        AspectState::Offered => ProviderAspectState::Offered,
        AspectState::Absent => ProviderAspectState::Absent,
        AspectState::Warning => ProviderAspectState::Warning,
    };
    ProviderAspect { aspect: name.to_owned(), state, detail, remedy }
}

fn failed(fault: &DiscoveryFault) -> ProviderAspect {
    ProviderAspect {
        aspect: "discovery".to_owned(),
        state: ProviderAspectState::Failed,
        detail: fault.to_string(),
        remedy: Some(fault.remedy().to_owned()),
    }
}
