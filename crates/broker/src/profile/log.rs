//! Logs the events of a session.

use authd_oauth::{Event, SaveError, Session, WriteResult};
use tracing::{debug, error, info, warn};

pub(super) fn log(event: &Event) {
    match event {
        Event::Refreshed(_, Ok(_)) => info!("refreshed"),
        // Logged by `log_refusal`: whether it is final depends on the session.
        Event::Refreshed(_, Err(error)) if error.is_permanent() => {}
        Event::Refreshed(_, Err(error)) => warn!(%error, "refresh failed; retrying"),
        Event::Exchanged(_, Ok(_)) => info!("API key renewed"),
        Event::Exchanged(_, Err(error)) => warn!(%error, "API key not renewed"),
        Event::Saved(_, Err(SaveError { message, .. }))
        | Event::Written(_, Err(SaveError { message, .. })) => {
            error!(error = %message, "newest credential not saved; kept in memory and retried");
        }
        Event::SignedIn(..) => info!("signed in"),
        Event::RecordMayBeLost(_) => warn!("record may be lost in the store; saving again"),
        Event::Resumed => info!("machine suspended or clock set; probing before the next refresh"),
        Event::ClockSet(by) => warn!(seconds = by.as_secs(), "clock set"),
        Event::Saved(_, Ok(())) | Event::Written(_, Ok(WriteResult::Done(_))) => debug!("saved"),
        Event::Written(_, Ok(WriteResult::Conflict(_))) => info!("another node changed the record"),
        Event::Claimed(_, Err(SaveError { message, .. })) => {
            warn!(error = %message, "no claim on the refresh token; retrying");
        }
        Event::Claimed(_, Ok(result)) => debug!(?result, "claim answered"),
        Event::ChangedElsewhere(_) => debug!("another node changed the record"),
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

/// Logs the refusal of a refresh, after the session has applied it.
pub(super) fn log_refusal(error: &str, session: &Session) {
    if session.record().ended.is_some() {
        error!(%error, "sign-in required");
    } else {
        warn!(%error, "refresh refused; retrying when the token has expired");
    }
}
