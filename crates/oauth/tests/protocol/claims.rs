//! The claims of an id token.

use authd_oauth::{
    IdToken, Identity, Plan,
    claims::{InvalidIdToken, identity, times},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

fn token(claims: &str) -> IdToken {
    IdToken::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)))
}

#[test]
fn claims_are_read_from_their_sources_in_order() {
    let full = token(
        r#"{"email":"a@b.c","exp":1,"https://api.openai.com/profile":{"email":"other@b.c"},
            "https://api.openai.com/auth":{"chatgpt_plan_type":"plus","chatgpt_user_id":"u1","user_id":"u2",
            "chatgpt_account_id":"acc","chatgpt_account_is_fedramp":true,"organization_id":"org","project_id":"proj"}}"#,
    );
    let identity = identity(&full).unwrap();
    assert_eq!(identity.email.as_deref(), Some("a@b.c"));
    assert_eq!(identity.user_id.as_deref(), Some("u1"));
    assert_eq!(identity.plan, Some(Plan::new("plus")));
    assert!(identity.fedramp);
    assert_eq!(times(full.expose()).expires_at, Timestamp::from_second(1).ok());
}

#[test]
fn fingerprint_depends_on_both_ids_and_nothing_else() {
    let of = |user: Option<&str>, account: Option<&str>| {
        let (user_id, account_id) = (user.map(Into::into), account.map(Into::into));
        Identity { user_id, account_id, ..Identity::default() }.fingerprint()
    };
    let all = [
        of(Some("u"), Some("a")),
        of(Some("a"), Some("u")),
        of(Some("ua"), None),
        of(Some("ua"), Some("")),
        of(None, Some("ua")),
        of(None, None),
    ];
    for (n, fingerprint) in all.iter().enumerate() {
        assert_eq!(all.iter().filter(|other| *other == fingerprint).count(), 1, "{n}");
    }
    let without_ids = Identity { email: Some("a@b.c".into()), ..Identity::default() };
    assert_eq!(without_ids.fingerprint(), of(None, None));
}

#[test]
fn fallback_sources_are_used_and_no_claim_is_required() {
    let sparse = token(
        r#"{"email":" ","https://api.openai.com/profile":{"email":"p@b.c"},"https://api.openai.com/auth":{"user_id":"u2"}}"#,
    );
    let parsed = identity(&sparse).unwrap();
    assert_eq!((parsed.email.as_deref(), parsed.user_id.as_deref()), (Some("p@b.c"), Some("u2")));
    assert_eq!(identity(&token("{}")), Ok(Identity::default()));
}

#[test]
fn claim_with_control_characters_is_dropped() {
    let injected = token(
        r#"{"email":"\u001b[2Ja@b.c","https://api.openai.com/auth":{"chatgpt_account_id":"acc\r\nX: y"}}"#,
    );
    assert_eq!(identity(&injected), Ok(Identity::default()));
}

#[test]
fn invalid_token_is_an_error() {
    for text in ["", "a", "a.b", "..", "a..c", "a.!.c", "a.e30.", "a.W10.c"] {
        assert_eq!(identity(&IdToken::new(text)), Err(InvalidIdToken), "{text}");
        assert_eq!(times(text).expires_at, None);
    }
    assert_eq!(times(token(r#"{"exp":99999999999999999}"#).expose()).expires_at, None);
}
