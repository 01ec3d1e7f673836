//! What one run leaves to the next, where a service manager keeps it meanwhile: the decrypted records,
//! in a sealed file without a name. A restart then needs no keychain to be unlocked, and a credential
//! that could not be saved yet survives it.
//!
//! It is good for one run, the very next: the index remembers its number, and who starts strikes the
//! number out before believing the file. A refresh token older than the store's would end the login.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use authd_api::ProfileName;
use authd_oauth::{Record, Session};
use authd_store::{Index, Loaded};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use crate::{notify, sealed::Sealed};

/// The version this program writes and reads. Another one's is not believed: the store has it all.
const VERSION: u32 = 1;

/// The most that is read, in bytes: more than a thousand profiles have.
const MOST: u64 = 64 << 20;

/// What was left, until somebody claims it, and what is to be left; a cheap handle.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Estate>>);

/// A profile as the last run knew it.
pub(crate) struct Left {
    /// Its record.
    pub(crate) record: Record,
    /// Whether the store has it, too.
    pub(crate) durable: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Estate {
    version: u32,
    run: String,
    profiles: BTreeMap<String, Entry>,
    logins: Vec<Text>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    record: Text,
    durable: bool,
}

/// A secret text, which only this file writes out.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Text(SecretString);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl Handover {
    /// What the last run left, if the index says that no other run was between. A run that ended before
    /// this left it all to the next: only now has the service manager kept it long enough.
    pub(crate) fn take(file: Option<&File>, loaded: &mut Loaded, state_dir: &Path) -> Self {
        let left = Self::believed(file, loaded, state_dir);
        if file.is_some() {
            notify::drop_kept();
        }
        left
    }

    fn believed(file: Option<&File>, loaded: &mut Loaded, state_dir: &Path) -> Self {
        let Loaded::Index(index) = loaded else { return Self::default() };
        let Some(run) = index.handover.take() else { return Self::default() };
        if let Err(error) = index.save(state_dir) {
            warn!(%error, "what the last run left is not used: the index cannot be written");
            return Self::default();
        }
        match file.map(read) {
            Some(Ok(estate)) if estate.version == VERSION && estate.run == run => {
                info!(profiles = estate.profiles.len(), "taken over from the last run");
                Self(Arc::new(Mutex::new(estate)))
            }
            Some(Err(error)) => {
                warn!(%error, "what the last run left cannot be read");
                Self::default()
            }
            Some(Ok(_)) | None => Self::default(),
        }
    }

    /// What the last run knew of a profile; once.
    pub(crate) fn claim(&self, name: &ProfileName) -> Option<Left> {
        let Entry { record: Text(text), durable } = self.estate().profiles.remove(name.as_str())?;
        let record = Record::from_text(&text).ok()?;
        Some(Left { record, durable })
    }

    /// The logins that were pending; once.
    pub(crate) fn claim_logins(&self) -> Vec<Sealed> {
        let texts = std::mem::take(&mut self.estate().logins);
        texts.iter().filter_map(|Text(text)| Sealed::open(text)).collect()
    }

    /// Leaves a profile, as it is now, to the next run.
    pub(crate) fn leave(&self, name: &ProfileName, session: &Session) {
        let entry = Entry { record: Text(session.record().to_text()), durable: session.is_durable() };
        self.estate().profiles.insert(name.to_string(), entry);
    }

    /// Leaves nothing of a profile.
    pub(crate) fn forget(&self, name: &ProfileName) {
        self.estate().profiles.remove(name.as_str());
    }

    /// Leaves a pending login to the next run.
    pub(crate) fn leave_login(&self, sealed: SecretString) {
        self.estate().logins.push(Text(sealed));
    }

    /// Gives it all to the service manager. To be called when nothing writes the index any more.
    pub(crate) fn give(&self, state_dir: &Path) {
        let mut estate = self.estate();
        if estate.profiles.is_empty() && estate.logins.is_empty() || !notify::is_managed() {
            return;
        }
        estate.version = VERSION;
        estate.run = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let given = serde_json::to_string(&*estate)
            .map_err(io::Error::other)
            .and_then(|text| notify::keep(SecretString::from(text).expose_secret().as_bytes()))
            .and_then(|()| remember(&estate.run, state_dir));
        match given {
            Ok(()) => debug!(profiles = estate.profiles.len(), "left to the next run"),
            Err(error) => warn!(%error, "the next run has to ask the store"),
        }
    }

    fn estate(&self) -> MutexGuard<'_, Estate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: &File) -> io::Result<Estate> {
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    serde_json::from_str(SecretString::from(text).expose_secret()).map_err(io::Error::other)
}

fn remember(run: &str, state_dir: &Path) -> io::Result<()> {
    match Index::load(state_dir) {
        Loaded::Index(mut index) => {
            index.handover = Some(run.to_owned());
            index.save(state_dir)
        }
        Loaded::Missing | Loaded::Damaged(_) => Err(io::Error::other("there is no index to remember it in")),
    }
}

#[cfg(test)]
mod tests;
