//! The faults of a refresh at a defined provider: the second table of `docs/faults.md`.

use std::{fs, path::PathBuf};

use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    CLIENTS, SHORT,
    authorization_server::{Answer, AuthorizationServer},
    count_successes, succeeds,
};

/// A fault of the server, of the daemon, or of the client's secret.
#[derive(Clone, Copy, Debug)]
enum Injection {
    /// The server gives this answer once.
    Once(u16, &'static str),
    /// The server gives this answer every time.
    Always(u16, &'static str),
    /// The server rotates the token, and the connection breaks.
    Lost,
    /// The daemon is killed after the server has rotated the token.
    Killed,
    /// The file of the client's secret is gone, until the daemon tells so.
    NoSecret,
}

use Injection::{Always, Killed, Lost, NoSecret, Once};

const INVALID_GRANT: &str = r#"{"error":"invalid_grant"}"#;

/// The faults, and whether the user has to sign in after them: if the token is valid at first, and
/// if it has expired.
const FAULTS: [(&str, Injection, [bool; 2]); 8] = [
    ("400 `invalid_grant` once", Once(400, INVALID_GRANT), [false, true]),
    ("400 `invalid_grant` every time", Always(400, INVALID_GRANT), [true, true]),
    ("401 `invalid_client`", Once(401, r#"{"error":"invalid_client"}"#), [false, false]),
    ("200 with an error", Once(200, r#"{"error":"temporarily_unavailable"}"#), [false, false]),
    (
        "200 without `refresh_token`",
        Once(200, r#"{"access_token":"at","token_type":"bearer","expires_in":3600}"#),
        [false, false],
    ),
    ("the response is lost after the rotation", Lost, [true, true]),
    ("SIGKILL between the rotation and its response", Killed, [true, true]),
    ("the client's secret cannot be read", NoSecret, [false, false]),
];

const HEAD: &str = "
## At a defined provider

The same at a provider that rotates its refresh tokens and ends a login whose old token is used. If
the provider refuses the refresh token while the access token is valid, the daemon serves the access
token, and sends the refresh token once more when the access token expires or an upstream rejects
it. In this test a client reports such a rejection.

| fault | sent (valid) | answered | state after | sent (expired) | answered | state after |
|---|---|---|---|---|---|---|
";

/// Runs all faults, and returns the table.
pub(crate) async fn table() -> String {
    let rows = FAULTS.iter().map(|(name, injection, lost)| async move {
        let (valid, expired) = tokio::join!(run_fault(*injection, false), run_fault(*injection, true));
        let is_lost = |result: &FaultResult| result.after == "login_required";
        assert_eq!([is_lost(&valid), is_lost(&expired)], *lost, "{name}: {valid:?} {expired:?}");
        let columns = [valid, expired].map(|result| {
            let FaultResult { sent, answered, after } = result;
            format!("{sent} | {answered}/{CLIENTS} | `{after}`")
        });
        format!("| {name} | {} |\n", columns.join(" | "))
    });
    HEAD.to_owned() + &join_all(rows).await.concat()
}

/// The result of one fault with one daemon.
#[derive(Debug)]
struct FaultResult {
    sent: usize,
    answered: usize,
    after: String,
}

async fn run_fault(injection: Injection, expired: bool) -> FaultResult {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let server = AuthorizationServer::start(json!({})).await;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    if expired {
        server.set_lifetime(SHORT.as_secs());
    }
    let mut daemon = signed_in(&sandbox, &server, matches!(injection, NoSecret).then_some(&secret)).await;
    server.set_lifetime(3_600);
    if expired {
        tokio::time::sleep(SHORT + SHORT / 10).await;
    }
    match injection {
        Once(status, body) => server.answer("/token", status, serde_json::from_str(body).unwrap()),
        Always(status, body) => {
            (0..9).for_each(|_| server.answer("/token", status, serde_json::from_str(body).unwrap()));
        }
        Lost => server.answer_with("/token", Answer::Lost),
        Killed => server.answer_with("/token", Answer::Held),
        NoSecret => fs::remove_file(&secret).unwrap(),
    }
    let recovery = async {
        match injection {
            NoSecret => {
                while daemon.get("/v1/profiles/lab").await["last_error"].is_null() {}
                fs::write(&secret, "secret").unwrap();
            }
            Killed => {
                server.wait_for("/token", 2).await;
                daemon.signal(rustix::process::Signal::KILL);
            }
            Once(..) | Always(..) | Lost => {}
        }
    };
    let answered = if expired {
        tokio::join!(count_successes(&daemon, "lab"), recovery).0
    } else {
        let clients = async {
            if !matches!(injection, NoSecret) {
                server.wait_for("/token", 2).await;
            }
            let answered = count_successes(&daemon, "lab").await;
            recovery.await;
            answered
        };
        tokio::join!(succeeds(&daemon, "POST", "/v1/profiles/lab/refresh"), clients).1
    };
    if matches!(injection, Killed) {
        daemon.wait().await;
        daemon.start_again().await;
    }
    let after = final_state(&daemon).await;
    // The first request was that of the login.
    let sent = server.requests("/token").len() - 1;
    if after == "ready" {
        // The refresh token that is kept is good.
        daemon.post("/v1/profiles/lab/refresh", json!({})).await;
    }
    FaultResult { sent, answered, after }
}

/// A daemon with a login at the provider `lab`, whose client has this secret or is registered.
async fn signed_in(sandbox: &Sandbox, server: &AuthorizationServer, secret: Option<&PathBuf>) -> TestDaemon {
    let client = |path: &PathBuf| {
        fs::write(path, "secret").unwrap();
        let url = &server.url;
        let path = path.display();
        format!("[providers.lab]\nissuer = '{url}'\nclient_id = 'me'\nclient_secret_file = '{path}'\n")
    };
    let provider = secret.map_or_else(|| server.definition(), client);
    let config = TestDaemonConfig::new(env!("CARGO_BIN_EXE_authd"), sandbox).store("file");
    let daemon = TestDaemon::start(config.toml(&provider).toml("[network]\ntimeout = \"1s\"")).await;
    let login = daemon.post("/v1/logins", json!({"provider": "lab"})).await;
    sandbox.browser().open(login["authorize_url"].as_str().unwrap()).await.unwrap();
    let login = daemon.get(&format!("/v1/logins/{}?wait=30", login["id"].as_str().unwrap())).await;
    assert_eq!(login["state"], "succeeded", "{login}");
    daemon
}

/// Waits for the final state. A token that the provider refused early is reported as rejected.
async fn final_state(daemon: &TestDaemon) -> String {
    loop {
        succeeds(daemon, "GET", "/v1/profiles/lab/headers").await;
        let profile: Value = daemon.get("/v1/profiles/lab").await;
        let (state, error) = (profile["state"].as_str().unwrap_or_default(), &profile["last_error"]);
        if state == "login_required" || state == "ready" && error.is_null() && profile["generation"] != 1 {
            return state.to_owned();
        }
        if state == "ready" && error["provider_code"] == "invalid_grant" {
            let body = json!({"rejected_generation": profile["generation"]}).to_string();
            daemon.request("POST", "/v1/profiles/lab/refresh", &[], body).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
