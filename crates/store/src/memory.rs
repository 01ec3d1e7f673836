//! A store that forgets everything with the process. It can be told to misbehave, so that what depends
//! on a store can be tried against a locked, a slow and a lying one.

use std::{collections::BTreeMap, fs, path::PathBuf, thread, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
};

/// How often a hanging store looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

/// Records in memory.
#[derive(Default)]
pub(crate) struct Memory {
    records: BTreeMap<Key, SecretString>,
    control: Option<PathBuf>,
}

impl Memory {
    /// An empty one. The control file's text, read at every call, is one of `locked`, `unavailable`,
    /// `hang`, `lie`, `fail-save`, `fail-delete` and `panic`; anything else means that all is well.
    pub(crate) fn new(control: Option<PathBuf>) -> Self {
        Self { records: BTreeMap::new(), control }
    }

    fn mood(&self) -> String {
        let text = self.control.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.unwrap_or_default().trim().to_owned()
    }

    fn ready(&self) -> Result<(), StoreError> {
        while self.mood() == "hang" {
            thread::sleep(LOOK);
        }
        match self.mood().as_str() {
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
        let lies = self.mood() == "lie";
        Ok(self.records.get(key).map(|record| if lies { "something else".into() } else { record.clone() }))
    }

    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        self.ready()?;
        if self.mood() == "fail-save" {
            return Err(StoreError::Unavailable {
                detail: "the memory store was told to fail at saving".to_owned(),
            });
        }
        self.records.insert(key.clone(), record.expose_secret().into());
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        self.ready()?;
        if self.mood() == "fail-delete" {
            return Err(StoreError::Unavailable {
                detail: "the memory store was told to fail at deleting".to_owned(),
            });
        }
        self.records.remove(key);
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Key>, StoreError> {
        self.ready()?;
        Ok(self.records.keys().cloned().collect())
    }

    fn rekey(&mut self) -> Result<(), StoreError> {
        Err(StoreError::Refused { detail: "memory has no key".to_owned() })
    }

    fn described(&self) -> String {
        "memory: nothing survives authd".to_owned()
    }
}
