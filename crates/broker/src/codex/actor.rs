//! The task that owns the list of Codex homes. It imports logins from Codex, exports them to Codex,
//! and writes fresh access tokens into managed homes. [`authd_oauth::codex`] parses Codex's file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use authd_api::ProfileName;
use authd_store::{Store, private};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tracing::warn;

use super::{
    error::CodexHomeError,
    handle::{CodexManager, Command},
    homes::{CodexNotice, Homes, ManagedHome, ManagedHomes, Phase},
    location::{FILE, FoundLogin, LoginLocation, login_file},
    pending_import::PendingImport,
    status::Observations,
    sync::Sync,
};
use crate::{blocking::blocking, deps::BrokerDeps, profile::ProfileHandle, registry::ProfileRegistry};

/// Wait before an unfinished change is retried.
const RETRY: Duration = Duration::from_secs(2);

/// The manager's handle and its task, which ends when the daemon stops.
pub(crate) fn codex_manager(
    deps: Arc<BrokerDeps>,
    registry: ProfileRegistry,
    homes: ManagedHomes,
    notices: mpsc::UnboundedReceiver<CodexNotice>,
) -> (CodexManager, impl Future<Output = ()> + Send + use<>) {
    let (commands, mailbox) = mpsc::channel(16);
    let observations = Observations::new(deps.events.clone());
    let handle = CodexManager { commands, homes: homes.clone(), observations: observations.clone() };
    let manager = CodexActor {
        observations,
        deps,
        registry,
        homes,
        sync_tasks: JoinSet::new(),
        syncs: HashMap::new(),
        imports: Vec::new(),
        recovered: false,
    };
    (handle, manager.run(mailbox, notices))
}

pub(super) struct CodexActor {
    deps: Arc<BrokerDeps>,
    pub(super) registry: ProfileRegistry,
    pub(super) homes: ManagedHomes,
    observations: Observations,
    sync_tasks: JoinSet<()>,
    syncs: HashMap<PathBuf, AbortHandle>,
    /// The imports whose source still holds its refresh token.
    pub(super) imports: Vec<PendingImport>,
    /// Whether every change that an earlier run started is finished.
    pub(super) recovered: bool,
}

impl CodexActor {
    async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Command>,
        mut notices: mpsc::UnboundedReceiver<CodexNotice>,
    ) {
        let (registry, stopping) = (self.registry.clone(), self.deps.stopping.clone());
        let mut listed = false;
        let mut retry_at = Instant::now() + RETRY;
        loop {
            if listed && !self.recovered {
                self.recovered = self.recover().await;
            }
            let open = listed && self.has_open_work();
            tokio::select! {
                () = stopping.cancelled() => return,
                () = registry.listed(), if !listed => listed = true,
                // Commands run before that too: they fail with the registry's reason.
                command = mailbox.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => return,
                },
                // A notice names a profile, so it waits until the profiles are known.
                Some(notice) = notices.recv(), if listed => match notice {
                    CodexNotice::Import(name, intent) => self.resume_import(name, intent).await,
                    CodexNotice::HomesChanged => self.sync_all().await,
                },
                () = tokio::time::sleep_until(retry_at), if open => {
                    self.do_open_work().await;
                    retry_at = Instant::now() + RETRY;
                }
            }
            // While work is open, other events do not postpone the retry.
            if !open {
                retry_at = Instant::now() + RETRY;
            }
        }
    }

    async fn handle_command(&mut self, command: Command) {
        match command {
            Command::Import(path, name, done) => drop(done.send(self.import(path, name).await)),
            Command::Export(path, name, done) => drop(done.send(self.export(path, name).await)),
            Command::Install(home, name, done) => drop(done.send(self.install(home, name).await)),
            Command::Uninstall(home, done) => drop(done.send(self.uninstall(home).await)),
        }
    }

    /// Whether work waits for the store or the disk.
    fn has_open_work(&self) -> bool {
        !self.recovered || !self.imports.is_empty() || self.homes.is_unsaved() || private::has_leftovers()
    }

    async fn do_open_work(&mut self) {
        if let Err(error) = self.homes.retry_write().await {
            warn!(%error, "list of Codex homes not written; retrying");
        }
        // Files that cannot be deleted now are retried.
        drop(blocking(|| Ok(private::clear_leftovers())).await);
        self.finish_imports().await;
    }

    /// Finishes the changes of an earlier run and starts the syncs. Returns whether everything is
    /// finished.
    async fn recover(&mut self) -> bool {
        let homes = match self.all_homes().await {
            Ok(homes) => homes,
            Err(error) => {
                warn!(?error, "list of Codex homes not read; no home is synced; retrying");
                return false;
            }
        };
        let mut finished = true;
        for (home, managed) in homes {
            self.location(&home, managed.item).clear_temporary().await;
            finished &= self.recover_home(&home, managed).await;
        }
        self.sync_all().await;
        finished
    }

    async fn sync_all(&mut self) {
        let homes = self.all_homes().await.unwrap_or_default();
        for (home, managed) in homes.iter().filter(|(_, managed)| managed.phase == Phase::Installed) {
            self.start_sync(home, managed);
        }
    }

    /// Writes the profile's access tokens into a home from now on.
    pub(super) fn start_sync(&mut self, home: &Path, managed: &ManagedHome) {
        self.stop_sync(home);
        let location = self.location(home, managed.item);
        let sync = Sync {
            home: home.to_path_buf(),
            location,
            name: managed.profile.clone(),
            registry: self.registry.clone(),
            homes: self.homes.clone(),
            observations: self.observations.clone(),
        };
        let task = sync.run(self.deps.events.subscribe());
        self.syncs.insert(home.to_path_buf(), self.sync_tasks.spawn(task));
    }

    pub(super) fn stop_sync(&mut self, home: &Path) {
        if let Some(sync) = self.syncs.remove(home) {
            sync.abort();
        }
    }

    /// Reads the login that a path names; without a path, the login of the user's own home.
    /// `complete` makes a file of the path.
    pub(super) async fn read_login(
        &self,
        path: Option<PathBuf>,
        complete: impl FnOnce(PathBuf) -> PathBuf,
    ) -> Result<FoundLogin, CodexHomeError> {
        FoundLogin::read(login_file(path, complete).await?, || self.homes.keychain(self.store())).await
    }

    /// Where a home keeps its login.
    pub(super) fn location(&self, home: &Path, item: bool) -> LoginLocation {
        self.location_of(home, &home.join(FILE), item)
    }

    pub(super) fn location_of(&self, home: &Path, path: &Path, item: bool) -> LoginLocation {
        LoginLocation::new(home, path, item, || self.homes.keychain(self.store()))
    }

    pub(super) fn store(&self) -> &Store {
        &self.deps.store
    }

    pub(super) fn profile(&self, name: &ProfileName) -> Option<ProfileHandle> {
        self.registry.snapshot().profiles.get(name).cloned()
    }

    pub(super) async fn all_homes(&self) -> Result<Homes, CodexHomeError> {
        self.homes.all().await.map_err(CodexHomeError::Homes)
    }

    pub(super) async fn managed_home(&self, home: &Path) -> Result<Option<ManagedHome>, CodexHomeError> {
        Ok(self.all_homes().await?.remove(home))
    }

    pub(super) async fn save_home(&self, home: &Path, managed: ManagedHome) -> Result<(), CodexHomeError> {
        let change = |homes: &mut Homes| drop(homes.insert(home.to_path_buf(), managed));
        self.homes.change(change).await.map_err(CodexHomeError::Homes)
    }

    /// Returns a home to an earlier entry. authd may have written to it meanwhile.
    pub(super) async fn revert_home(&self, home: &Path, entry: ManagedHome) -> Result<(), CodexHomeError> {
        let revert = |current: &mut ManagedHome| {
            let written = std::mem::take(&mut current.written);
            *current = ManagedHome { written, ..entry };
        };
        self.homes.change_home(home, revert).await.map_err(CodexHomeError::Homes)
    }

    /// Sets the phase of a home, and keeps everything else.
    pub(super) async fn save_phase(&self, home: &Path, phase: Phase) -> Result<(), CodexHomeError> {
        self.homes.change_home(home, |managed| managed.phase = phase).await.map_err(CodexHomeError::Homes)
    }

    pub(super) async fn remove_home(&self, home: &Path) -> Result<(), CodexHomeError> {
        self.homes.change(|homes| drop(homes.remove(home))).await.map_err(CodexHomeError::Homes)?;
        self.observations.remove(home);
        Ok(())
    }
}
