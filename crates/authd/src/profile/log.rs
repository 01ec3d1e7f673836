//! The log lines of a session's events.

use authd_oauth::{Event, SaveError};
use tracing::{debug, error, info, warn};

/// Logs the events that matter to a person.
pub(super) fn log(event: &Event) {
    match event {
        Event::Refreshed(_, Ok(_)) => info!("refreshed"),
        Event::Refreshed(_, Err(failure)) if failure.is_permanent() => error!(%failure, "sign-in required"),
        Event::Refreshed(_, Err(failure)) => warn!(%failure, "refresh failed; it will be tried again"),
        Event::Exchanged(_, Ok(_)) => info!("API key renewed"),
        Event::Exchanged(_, Err(failure)) => warn!(%failure, "API key not renewed"),
        Event::Saved(_, Err(SaveError { message, .. })) => {
            error!(%message, "THE NEWEST CREDENTIAL IS NOT SAVED; it is kept in memory and saved again");
        }
        Event::SignedIn(..) => info!("signed in"),
        Event::Unkept(_) => warn!("the store may have lost the record; it is saved again"),
        Event::Woke => {
            info!("machine suspended or clock set; probing the network before a token is spent");
        }
        Event::ClockSet(by) => warn!(seconds = by.as_secs(), "the clock was set"),
        Event::Saved(_, Ok(())) => debug!("saved"),
        Event::Probed(_, reached) => debug!(reached, "probed"),
        Event::Routed(_, routing) => debug!(?routing, "workspace routing"),
        Event::Ticked
        | Event::Used(_)
        | Event::Wanted(_)
        | Event::RefreshAsked(_)
        | Event::Annotated(_)
        | Event::Accepted(_)
        | Event::StoreReady
        | Event::Stopping => {}
    }
}
