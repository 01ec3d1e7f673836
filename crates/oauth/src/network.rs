//! Outgoing connections. Two clients serve two purposes, with one proxy and TLS policy:
//! [`ProviderClient`] for calls that may spend a token, and [`Upstream`] for relayed requests. Each
//! is built at its first use, so that an idle daemon loads no certificates. A reload replaces both.

mod addresses;
mod ca_files;
mod current;
mod discovery;
mod provider_client;
mod proxy;
mod settings;
mod tls;
mod upstream;

pub(crate) use self::{current::Current, discovery::discover, provider_client::ProviderClient};
pub use self::{
    discovery::{DiscoveryRun, SentRequest},
    settings::{Network, NetworkError, with_causes},
    upstream::Upstream,
};
