//! The store as its worker thread runs it, one blocking call at a time. The engine chooses the
//! backend that holds the records and runs every operation on it. It has no await points, so a
//! caller that drops its future interrupts nothing.

use secrecy::SecretString;
use tokio::sync::watch;
use tracing::info;

use crate::{
    Config, Key, Kind, LegacyIndex, ProfilePlace, StateDir, StoreError, StorePreference, backend::Backend,
    deadline::WithDeadline, file::Files, keychain::Keychain, legacy_index, memory::Memory,
    placement::PlacementFile, private,
};

mod migration;

/// Why files are in use although the configuration names the keychain.
const FILES_HOLD_LOGINS: &str = "[store] of authd.toml names the keychain, but the logins are in the files";

pub use self::migration::MigrationReport;

/// The state of the engine, published to the handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineSnapshot {
    /// The kind in use, once it has been chosen.
    pub(crate) kind: Option<Kind>,
    /// The kind that `store.json` names.
    pub(crate) remembered: Option<Kind>,
    /// The index of an earlier authd.
    pub(crate) legacy: Option<LegacyIndex>,
    /// Where the records are, as shown to the user.
    pub(crate) description: String,
    /// Why files are in use instead of the keychain.
    pub(crate) fallback: Option<String>,
    /// Whether [`Engine::recover`] has something to do.
    pub(crate) unfinished: bool,
}

/// The store.
pub(crate) struct Engine {
    config: Config,
    state_dir: StateDir,
    /// The items of another program: always in the keychain, whatever `store.json` says.
    foreign: bool,
    placement: Option<PlacementFile>,
    legacy: Option<LegacyIndex>,
    backend: Option<Box<dyn Backend>>,
    /// A backend that is not in use: the source or target of a migration, or a keychain that failed
    /// its probe. A hanging keychain occupies a thread, so the engine reuses the backend.
    other_backend: Option<Box<dyn Backend>>,
    /// Why the engine uses files instead of the keychain.
    fallback: Option<String>,
    /// A failed probe may have left its record.
    has_probe_record: bool,
    snapshot: watch::Sender<EngineSnapshot>,
}

impl Engine {
    /// Creates an engine. It reads nothing before the first call.
    pub(crate) fn new(config: Config, state_dir: StateDir, foreign: bool) -> Self {
        Self {
            config,
            state_dir,
            foreign,
            placement: None,
            legacy: None,
            backend: None,
            other_backend: None,
            fallback: None,
            has_probe_record: false,
            snapshot: watch::Sender::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> watch::Receiver<EngineSnapshot> {
        self.snapshot.subscribe()
    }

    /// Publishes the snapshot if it has changed.
    pub(crate) fn publish(&self) {
        let placement = self.placement.as_ref().map(PlacementFile::get).cloned().unwrap_or_default();
        let backend = self.backend.as_ref();
        let new = EngineSnapshot {
            kind: backend.map(|backend| backend.kind()),
            remembered: placement.kind,
            legacy: self.legacy.clone(),
            description: backend.map(|backend| backend.description()).unwrap_or_default(),
            fallback: self.fallback.clone(),
            unfinished: placement.other.is_some()
                || self.has_probe_record
                || private::has_leftovers()
                || backend.is_some_and(|backend| backend.is_unfinished()),
        };
        self.snapshot.send_if_modified(|current| {
            let changed = *current != new;
            *current = new;
            changed
        });
    }

    /// Chooses the backend if necessary, and tests it.
    pub(crate) fn probe(&mut self) -> Result<Kind, StoreError> {
        let backend = self.backend()?;
        let (kind, result) = (backend.kind(), backend.probe());
        self.has_probe_record = result.is_err();
        result.map(|()| kind)
    }

    pub(crate) fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        let kind = self.backend()?.kind();
        if kind != Kind::Memory && !self.foreign {
            let fallback = self.fallback.clone().filter(|_| self.config.kind == StorePreference::Auto);
            self.placement()?.remember(kind, fallback.as_deref())?;
        }
        self.backend()?.save_verified(key, label, record)
    }

    pub(crate) fn update(
        &mut self,
        key: &Key,
        label: &str,
        update: impl FnOnce(Option<SecretString>) -> SecretString,
    ) -> Result<(), StoreError> {
        let current = match self.backend()?.load(key) {
            Err(StoreError::Damaged { .. }) => None,
            current => current?,
        };
        self.save(key, label, &update(current))
    }

    pub(crate) fn remove_legacy_index(&mut self) -> Result<(), StoreError> {
        legacy_index::remove(self.state_dir.path())?;
        self.legacy = None;
        Ok(())
    }

    pub(crate) fn profile_place(&mut self) -> Result<ProfilePlace, StoreError> {
        Ok(self.placement()?.get().profiles)
    }

    pub(crate) fn set_profile_place(&mut self, place: ProfilePlace) -> Result<(), StoreError> {
        self.placement()?.set_profiles(place)
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

    /// The backend in use. The remembered kind has precedence over the preferred kind. Without
    /// both, it is the keychain if that works, otherwise files.
    pub(crate) fn backend(&mut self) -> Result<&mut dyn Backend, StoreError> {
        let backend = match self.backend.take() {
            Some(backend) => backend,
            None => self.choose()?,
        };
        Ok(&mut **self.backend.insert(backend))
    }

    fn choose(&mut self) -> Result<Box<dyn Backend>, StoreError> {
        let preference = self.config.kind;
        let (remembered, reason) = if self.foreign {
            (Some(Kind::Keychain), None)
        } else {
            let placement = self.placement()?.get();
            (placement.kind, placement.fallback.clone())
        };
        if let Some(kind) = remembered.or(preference.kind()) {
            self.fallback = match (kind, preference) {
                (Kind::File, StorePreference::Auto) => reason,
                (Kind::File, StorePreference::Keychain) => Some(FILES_HOLD_LOGINS.to_owned()),
                _ => None,
            };
            return Ok(self.open(kind));
        }
        let mut keychain = self.open(Kind::Keychain);
        let Err(error) = keychain.probe() else { return Ok(keychain) };
        info!(%error, "keychain not usable; using age-encrypted files");
        self.other_backend = Some(keychain);
        self.fallback = Some(error.to_string());
        Ok(self.open(Kind::File))
    }

    fn open(&self, kind: Kind) -> Box<dyn Backend> {
        let config = &self.config;
        match kind {
            Kind::Keychain => {
                Box::new(WithDeadline::new(Keychain::new(config.service.clone()), config.deadline))
            }
            Kind::File => Box::new(Files::new(self.state_dir.clone(), config.key.clone())),
            Kind::Memory => Box::new(Memory::new(config.memory_control.clone())),
        }
    }
}
