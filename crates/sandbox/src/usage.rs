//! How much of its usage limits an account has used: the response of `wham/usage`, and the headers
//! of model responses, which state the same.

use std::time::SystemTime;

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{response, tokens};

/// The usage of an account.
#[derive(Clone, Debug, Deserialize)]
pub struct Usage {
    /// The windows of the account, at most two: the provider's `primary` and `secondary` one.
    #[serde(default)]
    pub windows: Vec<UsageWindow>,
    /// The limits of single models and features.
    #[serde(default)]
    pub named: Vec<NamedUsage>,
    /// Whether there are credits: then requests are served although a limit is reached.
    #[serde(default)]
    pub credits: bool,
    /// Why requests are refused, beside a window that is used up: for example
    /// `workspace_owner_credits_depleted`.
    #[serde(default)]
    pub reached_type: Option<String>,
}

/// The used part of a limit within a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageWindow {
    /// The used part, in percent.
    pub used_percent: f64,
    /// The length, in seconds.
    pub seconds: u64,
    /// When the window starts again, in seconds since 1970. Without it, half the length is over.
    #[serde(default)]
    pub resets_at: Option<u64>,
}

/// The usage of a limit with a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedUsage {
    /// The name for users, for example `GPT-5.3-Codex-Spark`.
    pub name: String,
    /// The id, for example `codex_bengalfox`.
    pub id: String,
    /// The windows, at most two.
    pub windows: Vec<UsageWindow>,
}

impl Default for Usage {
    /// 12 % of five hours and 34 % of a week.
    fn default() -> Self {
        Self::of([(12.0, 18_000), (34.0, 604_800)])
    }
}

impl Usage {
    /// Windows of these used parts, in percent, and lengths, in seconds.
    pub fn of(windows: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let window = |(used_percent, seconds)| UsageWindow { used_percent, seconds, resets_at: None };
        let windows = windows.into_iter().map(window).collect();
        Self { windows, named: Vec::new(), credits: false, reached_type: None }.with_resets(now())
    }

    /// Sets the missing times of a reset: half a window from now.
    #[must_use]
    pub(crate) fn with_resets(mut self, now: u64) -> Self {
        let named = self.named.iter_mut().flat_map(|named| &mut named.windows);
        for window in self.windows.iter_mut().chain(named) {
            window.resets_at.get_or_insert(now + window.seconds / 2);
        }
        self
    }

    fn is_reached(&self) -> bool {
        self.reached_type.is_some() || is_used_up(&self.windows)
    }

    /// The word for the reached limit.
    fn reached_type(&self) -> Option<&str> {
        let default = is_used_up(&self.windows).then_some("rate_limit_reached");
        self.reached_type.as_deref().or(default)
    }

    /// The error of a model request, if a limit is reached and there are no credits.
    pub(crate) fn refusal(&self, plan: Option<&str>) -> Option<Response> {
        if !self.is_reached() || self.credits {
            return None;
        }
        let resets_at = self.windows.iter().filter(|window| window.used_percent >= 100.0);
        let resets_at = resets_at.filter_map(|window| window.resets_at).max();
        let error = json!({"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": plan, "resets_at": resets_at});
        Some(response::json_with(StatusCode::TOO_MANY_REQUESTS, &json!({"error": error})))
    }

    /// The response of `wham/usage`.
    pub(crate) fn to_json(&self, plan: Option<&str>) -> Value {
        let additional = self.named.iter().map(|NamedUsage { name, id, windows }| {
            json!({"limit_name": name, "metered_feature": id, "rate_limit": rate_limit(windows, is_used_up(windows), false)})
        });
        json!({
            "plan_type": plan,
            "rate_limit": rate_limit(&self.windows, self.is_reached(), self.credits),
            "credits": {"has_credits": self.credits, "unlimited": false, "balance": if self.credits { "100" } else { "0" }},
            "additional_rate_limits": additional.collect::<Vec<_>>(),
            "rate_limit_reached_type": self.reached_type().map(|kind| json!({"type": kind})),
        })
    }

    /// The headers of a model's response.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![
            ("x-codex-active-limit".to_owned(), "premium".to_owned()),
            (
                "x-codex-credits-has-credits".to_owned(),
                if self.credits { "True" } else { "False" }.to_owned(),
            ),
            ("x-codex-credits-unlimited".to_owned(), "False".to_owned()),
            ("x-codex-credits-balance".to_owned(), if self.credits { "100" } else { "0" }.to_owned()),
        ];
        if let Some(kind) = self.reached_type() {
            headers.push(("x-codex-rate-limit-reached-type".to_owned(), kind.to_owned()));
        }
        add_family(&mut headers, "codex", &self.windows);
        for NamedUsage { name, id, windows } in &self.named {
            let family = id.replace('_', "-");
            headers.push((format!("x-{family}-limit-name"), name.clone()));
            add_family(&mut headers, &family, windows);
        }
        let parsed = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
        headers.into_iter().filter_map(parsed).collect()
    }
}

fn now() -> u64 {
    tokens::unix(SystemTime::now())
}

fn is_used_up(windows: &[UsageWindow]) -> bool {
    windows.iter().any(|window| window.used_percent >= 100.0)
}

fn rate_limit(windows: &[UsageWindow], reached: bool, credits: bool) -> Value {
    if windows.is_empty() && !reached {
        return Value::Null;
    }
    let now = now();
    let window = |index: usize| {
        let UsageWindow { used_percent, seconds, resets_at } = windows.get(index)?;
        let wait = resets_at.map(|at| at.saturating_sub(now));
        // Codex accepts whole numbers only. The headers have fractions.
        Some(
            json!({"used_percent": whole(*used_percent), "limit_window_seconds": seconds, "reset_after_seconds": wait, "reset_at": resets_at}),
        )
    };
    json!({"allowed": !reached || credits, "limit_reached": reached, "primary_window": window(0), "secondary_window": window(1)})
}

/// The nearest whole number, at most 100.
fn whole(percent: f64) -> u8 {
    (0..100).find(|whole| percent < f64::from(*whole) + 0.5).unwrap_or(100)
}

/// The provider sends zeros for a window that does not exist.
fn add_family(headers: &mut Vec<(String, String)>, family: &str, windows: &[UsageWindow]) {
    for (index, slot) in ["primary", "secondary"].into_iter().enumerate() {
        let none = UsageWindow { used_percent: 0.0, seconds: 0, resets_at: None };
        let UsageWindow { used_percent, seconds, resets_at } = windows.get(index).unwrap_or(&none);
        let reset = resets_at.map(|at| at.to_string()).unwrap_or_default();
        for (what, value) in [
            ("used-percent", used_percent.to_string()),
            ("window-minutes", (seconds / 60).to_string()),
            ("reset-at", reset),
        ] {
            headers.push((format!("x-{family}-{slot}-{what}"), value));
        }
    }
}
