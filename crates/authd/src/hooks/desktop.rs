//! Notifications on the desktop (the specification of `org.freedesktop.Notifications`), where there is
//! one. Nobody waits for them, and without a desktop nothing happens.

/// Puts a notification up.
#[cfg(target_os = "linux")]
pub(super) fn notify(summary: &'static str, body: &str) {
    let body = body.to_owned();
    // A bus that does not answer holds up this thread and nothing else.
    let work = move || {
        if let Err(error) = send(summary, &body) {
            tracing::debug!(%error, "no notification could be put up");
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
    let place = "/org/freedesktop/Notifications";
    let service = "org.freedesktop.Notifications";
    Connection::session()?.call_method(Some(service), place, Some(service), "Notify", &message)?;
    Ok(())
}

/// Not built for this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn notify(_: &'static str, _: &str) {}
