//! Strictness of the auth server: authorize, the three grants, revocation.

use crate::common::*;
use authd_sandbox::{Account, Config, Route, Sandbox};
use serde_json::json;

#[tokio::test]
async fn login_returns_tokens_with_the_claims_of_the_account() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let pairs = redirected(&sandbox, "business").await;
    assert_eq!(pairs.last().unwrap(), &("state".to_owned(), "a-state".to_owned()));

    let tokens = sign_in(&sandbox, "business").await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 864_000);
    let (id, access) = (claims(&tokens["id_token"]), claims(&tokens["access_token"]));
    let account = Account::business();
    for claims in [&id, &access] {
        assert_eq!(claims["email"], account.email);
        assert_eq!(claims["https://api.openai.com/profile"]["email"], account.email);
        let auth = &claims["https://api.openai.com/auth"];
        assert_eq!(auth["chatgpt_plan_type"], "business");
        assert_eq!(auth["chatgpt_account_id"], account.account_id);
        assert_eq!(auth["chatgpt_user_id"], account.user_id);
    }
    assert_eq!(id["aud"], json!([CLIENT]));
    assert_eq!(id["https://api.openai.com/auth"]["organization_id"], json!(account.organization_id));
    assert_eq!(access["exp"].as_u64().unwrap() - access["iat"].as_u64().unwrap(), 864_000);

    let secrets = sandbox.issued_secrets();
    for name in ["id_token", "access_token", "refresh_token"] {
        assert!(secrets.iter().any(|secret| tokens[name] == **secret), "{name} is not listed");
    }
}

#[tokio::test]
async fn invalid_authorize_request_is_rejected() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let wrong = [
        ("response_type", "token"),
        ("client_id", "app_other"),
        ("redirect_uri", "http://example.com:1455/auth/callback"),
        ("redirect_uri", "http://localhost:1455/other"),
        ("redirect_uri", "https://localhost:1455/auth/callback"),
        ("scope", "profile offline_access"),
        ("scope", "openid profile"),
        ("code_challenge", "short"),
        ("code_challenge_method", "plain"),
        ("state", ""),
        ("originator_", "unknown"),
    ];
    for (name, value) in wrong {
        let mut pairs = authorize_pairs();
        pairs.retain(|(other, _)| *other != name);
        pairs.push((name, value.to_owned()));
        pairs.push(("account", "plus".to_owned()));
        let answer = get(&sandbox, &authorize_path(&pairs), &[]).await;
        assert_eq!(answer.status, 400, "{name}={value} passed: {answer:?}");
    }
    let mut twice = authorize_pairs();
    twice.push(("state", "another".into()));
    assert_eq!(get(&sandbox, &authorize_path(&twice), &[]).await.status, 400);
}

#[tokio::test]
async fn sign_in_page_lists_the_accounts_and_the_user_can_deny() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let path = authorize_path(&authorize_pairs());
    let page = get(&sandbox, &path, &[]).await;
    assert_eq!(page.status, 200);
    for account in Account::presets() {
        assert!(page.body.contains(&format!("account={}", account.name)), "{}", page.body);
    }
    let denied = get(&sandbox, &format!("{path}&decision=no_entitlement"), &[]).await;
    let to = denied.headers["location"].to_str().unwrap();
    assert!(to.contains("error=access_denied") && to.contains("missing_codex_entitlement"), "{to}");
    assert!(to.ends_with("state=a-state"), "{to}");

    sandbox.set_next_account(Some("plus"));
    assert_eq!(get(&sandbox, &path, &[]).await.status, 302);
}

#[tokio::test]
async fn only_an_allowed_workspace_can_sign_in() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let mut pairs = authorize_pairs();
    pairs.push(("allowed_workspace_id", format!("other,{}", Account::business().account_id)));
    for (account, outcome) in [("business", "code="), ("plus", "error=access_denied")] {
        let path = format!("{}&account={account}", authorize_path(&pairs));
        let to = get(&sandbox, &path, &[]).await.headers["location"].to_str().unwrap().to_owned();
        assert!(to.contains(outcome), "{to}");
    }
}

#[tokio::test]
async fn code_is_valid_once_with_its_verifier_and_redirect() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let spent = code(&sandbox, "plus").await;
    assert_eq!(redeem(&sandbox, &spent, REDIRECT, VERIFIER).await.status, 200);
    let again = redeem(&sandbox, &spent, REDIRECT, VERIFIER).await;
    assert_eq!((again.status, again.error_code().as_str()), (400, "invalid_grant"));

    let other_verifier = redeem(&sandbox, &code(&sandbox, "plus").await, REDIRECT, "another").await;
    assert_eq!(other_verifier.status, 400);
    assert_eq!(other_verifier.error_code(), "token_exchange_user_error");
    assert_eq!(other_verifier.json()["error"]["message"], "Invalid request. Please try again later.");

    let other_port = "http://localhost:1457/auth/callback";
    let other_redirect = redeem(&sandbox, &code(&sandbox, "plus").await, other_port, VERIFIER).await;
    assert_eq!(other_redirect.error_code(), "invalid_grant");
    assert_eq!(sandbox.count(Route::CodeExchange), 4);
}

/// The newest Codex names 127.0.0.1, encodes spaces as `+`, orders the parameters otherwise, and
/// states why it refreshes.
#[tokio::test]
async fn requests_of_old_and_new_clients_are_accepted() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let challenge = challenge(VERIFIER);
    for (host, scope) in [
        ("localhost", "openid%20profile%20email%20offline_access"),
        ("127.0.0.1", "openid+profile+email+offline_access+api.connectors.read+api.connectors.invoke"),
    ] {
        let redirect = format!("http%3A%2F%2F{host}%3A1455%2Fauth%2Fcallback");
        let query = format!(
            "response_type=code&client_id={CLIENT}&redirect_uri={redirect}&code_challenge={challenge}\
             &code_challenge_method=S256&state=a-state&scope={scope}&id_token_add_organizations=true\
             &codex_cli_simplified_flow=true&originator=codex_cli_rs&account=plus"
        );
        let answer = get(&sandbox, &format!("/oauth/authorize?{query}"), &[]).await;
        let location = answer.headers["location"].to_str().unwrap();
        assert!(location.starts_with(&format!("http://{host}:1455/auth/callback?code=")), "{location}");
        let code = location.split("code=").nth(1).unwrap().split('&').next().unwrap();
        // The redirect URI of the other host is another one.
        let other = if host == "localhost" { "127.0.0.1" } else { "localhost" };
        let other = redeem(&sandbox, code, &format!("http://{other}:1455/auth/callback"), VERIFIER).await;
        assert_eq!(other.error_code(), "invalid_grant");
    }
    let tokens = sign_in(&sandbox, "plus").await;
    let mut body = refresh_body(&tokens["refresh_token"]);
    body["refresh_reason"] = json!("proactive_expiry");
    assert_eq!(post_json(&sandbox, "/oauth/token", &[], &body).await.status, 200);
}

#[tokio::test]
async fn token_endpoint_accepts_each_grant_in_its_format_only() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let tokens = sign_in(&sandbox, "plus").await;
    let as_json = json!({"grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT, "client_id": CLIENT, "code_verifier": VERIFIER});
    assert_eq!(post_json(&sandbox, "/oauth/token", &[], &as_json).await.status, 400);
    let mut unknown = refresh_body(&tokens["refresh_token"]);
    unknown["audience"] = json!("x");
    assert_eq!(post_json(&sandbox, "/oauth/token", &[], &unknown).await.status, 400);
    let mut other_client = refresh_body(&tokens["refresh_token"]);
    other_client["client_id"] = json!("app_other");
    assert_eq!(post_json(&sandbox, "/oauth/token", &[], &other_client).await.status, 400);
    let text = refresh_body(&tokens["refresh_token"]).to_string();
    let untyped =
        call(&sandbox, "POST", "/oauth/token", &[("content-type", "text/plain")], text).await.unwrap();
    assert_eq!(untyped.status, 400);

    // The invalid requests did not consume the token. A form is accepted like JSON.
    let token = tokens["refresh_token"].as_str().unwrap();
    let pairs = [
        ("client_id", CLIENT),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("scope", "openid profile email"),
    ];
    assert_eq!(post_form(&sandbox, "/oauth/token", &pairs).await.status, 200);
}

#[tokio::test]
async fn reused_refresh_token_invalidates_its_login() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let first = sign_in(&sandbox, "plus").await;
    let other = sign_in(&sandbox, "plus").await;
    let second = refresh(&sandbox, &first["refresh_token"]).await.json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);

    let reused = refresh(&sandbox, &first["refresh_token"]).await;
    let message = "Your refresh token has already been used to generate a new access token. Please try signing in again.";
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": "refresh_token_reused"});
    assert_eq!((reused.status, reused.json()), (401, json!({"error": error})));
    let newest = refresh(&sandbox, &second["refresh_token"]).await;
    assert_eq!((newest.status, newest.error_code().as_str()), (401, "refresh_token_invalidated"));

    assert_eq!(
        refresh(&sandbox, &other["refresh_token"]).await.status,
        200,
        "another login is another family"
    );
    assert_eq!(refresh(&sandbox, &json!("rt_never_issued")).await.error_code(), "token_expired");
}

#[tokio::test]
async fn refresh_token_can_expire() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let tokens = sign_in(&sandbox, "plus").await;
    sandbox.expire_refresh_tokens();
    assert_eq!(refresh(&sandbox, &tokens["refresh_token"]).await.error_code(), "refresh_token_expired");
}

#[tokio::test]
async fn api_key_exchange_needs_an_organisation() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let tokens = sign_in(&sandbox, "business").await;
    let key = exchange(&sandbox, tokens["id_token"].as_str().unwrap()).await;
    assert_eq!(key.status, 200);
    assert!(key.json()["access_token"].as_str().unwrap().starts_with("sk-"));

    for account in ["plus", "business-without-organization"] {
        let tokens = sign_in(&sandbox, account).await;
        let refused = exchange(&sandbox, tokens["id_token"].as_str().unwrap()).await;
        assert_eq!(refused.status, 401);
        let error = r#"{"message":"Invalid ID token: missing organization_id","type":"invalid_request_error","param":null,"code":"invalid_subject_token"}"#;
        assert_eq!(refused.body, format!(r#"{{"error":{error}}}"#));
    }
    let foreign = exchange(&sandbox, "a.b.c").await;
    assert_eq!((foreign.status, foreign.error_code().as_str()), (401, "invalid_subject_token"));
}

#[tokio::test]
async fn revocation_ends_all_sessions_of_the_user_only() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let (here, there) = (sign_in(&sandbox, "plus").await, sign_in(&sandbox, "plus").await);
    let other = sign_in(&sandbox, "business").await;

    let half = json!({"token": here["refresh_token"], "token_type_hint": "refresh_token"});
    assert_eq!(post_json(&sandbox, "/oauth/revoke", &[], &half).await.status, 400);
    let body =
        json!({"token": here["refresh_token"], "token_type_hint": "refresh_token", "client_id": CLIENT});
    assert_eq!(post_json(&sandbox, "/oauth/revoke", &[], &body).await.status, 200);

    for tokens in [&here, &there] {
        assert_eq!(
            refresh(&sandbox, &tokens["refresh_token"]).await.error_code(),
            "refresh_token_invalidated"
        );
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let me = get(&sandbox, "/backend-api/me", &[("authorization", &bearer)]).await;
        assert_eq!((me.status, &me.json()["detail"]["code"]), (401, &json!("token_revoked")));
    }
    assert_eq!(refresh(&sandbox, &other["refresh_token"]).await.status, 200);
}

#[tokio::test]
async fn personal_access_token_is_one_of_an_account_until_it_is_revoked() {
    const WHOAMI: &str = "/api/accounts/v1/user-auth-credential/whoami";
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let account = Account::business();
    let token = sandbox.issue_personal_access_token("business");
    assert!(token.starts_with("at-") && sandbox.issued_secrets().contains(&token));
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("chatgpt-account-id", &account.account_id)];
    let user = get(&sandbox, WHOAMI, &headers).await.json();
    assert_eq!((&user["email"], &user["chatgpt_user_id"]), (&json!(account.email), &json!(account.user_id)));
    assert_eq!(user["chatgpt_account_is_fedramp"], false);
    let models = "/backend-api/codex/models?client_version=1.0.0";
    assert_eq!(get(&sandbox, models, &headers).await.status, 200);
    assert_eq!(get(&sandbox, "/v1/models", &headers).await.error_code(), "missing_scope");
    sandbox.revoke_personal_access_token(&token);
    for path in [WHOAMI, models] {
        assert_eq!(get(&sandbox, path, &headers).await.status, 401, "{path}");
    }
    // The access token of a sign-in is none.
    let tokens = sign_in(&sandbox, "business").await;
    let authorization = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(get(&sandbox, WHOAMI, &[("authorization", &authorization)]).await.status, 401);
}
