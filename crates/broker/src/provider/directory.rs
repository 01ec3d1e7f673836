//! The owner of the added definitions. Their list is in a file of the state directory: a change is
//! made once the file has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use authd_api::ProviderBody;
use authd_oauth::definition::ProviderDefinition;
use authd_store::StateDir;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    added::{self, AddedDefinitions},
    error::DefinitionError,
    file,
};
use crate::blocking::finish;

/// Wait before the list is read or written again after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// The definitions of the configuration, by name.
pub type ProviderDefinitions = BTreeMap<String, Arc<ProviderDefinition>>;

/// A cheap handle of all provider definitions but the built-in one and the templates.
#[derive(Clone, Debug)]
pub struct ProviderDirectory(Arc<DirectoryInner>);

#[derive(Debug)]
struct DirectoryInner {
    state_dir: StateDir,
    configured: watch::Receiver<Arc<ProviderDefinitions>>,
    /// `None` until the file was read.
    added: watch::Sender<Option<Arc<AddedDefinitions>>>,
    /// Held while the file is read or written.
    file: Mutex<()>,
    /// Whether the file may differ from the list, because a write failed.
    unsaved: watch::Sender<bool>,
}

/// A definition that is in the list.
#[derive(Clone, Debug)]
pub struct StoredDefinition {
    /// The definition.
    pub definition: Arc<ProviderDefinition>,
    /// Whether it was not there before.
    pub is_new: bool,
}

impl ProviderDirectory {
    pub(crate) fn new(state_dir: StateDir, configured: watch::Receiver<Arc<ProviderDefinitions>>) -> Self {
        Self(Arc::new(DirectoryInner {
            state_dir,
            configured,
            added: watch::Sender::default(),
            file: Mutex::default(),
            unsaved: watch::Sender::new(false),
        }))
    }

    /// The definition with this name. One of the configuration wins over an added one.
    pub async fn find(&self, name: &str) -> Result<Arc<ProviderDefinition>, DefinitionError> {
        if let Some(definition) = self.0.configured.borrow().get(name) {
            return Ok(definition.clone());
        }
        self.added().await?.find(name)
    }

    /// The definitions of the configuration.
    pub fn configured(&self) -> Arc<ProviderDefinitions> {
        self.0.configured.borrow().clone()
    }

    /// The added definitions.
    pub async fn added(&self) -> Result<Arc<AddedDefinitions>, DefinitionError> {
        if let Some(added) = self.0.added.borrow().clone() {
            return Ok(added);
        }
        let _file = self.0.file.lock().await;
        self.read().await
    }

    /// Adds a definition. Succeeds without a change if there is the same one.
    pub async fn add(&self, name: &str, body: ProviderBody) -> Result<StoredDefinition, DefinitionError> {
        let definition = Arc::new(added::validate(name, &body)?);
        if let Some(existing) = self.configured().get(name) {
            let is_same = *existing == definition;
            return if is_same {
                Ok(StoredDefinition { definition, is_new: false })
            } else {
                Err(DefinitionError::Taken)
            };
        }
        let (directory, name, added) = (self.clone(), name.to_owned(), definition.clone());
        let is_new = finish(async move {
            let is_new = directory.change(|list| list.with(&name, &body, &added)).await?;
            if is_new {
                info!(provider = name, "provider added");
            }
            Ok(is_new)
        });
        Ok(StoredDefinition { definition, is_new: is_new.await? })
    }

    /// Removes an added definition.
    pub async fn remove(&self, name: &str) -> Result<(), DefinitionError> {
        let (directory, name) = (self.clone(), name.to_owned());
        finish(async move {
            let configured = directory.configured();
            let unknown = if configured.contains_key(&name) {
                DefinitionError::Configured
            } else {
                DefinitionError::Unknown
            };
            directory.change(|list| list.without(&name).ok_or(unknown).map(Some)).await?;
            info!(provider = name, "provider removed");
            Ok(())
        })
        .await
    }

    /// Changes the list, once the file has the change. Returns whether there was one.
    async fn change(
        &self,
        change: impl FnOnce(&AddedDefinitions) -> Result<Option<AddedDefinitions>, DefinitionError>,
    ) -> Result<bool, DefinitionError> {
        let _file = self.0.file.lock().await;
        let Some(changed) = change(&*self.read().await?)? else { return Ok(false) };
        if let Err(error) = file::write(&self.0.state_dir, &changed).await {
            // The file may have the change. The task writes the list again.
            self.0.unsaved.send_replace(true);
            return Err(DefinitionError::NotWritten(error));
        }
        self.0.added.send_replace(Some(Arc::new(changed)));
        Ok(true)
    }

    /// The list; reads the file first if necessary. The caller holds the lock of the file.
    async fn read(&self) -> Result<Arc<AddedDefinitions>, DefinitionError> {
        if let Some(added) = self.0.added.borrow().clone() {
            return Ok(added);
        }
        let added = file::read(&self.0.state_dir).await.map_err(DefinitionError::NotRead)?;
        for (name, definition) in added.iter() {
            if let Err(reason) = definition {
                warn!(provider = name, reason, "added provider cannot be used; its entry stays in the list");
            }
        }
        let added = Arc::new(added);
        self.0.added.send_replace(Some(added.clone()));
        Ok(added)
    }

    /// Reads the list if it was not read, and writes it if a write has failed.
    async fn settle(&self) -> Result<(), DefinitionError> {
        let _file = self.0.file.lock().await;
        let added = self.read().await?;
        if *self.0.unsaved.borrow() {
            file::write(&self.0.state_dir, &added).await.map_err(DefinitionError::NotWritten)?;
            self.0.unsaved.send_replace(false);
        }
        Ok(())
    }

    /// The names of added definitions that a definition of the configuration replaces.
    fn replaced(&self) -> BTreeSet<String> {
        let (configured, added) = (self.configured(), self.0.added.borrow().clone().unwrap_or_default());
        added.iter().map(|(name, _)| name.to_owned()).filter(|name| configured.contains_key(name)).collect()
    }
}

/// Reads the list, repeats failed reads and writes, and warns of replaced definitions, until the
/// daemon stops.
pub(crate) async fn run(directory: ProviderDirectory, stopping: CancellationToken) {
    let inner = &directory.0;
    let (mut configured, mut added) = (inner.configured.clone(), inner.added.subscribe());
    let (mut unsaved, mut recreated) = (inner.unsaved.subscribe(), inner.state_dir.recreated());
    let (mut last_error, mut replaced) = (None, BTreeSet::new());
    loop {
        unsaved.mark_unchanged();
        let error = directory.settle().await.err().map(|error| error.to_string());
        if let Some(error) = error.as_ref().filter(|_| error != last_error) {
            warn!(error, "list of added providers not settled; no change is possible; retrying");
        }
        last_error = error;
        configured.mark_unchanged();
        added.mark_unchanged();
        let now_replaced = directory.replaced();
        for name in now_replaced.difference(&replaced) {
            warn!(provider = name, "the definition in authd.toml replaces the added one of the same name");
        }
        replaced = now_replaced;
        tokio::select! {
            () = stopping.cancelled() => break,
            Ok(()) = configured.changed() => {}
            Ok(()) = added.changed() => {}
            Ok(()) = unsaved.changed() => {}
            // The state directory was removed with the list.
            Ok(()) = recreated.changed() => drop(inner.unsaved.send_replace(true)),
            () = tokio::time::sleep(RETRY), if last_error.is_some() => {}
        }
    }
    // The last chance to write a change that could not be written before.
    directory.settle().await.ok();
}
