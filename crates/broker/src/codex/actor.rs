//! The task that owns the list of Codex homes. It imports logins from Codex, exports them to Codex, and
//! writes fresh access tokens into managed homes. [`authd_oauth::codex`] parses Codex's file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_store::{Store, private};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    error::CodexHomeError,
    handle::{CodexManager, Command},
    homes::{CodexNotice, Homes, ManagedHome, ManagedHomes, Phase},
    location::{FILE, FoundLogin, LoginLocation, login_file},
    pending_import::PendingImport,
    sync,
};
use crate::{blocking::blocking, events::EventBus, registry::ProfileRegistry};

/// Wait before an unfinished change is retried.
const RETRY: Duration = Duration::from_secs(2);

/// The manager's handle and its task, which ends when the daemon stops.
pub(crate) fn codex_manager(
    homes: ManagedHomes,
    notices: mpsc::UnboundedReceiver<CodexNotice>,
    registry: ProfileRegistry,
    store: Store,
    events: EventBus,
    stopping: CancellationToken,
) -> (CodexManager, impl Future<Output = ()> + Send + use<>) {
    let (commands, mailbox) = mpsc::channel(16);
    let manager = CodexActor {
        homes,
        registry,
        store,
        events,
        syncing: JoinSet::new(),
        syncs: HashMap::new(),
        imports: Vec::new(),
        recovered: false,
    };
    (CodexManager(commands), manager.run(mailbox, notices, stopping))
}

pub(super) struct CodexActor {
    pub(super) homes: ManagedHomes,
    pub(super) registry: ProfileRegistry,
    pub(super) store: Store,
    events: EventBus,
    syncing: JoinSet<()>,
    syncs: HashMap<PathBuf, AbortHandle>,
    /// The imports whose source is not disarmed yet.
    pub(super) imports: Vec<PendingImport>,
    /// Whether the changes of an earlier run are finished.
    pub(super) recovered: bool,
}

impl CodexActor {
    async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Command>,
        mut notices: mpsc::UnboundedReceiver<CodexNotice>,
        stopping: CancellationToken,
    ) {
        let registry = self.registry.clone();
        let mut listed = false;
        loop {
            if listed && !self.recovered {
                self.recovered = self.recover().await;
            }
            let open = listed && self.has_open_work();
            tokio::select! {
                () = stopping.cancelled() => return,
                () = registry.listed(), if !listed => listed = true,
                // Commands are answered before that, too: the registry says why no profile is known.
                command = mailbox.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => return,
                },
                // What a notice names is in the directory by then.
                Some(notice) = notices.recv(), if listed => match notice {
                    CodexNotice::Import(name, intent) => self.resume_import(name, intent).await,
                    CodexNotice::HomesChanged => self.sync_all().await,
                },
                () = tokio::time::sleep(RETRY), if open => self.do_open_work().await,
            }
        }
    }

    /// Whether something waits for the store or the disk.
    fn has_open_work(&self) -> bool {
        !self.recovered || !self.imports.is_empty() || self.homes.is_unsettled() || private::has_leftovers()
    }

    async fn do_open_work(&mut self) {
        if let Err(error) = self.homes.write_again().await {
            warn!(%error, "the list of Codex homes cannot be written yet");
        }
        // What is left then is tried again.
        drop(blocking(|| Ok(private::clear_leftovers())).await);
        self.finish_imports().await;
    }

    /// Finishes what an earlier run began, and keeps the homes supplied. False: something is left to do.
    async fn recover(&mut self) -> bool {
        let homes = match self.homes.all().await {
            Ok(homes) => homes,
            Err(error) => {
                warn!(%error, "the list of Codex homes cannot be read yet; they are not supplied");
                return false;
            }
        };
        let mut done = true;
        for (home, managed) in homes {
            self.location(&home, managed.item).clear_temporary().await;
            done &= self.recover_home(&home, managed).await;
        }
        self.sync_all().await;
        done
    }

    async fn handle_command(&mut self, command: Command) {
        match command {
            Command::Import(path, name, done) => drop(done.send(self.import(path, name).await)),
            Command::Export(path, name, done) => drop(done.send(self.export(path, name).await)),
            Command::Install(home, name, done) => drop(done.send(self.install(home, name).await)),
            Command::Uninstall(home, done) => drop(done.send(self.uninstall(home).await)),
        }
    }

    /// Keeps every home supplied.
    async fn sync_all(&mut self) {
        let homes = self.homes.all().await.unwrap_or_default();
        for (home, managed) in homes.iter().filter(|(_, managed)| managed.phase == Phase::Installed) {
            self.sync(home, managed);
        }
    }

    /// Keeps a home supplied from now on.
    pub(super) fn sync(&mut self, home: &Path, managed: &ManagedHome) {
        self.stop_sync(home);
        let location = self.location(home, managed.item);
        let task =
            sync::keep(location, managed.profile.clone(), self.registry.clone(), self.events.subscribe());
        self.syncs.insert(home.to_path_buf(), self.syncing.spawn(task));
    }

    pub(super) fn stop_sync(&mut self, home: &Path) {
        if let Some(sync) = self.syncs.remove(home) {
            sync.abort();
        }
    }

    /// Looks at the login that a path names; without one, at the login in the user's own home.
    pub(super) async fn look(
        &self,
        named: Option<PathBuf>,
        file: impl FnOnce(PathBuf) -> PathBuf,
    ) -> Result<FoundLogin, CodexHomeError> {
        FoundLogin::look(login_file(named, file)?, || self.keychain()).await
    }

    /// Where a home keeps its login.
    pub(super) fn location(&self, home: &Path, item: bool) -> LoginLocation {
        LoginLocation::of(home, &home.join(FILE), item, || self.keychain())
    }

    pub(super) fn keychain(&self) -> Store {
        self.homes.keychain(&self.store)
    }

    /// Changes the list of homes.
    pub(super) async fn change_homes(&self, change: impl FnOnce(&mut Homes)) -> Result<(), CodexHomeError> {
        self.homes.change(change).await.map_err(CodexHomeError::Homes)
    }
}
