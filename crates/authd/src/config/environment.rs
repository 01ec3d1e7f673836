//! What the configuration takes from its environment: two variables, the machine for the user
//! agent, and the machine's name.

use std::env;

use authd_oauth::Machine;

/// The environment of a configuration.
pub(super) struct Environment {
    /// `OPENAI_ORGANIZATION`.
    pub(super) organization: Option<String>,
    /// `OPENAI_PROJECT`.
    pub(super) project: Option<String>,
    /// This machine.
    pub(super) machine: Machine,
    /// The host name of this machine.
    pub(super) host_name: String,
}

impl Environment {
    /// The environment of this process.
    pub(super) fn current() -> Self {
        let (system, release) = system();
        Self {
            organization: env::var("OPENAI_ORGANIZATION").ok(),
            project: env::var("OPENAI_PROJECT").ok(),
            machine: Machine { system, release, ..Self::default().machine },
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

impl Default for Environment {
    /// An environment without variables, on an unknown machine.
    fn default() -> Self {
        let architecture = match env::consts::ARCH {
            // The name that `uname` reports on macOS.
            "aarch64" if cfg!(target_os = "macos") => "arm64",
            other => other,
        };
        let machine = Machine {
            system: "Linux".to_owned(),
            release: "Unknown".to_owned(),
            architecture: architecture.to_owned(),
            // A daemon has no terminal. The provider's own client sends this word then.
            terminal: "unknown".to_owned(),
        };
        Self { organization: None, project: None, machine, host_name: "localhost".to_owned() }
    }
}

#[cfg(target_os = "macos")]
fn system() -> (String, String) {
    let text =
        std::fs::read_to_string("/System/Library/CoreServices/SystemVersion.plist").unwrap_or_default();
    let after = text.split_once("<key>ProductVersion</key>").map(|(_, after)| after);
    let version = after.and_then(|after| Some(after.split_once("<string>")?.1.split_once("</string>")?.0));
    ("Mac OS".to_owned(), release(version.unwrap_or_default()))
}

#[cfg(not(target_os = "macos"))]
fn system() -> (String, String) {
    linux(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// The first word of the name, and the version, of an os-release file.
#[cfg(any(test, not(target_os = "macos")))]
fn linux(os_release: &str) -> (String, String) {
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']))
    };
    let name = field("NAME").and_then(|name| name.split_whitespace().next()).unwrap_or("Linux");
    (name.to_owned(), release(field("VERSION_ID").unwrap_or_default()))
}

/// A version as the provider's own client gives it: `12` is `12.0.0` and `24.04` is `24.4.0`.
fn release(version: &str) -> String {
    let numbers: Result<Vec<u64>, _> = version.split('.').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([major]) => format!("{major}.0.0"),
        Ok([major, minor]) => format!("{major}.{minor}.0"),
        Ok([major, minor, patch]) => format!("{major}.{minor}.{patch}"),
        Ok(_) | Err(_) if version.is_empty() => "Unknown".to_owned(),
        Ok(_) | Err(_) => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_gives_the_names_that_the_codex_cli_sends() {
        for (file, system, release) in [
            ("NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n", "Debian", "12.0.0"),
            ("VERSION_ID=\"24.04\"\nNAME='Ubuntu'\n", "Ubuntu", "24.4.0"),
            ("NAME=Fedora\nVERSION_ID=43.beta\n", "Fedora", "43.beta"),
            ("PRETTY_NAME=\"Arch Linux\"\n", "Linux", "Unknown"),
            ("", "Linux", "Unknown"),
        ] {
            assert_eq!(linux(file), (system.to_owned(), release.to_owned()), "{file}");
        }
    }
}
