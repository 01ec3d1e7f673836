//! The client identity.

use authd_oauth::{CODEX_VERSION, ClientIdentity, Machine};

#[test]
fn user_agent_is_the_recorded_one() {
    let machine = Machine {
        system: "Debian".to_owned(),
        release: "12.0.0".to_owned(),
        architecture: "x86_64".to_owned(),
        terminal: "xterm\n".to_owned(),
    };
    let identity = ClientIdentity::codex("codex_cli_rs", "0.34.0", &machine);
    assert_eq!(identity.user_agent, "codex_cli_rs/0.34.0 (Debian 12.0.0; x86_64) xterm_");
}

/// The files are named `codex-0.171.0.json`.
#[test]
fn default_version_is_that_of_the_newest_recording() {
    let recordings = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire")).unwrap();
    let version = |name: &str| name.strip_prefix("codex-")?.strip_suffix(".json").map(str::to_owned);
    let numbers = |version: &String| version.split('.').map(|number| number.parse().unwrap()).collect();
    let versions = recordings.filter_map(|entry| version(entry.unwrap().file_name().to_str().unwrap()));
    assert_eq!(versions.max_by_key(|version| -> Vec<u64> { numbers(version) }).unwrap(), CODEX_VERSION);
}
