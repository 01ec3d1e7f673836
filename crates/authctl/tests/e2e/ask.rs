//! Questions and answers, and the ways in which there is none.

use authd_sandbox::{Fault, Route};
use serde_json::json;

use crate::{household, run};

#[tokio::test]
async fn both_modes_can_add() {
    let (sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    house.sign_in("work", "business").await;
    for profile in ["default", "work"] {
        let said = run(&house, &["ask", "-p", profile, "What is 2+2?"]).await.ok();
        assert!(said.stdout.contains('4') && said.stdout.ends_with('\n'), "{said}");
        assert_eq!(said.stderr, "");
        let said = run(&house, &["ask", "-p", profile, "--json", "What", "is", "17+25?"]).await.ok().json();
        assert!(said["answer"].as_str().unwrap().contains("42"), "{said}");
        assert_eq!((&said["profile"], &said["model"]), (&json!(profile), &json!("gpt-5.5")));
    }
    assert!(sandbox.count(Route::ChatGptResponses) == 2 && sandbox.count(Route::ApiResponses) == 2);
}

#[tokio::test]
async fn verbose_shows_the_exchange_without_its_secret() {
    let (_sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    let token = run(&house, &["token"]).await.ok().stdout;
    let said = run(&house, &["ask", "-v", "What is 2+2?"]).await.ok();
    for words in
        ["> POST ", "Bearer [redacted]", "> chatgpt-account-id: ", "\"instructions\"", "< 200", "< completed"]
    {
        assert!(said.stderr.contains(words), "no {words:?} in {said}");
    }
    assert!(!said.stderr.contains(token.trim()) && !said.stdout.contains(token.trim()), "{said}");
}

#[tokio::test]
async fn every_way_to_fail_has_its_words_and_its_exit_code() {
    let (sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    let ask = async || run(&house, &["ask", "What is 2+2?"]).await;
    run(&house, &["ask", "--model", "gpt-0", "What?"]).await.failed(2, "gpt-0");
    sandbox.faults().push(Route::ChatGptResponses, Fault::RateLimited { resets_at: 4_102_444_800 });
    ask().await.failed(5, "it is lifted at");
    sandbox.faults().push(Route::ChatGptResponses, Fault::TruncateStream);
    ask().await.failed(5, "cut short");
    sandbox.faults().push(Route::ChatGptResponses, Fault::status(500, "<html>oops</html>"));
    ask().await.failed(5, "status 500");
    sandbox.faults().push(Route::ChatGptResponses, Fault::status(403, r#"{"detail":"not for you"}"#));
    ask().await.failed(4, "not for you");
    // Twice: the relay refreshes once and asks again.
    sandbox.faults().push_times(Route::ChatGptResponses, Fault::Unauthorized, 2);
    ask().await.failed(4, "does not take the credential");
    sandbox.revoke_account("plus");
    ask().await.failed(4, "authctl login");
    run(&house, &["ask", "-p", "nobody", "What?"]).await.failed(3, "nobody");
    run(&house, &["ask", "  "]).await.failed(2, "empty");
}

#[tokio::test]
async fn the_configured_model_is_asked() {
    let (sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    let config = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), config + "\n[client]\nmodel = \"gpt-5.2\"\n").unwrap();
    house.signal(rustix::process::Signal::HUP);
    while house.get("/v1/status").await["model"] != "gpt-5.2" {
        tokio::task::yield_now().await;
    }
    let said = run(&house, &["ask", "--json", "What is 2+2?"]).await.ok().json();
    assert_eq!(said["model"], "gpt-5.2");
    assert_eq!(sandbox.count(Route::ChatGptModels), 0, "nobody had to look for a model");
}

#[tokio::test]
async fn check_tells_what_each_endpoint_said() {
    let (sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    house.sign_in("work", "business").await;
    let said = run(&house, &["check"]).await.ok();
    for words in ["3 models", "1 account", "user@example.com", "3 conversations", "88 % left of 5 h"] {
        assert!(said.stdout.contains(words), "no {words:?} in {said}");
    }
    let said = run(&house, &["check", "work", "--json"]).await.ok().json();
    assert_eq!(said["endpoints"].as_array().unwrap().len(), 1, "{said}");
    sandbox.faults().push(Route::Me, Fault::status(500, ""));
    let said = run(&house, &["check"]).await.failed(5, "500");
    assert!(said.stdout.contains("3 conversations"), "one failure does not hide the others: {said}");
    sandbox.faults().push(Route::Me, Fault::status(500, ""));
    sandbox.faults().push(Route::Conversations, Fault::status(403, r#"{"detail":"no"}"#));
    run(&house, &["check"]).await.failed(4, "no (403)");
}
