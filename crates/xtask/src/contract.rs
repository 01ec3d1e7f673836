//! `cargo xtask test contract`: the real daemon against its own OpenAPI document. Schemathesis makes
//! requests of every kind, those that fit and those that do not, and holds each answer against what is
//! documented: its status, its headers, its schema. What fails is a defect of the daemon or of the document.

use std::{fs, io, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::Value;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    process::Command,
    time::timeout,
};

use crate::{
    shell::{self, say, title},
    tools::{Tools, skipped},
};

const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Another seed makes other requests; with one and the same, a failure comes again.
const SEED: &str = "1";
/// How long a round may take: a bound against hanging, not an expectation.
const PATIENCE: Duration = Duration::from_secs(300);
/// The profiles and the accounts behind them, in both modes.
const PROFILES: [(&str, &str); 3] =
    [("default", "plus"), ("work", "business"), ("spare", "business-without-organization")];

/// What is tried together: the operations of these ids, or with none all that no other round has. Each
/// has a daemon of its own, because some take away what others need.
const ROUNDS: [(&str, &[&str]); 3] = [
    ("everything that leaves the logins where they are", &[]),
    ("what moves them", &["export", "import", "migrate_store", "rekey_store"]),
    ("what renames or ends them", &["patch_profile", "sign_out"]),
];

/// What no generated request is answered with success by: a URL of a login that somebody has just approved.
const OUT_OF_REACH: [&str; 1] = ["paste"];

/// Tries the contract, where Schemathesis can be had.
pub(crate) fn check() -> anyhow::Result<()> {
    let tools = Tools::open("contract")?;
    if let Err(why) = tools.pip(SCHEMATHESIS) {
        return skipped("the contract", &why);
    }
    shell::run(&mut shell::cargo(&["build", "--package", "authd"]))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(rounds(&tools))
}

async fn rounds(tools: &Tools) -> anyhow::Result<()> {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await?;
    let (mut contract, mut figures) = (Value::Null, String::new());
    for (name, ids) in ROUNDS {
        title(name);
        let daemon =
            TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file")).await;
        for (profile, account) in PROFILES {
            daemon.sign_in(profile, account).await;
        }
        // Where Codex keeps its login; nobody else would make it.
        fs::create_dir(daemon.dir().join("home/.codex"))?;
        contract = daemon.get("/v1/openapi.json").await;
        tried(ids, tools, &daemon, &contract).await?;
        // Whatever was asked, the daemon is well.
        figures += &daemon.request("GET", "/v1/metrics", &[], "").await.text();
        ensure!(!daemon.log().contains("panicked"), "a task of the daemon panicked:\n{}", daemon.log());
    }
    let (reached, missed) = reached(&contract, &figures);
    say(&format!("answered with success: {reached} operations; never: {}", missed.join(", ")));
    ensure!(
        missed == OUT_OF_REACH,
        "only {OUT_OF_REACH:?} may miss success: help the generator to the others in \
         crates/xtask/src/contract/schemathesis.toml, or mend OUT_OF_REACH in crates/xtask/src/contract.rs"
    );
    Ok(())
}

/// How many operations were answered with success, by the daemon's own figures, and which were not. A
/// relay's success is the upstream's.
fn reached(contract: &Value, figures: &str) -> (usize, Vec<String>) {
    let operations = contract["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods
            .filter_map(move |(method, operation)| Some((path, method, operation["operationId"].as_str()?)))
    });
    let (mut reached, mut missed) = (0, Vec::new());
    for (path, method, id) in operations {
        let route = path.replace("{path}", "{*path}");
        let labels = format!("{{route=\"{route}\",method=\"{}\",code=\"2", method.to_uppercase());
        if figures.contains(&labels) {
            reached += 1;
        } else if !id.starts_with("relay") {
            missed.push(id.to_owned());
        }
    }
    (reached, missed)
}

async fn tried(ids: &[&str], tools: &Tools, daemon: &TestDaemon, contract: &Value) -> anyhow::Result<()> {
    let document = tools.dir().join("openapi.json");
    fs::write(&document, contract.to_string())?;
    let address = bridge(daemon.socket()).await?;
    let mut command = Command::new(tools.dir().join("venv/bin/schemathesis"));
    let ours = shell::root().join("crates/xtask/src/contract");
    command.arg("--config-file").arg(ours.join("schemathesis.toml")).arg("run").arg(document);
    command.args(["--url", &format!("http://{address}"), "--header", "Host: authd", "--seed", SEED]);
    if ids.is_empty() {
        let others = ROUNDS.iter().flat_map(|(_, ids)| *ids);
        command.args(others.flat_map(|id| ["--exclude-operation-id", id]));
    } else {
        command.args(ids.iter().flat_map(|id| ["--include-operation-id", id]));
    }
    command.current_dir(tools.dir()).stdin(Stdio::null()).kill_on_drop(true);
    command.env("PYTHONPATH", ours).env("SCHEMATHESIS_HOOKS", "hooks").env("AUTHD_HOUSE", daemon.dir());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
    let output = timeout(PATIENCE, command.output()).await.context("schemathesis does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    for line in said.lines().filter(|line| line.contains(" generated, ")) {
        say(line.trim());
    }
    Ok(())
}

/// A door on loopback to the daemon's socket: Schemathesis knows no Unix sockets.
async fn bridge(socket: PathBuf) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut inside = UnixStream::connect(socket).await?;
                copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    Ok(address)
}
