//! `authctl check`: calls the account's endpoints through the relay, and says in a line each what came
//! back. It changes nothing, and spends no tokens.

use std::time::{Duration, Instant};

use authd_api::{Answer, ErrorCode, Headers, Mode, Problem};
use http::StatusCode;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Ctl, ask::models_path};
use crate::{
    cli::{CredentialArgs, One},
    failure::Failure,
    printable, refusal, time,
};

/// An endpoint: its name, its path below the profile, and what its answer says in a word.
type Endpoint = (&'static str, String, fn(&Value) -> Option<String>);

/// What came of one call.
struct Finding {
    name: &'static str,
    status: Option<StatusCode>,
    took: Duration,
    words: String,
    trouble: Option<Problem>,
}

/// Calls them one after another: so each one's time is its own.
pub(super) async fn check(ctl: &Ctl, one: One) -> Result<(), Failure> {
    let headers = ctl.credential(CredentialArgs { one, min_ttl: None })?;
    let mut findings = Vec::new();
    for endpoint in endpoints(&headers) {
        let finding = call(ctl, &headers, endpoint).await;
        if !ctl.out.wants_json() {
            ctl.out.answer(&finding.line())?;
        }
        findings.push(finding);
    }
    if ctl.out.wants_json() {
        let endpoints: Vec<Value> = findings.iter().map(Finding::json).collect();
        ctl.out.json(&json!({"profile": headers.profile, "mode": headers.mode, "base_url": headers.base_url, "endpoints": endpoints}))?;
    }
    // Without a working sign-in nothing else is worth mending.
    let mut troubles: Vec<Problem> = findings.into_iter().filter_map(|finding| finding.trouble).collect();
    troubles.sort_by_key(|problem| problem.code.exit_code() != ErrorCode::LoginRequired.exit_code());
    match troubles.into_iter().next() {
        None => Ok(()),
        Some(first) if first.code.exit_code() == ErrorCode::LoginRequired.exit_code() => Err(first.into()),
        // A refused question is the provider's business here: nobody typed one.
        Some(first) => Err(Failure::Exit(ErrorCode::ProviderRefused.exit_code(), Box::new(first))),
    }
}

/// With an API key the public API is all there is.
fn endpoints(headers: &Headers) -> Vec<Endpoint> {
    let models: Endpoint = ("models", models_path(headers), models);
    if headers.mode == Mode::ApiKey {
        return vec![models];
    }
    let backend = |path: &str| format!("relay-backend/{path}");
    vec![
        models,
        ("accounts", backend("accounts/check"), accounts),
        ("me", backend("me"), me),
        ("conversations", backend("conversations?offset=0&limit=1"), conversations),
        ("usage", backend("wham/usage"), usage),
    ]
}

async fn call(ctl: &Ctl, headers: &Headers, (name, path, in_words): Endpoint) -> Finding {
    let started = Instant::now();
    let answer = ctl.get(&headers.profile, &path).await;
    let took = started.elapsed();
    let (status, words, trouble) = match answer {
        Ok(Answer { status, body, .. }) if status.is_success() => {
            let said = serde_json::from_slice(&body).ok().and_then(|body| in_words(&body));
            (Some(status), said.unwrap_or_else(|| "answered in an unknown form".to_owned()), None)
        }
        Ok(Answer { status, headers, body }) => {
            let problem = refusal::problem(status, &headers, &body, time::now(), &TimeZone::system());
            (Some(status), problem.detail.clone(), Some(problem))
        }
        Err(failure) => {
            let problem = failure.into_problem();
            (None, problem.detail.clone(), Some(problem))
        }
    };
    Finding { name, status, took, words, trouble }
}

impl Finding {
    fn line(&self) -> String {
        let status = self.status.map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
        format!(
            "{:<14} {status}  {:>5} ms  {}\n",
            self.name,
            self.took.as_millis(),
            printable::value(&self.words)
        )
    }

    fn json(&self) -> Value {
        json!({
            "endpoint": self.name, "status": self.status.map(|status| status.as_u16()),
            "milliseconds": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "ok": self.trouble.is_none(), "summary": self.words,
        })
    }
}

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn models(body: &Value) -> Option<String> {
    Some(counted(body.get("models").or_else(|| body.get("data"))?.as_array()?.len(), "model"))
}

/// The accounts are a list, or a map by id.
fn accounts(body: &Value) -> Option<String> {
    let accounts = body.get("accounts")?;
    let count =
        accounts.as_array().map(Vec::len).or_else(|| accounts.as_object().map(serde_json::Map::len))?;
    Some(counted(count, "account"))
}

fn me(body: &Value) -> Option<String> {
    let who = body.get("email").or_else(|| body.get("id"))?.as_str()?;
    Some(refusal::quote(who))
}

fn conversations(body: &Value) -> Option<String> {
    let listed = || body.get("items").and_then(Value::as_array).map(Vec::len);
    let count = body.get("total").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
    Some(counted(count.or_else(listed)?, "conversation"))
}

fn usage(body: &Value) -> Option<String> {
    let limits = body.get("rate_limit")?;
    let left = |window: &str| {
        let used = limits.get(window)?.get("used_percent")?.as_f64()?;
        let hours = limits.get(window)?.get("limit_window_seconds")?.as_u64()? / 3600;
        let span = if hours >= 48 { counted_days(hours) } else { format!("{hours} h") };
        Some(format!("{:.0} % left of {span}", (100.0 - used).clamp(0.0, 100.0)))
    };
    let windows: Vec<String> = ["primary_window", "secondary_window"].into_iter().filter_map(left).collect();
    match (windows.is_empty(), limits.get("limit_reached").and_then(Value::as_bool)) {
        (_, Some(true)) => Some("the limit is reached".to_owned()),
        (true, _) => None,
        (false, _) => Some(windows.join(", ")),
    }
}

fn counted_days(hours: u64) -> String {
    format!("{} d", hours / 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_a_word() {
        let some = |words: &str| Some(words.to_owned());
        assert_eq!(models(&json!({"models": [1, 2]})), some("2 models"));
        assert_eq!(models(&json!({"data": [1]})), some("1 model"));
        assert_eq!(accounts(&json!({"accounts": {"a": {}}})), some("1 account"));
        assert_eq!(accounts(&json!({"accounts": []})), some("0 accounts"));
        assert_eq!(me(&json!({"email": "a@b"})), some("a@b"));
        assert_eq!(conversations(&json!({"items": [1], "total": 3})), some("3 conversations"));
        let window = |used: f64, seconds: u64| json!({"used_percent": used, "limit_window_seconds": seconds});
        let limits = json!({"rate_limit": {"primary_window": window(12.0, 18_000), "secondary_window": window(34.0, 604_800)}});
        assert_eq!(usage(&limits), some("88 % left of 5 h, 66 % left of 7 d"));
        assert_eq!(usage(&json!({"rate_limit": {"limit_reached": true}})), some("the limit is reached"));
    }

    #[test]
    fn another_form_is_no_word() {
        for in_words in [models, accounts, me, conversations, usage] {
            for body in [
                json!(null),
                json!([]),
                json!({"models": 1, "accounts": 1, "email": 1, "total": "x", "rate_limit": 1}),
            ] {
                assert_eq!(in_words(&body), None, "{body}");
            }
        }
    }
}
