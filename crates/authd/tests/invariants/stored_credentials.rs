//! Credentials at rest: the records in the state directory, decrypted with its key, the records in
//! the keychain, and Codex's login file. This module knows only the names of records, what refresh
//! tokens look like, and where a registration has its client id.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use age::{Decryptor, x25519};
use authd_sandbox::{Sandbox, TokenInfo, test_daemon::TestDaemon};
use serde_json::Value;

use super::{CheckContext, Keychain, codex_home};
use crate::authorization_server::grants::is_refresh_token;

/// Credentials at rest.
#[derive(Debug)]
pub(crate) struct StoredCredentials {
    pub(crate) records: Vec<Record>,
    /// Codex's login file.
    pub(crate) codex: CodexFile,
    /// Records that cannot be opened.
    pub(crate) damaged: Vec<String>,
    /// Temporary and damaged files.
    pub(crate) left_behind: Vec<String>,
    /// The names of all files in the state directory.
    pub(crate) files: BTreeSet<String>,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its key, such as `profile.work`.
    pub(crate) key: String,
    /// Its location, for messages.
    pub(crate) location: String,
    /// The client id in a registration; empty if the text has none. A keychain that is killed while
    /// it creates an item can leave one without a text, which counts as absent.
    client: Option<String>,
    /// The refresh tokens in it.
    tokens: Vec<String>,
}

/// A location of a stored login.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// The record's key, or `Codex`.
    pub(crate) key: String,
    /// The same, for messages.
    pub(crate) name: String,
    /// Whether the provider accepts the token that is stored here.
    pub(crate) good: bool,
    /// Whether the newest token of the login is stored here.
    pub(crate) newest: bool,
    /// Whether the provider has ended the login.
    pub(crate) ended: bool,
}

/// Codex's login file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CodexFile {
    Absent,
    /// A login of its own, by its refresh token.
    Login(String),
    /// An access token or key that a profile supplies.
    Supplied(String),
    Unreadable(String),
}

impl CheckContext<'_> {
    /// The origin and state of a token, from the server that issued it.
    pub(super) fn token_info(&self, token: &str) -> Option<TokenInfo> {
        self.sandbox.token_info(token).or_else(|| self.server.token_info(token))
    }
}

impl CodexFile {
    fn read(path: &Path) -> Self {
        let Ok(text) = fs::read_to_string(path) else { return Self::Absent };
        let Ok(login) = serde_json::from_str::<Value>(&text) else { return Self::Unreadable(text) };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text(&login["tokens"]["refresh_token"])
            .map(Self::Login)
            .or_else(|| text(&login["tokens"]["access_token"]).map(Self::Supplied))
            .or_else(|| text(&login["OPENAI_API_KEY"]).map(Self::Supplied))
            .unwrap_or(Self::Absent)
    }

    /// A description of the content that is the same in each run.
    pub(crate) fn description(&self, sandbox: &Sandbox) -> String {
        let account = |token: &str| match sandbox.token_info(token) {
            Some(known) => known.account,
            None => "a key".to_owned(),
        };
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Login(token) => format!("login of {}", account(token)),
            Self::Supplied(token) => format!("supplied from {}", account(token)),
            Self::Unreadable(text) => format!("unreadable: {text:?}"),
        }
    }
}

impl StoredCredentials {
    /// Reads all of them. Returns an error if the keychain cannot be read.
    pub(crate) fn read(daemon: &TestDaemon, keychain: Option<&dyn Keychain>) -> Result<Self, String> {
        let (state, home) = (daemon.state(), codex_home(daemon));
        let keys = fs::read_to_string(state.join("store.key")).unwrap_or_default();
        let identities: Vec<x25519::Identity> =
            keys.lines().filter_map(|line| line.trim().parse().ok()).collect();
        let (mut records, mut damaged, mut left_behind) = (Vec::new(), Vec::new(), Vec::new());
        for path in files(&state).into_iter().chain(files(&home)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let shown = stable_name(&name);
            if name.starts_with('.') || name.contains(".damaged") || name.contains(".tmp") {
                left_behind.push(format!("leftover file: {shown}"));
            } else if path.starts_with(&home)
                && !["auth.json", "auth.lock", "auth.json.lock"].contains(&&*name)
            {
                left_behind.push(format!("leftover file in Codex's home: {name}"));
            } else if name == "codex.json"
                && fs::read_to_string(&path).is_ok_and(|it| it.contains("\"phase\""))
            {
                left_behind.push("unfinished change of a Codex home".to_owned());
            } else if let Some(key) =
                name.strip_suffix(".age").filter(|_| path.starts_with(state.join("store")))
            {
                match fs::read(&path).map(|sealed| open(&sealed, &identities)) {
                    Ok(Some(text)) => {
                        if text.contains("\"intent\":{") {
                            left_behind.push(format!("unfinished move: {shown}"));
                        }
                        records.push(Record::new(key, format!("the file {shown}"), &text));
                    }
                    Ok(None) => damaged.push(format!("{shown} cannot be opened")),
                    // The daemon has just removed it.
                    Err(_) => {}
                }
            }
        }
        for (key, text) in keychain.map(Keychain::items).transpose()?.unwrap_or_default() {
            records.push(Record::new(&key, format!("the item {}", stable_name(&key)), &text));
        }
        let files = file_names(&state);
        Ok(Self { records, codex: CodexFile::read(&home.join("auth.json")), damaged, left_behind, files })
    }

    /// The client of a registration that its server does not accept, or no client.
    pub(crate) fn unusable_client(&self, context: CheckContext<'_>) -> Option<&str> {
        let mut clients = self.records.iter().filter_map(|record| record.client.as_deref());
        clients.find(|client| client.is_empty() || !context.server.knows_client(client))
    }

    /// The locations of each login, by the number of the login.
    pub(crate) fn families(&self, context: CheckContext<'_>) -> BTreeMap<usize, Vec<Location>> {
        let mut found = BTreeMap::<usize, Vec<Location>>::new();
        let mut add = |token: &str, key: &str, name: &str| {
            let Some(known) = context.token_info(token) else { return };
            let locations = found.entry(known.family).or_default();
            if let Some(location) = locations.iter_mut().find(|location| location.name == name) {
                location.good |= known.valid;
                location.newest |= known.newest;
                return;
            }
            let (key, name) = (key.to_owned(), name.to_owned());
            locations.push(Location {
                key,
                name,
                good: known.valid,
                newest: known.newest,
                ended: known.ended,
            });
        };
        for Record { key, location, tokens, .. } in &self.records {
            for token in tokens {
                add(token, key, location);
            }
        }
        if let CodexFile::Login(token) = &self.codex {
            add(token, "Codex", "Codex's file");
        }
        found
    }
}

impl Record {
    fn new(key: &str, location: String, text: &str) -> Self {
        let client = (key.starts_with("client.") && !text.is_empty()).then(|| {
            let registration: Value = serde_json::from_str(text).unwrap_or_default();
            registration["client"]["id"].as_str().unwrap_or_default().to_owned()
        });
        Self { key: key.to_owned(), location, client, tokens: refresh_tokens(text) }
    }
}

/// A name without its random parts: the hash of a path, the id of a login.
fn stable_name(name: &str) -> String {
    let random = |part: &&str| {
        part.starts_with("lg_") || (part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    name.split('.').map(|part| if random(&part) { "…" } else { part }).collect::<Vec<_>>().join(".")
}

fn open(sealed: &[u8], identities: &[x25519::Identity]) -> Option<String> {
    let mut text = String::new();
    let identities = identities.iter().map(|identity| identity as &dyn age::Identity);
    Decryptor::new_buffered(sealed).ok()?.decrypt(identities).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The refresh tokens in a text, each once.
fn refresh_tokens(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut found: Vec<String> = text
        .split(|c: char| !is_part(c))
        .filter(|word| word.starts_with("rt_") && word.len() > 40 || is_refresh_token(word))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The names of all files below a directory, without their random parts.
fn file_names(directory: &Path) -> BTreeSet<String> {
    let name = |path: PathBuf| stable_name(&path.file_name().unwrap_or_default().to_string_lossy());
    files(directory).into_iter().map(name).collect()
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
