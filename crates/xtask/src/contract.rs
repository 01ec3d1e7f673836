//! `cargo xtask test contract`: checks the daemon against its OpenAPI document. Schemathesis
//! generates valid and invalid requests, and compares the status, headers and body of each response
//! with the document. A difference is a defect of the daemon or of the document. The last round
//! sends the same kind of requests to the doors of a share.

mod share;

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
    shell::{self, print, print_title},
    tools::{ToolDir, skip},
};

const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// The seed of the generator. It is fixed, so that a failure can be reproduced.
const SEED: &str = "1";
/// Longest time of a round. It only stops a hanging run.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The profiles and their accounts. Both modes occur.
const PROFILES: [(&str, &str); 3] =
    [("default", "plus"), ("work", "business"), ("spare", "business-without-organization")];

/// The rounds: a title and the ids of its operations. The round without ids has all other
/// operations. Each round has its own daemon, because some operations delete what others need.
const ROUNDS: [(&str, &[&str]); 3] = [
    ("operations that keep all profiles", &[]),
    ("operations that move profiles", &["export", "import", "migrate_store", "rekey_store"]),
    ("operations that rename or delete profiles", &["patch_profile", "sign_out"]),
];

/// Operations that no generated request can complete: `paste` needs the redirect URL of an approved
/// login, `own_token` a token that the provider knows, and the response of `hold_share` does not
/// end while the share lasts.
const UNREACHABLE: [&str; 3] = ["paste", "own_token", "hold_share"];

/// Checks the contract, if Schemathesis can be installed.
pub(crate) fn check() -> anyhow::Result<()> {
    let tools = ToolDir::open("contract")?;
    if let Err(reason) = tools.install_pip(SCHEMATHESIS) {
        return skip("contract", &reason);
    }
    shell::run(&mut shell::cargo(&["build", "--bin", "authd"]))?;
    let runtime = shell::runtime()?;
    runtime.block_on(run_rounds(&tools))
}

async fn run_rounds(tools: &ToolDir) -> anyhow::Result<()> {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await?;
    let (mut contract, mut metrics) = (Value::Null, String::new());
    for (name, ids) in ROUNDS {
        print_title(name);
        let config = TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file");
        let daemon = TestDaemon::start(config.toml("[audit]\nto = \"file\"\n")).await;
        for (profile, account) in PROFILES {
            daemon.sign_in(profile, account).await;
        }
        // The directory of the login of Codex. The daemon does not create it.
        fs::create_dir(daemon.dir().join("home/.codex"))?;
        contract = daemon.get("/v1/openapi.json").await;
        run_round(ids, tools, &daemon, &contract).await?;
        metrics += &daemon.request("GET", "/v1/metrics", &[], "").await.text();
        ensure!(!daemon.log().contains("panicked"), "a task of the daemon panicked:\n{}", daemon.log());
    }
    let (completed, missed) = completed_operations(&contract, &metrics);
    print(&format!("completed: {completed} operations; not completed: {}", missed.join(", ")));
    ensure!(
        missed == UNREACHABLE,
        "only {UNREACHABLE:?} may stay without success: extend crates/xtask/src/contract/schemathesis.toml \
         for the others, or change UNREACHABLE in crates/xtask/src/contract.rs"
    );
    share::check(tools, &sandbox, &contract).await
}

/// The number of operations that had a successful response according to the daemon's metrics, and
/// the ids of the others. The relay is left out, because its status is the upstream's.
fn completed_operations(contract: &Value, metrics: &str) -> (usize, Vec<String>) {
    let operations = contract["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods
            .filter_map(move |(method, operation)| Some((path, method, operation["operationId"].as_str()?)))
    });
    let (mut completed, mut missed) = (0, Vec::new());
    for (path, method, id) in operations {
        let route = path.replace("{path}", "{*path}");
        let labels = format!("{{route=\"{route}\",method=\"{}\",code=\"2", method.to_uppercase());
        if metrics.contains(&labels) {
            completed += 1;
        } else if !id.starts_with("relay") {
            missed.push(id.to_owned());
        }
    }
    (completed, missed)
}

async fn run_round(
    ids: &[&str],
    tools: &ToolDir,
    daemon: &TestDaemon,
    contract: &Value,
) -> anyhow::Result<()> {
    let address = bridge_to(daemon.socket()).await?;
    let mut command = schemathesis(tools, daemon, contract, "schemathesis.toml", "hooks")?;
    command.args(["--url", &format!("http://{address}"), "--header", "Host: authd"]);
    if ids.is_empty() {
        let others = ROUNDS.iter().flat_map(|(_, ids)| *ids);
        command.args(others.flat_map(|id| ["--exclude-operation-id", id]));
    } else {
        command.args(ids.iter().flat_map(|id| ["--include-operation-id", id]));
    }
    run(command).await
}

/// Schemathesis for this document, with a configuration and the hooks of a Python module beside it.
fn schemathesis(
    tools: &ToolDir,
    daemon: &TestDaemon,
    contract: &Value,
    config: &str,
    hooks: &str,
) -> anyhow::Result<Command> {
    let document = tools.path().join("openapi.json");
    fs::write(&document, contract.to_string())?;
    let mut command = Command::new(tools.path().join("venv/bin/schemathesis"));
    let config_dir = shell::root().join("crates/xtask/src/contract");
    command.arg("--config-file").arg(config_dir.join(config)).arg("run").arg(document);
    command.args(["--seed", SEED]);
    command.current_dir(tools.path()).stdin(Stdio::null()).kill_on_drop(true);
    command
        .env("PYTHONPATH", config_dir)
        .env("SCHEMATHESIS_HOOKS", hooks)
        .env("AUTHD_TEST_DIR", daemon.dir());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
    Ok(command)
}

/// Runs Schemathesis, and prints how many requests it has generated.
async fn run(mut command: Command) -> anyhow::Result<()> {
    let output = timeout(TIMEOUT, command.output()).await.context("schemathesis timed out")??;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    for line in stdout.lines().filter(|line| line.contains(" generated, ")) {
        print(line.trim());
    }
    Ok(())
}

/// Forwards a loopback port to the daemon's socket, because Schemathesis does not support Unix
/// sockets.
async fn bridge_to(socket: PathBuf) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut server = UnixStream::connect(socket).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    Ok(address)
}
