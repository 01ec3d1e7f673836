//! The HTTP API on the Unix socket.

mod access;
mod body_tracking;
mod connections;
pub(crate) mod convert;
mod diagnosis;
mod event_stream;
mod extract;
mod metrics;
mod metrics_server;
mod peer;
mod port_owner;
mod problem;
mod recording;
mod respond;
mod routes;
mod share;
mod state;

pub(crate) use self::{
    connections::{ConnectionSettings, serve},
    metrics::Metrics,
    metrics_server::serve_metrics,
    peer::Door,
    routes::router,
    share::{ShareDoors, share_router},
    state::{AppState, RequestSettings},
};
