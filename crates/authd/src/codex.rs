//! Logins shared with the Codex CLI: taken over from it, given back to it, and homes of it that are kept
//! supplied with fresh access tokens. One task owns the list of such homes; what Codex's file means
//! stands in [`authd_oauth::codex`].

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

pub(crate) use self::handle::{Codex, CodexFailure};
use self::{
    handle::Command,
    homes::{CodexNotice, ManagedHomes, Phase},
    import::PendingImport,
    location::{FILE, Found, LoginLocation},
};
use crate::{blocking::blocking, events::Events, keeper::Keeper};

mod export;
mod handle;
pub(crate) mod homes;
mod import;
mod install;
pub(crate) mod location;
mod sync;

/// How long to wait before what has begun is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The manager's handle and its task's future, which ends when the daemon stops.
pub(crate) fn codex(
    homes: ManagedHomes,
    notices: mpsc::UnboundedReceiver<CodexNotice>,
    keeper: Keeper,
    store: Store,
    events: Events,
    stopping: CancellationToken,
) -> (Codex, impl Future<Output = ()> + Send + use<>) {
    let (commands, mailbox) = mpsc::channel(16);
    let manager = CodexManager {
        homes,
        keeper,
        store,
        events,
        syncing: JoinSet::new(),
        syncs: HashMap::new(),
        imports: Vec::new(),
        recovered: false,
    };
    (Codex(commands), manager.run(mailbox, notices, stopping))
}

struct CodexManager {
    homes: ManagedHomes,
    keeper: Keeper,
    store: Store,
    events: Events,
    syncing: JoinSet<()>,
    syncs: HashMap<PathBuf, AbortHandle>,
    /// The imports whose other copy is not disarmed yet.
    imports: Vec<PendingImport>,
    /// What an earlier run began is finished.
    recovered: bool,
}

impl CodexManager {
    async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Command>,
        mut notices: mpsc::UnboundedReceiver<CodexNotice>,
        stopping: CancellationToken,
    ) {
        let keeper = self.keeper.clone();
        let mut listed = false;
        loop {
            if listed && !self.recovered {
                self.recovered = self.recover().await;
            }
            let open = listed && self.has_open_work();
            tokio::select! {
                () = stopping.cancelled() => return,
                () = keeper.listed(), if !listed => listed = true,
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
                () = tokio::time::sleep(RETRY), if open => self.work_off().await,
            }
        }
    }

    /// Whether something waits for the store or the disk.
    fn has_open_work(&self) -> bool {
        !self.recovered || !self.imports.is_empty() || self.homes.is_unsettled() || private::has_leftovers()
    }

    async fn work_off(&mut self) {
        if let Err(error) = self.homes.settle().await {
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
    fn sync(&mut self, home: &Path, managed: &homes::ManagedHome) {
        self.stop_sync(home);
        let location = self.location(home, managed.item);
        let task = sync::keep(location, managed.profile.clone(), self.keeper.clone(), self.events.listen());
        self.syncs.insert(home.to_path_buf(), self.syncing.spawn(task));
    }

    fn stop_sync(&mut self, home: &Path) {
        if let Some(sync) = self.syncs.remove(home) {
            sync.abort();
        }
    }

    /// Looks at the login that a path names; without one, at the login in the user's own home.
    async fn look(
        &self,
        named: Option<PathBuf>,
        file: impl FnOnce(PathBuf) -> PathBuf,
    ) -> Result<Found, CodexFailure> {
        Found::look(file_of(named, file)?, || self.keychain()).await
    }

    /// Where a home keeps its login.
    fn location(&self, home: &Path, item: bool) -> LoginLocation {
        LoginLocation::of(home, &home.join(FILE), item, || self.keychain())
    }

    fn keychain(&self) -> Store {
        self.homes.keychain(&self.store)
    }

    /// Changes the list of homes.
    async fn change_homes(&self, change: impl FnOnce(&mut homes::Homes)) -> Result<(), CodexFailure> {
        self.homes.change(change).await.map_err(CodexFailure::Homes)
    }
}

/// The path that is named, made a file's by `file`; without one, the one in this user's own home.
fn file_of(named: Option<PathBuf>, file: impl FnOnce(PathBuf) -> PathBuf) -> Result<PathBuf, CodexFailure> {
    match named {
        Some(path) if path.is_relative() => Err(CodexFailure::Relative(path)),
        Some(path) => Ok(file(path)),
        None => {
            let home =
                std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(CodexFailure::NoHome)?;
            Ok(PathBuf::from(home).join(".codex").join(FILE))
        }
    }
}
