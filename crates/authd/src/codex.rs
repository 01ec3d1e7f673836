//! Logins shared with the Codex CLI: taken over from it, given back to it, and homes of it that are kept
//! supplied with fresh access tokens. One task owns the list of such homes; what Codex's file means
//! stands in [`authd_oauth::codex`].

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use authd_api::{LoginFile, LoginFileOutcome, ProfileName};
use authd_oauth::{CodexLogin, codex};
use authd_store::{Store, private};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(crate) use self::handle::{Codex, CodexFailure};
use self::{
    feed::Over,
    handle::Command,
    place::{FILE, Found, Place, SERVICE, before},
};
use crate::{
    clock,
    events::Events,
    facts::{Facts, View},
    keeper::{Keeper, KeeperError, SignIn},
    profile::{Give, Undo},
};

mod feed;
mod handle;
mod place;

/// Why a login is not given away. It is still whole in whatever else it is needed for.
const NO_ID_TOKEN: &str =
    "the store has lost its id token, which Codex needs; `authctl refresh` brings a new one";

/// The homes that are supplied, as the state directory remembers them. No secret is here.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Homes {
    version: u32,
    homes: BTreeMap<PathBuf, Supplied>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Supplied {
    profile: ProfileName,
    /// What was there before is sealed in the store.
    restorable: bool,
    /// What was there before is the profile itself.
    taken: bool,
    /// The home keeps its login in the keychain.
    #[serde(default)]
    item: bool,
}

/// The owner's handle and its task's future, which ends when the daemon stops.
pub(crate) fn codex(
    state_dir: &Path,
    keeper: Keeper,
    store: Store,
    events: Events,
    stopping: CancellationToken,
) -> (Codex, impl Future<Output = ()> + Send + use<>) {
    let (commands, mailbox) = mpsc::channel(16);
    let path = state_dir.join("codex.json");
    let homes = remembered(&path);
    let owner = Owner {
        path,
        homes,
        keeper,
        store,
        events,
        keychain: OnceLock::new(),
        feeding: JoinSet::new(),
        feeders: HashMap::new(),
    };
    (Codex(commands), owner.run(mailbox, stopping))
}

fn remembered(path: &Path) -> Homes {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Homes::default(),
        Err(error) => {
            error!(%error, "the list of Codex homes cannot be read; they are not supplied");
            return Homes::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        error!(%error, "the list of Codex homes is damaged; install them again");
        Homes::default()
    })
}

struct Owner {
    path: PathBuf,
    homes: Homes,
    keeper: Keeper,
    store: Store,
    events: Events,
    /// Codex's items in the keychain; connected to when a home may have one.
    keychain: OnceLock<Store>,
    feeding: JoinSet<()>,
    feeders: HashMap<PathBuf, AbortHandle>,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>, stopping: CancellationToken) {
        for home in self.homes.homes.keys().cloned().collect::<Vec<_>>() {
            self.feed(&home);
        }
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                command = mailbox.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Import(path, name, done) => drop(done.send(self.import(path, name).await)),
            Command::Export(path, name, done) => drop(done.send(self.export(path, name).await)),
            Command::Install(home, name, done) => drop(done.send(self.install(home, name).await)),
            Command::Uninstall(home, done) => drop(done.send(self.uninstall(home).await)),
            Command::Renamed(from, to) => {
                let theirs = |supplied: &&mut Supplied| supplied.profile == from;
                self.homes
                    .homes
                    .values_mut()
                    .filter(theirs)
                    .for_each(|supplied| supplied.profile = to.clone());
                self.remember();
                for home in self.homes.homes.keys().cloned().collect::<Vec<_>>() {
                    self.feed(&home);
                }
            }
        }
    }

    /// The login is in our store before it is tried, and its rotated token before the file is changed: a
    /// crash anywhere leaves it with one owner at least, and the journal settles who.
    async fn import(
        &mut self,
        path: Option<PathBuf>,
        wanted: ProfileName,
    ) -> Result<ProfileName, CodexFailure> {
        let Found { place, text, locked } =
            Found::look(file_of(path, |path| path)?, || self.keychain()).await?;
        let path = place.path().to_path_buf();
        let text = match (text, locked) {
            (Some(text), _) => text,
            (None, Some(locked)) => return Err(CodexFailure::Store(locked)),
            (None, None) => return Err(CodexFailure::Nobody(path)),
        };
        let grant = match codex::parse(text.expose_secret(), clock::now()) {
            Ok(CodexLogin::Grant(grant)) => *grant,
            Ok(CodexLogin::External) => return Err(CodexFailure::External(path)),
            Ok(CodexLogin::Nobody) => return Err(CodexFailure::Nobody(path)),
            Err(error) => return Err(CodexFailure::Login(path, error)),
        };
        if let Some(name) = self.already(&grant.identity) {
            return Err(CodexFailure::Already(name));
        }
        let renewable = grant.holding.refresh_token().is_some();
        let asked = wanted.clone();
        let sign_in = SignIn { wanted, replace: false, elsewhere: true, grant };
        let name = self.keeper.sign_in(sign_in).await.map_err(|error| CodexFailure::Keeper(asked, error))?;
        if renewable {
            self.verify(&path, &name).await?;
        }
        let item = place.is_item();
        let supplied = Supplied { profile: name.clone(), restorable: false, taken: true, item };
        let earlier = self.homes.homes.insert(place.home().to_path_buf(), supplied);
        self.remember();
        if earlier.is_some_and(|supplied| supplied.restorable) {
            self.unseal(place.home()).await;
        }
        info!(profile = %name, "a login of Codex was taken over");
        self.feed_now(&place, Over::Kept(&text)).await;
        Ok(name)
    }

    /// One refresh tells whether the login is alive, and makes us its only owner. One that is dead, or
    /// could not be tried, is left to Codex.
    async fn verify(&self, path: &Path, name: &ProfileName) -> Result<(), CodexFailure> {
        let handle = self.keeper.directory().profiles.get(name).cloned().ok_or(CodexFailure::Gone)?;
        handle.refresh(None).await.map_err(|_| CodexFailure::Gone)?;
        let View::Known(facts) = handle.view() else { return Err(CodexFailure::Gone) };
        // An answer that was lost may have rotated the token: then it must stay where the journal is.
        if facts.ended.is_none() && (facts.trouble.is_none() || facts.is_in_doubt()) {
            return Ok(());
        }
        let refused = |error| CodexFailure::Keeper(name.clone(), error);
        self.keeper.sign_out(name.clone(), false).await.map_err(refused)?;
        Err(CodexFailure::Unusable(path.to_path_buf(), Box::new(Facts::clone(&facts))))
    }

    async fn export(&mut self, path: Option<PathBuf>, name: ProfileName) -> Result<PathBuf, CodexFailure> {
        let Found { place, text, .. } = Found::look(file_of(path, |path| path)?, || self.keychain()).await?;
        let (home, path) = (place.home().to_path_buf(), place.path().to_path_buf());
        match self.homes.homes.get(&home) {
            Some(Supplied { restorable: true, .. }) => return Err(CodexFailure::Unrestored(home)),
            Some(_) if feed::is_ours(text.as_ref()) => {}
            None if feed::is_spare(text.as_ref()) => {}
            Some(_) | None => return Err(CodexFailure::Occupied(path)),
        }
        if let Some(feeder) = self.feeders.remove(&home) {
            feeder.abort();
        }
        // The fifth place where a secret leaves: to a program that takes it over.
        let give = Give(Box::new(move |grant| {
            let login = codex::login(grant).ok_or_else(|| io::Error::other(NO_ID_TOKEN));
            Box::pin(async move { hand_over(place, text, login?).await })
        }));
        if let Err(error) = self.keeper.give_away(name.clone(), give).await {
            self.feed(&home);
            return Err(CodexFailure::Keeper(name, error));
        }
        self.homes.homes.remove(&home);
        self.remember();
        info!(profile = %name, "the login was given to Codex, and forgotten here");
        Ok(path)
    }

    async fn install(&mut self, home: Option<PathBuf>, name: ProfileName) -> Result<PathBuf, CodexFailure> {
        let Found { place, text, .. } =
            Found::look(file_of(home, |home| home.join(FILE))?, || self.keychain()).await?;
        let (home, path) = (place.home().to_path_buf(), place.path().to_path_buf());
        let handle = self.keeper.directory().profiles.get(&name).cloned();
        let unknown = || CodexFailure::Keeper(name.clone(), KeeperError::Unknown);
        let view = handle.ok_or_else(unknown)?.read().await;
        if view.facts().is_some_and(|facts| feed::content(facts).is_none()) {
            return Err(CodexFailure::NoWorkspace(name));
        }
        let ours = self.homes.homes.get(&home).filter(|_| feed::is_ours(text.as_ref()));
        let (restorable, taken) = match (ours, &text) {
            (Some(Supplied { restorable, taken, .. }), _) => (*restorable, *taken),
            // That goes for a login that somebody made in a supplied home, too: it took the place of what
            // was there before.
            (None, Some(text)) => {
                let label = format!("authd: what was in {}", path.display());
                let sealed = self.store.save(&before(&home), &label, text.clone()).await;
                sealed.map_err(CodexFailure::Store)?;
                (true, false)
            }
            (None, None) => (false, false),
        };
        let supplied = Supplied { profile: name.clone(), restorable, taken, item: place.is_item() };
        self.homes.homes.insert(home.clone(), supplied);
        self.remember();
        info!(profile = %name, home = %home.display(), "a Codex home is kept supplied");
        self.feed_now(&place, text.as_ref().map_or(Over::Ours, Over::Kept)).await;
        Ok(path)
    }

    async fn uninstall(&mut self, home: Option<PathBuf>) -> Result<LoginFile, CodexFailure> {
        let path = file_of(home, |home| home.join(FILE))?;
        let home = path.parent().unwrap_or(&path).to_path_buf();
        let supplied = self.homes.homes.get(&home).cloned();
        let Supplied { profile, restorable, taken, item } =
            supplied.ok_or_else(|| CodexFailure::NotSupplied(home.clone()))?;
        let place = self.place(&home, item);
        let path = place.path().to_path_buf();
        // Once its profile is signed out, there is nothing to give back either.
        if taken && self.keeper.directory().profiles.contains_key(&profile) {
            return Err(CodexFailure::Taken(path, profile));
        }
        let original = if restorable {
            self.store.load(&before(&home)).await.map_err(CodexFailure::Store)?
        } else {
            None
        };
        let outcome = match &original {
            // A login that somebody made there meanwhile is theirs.
            _ if !feed::is_ours(place.read().await?.as_ref()) => LoginFileOutcome::LeftAlone,
            Some(_) => LoginFileOutcome::Restored,
            None => LoginFileOutcome::Removed,
        };
        if let Some(feeder) = self.feeders.remove(&home) {
            feeder.abort();
        }
        if outcome != LoginFileOutcome::LeftAlone {
            place.put_back(original).await.map_err(|error| CodexFailure::File(path.clone(), error))?;
        }
        self.homes.homes.remove(&home);
        self.remember();
        self.unseal(&home).await;
        Ok(LoginFile { profile, path, outcome: Some(outcome) })
    }

    /// Forgets what was in a home before it was supplied: it is there again, or something newer is.
    async fn unseal(&self, home: &Path) {
        if let Err(error) = self.store.delete(&before(home)).await {
            warn!(%error, "what was in the Codex home is still in the store");
        }
    }

    /// The name of the profile with this identity, if there is one.
    fn already(&self, identity: &authd_oauth::Identity) -> Option<ProfileName> {
        identity.user_id.as_ref()?;
        let directory = self.keeper.directory();
        let same = directory.profiles.iter().find(|(_, handle)| {
            handle.view().facts().is_some_and(|facts| facts.credential.identity.is_same(identity))
        });
        same.map(|(name, _)| name.clone())
    }

    /// Writes the file now, and keeps it fresh from now on.
    async fn feed_now(&mut self, place: &Place, over: Over<'_>) {
        let home = place.home();
        let name = self.homes.homes.get(home).map(|supplied| supplied.profile.clone());
        let handle = name.and_then(|name| self.keeper.directory().profiles.get(&name).cloned());
        if let Some(handle) = handle {
            feed::write(place, &handle.read().await, over).await;
        }
        self.feed(home);
    }

    fn feed(&mut self, home: &Path) {
        if let Some(feeder) = self.feeders.remove(home) {
            feeder.abort();
        }
        if let Some(supplied) = self.homes.homes.get(home) {
            let place = self.place(home, supplied.item);
            let task = feed::keep(place, supplied.profile.clone(), self.keeper.clone(), self.events.listen());
            self.feeders.insert(home.to_path_buf(), self.feeding.spawn(task));
        }
    }

    /// Where a home keeps its login.
    fn place(&self, home: &Path, item: bool) -> Place {
        if item {
            Place::Item { home: home.to_path_buf(), keychain: self.keychain() }
        } else {
            Place::File(home.join(FILE))
        }
    }

    fn keychain(&self) -> Store {
        self.keychain.get_or_init(|| self.store.of_another_program(SERVICE)).clone()
    }

    fn remember(&mut self) {
        self.homes.version = 1;
        let text = serde_json::to_vec_pretty(&self.homes).expect("paths and names have a JSON form");
        if let Err(error) = private::atomic_write(&self.path, &text) {
            error!(%error, "the list of Codex homes cannot be written");
        }
    }
}

/// Writes a login where `before` was, unless somebody was faster; and takes it back from there if need be.
async fn hand_over(place: Place, before: Option<SecretString>, login: SecretString) -> io::Result<Undo> {
    let changed = || io::Error::other("somebody else changed it just now");
    if !place.holds(before.as_ref()).await {
        return Err(changed());
    }
    place.write(login.clone()).await?;
    Ok(Box::pin(async move {
        if place.holds(Some(&login)).await { place.put_back(before).await } else { Err(changed()) }
    }))
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
