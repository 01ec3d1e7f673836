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

use super::{KeySource, read_bounded, unavailable};
use crate::{backend::StoreError, private};

/// How much work the key of a passphrase is: scrypt's N is two to this power, as OWASP's password storage
/// guide asks, and takes 128 MiB for a moment. age's own way, to measure the machine, would have its answer
/// depend on what else the machine did in that millisecond.
const WORK: u8 = 17;

/// The most work that is done for a file that says how much it takes.
const MOST_WORK: u8 = 22;

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
    /// In a file beside the others, sealed with a passphrase that stands in another.
    Sealed { kept: PathBuf, passphrase: SecretString, given: PathBuf },
    /// Somewhere that is not ours to write.
    Given(PathBuf),
}

impl Identities {
    /// The identities of a state directory, made at the first use.
    pub(super) fn find(source: &KeySource, state_dir: &Path) -> Result<Self, StoreError> {
        let credential = source.credentials_directory.as_ref().map(|directory| directory.join("authd-key"));
        let given = credential.filter(|path| path.exists()).or_else(|| source.passphrase_file.clone());
        match given {
            Some(path) => Self::given(path, state_dir),
            None => Self::in_key_file(&source.key_file),
        }
    }

    fn in_key_file(path: &Path) -> Result<Self, StoreError> {
        let place = Place::KeyFile(path.to_path_buf());
        if path.exists() {
            return Self::parse(&read_secret(path)?, place);
        }
        Self::made(place)
    }

    /// The first identity of a place that has none.
    fn made(place: Place) -> Result<Self, StoreError> {
        let first = x25519::Identity::generate();
        place.keep(&first, &[])?;
        Ok(Self { first, older: Vec::new(), place })
    }

    /// A given text is an identity, or the passphrase of one that we keep. Deriving a key from a
    /// passphrase is slow on purpose; it is done once.
    fn given(given: PathBuf, state_dir: &Path) -> Result<Self, StoreError> {
        let text = read_secret(&given)?;
        if !identities_in(&text).is_empty() {
            return Self::parse(&text, Place::Given(given));
        }
        let passphrase = SecretString::from(text.expose_secret().trim());
        let kept = state_dir.join("store.identity.age");
        if kept.exists() {
            let sealed = read_bounded(&kept).map_err(|error| unavailable(&error))?;
            let mut identity = scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(MOST_WORK);
            let opened = opened(&sealed, iter::once(&identity as _)).map_err(|error| StoreError::Locked {
                detail: format!("the passphrase in {} does not fit: {error}", given.display()),
            })?;
            let opened = SecretString::from(String::from_utf8_lossy(&opened).into_owned());
            return Self::parse(&opened, Place::Sealed { kept, passphrase, given });
        }
        Self::made(Place::Sealed { kept, passphrase, given })
    }

    fn parse(text: &SecretString, place: Place) -> Result<Self, StoreError> {
        let mut found = identities_in(text).into_iter();
        match found.next() {
            Some(first) => Ok(Self { first, older: found.collect(), place }),
            None => Err(StoreError::Unavailable {
                detail: format!("{} holds no identity", place.path().display()),
            }),
        }
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

    /// Puts a new identity first. What the others sealed must be sealed again before [`Self::retire`].
    pub(super) fn renew(&mut self) -> Result<(), StoreError> {
        if let Place::Given(path) = &self.place {
            if !self.older.is_empty() {
                return Ok(());
            }
            let detail = format!(
                "its key is given in {0}: put a new one before it there, and try again",
                path.display()
            );
            return Err(StoreError::Refused { detail });
        }
        let older = std::iter::once(&self.first).chain(&self.older).cloned().collect();
        self.change(x25519::Identity::generate(), older)
    }

    /// Forgets all identities but the first.
    pub(super) fn retire(&mut self) -> Result<(), StoreError> {
        self.change(self.first.clone(), Vec::new())
    }

    /// Takes these identities into use once they are written: what is sealed with one that is nowhere but in
    /// memory is lost at the next start.
    fn change(&mut self, first: x25519::Identity, older: Vec<x25519::Identity>) -> Result<(), StoreError> {
        self.place.keep(&first, &older)?;
        (self.first, self.older) = (first, older);
        Ok(())
    }

    /// Where the key comes from, in words.
    pub(super) fn described(&self) -> String {
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
            "# The key of authd's encrypted files. Whoever can read it can read them.\n# public key: {}\n",
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
        written.map_err(|error| unavailable(&error))
    }
}

/// What was sealed for one of these identities.
fn opened<'a>(
    sealed: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Vec<u8>, DecryptError> {
    // A place that is large enough: one that grows leaves secrets behind that nobody overwrites. It is there before
    // age's buffers are, which are twenty times as large, and do not have to go around it the next time.
    let mut opened = Vec::with_capacity(sealed.len());
    Decryptor::new_buffered(sealed)?.decrypt(identities)?.read_to_end(&mut opened)?;
    Ok(opened)
}

/// The identities in a text, which may have comments beside them.
fn identities_in(text: &SecretString) -> Vec<x25519::Identity> {
    let lines = text.expose_secret().lines().map(str::trim);
    lines.filter_map(|line| x25519::Identity::from_str(line).ok()).collect()
}

fn read_secret(path: &Path) -> Result<SecretString, StoreError> {
    let bytes = read_bounded(path)
        .map_err(|error| StoreError::Unavailable { detail: format!("{}: {error}", path.display()) })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| StoreError::Unavailable { detail: format!("{} is not UTF-8", path.display()) })?;
    Ok(text.into())
}
