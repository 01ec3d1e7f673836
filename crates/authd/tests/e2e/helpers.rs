//! Functions that the tests share.

use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

/// The daemon's binary.
pub(crate) const AUTHD: &str = env!("CARGO_BIN_EXE_authd");

/// A sandbox with all accounts.
pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap()
}

/// A test daemon with the memory store, against this sandbox.
pub(crate) async fn daemon(sandbox: &Sandbox) -> TestDaemon {
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox)).await
}

/// Sends SIGHUP, and returns when the daemon has reloaded.
pub(crate) async fn reload(daemon: &TestDaemon) {
    let reloads = |daemon: &TestDaemon| daemon.log().matches("reloaded").count();
    let before = reloads(daemon);
    daemon.signal(rustix::process::Signal::HUP);
    while reloads(daemon) == before {
        daemon.get("/v1/status").await;
    }
}

/// Starts a login. Returns it and its authorize URL.
pub(crate) async fn start(daemon: &TestDaemon, body: Value) -> (Value, String) {
    let login = daemon.post("/v1/logins", body).await;
    let url = login["authorize_url"].as_str().unwrap().to_owned();
    (login, url)
}

/// Waits for the end of a login, and returns it.
pub(crate) async fn finished(daemon: &TestDaemon, login: &Value) -> Value {
    daemon.get(&format!("/v1/logins/{}?wait=30", login["id"].as_str().unwrap())).await
}

/// The names of the headers in a response of `/headers`, in their order.
pub(crate) fn names(headers: &Value) -> Vec<String> {
    let pairs = headers["headers"].as_array().unwrap();
    pairs.iter().map(|pair| pair[0].as_str().unwrap().to_owned()).collect()
}

/// The value of one header in a response of `/headers`.
pub(crate) fn value(headers: &Value, name: &str) -> String {
    let pairs = headers["headers"].as_array().unwrap();
    let pair = pairs.iter().find(|pair| pair[0] == name).unwrap_or_else(|| panic!("no {name} in {headers}"));
    pair[1].as_str().unwrap().to_owned()
}

/// A minimal Responses API request that both modes accept.
pub(crate) fn responses_request(text: &str) -> Value {
    json!({
        "model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}],
    })
}
