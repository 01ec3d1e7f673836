//! Desktop notifications (`org.freedesktop.Notifications`). Without a desktop nothing happens.

/// Shows a notification. Returns at once.
#[cfg(target_os = "linux")]
pub(super) fn notify(summary: &'static str, body: &str) {
    let body = body.to_owned();
    // A bus that does not answer blocks only this thread.
    let work = move || {
        if let Err(error) = send(summary, &body) {
            tracing::debug!(%error, "notification not shown");
        }
    };
    drop(std::thread::Builder::new().name("notification".to_owned()).spawn(work));
}

#[cfg(target_os = "linux")]
fn send(summary: &str, body: &str) -> zbus::Result<()> {
    use std::collections::HashMap;

    use zbus::{blocking::Connection, zvariant::Value};

    let hints = HashMap::from([("desktop-entry", Value::from("authd"))]);
    let message = ("authd", 0_u32, "dialog-password", summary, body, Vec::<&str>::new(), hints, -1_i32);
    let path = "/org/freedesktop/Notifications";
    let service = "org.freedesktop.Notifications";
    Connection::session()?.call_method(Some(service), path, Some(service), "Notify", &message)?;
    Ok(())
}

/// Not implemented on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn notify(_: &'static str, _: &str) {}
