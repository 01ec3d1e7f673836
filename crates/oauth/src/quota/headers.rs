//! The headers `x-codex-…` of a model's response. Each limit has a family of headers with its id in
//! their names: `x-codex-bengalfox-primary-used-percent` is of the limit `codex_bengalfox`.

use std::collections::BTreeSet;

use http::HeaderMap;
use jiff::Timestamp;

use super::{Credits, Limit, MAX_NAMED_LIMITS, Percent, QuotaReading, QuotaWindow, id, reset_time, text};

/// The family of the limit that applied to the request. That is the account's own one, unless
/// [`ACTIVE`] names another.
const ACTIVE_FAMILY: &str = "codex";

/// Names the limit that applied to the request.
const ACTIVE: &str = "x-codex-active-limit";

/// The values of [`ACTIVE`] for the account's own limit; `premium` is that of every plan.
const OF_ACCOUNT: [&str; 2] = ["codex", "premium"];

/// Names the limit that is reached.
const REACHED_TYPE: &str = "x-codex-rate-limit-reached-type";

impl QuotaReading {
    /// Reads the headers of a model's response. `None` if they state no limit.
    pub fn from_headers(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        parse(headers, now)
    }
}

fn parse(headers: &HeaderMap, now: Timestamp) -> Option<QuotaReading> {
    let source = Source { headers, now };
    let mut families: BTreeSet<&str> = headers.keys().filter_map(|name| family(name.as_str())).collect();
    let credits = source.credits();
    if families.is_empty() && credits.is_none() {
        return None;
    }
    let active = source.text(ACTIVE).and_then(id).filter(|active| !OF_ACCOUNT.contains(&&**active));
    let mut reading = QuotaReading { credits, ..QuotaReading::default() };
    if families.remove(ACTIVE_FAMILY) {
        let limit = match &active {
            None => Some(Limit::Account),
            // The limit has a family of its own with the same figures.
            Some(active) if families.iter().any(|family| id(family).as_ref() == Some(active)) => None,
            Some(active) => Some(Limit::Named { id: active.clone(), name: None }),
        };
        if let Some(limit) = limit {
            reading.windows.extend(source.windows(ACTIVE_FAMILY, &limit));
        }
    }
    for family in families.into_iter().take(MAX_NAMED_LIMITS) {
        let Some(id) = id(family) else { continue };
        let name = source.text(&format!("x-{family}-limit-name")).and_then(text);
        reading.windows.extend(source.windows(family, &Limit::Named { id, name }));
    }
    if reading.windows.iter().any(|window| window.limit.is_of_account()) {
        reading.as_of = Some(now);
        reading.reached_type = source.text(REACHED_TYPE).and_then(id);
        let is_used_up = |window: &QuotaWindow| window.limit.is_of_account() && window.used.is_all();
        reading.limit_reached =
            Some(reading.reached_type.is_some() || reading.windows.iter().any(is_used_up));
    }
    reading.sort();
    (!reading.windows.is_empty() || reading.credits.is_some()).then_some(reading)
}

/// The family of a header that states a used part.
fn family(name: &str) -> Option<&str> {
    let name = name.strip_prefix("x-")?.strip_suffix("-used-percent")?;
    name.strip_suffix("-primary").or_else(|| name.strip_suffix("-secondary"))
}

#[derive(Clone, Copy)]
struct Source<'a> {
    headers: &'a HeaderMap,
    now: Timestamp,
}

impl<'a> Source<'a> {
    fn windows(self, family: &str, limit: &Limit) -> impl Iterator<Item = QuotaWindow> {
        ["primary", "secondary"].into_iter().filter_map(move |slot| self.window(family, slot, limit.clone()))
    }

    /// A slot without a window has zeros: it does not say that nothing is used.
    fn window(self, family: &str, slot: &str, limit: Limit) -> Option<QuotaWindow> {
        let number = |what: &str| self.text(&format!("x-{family}-{slot}-{what}"))?.parse::<i64>().ok();
        let used: f64 = self.text(&format!("x-{family}-{slot}-used-percent"))?.parse().ok()?;
        let minutes = number("window-minutes").filter(|minutes| *minutes > 0);
        let resets_at = reset_time(number("reset-at"), number("reset-after-seconds"), self.now);
        if used == 0.0 && minutes.is_none() && resets_at.is_none() {
            return None;
        }
        let seconds = minutes.and_then(|minutes| u64::try_from(minutes).ok()?.checked_mul(60));
        Some(QuotaWindow { limit, seconds, used: Percent::new(used)?, resets_at, as_of: self.now })
    }

    fn credits(self) -> Option<Credits> {
        let flag = |what: &str| match self.text(&format!("x-codex-credits-{what}"))? {
            yes if yes == "1" || yes.eq_ignore_ascii_case("true") => Some(true),
            no if no == "0" || no.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        Some(Credits {
            available: flag("has-credits")?,
            unlimited: flag("unlimited")?,
            balance: self.text("x-codex-credits-balance").and_then(text),
        })
    }

    fn text(self, name: &str) -> Option<&'a str> {
        Some(self.headers.get(name)?.to_str().ok()?.trim())
    }
}
