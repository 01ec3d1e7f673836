//! The store as its worker thread runs it, one blocking call at a time: which backend holds the records,
//! and every operation on them. No await points: a caller that gives up interrupts nothing.

use secrecy::SecretString;
use tokio::sync::watch;
use tracing::info;

use crate::{
    Config, Key, Kind, LegacyIndex, RekeyReport, StateDir, StoreError,
    backend::{Backend, Entries},
    bounded::Bounded,
    file::Files,
    keychain::Keychain,
    legacy_index,
    memory::Memory,
    placement::PlacementFile,
    private,
};

mod migration;

pub use self::migration::MigrationReport;

/// What the handle knows of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The kind in use, once that is settled.
    pub(crate) kind: Option<Kind>,
    /// The kind that `store.json` names.
    pub(crate) remembered: Option<Kind>,
    /// What an earlier authd left.
    pub(crate) legacy: Option<LegacyIndex>,
    /// Where the records are, for people.
    pub(crate) description: String,
    /// Whether [`Engine::recover`] has something to do.
    pub(crate) unfinished: bool,
}

/// The store.
pub(crate) struct Engine {
    config: Config,
    state_dir: StateDir,
    /// Items of another program: always the keychain, and `store.json` does not matter.
    foreign: bool,
    placement: Option<PlacementFile>,
    legacy: Option<LegacyIndex>,
    backend: Option<Box<dyn Backend>>,
    /// A backend that is not in use: the target or the source of a migration, or a keychain that did not
    /// answer. It is kept because a keychain that hangs occupies a thread.
    second: Option<Box<dyn Backend>>,
    /// Why files are used instead of the keychain.
    fallback: Option<StoreError>,
    /// A probe failed, whose record may be left.
    probe_left: bool,
    facts: watch::Sender<Facts>,
}

impl Engine {
    /// An engine that has read nothing yet.
    pub(crate) fn new(config: Config, state_dir: StateDir, foreign: bool) -> Self {
        Self {
            config,
            state_dir,
            foreign,
            placement: None,
            legacy: None,
            backend: None,
            second: None,
            fallback: None,
            probe_left: false,
            facts: watch::Sender::default(),
        }
    }

    /// Follows what the handle knows.
    pub(crate) fn facts(&self) -> watch::Receiver<Facts> {
        self.facts.subscribe()
    }

    /// Tells the handle what has changed.
    pub(crate) fn publish(&self) {
        let placement = self.placement.as_ref().map(PlacementFile::get).unwrap_or_default();
        let backend = self.backend.as_ref();
        let mut description = backend.map(|backend| backend.description()).unwrap_or_default();
        if let Some(error) = &self.fallback {
            description += &format!("; no keychain answers ({error})");
        }
        let facts = Facts {
            kind: backend.map(|backend| backend.kind()),
            remembered: placement.kind,
            legacy: self.legacy.clone(),
            description,
            unfinished: placement.other.is_some()
                || self.probe_left
                || private::has_leftovers()
                || backend.is_some_and(|backend| backend.is_unfinished()),
        };
        self.facts.send_if_modified(|known| {
            let changed = *known != facts;
            *known = facts;
            changed
        });
    }

    /// Settles which store is in use, and tries it.
    pub(crate) fn probe(&mut self) -> Result<Kind, StoreError> {
        let backend = self.backend()?;
        let (kind, probed) = (backend.kind(), backend.probe());
        self.probe_left = probed.is_err();
        probed.map(|()| kind)
    }

    pub(crate) fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        self.backend()?.load(key)
    }

    pub(crate) fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        let kind = self.backend()?.kind();
        if kind != Kind::Memory && !self.foreign {
            self.placement()?.remember(kind)?;
        }
        self.backend()?.save_verified(key, label, record)
    }

    pub(crate) fn update(
        &mut self,
        key: &Key,
        label: &str,
        update: impl FnOnce(Option<SecretString>) -> SecretString,
    ) -> Result<(), StoreError> {
        let current = match self.load(key) {
            Err(StoreError::Damaged { .. }) => None,
            current => current?,
        };
        self.save(key, label, &update(current))
    }

    pub(crate) fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        self.backend()?.delete(key)
    }

    pub(crate) fn list(&mut self) -> Result<Entries, StoreError> {
        self.backend()?.list()
    }

    pub(crate) fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        self.backend()?.rekey()
    }

    pub(crate) fn remove_legacy_index(&mut self) -> Result<(), StoreError> {
        legacy_index::remove(self.state_dir.path()).map_err(StoreError::unavailable)?;
        self.legacy = None;
        Ok(())
    }

    fn placement(&mut self) -> Result<&mut PlacementFile, StoreError> {
        let placement = if let Some(placement) = self.placement.take() {
            placement
        } else {
            let (placement, legacy) = PlacementFile::read(self.state_dir.clone())?;
            self.legacy = legacy;
            placement
        };
        Ok(self.placement.insert(placement))
    }

    /// The backend in use. The remembered kind wins over the preferred one; without either, it is the
    /// keychain if that works, else files.
    fn backend(&mut self) -> Result<&mut dyn Backend, StoreError> {
        let backend = match self.backend.take() {
            Some(backend) => backend,
            None => self.choose()?,
        };
        Ok(&mut **self.backend.insert(backend))
    }

    fn choose(&mut self) -> Result<Box<dyn Backend>, StoreError> {
        let remembered = if self.foreign { Some(Kind::Keychain) } else { self.placement()?.get().kind };
        if let Some(kind) = remembered.or(self.config.kind.kind()) {
            return Ok(self.start(kind));
        }
        let mut keychain = self.start(Kind::Keychain);
        let Err(error) = keychain.probe() else { return Ok(keychain) };
        info!(%error, "no keychain answers; age-encrypted files are used");
        self.second = Some(keychain);
        self.fallback = Some(error);
        Ok(self.start(Kind::File))
    }

    fn start(&self, kind: Kind) -> Box<dyn Backend> {
        let config = &self.config;
        match kind {
            Kind::Keychain => Box::new(Bounded::new(Keychain::new(config.service.clone()), config.deadline)),
            Kind::File => Box::new(Files::new(self.state_dir.clone(), config.key.clone())),
            Kind::Memory => Box::new(Memory::new(config.memory_control.clone())),
        }
    }
}
