//! All faults of a refresh, tested with the daemon's binary. The results are the first two tables
//! of `docs/faults.md`. The test fails if a table differs; with `AUTHD_WRITE_FAULTS=1` it writes
//! the tables.
#![expect(clippy::unwrap_used, reason = "a test panics where it cannot continue")]

#[expect(dead_code, reason = "each target uses a part of it")]
#[path = "../authorization_server/mod.rs"]
mod authorization_server;
mod defined;

use std::{fs, path::Path, time::Duration};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use futures_util::future::join_all;
use serde_json::Value;

/// Number of clients that request headers at the same time.
const CLIENTS: usize = 20;

/// Lifetime of a token that expires during the test.
const SHORT: Duration = Duration::from_secs(1);

/// Duration of a fault that does not end by itself.
const OUTAGE: Duration = Duration::from_millis(1_500);

/// A fault of the daemon, the provider or the store.
#[derive(Clone, Copy, Debug)]
enum Injection {
    /// The token endpoint has this fault in one refresh.
    Endpoint(fn() -> Fault),
    /// The provider accepts no connections for [`OUTAGE`].
    Refused,
    /// The token endpoint has this URL, which never works.
    InvalidEndpoint(&'static str),
    /// The store has this fault for [`OUTAGE`].
    Store(&'static str),
    /// The daemon is killed before or after the provider commits the refresh.
    Killed(fn() -> Fault),
    /// The daemon gets SIGTERM in the middle of a refresh.
    Stopped,
}

use Injection::{Endpoint, InvalidEndpoint, Killed, Refused, Stopped, Store};

/// The faults, and whether the user has to sign in after them.
const FAULTS: [(&str, Injection, bool); 28] = [
    ("400 `invalid_grant`", Endpoint(|| Fault::status(400, r#"{"error":"invalid_grant"}"#)), true),
    ("400 `token_expired`", Endpoint(|| refused_with(400, "token_expired")), false),
    ("400 `invalid_refresh_token`", Endpoint(|| refused_with(400, "invalid_refresh_token")), false),
    ("400 `invalid_client`", Endpoint(|| Fault::status(400, r#"{"error":"invalid_client"}"#)), false),
    ("400, \"Your session has ended\"", Endpoint(|| Fault::status(400, SESSION_ENDED)), false),
    ("403 `unsupported_country_region_territory`", Endpoint(region_rule), false),
    ("401 `refresh_token_reused`", Endpoint(|| refused("refresh_token_reused")), true),
    ("401 `refresh_token_expired`", Endpoint(|| refused("refresh_token_expired")), true),
    ("401 `refresh_token_invalidated`", Endpoint(|| refused("refresh_token_invalidated")), true),
    ("403, a web page", Endpoint(|| Fault::status(403, "<html>blocked</html>")), false),
    ("404", Endpoint(|| Fault::status(404, "")), false),
    ("408", Endpoint(|| Fault::status(408, "")), false),
    ("429", Endpoint(|| Fault::status(429, "")), false),
    ("500", Endpoint(|| Fault::status(500, "")), false),
    ("502, a web page", Endpoint(|| Fault::status(502, "<html>bad gateway</html>")), false),
    ("503, `Retry-After: 1`", Endpoint(retry_after), false),
    ("200 with a web page (captive portal)", Endpoint(|| Fault::Garbage), false),
    ("the connection is dropped before the commit", Endpoint(|| Fault::DropBeforeCommit), false),
    ("the connection is dropped after the commit", Endpoint(|| Fault::DropAfterCommit), true),
    ("no answer (1 s), nothing committed", Endpoint(|| Fault::Stall), false),
    ("DNS failure", InvalidEndpoint("https://nowhere.invalid/oauth/token"), false),
    ("TLS failure", InvalidEndpoint("https://{sandbox}/oauth/token"), false),
    ("the store fails at saving for 1.5 s", Store("fail-save"), false),
    ("the store hangs for 1.5 s", Store("hang"), false),
    ("SIGTERM in the middle", Stopped, false),
    ("SIGKILL before the commit", Killed(|| Fault::Stall), false),
    ("SIGKILL between the commit and its answer", Killed(|| Fault::StallAfterCommit), true),
    // This runs alone at the end: another daemon's connection could use the port meanwhile.
    ("connections are refused for 1.5 s", Refused, false),
];

const SESSION_ENDED: &str = r#"{"error":{"message":"Your session has ended. Please log in again."}}"#;

fn refused(code: &str) -> Fault {
    refused_with(401, code)
}

fn refused_with(status: u16, code: &str) -> Fault {
    Fault::status(status, format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#))
}

fn region_rule() -> Fault {
    refused_with(403, "unsupported_country_region_territory")
}

fn retry_after() -> Fault {
    Fault::Status { status: 503, body: String::new(), retry_after: Some(1) }
}

const HEAD: &str = "\
# What a fault costs

Each fault happens in one refresh, while 20 clients request headers. *Valid*: the access token is
valid, and a client requested the refresh. *Expired*: it has expired, and all 20 clients wait for
the same refresh. *Sent* counts the requests to the provider's token endpoint, including the last
one that succeeded. *State after* is the profile's state after the valid case, and the code of its
last error. `cargo nextest run --test faults` checks this table.

| fault | sent (valid) | answered | sent (expired) | answered | state after | login lost |
|---|---|---|---|---|---|---|
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_loses_a_login_that_can_be_kept() {
    let mut table = HEAD.to_owned();
    // In chunks, because each fault has two daemons.
    let (together, alone) = FAULTS.split_at(FAULTS.len() - 1);
    for faults in together.chunks(6).chain([alone]) {
        let rows = faults.iter().map(|(name, injection, lost)| async move {
            let (valid, expired) = tokio::join!(run_fault(*injection, false), run_fault(*injection, true));
            assert_eq!((valid.lost, expired.lost), (*lost, *lost), "{name}: {valid:?} {expired:?}");
            let lost = if *lost { "yes" } else { "no" };
            let FaultResult { sent, answered, after, .. } = valid;
            let (sent_expired, answered_expired) = (expired.sent, expired.answered);
            format!("| {name} | {sent} | {answered}/{CLIENTS} | {sent_expired} | {answered_expired}/{CLIENTS} | {after} | {lost} |\n")
        });
        table.extend(join_all(rows).await);
    }
    table += &defined::table().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    // Another test writes the table below these.
    let lock = fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.lock")).unwrap();
    lock.lock().unwrap();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (ours, rest) = text.split_at(text.find("\n# What a crash").unwrap_or(text.len()));
    if std::env::var_os("AUTHD_WRITE_FAULTS").is_some() {
        fs::write(&path, format!("{table}{rest}")).unwrap();
    } else {
        assert_eq!(ours, table, "docs/faults.md differs; AUTHD_WRITE_FAULTS=1 writes it");
    }
}

/// The result of one fault with one daemon.
#[derive(Debug)]
struct FaultResult {
    sent: usize,
    answered: usize,
    after: String,
    lost: bool,
}

async fn run_fault(injection: Injection, expired: bool) -> FaultResult {
    let account = if expired { Account::plus().with_lifetime(SHORT) } else { Account::plus() };
    let sandbox = Sandbox::start(Config::with_accounts([account])).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let control_file = directory.path().join("control");
    let store = match injection {
        Store(_) => format!("memory_control = \"{}\"\ndeadline = \"300ms\"", control_file.display()),
        _ => String::new(),
    };
    let kind = if matches!(injection, Store(_)) { "memory" } else { "file" };
    let toml = format!("{store}\n[network]\ntimeout = \"1s\"");
    let config = TestDaemonConfig::new(env!("CARGO_BIN_EXE_authd"), &sandbox).store(kind).toml(&toml);
    let mut daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    sandbox.put_account(Account::plus());
    if let InvalidEndpoint(url) = injection {
        daemon.sigterm_and_wait().await;
        let url = url.replace("{sandbox}", &sandbox.address().to_string());
        let toml = fs::read_to_string(daemon.config()).unwrap();
        let provider = format!("[provider]\ntoken_url = \"{url}\"");
        fs::write(daemon.config(), toml.replacen("[provider]", &provider, 1)).unwrap();
        daemon.start_again().await;
    }
    if expired {
        tokio::time::sleep(SHORT + Duration::from_millis(100)).await;
    }
    match injection {
        Endpoint(fault) | Killed(fault) => sandbox.faults().push(Route::Refresh, fault()),
        Stopped => sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit),
        Refused => sandbox.pause().await,
        Store(fault) => fs::write(&control_file, fault).unwrap(),
        InvalidEndpoint(_) => {}
    }
    let clients = async {
        if expired {
            return count_successes(&daemon, "-").await;
        }
        let refresh = succeeds(&daemon, "POST", "/v1/profiles/-/refresh");
        let others = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            count_successes(&daemon, "-").await
        };
        tokio::join!(refresh, others).1
    };
    let recovery = async {
        match injection {
            Refused => {
                tokio::time::sleep(OUTAGE).await;
                sandbox.resume().await;
            }
            Store(_) => {
                tokio::time::sleep(OUTAGE).await;
                fs::write(&control_file, "well").unwrap();
            }
            Stopped | Killed(_) => {
                sandbox.wait_for(Route::Refresh, 1).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                let signal = if matches!(injection, Stopped) {
                    rustix::process::Signal::TERM
                } else {
                    rustix::process::Signal::KILL
                };
                daemon.signal(signal);
                // The provider notices that its client is gone, and does not continue.
                tokio::time::sleep(Duration::from_millis(300)).await;
                sandbox.faults().release();
            }
            Endpoint(_) | InvalidEndpoint(_) => {}
        }
    };
    let (answered, ()) = tokio::join!(clients, recovery);
    if matches!(injection, Stopped | Killed(_)) {
        daemon.wait().await;
        daemon.start_again().await;
    }
    let (after, lost) = final_state(&daemon, !matches!(injection, InvalidEndpoint(_))).await;
    sandbox.faults().release();
    FaultResult { sent: sandbox.count(Route::Refresh), answered, after, lost }
}

/// How many of the clients get headers of this profile.
async fn count_successes(daemon: &TestDaemon, profile: &str) -> usize {
    let path = format!("/v1/profiles/{profile}/headers");
    let successes = join_all((0..CLIENTS).map(|_| succeeds(daemon, "GET", &path))).await;
    successes.into_iter().filter(|success| *success).count()
}

/// Whether the daemon gives a successful response.
async fn succeeds(daemon: &TestDaemon, method: &str, path: &str) -> bool {
    let body = if method == "POST" { "{}" } else { "" };
    daemon.try_request(method, path, &[], body).await.is_ok_and(|reply| reply.status.is_success())
}

/// Waits for the final state. Returns it, and whether the user has to sign in.
async fn final_state(daemon: &TestDaemon, recovers: bool) -> (String, bool) {
    loop {
        succeeds(daemon, "GET", "/v1/profiles/-/headers").await;
        let profile: Value = daemon.get("/v1/profiles/-").await;
        let state = profile["state"].as_str().unwrap_or_default();
        let code = profile["last_error"]["code"].as_str().unwrap_or_default();
        let renewed = profile["generation"].as_u64() > Some(1);
        match code {
            "login_required" => return (format!("{state}, `{code}`"), true),
            "" if state == "ready" && renewed => return (state.to_owned(), false),
            "provider_unreachable" if !recovers => return (format!("{state}, `{code}`"), false),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
