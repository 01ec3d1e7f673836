//! `cargo xtask test workflows`: checks the files in `.github`. check-jsonschema compares them with
//! the schemas of GitHub, and zizmor looks for weaknesses such as unpinned actions, wide
//! permissions and injection; both come from `PyPI`. Nothing runs the workflows here.

use std::{fs, path::Path, process::Command};

use anyhow::Context;

use crate::{
    dependencies::CARGO_DENY,
    shell::{self, root},
    test,
    tools::{ToolDir, skip},
};

const CHECK_JSONSCHEMA: &str = "check-jsonschema==0.39.0";
const ZIZMOR: &str = "zizmor==1.32.0";
/// The schemas, which check-jsonschema contains, and their files.
const SCHEMAS: [(&str, &[&str]); 4] = [
    ("vendor.github-workflows", &["workflows"]),
    ("vendor.dependabot", &["dependabot.yml"]),
    ("vendor.github-issue-forms", &["ISSUE_TEMPLATE/bug.yml", "ISSUE_TEMPLATE/idea.yml"]),
    ("vendor.github-issue-config", &["ISSUE_TEMPLATE/config.yml"]),
];

/// Checks the workflows against the steps of xtask, then all files with the two tools.
pub(crate) fn check() -> anyhow::Result<()> {
    let directory = root().join(".github");
    let workflows = files(&directory.join("workflows"))?;
    let mut problems = Vec::new();
    for (name, text) in &workflows {
        problems.extend(
            problems_of(text, &test::step_names()).iter().map(|problem| format!("{name}: {problem}")),
        );
    }
    shell::report(&problems, "the workflows differ from crates/xtask/src")?;

    let tools = ToolDir::open("lint")?;
    if let Err(reason) = tools.install_pip(CHECK_JSONSCHEMA).and_then(|()| tools.install_pip(ZIZMOR)) {
        return skip("workflows", &reason);
    }
    let tool = |name: &str| {
        let mut command = Command::new(tools.path().join("venv/bin").join(name));
        command.current_dir(&directory);
        command
    };
    for (schema, paths) in SCHEMAS {
        let mut command = tool("check-jsonschema");
        command.args(["--builtin-schema", schema]);
        for path in paths {
            if directory.join(path).is_dir() {
                command.args(workflows.iter().map(|(name, _)| format!("{path}/{name}")));
            } else {
                command.arg(path);
            }
        }
        shell::run(&mut command)?;
    }
    shell::run(tool("zizmor").args(["--offline", "--no-progress", "--quiet", "--config", "zizmor.yml", "."]))
}

/// The names and texts of the files in a directory, by name.
fn files(directory: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, fs::read_to_string(&path)?));
    }
    files.sort();
    Ok(files)
}

/// What a workflow names that xtask does not know: steps, and another version of cargo-deny.
fn problems_of(workflow: &str, steps: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (_, rest) in workflow.lines().filter_map(|line| line.split_once("cargo xtask test ")) {
        for step in rest.split_whitespace().filter(|step| !steps.contains(step)) {
            problems.push(format!("cargo xtask test has no step {step}"));
        }
    }
    for (_, rest) in workflow.lines().filter_map(|line| line.split_once("cargo-deny@")) {
        let version = rest.split([',', ' ']).next().unwrap_or_default();
        if version != CARGO_DENY.version {
            problems.push(format!("cargo-deny {version} is not {}", CARGO_DENY.version));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [&str; 2] = ["fmt", "typos"];

    #[test]
    fn unknown_step_is_reported() {
        assert_eq!(
            problems_of("- run: cargo xtask test fmt typos\n- run: cargo xtask dist\n", &STEPS),
            [""; 0]
        );
        let problems = problems_of("- run: cargo xtask test fmt other\n", &STEPS);
        assert_eq!(problems, ["cargo xtask test has no step other"]);
    }

    #[test]
    fn other_version_of_cargo_deny_is_reported() {
        let line = |version: &str| format!("tool: cargo-nextest,cargo-deny@{version},cargo-fuzz\n");
        assert_eq!(problems_of(&line(CARGO_DENY.version), &STEPS), [""; 0]);
        assert_eq!(problems_of(&line("0.1.0"), &STEPS).len(), 1);
    }

    #[test]
    fn workflows_of_the_repository_name_known_steps() {
        let workflows = files(&root().join(".github/workflows")).unwrap();
        assert!(workflows.iter().any(|(_, text)| text.contains("cargo xtask test ")));
        for (name, text) in workflows {
            assert_eq!(problems_of(&text, &test::step_names()), [""; 0], "{name}");
        }
    }
}
