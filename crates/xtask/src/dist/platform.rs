//! The machine that a release is for: this one, or one of another architecture, whose programs this
//! machine compiles and runs in an emulator.

use std::{path::Path, process::Command};

use anyhow::{bail, ensure};

use crate::{
    release::{host, static_target},
    shell::{is_installed, print_note},
};

/// The other machines: with a compiler and an emulator of Debian.
const OTHERS: [Other; 1] = [Other {
    target: "aarch64-unknown-linux-gnu",
    linker: "aarch64-linux-gnu-gcc",
    linker_package: "gcc-aarch64-linux-gnu",
    emulator: "qemu-aarch64-static",
    emulator_package: "qemu-user-static",
    libraries: "/usr/aarch64-linux-gnu",
}];

/// A machine that packages are built for.
#[derive(Clone)]
pub(super) struct Platform {
    /// The target triple of `authd`.
    pub(super) daemon: String,
    /// The target triple of `authctl`: that of a static program, if rustup has installed it.
    pub(super) client: String,
    /// `None` for this machine.
    other: Option<&'static Other>,
}

/// What this machine needs for the programs of another one.
struct Other {
    target: &'static str,
    /// The C compiler, which also links the programs.
    linker: &'static str,
    linker_package: &'static str,
    emulator: &'static str,
    emulator_package: &'static str,
    /// The directory of the libraries of the other machine.
    libraries: &'static str,
}

impl Platform {
    /// The machine of this target triple; this machine if it is `None`.
    pub(super) fn new(target: Option<&str>) -> anyhow::Result<Self> {
        let host = host()?;
        let daemon = target.unwrap_or(&host);
        let other = match daemon {
            target if target == host => None,
            target => Some(Other::of(target)?),
        };
        let client = static_target(daemon);
        if client.is_none() {
            print_note(
                "authctl is linked to the C library; for a static program, add the musl target with rustup",
            );
        }
        Ok(Self { daemon: daemon.to_owned(), client: client.unwrap_or(daemon).to_owned(), other })
    }

    /// Whether this machine runs the programs without an emulator.
    pub(super) fn is_this_machine(&self) -> bool {
        self.other.is_none()
    }

    /// The command that runs a program of this platform.
    pub(super) fn command(&self, program: &Path) -> Command {
        let Some(other) = self.other else { return Command::new(program) };
        let mut command = Command::new(other.emulator);
        command.args(["-L", other.libraries]).arg(program);
        command
    }

    /// Adds the linker for a target triple to the environment of Cargo.
    pub(super) fn set_linker(&self, cargo: &mut Command, target: &str) {
        if let Some(other) = self.other {
            let variable = target.to_uppercase().replace('-', "_");
            cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), other.linker);
        }
    }
}

impl Other {
    fn of(target: &str) -> anyhow::Result<&'static Self> {
        let Some(other) = OTHERS.iter().find(|other| other.target == target) else {
            let known = OTHERS.map(|other| other.target).join(", ");
            bail!("this machine builds no packages for {target}; it builds them for itself and {known}");
        };
        for (program, package) in
            [(other.linker, other.linker_package), (other.emulator, other.emulator_package)]
        {
            ensure!(is_installed(program), "{program} is not installed (Debian package {package})");
        }
        Ok(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_target_is_refused() {
        let error = Platform::new(Some("riscv64gc-unknown-linux-gnu")).err().unwrap().to_string();
        assert!(error.ends_with("it builds them for itself and aarch64-unknown-linux-gnu"), "{error}");
    }

    #[test]
    fn programs_of_another_machine_run_in_its_emulator() {
        let platform = Platform { daemon: String::new(), client: String::new(), other: Some(&OTHERS[0]) };
        let command = format!("{:?}", platform.command(Path::new("bin/authctl")));
        assert_eq!(command, r#""qemu-aarch64-static" "-L" "/usr/aarch64-linux-gnu" "bin/authctl""#);
        let mut cargo = Command::new("cargo");
        platform.set_linker(&mut cargo, "aarch64-unknown-linux-musl");
        let set: Vec<_> = cargo.get_envs().collect();
        let (name, value) = set[0];
        assert_eq!(name, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER");
        assert_eq!(value.unwrap(), "aarch64-linux-gnu-gcc");
    }
}
