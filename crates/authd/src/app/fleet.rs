//! Connects the daemon to the database of its fleet.

use authd_broker::FleetSetup;
use authd_fleet::Fleet;
use authd_store::StoreError;

use crate::config::Config;

/// The handle of the fleet and its task. `None` if no database is configured. Makes no connection.
/// The error names the setting that cannot be used.
pub(super) fn set_up(config: &Config) -> Result<Option<FleetSetup>, String> {
    let Some(fleet) = config.fleet()? else { return Ok(None) };
    let is_preferred = config.is_fleet_preferred();
    let started = Fleet::start(fleet).map(|(fleet, task)| FleetSetup { fleet, task, is_preferred });
    started.map(Some).map_err(|error| match error {
        StoreError::Refused { detail } => detail,
        error => error.to_string(),
    })
}
