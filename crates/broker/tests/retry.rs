//! Retries of failed work while other events come.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use authd_api::ProfileName;
use authd_broker::{Broker, BrokerTasks};
use authd_oauth::ApiKey;
use authd_store::{StateDir, StorePreference};
use tokio_util::sync::CancellationToken;

/// The longest wait for a retry.
const TIMEOUT: Duration = Duration::from_secs(60);

struct Fixture {
    broker: Broker,
    tasks: BrokerTasks,
    stopping: CancellationToken,
    directory: tempfile::TempDir,
}

impl Fixture {
    /// A broker that knows its profiles: none.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path().join("state")).unwrap();
        let store = support::store(StorePreference::Memory, directory.path(), &state_dir);
        let (config, _) = support::broker_config("http://127.0.0.1:9", Vec::new(), (store, state_dir), None);
        let stopping = config.stopping.clone();
        let (broker, tasks) = Broker::start(config).await;
        broker.registry.known(TIMEOUT).await.unwrap();
        Self { broker, tasks, stopping, directory }
    }

    async fn set_api_key(&self, profile: &str, key: &str) {
        let logins = &self.broker.logins;
        logins.store_api_key(name(profile), ApiKey::new(key), true, false).await.unwrap();
    }

    /// A new directory for a Codex home.
    fn codex_home(&self, name: &str) -> PathBuf {
        let home = self.directory.path().join(name);
        fs::create_dir(&home).unwrap();
        home
    }

    /// Lets every write of the list of Codex homes fail while this path is a directory.
    fn block_homes(&self) -> PathBuf {
        let list = self.directory.path().join("state/codex.json");
        fs::remove_file(&list).ok();
        fs::create_dir(&list).unwrap();
        list
    }

    /// Shuts the broker down as the daemon does.
    async fn shut_down(self) {
        self.stopping.cancel();
        tokio::time::timeout(TIMEOUT, self.tasks.drain()).await.expect("every task ends");
    }
}

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

/// Repeats this until the condition is true. A retry that each of these events postpones never
/// comes.
async fn repeat_until(is_done: impl Fn() -> bool, mut event: impl AsyncFnMut()) {
    let repeated = tokio::time::timeout(TIMEOUT, async {
        while !is_done() {
            event().await;
        }
    });
    repeated.await.expect("other events postpone no retry");
}

#[tokio::test]
async fn other_commands_do_not_postpone_the_retry_of_a_rename() {
    let fixture = Fixture::start().await;
    fixture.set_api_key("work", "sk-test").await;
    let (home, registry) = (fixture.codex_home("codex"), &fixture.broker.registry);
    fixture.broker.codex.install(Some(home), name("work")).await.unwrap();
    let list = fixture.block_homes();
    registry.rename(name("work"), name("job")).await.unwrap();
    fs::remove_dir(&list).unwrap();
    let is_renamed = || fs::read_to_string(&list).is_ok_and(|text| text.contains("\"job\""));
    repeat_until(is_renamed, async || {
        registry.make_default(name("unknown")).await.unwrap_err();
    })
    .await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn other_commands_do_not_postpone_the_retry_of_the_list_of_homes() {
    let fixture = Fixture::start().await;
    fixture.set_api_key("work", "sk-test").await;
    let (home, other) = (fixture.codex_home("codex"), fixture.codex_home("other"));
    let codex = &fixture.broker.codex;
    // From now on the list is in memory.
    codex.uninstall(Some(other.clone())).await.unwrap_err();
    let list = fixture.block_homes();
    codex.install(Some(home), name("work")).await.unwrap_err();
    fs::remove_dir(&list).unwrap();
    repeat_until(
        || list.is_file(),
        async || {
            codex.uninstall(Some(other.clone())).await.unwrap_err();
        },
    )
    .await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn events_of_other_profiles_do_not_postpone_the_retry_of_a_codex_home() {
    let fixture = Fixture::start().await;
    for profile in ["work", "one", "two"] {
        fixture.set_api_key(profile, "sk-test").await;
    }
    let (home, registry) = (fixture.codex_home("codex"), fixture.broker.registry.clone());
    let login = fixture.broker.codex.install(Some(home), name("work")).await.unwrap();
    registry.make_default(name("one")).await.unwrap();
    // A file with a second name cannot be replaced. The system reports no change of the home when
    // that name is removed.
    let second_name = fixture.directory.path().join("second");
    fs::hard_link(&login, &second_name).unwrap();
    let mut events = fixture.broker.events.subscribe();
    fixture.set_api_key("work", "sk-new").await;
    while fixture.broker.codex.homes().await.unwrap()[0].observed.error.is_none() {
        events.recv().await.unwrap();
    }
    let other_events = async || {
        for profile in ["two", "one"] {
            registry.make_default(name(profile)).await.unwrap();
        }
    };
    // Events of the profile itself come before these.
    for _ in 0..20 {
        other_events().await;
    }
    fs::remove_file(&second_name).unwrap();
    let is_updated = || fs::read_to_string(&login).is_ok_and(|text| text.contains("sk-new"));
    repeat_until(is_updated, other_events).await;
    fixture.shut_down().await;
}
