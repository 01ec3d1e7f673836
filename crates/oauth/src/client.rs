//! The client identity that requests carry, in the form that the provider knows.

/// The newest release of the Codex CLI that authd was compared with. Providers grade the list of
/// models by the client's version, and refuse some models to an old one.
pub const CODEX_VERSION: &str = "0.171.0";

/// The client identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The `originator` header.
    pub originator: String,
    /// The `version` header.
    pub version: String,
    /// The `User-Agent` header.
    pub user_agent: String,
}

/// The machine, as the user agent describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The system's name: `Debian`.
    pub system: String,
    /// The system's version: `12.0.0`.
    pub release: String,
    /// The processor's architecture: `x86_64`.
    pub architecture: String,
    /// The terminal: `xterm`; `unknown` without one.
    pub terminal: String,
}

impl ClientIdentity {
    /// An identity in the Codex CLI's form: `codex_cli_rs/0.34.0 (Debian 12.0.0; x86_64) xterm`.
    pub fn codex(originator: &str, version: &str, machine: &Machine) -> Self {
        let Machine { system, release, architecture, terminal } = machine;
        let user_agent = format!("{originator}/{version} ({system} {release}; {architecture}) {terminal}");
        Self {
            originator: originator.to_owned(),
            version: version.to_owned(),
            // A header holds printable ASCII only.
            user_agent: user_agent.replace(|letter: char| !matches!(letter, ' '..='~'), "_"),
        }
    }
}
