//! `cargo xtask bench --peers`: the same work by authd and by other programs, which must be
//! installed. docs/comparison.md has the result.

mod agent;
mod agents;
mod authd;
mod expired;
mod nginx;
mod oidc_agent;
mod pizauth;
mod provider;
mod relays;
mod table;

use std::path::Path;

use anyhow::ensure;
use serde_json::json;

use self::table::{Line, table};
use super::{Binaries, load_average, machine};
use crate::shell::{self, print, print_note};

/// The programs that must be installed, and their Debian packages.
const PROGRAMS: [(&str, &str); 2] = [("oidc-agent", "oidc-agent-cli"), ("nginx", "nginx-light")];

/// The lines of docs/comparison.md before and after the tables.
const BEGIN: &str = "<!-- cargo xtask bench --peers --write: begin -->";
const END: &str = "<!-- end -->";

/// Measures, and prints the tables or JSON. `write` replaces the tables in docs/comparison.md.
pub(super) async fn run(
    binaries: &Binaries,
    pizauth: Option<&Path>,
    as_json: bool,
    write: bool,
) -> anyhow::Result<()> {
    for (program, package) in PROGRAMS {
        let installed = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(program).is_file());
        ensure!(installed, "{program} is not installed (apt-get install {package})");
    }
    if pizauth.is_none() {
        print_note("without pizauth; name its program with --pizauth PATH");
    }
    let before = load_average();
    print_note("… relays");
    let (relays, nginx) = relays::measure(binaries).await?;
    print_note("… agents");
    let agents = agents::measure(binaries, pizauth).await?;
    let machine = format!("{}; load average {before} before, {} after", machine(), load_average());
    let programs: Vec<_> = agents.programs.iter().zip(&agents.versions).collect();
    let versions: Vec<_> = programs.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let versions = format!("{}, nginx {nginx}", versions.join(", "));
    if as_json {
        let lines = |lines: &[Line], programs: &[&str]| -> Vec<_> {
            lines.iter().map(|line| line.to_json(programs)).collect()
        };
        let agents = lines(&agents.lines, &agents.programs);
        let relays = lines(&relays, &["authd", "nginx"]);
        let all = json!({"machine": machine, "versions": versions, "agents": agents, "relays": relays});
        print(&all.to_string());
    }
    let text = format!(
        "{machine}.\n{versions}.\n\n**Programs that keep tokens**\n\n{}\n**Relays**\n\n{}",
        table(&agents.programs, &agents.lines),
        table(&["authd", "nginx"], &relays),
    );
    if !as_json {
        print(&text);
    }
    if write { shell::replace_between("docs/comparison.md", (BEGIN, END), &text) } else { Ok(()) }
}
