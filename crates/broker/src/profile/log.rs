//! Logs the events of a session.

use authd_oauth::{Event, SaveError};
use tracing::{debug, error, info, warn};

pub(super) fn log(event: &Event) {
    match event {
        Event::Refreshed(_, Ok(_)) => info!("refreshed"),
        Event::Refreshed(_, Err(error)) if error.is_permanent() => error!(%error, "sign-in required"),
        Event::Refreshed(_, Err(error)) => warn!(%error, "refresh failed; retrying"),
        Event::Exchanged(_, Ok(_)) => info!("API key renewed"),
        Event::Exchanged(_, Err(error)) => warn!(%error, "API key not renewed"),
        Event::Saved(_, Err(SaveError { message, .. })) => {
            error!(error = %message, "newest credential not saved; kept in memory and retried");
        }
        Event::SignedIn(..) => info!("signed in"),
        Event::RecordMayBeLost(_) => warn!("record may be lost in the store; saving again"),
        Event::Resumed => info!("machine suspended or clock set; probing before the next refresh"),
        Event::ClockSet(by) => warn!(seconds = by.as_secs(), "clock set"),
        Event::Saved(_, Ok(())) => debug!("saved"),
        Event::Probed(_, reached) => debug!(reached, "probed"),
        Event::ScopesMissing(_, scopes) => info!(?scopes, "a server asks for scopes that the grant lacks"),
        Event::RoutingReceived(_, routing) => debug!(?routing, "workspace routing"),
        Event::Ticked
        | Event::Used(_)
        | Event::CredentialRequested(_)
        | Event::RefreshRequested(_)
        | Event::Annotated(_)
        | Event::Accepted(_)
        | Event::StoreReady
        | Event::Stopping => {}
    }
}
