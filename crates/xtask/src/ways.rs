//! `cargo xtask test ways`: every way in for other programs, walked with the real tools. The files of
//! `examples` and the tests of `clients` run against a daemon with the sandbox behind it. The tools come
//! from npm and `PyPI` into a directory that is kept; what cannot be had is skipped, and said.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tokio::{process::Command as Child, time::timeout};

use crate::{
    shell::{self, say},
    tools::{Tools, skipped, succeeds},
};

/// How long one program may take: a bound against hanging, not an expectation.
const PATIENCE: Duration = Duration::from_secs(180);
/// What the sandbox says when it is asked "What is 2+2?".
const ANSWER: &str = "2 + 2 = 4";
/// The profiles, one in each mode, and the accounts behind them.
const PROFILES: [(&str, &str); 2] = [("default", "plus"), ("work", "business")];

/// A program that goes in.
struct Way {
    /// What is run, in the cache's directory.
    line: &'static [&'static str],
    /// What it needs besides.
    needs: &'static [Need],
    /// What it has to do.
    task: Task,
}

/// What a way has to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// To succeed: it is a test.
    Succeed,
    /// To get the question answered, for both profiles.
    Ask,
    /// The same, and once more when the provider refuses the token that authd takes for good.
    AskAndHeal,
}

/// What may not be there.
#[derive(Clone, Copy)]
enum Need {
    /// A program that the machine has or has not.
    Program(&'static str),
    /// Python with a virtual environment.
    Python,
    /// Node, new enough.
    Node,
    /// A package from `PyPI`.
    Pip(&'static str),
    /// A package from npm.
    Npm(&'static str),
}

use Need::{Node, Npm, Pip, Program, Python};
use Task::{Ask, AskAndHeal, Succeed};

const OPENAI_NPM: Need = Npm("openai@7.57.0");
const OPENAI_PIP: Need = Pip("openai==3.54.0");
const UNDICI: Need = Npm("undici@6.29.1");
/// Node finds packages from where a file seems to lie, not from where the link to it leads.
const NODE: [&str; 3] = ["node", "--preserve-symlinks", "--preserve-symlinks-main"];

const WAYS: [Way; 15] = [
    way(Succeed, &["python", "-m", "unittest", "discover", "--start-directory", "clients/python"], &[Python]),
    way(
        Succeed,
        &["python", "-m", "mypy", "--strict", "clients/python/authd.py", "clients/python/test_authd.py"],
        &[Pip("mypy==2.4.1")],
    ),
    way(Succeed, &["node", "--test", "clients/node/authd.test.mjs"], &[Node]),
    way(Succeed, &TSC, &[Npm("typescript@7.0.2"), Npm("@types/node@20.19.43")]),
    way(Ask, &["bash", "examples/curl.sh"], &[Program("bash"), Program("curl")]),
    way(AskAndHeal, &["bash", "examples/curl-relay.sh"], &[Program("bash"), Program("curl")]),
    way(AskAndHeal, &["python", "examples/httpx_relay.py"], &[Pip("httpx==0.28.1")]),
    way(AskAndHeal, &["python", "examples/requests_relay.py"], &[Pip("requests==2.34.2")]),
    way(Ask, &["python", "examples/openai_token.py"], &[OPENAI_PIP]),
    way(AskAndHeal, &["python", "examples/openai_relay.py"], &[OPENAI_PIP]),
    way(AskAndHeal, &[NODE[0], NODE[1], NODE[2], "examples/fetch.mjs"], &[Node]),
    way(AskAndHeal, &[NODE[0], NODE[1], NODE[2], "examples/undici.mjs"], &[UNDICI]),
    way(Ask, &[NODE[0], NODE[1], NODE[2], "examples/openai-token.mjs"], &[OPENAI_NPM]),
    way(AskAndHeal, &[NODE[0], NODE[1], NODE[2], "examples/openai-relay.mjs"], &[OPENAI_NPM, UNDICI]),
    way(Ask, &["bash", "examples/codex/codex.sh"], &[Program("bash"), Npm("@openai/codex@0.169.0")]),
];

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

const fn way(task: Task, line: &'static [&'static str], needs: &'static [Need]) -> Way {
    Way { line, needs, task }
}

/// Walks every way that this machine has the tools for.
pub(crate) fn check() -> anyhow::Result<()> {
    shell::run(&mut shell::cargo(&["build", "--package", "authd", "--package", "authctl"]))?;
    let cache = Cache::open()?;
    let mut open = Vec::new();
    for way in &WAYS {
        match way.needs.iter().try_for_each(|need| cache.provide(*need)) {
            Ok(()) => open.push(way),
            Err(why) => skipped(&way.line.join(" "), &why)?,
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(walk(&cache, &open))?;
    say(&format!("{} of {} ways walked", open.len(), WAYS.len()));
    Ok(())
}

async fn walk(cache: &Cache, ways: &[&Way]) -> anyhow::Result<()> {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox)).await;
    for (profile, account) in PROFILES {
        daemon.sign_in(profile, account).await;
    }
    // Where codex.sh says that the configuration belongs.
    let codex = daemon.dir().join("home/.codex");
    fs::create_dir(&codex)?;
    fs::copy(shell::root().join("examples/codex/config.toml"), codex.join("config.toml"))?;
    for way in ways {
        if way.task == Succeed {
            run(way, cache, &daemon, PROFILES[0].0).await?;
            continue;
        }
        for (profile, _) in PROFILES {
            ask(way, cache, &daemon, profile).await?;
        }
        if way.task == AskAndHeal {
            say("       and with a token that the provider refuses:");
            sandbox.expire_access_tokens();
            ask(way, cache, &daemon, PROFILES[0].0).await?;
        }
    }
    Ok(())
}

async fn ask(way: &Way, cache: &Cache, daemon: &TestDaemon, profile: &str) -> anyhow::Result<()> {
    let said = run(way, cache, daemon, profile).await?;
    ensure!(said.contains(ANSWER), "{} got no answer, but: {said}", way.line.join(" "));
    Ok(())
}

/// Runs a way to its end, with the environment of a client of the daemon; returns what it wrote to stdout.
async fn run(way: &Way, cache: &Cache, daemon: &TestDaemon, profile: &str) -> anyhow::Result<String> {
    let (program, args) = way.line.split_first().context("a way has a program")?;
    let started = Instant::now();
    let mut child = Child::new(program);
    child.args(args).current_dir(cache.tools.dir()).stdin(Stdio::null()).kill_on_drop(true);
    child.env_clear().envs(daemon.env().iter().cloned());
    child.env("PATH", cache.path()?).env("AUTHCTL_PROFILE", profile).env("PYTHONDONTWRITEBYTECODE", "1");
    let shown = format!("{} ({profile})", way.line.join(" "));
    let output = timeout(PATIENCE, child.output()).await.with_context(|| format!("{shown} does not end"))?;
    let output = output.with_context(|| format!("cannot start {shown}"))?;
    let (said, muttered) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{shown}: {}\n{said}\n{muttered}", output.status);
    say(&format!("{:5.1} s  {shown}", started.elapsed().as_secs_f64()));
    Ok(said.into_owned())
}

/// The directory with the tools, as the ways see it.
struct Cache {
    tools: Tools,
}

impl Cache {
    fn open() -> anyhow::Result<Self> {
        let tools = Tools::open("ways")?;
        // Without it npm looks for a project in the directories above.
        let project = tools.dir().join("package.json");
        if !project.exists() {
            fs::write(project, "{\"private\": true}\n")?;
        }
        // The files run from here, so that Node finds node_modules beside them.
        for ours in ["clients", "examples"] {
            let link = tools.dir().join(ours);
            if fs::symlink_metadata(&link).is_err() {
                symlink(shell::root().join(ours), &link)?;
            }
        }
        Ok(Self { tools })
    }

    /// Sees to it that something is there. The error says why it cannot be had.
    fn provide(&self, need: Need) -> anyhow::Result<()> {
        match need {
            Program(name) => ensure!(shell::has(name), "there is no {name}"),
            Python => drop(self.tools.python()?),
            Node => {
                const NEW_ENOUGH: &str = "process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)";
                ensure!(shell::has("node"), "there is no node");
                ensure!(succeeds(Command::new("node").args(["-e", NEW_ENOUGH])).is_ok(), "node is too old");
            }
            Pip(package) => self.tools.pip(package)?,
            Npm(package) => {
                self.provide(Node)?;
                self.tools.npm(package)?;
            }
        }
        Ok(())
    }

    /// Our programs first, then the tools of this directory, then the machine's.
    fn path(&self) -> anyhow::Result<std::ffi::OsString> {
        let authctl = shell::binary("authctl")?;
        let ours = authctl.parent().map(Path::to_owned).into_iter();
        let tools = ["venv/bin", "node_modules/.bin"].map(|place| self.tools.dir().join(place));
        let machine = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths(ours.chain(tools).chain(std::env::split_paths(&machine)))?)
    }
}
