//! The sockets of shares from inside real isolation: containers, a sandbox, a user namespace, and a
//! remote shell. The same requests are sent in each of them (`requests`), and the audit log names
//! the client (`identity`). It can also be in a real journal, which is the test's own (`journal`).
//!
//! The tests need root. Each runs again as an ordinary user that exists only for it (`user`), and
//! that user starts the daemon and the isolated shell (`surroundings`). One runs again as root.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it cannot continue, and prints why it is skipped"
)]

mod identity;
mod journal;
mod requests;
mod shell;
mod surroundings;
mod user;

use self::{
    identity::{check_bubblewrap, check_podman},
    journal::{check_entries, check_interruptions, check_volatile_journal},
    requests::check,
    surroundings::{bubblewrap, podman, ssh, user_namespace},
    user::{as_ordinary_user, as_ordinary_user_after, as_root},
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

#[test]
fn audit_log_names_a_client_in_rootless_podman() {
    let test = "audit_log_names_a_client_in_rootless_podman";
    as_ordinary_user(test, &["podman", "runc", "newuidmap", "python3"], || check_podman(&[]));
}

#[test]
fn audit_log_names_a_client_in_a_container_of_root() {
    // Root of a container may not raise limits.
    const LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let test = "audit_log_names_a_client_in_a_container_of_root";
    as_root(test, &["podman", "runc", "python3"], || check_podman(&LIMITS));
}

#[test]
fn audit_log_names_a_client_in_bubblewrap() {
    as_ordinary_user("audit_log_names_a_client_in_bubblewrap", &["bwrap", "python3"], check_bubblewrap);
}

#[test]
fn audit_log_is_read_from_a_real_journal() {
    with_journal("audit_log_is_read_from_a_real_journal", check_entries);
}

#[test]
fn audit_log_waits_for_a_journal_that_stops() {
    with_journal("audit_log_waits_for_a_journal_that_stops", check_interruptions);
}

#[test]
fn audit_log_in_a_volatile_journal_is_not_readable_for_the_user() {
    with_journal("audit_log_in_a_volatile_journal_is_not_readable_for_the_user", check_volatile_journal);
}

fn with_journal<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    as_ordinary_user_after(journal::PREPARE, test, &[journal::PROGRAM, "journalctl", "systemd-cat"], body);
}
