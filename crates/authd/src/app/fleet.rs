//! Connects the daemon to the database of its fleet.

use authd_fleet::{Fleet, Task};
use authd_store::StoreError;

use crate::config::Config;

/// The handle of the fleet, its task, and whether a state directory without profiles uses it.
/// `None` if no database is configured. Makes no connection. The error names the setting that
/// cannot be used.
pub(super) fn set_up(config: &Config) -> Result<Option<(Fleet, Task, bool)>, String> {
    let Some(fleet) = config.fleet()? else { return Ok(None) };
    let started = Fleet::start(fleet).map(|(fleet, task)| Some((fleet, task, config.is_fleet_preferred())));
    started.map_err(|error| match error {
        StoreError::Refused { detail } => detail,
        error => error.to_string(),
    })
}
