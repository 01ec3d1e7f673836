//! The user at the other end of a connected Unix socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

#[cfg(target_os = "linux")]
use nix::sys::socket::{getsockopt, sockopt};

use super::{Client, ClientError};

impl Client {
    /// Requires a listener that runs as this user, not as that of this program. In a container the
    /// daemon behind a mounted socket may have another uid.
    #[must_use]
    pub fn with_server_uid(mut self, uid: u32) -> Self {
        self.server_uid = Some(uid);
        self
    }

    /// Fails if the listener runs as another user than the expected one. Call it before writing: a
    /// listener of another user could read the request and respond with headers of its choice.
    ///
    /// The kernel records the listener's user when it begins to listen (unix(7), `SO_PEERCRED`). So
    /// this check has no race, unlike a check of the path.
    pub(crate) fn check_peer(&self, stream: &impl AsFd) -> Result<(), ClientError> {
        let expected = self.server_uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        match uid(stream.as_fd()) {
            Ok(uid) if uid == expected => Ok(()),
            Ok(uid) => Err(ClientError::OtherUser { socket: self.socket.clone(), uid, expected }),
            Err(error) => Err(self.broken(format_args!("the listener's user is unknown: {error}"))),
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
