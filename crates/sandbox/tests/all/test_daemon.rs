//! A test daemon reports a daemon that does not live.

use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

#[tokio::test]
#[should_panic(expected = "the daemon ended")]
async fn a_daemon_that_ends_at_once_is_reported() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    TestDaemon::start(TestDaemonConfig::new("/bin/false", &sandbox)).await;
}
