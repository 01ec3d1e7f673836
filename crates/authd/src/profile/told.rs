//! What the log is told of a session's events.

use authd_oauth::{Event, Unsaved};
use tracing::{debug, error, info, warn};

/// The events worth a line in the log.
pub(super) fn log(event: &Event) {
    match event {
        Event::Refreshed(_, Ok(_)) => info!("refreshed"),
        Event::Refreshed(_, Err(failure)) if failure.is_permanent() => error!(%failure, "sign-in required"),
        Event::Refreshed(_, Err(failure)) => warn!(%failure, "the refresh failed, and will be tried again"),
        Event::Exchanged(_, Ok(_)) => info!("the API key was renewed"),
        Event::Exchanged(_, Err(failure)) => warn!(%failure, "the API key could not be renewed"),
        Event::Saved(_, Err(Unsaved { complaint, .. })) => {
            error!(%complaint, "THE NEWEST CREDENTIAL IS NOT SAVED; it is kept in memory and saved again");
        }
        Event::SignedIn(_) => info!("signed in"),
        Event::Unkept(_) => warn!("the store may have lost the record, which is saved again"),
        Event::Woke => info!("the machine slept; the network is tried before a token is spent"),
        Event::Saved(_, Ok(())) => debug!("saved"),
        Event::Probed(_, reached) => debug!(reached, "probed"),
        Event::Routed(_, routing) => debug!(?routing, "the workspace's routing"),
        Event::Ticked | Event::Used(_) | Event::Wanted(_) | Event::RefreshAsked(_) | Event::Stopping => {}
    }
}
