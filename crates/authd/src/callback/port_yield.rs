//! Yields the first port to another program, such as Codex's own login, and takes it back.

use std::{pin::Pin, time::Duration};

use tokio::net::TcpStream;

/// Interval at which a yielded port is checked.
pub(super) const YIELD_CHECK: Duration = Duration::from_secs(1);

/// The first port while another program uses it.
pub(super) struct Yielded {
    pub(super) port: u16,
    /// Ready when the port can be taken back.
    pub(super) done: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Returns when a yielded port can be taken back; never without one.
pub(super) async fn taken_back(yielded: &mut Option<Yielded>) {
    match yielded {
        Some(port) => (&mut port.done).await,
        None => std::future::pending().await,
    }
    *yielded = None;
}

/// Waits until the port was used and is free again, or for `longest`.
pub(super) async fn until_unused(port: u16, longest: Duration) {
    let unused_again = async {
        let mut seen = false;
        loop {
            tokio::time::sleep(YIELD_CHECK.min(longest)).await;
            let used = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            if seen && !used {
                return;
            }
            seen |= used;
        }
    };
    drop(tokio::time::timeout(longest, unused_again).await);
}
