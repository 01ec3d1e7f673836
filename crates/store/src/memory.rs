//! A store that ends with the process. Tests inject faults into it through a control file, to see what
//! depends on a store with a locked, a slow and a lying one.

use std::{collections::BTreeMap, fs, path::PathBuf, thread, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    Key,
    backend::{Backend, Entries, Kind, RekeyReport, StoreError},
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
    /// An empty one. The control file, read at every call, names the fault: `locked`, `unavailable`, `hang`,
    /// `lie`, `fail-save`, `fail-delete` or `panic`; anything else means none.
    pub(crate) fn new(control: Option<PathBuf>) -> Self {
        Self { records: BTreeMap::new(), control }
    }

    fn injected_fault(&self) -> String {
        let text = self.control.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.unwrap_or_default().trim().to_owned()
    }

    fn ready(&self) -> Result<(), StoreError> {
        while self.injected_fault() == "hang" {
            thread::sleep(POLL);
        }
        match self.injected_fault().as_str() {
            "locked" => {
                Err(StoreError::Locked { detail: "the memory store was told to be locked".to_owned() })
            }
            "unavailable" => Err(StoreError::Unavailable {
                detail: "the memory store was told to be unavailable".to_owned(),
            }),
            "panic" => panic!("the memory store was told to panic"),
            _ => Ok(()),
        }
    }
}

impl Backend for Memory {
    fn kind(&self) -> Kind {
        Kind::Memory
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        self.ready()?;
        let lies = self.injected_fault() == "lie";
        Ok(self.records.get(key).map(|record| if lies { "something else".into() } else { record.clone() }))
    }

    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        self.ready()?;
        if self.injected_fault() == "fail-save" {
            return Err(StoreError::Unavailable {
                detail: "the memory store was told to fail at saving".to_owned(),
            });
        }
        self.records.insert(key.clone(), record.expose_secret().into());
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        self.ready()?;
        if self.injected_fault() == "fail-delete" {
            return Err(StoreError::Unavailable {
                detail: "the memory store was told to fail at deleting".to_owned(),
            });
        }
        self.records.remove(key);
        Ok(())
    }

    fn list(&mut self) -> Result<Entries, StoreError> {
        self.ready()?;
        Ok(Entries { keys: self.records.keys().cloned().collect(), unknown: Vec::new() })
    }

    fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        Err(StoreError::Refused { detail: "memory has no key".to_owned() })
    }

    fn description(&self) -> String {
        "memory: nothing survives authd".to_owned()
    }
}
