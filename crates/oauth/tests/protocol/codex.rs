//! The login file of the Codex CLI.

use authd_oauth::{
    CodexError, CodexLogin, Grant, Mode,
    codex::{External, external, is_external, login, parse},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const NOW: &str = "2026-11-23T14:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a constant")
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.sig", part(&json!({"alg": "none"})), part(claims))
}

fn file(mode: Option<&str>, key: Option<&str>, plan: &str, refresh: &str) -> String {
    let id = jwt(&json!({"email": "user@example.com", "https://api.openai.com/auth":
        {"chatgpt_plan_type": plan, "chatgpt_account_id": "acc", "chatgpt_user_id": "user"}}));
    let access = jwt(&json!({"exp": 4_102_444_800_u64}));
    let mut file = json!({"OPENAI_API_KEY": key, "last_refresh": "2026-11-20T00:00:00Z",
        "tokens": {"id_token": id, "access_token": access, "refresh_token": refresh, "account_id": "acc"}});
    if let Some(mode) = mode {
        file["auth_mode"] = json!(mode);
    }
    file.to_string()
}

fn imported(text: &str) -> Grant {
    match parse(text, now()) {
        Ok(CodexLogin::Grant(grant)) => *grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_file_is_parsed_as_codex_does() {
    let chatgpt = imported(&file(Some("chatgpt"), Some("sk-1"), "business", "rt"));
    assert_eq!(chatgpt.secrets.mode(), Mode::ChatGpt, "a new file's mode decides");
    assert_eq!(chatgpt.issued_at.to_string(), "2026-11-20T00:00:00Z");
    assert_eq!(chatgpt.identity.account_id.as_deref(), Some("acc"));
    assert_eq!(imported(&file(None, Some("sk-1"), "business", "rt")).secrets.mode(), Mode::ApiKey);
    assert_eq!(imported(&file(None, Some("sk-1"), "plus", "rt")).secrets.mode(), Mode::ChatGpt);
    let key = imported(r#"{"OPENAI_API_KEY":"sk-1"}"#);
    assert!(key.secrets.refresh_token().is_none() && key.secrets.mode() == Mode::ApiKey);
    for external in [file(Some("chatgptAuthTokens"), None, "plus", ""), file(None, None, "plus", "")] {
        assert!(matches!(parse(&external, now()), Ok(CodexLogin::External)));
    }
    assert!(matches!(parse("{}", now()), Ok(CodexLogin::SignedOut)));
    let other = parse(r#"{"auth_mode":"agentIdentity"}"#, now()).unwrap_err();
    assert_eq!(other, CodexError::Unknown("agentIdentity".to_owned()));
    for (field, kind) in [
        ("agent_identity", "agentIdentity"),
        ("personal_access_token", "personalAccessToken"),
        ("bedrock_api_key", "bedrockApiKey"),
    ] {
        let file = json!({"OPENAI_API_KEY": null, field: "secret"}).to_string();
        assert_eq!(parse(&file, now()).unwrap_err(), CodexError::Unknown(kind.to_owned()));
    }
    assert!(matches!(parse("{\"secret\": oops", now()), Err(CodexError::Unreadable { .. })));
}

#[test]
fn exported_login_equals_the_imported_one() {
    for text in [
        file(Some("chatgpt"), None, "plus", "rt-1"),
        file(None, Some("sk-1"), "business", "rt-2"),
        r#"{"OPENAI_API_KEY":"sk-1"}"#.to_owned(),
    ] {
        let grant = imported(&text);
        let again = imported(login(&grant).unwrap().expose_secret());
        assert_eq!(again.identity, grant.identity);
        let token = |grant: &Grant| grant.secrets.refresh_token().map(|token| token.expose().to_owned());
        assert_eq!(token(&again), token(&grant));
    }
}

#[test]
fn external_form_contains_no_refresh_token() {
    let access_token = jwt(&json!({"exp": 4_102_444_800_u64}));
    let content = External::ChatGpt { access_token: &access_token, account_id: "acc" };
    let text = external(&content, now());
    let file: Value = serde_json::from_str(text.expose_secret()).expect("our own JSON");
    let recorded: Value = serde_json::from_str(include_str!("../wire/codex-0.169.0.json")).expect("JSON");
    let form = &recorded["external_token_file"]["file"];
    let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&file), keys(form));
    assert_eq!(keys(&file["tokens"]), keys(&form["tokens"]));
    assert_eq!((&file["auth_mode"], &file["tokens"]["refresh_token"]), (&form["auth_mode"], &json!("")));
    assert_eq!(file["last_refresh"], form["last_refresh"]);
    assert!(matches!(parse(text.expose_secret(), now()), Ok(CodexLogin::External)));
}

#[test]
fn only_a_file_as_codex_writes_it_is_in_the_external_form() {
    let access_token = jwt(&json!({"exp": 4_102_444_800_u64}));
    let ours = external(&External::ChatGpt { access_token: &access_token, account_id: "acc" }, now());
    let ours = ours.expose_secret();
    assert!(is_external(ours));
    let recorded: Value = serde_json::from_str(include_str!("../wire/codex-0.169.0.json")).expect("JSON");
    let codex = "{\n  \"auth_mode\": \"chatgptAuthTokens\",\n  \"OPENAI_API_KEY\": null,\n  \"tokens\": {\n    \"id_token\": \"t\",\n    \"access_token\": \"t\",\n    \"refresh_token\": \"\",\n    \"account_id\": \"acc\"\n  },\n  \"last_refresh\": \"2026-08-06T20:41:36.232376Z\"\n}";
    assert!(is_external(codex));
    for edited in [
        // An editor ends the file with a line break.
        format!("{ours}\n"),
        ours.replace("  ", "\t"),
        ours.replace("\"OPENAI_API_KEY\": null", "\"OPENAI_API_KEY\": \"sk-mine\""),
        ours.replace("\"refresh_token\": \"\"", "\"refresh_token\": \"rt\""),
        ours.replacen('{', "{\n  \"note\": \"mine\",", 1),
        recorded["external_token_file"]["file"].to_string(),
        external(&External::ApiKey("sk-1"), now()).expose_secret().to_owned(),
        "{}".to_owned(),
        String::new(),
    ] {
        assert!(!is_external(&edited), "{edited}");
    }
}
