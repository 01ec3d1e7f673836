//! The user at the other end of a connected Unix socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

#[cfg(target_os = "linux")]
use nix::sys::socket::{getsockopt, sockopt};

use crate::ClientError;

/// Fails if the listener runs as another user than the expected one. Call it before writing: a
/// listener of another user could read the request and respond with headers of its choice.
///
/// The kernel records the listener's user when it begins to listen (unix(7), `SO_PEERCRED`). So
/// this check has no race, unlike a check of the path.
pub(crate) fn check(stream: &impl AsFd, socket: &Path, expected: u32) -> Result<(), ClientError> {
    match uid(stream.as_fd()) {
        Ok(uid) if uid == expected => Ok(()),
        Ok(uid) => Err(ClientError::OtherUser { socket: socket.to_path_buf(), uid, expected }),
        Err(error) => {
            Err(ClientError::broken(socket, format_args!("the listener's user is unknown: {error}")))
        }
    }
}

#[cfg(target_os = "linux")]
fn uid(stream: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(getsockopt(&stream, sockopt::PeerCredentials)?.uid())
}

#[cfg(not(target_os = "linux"))]
fn uid(stream: BorrowedFd<'_>) -> io::Result<u32> {
    let (uid, _) = nix::unistd::getpeereid(stream)?;
    Ok(uid.as_raw())
}
