//! `authctl ask` and `authctl check`.

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;

use crate::{authd, run, start_daemon};

#[tokio::test]
async fn both_modes_answer_a_question() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    for profile in ["default", "work"] {
        let outcome = run(&daemon, &["ask", "-p", profile, "What is 2+2?"]).await.ok();
        assert!(outcome.stdout.contains('4') && outcome.stdout.ends_with('\n'), "{outcome}");
        assert_eq!(outcome.stderr, "");
        let outcome =
            run(&daemon, &["ask", "-p", profile, "--json", "What", "is", "17+25?"]).await.ok().json();
        assert!(outcome["answer"].as_str().unwrap().contains("42"), "{outcome}");
        assert_eq!((&outcome["profile"], &outcome["model"]), (&json!(profile), &json!("gpt-5.5")));
    }
    assert!(sandbox.count(Route::ChatGptResponses) == 2 && sandbox.count(Route::ApiResponses) == 2);
}

#[tokio::test]
async fn verbose_ask_redacts_the_token() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let token = run(&daemon, &["token"]).await.ok().stdout;
    let outcome = run(&daemon, &["ask", "-v", "What is 2+2?"]).await.ok();
    for text in
        ["> POST ", "Bearer [redacted]", "> chatgpt-account-id: ", "\"instructions\"", "< 200", "< completed"]
    {
        assert!(outcome.stderr.contains(text), "no {text:?} in {outcome}");
    }
    assert!(!outcome.stderr.contains(token.trim()) && !outcome.stdout.contains(token.trim()), "{outcome}");
}

#[tokio::test]
async fn each_error_has_a_message_and_an_exit_code() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let ask = async || run(&daemon, &["ask", "What is 2+2?"]).await;
    let refused = run(&daemon, &["ask", "--model", "gpt-0", "What?"]).await.failed(5, "gpt-0");
    assert!(refused.stderr.contains("it offers: gpt-5.5, gpt-5"), "{refused}");
    sandbox.faults().push(Route::ChatGptResponses, Fault::RateLimited { resets_at: 4_102_444_800 });
    ask().await.failed(5, "it resets at");
    sandbox.faults().push(Route::ChatGptResponses, Fault::TruncateStream);
    ask().await.failed(5, "cut short");
    sandbox.faults().push(Route::ChatGptResponses, Fault::status(500, "<html>oops</html>"));
    ask().await.failed(5, "status 500");
    sandbox.faults().push(Route::ChatGptResponses, Fault::status(403, r#"{"detail":"not for you"}"#));
    ask().await.failed(4, "not for you");
    // Twice: the relay refreshes once and sends the request again.
    sandbox.faults().push_times(Route::ChatGptResponses, Fault::Unauthorized, 2);
    ask().await.failed(4, "does not accept the credential");
    sandbox.revoke_account("plus");
    ask().await.failed(4, "authctl login");
    run(&daemon, &["ask", "-p", "nobody", "What?"]).await.failed(3, "nobody");
    run(&daemon, &["ask", "  "]).await.failed(2, "empty");
}

#[tokio::test]
async fn ask_uses_the_configured_model() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config + "\n[client]\nmodel = \"gpt-5.2\"\n").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    while daemon.get("/v1/status").await["model"] != "gpt-5.2" {
        tokio::task::yield_now().await;
    }
    let outcome = run(&daemon, &["ask", "--json", "What is 2+2?"]).await.ok().json();
    assert_eq!(outcome["model"], "gpt-5.2");
    assert_eq!(sandbox.count(Route::ChatGptModels), 0, "the list of models is not needed");
}

#[tokio::test]
async fn check_prints_the_result_of_each_endpoint() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let outcome = run(&daemon, &["check"]).await.ok();
    for text in ["3 models", "1 account", "user@example.com", "3 conversations", "88 % left of 5h"] {
        assert!(outcome.stdout.contains(text), "no {text:?} in {outcome}");
    }
    let outcome = run(&daemon, &["check", "work", "--json"]).await.ok().json();
    assert_eq!(outcome["endpoints"].as_array().unwrap().len(), 1, "{outcome}");
    sandbox.faults().push(Route::Me, Fault::status(500, ""));
    let outcome = run(&daemon, &["check"]).await.failed(5, "500");
    assert!(outcome.stdout.contains("3 conversations"), "one failure does not hide the others: {outcome}");
    sandbox.faults().push(Route::Me, Fault::status(500, ""));
    sandbox.faults().push(Route::Conversations, Fault::status(403, r#"{"detail":"no"}"#));
    run(&daemon, &["check"]).await.failed(4, "no (403)");
}

#[tokio::test]
async fn an_empty_list_of_models_names_the_client_version() {
    let versions = |model: &String| (model.clone(), "1.2.3".to_owned());
    let minimal_client_versions = Config::default().models.iter().map(versions).collect();
    let sandbox = Sandbox::start(Config { minimal_client_versions, ..Config::default() }).await.unwrap();
    let daemon = TestDaemon::start(TestDaemonConfig::new(authd(), &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    for args in [&["ask", "What is 2+2?"][..], &["check"]] {
        let outcome = run(&daemon, args).await.failed(5, "this client version may be too old: ");
        assert!(outcome.stderr.contains("version in [client] of authd.toml"), "{outcome}");
    }
    assert_eq!(sandbox.count(Route::ChatGptResponses), 0, "no model is guessed");
    let outcome = run(&daemon, &["ask", "--model", "gpt-5.5", "What is 2+2?"]).await;
    let outcome = outcome.failed(2, "requires a newer version of Codex");
    assert!(outcome.stderr.contains("version in [client] of authd.toml"), "{outcome}");
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config + "\n[client]\nversion = \"1.2.3\"\n").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    while daemon.get("/v1/profiles/-/headers").await["headers"][2][1] != "1.2.3" {
        tokio::task::yield_now().await;
    }
    run(&daemon, &["ask", "What is 2+2?"]).await.ok();
}

#[tokio::test]
async fn a_deactivated_workspace_is_named_with_the_code_of_the_provider() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    sandbox.put_account(Account { deactivated: true, ..Account::plus() });
    // With a model, because the list of models is refused, too.
    let ask = run(&daemon, &["ask", "--model", "gpt-5.5", "--json", "What is 2+2?"]).await;
    let problem = ask.failed(4, "workspace is deactivated").json();
    assert_eq!(problem["provider_code"], "deactivated_workspace", "{problem}");
}
