//! The arguments of `store`.

use authd_api::StoreKind;
use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Show which store is in use, and why
    Status,
    /// Move all credentials to another store; each copy is read back before the original is deleted
    ///
    /// To postgres, the logins of this machine join those of the fleet, and the tables are created
    /// if they do not exist. From postgres, this machine takes all logins of the fleet, and the
    /// other nodes lose them: --take-all confirms that.
    Migrate {
        /// The new store
        #[arg(long, value_enum)]
        to: StoreArg,
        /// Take all logins out of the fleet; the other nodes lose them
        #[arg(long)]
        take_all: bool,
    },
    /// Encrypt the files with a new key
    Rekey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreArg {
    /// The keychain of the operating system
    Keychain,
    /// age-encrypted files in the state directory
    File,
    /// The database of the fleet, which [store.postgres] of authd.toml names
    Postgres,
}

impl From<StoreArg> for StoreKind {
    fn from(store: StoreArg) -> Self {
        match store {
            StoreArg::Keychain => Self::Keychain,
            StoreArg::File => Self::File,
            StoreArg::Postgres => Self::Postgres,
        }
    }
}
