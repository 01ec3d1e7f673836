//! The client sends nothing to a listener that runs as another user.
// Only Linux has threads with their own user.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests panic on failures")]

use std::{
    fs,
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    thread,
    time::Duration,
};

use rustix::{process::Uid, thread::set_thread_res_uid};

use authd_api::{Client, ClientError, ErrorCode, RefreshBody};

const OTHER: u32 = 65_534;

/// Binds a listener as another user. Only this thread changes its user.
fn listen_as_other(path: &std::path::Path) -> UnixListener {
    let (own, other) = (Uid::from_raw(0), Uid::from_raw(OTHER));
    set_thread_res_uid(other, other, own).unwrap();
    let listener = UnixListener::bind(path);
    set_thread_res_uid(own, own, own).unwrap();
    listener.unwrap()
}

#[test]
fn nothing_is_sent_to_a_listener_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can change its user.
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let client = Client::new(directory.path().join("s"));
    let listener = listen_as_other(client.socket());
    let received = thread::spawn(move || {
        // One read per connection: a client that sends a request would wait for the response.
        (0..3).map(|_| listener.accept().unwrap().0.read(&mut [0; 64]).unwrap()).sum::<usize>()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = [
        client.headers_blocking(None, None, Duration::from_secs(60)).map(drop),
        runtime.block_on(client.status()).map(drop),
        runtime.block_on(client.refresh(None, &RefreshBody::default())).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, ClientError::OtherUser { uid: OTHER, expected: 0, .. }), "{error}");
        assert_eq!(error.exit_code(), ErrorCode::Forbidden.exit_code());
        assert!(error.to_string().contains("another user (uid 65534)"), "{error}");
    }
    assert_eq!(received.join().unwrap(), 0);
}

#[test]
fn a_named_user_replaces_the_own_one() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can change its user.
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let request = |socket: &std::path::Path, uid| {
        let client = Client::new(socket).with_server_uid(uid);
        client.headers_blocking(None, None, Duration::from_secs(60)).unwrap_err()
    };
    for (name, uid, is_sent) in [("other", OTHER, true), ("own", OTHER, false), ("third", 1, false)] {
        let socket = directory.path().join(name);
        let listener =
            if name == "own" { UnixListener::bind(&socket).unwrap() } else { listen_as_other(&socket) };
        let received = thread::spawn(move || listener.accept().unwrap().0.read(&mut [0; 64]).unwrap() > 0);
        let error = request(&socket, uid);
        assert_eq!(!matches!(error, ClientError::OtherUser { .. }), is_sent, "{name}: {error}");
        assert_eq!(received.join().unwrap(), is_sent, "{name}");
    }
}
