//! The fields of a record beside its grant, and records of other versions.

use std::sync::Arc;

use authd_oauth::{
    AccessToken, ApiKey, Authority, BearerGrant, ClientSecret, Grant, GrantSecrets, Identity, Intent, Mode,
    Record, RecordError, RefreshToken, Tokens, new_grant_id, own_credential::CheckedToken,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// A record of the last version without grant ids.
const OLD: &str = r#"{"version":1,"generation":7,"identity":{"email":"user@example.com","plan":"plus",
    "user_id":"user-1","account_id":"acc-1","fedramp":false,"organization_id":null,"project_id":null},
    "mode":"chatgpt","mode_reason":"plan plus is personal","issued_at":"2026-11-23T14:00:00Z","id_token":"id",
    "access_token":"at","refresh_token":"rt","expires_at":"2026-12-03T14:00:00Z",
    "routing":{"origin":null,"region":null}}"#;

fn read(text: &str) -> Result<Record, RecordError> {
    Record::from_text(&SecretString::from(text))
}

fn json_of(record: &Record) -> Value {
    serde_json::from_str(record.to_text().expose_secret()).unwrap()
}

fn key_record() -> Record {
    Record::new(Grant::own_key(ApiKey::new("sk"), "", Timestamp::UNIX_EPOCH), "grant".into(), 1)
}

#[test]
fn old_record_gets_a_stable_grant_id() {
    let record = read(OLD).unwrap();
    assert_eq!((record.default_rank, &record.intent, record.generation), (0, &None, 7));
    assert!(record.is_same_grant(&read(OLD).unwrap()));
    assert_eq!(record.grant_id.len(), 32);
    let again = Record::from_text(&record.to_text()).unwrap();
    assert!(again.is_same_grant(&record), "the first save keeps it");
    for (from, to) in [("user-1", "user-2"), ("acc-1", "acc-2"), ("11-23T14", "11-23T15"), (":7,", ":8,")] {
        let other = read(&OLD.replace(from, to)).unwrap();
        assert!(!other.is_same_grant(&record), "another login has another id: {to}");
    }
}

#[test]
fn grant_id_that_is_invalid_in_an_etag_is_replaced() {
    for id in ["", "a b", "\u{7}", "\"", "ä", &"x".repeat(65)] {
        let mut text: Value = serde_json::from_str(OLD).unwrap();
        text["grant_id"] = json!(id);
        assert!(read(&text.to_string()).unwrap().is_same_grant(&read(OLD).unwrap()), "{id:?}");
    }
    let (one, other) = (new_grant_id(), new_grant_id());
    assert!(one != other && one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()));
}

/// A program that does not know intents would serve a grant during its move.
#[test]
fn older_programs_refuse_only_a_record_with_an_intent() {
    let mut record = key_record();
    record.default_rank = 4;
    assert_eq!(json_of(&record)["version"], json!(1));
    record.intent = Some(Intent::DiscardCopy { name: "work".to_owned() });
    let text = json_of(&record);
    assert_eq!(
        (&text["version"], &text["intent"]),
        (&json!(2), &json!({"kind": "discard_copy", "name": "work"}))
    );
}

#[test]
fn unknown_intent_makes_the_record_unreadable() {
    let mut text = json_of(&key_record());
    for intent in [
        json!({"kind": "split_into", "names": ["a"]}),
        json!({"kind": "rename_to"}),
        json!({"name": "a"}),
        json!("rename_to"),
    ] {
        text["intent"] = intent;
        for version in [1, 2, 3, 4] {
            text["version"] = json!(version);
            assert_eq!(read(&text.to_string()).unwrap_err(), RecordError::UnknownIntent, "{text}");
        }
    }
    text["version"] = json!(5);
    assert_eq!(read(&text.to_string()).unwrap_err(), RecordError::TooNew(5));
    assert!(RecordError::UnknownIntent.to_string().ends_with("upgrade authd"));
}

#[test]
fn grant_is_identified_by_its_id_alone() {
    let mut later = key_record();
    later.generation += 1;
    Arc::make_mut(&mut later.grant.identity).plan = None;
    assert!(later.is_same_grant(&key_record()));
    later.grant_id = "another".into();
    assert!(!later.is_same_grant(&key_record()));
}

/// The record of a defined provider's grant with every field.
fn bearer_record() -> Record {
    let authority = Authority {
        provider: "lab".to_owned(),
        token_url: "https://lab.example/token".to_owned(),
        missing_scopes: vec!["write".to_owned()],
        ..Authority::default()
    };
    let tokens = Tokens {
        access_token: AccessToken::new("at").with_scheme("Token"),
        refresh_token: Some(RefreshToken::new("rt")),
        expires_at: Some(Timestamp::UNIX_EPOCH),
    };
    let client_secret = Some(ClientSecret::new("cs"));
    let grant = BearerGrant { tokens, client_secret, authority: Arc::new(authority) };
    let grant = Grant {
        identity: Arc::default(),
        secrets: GrantSecrets::Bearer(Box::new(grant)),
        mode_reason: "".into(),
        issued_at: Timestamp::UNIX_EPOCH,
    };
    Record::new(grant, "grant".into(), 1)
}

/// A program that does not know defined providers would send the tokens to OpenAI.
#[test]
fn older_programs_refuse_a_record_of_a_defined_provider() {
    let mut record = bearer_record();
    assert_eq!(json_of(&record)["version"], json!(3));
    record.intent = Some(Intent::DiscardCopy { name: "work".to_owned() });
    assert_eq!(json_of(&record)["version"], json!(3));
    let text = json_of(&key_record());
    for field in ["authority", "client_secret", "token_type"] {
        assert_eq!(text[field], Value::Null, "a record of the built-in provider is as before");
    }
    assert_eq!(
        RecordError::TooNew(5).to_string(),
        "the record has version 5, and this authd reads up to 4: upgrade authd"
    );
}

fn personal_access_token_record() -> Record {
    let identity =
        Identity { user_id: Some("user-1".into()), account_id: Some("acc-1".into()), ..Identity::default() };
    let token = AccessToken::new("at-1");
    Record::new(Grant::personal_access_token(token, identity, Timestamp::UNIX_EPOCH), "grant".into(), 1)
}

/// A program that does not know these tokens would call the record damaged.
#[test]
fn older_programs_refuse_a_record_of_a_personal_access_token() {
    let mut record = personal_access_token_record();
    assert_eq!(json_of(&record)["version"], json!(4));
    record.intent = Some(Intent::DiscardCopy { name: "work".to_owned() });
    assert_eq!(json_of(&record)["version"], json!(4));
    let again = Record::from_text(&record.to_text()).unwrap();
    assert!(again.grant.secrets.is_personal_access_token());
    assert_eq!(json_of(&again), json_of(&record));
    // The same fields in a record of an older version are one that lost its refresh token.
    for version in [1, 2, 3] {
        let mut text = json_of(&record);
        text["version"] = json!(version);
        assert!(matches!(read(&text.to_string()), Err(RecordError::Damaged { .. })), "{version}");
    }
    // So is a key whose tokens lack one.
    let mut text = json_of(&record);
    for (field, value) in [("mode", "api-key"), ("api_key", "sk"), ("id_token", "id")] {
        text[field] = json!(value);
    }
    assert!(matches!(read(&text.to_string()), Err(RecordError::Damaged { .. })));
    // With a refresh token, an expiry is due in every version.
    let mut text = json_of(&record);
    text["refresh_token"] = json!("rt");
    assert!(matches!(read(&text.to_string()), Err(RecordError::Damaged { .. })));
}

/// The login of the same user that the token replaced has an id token.
#[test]
fn personal_access_token_takes_over_no_id_token() {
    let record = personal_access_token_record();
    assert!(record.is_complete());
    let stored = SecretString::from(OLD);
    assert!(read(OLD).unwrap().grant.identity.is_same(&record.grant.identity));
    assert!(record.with_id_token_from(Some(&stored)).grant.secrets.id_token().is_none());
}

#[test]
fn token_of_the_users_own_is_a_grant_without_a_client() {
    let authority = Authority {
        provider: "lab".to_owned(),
        issuer: Some("https://lab".to_owned()),
        ..Authority::default()
    };
    let grant =
        Grant::own_token(AccessToken::new("t"), authority, CheckedToken::default(), Timestamp::UNIX_EPOCH);
    let record = Record::from_text(&Record::new(grant, "grant".into(), 1).to_text()).unwrap();
    assert_eq!(json_of(&record)["version"], json!(3), "programs that know defined providers serve it");
    assert!(record.grant.secrets.authority().unwrap().is_of_own_token());
    assert!(record.grant.secrets.refresh_token().is_none());
}

#[test]
fn grant_of_a_defined_provider_may_lack_what_the_provider_did_not_issue() {
    for field in ["refresh_token", "expires_at", "client_secret", "token_type", "id_token", "journal"] {
        let mut text = json_of(&bearer_record());
        text.as_object_mut().unwrap().remove(field);
        let record = read(&text.to_string()).unwrap();
        assert_eq!(record.grant.secrets.mode(), Mode::Bearer);
        assert_eq!(json_of(&record), text, "without {field}");
    }
}

#[test]
fn incomplete_or_mixed_record_is_damaged() {
    let damaged = |text: &Value, what: &str| {
        assert!(matches!(read(&text.to_string()), Err(RecordError::Damaged { .. })), "{what}: {text}");
    };
    for field in ["access_token", "authority"] {
        let mut text = json_of(&bearer_record());
        text.as_object_mut().unwrap().remove(field);
        damaged(&text, field);
    }
    for (field, value) in [
        ("api_key", json!("sk")),
        ("id_token", json!("id")),
        ("mode", json!("chatgpt")),
        ("mode", json!("api-key")),
        ("mode", json!("coined_later")),
        ("token_type", json!("")),
        ("token_type", json!("Bearer at-2")),
        ("token_type", json!("Be\r\narer")),
        ("authority", json!({"provider": "lab"})),
        ("authority", json!("https://lab.example")),
        ("client_secret", json!(7)),
        ("expires_at", json!("soon")),
    ] {
        let mut text = json_of(&bearer_record());
        text[field] = value;
        damaged(&text, field);
    }
    for field in ["authority", "client_secret", "token_type"] {
        let mut text: Value = serde_json::from_str(OLD).unwrap();
        text[field] = json_of(&bearer_record())[field].clone();
        damaged(&text, "of the built-in provider");
    }
}
