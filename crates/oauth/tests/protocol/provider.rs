//! The provider's configuration.

use authd_oauth::Provider;

fn with_token_url(url: &str) -> Provider {
    Provider { token_url: url.to_owned(), ..Provider::openai() }
}

#[test]
fn secrets_are_sent_over_https_or_to_this_machine() {
    for safe in ["https://a.example/x", "http://localhost:1/", "http://127.0.0.1:8", "http://[::1]/x"] {
        assert_eq!(with_token_url(safe).check(), Ok(()), "{safe}");
    }
    for not in [
        "http://a.example",
        "ftp://localhost",
        "https://u:p@a.example",
        "https://a/#x",
        "x",
        "",
        "http://localhost.evil",
    ] {
        assert!(with_token_url(not).check().is_err(), "{not}");
    }
    assert_eq!(Provider::openai().check(), Ok(()));
    let configured = Provider {
        chatgpt_base_url: "https://BÜCHER.example:443/a/../b {c}".to_owned(),
        chatgpt_backend_url: "http://127.1:8/".to_owned(),
        api_base_url: "http://LOCALHOST".to_owned(),
        ..Provider::openai()
    };
    let normalised = configured.normalised();
    assert_eq!(normalised.chatgpt_base_url, "https://xn--bcher-kva.example/b%20%7Bc%7D");
    assert_eq!(normalised.chatgpt_backend_url, "http://127.0.0.1:8/");
    assert_eq!(normalised.api_base_url, "http://localhost");
    assert_eq!(Provider::openai().normalised(), Provider::openai());
    let bad = with_token_url("http://a.example");
    assert!(bad.check().is_err_and(|error| error.starts_with("token_url")));
}
