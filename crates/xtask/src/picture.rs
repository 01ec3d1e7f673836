//! `cargo xtask picture`: runs a session with the real programs and the sandbox, and records it in
//! `docs/session.svg`. `cargo xtask test picture` fails if the programs print something else now.

use std::{fs, process::Command};

use anyhow::{Context, ensure};

use crate::{
    session::Session,
    shell::{self, print, root},
    tools::skip,
};

mod svg;

/// The recorded picture.
const PICTURE: &str = "docs/session.svg";

/// The commands, as a user types them, and the account at the sign-in page.
const COMMANDS: [(&str, &str); 5] = [
    ("authctl login", "plus"),
    ("authctl login work --quiet", "business"),
    ("authctl profiles", ""),
    ("authctl headers | head -n 2", ""),
    ("authctl ask -p work \"What is 2+2?\"", ""),
];

/// Columns of the terminal.
const COLUMNS: usize = 92;

/// Runs the session, and writes the picture.
pub(crate) fn run() -> anyhow::Result<()> {
    fs::write(root().join(PICTURE), record()?)?;
    print(&format!("wrote {PICTURE}"));
    Ok(())
}

/// Runs the session, and compares it with the picture.
pub(crate) fn check() -> anyhow::Result<()> {
    // The `script` of util-linux makes a terminal for a command; that of macOS has other options.
    for program in ["script", "curl"] {
        if !shell::is_installed(program) {
            return skip("the picture", &anyhow::anyhow!("{program} is not installed"));
        }
    }
    let picture = fs::read_to_string(root().join(PICTURE)).context(PICTURE)?;
    let now = record()?;
    let difference = picture.lines().zip(now.lines()).find(|(old, new)| old != new);
    ensure!(
        picture == now,
        "{PICTURE} does not show what the programs print: run cargo xtask picture\n{}",
        difference.map_or("the number of lines differs".to_owned(), |(old, new)| format!("- {old}\n+ {new}"))
    );
    print(&format!("{PICTURE} shows what the programs print."));
    Ok(())
}

fn record() -> anyhow::Result<String> {
    shell::build_programs()?;
    ensure!(Command::new("bash").arg("--version").output().is_ok(), "bash is not installed");
    let runtime = shell::runtime()?;
    runtime.block_on(async {
        let session = Session::start().await?;
        let mut output = Vec::new();
        for (command, account) in COMMANDS {
            output.extend_from_slice(format!("\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n").as_bytes());
            let shell = format!("bash -o pipefail -c '{command}'");
            let columns = COLUMNS.to_string();
            let variables = [("ACCOUNT", account), ("TERM", "xterm-256color"), ("COLUMNS", &columns)];
            let args = ["--quiet", "--return", "--echo", "never", "--command", &shell, "/dev/null"];
            output.extend(session.run("script", &args, &variables).await.context(command)?);
        }
        Ok(svg::render(&svg::screen(&output), COLUMNS))
    })
}
