//! A tunnel whose other side reads nothing any more. It is looked at by what the daemon has open, which only
//! Linux tells.

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
    support::sandbox,
    upstream::{Upstream, stalled},
};

#[tokio::test]
async fn a_client_that_goes_ends_a_tunnel_whose_other_side_does_not_read() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let before = open(&daemon);
    let (client, mut server) = upstream.tunnel(&daemon).await;
    drop(stalled_upload(&daemon, client).await);
    // The upstream neither reads nor writes: it sees nothing of that. Afterwards it sees an end; a connection
    // on which the system had given up would break off.
    let_go(&daemon, before).await;
    tokio::io::copy(&mut server, &mut tokio::io::sink()).await.unwrap();
}

/// The client, when it has written so much that the daemon takes no more of it.
async fn stalled_upload(daemon: &TestDaemon, client: UnixStream) -> UnixStream {
    let (client, written) = (Arc::new(client), Arc::new(AtomicUsize::new(0)));
    let writing = tokio::spawn({
        let (client, written) = (client.clone(), written.clone());
        async move {
            let piece = vec![b'x'; 64 << 10];
            loop {
                client.writable().await.unwrap();
                written.fetch_add(client.try_write(&piece).unwrap_or_default(), Ordering::Relaxed);
            }
        }
    });
    stalled(daemon, &written).await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    Arc::into_inner(client).unwrap()
}

/// How many files and connections the daemon has open.
fn open(daemon: &TestDaemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid().unwrap())).unwrap().count()
}

/// Returns when the daemon has no more open than it had.
async fn let_go(daemon: &TestDaemon, before: usize) {
    while open(daemon) > before {
        daemon.get("/v1/status").await;
    }
}
