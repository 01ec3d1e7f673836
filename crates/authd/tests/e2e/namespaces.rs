//! Tests in Linux namespaces of their own, which an ordinary user may make as well.

use std::{env, process::Command};

/// Set in the namespaces.
const INSIDE: &str = "AUTHD_NAMESPACES_TEST";

/// Runs the body of a test in a user, process and mount namespace of its own, by running this
/// program again: there a test may choose the next process id, and mount a file system. Where the
/// system allows no such namespaces, the test is skipped, except in CI.
#[expect(clippy::print_stdout, reason = "the outer test reads it")]
pub(crate) fn in_own_namespaces<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if env::var_os(INSIDE).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(body());
        println!("passed in its namespaces");
        return;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        assert!(env::var_os("CI").is_none(), "the system allows no namespaces of a user");
        return println!("skipped: the system allows no namespaces of a user");
    }
    let mut command = unshare();
    command.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("passed in its namespaces"), "no test is named {test}");
}
