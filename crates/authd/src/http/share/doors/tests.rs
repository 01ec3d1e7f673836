//! The retry of a closed door, and the end of a server.

use authd_broker::Broker;
use authd_store::{StateDir, StorePreference};

#[path = "../../../../../broker/tests/support/mod.rs"]
mod support;

use super::*;
use crate::platform::ProcessReader;

/// The longest wait for a condition.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The shares of a daemon that has none.
async fn no_shares(directory: &Path) -> Shares {
    let state_dir = StateDir::open(directory.join("state")).unwrap();
    let store = support::store(StorePreference::Memory, directory, &state_dir);
    let (config, _) = support::broker_config("http://127.0.0.1:9", Vec::new(), (store, state_dir), None);
    Broker::start(config).await.0.shares
}

fn server(stop: CancellationToken) -> Server {
    let settings = ConnectionSettings {
        per_process: 1,
        head_deadline: TIMEOUT,
        processes: Arc::new(ProcessReader::default()),
    };
    Server { router: Router::new(), settings, stop }
}

/// A retry that each command postpones never comes.
#[tokio::test]
async fn commands_do_not_postpone_the_retry_of_a_closed_door() {
    let directory = tempfile::tempdir().unwrap();
    let shares = no_shares(directory.path()).await;
    let (doors, handle) = ShareDoors::new(&directory.path().join("authd.sock"));
    doors.errors.send_replace(DoorErrors::from([("closed".into(), "the port is taken".to_owned())]));
    let changes = shares.watch();
    let running = tokio::spawn(doors.run(shares, changes, server(CancellationToken::new())));
    let retried = tokio::time::timeout(TIMEOUT, async {
        while handle.error("closed").is_some() {
            handle.loopback().await.unwrap();
        }
    });
    retried.await.expect("the door is tried again");
    running.abort();
}

#[tokio::test]
async fn panic_of_a_server_is_passed_on_before_and_during_the_shutdown() {
    for panics_at_shutdown in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let shares = no_shares(directory.path()).await;
        let (mut doors, _handle) = ShareDoors::new(&directory.path().join("authd.sock"));
        let stop = CancellationToken::new();
        let server = server(stop.clone());
        // A server that has ended does not stay in the set, or its panic would not be seen.
        doors.servers.spawn(async {});
        let stopped = stop.clone();
        doors.servers.spawn(async move {
            if panics_at_shutdown {
                stopped.cancelled().await;
            }
            panic!("a server panics");
        });
        let changes = shares.watch();
        let running = tokio::spawn(doors.run(shares, changes, server));
        if panics_at_shutdown {
            stop.cancel();
        }
        let ended = tokio::time::timeout(TIMEOUT, running).await.expect("the task ends");
        assert!(ended.unwrap_err().is_panic());
    }
}
