//! A D-Bus session of its own for a test, and the notifications that programs send there.

use std::process::{Command, Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

/// Time limit for a notification. It only ends a test that hangs.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Set in the process that runs the test inside a session.
const INSIDE: &str = "AUTHD_TEST_INSIDE_A_SESSION";

/// The session that this process runs in.
pub(crate) struct DesktopSession {
    lines: Lines<BufReader<ChildStdout>>,
    _monitor: Child,
}

impl DesktopSession {
    /// Runs the test of this name again inside a session. There it returns the session; outside it
    /// returns `None` once the test has passed inside, or where no session can be started.
    pub(crate) async fn enter(test: &str) -> Option<Self> {
        if std::env::var_os(INSIDE).is_none() {
            let mut session = Command::new("dbus-run-session");
            session.arg("--").arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
            let output = session.args(["--exact", test, "--nocapture"]).output().ok()?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        // The monitor sees the call even if no program receives it.
        let mut monitor = tokio::process::Command::new("dbus-monitor");
        monitor.args(["--session", "interface=org.freedesktop.Notifications"]).stdout(Stdio::piped());
        let mut monitor = monitor.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
        lines.next_line().await.unwrap();
        Some(Self { lines, _monitor: monitor })
    }

    /// The address of the session's bus.
    pub(crate) fn address() -> String {
        std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap()
    }

    /// Reads what is sent until this text is in it.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut shown = String::new();
        while !shown.contains(text) {
            let line = tokio::time::timeout(TIMEOUT, self.lines.next_line()).await.expect(&shown);
            shown += &line.unwrap().unwrap();
        }
        shown
    }
}
