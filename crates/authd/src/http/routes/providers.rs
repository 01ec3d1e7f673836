//! The providers that authd knows, and the dry check of one.

use authd_api::{
    DiscoveryRequest, ErrorCode, Problem, Provider, ProviderAspect, ProviderAspectState, ProviderCheck,
    ProviderCheckBody, ProviderDefinedIn, Providers,
};
use authd_oauth::{
    DiscoveryRun, Visit,
    definition::{BUILT_IN, Endpoints, ProviderDefinition, ProviderSource},
    discovery::{Aspect, AspectState, DiscoveryFault, Start, report},
};
use axum::{extract::State, response::Response};
use http::StatusCode;

#[cfg(test)]
use super::openapi::responses::{BodyErrors, ProviderNameErrors};
use crate::{
    config::templates,
    http::{
        extract::Json,
        problem,
        respond::{ApiError, json},
        state::{AppState, SharedState},
    },
};

/// All providers
///
/// The built-in one, those of the configuration, and the templates.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::PROVIDERS, operation_id = "providers", tag = "providers",
    responses((status = 200, description = "All of them.", body = Providers)),
))]
pub(super) async fn list(State(state): SharedState) -> Response {
    let built_in = Provider {
        name: BUILT_IN.to_owned(),
        defined_in: ProviderDefinedIn::BuiltIn,
        issuer: Some(state.endpoint.issuer().to_owned()),
        mcp: None,
        authorize_url: None,
    };
    let configured = state.settings.borrow().providers.clone();
    let configured =
        configured.iter().map(|(name, one)| provider(name, one, ProviderDefinedIn::Configuration));
    let templates = templates();
    let templates = templates.iter().map(|(name, one)| provider(name, one, ProviderDefinedIn::Template));
    let providers = [built_in].into_iter().chain(configured).chain(templates).collect();
    json(StatusCode::OK, &Providers { providers })
}

/// What a provider offers
///
/// Reads the metadata of a provider. Sends no credential, and changes nothing. A failed discovery
/// is a result, too: `ok` is false, and the first aspect has the reason.
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::PROVIDERS_CHECK, operation_id = "check_provider", tag = "providers",
    request_body = ProviderCheckBody,
    responses((status = 200, description = "The result.", body = ProviderCheck), BodyErrors,
        ProviderNameErrors),
))]
pub(super) async fn check(
    State(state): SharedState,
    Json(ProviderCheckBody { provider }): Json<ProviderCheckBody>,
) -> Result<Response, ApiError> {
    let definition = find(&state, &provider)?;
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
fn find(state: &AppState, provider: &str) -> Result<ProviderDefinition, Problem> {
    if provider == BUILT_IN {
        return Ok(state.endpoint.definition());
    }
    if provider.contains("://") {
        return Ok(ProviderDefinition::of_mcp(provider));
    }
    let configured = state.settings.borrow().providers.get(provider).cloned();
    configured.or_else(|| templates().remove(provider)).ok_or_else(|| {
        // The text may be anything, a secret too.
        let problem = Problem::new(ErrorCode::ProviderUnknown, "there is no provider with this name");
        problem.hint("authctl providers lists them; for any other, give the URL")
    })
}

fn provider(name: &str, definition: &ProviderDefinition, defined_in: ProviderDefinedIn) -> Provider {
    let (mut issuer, mut mcp, mut authorize_url) = (None, None, None);
    match &definition.source {
        ProviderSource::Issuer(url) => issuer = Some(url.clone()),
        ProviderSource::Mcp(url) => mcp = Some(url.clone()),
        ProviderSource::Endpoints(endpoints) => authorize_url = Some(endpoints.authorize_url.clone()),
    }
    Provider { name: name.to_owned(), defined_in, issuer, mcp, authorize_url }
}

/// The check of a definition that has the endpoints itself.
fn named(provider: String, definition: &ProviderDefinition, endpoints: &Endpoints) -> ProviderCheck {
    let aspects = report(definition, Err(endpoints)).into_iter().map(aspect).collect();
    ProviderCheck { provider, ok: true, transient: false, requests: Vec::new(), aspects }
}

fn checked(provider: String, definition: &ProviderDefinition, run: DiscoveryRun) -> ProviderCheck {
    let DiscoveryRun { visits, result } = run;
    let requests = visits.into_iter().map(|Visit { method, url, status }| {
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
