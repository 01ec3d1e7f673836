//! The calls of a store, as metrics and deadlines distinguish them.

/// A kind of store call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Write, read back and delete a test record.
    Probe,
    /// Read a record.
    Load,
    /// Write a record.
    Save,
    /// Delete a record.
    Delete,
    /// Read all keys.
    List,
    /// Encrypt all records with a new key.
    Rekey,
    /// Move all records to another store.
    Migrate,
    /// Finish interrupted operations.
    Recover,
}

impl Call {
    /// The name in metrics.
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

    /// Whether the call processes all records. Its failure does not change the store's status.
    pub(crate) fn is_bulk(self) -> bool {
        matches!(self, Self::Rekey | Self::Migrate | Self::Recover)
    }
}
