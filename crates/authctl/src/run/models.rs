//! The models that an account offers: the default one of `authctl ask`, and the reason for a
//! rejected one.

use authd_api::{ErrorCode, Headers, Mode, Problem};
use serde_json::Value;

use crate::{
    context::{Context, with_timeout},
    error::{CliError, CliResult},
    upstream_error,
};

/// Parts of the names of models that do not answer questions.
const OTHER_KINDS: [&str; 7] = ["audio", "image", "realtime", "search", "transcribe", "tts", "instruct"];

/// The hint for a question without a model.
const NAME_A_MODEL: &str = "name one: authctl ask --model NAME ...";

/// The configured model of the daemon, else the first one that the account offers. The socket of a
/// share gives no configuration, and may give no list of models.
pub(super) async fn default_model(ctx: &Context, headers: Option<&Headers>) -> CliResult<String> {
    let status = match with_timeout(ctx.client.status()).await {
        Err(CliError::Problem(problem)) if problem.code == ErrorCode::Forbidden => None,
        status => Some(status?),
    };
    let is_share = status.is_none();
    if let Some(model) = status.and_then(|status| status.model) {
        return Ok(model);
    }
    let list = match list(ctx, headers).await {
        Err(CliError::Problem(problem)) if is_share => {
            let detail =
                format!("no model is named, and the list of models is not available: {}", problem.detail);
            return Err(Problem { detail, ..*problem }.hint(NAME_A_MODEL).into());
        }
        list => list?,
    };
    if let Some(problem) = headers.and_then(|headers| no_models(&list, headers)) {
        return Err(problem.into());
    }
    first_chat_model(&list).ok_or_else(|| {
        Problem::new(ErrorCode::ProviderRefused, "the account offers no model that answers questions")
            .hint(NAME_A_MODEL)
            .into()
    })
}

/// The path of the list of models, below the profile. The ChatGPT backend gives no list without the
/// client's version.
pub(super) fn models_path(headers: Option<&Headers>) -> String {
    let chatgpt = headers.filter(|headers| headers.mode == Mode::ChatGpt);
    match chatgpt.and_then(|headers| headers.value("version")) {
        Some(version) => format!("relay/models?client_version={version}"),
        None => "relay/models".to_owned(),
    }
}

/// The problem of an empty list. The ChatGPT backend grades its list by the client's version.
pub(super) fn no_models(list: &Value, headers: &Headers) -> Option<Problem> {
    let version = headers.value("version").filter(|_| headers.mode == Mode::ChatGpt)?;
    list["models"].as_array().filter(|models| models.is_empty())?;
    let version = upstream_error::quote(version);
    let detail = format!("the provider lists no model; this client version may be too old: {version}");
    Some(Problem::new(ErrorCode::ProviderRefused, detail).hint(upstream_error::NEWER_CLIENT))
}

/// The problem of a request whose model the account does not offer; `None` if it offers the model,
/// or if the list is not available.
pub(super) async fn not_offered(ctx: &Context, headers: Option<&Headers>, model: &str) -> Option<Problem> {
    let list = list(ctx, headers).await.ok()?;
    let offered = names(&list);
    let first = first_chat_model(&list)?;
    if offered.contains(&model) {
        return None;
    }
    let detail = format!("the account does not offer the model \"{model}\"");
    let offered = offered.iter().map(|name| upstream_error::quote(name)).collect::<Vec<_>>().join(", ");
    let hint =
        format!("it offers: {offered}; run: authctl ask --model {} ...", upstream_error::quote(&first));
    Some(Problem::new(ErrorCode::ProviderRefused, detail).hint(hint))
}

async fn list(ctx: &Context, headers: Option<&Headers>) -> CliResult<Value> {
    let response = ctx.get(ctx.profile(), &models_path(headers)).await?;
    if !response.status.is_success() {
        return Err(ctx.relay_error(&response).await);
    }
    serde_json::from_slice(&response.body).map_err(|_| {
        let problem = Problem::new(ErrorCode::ProviderUnreachable, "the list of models is not JSON");
        problem.hint("check for a captive portal or a proxy: authctl doctor").into()
    })
}

/// The visible models of a list in either format: of the ChatGPT backend, or of the public API.
fn names(list: &Value) -> Vec<&str> {
    let entries = [("models", "slug"), ("data", "id")].into_iter().flat_map(|(list_key, name_key)| {
        let entries = list[list_key].as_array().into_iter().flatten();
        entries.filter_map(move |entry| {
            let is_visible = entry["visibility"].as_str().is_none_or(|value| value == "list");
            entry[name_key].as_str().filter(|_| is_visible)
        })
    });
    entries.collect()
}

/// The first model of a list. That of the public API has models of other kinds, too, so the first
/// chat model is preferred there.
fn first_chat_model(list: &Value) -> Option<String> {
    let is_chat =
        |name: &&&str| name.starts_with("gpt-") && !OTHER_KINDS.iter().any(|kind| name.contains(kind));
    let names = names(list);
    let chat = names.iter().find(is_chat).filter(|_| list["data"].is_array());
    chat.or(names.first()).map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn default_model_is_the_first_chat_model() {
        let hidden = json!({"slug": "hidden", "visibility": "hide"});
        let codex = json!({"models": [hidden, {"slug": "gpt-5.5"}, {"slug": "gpt-5.2"}]});
        assert_eq!(first_chat_model(&codex).as_deref(), Some("gpt-5.5"));
        let public = json!({"data": [{"id": "whisper-1"}, {"id": "gpt-4o-audio-preview"}, {"id": "gpt-5"},
            {"id": "gpt-4o"}]});
        assert_eq!(first_chat_model(&public).as_deref(), Some("gpt-5"));
        assert_eq!(first_chat_model(&json!({"data": [{"id": "o4"}]})).as_deref(), Some("o4"));
        assert_eq!(first_chat_model(&json!({"models": []})), None);
        assert_eq!(first_chat_model(&Value::Null), None);
    }
}
