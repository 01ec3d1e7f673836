//! The list of added definitions in the state directory. It holds no secret.

use std::{collections::BTreeMap, io};

use authd_store::StateDir;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::added::AddedDefinitions;
use crate::json_file::JsonFile;

const FILE: JsonFile = JsonFile {
    name: "providers.json",
    version: 1,
    longest: 4 << 20,
    damaged: "list of added providers damaged; add them again with authctl mcp add",
};

/// The entries stay texts until each one is validated by itself.
#[derive(Default, Deserialize)]
struct StoredList {
    providers: BTreeMap<String, Box<RawValue>>,
}

#[derive(Serialize)]
struct ListFile<'a> {
    version: u32,
    providers: BTreeMap<&'a str, &'a RawValue>,
}

/// Reads the list. An entry that cannot be used stays in it.
pub(super) async fn read(state_dir: &StateDir) -> io::Result<AddedDefinitions> {
    let list: StoredList = FILE.read(state_dir).await?;
    Ok(AddedDefinitions::from_entries(list.providers))
}

/// Replaces the list.
pub(super) async fn write(state_dir: &StateDir, added: &AddedDefinitions) -> io::Result<()> {
    FILE.write(state_dir, &ListFile { version: FILE.version, providers: added.entries() }).await
}
