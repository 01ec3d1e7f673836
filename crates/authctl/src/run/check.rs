//! `authctl check`: calls the endpoints of the account through the daemon. It changes nothing and
//! uses no tokens.

use std::time::{Duration, Instant};

use authd_api::{ErrorCode, Headers, Mode, Problem, Quota, QuotaWindow, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::models::{models_path, no_models};
use crate::context::{Context, require_openai};
use crate::{
    cli::ProfileArg,
    error::{CliError, CliResult},
    sanitize, upstream_error,
};

/// The name of an endpoint, its path below the profile, and a function that summarizes its
/// response.
type Endpoint = (&'static str, String, fn(&Value) -> Option<String>);

/// The name of the list of models.
const MODELS: &str = "models";

/// The name of the usage limits.
const USAGE: &str = "usage";

struct EndpointResult {
    name: &'static str,
    status: Option<StatusCode>,
    duration: Duration,
    summary: String,
    problem: Option<Problem>,
}

/// Calls one endpoint after another, so that each duration is that of one request.
pub(super) async fn check(ctx: &Context, profile: ProfileArg) -> CliResult {
    let headers = ctx.headers(profile)?;
    require_openai(&headers)?;
    let mut results = Vec::new();
    for endpoint in endpoints(&headers) {
        let result = call(ctx, &headers, endpoint).await?;
        if !ctx.out.json {
            ctx.out.print(&result.line())?;
        }
        results.push(result);
    }
    if ctx.out.json {
        let endpoints: Vec<Value> = results.iter().map(EndpointResult::json).collect();
        ctx.out.print_json(&json!({"profile": headers.profile, "mode": headers.mode,
            "base_url": headers.base_url, "endpoints": endpoints}))?;
    }
    // A sign-in problem first: it is the one to solve before the others.
    let is_sign_in = |problem: &Problem| problem.code.exit_code() == ErrorCode::LoginRequired.exit_code();
    let mut problems: Vec<Problem> = results.into_iter().filter_map(|result| result.problem).collect();
    problems.sort_by_key(|problem| !is_sign_in(problem));
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) if is_sign_in(&problem) => Err(problem.into()),
        // A rejected request is not an error of the user, as its own exit code would say.
        Some(problem) => {
            Err(CliError::WithExitCode(ErrorCode::ProviderRefused.exit_code(), Box::new(problem)))
        }
    }
}

/// An API key is valid for the public API only.
fn endpoints(headers: &Headers) -> Vec<Endpoint> {
    let models: Endpoint = (MODELS, models_path(Some(headers)), models);
    if headers.mode == Mode::ApiKey {
        return vec![models];
    }
    let backend = |path: &str| format!("relay-backend/{path}");
    vec![
        models,
        ("accounts", backend("accounts/check"), accounts),
        ("me", backend("me"), me),
        ("conversations", backend("conversations?offset=0&limit=1"), conversations),
        // The daemon asks for it, unless it did so just now.
        (USAGE, "quota?max_age=0".to_owned(), usage),
    ]
}

async fn call(ctx: &Context, headers: &Headers, endpoint: Endpoint) -> CliResult<EndpointResult> {
    let (name, path, summarize) = endpoint;
    let started = Instant::now();
    let response = ctx.get(Some(&headers.profile), &path).await;
    let duration = started.elapsed();
    let (status, problem) = match response {
        Ok(Response { status, body, .. }) if status.is_success() => {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let summary = summarize(&body).unwrap_or_else(|| "answered in an unknown form".to_owned());
            let problem = match name {
                MODELS => no_models(&body, headers),
                USAGE => serde_json::from_value(body["error"].clone()).ok(),
                _ => None,
            };
            match problem {
                Some(problem) => (Some(status), problem),
                None => {
                    return Ok(EndpointResult {
                        name,
                        status: Some(status),
                        duration,
                        summary,
                        problem: None,
                    });
                }
            }
        }
        Ok(response) => (Some(response.status), upstream_error::problem(&response)),
        Err(error) => match error.problem() {
            Some(problem) => (None, problem.clone()),
            None => return Err(error),
        },
    };
    Ok(EndpointResult { name, status, duration, summary: problem.detail.clone(), problem: Some(problem) })
}

impl EndpointResult {
    fn line(&self) -> String {
        let status = self.status.map_or("---".to_owned(), |status| status.as_u16().to_string());
        let (milliseconds, summary) = (self.duration.as_millis(), sanitize::line(&self.summary));
        format!("{:<14} {status}  {milliseconds:>5} ms  {summary}\n", self.name)
    }

    fn json(&self) -> Value {
        json!({
            "endpoint": self.name, "status": self.status.map(|status| status.as_u16()),
            "milliseconds": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "ok": self.problem.is_none(), "summary": self.summary,
        })
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn models(body: &Value) -> Option<String> {
    Some(counted(body.get("models").or_else(|| body.get("data"))?.as_array()?.len(), "model"))
}

/// The accounts are a list, or a map by id.
fn accounts(body: &Value) -> Option<String> {
    let count = match body.get("accounts")? {
        Value::Array(accounts) => accounts.len(),
        Value::Object(accounts) => accounts.len(),
        _ => return None,
    };
    Some(counted(count, "account"))
}

fn me(body: &Value) -> Option<String> {
    Some(upstream_error::quote(body.get("email").or_else(|| body.get("id"))?.as_str()?))
}

fn conversations(body: &Value) -> Option<String> {
    let total = body.get("total").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
    let listed = || body.get("items").and_then(Value::as_array).map(Vec::len);
    Some(counted(total.or_else(listed)?, "conversation"))
}

fn usage(body: &Value) -> Option<String> {
    let quota: Quota = serde_json::from_value(body.clone()).ok()?;
    let left = |window: &QuotaWindow| {
        let limit = window.limit.as_ref().map(|limit| format!(" of {limit}")).unwrap_or_default();
        Some(format!("{:.0} % left of {}{limit}", window.left_percent()?, window.window))
    };
    let windows: Vec<String> = quota.windows.iter().filter_map(left).collect();
    match (quota.limit_reached, windows.is_empty()) {
        (Some(true), _) => Some("the limit is reached".to_owned()),
        (_, true) => None,
        (_, false) => Some(windows.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_summarized() {
        let some = |summary: &str| Some(summary.to_owned());
        assert_eq!(models(&json!({"models": [1, 2]})), some("2 models"));
        assert_eq!(models(&json!({"data": [1]})), some("1 model"));
        assert_eq!(accounts(&json!({"accounts": {"a": {}}})), some("1 account"));
        assert_eq!(accounts(&json!({"accounts": []})), some("0 accounts"));
        assert_eq!(me(&json!({"email": "a@b"})), some("a@b"));
        assert_eq!(conversations(&json!({"items": [1], "total": 3})), some("3 conversations"));
        let window = |name: &str, used: f64| {
            json!({"window": name, "seconds": null, "used_percent": used, "resets_at": null,
                "as_of": "2026-11-27T10:00:00Z"})
        };
        let mut quota = json!({"profile": "work", "windows": [window("5h", 12.0), window("7d", 34.0)],
            "limit_reached": false, "as_of": null, "stale": false});
        assert_eq!(usage(&quota), some("88 % left of 5h, 66 % left of 7d"));
        quota["limit_reached"] = true.into();
        assert_eq!(usage(&quota), some("the limit is reached"));
    }

    #[test]
    fn unknown_responses_have_no_summary() {
        for summarize in [models, accounts, me, conversations, usage] {
            for body in [
                json!(null),
                json!([]),
                json!({"models": 1, "accounts": 1, "email": 1, "total": "x", "rate_limit": 1}),
            ] {
                assert_eq!(summarize(&body), None, "{body}");
            }
        }
    }
}
