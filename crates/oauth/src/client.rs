//! Whom our requests name as their client, in the form the provider knows.

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

/// What a user agent says of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The system's name: `Debian`.
    pub system: String,
    /// Its version: `12.0.0`.
    pub release: String,
    /// The processor's architecture: `x86_64`.
    pub architecture: String,
    /// The terminal: `xterm`; `unknown` where there is none.
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
            user_agent: printable(&user_agent),
        }
    }
}

/// The text with everything that cannot stand in a header replaced by `_`.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if matches!(letter, ' '..='~') { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_is_the_recorded_one() {
        let machine = Machine {
            system: "Debian".to_owned(),
            release: "12.0.0".to_owned(),
            architecture: "x86_64".to_owned(),
            terminal: "xterm\n".to_owned(),
        };
        let identity = ClientIdentity::codex("codex_cli_rs", "0.34.0", &machine);
        assert_eq!(identity.user_agent, "codex_cli_rs/0.34.0 (Debian 12.0.0; x86_64) xterm_");
    }
}
