//! The configuration. Every key has a default, an unknown key is an error, and every value is
//! validated before anything else happens. The reference is config/authd.toml.

mod environment;
mod fleet;
mod load;
mod problem;
mod providers;
mod raw;
mod settings;
mod spans;
#[cfg(test)]
mod tests;
mod validate;

pub use self::{
    load::{ConfigError, Source},
    problem::ConfigProblem,
    settings::{Config, LogConfig},
};
pub(crate) use self::{
    providers::templates,
    settings::{AuditConfig, CallbackConfig, HookConfig, LogFormat},
};
