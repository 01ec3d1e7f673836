//! The token broker: profiles, logins, shares, providers and Codex homes over the protocol of
//! `authd-oauth` and the storage of `authd-store`. It has no socket, no configuration file and no
//! service manager.
//!
//! Commands go to the owner of a state; readers take published snapshots:
//!
//! ```text
//! Logins ──► ProfileRegistry ──► profile actors ──► authd-oauth, authd-store
//!   CodexManager ──┘                  │
//!                                     ▼
//!       EventBus (what changed) · ProfileSnapshot (the current state)
//! ```

mod blocking;
mod broker;
mod clock;
mod codex;
mod deps;
mod events;
mod json_file;
mod login;
mod metrics;
mod profile;
mod provider;
mod quota;
mod registry;
mod share;
mod snapshot;
mod store_watch;

pub use self::{
    blocking::blocking,
    broker::{Broker, BrokerConfig, BrokerTasks, FleetSetup},
    clock::now,
    codex::{CodexHome, CodexHomeError, CodexManager, Observed, codex_homes},
    events::{ChangeEvent, EventBus},
    login::{
        CallbackServerState, CredentialKind, LINK_PATH, LinkTarget, ListenRequest, LoginError, LoginOrder,
        LoginSettings, LoginSnapshot, Logins, OwnCredentialError, SignedInProfile,
    },
    metrics::RefreshCounters,
    profile::{ActorStopped, ProfileHandle, SignOutError},
    provider::{AddedDefinitions, DefinitionError, ProviderDefinitions, ProviderDirectory, StoredDefinition},
    quota::{QuotaFailure, QuotaView, Quotas},
    registry::{
        MigrationTarget, NamePolicy, Names, ProfileRegistry, RegistryError, RegistrySnapshot, SignIn,
    },
    share::{PathError, Share, ShareError, ShareHold, ShareKey, ShareSnapshot, ShareTerms, Shares},
    snapshot::{
        Freshness, ProfileSnapshot, ProfileView, RenderContext, RenderedHeaders, RoutingFailure, mode_message,
    },
};
