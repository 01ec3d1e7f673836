//! A test daemon reports a daemon that exits.

use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

#[tokio::test]
#[should_panic(expected = "the daemon ended")]
async fn daemon_that_exits_at_once_is_reported() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    TestDaemon::start(TestDaemonConfig::new("/bin/false", &sandbox)).await;
}
