//! The added definitions as values, and what a change makes of them.

use std::{collections::BTreeMap, sync::Arc};

use authd_api::ProviderBody;
use authd_oauth::definition::{ProviderDefinition, RawDefinition, check_provider_name};
use serde_json::{Error, value::RawValue};

use super::error::DefinitionError;

/// Most definitions.
const MOST: usize = 256;

/// The definitions that a user has added, by name.
#[derive(Clone, Debug, Default)]
pub struct AddedDefinitions(BTreeMap<String, AddedDefinition>);

#[derive(Clone, Debug)]
struct AddedDefinition {
    /// The entry of the file. It is written again as it was read, so that a definition of a newer
    /// version of authd is not lost.
    entry: Box<RawValue>,
    /// The definition, or why it cannot be used.
    definition: Result<Arc<ProviderDefinition>, String>,
}

impl AddedDefinitions {
    /// Validates each entry by itself.
    pub(super) fn from_entries(entries: BTreeMap<String, Box<RawValue>>) -> Self {
        let added = |(name, entry): (String, Box<RawValue>)| {
            let definition = read_entry(&name, &entry).map(Arc::new);
            (name, AddedDefinition { entry, definition })
        };
        Self(entries.into_iter().map(added).collect())
    }

    /// The entries of the file.
    pub(super) fn entries(&self) -> BTreeMap<&str, &RawValue> {
        self.0.iter().map(|(name, added)| (name.as_str(), &*added.entry)).collect()
    }

    /// All definitions by name, each with the reason if it cannot be used.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<&Arc<ProviderDefinition>, &str>)> {
        self.0.iter().map(|(name, added)| (name.as_str(), added.definition.as_ref().map_err(String::as_str)))
    }

    /// The definition with this name.
    pub(super) fn find(&self, name: &str) -> Result<Arc<ProviderDefinition>, DefinitionError> {
        let added = self.0.get(name).ok_or(DefinitionError::Unknown)?;
        added.definition.clone().map_err(DefinitionError::Unusable)
    }

    /// The list with one more definition; `None` if it has the same one already.
    pub(super) fn with(
        &self,
        name: &str,
        body: &ProviderBody,
        definition: &Arc<ProviderDefinition>,
    ) -> Result<Option<Self>, DefinitionError> {
        match self.find(name) {
            Ok(existing) if existing == *definition => return Ok(None),
            Ok(_) => return Err(DefinitionError::Taken),
            Err(DefinitionError::Unknown) => {}
            Err(error) => return Err(error),
        }
        if self.0.len() >= MOST {
            return Err(DefinitionError::TooMany(self.0.len()));
        }
        let entry = serde_json::value::to_raw_value(body).expect("a body comes from JSON");
        let added = AddedDefinition { entry, definition: Ok(definition.clone()) };
        let mut changed = self.clone();
        changed.0.insert(name.to_owned(), added);
        Ok(Some(changed))
    }

    /// The list without this definition, whether it can be used or not.
    pub(super) fn without(&self, name: &str) -> Option<Self> {
        let mut changed = self.clone();
        changed.0.remove(name).map(|_| changed)
    }
}

/// Validates a definition that a user adds.
pub(super) fn validate(name: &str, body: &ProviderBody) -> Result<ProviderDefinition, DefinitionError> {
    check_provider_name(name).map_err(DefinitionError::InvalidName)?;
    let raw = RawDefinition {
        mcp: Some(body.mcp.clone()),
        client_id: body.client_id.clone(),
        client_secret_file: body.client_secret_file.clone(),
        client_metadata_url: body.client_metadata_url.clone(),
        scopes: Some(body.scopes.clone()),
        redirect_uri: body.redirect_uri.clone(),
        ..RawDefinition::default()
    };
    raw.validate().map_err(DefinitionError::Invalid)
}

/// The definition in an entry, or why the entry cannot be used.
fn read_entry(name: &str, entry: &RawValue) -> Result<ProviderDefinition, String> {
    let body = serde_json::from_str(entry.get()).map_err(|error| describe(&error))?;
    validate(name, &body).map_err(|error| error.to_string())
}

/// Describes an error without serde's message, which quotes the invalid value. Only the name of an
/// unknown key is taken from it.
fn describe(error: &Error) -> String {
    let message = error.to_string();
    match message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        Some((key, _)) => format!("it has the key \"{key}\", which this version of authd does not know"),
        None => "it is not a definition".to_owned(),
    }
}

#[cfg(test)]
mod tests;
