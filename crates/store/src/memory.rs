//! A store in memory. Tests inject faults through a control file, to see how callers behave when
//! the store is locked, slow or faulty.

use std::{collections::BTreeMap, fs, path::PathBuf, thread, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    Key, Kind, StoreError,
    backend::{Backend, RekeyReport},
    listing::Entries,
};

/// How often a hanging store reads its control file.
const POLL: Duration = Duration::from_millis(20);

/// Records in memory.
#[derive(Default)]
pub(crate) struct Memory {
    records: BTreeMap<Key, SecretString>,
    control: Option<PathBuf>,
}

impl Memory {
    /// An empty store. Every call reads the fault from the control file: `locked`, `unavailable`,
    /// `hang`, `lie`, `fail-save`, `fail-delete` or `panic`. Any other text means no fault.
    pub(crate) fn new(control: Option<PathBuf>) -> Self {
        Self { records: BTreeMap::new(), control }
    }

    fn injected_fault(&self) -> String {
        let text = self.control.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.unwrap_or_default().trim().to_owned()
    }

    /// Fails if a fault of every call, or the given fault of one call, is injected.
    fn check_fault(&self, of_call: Option<&str>) -> Result<(), StoreError> {
        while self.injected_fault() == "hang" {
            thread::sleep(POLL);
        }
        let fault = self.injected_fault();
        let detail = format!("injected fault: {fault}");
        match fault.as_str() {
            "locked" => Err(StoreError::Locked { detail }),
            "panic" => panic!("{detail}"),
            text if text == "unavailable" || Some(text) == of_call => Err(StoreError::Unavailable { detail }),
            _ => Ok(()),
        }
    }
}

impl Backend for Memory {
    fn kind(&self) -> Kind {
        Kind::Memory
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        self.check_fault(None)?;
        let lies = self.injected_fault() == "lie";
        Ok(self.records.get(key).map(|record| if lies { "something else".into() } else { record.clone() }))
    }

    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        self.check_fault(Some("fail-save"))?;
        self.records.insert(key.clone(), record.expose_secret().into());
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        self.check_fault(Some("fail-delete"))?;
        self.records.remove(key);
        Ok(())
    }

    fn list(&mut self) -> Result<Entries, StoreError> {
        self.check_fault(None)?;
        Ok(Entries { keys: self.records.keys().cloned().collect(), unknown: Vec::new() })
    }

    fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        Err(StoreError::refused("the memory store has no key"))
    }

    fn description(&self) -> String {
        "memory: nothing survives authd".to_owned()
    }
}
