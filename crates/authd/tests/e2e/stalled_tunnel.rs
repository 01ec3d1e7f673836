//! A tunnel whose upstream has stopped reading. The test counts the daemon's open descriptors in
//! `/proc`, so it needs Linux.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use authd_sandbox::test_daemon::TestDaemon;
use tokio::net::UnixStream;

use crate::{
    helpers::sandbox,
    upstream::{Upstream, wait_until_stalled},
};

#[tokio::test]
async fn a_client_that_disconnects_ends_a_tunnel_with_a_stalled_upstream() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let before = open_descriptors(&daemon);
    let (client, mut server) = upstream.tunnel(&daemon).await;
    drop(stalled_upload(&daemon, client).await);
    // The upstream neither reads nor writes meanwhile. Afterwards it reads a clean end, not an
    // error.
    wait_until_closed(&daemon, before).await;
    tokio::io::copy(&mut server, &mut tokio::io::sink()).await.unwrap();
}

/// Writes until the daemon accepts no more, and returns the client.
async fn stalled_upload(daemon: &TestDaemon, client: UnixStream) -> UnixStream {
    let (client, written) = (Arc::new(client), Arc::new(AtomicUsize::new(0)));
    let writing = tokio::spawn({
        let (client, written) = (client.clone(), written.clone());
        async move {
            let block = vec![b'x'; 64 << 10];
            loop {
                client.writable().await.unwrap();
                written.fetch_add(client.try_write(&block).unwrap_or_default(), Ordering::Relaxed);
            }
        }
    });
    wait_until_stalled(daemon, &written).await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    Arc::into_inner(client).unwrap()
}

/// The number of open descriptors of the daemon.
fn open_descriptors(daemon: &TestDaemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid().unwrap())).unwrap().count()
}

/// Waits until the daemon has no more open descriptors than before.
async fn wait_until_closed(daemon: &TestDaemon, before: usize) {
    while open_descriptors(daemon) > before {
        daemon.get("/v1/status").await;
    }
}
