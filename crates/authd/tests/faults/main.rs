//! Everything that can go wrong with a refresh, done to the real daemon, and written down as a table:
//! `docs/faults.md`. The test fails when the table is not what it sees; with `AUTHD_WRITE_FAULTS=1` it
//! writes the table anew.
#![expect(clippy::unwrap_used, reason = "a test panics where it cannot go on")]

use std::{fs, path::Path, time::Duration};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use futures_util::future::join_all;
use serde_json::Value;

/// How many programs ask at once.
const CLIENTS: usize = 20;

/// How long a token lives that is to have expired; it is waited for.
const SHORT: Duration = Duration::from_secs(1);

/// How long a fault lasts that does not end by itself.
const OUTAGE: Duration = Duration::from_millis(1_500);

/// What is done to the daemon, or to what it depends on.
#[derive(Clone, Copy, Debug)]
enum Strike {
    /// The token endpoint does this to one refresh.
    Endpoint(fn() -> Fault),
    /// The provider takes no connections for a while.
    Refused,
    /// The token endpoint is elsewhere, where nobody answers; this does not end.
    Elsewhere(&'static str),
    /// The store is in this mood for a while.
    Store(&'static str),
    /// The daemon is killed while the provider thinks, before or after it has made up its mind.
    Killed(fn() -> Fault),
    /// The daemon is asked to stop in the middle of a refresh.
    Stopped,
}

use Strike::{Elsewhere, Endpoint, Killed, Refused, Stopped, Store};

/// The faults, and whether a person has to sign in after them.
const FAULTS: [(&str, Strike, bool); 23] = [
    ("400 `invalid_grant`", Endpoint(|| Fault::status(400, r#"{"error":"invalid_grant"}"#)), true),
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
    ("DNS failure", Elsewhere("https://nowhere.invalid/oauth/token"), false),
    ("TLS failure", Elsewhere("https://{sandbox}/oauth/token"), false),
    ("the store fails at saving for 1.5 s", Store("fail-save"), false),
    ("the store hangs for 1.5 s", Store("hang"), false),
    ("SIGTERM in the middle", Stopped, false),
    ("SIGKILL before the commit", Killed(|| Fault::Stall), false),
    ("SIGKILL between the commit and its answer", Killed(|| Fault::StallAfterCommit), true),
    // Alone at the end: another daemon's connection could take the port meanwhile.
    ("connections are refused for 1.5 s", Refused, false),
];

fn refused(code: &str) -> Fault {
    Fault::status(401, format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#))
}

fn retry_after() -> Fault {
    Fault::Status { status: 503, body: String::new(), retry_after: Some(1) }
}

const HEAD: &str = "\
# What a fault costs

Each fault strikes one refresh; 20 programs ask for headers meanwhile. *Valid*: the access token is good,
and a refresh was asked for. *Expired*: it is not, and all 20 wait for the same refresh. *Sent* counts the
requests that reached the provider's token endpoint, the one that worked in the end among them.
`cargo nextest run -p authd --test faults` makes this table, and fails when it is not true any more.

| fault | sent (valid) | answered | sent (expired) | answered | state after | login lost |
|---|---|---|---|---|---|---|
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_loses_a_login_that_can_be_kept() {
    let mut table = HEAD.to_owned();
    // A few at a time: each has two daemons, and the machine may be small.
    for some in FAULTS[..22].chunks(6).chain([&FAULTS[22..]]) {
        let rows = some.iter().map(|(name, strike, lost)| async move {
            let (valid, expired) = tokio::join!(end_of(*strike, false), end_of(*strike, true));
            assert_eq!((valid.lost, expired.lost), (*lost, *lost), "{name}: {valid:?} {expired:?}");
            let lost = if *lost { "yes" } else { "no" };
            let End { sent, answered, after, .. } = valid;
            let (sent_expired, answered_expired) = (expired.sent, expired.answered);
            format!("| {name} | {sent} | {answered}/{CLIENTS} | {sent_expired} | {answered_expired}/{CLIENTS} | {after} | {lost} |\n")
        });
        table.extend(join_all(rows).await);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    // Another test writes the table below this one.
    let lock = fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.lock")).unwrap();
    lock.lock().unwrap();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (ours, rest) = text.split_at(text.find("\n# What a crash").unwrap_or(text.len()));
    if std::env::var_os("AUTHD_WRITE_FAULTS").is_some() {
        fs::write(&path, format!("{table}{rest}")).unwrap();
    } else {
        assert_eq!(ours, table, "AUTHD_WRITE_FAULTS=1 writes it anew");
    }
}

/// What became of one daemon.
#[derive(Debug)]
struct End {
    sent: usize,
    answered: usize,
    after: String,
    lost: bool,
}

async fn end_of(strike: Strike, expired: bool) -> End {
    let account = if expired { Account::plus().with_lifetime(SHORT) } else { Account::plus() };
    let sandbox = Sandbox::start(Config::with_accounts([account])).await.unwrap();
    let moods = tempfile::tempdir().unwrap();
    let mood = moods.path().join("mood");
    let store = match strike {
        Store(_) => format!("memory_control = \"{}\"\ndeadline = \"300ms\"", mood.display()),
        _ => String::new(),
    };
    let kind = if matches!(strike, Store(_)) { "memory" } else { "file" };
    let toml = format!("{store}\n[network]\ntimeout = \"1s\"");
    let config = TestDaemonConfig::new(env!("CARGO_BIN_EXE_authd"), &sandbox).store(kind).toml(&toml);
    let mut daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    sandbox.put_account(Account::plus());
    if let Elsewhere(url) = strike {
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
    match strike {
        Endpoint(fault) | Killed(fault) => sandbox.faults().push(Route::Refresh, fault()),
        Stopped => sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit),
        Refused => sandbox.pause().await,
        Store(word) => fs::write(&mood, word).unwrap(),
        Elsewhere(_) => {}
    }
    let clients = async {
        if expired {
            return ask_all(&daemon).await;
        }
        let asked = ask(&daemon, "POST", "/v1/profiles/-/refresh");
        let others = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ask_all(&daemon).await
        };
        tokio::join!(asked, others).1
    };
    let over = async {
        match strike {
            Refused => {
                tokio::time::sleep(OUTAGE).await;
                sandbox.resume().await;
            }
            Store(_) => {
                tokio::time::sleep(OUTAGE).await;
                fs::write(&mood, "well").unwrap();
            }
            Stopped | Killed(_) => {
                sandbox.wait_for(Route::Refresh, 1).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                let how = if matches!(strike, Stopped) {
                    rustix::process::Signal::TERM
                } else {
                    rustix::process::Signal::KILL
                };
                daemon.signal(how);
                // A provider notices that its client is gone, and then does not go on.
                tokio::time::sleep(Duration::from_millis(300)).await;
                sandbox.faults().release();
            }
            Endpoint(_) | Elsewhere(_) => {}
        }
    };
    let (answered, ()) = tokio::join!(clients, over);
    if matches!(strike, Stopped | Killed(_)) {
        daemon.wait().await;
        daemon.start_again().await;
    }
    let (after, lost) = settled(&daemon, !matches!(strike, Elsewhere(_))).await;
    sandbox.faults().release();
    End { sent: sandbox.count(Route::Refresh), answered, after, lost }
}

async fn ask_all(daemon: &TestDaemon) -> usize {
    let answers = join_all((0..CLIENTS).map(|_| ask(daemon, "GET", "/v1/profiles/-/headers"))).await;
    answers.into_iter().filter(|answered| *answered).count()
}

/// Whether the daemon answered with what was asked for.
async fn ask(daemon: &TestDaemon, method: &str, path: &str) -> bool {
    let body = if method == "POST" { "{}" } else { "" };
    daemon.try_request(method, path, &[], body).await.is_ok_and(|reply| reply.status.is_success())
}

/// The state when nothing more is to be expected, and whether a person has to sign in.
async fn settled(daemon: &TestDaemon, heals: bool) -> (String, bool) {
    loop {
        ask(daemon, "GET", "/v1/profiles/-/headers").await;
        let profile: Value = daemon.get("/v1/profiles/-").await;
        let state = profile["state"].as_str().unwrap_or_default();
        let code = profile["last_error"]["code"].as_str().unwrap_or_default();
        let renewed = profile["generation"].as_u64() > Some(1);
        match code {
            "login_required" => return (format!("{state}, `{code}`"), true),
            "" if state == "ready" && renewed => return (state.to_owned(), false),
            "provider_unreachable" if !heals => return (format!("{state}, `{code}`"), false),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
