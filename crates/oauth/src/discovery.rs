//! Discovery: finds out what a provider offers, from its issuer or from the URL of an MCP server.
//! Parsers and the order of the steps are pure functions; `network/discovery.rs` fetches.
//!
//! Sources: RFC 8414 (authorization server metadata), OpenID Connect Discovery 1.0, RFC 9728
//! (protected resource metadata), RFC 9110 (challenges), and the authorization chapter of the Model
//! Context Protocol in its versions 2025-11-25 and 2025-03-26.

mod challenge;
mod fault;
mod metadata;
mod report;
mod steps;
mod well_known;

pub use self::{
    challenge::{HttpChallenge, challenges},
    fault::DiscoveryFault,
    metadata::{AuthorizationServer, ProtectedResource},
    report::{Aspect, AspectState, report},
    steps::{Discovered, Discovery, Found, NextStep, Reply, Start},
    well_known::{authorization_server_urls, protected_resource_urls},
};

/// Longest document, in bytes. Real ones have a few thousand.
pub const MAX_DOCUMENT: usize = 256 << 10;
