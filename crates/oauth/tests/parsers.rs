//! Property tests of the parsers: no input causes a panic, and neither `Debug` nor an error shows a
//! secret.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails by panicking")]

use std::{ffi::OsString, fmt::Debug, os::unix::ffi::OsStringExt, path::PathBuf, sync::Arc, time::Duration};

use authd_oauth::{
    AccessToken, ApiKey, Attempt, Authority, BearerGrant, Callback, CallbackError, ClientSecret,
    CodeResponse, ErrorCode, Grant, GrantEnd, GrantSecrets, IdToken, Identity, Intent, ModePreference, Plan,
    Record, RecordError, RefreshResponse, RefreshToken, Tokens, claims, grant_id_from,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

const SUFFIX: &str = ".onboarding_entrypoint=life_sciences";

/// A recognisable text: if it appears anywhere, it leaked.
fn secret() -> impl Strategy<Value = String> {
    "s3cr3t-[a-zA-Z0-9_-]{8,24}"
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (-2_000_000_000_i64..20_000_000_000).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (secret(), option::of(secret()), timestamp()).prop_map(|(access, refresh, expires_at)| Tokens {
        access_token: AccessToken::new(access),
        refresh_token: refresh.map(RefreshToken::new),
        expires_at: Some(expires_at),
    })
}

/// The secrets of a defined provider: its tokens may have any scheme and no expiry.
fn bearer_grant() -> impl Strategy<Value = GrantSecrets> {
    let text = || option::of("[!-~]{1,20}");
    let scopes = || vec("[!#-~]{1,8}", 0..3);
    let authority = (text(), text(), scopes(), scopes(), any::<bool>()).prop_map(
        |(issuer, resource, requested_scopes, missing_scopes, is_mcp)| Authority {
            provider: "lab".to_owned(),
            issuer,
            resource,
            requested_scopes,
            missing_scopes,
            is_mcp,
            ..Authority::default()
        },
    );
    (tokens(), option::of("[A-Z][a-z]{2,8}"), any::<bool>(), option::of(secret()), authority).prop_map(
        |(mut tokens, scheme, expires, client_secret, authority)| {
            tokens.access_token =
                scheme.map_or(tokens.access_token.clone(), |it| tokens.access_token.with_scheme(&it));
            tokens.expires_at = tokens.expires_at.filter(|_| expires);
            let client_secret = client_secret.map(ClientSecret::new);
            GrantSecrets::Bearer(Box::new(BearerGrant { tokens, client_secret, authority: authority.into() }))
        },
    )
}

fn id_token() -> impl Strategy<Value = IdToken> {
    secret().prop_map(IdToken::new)
}

fn secrets() -> impl Strategy<Value = GrantSecrets> {
    prop_oneof![
        (tokens(), option::of(id_token()))
            .prop_map(|(tokens, id_token)| GrantSecrets::ChatGpt(tokens, id_token)),
        (secret(), option::of((tokens(), id_token())))
            .prop_map(|(key, renewed_by)| GrantSecrets::ApiKey(ApiKey::new(key), renewed_by.map(Box::new))),
        bearer_grant(),
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    let word = || option::of(any::<String>().prop_map(Box::<str>::from));
    (word(), word(), word(), word(), any::<bool>()).prop_map(|(email, plan, user_id, account_id, fedramp)| {
        let plan = plan.map(Plan::new);
        Identity { email, plan, user_id, account_id, fedramp, ..Identity::default() }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let ended = (any::<String>(), timestamp(), option::of(timestamp()))
        .prop_map(|(code, at, answer_lost_at)| GrantEnd { code: ErrorCode::new(&code), at, answer_lost_at });
    let grant = (identity(), secrets(), any::<String>(), timestamp()).prop_map(
        |(identity, secrets, mode_reason, issued_at)| Grant {
            identity: identity.into(),
            secrets,
            mode_reason: mode_reason.into(),
            issued_at,
        },
    );
    let annotations = (any::<[u8; 16]>(), any::<u64>(), option::of(intent()));
    (any::<u64>(), grant, option::of(timestamp()), option::of(ended), annotations).prop_map(
        |(generation, grant, journal, ended, (grant_id, default_rank, intent))| Record {
            journal,
            ended: ended.map(Into::into),
            default_rank,
            intent,
            ..Record::new(grant, grant_id_from(grant_id), generation)
        },
    )
}

/// A path of any bytes but the zero.
fn path() -> impl Strategy<Value = PathBuf> {
    vec(1_u8.., 0..12).prop_map(|bytes| OsString::from_vec(bytes).into())
}

fn intent() -> impl Strategy<Value = Intent> {
    (0..5, any::<String>(), path(), path(), any::<bool>()).prop_map(|(kind, name, home, path, item)| {
        match kind {
            0 => Intent::RenameTo { name },
            1 => Intent::DiscardCopy { name },
            2 => Intent::CopyOf { name },
            3 => Intent::ExportTo { home, path, item },
            _ => Intent::ImportFrom { home, path, item, token: name },
        }
    })
}

/// JSON of every shape, with the names that the parsers look for.
fn some_json() -> impl Strategy<Value = Value> {
    const NAMES: &str = "id_token|access_token|refresh_token|expires_in|version|exp|email|verifier|state|\
                         https://api\\.openai\\.com/auth|chatgpt_plan_type|chatgpt_account_is_fedramp|x";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        secret().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((NAMES, inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Bytes that a peer may send: none, random ones, JSON, and truncated JSON.
fn peer_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..64),
        some_json().prop_map(|json| json.to_string().into_bytes()),
        (some_json(), any::<prop::sample::Index>()).prop_map(|(json, cut)| {
            let text = json.to_string().into_bytes();
            text[..cut.index(text.len() + 1)].to_vec()
        }),
    ]
}

fn check_redacted(shown: &impl Debug) -> Result<(), TestCaseError> {
    let text = format!("{shown:?} {shown:#?}");
    prop_assert!(!text.contains("s3cr3t"), "{}", text);
    Ok(())
}

/// All fields of a record, secrets included.
fn fields_of(record: &Record) -> Value {
    serde_json::from_str(record.to_text().expose_secret()).unwrap()
}

fn jwt(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn record_survives_a_round_trip(record in record()) {
        let back = Record::from_text(&record.to_text()).unwrap();
        prop_assert_eq!(fields_of(&back), fields_of(&record));
        prop_assert_eq!((back.generation, back.journal, &back.ended), (record.generation, record.journal, &record.ended));
        prop_assert!(back.is_same_grant(&record));
        prop_assert_eq!((back.default_rank, &back.intent), (record.default_rank, &record.intent));
        prop_assert_eq!((&back.grant.identity, &back.grant.mode_reason), (&record.grant.identity, &record.grant.mode_reason));
        let secrets = |secrets: &GrantSecrets| {
            let tokens =
                secrets.tokens().map(|tokens| {
                    let token = &tokens.access_token;
                    (token.scheme().to_owned(), token.expose().to_owned(), tokens.expires_at)
                });
            let id_token = secrets.id_token().map(|token| token.expose().to_owned());
            let key = match secrets {
                GrantSecrets::ApiKey(key, _) => Some(key.expose().to_owned()),
                GrantSecrets::Bearer(grant) => grant.client_secret.as_ref().map(|one| one.expose().to_owned()),
                GrantSecrets::ChatGpt(..) => None,
            };
            (key, secrets.authority().cloned(), tokens, id_token, secrets.refresh_token().map(|token| token.expose().to_owned()), secrets.mode())
        };
        prop_assert_eq!(secrets(&back.grant.secrets), secrets(&record.grant.secrets));
        check_redacted(&record)?;
        check_redacted(&back)?;
    }

    #[test]
    fn missing_id_token_is_taken_from_the_stored_record_of_the_same_user(record in record(), stored_secrets in secrets(), other in any::<bool>()) {
        let mut stored = record.clone();
        stored.grant.secrets = stored_secrets;
        if other {
            Arc::make_mut(&mut stored.grant.identity).user_id = Some("another user".into());
        }
        let completed = record.clone().with_id_token_from(Some(&stored.to_text()));
        let theirs = stored.grant.secrets.id_token().filter(|_| !other && !record.is_complete());
        let expected = record.grant.secrets.id_token().or(theirs).map(IdToken::expose);
        prop_assert_eq!(completed.grant.secrets.id_token().map(IdToken::expose), expected);
        let alone = record.clone().with_id_token_from(None);
        prop_assert_eq!(alone.is_complete(), record.is_complete());
        prop_assert_eq!(fields_of(&alone), fields_of(&record));
    }

    #[test]
    fn newer_record_is_refused_and_an_unknown_field_is_ignored(record in record(), version in 3_u32.., more in some_json()) {
        let mut newer = fields_of(&record);
        newer["restart_chain"] = more.clone();
        let text = SecretString::from(newer.to_string());
        prop_assert!(Record::from_text(&text).is_ok());
        newer["version"] = json!(version);
        let text = SecretString::from(newer.to_string());
        prop_assert_eq!(Record::from_text(&text).unwrap_err(), RecordError::TooNew(version));
        // A newer one is recognised whatever its other fields are.
        let text = SecretString::from(json!({ "version": version, "grant": more }).to_string());
        prop_assert_eq!(Record::from_text(&text).unwrap_err(), RecordError::TooNew(version));
    }

    #[test]
    fn damaged_record_is_an_error_without_secrets(record in record(), field in any::<prop::sample::Index>(), wrong in some_json(), cut in any::<prop::sample::Index>()) {
        let mut damaged = fields_of(&record);
        let fields = damaged.as_object_mut().unwrap();
        let name = fields.keys().nth(field.index(fields.len())).unwrap().clone();
        fields.insert(name, wrong);
        let text = damaged.to_string();
        let cut = (0..=cut.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        for text in [&text[..], &text[..cut]] {
            // A record that can still be parsed shows its e-mail address, which is not secret.
            if let Err(error) = Record::from_text(&SecretString::from(text.to_owned())) {
                check_redacted(&error)?;
                prop_assert!(!error.to_string().contains("s3cr3t"));
            }
        }
        prop_assert!(Record::from_text(&SecretString::from(text[..cut].to_owned())).is_err(), "the text is truncated");
    }

    #[test]
    fn token_response_is_parsed_or_rejected_and_shows_no_secret(body in peer_bytes()) {
        check_redacted(&CodeResponse::parse(&body))?;
        let response = RefreshResponse::parse(&body);
        check_redacted(&response)?;
        let has_one = serde_json::from_slice::<Value>(&body).ok().is_some_and(|json| {
            ["access_token", "refresh_token"].iter().any(|name| json[name].as_str().is_some_and(|token| {
                !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
            }))
        });
        prop_assert_eq!(has_one, response.is_ok(), "a response without a token");
        if let Err(failure) = response {
            prop_assert!(!failure.is_permanent() && failure.may_have_rotated());
            prop_assert!(!failure.to_string().contains("s3cr3t"));
        }
    }

    #[test]
    fn refresh_keeps_the_tokens_that_its_response_lacks(
        before in tokens(), access in secret(), id in option::of(secret()), refresh in option::of(secret()),
        expires_in in option::of(any::<u64>()), now in timestamp(),
    ) {
        let body = json!({ "access_token": access, "id_token": id, "refresh_token": refresh, "expires_in": expires_in });
        let mut after = before.clone();
        let new_id_token = after.merge(RefreshResponse::parse(body.to_string().as_bytes()).unwrap(), now);
        prop_assert_eq!(after.access_token.expose(), access);
        prop_assert_eq!(new_id_token.as_ref().map(IdToken::expose), id.as_deref());
        let old = before.refresh_token.as_ref().map(RefreshToken::expose);
        prop_assert_eq!(after.refresh_token.as_ref().map(RefreshToken::expose), refresh.as_deref().or(old));
        prop_assert!(after.expires_at.unwrap() >= now, "a lifetime is never negative");
    }

    #[test]
    fn id_token_is_parsed_or_rejected(text in "\\PC{0,80}|[a-z0-9]{0,4}(\\.[A-Za-z0-9_=-]{0,40}){0,4}", claims_json in some_json(), exp in any::<i64>()) {
        check_redacted(&claims::identity(&IdToken::new(text.as_str())))?;
        prop_assert!(text.split('.').count() >= 3 || claims::times(&text).expires_at.is_none());
        // No shape of the claims panics.
        let (any_shape, with_exp) = (jwt(&claims_json), jwt(&json!({ "exp": exp })));
        drop(claims::identity(&IdToken::new(&*any_shape)));
        let stated = claims_json["exp"].as_i64().and_then(|exp| Timestamp::from_second(exp).ok());
        prop_assert!(claims_json["exp"].is_f64() || claims::times(&any_shape).expires_at == stated);
        prop_assert_eq!(claims::times(&with_exp).expires_at, Timestamp::from_second(exp).ok());
    }

    #[test]
    fn claims_of_an_id_token_are_parsed(email in "[a-z@.]{1,12}", plan in "[a-z]{1,8}", user in "[a-z0-9]{1,8}", account in "[a-z0-9]{1,8}", fedramp in any::<bool>(), blank in "[ \t]{0,3}") {
        let auth = json!({
            "chatgpt_plan_type": plan, "user_id": user, "chatgpt_user_id": blank,
            "chatgpt_account_id": account, "chatgpt_account_is_fedramp": fedramp, "other": 1,
        });
        let token = jwt(&json!({
            "email": blank, "https://api.openai.com/profile": { "email": email },
            "https://api.openai.com/auth": auth,
        }));
        let expected = Identity {
            email: Some(email.into()), plan: Some(Plan::new(plan)), user_id: Some(user.into()),
            account_id: Some(account.into()), fedramp,
            ..Identity::default()
        };
        prop_assert_eq!(claims::identity(&IdToken::new(token)).unwrap(), expected);
    }

    #[test]
    fn callback_is_parsed_or_rejected(text in "\\PC{0,100}|((code|state|error|error_description)=[a-z%0-9+#?&]{0,12}&?){0,6}", long in 0_usize..3) {
        let long = "x".repeat(long * 5_000) + &text;
        for text in [&text, &long] {
            for read in [Callback::parse(text), Callback::from_pasted(text)] {
                if let Ok(callback) = &read {
                    prop_assert!(text.len() <= 8 << 10);
                    prop_assert!(!callback.state().as_str().is_empty() || text.contains(SUFFIX) || text.contains('%'));
                }
            }
        }
        if long.len() > 8 << 10 {
            prop_assert_eq!(Callback::parse(&long).unwrap_err(), CallbackError::TooLong);
        }
    }

    #[test]
    fn code_and_state_of_a_callback_are_parsed(code in secret(), state in "s3cr3t[A-Za-z0-9_.-]{1,43}", suffixed in any::<bool>(), noise in "[a-z]{0,8}") {
        let returned = if suffixed { format!("{state}{SUFFIX}") } else { state.clone() };
        let (code_, state_) = (encoded(&code), encoded(&returned));
        for text in [
            format!("code={code_}&state={state_}"),
            format!("state={state_}&scope={noise}&code={code_}"),
            format!("http://localhost:1455/auth/callback?code={code_}&state={state_}#{noise}"),
            format!("  \"code={code_}&state={state_}\" "),
            format!("{code}#{returned}"),
            format!("{code} {returned}\n"),
        ] {
            let callback = Callback::from_pasted(&text).unwrap();
            check_redacted(&callback)?;
            let Callback::Code(found, found_state) = callback else { return Err(TestCaseError::fail(text)) };
            prop_assert_eq!((found.expose(), found_state.as_str()), (&*code, &*state));
        }
    }

    #[test]
    fn error_callback_shows_only_its_code(error in "\\PC{1,40}", described in "\\PC{0,20}", entitled in any::<bool>()) {
        let described = if entitled { described } else { format!("{described} missing_Codex_entitlement") };
        let query = |error: &str| {
            let described = encoded(&described);
            format!("error={}&code=s3cr3t&state=abc&error_description={described}", encoded(error))
        };
        let callback = Callback::parse(&query(&error)).unwrap();
        check_redacted(&callback)?;
        let Callback::Refused(error_callback, _) = callback else { return Err(TestCaseError::fail(error)) };
        prop_assert_eq!(&error_callback.code, &ErrorCode::new(&error));
        prop_assert!(error_callback.code.as_str().bytes().all(|byte| byte.is_ascii_graphic()) && error_callback.code.as_str().len() <= 64);
        let Callback::Refused(denied, _) = Callback::parse(&query("access_denied")).unwrap() else {
            return Err(TestCaseError::fail("no error_callback"));
        };
        prop_assert_eq!(denied.not_entitled, !entitled);
    }

    #[test]
    fn stored_attempt_survives_a_round_trip(redirect in any::<String>(), workspace in option::of(any::<String>()), mode in 0..3, now in timestamp(), lifetime in 0_u64..100_000) {
        let mode = [ModePreference::Auto, ModePreference::ChatGpt, ModePreference::ApiKey][usize::try_from(mode).unwrap()];
        let attempt = Attempt::new(redirect, mode, workspace, now, Duration::from_secs(lifetime));
        let stored = attempt.to_secret_json();
        let back = Attempt::from_secret_json(stored.expose_secret()).unwrap();
        prop_assert_eq!(back.to_secret_json().expose_secret().to_owned(), stored.expose_secret());
        prop_assert_eq!((&back.state, &back.redirect_uri, back.mode), (&attempt.state, &attempt.redirect_uri, attempt.mode));
        prop_assert_eq!((&back.workspace, back.expires_at), (&attempt.workspace, attempt.expires_at));
        let verifier = serde_json::from_str::<Value>(stored.expose_secret()).unwrap()["verifier"].as_str().unwrap().to_owned();
        let shown = format!("{attempt:?} {stored:?}");
        prop_assert!(!shown.contains(&verifier) && !shown.contains(attempt.state.as_str()));
    }

    #[test]
    fn damaged_stored_attempt_is_none(text in peer_bytes()) {
        let text = String::from_utf8_lossy(&text);
        prop_assert!(Attempt::from_secret_json(&text).is_none());
    }
}
