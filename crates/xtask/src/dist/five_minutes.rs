//! The "five minutes" of the README in a system where only the Debian package is installed: a user
//! without a keychain runs the commands, and the provider is the stand-in.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, ensure};
use authd_sandbox::{Account, Config, Endpoints, Sandbox};

use super::system::System;
use crate::{
    session::BROWSER,
    shell::{self, print, root},
};

/// The title of the section in the README.
const SECTION: &str = "## Five minutes with a real account\n";
/// The home directory of the user in the system.
const HOME: &str = "home/user";
/// Commands of the README that need more than the package: a service manager and Python.
const NOT_RUN: [&str; 2] = ["authctl service install", "authctl exec"];
/// The commands that are tried beside those of the README, before the last one, which signs out.
const MORE: [&str; 2] = ["authctl headers", "authctl exec -- env"];
/// What the commands must print.
const EXPECTED: [&str; 5] = [
    "user@example.com",
    "\nAuthorization: Bearer ",
    "\nOPENAI_BASE_URL=http://",
    "\n2 + 2 = 4.",
    "is signed out",
];

/// Runs the commands, and deletes the files of the user.
pub(super) fn run(system: &System) -> anyhow::Result<()> {
    let script = script(&fs::read_to_string(root().join("README.md"))?)?;
    let runtime = shell::runtime()?;
    // The stand-in runs in tasks of the runtime, while this thread waits for the commands.
    let sandbox = runtime.block_on(Sandbox::start(Config::with_accounts(Account::presets())))?;
    let home = system.root().join(HOME);
    write(&home.join("browser"), BROWSER)?;
    write(&home.join("five-minutes"), &script)?;
    write(&home.join(".config/authd/authd.toml"), &configuration(&sandbox.endpoints()))?;
    let output = system.run_as_user(HOME, "five-minutes")?;
    for expected in EXPECTED {
        ensure!(output.contains(expected), "the five minutes print no {expected:?}:\n{output}");
    }
    fs::remove_dir_all(home)?;
    print("the commands of the README work with the installed package");
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// The configuration: the addresses of the stand-in, and any free port for the answer of the
/// browser.
fn configuration(endpoints: &Endpoints) -> String {
    let Endpoints { issuer, client_id, chatgpt_base_url, chatgpt_backend_url, api_base_url } = endpoints;
    // The debug format of these strings is valid TOML.
    format!(
        "[provider]\nissuer = {issuer:?}\nclient_id = {client_id:?}\nchatgpt_base_url = {chatgpt_base_url:?}\n\
         chatgpt_backend_url = {chatgpt_backend_url:?}\napi_base_url = {api_base_url:?}\n\n\
         [callback]\nports = [0]\n"
    )
}

/// The script of the commands. It stops at the first that fails.
fn script(readme: &str) -> anyhow::Result<String> {
    let (_, section) = readme.split_once(SECTION).context("README.md has no section of five minutes")?;
    let block = section.split("```").nth(1).context("the section has no block")?;
    let commands =
        block.lines().map(|line| line.split_once("  #").map_or(line, |(command, _)| command).trim());
    let mut commands: Vec<&str> = commands
        .filter(|line| line.starts_with("authctl ") && !NOT_RUN.iter().any(|start| line.starts_with(start)))
        .collect();
    let last = commands.pop().context("the block has no command")?;
    ensure!(last == "authctl logout", "the last command of the block is {last}");
    commands.extend(MORE);
    commands.push(last);
    let commands: String =
        commands.iter().map(|command| format!("echo '$ {command}'\n{command}\n")).collect();
    Ok(format!(
        "set -e\nmkdir -m 700 \"$HOME/run\"\nexport XDG_RUNTIME_DIR=\"$HOME/run\" BROWSER=\"$HOME/browser\"\n{commands}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_readme_are_taken_over() {
        let block = "\n```sh\ncargo install x\nauthctl service install        # optional\nauthctl ask \"2+2?\"  # 4\nauthctl logout\n```\n";
        let script = script(&format!("# authd\n{SECTION}{block}")).unwrap();
        let (_, commands) = script.split_once("/browser\"\n").unwrap();
        assert_eq!(
            commands,
            "echo '$ authctl ask \"2+2?\"'\nauthctl ask \"2+2?\"\necho '$ authctl headers'\nauthctl headers\n\
             echo '$ authctl exec -- env'\nauthctl exec -- env\necho '$ authctl logout'\nauthctl logout\n"
        );
        assert!(super::script("# authd\n").is_err());
    }

    #[test]
    fn readme_has_the_commands() {
        let script = script(&fs::read_to_string(root().join("README.md")).unwrap()).unwrap();
        for command in ["login", "status", "ask ", "doctor", "logout"] {
            assert!(script.contains(&format!("\nauthctl {command}")), "{command}\n{script}");
        }
    }
}
