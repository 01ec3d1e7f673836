//! Usage limits: what providers were seen to answer, and that nothing else becomes a figure.

use authd_oauth::quota::{Limit, Percent, QuotaReading, QuotaWindow};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

fn now() -> Timestamp {
    at(0)
}

/// A time so many seconds from [`now`].
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn usage(body: &Value) -> Option<QuotaReading> {
    QuotaReading::from_usage(body.to_string().as_bytes(), now()).ok()
}

fn from_headers(headers: &[(&str, &str)]) -> Option<QuotaReading> {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    QuotaReading::from_headers(&headers.iter().map(pair).collect(), now())
}

/// Each window as text: limit, name, used percent, and seconds until the reset.
fn texts(reading: &QuotaReading) -> Vec<String> {
    let text = |window: &QuotaWindow| {
        let limit = match &window.limit {
            Limit::Account => "account",
            Limit::Spending => "spending",
            Limit::Named { id, name } => name.as_deref().unwrap_or(id),
        };
        let reset = window.resets_at.map(|at| at.duration_since(now()).as_secs());
        format!("{limit} {} {} {reset:?}", window.name(), window.used.get())
    };
    reading.windows.iter().map(text).collect()
}

fn window(used: f64, seconds: i64) -> Value {
    json!({"used_percent": used, "limit_window_seconds": seconds, "reset_after_seconds": 600,
        "reset_at": at(600).as_second()})
}

fn plan(primary: &Value, secondary: &Value) -> Value {
    json!({"plan_type": "plus", "rate_limit": {"allowed": true, "limit_reached": false,
        "primary_window": primary, "secondary_window": secondary}, "credits": null})
}

#[test]
fn window_is_named_by_its_length_and_the_binding_one_is_first() {
    let (short, week) = (window(29.0, 18_000), window(53.5, 604_800));
    let expected = ["account 7d 53.5 Some(600)", "account 5h 29 Some(600)"];
    // The position says nothing: some plans have only a weekly window, in the first position.
    for (one, other) in [(&short, &week), (&week, &short)] {
        assert_eq!(texts(&usage(&plan(one, other)).unwrap()), expected);
    }
    let weekly_only = usage(&plan(&week, &Value::Null)).unwrap();
    assert_eq!(texts(&weekly_only), expected[..1]);
    assert_eq!(weekly_only.limit_reached, Some(false));
    for (seconds, name) in [
        (18_000, "5h"),
        (17_940, "5h"),
        (900, "15m"),
        (86_400, "24h"),
        (604_800, "7d"),
        (2_592_000, "30d"),
        (2_628_000, "30d"),
        (2_419_200, "28d"),
        (0, "unknown"),
        (-5, "unknown"),
    ] {
        let reading = usage(&plan(&window(1.0, seconds), &Value::Null)).unwrap();
        assert_eq!(reading.windows[0].name(), name, "{seconds}");
    }
}

#[test]
fn reached_limit_of_credits_and_spending_is_told_apart_from_the_windows() {
    // A Pro Lite account whose week is used up, with requests still allowed.
    let mut body = plan(&window(100.0, 604_800), &Value::Null);
    body["rate_limit"]["limit_reached"] = true.into();
    assert_eq!(usage(&body).unwrap().limit_reached, Some(true));
    // A workspace without credits: its windows have room.
    let mut body = plan(&window(10.0, 18_000), &Value::Null);
    body["rate_limit"]["allowed"] = false.into();
    body["rate_limit_reached_type"] = json!({"type": "workspace_owner_credits_depleted"});
    let reading = usage(&body).unwrap();
    assert_eq!(reading.limit_reached, Some(true));
    assert_eq!(reading.reached_type.as_deref(), Some("workspace_owner_credits_depleted"));
    // A Business account with a spending limit instead of windows, and the limit of one model.
    let reading = usage(&json!({
        "plan_type": "business", "rate_limit": null, "code_review_rate_limit": null,
        "additional_rate_limits": [{"limit_name": "GPT-5.3-Codex-Spark", "metered_feature": "codex_bengalfox",
            "rate_limit": {"allowed": true, "limit_reached": false,
                "primary_window": window(99.0, 18_000), "secondary_window": null}}],
        "credits": {"has_credits": true, "unlimited": false, "balance": null},
        "spend_control": {"reached": false, "individual_limit": {"source": "workspace_spend_controls",
            "limit": "25000", "used": "8000", "remaining": "17000", "used_percent": 32,
            "remaining_percent": 68, "reset_after_seconds": 43_200, "reset_at": at(43_200).as_second()}},
    }))
    .unwrap();
    let expected = ["spending spending 32 Some(43200)", "GPT-5.3-Codex-Spark 5h 99 Some(600)"];
    assert_eq!(texts(&reading), expected);
    assert_eq!(reading.binding(), reading.windows.first());
    assert!(reading.credits.as_ref().unwrap().available);
}

#[test]
fn reset_time_in_the_past_is_replaced_by_the_wait_or_unknown() {
    let reset = |at: Value, after: Value| {
        let slot = json!({"used_percent": 40, "limit_window_seconds": 18_000,
            "reset_at": at, "reset_after_seconds": after});
        let reading = usage(&plan(&slot, &Value::Null)).unwrap();
        reading.windows[0].resets_at.map(|at| at.duration_since(now()).as_secs())
    };
    assert_eq!(reset(at(90).as_second().into(), Value::Null), Some(90));
    assert_eq!(reset(at(-90).as_second().into(), 30.into()), Some(30));
    assert_eq!(reset(at(-90).as_second().into(), 0.into()), None);
    assert_eq!(reset(0.into(), Value::Null), None);
    assert_eq!(reset(i64::MAX.into(), i64::MAX.into()), None);
    assert_eq!(reset("2026-11-27T10:00:00Z".into(), Value::Null), None);
}

#[test]
fn unknown_form_is_unknown_and_never_zero() {
    for body in [
        json!(null),
        json!([]),
        json!("no"),
        json!({}),
        json!({"detail": "Not Found"}),
        json!({"plan_type": "plus", "rate_limit": null, "credits": null}),
        json!({"rate_limit": {"primary_window": {"limit_window_seconds": 18_000, "reset_at": 1}}}),
        json!({"rate_limit": {"primary_window": {"used_percent": null}}}),
        json!({"rate_limit": {"primary_window": {"used_percent": "12"}}}),
        json!({"rate_limit": {"primary_window": {"used_percent": -1}}}),
        json!({"rate_limits": [{"used": 3, "limit": 10}]}),
    ] {
        assert_eq!(usage(&body), None, "{body}");
    }
    for broken in [&b""[..], b"<html>", b"\xff"] {
        assert!(QuotaReading::from_usage(broken, now()).is_err());
    }
    let above = usage(&plan(&window(103.2, 18_000), &Value::Null)).unwrap();
    assert_eq!(above.windows[0].used, Percent::new(100.0).unwrap());
}

/// Captured from a Plus account.
const PLUS: [(&str, &str); 12] = [
    ("x-codex-active-limit", "premium"),
    ("x-codex-primary-used-percent", "50"),
    ("x-codex-primary-window-minutes", "300"),
    ("x-codex-primary-reset-after-seconds", "14845"),
    ("x-codex-secondary-used-percent", "8"),
    ("x-codex-secondary-window-minutes", "10080"),
    ("x-codex-secondary-reset-at", "1790601645"),
    ("x-codex-primary-over-secondary-limit-percent", "0"),
    ("x-codex-credits-has-credits", "False"),
    ("x-codex-credits-unlimited", "False"),
    ("x-codex-credits-balance", "0"),
    ("x-codex-plan-type", "plus"),
];

#[test]
fn headers_state_the_same_as_the_endpoint() {
    let reading = from_headers(&PLUS).unwrap();
    assert_eq!(texts(&reading), ["account 5h 50 Some(14845)", "account 7d 8 Some(601645)"]);
    assert_eq!((reading.limit_reached, reading.as_of), (Some(false), Some(now())));
    let credits = reading.credits.as_ref().unwrap();
    assert_eq!((credits.available, credits.balance.as_deref()), (false, Some("0")));
    let body = json!({
        "rate_limit": {"allowed": true, "limit_reached": false,
            "primary_window": {"used_percent": 50, "limit_window_seconds": 18_000,
                "reset_at": at(14_845).as_second()},
            "secondary_window": {"used_percent": 8, "limit_window_seconds": 604_800,
                "reset_at": at(601_645).as_second()}},
        "credits": {"has_credits": false, "unlimited": false, "balance": "0"},
    });
    assert_eq!(usage(&body).unwrap(), reading);
}

#[test]
fn slot_without_a_window_and_headers_without_limits_state_nothing() {
    let weekly = from_headers(&[
        ("x-codex-primary-used-percent", "4"),
        ("x-codex-primary-window-minutes", "10080"),
        ("x-codex-primary-reset-at", "1790001305"),
        ("x-codex-secondary-used-percent", "0"),
        ("x-codex-secondary-window-minutes", "0"),
        ("x-codex-secondary-reset-after-seconds", "0"),
        ("x-codex-secondary-reset-at", ""),
    ]);
    assert_eq!(texts(&weekly.unwrap()), ["account 7d 4 Some(1305)"]);
    for headers in [
        &[][..],
        &[("x-codex-plan-type", "plus"), ("x-codex-active-limit", "premium")],
        &[("x-codex-primary-window-minutes", "300"), ("x-codex-primary-reset-at", "1790001305")],
        &[("x-codex-primary-used-percent", "nan"), ("x-codex-primary-window-minutes", "300")],
        &[("x-codex-primary-used-percent", "inf"), ("x-codex-primary-window-minutes", "300")],
        &[("x-codex-primary-used-percent", "-3"), ("x-codex-primary-window-minutes", "300")],
        &[("x-codex-primary-used-percent", ""), ("x-codex-primary-window-minutes", "300")],
    ] {
        assert_eq!(from_headers(headers), None, "{headers:?}");
    }
}

#[test]
fn limit_of_a_model_is_not_taken_for_that_of_the_account() {
    let spark = [
        ("x-codex-bengalfox-primary-used-percent", "70"),
        ("x-codex-bengalfox-primary-window-minutes", "300"),
        ("x-codex-bengalfox-limit-name", "GPT-5.3-Codex-Spark"),
    ];
    let both: Vec<_> = PLUS.into_iter().chain(spark).collect();
    let reading = from_headers(&both).unwrap();
    assert_eq!(texts(&reading)[2], "GPT-5.3-Codex-Spark 5h 70 None");
    assert_eq!(reading.binding().map(|window| window.used), Percent::new(50.0));
    // The family `codex` is a copy of the limit that applied to the request.
    let mut copied = both;
    copied[0] = ("x-codex-active-limit", "codex_bengalfox");
    let reading = from_headers(&copied).unwrap();
    assert_eq!(texts(&reading), ["GPT-5.3-Codex-Spark 5h 70 None"]);
    assert_eq!((reading.binding(), reading.as_of), (None, None));
    // The limit of another feature without headers of its own.
    let image = from_headers(&[
        ("x-codex-active-limit", "imagegen_premium"),
        ("x-codex-primary-used-percent", "25"),
        ("x-codex-primary-window-minutes", "1440"),
    ]);
    assert_eq!(texts(&image.unwrap()), ["imagegen_premium 24h 25 None"]);
}

#[test]
fn newer_headers_replace_only_the_limits_that_they_state() {
    let mut body = plan(&window(10.0, 18_000), &window(20.0, 604_800));
    body["additional_rate_limits"] = json!([{"limit_name": "Spark", "metered_feature": "codex_bengalfox",
        "rate_limit": {"primary_window": window(60.0, 18_000)}}]);
    let first = usage(&body).unwrap();
    let updated = first.clone().updated(from_headers(&PLUS).unwrap());
    let expected = ["account 5h 50 Some(14845)", "account 7d 8 Some(601645)", "Spark 5h 60 Some(600)"];
    assert_eq!(texts(&updated), expected);
    let spark = [
        ("x-codex-bengalfox-primary-used-percent", "61"),
        ("x-codex-bengalfox-primary-window-minutes", "300"),
        ("x-codex-rate-limit-reached-type", "rate_limit_reached"),
    ];
    let updated = updated.updated(from_headers(&spark).unwrap());
    assert_eq!(texts(&updated)[2], "codex_bengalfox 5h 61 None");
    assert_eq!(updated.limit_reached, Some(false), "the limit of a model is not that of the account");
    // The figures are compared without their age, and resets that differ by seconds are the same.
    let mut moved = first.clone();
    moved.as_of = Some(at(60));
    for window in &mut moved.windows {
        window.as_of = at(60);
        window.resets_at = window.resets_at.map(|at| at + SignedDuration::from_secs(7));
    }
    assert!(first.states_the_same(&moved));
    moved.windows[0].used = Percent::new(21.0).unwrap();
    assert!(!first.states_the_same(&moved));
}

#[test]
fn used_up_window_counts_as_a_reached_limit() {
    let headers = |used| [("x-codex-primary-used-percent", used), ("x-codex-primary-window-minutes", "300")];
    assert_eq!(from_headers(&headers("99.9")).unwrap().limit_reached, Some(false));
    assert_eq!(from_headers(&headers("100.0")).unwrap().limit_reached, Some(true));
    let mut with_type = headers("12").to_vec();
    with_type.push(("x-codex-rate-limit-reached-type", "workspace_member_usage_limit_reached"));
    let reading = from_headers(&with_type).unwrap();
    assert_eq!(reading.limit_reached, Some(true));
    assert_eq!(reading.reached_type.as_deref(), Some("workspace_member_usage_limit_reached"));
}

/// The keys of a response, so that most random bodies are nearly valid.
const KEYS: [&str; 18] = [
    "rate_limit",
    "primary_window",
    "secondary_window",
    "used_percent",
    "limit_window_seconds",
    "reset_at",
    "reset_after_seconds",
    "limit_reached",
    "allowed",
    "credits",
    "has_credits",
    "unlimited",
    "balance",
    "additional_rate_limits",
    "limit_name",
    "metered_feature",
    "spend_control",
    "individual_limit",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..100_i64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..40).prop_map(Value::from),
            vec((proptest::sample::select(&KEYS[..]), inner), 0..8).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = "x-(codex|codex-[a-z]{1,8}|[a-z]{1,8})-(primary|secondary)-\
                (used-percent|window-minutes|reset-at|reset-after-seconds)|x-codex-[a-z-]{1,40}";
    let value = prop_oneof!["[0-9]{1,20}", "-?[0-9]{1,3}(\\.[0-9]{1,3})?", "[ -~]{0,100}"];
    vec((name, value), 0..60).prop_map(|pairs| {
        let pair = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
        pairs.into_iter().filter_map(pair).collect::<HeaderMap>()
    })
}

/// Whether each window has a percentage that the source states, as `stated` finds them.
fn check(reading: &QuotaReading, stated: &[f64]) {
    assert!(reading.windows.len() <= 40, "{}", reading.windows.len());
    for window in &reading.windows {
        let used = window.used.get();
        let is_stated = |percent: &f64| Percent::new(*percent).is_some_and(|percent| percent == window.used);
        assert!((0.0..=100.0).contains(&used) && stated.iter().any(is_stated), "{window:?} of {stated:?}");
        assert!(!window.is_over(now()), "{window:?}");
        if let Limit::Named { id, name } = &window.limit {
            assert!(id.len() <= 64 && name.as_ref().is_none_or(|name| name.chars().count() <= 64));
            assert!(!name.as_deref().unwrap_or_default().contains(char::is_control), "{name:?}");
        }
    }
}

/// The numbers that a body states as used percentages.
fn percentages(body: &Value) -> Vec<f64> {
    match body {
        Value::Array(items) => items.iter().flat_map(percentages).collect(),
        Value::Object(fields) => {
            let own = fields.get("used_percent").and_then(Value::as_f64);
            own.into_iter().chain(fields.values().flat_map(percentages)).collect()
        }
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn no_body_gives_a_window_without_a_stated_percentage(body in any_json()) {
        if let Some(reading) = usage(&body) {
            check(&reading, &percentages(&body));
        }
    }

    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..200)) {
        drop(QuotaReading::from_usage(&body, now()));
    }

    #[test]
    fn no_headers_give_a_window_without_a_stated_percentage(headers in any_headers()) {
        if let Some(reading) = QuotaReading::from_headers(&headers, now()) {
            let percentage = |(name, value): (&HeaderName, &HeaderValue)| {
                value.to_str().ok()?.trim().parse().ok().filter(|_| name.as_str().ends_with("-used-percent"))
            };
            let stated: Vec<f64> = headers.iter().filter_map(percentage).collect();
            check(&reading, &stated);
            check(&reading.clone().updated(reading), &stated);
        }
    }
}
