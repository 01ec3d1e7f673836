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
use tokio::io::AsyncWriteExt;

use crate::{
    doors::{ClientStream, doors},
    helpers::sandbox,
    upstream::{PROFILE, Upstream, wait_until_stalled},
};

#[tokio::test]
async fn a_client_that_disconnects_ends_a_tunnel_with_a_stalled_upstream() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    // Over TCP the end of a client arrives behind its data, which the daemon cannot read.
    let doors: Vec<_> = doors(&daemon, PROFILE).await.filter(|door| !door.is_loopback()).collect();
    let before = open_descriptors(&daemon);
    let mut servers = Vec::new();
    for door in &doors {
        let (client, server) = upstream.tunnel(door).await;
        upload_until_stalled(&daemon, client).await;
        servers.push(server);
    }
    // The upstream neither reads nor writes meanwhile. Afterwards it reads a clean end, not an
    // error.
    wait_until_closed(&daemon, before).await;
    for mut server in servers {
        tokio::io::copy(&mut server, &mut tokio::io::sink()).await.unwrap();
    }
}

/// Writes until the daemon accepts no more, and closes the connection.
async fn upload_until_stalled(daemon: &TestDaemon, mut client: ClientStream) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let writing = tokio::spawn(async move {
        let block = vec![b'x'; 64 << 10];
        while let Ok(length) = client.write(&block).await {
            count.fetch_add(length, Ordering::Relaxed);
        }
    });
    wait_until_stalled(daemon, &written).await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
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
