//! The response of `wham/usage`.

use jiff::Timestamp;
use serde_json::Value;

use super::{Credits, Limit, MAX_NAMED_LIMITS, Percent, QuotaReading, QuotaWindow, id, reset_time, text};
use crate::ProviderError;

impl QuotaReading {
    /// Reads a response of `wham/usage`. Fails if it states no limit in a known form.
    pub fn from_usage(body: &[u8], now: Timestamp) -> Result<Self, ProviderError> {
        parse(body, now).ok_or_else(|| ProviderError::invalid("no usage limits in a known form"))
    }
}

fn parse(body: &[u8], now: Timestamp) -> Option<QuotaReading> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let account = &body["rate_limit"];
    let spending = &body["spend_control"];
    let mut reading = QuotaReading {
        as_of: Some(now),
        limit_reached: either([is_reached(account), spending["reached"].as_bool()]),
        reached_type: reached_type(&body["rate_limit_reached_type"]),
        credits: credits(&body["credits"]),
        windows: windows(account, &Limit::Account, now).collect(),
    };
    reading.windows.extend(window(&spending["individual_limit"], Limit::Spending, now));
    let additional = body["additional_rate_limits"].as_array().into_iter().flatten();
    for additional in additional.take(MAX_NAMED_LIMITS) {
        let field = |name: &str| additional[name].as_str();
        let name = field("limit_name").and_then(text);
        let Some(id) = field("metered_feature").or(field("limit_name")).and_then(id) else { continue };
        reading.windows.extend(windows(&additional["rate_limit"], &Limit::Named { id, name }, now));
    }
    let review = Limit::Named { id: "code_review".into(), name: None };
    reading.windows.extend(windows(&body["code_review_rate_limit"], &review, now));
    reading.sort();
    let states_something =
        !reading.windows.is_empty() || reading.credits.is_some() || reading.limit_reached.is_some();
    states_something.then_some(reading)
}

fn windows(limits: &Value, limit: &Limit, now: Timestamp) -> impl Iterator<Item = QuotaWindow> {
    let slots = [&limits["primary_window"], &limits["secondary_window"]];
    slots.into_iter().filter_map(move |slot| window(slot, limit.clone(), now))
}

fn window(slot: &Value, limit: Limit, now: Timestamp) -> Option<QuotaWindow> {
    let used = Percent::new(slot["used_percent"].as_f64()?)?;
    let seconds = slot["limit_window_seconds"].as_u64().filter(|seconds| *seconds > 0);
    let resets_at = reset_time(slot["reset_at"].as_i64(), slot["reset_after_seconds"].as_i64(), now);
    Some(QuotaWindow { limit, seconds, used, resets_at, as_of: now })
}

/// A limit can be reached while requests are allowed, because there are credits.
fn is_reached(limits: &Value) -> Option<bool> {
    let is_refused = limits["allowed"].as_bool().map(|allowed| !allowed);
    either([limits["limit_reached"].as_bool(), is_refused])
}

/// Whether one of these is so; `None` if none is stated.
fn either(stated: [Option<bool>; 2]) -> Option<bool> {
    stated.into_iter().flatten().reduce(|one, other| one || other)
}

/// A text, or an object with its text.
fn reached_type(value: &Value) -> Option<Box<str>> {
    value.as_str().or_else(|| value["type"].as_str()).and_then(id)
}

fn credits(value: &Value) -> Option<Credits> {
    let balance = match &value["balance"] {
        Value::String(balance) => text(balance),
        Value::Number(balance) => text(&balance.to_string()),
        _ => None,
    };
    Some(Credits {
        available: value["has_credits"].as_bool()?,
        unlimited: value["unlimited"].as_bool().unwrap_or(false),
        balance,
    })
}
