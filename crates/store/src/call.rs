//! The calls that a store takes.

/// The calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Write, read back, delete.
    Probe,
    /// Read a record.
    Load,
    /// Keep a record.
    Save,
    /// Delete a record.
    Delete,
    /// Read all keys.
    List,
    /// Seal everything with a new key.
    Rekey,
    /// Move everything to another store.
    Migrate,
    /// Finish what was interrupted.
    Recover,
}

impl Call {
    /// Its name, as metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Load => "load",
            Self::Save => "save",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Rekey => "rekey",
            Self::Migrate => "migrate",
            Self::Recover => "recover",
        }
    }

    /// Whether it works on every record. Its failure says nothing of the store in use.
    pub(crate) fn is_bulk(self) -> bool {
        matches!(self, Self::Rekey | Self::Migrate | Self::Recover)
    }
}
