//! The user at the other end of a connected Unix socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use crate::ClientError;

/// Refuses a connection whose listener runs as another user than this program. Call it before anything is
/// written: a listener of another user would read the request, and its answer could name any headers.
///
/// The kernel recorded the listener's user when it began to listen (unix(7), `SO_PEERCRED`), so this has no
/// race, unlike a check of the path.
pub(crate) fn check(stream: &impl AsFd, socket: &Path) -> Result<(), ClientError> {
    let own = rustix::process::geteuid().as_raw();
    match uid(stream.as_fd()) {
        Ok(uid) if uid == own => Ok(()),
        Ok(uid) => Err(ClientError::OtherUser { socket: socket.to_path_buf(), uid, own }),
        Err(error) => Err(ClientError::Broken {
            socket: socket.to_path_buf(),
            detail: format!("the system does not tell the user that listens there: {error}"),
        }),
    }
}

/// The listener's effective user.
#[cfg(target_os = "linux")]
fn uid(stream: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// The listener's effective user.
#[cfg(not(target_os = "linux"))]
fn uid(stream: BorrowedFd<'_>) -> io::Result<u32> {
    let (uid, _) = nix::unistd::getpeereid(stream)?;
    Ok(uid.as_raw())
}

// Elsewhere a thread cannot have a user of its own.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{
        fs,
        io::Read as _,
        os::unix::{fs::PermissionsExt as _, net::UnixListener},
        thread,
        time::Duration,
    };

    use rustix::{process::Uid, thread::set_thread_res_uid};

    use crate::{Client, ClientError, ErrorCode, RefreshBody};

    const OTHER: u32 = 65_534;

    /// A listener that runs as another user; only this thread changes its user.
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
            return; // Only root can change its user for a moment.
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let client = Client::new(directory.path().join("s"));
        let listener = listen_as_other(client.socket());
        let received = thread::spawn(move || {
            // One reading each: a client that did send something would wait for its answer.
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
            assert!(matches!(error, ClientError::OtherUser { uid: OTHER, own: 0, .. }), "{error}");
            assert_eq!(error.exit_code(), ErrorCode::Forbidden.exit_code());
            assert!(error.to_string().contains("another user (uid 65534)"), "{error}");
        }
        assert_eq!(received.join().unwrap(), 0);
    }
}
