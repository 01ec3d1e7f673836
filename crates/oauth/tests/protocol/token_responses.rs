//! Token responses with unexpected fields, and the expiry of a token under a wrong clock.

use std::time::Duration;

use authd_oauth::{
    AccessToken, CodeResponse, CodexLogin, ProviderError, RefreshResponse, RefreshToken, Tokens, codex,
    schedule::later,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;
const EIGHT_DAYS: Duration = Duration::from_secs(8 * 24 * 3600);

/// The provider's clock.
const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn jwt(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn tokens() -> Tokens {
    Tokens {
        access_token: AccessToken::new("at"),
        refresh_token: Some(RefreshToken::new("rt")),
        expires_at: Some(at(NOW)),
    }
}

/// The seconds from `now` until a new access token expires.
fn lifetime_of(access_token: &str, expires_in: &str, now: i64) -> i64 {
    let body = format!(r#"{{"access_token":"{access_token}","expires_in":{expires_in}}}"#);
    let mut tokens = tokens();
    tokens.merge(RefreshResponse::parse(body.as_bytes()).unwrap(), at(now));
    tokens.expires_at.unwrap().as_second() - now
}

#[test]
fn code_response_requires_all_three_tokens() {
    let full =
        br#"{"id_token":"i","access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":60}"#;
    let (tokens, _) = Tokens::issued(CodeResponse::parse(full).unwrap(), EPOCH);
    assert_eq!(tokens.expires_at, Some(later(EPOCH, Duration::from_secs(60))));
    for lacking in
        [&b"{}"[..], br#"{"id_token":"i","access_token":"a"}"#, b"<html>", b"", br#"{"access_token":1}"#]
    {
        assert!(matches!(CodeResponse::parse(lacking), Err(ProviderError::InvalidResponse { .. })));
    }
}

#[test]
fn refresh_replaces_the_tokens_it_contains_and_keeps_the_others() {
    let before = CodeResponse::parse(br#"{"id_token":"i","access_token":"a","refresh_token":"r"}"#).unwrap();
    let (mut tokens, _) = Tokens::issued(before, EPOCH);
    assert_eq!(tokens.expires_at, Some(later(EPOCH, EIGHT_DAYS)));
    let lacking = br#"{"access_token":"a2","refresh_token":"","id_token":null}"#;
    assert!(tokens.merge(RefreshResponse::parse(lacking).unwrap(), EPOCH).is_none());
    assert_eq!(tokens.access_token.expose(), "a2");
    assert_eq!(tokens.refresh_token.as_ref().unwrap().expose(), "r");
    let full = br#"{"access_token":"a3","refresh_token":"r3","id_token":"i3"}"#;
    let id_token = tokens.merge(RefreshResponse::parse(full).unwrap(), EPOCH);
    assert_eq!(id_token.unwrap().expose(), "i3");
    assert_eq!(tokens.refresh_token.unwrap().expose(), "r3");
}

#[test]
fn expires_in_is_parsed_in_every_form_and_ignored_if_invalid() {
    let unstated = 8 * DAY;
    for (sent, lifetime) in [
        ("864000", 864_000),
        ("864000.0", 864_000),
        ("\"864000\"", 864_000),
        ("\" 3600.5 \"", 3_600),
        ("0", 0),
        ("-1", unstated),
        ("\"-1\"", unstated),
        ("1e300", unstated),
        ("1e999", unstated),
        ("99999999999999999999999999", unstated),
        ("\"inf\"", unstated),
        ("\"NaN\"", unstated),
        ("\"soon\"", unstated),
        ("\"\\ud800\"", unstated),
        ("null", unstated),
        ("true", unstated),
        ("[3600]", unstated),
        (&format!("{}1{}", "[".repeat(500), "]".repeat(500)), unstated),
    ] {
        assert_eq!(lifetime_of("at", sent, NOW), lifetime, "{sent}");
    }
}

/// Rows: how far our clock is ahead of the provider's, the token's `iat` and `exp` (relative to the
/// provider's time), `expires_in`, and the token's lifetime from our time.
#[test]
fn stated_expiry_counts_unless_our_clock_must_be_wrong() {
    let unstated = 8 * DAY;
    for (ahead, iat, exp, expires_in, lifetime) in [
        (0, Some(0), Some(HOUR), None, HOUR),
        (0, Some(0), Some(10 * DAY), Some(10 * DAY), 10 * DAY),
        (0, Some(-HOUR / 4), Some(HOUR), None, HOUR), // issued a little earlier
        (0, None, Some(HOUR), None, HOUR),
        (0, None, Some(HOUR), Some(HOUR), HOUR),
        (0, None, Some(HOUR), Some(0), HOUR),
        (0, Some(-NOW), Some(HOUR), None, HOUR), // a meaningless `iat`
        (0, None, None, Some(HOUR), HOUR),
        (0, None, None, None, unstated),
        (4 * MINUTE, Some(0), Some(HOUR), None, 56 * MINUTE), // clocks differ
        (-4 * MINUTE, Some(0), Some(HOUR), None, 64 * MINUTE),
        // Our clock is behind: the token was issued in the future.
        (-6 * MINUTE, Some(0), Some(HOUR), None, HOUR),
        (-400 * DAY, Some(0), Some(10 * DAY), None, 10 * DAY),
        (-400 * DAY, None, Some(10 * DAY), Some(10 * DAY), 10 * DAY),
        // Our clock is ahead: the token has expired, or nearly, on arrival.
        (59 * MINUTE, Some(0), Some(HOUR), None, HOUR),
        (2 * HOUR, Some(0), Some(HOUR), None, HOUR),
        (400 * DAY, Some(0), Some(10 * DAY), Some(HOUR), 10 * DAY),
        (400 * DAY, None, Some(10 * DAY), Some(10 * DAY), 10 * DAY),
        (400 * DAY, None, Some(10 * DAY), None, unstated),
    ] {
        let mut claims = json!({});
        for (name, time) in [("iat", iat), ("exp", exp)] {
            if let Some(time) = time {
                claims[name] = json!(NOW + time);
            }
        }
        let sent = expires_in.map_or("null".to_owned(), |seconds: i64| seconds.to_string());
        let found = lifetime_of(&jwt(&claims), &sent, NOW + ahead);
        assert_eq!(found, lifetime, "{ahead} s ahead, iat {iat:?}, exp {exp:?}, expires_in {sent}");
    }
    // A numeric date may have a fraction.
    assert_eq!(lifetime_of(&jwt(&json!({ "exp": 1_800_003_600.5 })), "null", NOW), HOUR);
}

/// A login that is imported from Codex was issued before.
#[test]
fn imported_login_is_valid_for_no_longer_than_its_lifetime() {
    let id_token = jwt(&json!({}));
    let lifetime_of = |iat: Option<i64>, ahead: i64| {
        let access_token = jwt(&json!({ "iat": iat.map(|iat| NOW + iat), "exp": NOW + HOUR }));
        let tokens = json!({ "id_token": id_token, "access_token": access_token, "refresh_token": "rt" });
        match codex::parse(&json!({ "tokens": tokens }).to_string(), at(NOW + ahead)) {
            Ok(CodexLogin::Grant(grant)) => {
                grant.secrets.tokens().unwrap().expires_at.unwrap().as_second() - NOW - ahead
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lifetime_of(Some(0), 50 * MINUTE), 10 * MINUTE);
    assert_eq!(lifetime_of(Some(0), 2 * HOUR), -HOUR);
    assert_eq!(lifetime_of(None, -300 * DAY), HOUR + 300 * DAY, "it states no lifetime");
    assert_eq!(lifetime_of(Some(0), -300 * DAY), HOUR);
}

#[test]
fn last_usable_value_of_a_repeated_field_counts() {
    let body = br#"{"access_token":"a1","refresh_token":"r1","expires_in":60,"x":1e999,"access_token":"a2",
        "refresh_token":{"odd":1},"x":"\ud800","expires_in":"?","id_token":7,"refresh_token":""}"#;
    let mut tokens = tokens();
    assert!(tokens.merge(RefreshResponse::parse(body).unwrap(), at(NOW)).is_none());
    assert_eq!((tokens.access_token.expose(), tokens.refresh_token.unwrap().expose()), ("a2", "r1"));
    assert_eq!(tokens.expires_at, Some(later(at(NOW), Duration::from_secs(60))));
    let body = b"{\"access_token\":\"a\",\"refresh_token\":\"r\",\"x\":\"\xff\xfe\"}";
    assert!(RefreshResponse::parse(body).is_ok(), "invalid UTF-8 does not affect the other fields");
}

#[test]
fn response_without_a_token_is_invalid() {
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"<html>",
        br#"{"access_token":1,"refresh_token":null}"#,
        br#"{"access_token":"a b"}"#,
        br#"{"access_token":"a""#,
        br#"{"id_token":"i","expires_in":60}"#,
    ] {
        assert!(matches!(RefreshResponse::parse(body), Err(ProviderError::InvalidResponse { .. })));
        assert!(matches!(CodeResponse::parse(body), Err(ProviderError::InvalidResponse { .. })));
    }
}

/// Any JSON text, including values that no `Value` represents.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "1e999", "-0", "\"\\ud800\"", "\"\"", "{}", "1E-400"])
            .prop_map(str::to_owned),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| json!(n).to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            vec(("[a-z_]{1,4}", inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> =
                    fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_are_parsed_whatever_the_other_fields_are(
        others in vec(("expires_in|id_token|token_type|scope|[a-z]{1,6}", any_json()), 0..6),
        id_token in "[a-z]{1,8}", access in "[!-~&&[^\"\\\\]]{1,20}", refresh in "[!-~&&[^\"\\\\]]{1,20}",
        order in any::<u64>(), now in -2_000_000_000_i64..20_000_000_000,
    ) {
        let mut fields = vec![format!("\"access_token\":\"{access}\""), format!("\"refresh_token\":\"{refresh}\"")];
        for (n, (name, value)) in others.iter().enumerate() {
            let place = usize::try_from(order >> (n * 8) & 0xff).unwrap() % (fields.len() + 1);
            fields.insert(place, format!("\"{name}\":{value}"));
        }
        let body = format!("{{{}}}", fields.join(","));
        let mut tokens = tokens();
        tokens.merge(RefreshResponse::parse(body.as_bytes()).unwrap(), at(now));
        prop_assert_eq!((tokens.access_token.expose(), tokens.refresh_token.as_ref().unwrap().expose()), (&*access, &*refresh));
        prop_assert!(tokens.expires_at.unwrap() >= at(now), "a lifetime is never negative");
        // A code exchange requires an id token too.
        fields.push(format!("\"id_token\":\"{id_token}\""));
        let body = format!("{{{}}}", fields.join(","));
        let (tokens, found) = Tokens::issued(CodeResponse::parse(body.as_bytes()).unwrap(), at(now));
        prop_assert_eq!((tokens.access_token.expose(), tokens.refresh_token.as_ref().unwrap().expose(), found.expose()), (&*access, &*refresh, &*id_token));
    }
}
