//! A house reports a daemon that does not live.

use authd_sandbox::{
    Config, Sandbox,
    house::{House, HouseConfig},
};

#[tokio::test]
#[should_panic(expected = "the daemon ended")]
async fn a_daemon_that_ends_at_once_is_reported() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    House::start(HouseConfig::new("/bin/false", &sandbox)).await;
}
