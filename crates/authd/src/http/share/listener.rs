//! Opens the listeners of shares.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::unix::{
        fs::DirBuilderExt,
        net::{SocketAddr, UnixListener as StdListener},
    },
    path::{Path, PathBuf},
};

use authd_store::private;
use tokio::net::{TcpListener, UnixListener};

use crate::platform::ClientListener;

/// The name of a share's socket in its directory.
const SOCKET: &str = "authd.sock";

/// The name of a socket that is not yet in its directory. One task opens all doors, one at a time.
const NEW_SOCKET: &str = ".new.sock";

/// The directory of the sockets of all shares, beside the daemon's socket.
pub(super) fn directory(daemon_socket: &Path) -> PathBuf {
    daemon_socket.with_file_name("shares")
}

/// The socket of a share. Its directory can be mounted into a container.
pub(crate) fn socket(directory: &Path, id: &str) -> PathBuf {
    directory.join(id).join(SOCKET)
}

/// Listens on the socket of a share. Every user may connect, but only the daemon's user can enter
/// the directory above. A program of another user reaches the socket if it was mounted or forwarded
/// for that program. An existing directory stays the same, because it may be mounted.
///
/// The holder may be able to write to its directory. So the socket is made beside it and moved
/// there: a change of its mode in the holder's directory could follow a symbolic link of the holder
/// to a file of the user.
pub(super) fn open_socket(directory: &Path, id: &str) -> io::Result<ClientListener> {
    private::ensure_private_dir(directory)?;
    let own = directory.join(id);
    let path = own.join(SOCKET);
    // Clients cannot connect to a path that is too long. The path of the new socket is shorter.
    SocketAddr::from_pathname(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let new = directory.join(NEW_SOCKET);
    private::remove(&new)?;
    let listener = StdListener::bind(&new)?;
    fs::set_permissions(&new, private::mode(0o666))?;
    // Last, so that a failure leaves no directory behind.
    match fs::DirBuilder::new().mode(0o755).create(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::set_permissions(&own, private::mode(0o755))?;
    fs::rename(&new, path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(ClientListener::Unix)
}

/// Removes the socket of a share and its directory.
pub(super) fn remove_socket(directory: &Path, id: &str) -> io::Result<()> {
    private::remove(&socket(directory, id))?;
    match fs::remove_dir(directory.join(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The ids of the shares that have a socket. Other directories may be the user's: a daemon whose
/// socket is in the home directory has the sockets of shares in `~/shares`.
pub(super) fn existing(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    ids.filter(|id| socket(directory, id).symlink_metadata().is_ok()).collect()
}

/// Listens on a port of 127.0.0.1; on a free one for port 0.
pub(super) async fn open_loopback(port: u16) -> io::Result<(ClientListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    Ok((ClientListener::Tcp(listener), port))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn holder_cannot_make_the_daemon_change_the_mode_of_another_file() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("shares");
        let secret = temporary.path().join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, private::mode(0o600)).unwrap();
        open_socket(&directory, "id").unwrap();
        let path = socket(&directory, "id");
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            // The holder replaces the socket as fast as it can.
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let _ = private::remove(&path);
                    let _ = symlink(&secret, &path);
                }
            });
            for _ in 0..500 {
                drop(open_socket(&directory, "id"));
            }
            is_done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        let _listener = open_socket(&directory, "id").unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(existing(&directory), ["id"]);
    }

    #[tokio::test]
    async fn directory_without_a_socket_is_no_share() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("shares");
        let _listener = open_socket(&directory, "id").unwrap();
        fs::create_dir(directory.join("photos")).unwrap();
        fs::write(directory.join("notes"), "").unwrap();
        assert_eq!(existing(&directory), ["id"]);
    }

    #[tokio::test]
    async fn socket_that_no_client_can_reach_is_not_opened() {
        let temporary = tempfile::tempdir().unwrap();
        let most = if cfg!(target_os = "macos") { 103 } else { 107 };
        let longest = most - temporary.path().as_os_str().len() - "/shares//authd.sock".len();
        let directory = temporary.path().join("shares");
        assert!(open_socket(&directory, &"x".repeat(longest)).is_ok());
        let too_long = "x".repeat(longest + 1);
        assert!(open_socket(&directory, &too_long).is_err());
        assert!(!directory.join(too_long).exists(), "the directory of a share without a door is left");
    }
}
