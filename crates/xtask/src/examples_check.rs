//! `cargo xtask test examples`: runs the files of `examples` and the tests of `clients` with the
//! real tools, against a daemon and the sandbox. `cargo xtask test providers`: signs in to
//! providers that were not written here. The tools come from npm, `PyPI` and Debian; the first two
//! go into a directory that is kept. A part whose tools cannot be installed is skipped, with a
//! message.

mod codex_home;
mod conformance;
mod git;
mod logins;
mod mail;
mod many_grants;
mod mcp;
mod oidc;
mod providers;
mod shares;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tokio::{process::Command as AsyncCommand, runtime::Runtime, time::timeout};

use crate::{
    shell::{self, print},
    tools::{ToolDir, run_quiet, skip},
};

/// Longest time of one program. It only stops a hanging run.
const TIMEOUT: Duration = Duration::from_secs(180);
/// The sandbox's answer to "What is 2+2?".
const ANSWER: &str = "2 + 2 = 4";
/// The profiles, one in each mode, and their accounts.
const PROFILES: [(&str, &str); 2] = [("default", "plus"), ("work", "business")];

/// A profile that does not exist.
const NO_PROFILE: &str = "nobody";

/// A program that is run as an example.
struct Example {
    /// The command line, run in the tool directory.
    command: &'static [&'static str],
    /// What the program needs.
    requirements: &'static [Requirement],
    /// What the program must do.
    expectation: Expectation,
}

/// What an example must do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expectation {
    /// Exit with success: the example is a test suite.
    Succeed,
    /// Print the answer to its question, for both profiles.
    Answer,
    /// The same, and also after the provider has expired the access token.
    AnswerAfterExpiry,
    /// The same, and show why authd refuses a request.
    AnswerOrReason,
}

/// A tool or a library that an example needs.
#[derive(Clone, Copy)]
enum Requirement {
    /// A program of this machine, which is not installed by xtask.
    Program(&'static str),
    /// A Python virtual environment.
    Python,
    /// Node 18 or newer.
    Node,
    /// A package from `PyPI`.
    Pip(&'static str),
    /// A package from npm.
    Npm(&'static str),
}

use Expectation::{Answer, AnswerAfterExpiry, AnswerOrReason, Succeed};
use Requirement::{Node, Npm, Pip, Program, Python};

const OPENAI_NPM: Requirement = Npm("openai@7.57.0");
const OPENAI_PIP: Requirement = Pip("openai==3.57.0");
const CODEX: Requirement = Npm("@openai/codex@0.171.0");
/// For programs that the Node of the machine may be too old for. It comes first in the `PATH` of
/// its workspace.
const NODE_22: Requirement = Npm("node@22.23.3");
const UNDICI: Requirement = Npm("undici@6.29.1");
/// Node with options that resolve packages from the symbolic link, not from the file behind it.
const NODE: [&str; 3] = ["node", "--preserve-symlinks", "--preserve-symlinks-main"];

const EXAMPLES: [Example; 21] = [
    example(
        Succeed,
        &["python", "-m", "unittest", "discover", "--start-directory", "clients/python"],
        &[Python],
    ),
    example(
        Succeed,
        &["python", "-m", "mypy", "--strict", "clients/python/authd.py", "clients/python/test_authd.py"],
        &[Pip("mypy==2.4.1")],
    ),
    example(Succeed, &["node", "--test", "clients/node/authd.test.mjs"], &[Node]),
    example(Succeed, &TSC, &[Npm("typescript@7.0.2"), Npm("@types/node@20.19.43")]),
    example(Answer, &["bash", "examples/curl.sh"], &[Program("bash"), Program("curl")]),
    example(AnswerAfterExpiry, &["bash", "examples/curl-relay.sh"], &[Program("bash"), Program("curl")]),
    example(AnswerAfterExpiry, &["python", "examples/httpx_relay.py"], &[Pip("httpx==0.28.1")]),
    example(AnswerAfterExpiry, &["python", "examples/requests_relay.py"], &[Pip("requests==2.34.2")]),
    example(Answer, &["python", "examples/openai_token.py"], &[OPENAI_PIP]),
    example(AnswerOrReason, &["python", "examples/openai_relay.py"], &[OPENAI_PIP]),
    example(AnswerAfterExpiry, &[NODE[0], NODE[1], NODE[2], "examples/fetch.mjs"], &[Node]),
    example(AnswerAfterExpiry, &[NODE[0], NODE[1], NODE[2], "examples/undici.mjs"], &[UNDICI]),
    example(Answer, &[NODE[0], NODE[1], NODE[2], "examples/openai-token.mjs"], &[OPENAI_NPM]),
    example(AnswerOrReason, &[NODE[0], NODE[1], NODE[2], "examples/openai-relay.mjs"], &[OPENAI_NPM, UNDICI]),
    // The Python lines of docs/programs.md, without the variable that not every session has.
    example(Succeed, &["env", "--unset", "XDG_RUNTIME_DIR", "python", "-c", DOCS_PYTHON], &[Python]),
    example(Answer, &["authctl", "exec", "--raw", "--", "python", "examples/exec_openai.py"], &[OPENAI_PIP]),
    example(
        AnswerAfterExpiry,
        &["authctl", "exec", "--", "python", "examples/exec_openai.py"],
        &[OPENAI_PIP],
    ),
    example(
        AnswerAfterExpiry,
        &["authctl", "exec", "--", NODE[0], NODE[1], NODE[2], "examples/exec-openai.mjs"],
        &[OPENAI_NPM],
    ),
    example(
        Answer,
        &["authctl", "exec", "--", "python", "examples/exec_langchain.py"],
        &[OPENAI_PIP, Pip("langchain-openai==1.7.4")],
    ),
    example(
        Answer,
        &["authctl", "exec", "--", "llm", "-m", "gpt-5.5", "--system", "Be brief.", "What is 2+2?"],
        &[OPENAI_PIP, Pip("llm==0.36")],
    ),
    example(Answer, &["bash", "examples/codex/codex.sh"], &[Program("bash"), CODEX]),
];

const DOCS_PYTHON: &str = r#"
import pathlib, re
exec(re.search("```python\n(.*?)```", pathlib.Path("docs/programs.md").read_text(), re.S)[1])
assert url.startswith("http") and headers["Authorization"], answer
"#;

const TSC: [&str; 14] = [
    "node",
    "node_modules/typescript/bin/tsc",
    "--noEmit",
    "--checkJs",
    "--strict",
    "--noUncheckedIndexedAccess",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--types",
    "node",
    "clients/node/authd.mjs",
    "clients/node/authd.test.mjs",
];

const fn example(
    expectation: Expectation,
    command: &'static [&'static str],
    requirements: &'static [Requirement],
) -> Example {
    Example { command, requirements, expectation }
}

/// Runs every example whose tools are available.
pub(crate) fn check() -> anyhow::Result<()> {
    let (workspace, runtime) = prepare("examples")?;
    let mut runnable = Vec::new();
    for example in &EXAMPLES {
        match workspace.install_all(example.requirements) {
            Ok(()) => runnable.push(example),
            Err(reason) => skip(&example.command.join(" "), &reason)?,
        }
    }
    runtime.block_on(run_all(&workspace, &runnable))?;
    print(&format!("{} of {} examples succeeded", runnable.len(), EXAMPLES.len()));
    match workspace.install(CODEX) {
        Ok(()) => runtime.block_on(codex_home::check(&workspace))?,
        Err(reason) => skip("Codex in a managed home", &reason)?,
    }
    runtime.block_on(shares::check(&workspace))
}

/// Signs in to providers that were not written here, and runs programs with their tokens.
pub(crate) fn check_providers() -> anyhow::Result<()> {
    let (workspace, runtime) = prepare("providers")?;
    runtime.block_on(async {
        providers::check(&workspace).await?;
        logins::check(&workspace).await?;
        git::check(&workspace).await?;
        mail::check(&workspace).await?;
        mcp::check(&workspace).await?;
        conformance::check(&workspace).await?;
        many_grants::check(&workspace, many_grants::SHORT).await
    })
}

/// Runs two hundred profiles for ten minutes.
pub(crate) fn check_many_grants() -> anyhow::Result<()> {
    let (workspace, runtime) = prepare("providers")?;
    runtime.block_on(many_grants::check(&workspace, many_grants::FULL))
}

/// Builds the programs, and opens the workspace of this name.
fn prepare(workspace: &str) -> anyhow::Result<(Workspace, Runtime)> {
    shell::build_programs()?;
    Ok((Workspace::open(workspace)?, shell::runtime()?))
}

/// A sandbox, and a daemon that has all profiles. `codex_config` is a file of examples/codex, and
/// becomes the configuration of Codex in the daemon's home directory.
async fn start(codex_config: &str) -> anyhow::Result<(Sandbox, TestDaemon)> {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox)).await;
    for (profile, account) in PROFILES {
        daemon.sign_in(profile, account).await;
    }
    let codex = daemon.dir().join("home/.codex");
    fs::create_dir(&codex)?;
    fs::copy(shell::root().join("examples/codex").join(codex_config), codex.join("config.toml"))?;
    Ok((sandbox, daemon))
}

async fn run_all(workspace: &Workspace, examples: &[&Example]) -> anyhow::Result<()> {
    let (sandbox, daemon) = start("config.toml").await?;
    for example in examples {
        if example.expectation == Succeed {
            run(example.command, workspace, &daemon, PROFILES[0].0).await?;
            continue;
        }
        for (profile, _) in PROFILES {
            run_question(example.command, workspace, &daemon, profile).await?;
        }
        if matches!(example.expectation, AnswerAfterExpiry | AnswerOrReason) {
            print("       with an expired access token:");
            sandbox.expire_access_tokens();
            run_question(example.command, workspace, &daemon, PROFILES[0].0).await?;
        }
        if example.expectation == AnswerOrReason {
            let output = output(example.command, workspace, &daemon, NO_PROFILE).await?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            let is_shown = stderr.contains("authd: ") && stderr.contains(NO_PROFILE);
            ensure!(!output.status.success() && is_shown, "an SDK hides the reason: {stderr}");
        }
    }
    Ok(())
}

async fn run_question(
    command: &[&str],
    workspace: &Workspace,
    daemon: &TestDaemon,
    profile: &str,
) -> anyhow::Result<()> {
    let stdout = run(command, workspace, daemon, profile).await?;
    ensure!(stdout.contains(ANSWER), "{} printed no answer: {stdout}", command.join(" "));
    Ok(())
}

/// Runs a command to its end, with the environment of a client of the daemon. Returns its stdout.
async fn run(
    command: &[&str],
    workspace: &Workspace,
    daemon: &TestDaemon,
    profile: &str,
) -> anyhow::Result<String> {
    let started = Instant::now();
    let output = output(command, workspace, daemon, profile).await?;
    let shown = shown(command, profile);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{shown}: {}\n{stdout}\n{stderr}", output.status);
    print(&format!("{:5.1} s  {shown}", started.elapsed().as_secs_f64()));
    Ok(stdout.into_owned())
}

fn shown(command: &[&str], profile: &str) -> String {
    format!("{} ({profile})", command.join(" "))
}

/// Runs a command to its end, whatever its exit code is.
async fn output(
    command: &[&str],
    workspace: &Workspace,
    daemon: &TestDaemon,
    profile: &str,
) -> anyhow::Result<Output> {
    let (program, args) = command.split_first().context("an example has a program")?;
    let mut child = workspace.command(program, daemon.env())?;
    child.args(args).env("AUTHCTL_PROFILE", profile).env("PYTHONDONTWRITEBYTECODE", "1");
    let shown = shown(command, profile);
    let output = timeout(TIMEOUT, child.output()).await.with_context(|| format!("{shown} timed out"))?;
    output.with_context(|| format!("cannot start {shown}"))
}

/// The directory where the examples run: tools, and links to our files.
struct Workspace {
    tools: ToolDir,
}

impl Workspace {
    /// Opens the workspace of this name.
    fn open(name: &str) -> anyhow::Result<Self> {
        let tools = ToolDir::open(name)?;
        // Without this file npm uses a project of a parent directory.
        let project = tools.path().join("package.json");
        if !project.exists() {
            fs::write(project, "{\"private\": true}\n")?;
        }
        // Links in this directory let Node find node_modules beside them.
        for name in ["clients", "docs", "examples"] {
            let link = tools.path().join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(shell::root().join(name), &link)?;
            }
        }
        Ok(Self { tools })
    }

    /// Copies a script of this step here: Node looks for packages beside the script.
    fn copy(&self, script: &str) -> anyhow::Result<()> {
        let source = shell::root().join("crates/xtask/src/examples_check").join(script);
        fs::copy(source, self.tools.path().join(script)).with_context(|| script.to_owned())?;
        Ok(())
    }

    /// Installs all these tools. The error is that of the first one that is not available.
    fn install_all(&self, requirements: &[Requirement]) -> anyhow::Result<()> {
        requirements.iter().try_for_each(|requirement| self.install(*requirement))
    }

    /// Installs a tool, or checks that it is installed. The error says why it is not available.
    fn install(&self, requirement: Requirement) -> anyhow::Result<()> {
        match requirement {
            Program(name) => ensure!(shell::is_installed(name), "{name} is not installed"),
            Python => drop(self.tools.python()?),
            Node => {
                const CHECK: &str = "process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)";
                ensure!(shell::is_installed("node"), "node is not installed");
                ensure!(run_quiet(Command::new("node").args(["-e", CHECK])).is_ok(), "node is older than 18");
            }
            Pip(package) => self.tools.install_pip(package)?,
            Npm(package) => {
                self.install(Node)?;
                self.tools.install_npm(package)?;
            }
        }
        Ok(())
    }

    /// A command that runs in this directory, with this environment, and finds the tools.
    fn command(&self, program: &str, env: &[(String, String)]) -> anyhow::Result<AsyncCommand> {
        let mut command = AsyncCommand::new(program);
        command.current_dir(self.tools.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env_clear().envs(env.iter().cloned()).env("PATH", self.search_path()?);
        Ok(command)
    }

    /// The `PATH`: our programs, then the tools of this directory, then the machine's.
    fn search_path(&self) -> anyhow::Result<std::ffi::OsString> {
        let authctl = shell::binary("authctl")?;
        let programs = authctl.parent().map(Path::to_owned).into_iter();
        let tools = ["venv/bin", "node_modules/.bin"].map(|directory| self.tools.path().join(directory));
        let machine = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths(programs.chain(tools).chain(std::env::split_paths(&machine)))?)
    }
}
