//! The paths that the daemon uses, for a service manager that restricts them.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use authd_api::{Paths, UsedPaths};
use authd_broker::codex_homes;

use crate::config::Config;

/// The paths that a daemon with this configuration uses: those of the configuration, the state
/// directory, and the Codex homes that it names. Changes nothing.
pub fn used_paths(config: &Config, paths: &Paths) -> io::Result<UsedPaths> {
    let mut writes = BTreeSet::new();
    for home in codex_homes(&paths.state_dir)? {
        // `auth.json` may be a link into another directory, and is written there.
        writes.extend(resolve(&home.join("auth.json")).parent().map(Path::to_path_buf));
        writes.insert(resolve(&home));
    }
    // The first use of the key creates it.
    writes.extend(config.store.key_file().and_then(|file| Some(resolve(file).parent()?.to_path_buf())));
    let state_dir = resolve(&paths.state_dir);
    writes.remove(&state_dir);
    let clients = config.providers.values().filter_map(|definition| definition.client.as_ref());
    let secrets = clients.filter_map(|client| client.secret_file.as_deref());
    let reads = config.store.files().chain(config.network.ca_file.as_deref()).chain(secrets);
    let reads = reads.map(resolve).collect();
    Ok(UsedPaths { writes: [state_dir].into_iter().chain(writes).collect(), reads })
}

/// The path without symbolic links, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    let resolved = path.ancestors().find_map(|existing| Some((existing, fs::canonicalize(existing).ok()?)));
    match resolved.map(|(existing, target)| (path.strip_prefix(existing), target)) {
        Some((Ok(rest), target)) if !rest.as_os_str().is_empty() => target.join(rest),
        Some((Ok(_), target)) => target,
        Some((Err(_), _)) | None => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_of_the_configuration_and_the_codex_homes_are_resolved() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for name in ["state", "codex", "other", "disk"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::write(root.join("other/login.json"), "{}").unwrap();
        symlink(root.join("other/login.json"), root.join("codex/auth.json")).unwrap();
        symlink(root.join("disk"), root.join("link")).unwrap();
        let home = serde_json::json!({"profile": "default", "restorable": false, "taken": false});
        let homes = serde_json::json!({"version": 1, "homes": {root.join("codex").to_str().unwrap(): home}});
        fs::write(root.join("state/codex.json"), homes.to_string()).unwrap();
        let config = Config::parse(&format!(
            "[store]\nkey_file = {:?}\n[network]\nca_file = {:?}\n\
             [store.postgres]\nurl_file = {:?}\nkey_file = {:?}\nca_file = {:?}\n\
             [providers.lab]\nissuer = \"https://lab.example\"\nclient_id = \"me\"\n\
             client_secret_file = {:?}\nclient_auth = \"basic\"\n",
            root.join("link/new/key"),
            root.join("link/ca.pem"),
            root.join("link/url"),
            root.join("link/fleet.key"),
            root.join("link/database.pem"),
            root.join("link/secret"),
        ));
        let paths = Paths { socket: "/s".into(), config: "/c".into(), state_dir: root.join("state") };
        let used = used_paths(&config.unwrap(), &paths).unwrap();
        assert_eq!(used.writes, ["state", "codex", "disk/new", "other"].map(|name| root.join(name)));
        assert_eq!(
            used.reads,
            ["disk/new/key", "disk/url", "disk/fleet.key", "disk/database.pem", "disk/ca.pem", "disk/secret"]
                .map(|name| root.join(name))
        );
        // A list that cannot be read is not an empty one, and stays.
        fs::write(root.join("state/codex.json"), "{").unwrap();
        used_paths(&Config::default(), &paths).unwrap_err();
        assert_eq!(fs::read_to_string(root.join("state/codex.json")).unwrap(), "{");
    }
}
