//! The state that all handlers share: the ledger, the recorded requests, the faults and the
//! settings.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use crate::{
    Account, Config, Faults, Usage, device::DeviceLogins, ledger::Ledger, lock, record::RequestLog, tokens,
};

/// The shared state. Lock order: the ledger first.
pub(crate) struct Shared {
    pub(crate) client_id: String,
    pub(crate) models: Vec<String>,
    pub(crate) minimal_client_versions: Vec<(String, String)>,
    pub(crate) device_login: bool,
    pub(crate) device_interval: u64,
    pub(crate) device_lifetime: Option<Duration>,
    pub(crate) account_id_required: bool,
    pub(crate) tls: bool,
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    ledger: Mutex<Ledger>,
    devices: Mutex<DeviceLogins>,
    next_account: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            client_id: config.client_id.clone(),
            models: config.models,
            minimal_client_versions: config.minimal_client_versions,
            device_login: config.device_login,
            device_interval: config.device_interval,
            device_lifetime: config.device_lifetime,
            account_id_required: config.account_id_required,
            tls: config.tls.is_some(),
            faults: Faults::new(),
            log: RequestLog::new(),
            ledger: Mutex::new(Ledger::new(config.client_id, config.accounts)),
            devices: Mutex::default(),
            next_account: Mutex::new(config.next_account),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn devices(&self) -> MutexGuard<'_, DeviceLogins> {
        lock(&self.devices)
    }

    pub(crate) fn next_account(&self) -> Option<String> {
        lock(&self.next_account).clone()
    }

    pub(crate) fn set_next_account(&self, name: Option<String>) {
        *lock(&self.next_account) = name;
    }

    pub(crate) fn expire_access_tokens(&self) {
        self.ledger().expire_access_tokens(SystemTime::now());
    }

    /// False if the account is unknown.
    pub(crate) fn set_usage(&self, account: &str, usage: Usage) -> bool {
        let usage = usage.with_resets(tokens::unix(SystemTime::now()));
        let mut ledger = self.ledger();
        let Some(account) = ledger.account(account) else { return false };
        ledger.put_account(Account { usage, ..Account::clone(&account) });
        true
    }

    /// Approves a device login with an account, or denies it with none.
    pub(crate) fn decide_device(&self, user_code: &str, account: Option<&str>) -> bool {
        let mut ledger = self.ledger();
        self.devices().decide(&mut ledger, user_code, account, SystemTime::now())
    }
}
