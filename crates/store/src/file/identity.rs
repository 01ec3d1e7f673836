//! The identities that open the files, and where they come from. The first one seals; the others only
//! open, so that a change of the key may be interrupted at any moment.

use std::{
    io::Read as _,
    iter,
    path::{Path, PathBuf},
    str::FromStr,
};

use age::{DecryptError, Decryptor, scrypt, x25519};
use secrecy::{ExposeSecret, SecretString};

use super::directory::{directory, holds_records};
use crate::{StoreError, private};

/// The longest file that is read, in bytes: records have ten thousand.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// The work factor of the key of a passphrase: scrypt's N is two to this power, as OWASP's password storage
/// guide asks, and takes 128 MiB for a moment. age would measure the machine instead, and the result would
/// depend on its load at that moment.
const WORK: u8 = 17;

/// The highest work factor that is accepted from a file.
const MOST_WORK: u8 = 22;

/// Where the identity that opens the files comes from, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// systemd's credentials; used if it holds `authd-key` (`LoadCredentialEncrypted=`).
    pub credentials_directory: Option<PathBuf>,
    /// A file with a passphrase or an identity; it must exist if it is configured.
    pub passphrase_file: Option<PathBuf>,
    /// A file with an identity, created at the first use.
    pub key_file: PathBuf,
}

/// Identities, and where they are kept.
pub(super) struct Identities {
    first: x25519::Identity,
    older: Vec<x25519::Identity>,
    place: Place,
}

/// Where identities are kept.
enum Place {
    /// In a file beside the others, in clear.
    KeyFile(PathBuf),
    /// In a file beside the others, sealed with a passphrase from another file.
    Sealed { kept: PathBuf, passphrase: SecretString, given: PathBuf },
    /// In a file that the user or systemd writes.
    Given(PathBuf),
}

impl Identities {
    /// The identities of a state directory. They are created only if their file does not exist and no
    /// sealed record does.
    pub(super) fn find(source: &KeySource, state_dir: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = &source.credentials_directory {
            let path = directory.join("authd-key");
            if let Some(text) = read_secret(&path)? {
                return Self::given(path, &text, state_dir);
            }
        }
        if let Some(path) = &source.passphrase_file {
            let text = read_secret(path)?.ok_or_else(|| StoreError::Unavailable {
                detail: format!(
                    "{} does not exist; put the file back, or correct store.passphrase_file in the configuration",
                    path.display()
                ),
            })?;
            return Self::given(path.clone(), &text, state_dir);
        }
        // Nothing was sealed with a key that was not renamed into place.
        private::remove(&private::temporary(&source.key_file)).ok();
        let place = Place::KeyFile(source.key_file.clone());
        match read_secret(&source.key_file)? {
            Some(text) => Self::parse(&text, place),
            None => Self::create(place, state_dir),
        }
    }

    /// The first identity of a state directory.
    fn create(place: Place, state_dir: &Path) -> Result<Self, StoreError> {
        if holds_records(state_dir)? {
            let (key, records) = (place.path().display(), directory(state_dir));
            let records = records.display();
            let detail = format!(
                "{key} does not exist, but {records} holds records that were sealed before; put the key back or \
                 correct the configuration of the key; to give these records up, move {records} away"
            );
            return Err(StoreError::Unavailable { detail });
        }
        let created = Self { first: x25519::Identity::generate(), older: Vec::new(), place };
        created.place.keep(&created.first, &[])?;
        Ok(created)
    }

    /// A given text is an identity, or the passphrase of one that we keep. Deriving a key from a
    /// passphrase is slow on purpose; it is done once.
    fn given(given: PathBuf, text: &SecretString, state_dir: &Path) -> Result<Self, StoreError> {
        if !identities_in(text).is_empty() {
            return Self::parse(text, Place::Given(given));
        }
        let passphrase = SecretString::from(text.expose_secret().trim());
        let kept = state_dir.join("store.identity.age");
        let Some(sealed) = private::read_bounded(&kept, MAX_FILE).map_err(StoreError::unavailable)? else {
            return Self::create(Place::Sealed { kept, passphrase, given }, state_dir);
        };
        let mut identity = scrypt::Identity::new(passphrase.clone());
        identity.set_max_work_factor(MOST_WORK);
        let opened = opened(&sealed, iter::once(&identity as _)).map_err(|error| StoreError::Locked {
            detail: format!(
                "the passphrase in {} does not open {}: {error}",
                given.display(),
                kept.display()
            ),
        })?;
        let opened = SecretString::from(String::from_utf8_lossy(&opened).into_owned());
        Self::parse(&opened, Place::Sealed { kept, passphrase, given })
    }

    fn parse(text: &SecretString, place: Place) -> Result<Self, StoreError> {
        let mut found = identities_in(text).into_iter();
        match found.next() {
            Some(first) => Ok(Self { first, older: found.collect(), place }),
            None => Err(StoreError::Unavailable {
                detail: format!("{} holds no identity; restore it from a backup", place.path().display()),
            }),
        }
    }

    /// Writes the identities again if their file was removed while we held them.
    pub(super) fn restore_if_removed(&self) -> Result<(), StoreError> {
        let ours = !matches!(self.place, Place::Given(_));
        if ours && matches!(private::is_absent(self.place.path()), Ok(true)) {
            self.place.keep(&self.first, &self.older)?;
        }
        Ok(())
    }

    /// Whether an interrupted change of the key left an older identity in a file of ours.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.older.is_empty() && !matches!(self.place, Place::Given(_))
    }

    /// Seals a text with the first identity.
    pub(super) fn seal(&self, text: &SecretString) -> Result<Vec<u8>, StoreError> {
        age::encrypt(&self.first.to_public(), text.expose_secret().as_bytes())
            .map_err(|error| StoreError::Unavailable { detail: error.to_string() })
    }

    /// Opens what one of the identities can open.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, DecryptError> {
        opened(sealed, iter::once(&self.first).chain(&self.older).map(|identity| identity as _))
    }

    /// Puts a new identity first, unless an interrupted change did. What the others sealed must be sealed
    /// again before [`Self::retire`].
    pub(super) fn renew(&mut self) -> Result<(), StoreError> {
        if !self.older.is_empty() {
            return Ok(());
        }
        if let Place::Given(path) = &self.place {
            let detail = format!(
                "its key is given in {0}: put a new one before it there, and try again",
                path.display()
            );
            return Err(StoreError::Refused { detail });
        }
        self.change(x25519::Identity::generate(), vec![self.first.clone()])
    }

    /// Forgets all identities but the first.
    pub(super) fn retire(&mut self) -> Result<(), StoreError> {
        self.change(self.first.clone(), Vec::new())
    }

    /// Uses these identities once they are written: what is sealed with one that is only in memory is lost
    /// at the next start.
    fn change(&mut self, first: x25519::Identity, older: Vec<x25519::Identity>) -> Result<(), StoreError> {
        self.place.keep(&first, &older)?;
        (self.first, self.older) = (first, older);
        Ok(())
    }

    /// Where the key comes from, for people.
    pub(super) fn description(&self) -> String {
        match &self.place {
            Place::KeyFile(path) => format!("opened by the key in {}", path.display()),
            Place::Sealed { given, .. } => format!("opened by the passphrase in {}", given.display()),
            Place::Given(path) => format!("opened by the identity in {}", path.display()),
        }
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::KeyFile(path) | Self::Given(path) => path,
            Self::Sealed { kept, .. } => kept,
        }
    }

    /// Writes the identities that are kept here, the first one first.
    fn keep(&self, first: &x25519::Identity, older: &[x25519::Identity]) -> Result<(), StoreError> {
        let mut text = format!(
            "# The key of authd's encrypted files: a program that reads it can open them.\n# public key: {}\n",
            first.to_public()
        );
        for identity in std::iter::once(first).chain(older) {
            text += identity.to_string().expose_secret();
            text.push('\n');
        }
        let text = SecretString::from(text);
        let written = match self {
            Self::KeyFile(path) => private::atomic_write(path, text.expose_secret().as_bytes()),
            Self::Sealed { kept, passphrase, .. } => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK);
                let sealed = age::encrypt(&recipient, text.expose_secret().as_bytes())
                    .map_err(|error| StoreError::Unavailable { detail: error.to_string() })?;
                private::atomic_write(kept, &sealed)
            }
            Self::Given(_) => Ok(()),
        };
        written.map_err(StoreError::unavailable)
    }
}

/// What was sealed for one of these identities.
fn opened<'a>(
    sealed: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Vec<u8>, DecryptError> {
    // Room for the whole text: a buffer that grows leaves copies of secrets behind. It is allocated before age's
    // buffers, which are twenty times as large, so that those leave no gap in the heap.
    let mut opened = Vec::with_capacity(sealed.len());
    Decryptor::new_buffered(sealed)?.decrypt(identities)?.read_to_end(&mut opened)?;
    Ok(opened)
}

/// The identities in a text, which may have comments beside them.
fn identities_in(text: &SecretString) -> Vec<x25519::Identity> {
    let lines = text.expose_secret().lines().map(str::trim);
    lines.filter_map(|line| x25519::Identity::from_str(line).ok()).collect()
}

/// The text of a file, or `None` if it does not exist.
fn read_secret(path: &Path) -> Result<Option<SecretString>, StoreError> {
    let Some(content) = private::read_bounded(path, MAX_FILE).map_err(StoreError::unavailable)? else {
        return Ok(None);
    };
    let text = String::from_utf8(content)
        .map_err(|_| StoreError::Unavailable { detail: format!("{} is not UTF-8", path.display()) })?;
    Ok(Some(text.into()))
}
