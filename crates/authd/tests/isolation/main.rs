//! The sockets of shares from inside real isolation: rootless containers, a sandbox, a user
//! namespace, and a remote shell. The same requests are sent in each of them (`requests`).
//!
//! The tests need root. Each runs again as an ordinary user that exists only for it (`user`), and
//! that user starts the daemon and the isolated shell (`surroundings`).
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it cannot continue, and prints why it is skipped"
)]

mod requests;
mod shell;
mod surroundings;
mod user;

use self::{
    requests::check,
    surroundings::{bubblewrap, podman, ssh, user_namespace},
    user::as_ordinary_user,
};

#[test]
fn rootless_podman_as_root() {
    as_ordinary_user("rootless_podman_as_root", &["podman", "runc", "newuidmap"], || {
        check(|mounts| podman(mounts, &[]), true)
    });
}

#[test]
fn rootless_podman_with_keep_id() {
    as_ordinary_user("rootless_podman_with_keep_id", &["podman", "runc", "newuidmap"], || {
        check(|mounts| podman(mounts, &["--userns=keep-id"]), true)
    });
}

#[test]
fn rootless_podman_as_another_user() {
    as_ordinary_user("rootless_podman_as_another_user", &["podman", "runc", "newuidmap"], || {
        check(|mounts| podman(mounts, &["--user=1000"]), false)
    });
}

#[test]
fn sandbox_of_bubblewrap() {
    as_ordinary_user("sandbox_of_bubblewrap", &["bwrap"], || check(bubblewrap, true));
}

#[test]
fn user_namespace_with_a_subordinate_uid() {
    as_ordinary_user("user_namespace_with_a_subordinate_uid", &["newuidmap"], || {
        check(user_namespace, false)
    });
}

#[test]
fn remote_shell_with_a_forwarded_socket() {
    as_ordinary_user("remote_shell_with_a_forwarded_socket", &["ssh", "ssh-keygen", "sshd", "bwrap"], || {
        check(ssh, true)
    });
}
