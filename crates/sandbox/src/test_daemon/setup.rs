//! The configuration and the environment of a test daemon.

use std::{fs, path::Path};

use super::{TestDaemonConfig, write};
use crate::Sandbox;

/// The configuration. In TLS mode the daemon uses its default addresses, those of the provider.
pub(super) fn toml(config: &TestDaemonConfig<'_>) -> String {
    let provider = if config.sandbox.ca_pem().is_some() {
        String::new()
    } else {
        // The debug format of these strings is valid TOML.
        let endpoints = config.sandbox.endpoints();
        format!(
            "[provider]\nissuer = {:?}\nclient_id = {:?}\nchatgpt_base_url = {:?}\nchatgpt_backend_url = {:?}\napi_base_url = {:?}\n{}\n\n",
            endpoints.issuer,
            endpoints.client_id,
            endpoints.chatgpt_base_url,
            endpoints.chatgpt_backend_url,
            endpoints.api_base_url,
            config.provider_toml,
        )
    };
    format!(
        "{provider}[callback]\n{}\n\n[store]\nkind = {:?}\n\n{}\n",
        config.callback_toml, config.store, config.extra_toml
    )
}

pub(super) fn environment(dir: &Path, sandbox: &Sandbox) -> Vec<(String, String)> {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut env = vec![
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", path("home")),
        ("XDG_CONFIG_HOME", path("home/.config")),
        ("XDG_RUNTIME_DIR", path("")),
        ("AUTHD_SOCKET", path("authd.sock")),
        ("AUTHD_CONFIG", path("authd.toml")),
        ("AUTHD_STATE_DIR", path("state")),
        ("RUST_BACKTRACE", "1".to_owned()),
    ];
    fs::create_dir(dir.join("home")).expect("the directory is writable");
    if let (Some(ca), Some(proxy)) = (sandbox.ca_pem(), sandbox.proxy_url()) {
        write(&dir.join("ca.pem"), ca);
        env.push(("SSL_CERT_FILE", path("ca.pem")));
        env.push(("HTTPS_PROXY", proxy));
    }
    env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
