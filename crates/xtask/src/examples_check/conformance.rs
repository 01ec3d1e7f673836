//! The public conformance suite of MCP, with a client program that knows no OAuth: it takes its
//! header from `authctl` and nowhere else.

use anyhow::{Context, ensure};
use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tokio::time::timeout;

use super::{
    NODE, NODE_22,
    Requirement::{self, Npm, Program},
    TIMEOUT, Workspace,
    oidc::MCP_SDK,
};
use crate::{
    shell::{self, print, print_title},
    tools::skip,
};

/// What runs the scenarios: a Node that is new enough, the suite, and the SDK of the client.
const REQUIREMENTS: [Requirement; 4] =
    [Program("curl"), NODE_22, Npm("@modelcontextprotocol/conformance@0.1.16"), MCP_SDK];

const SCRIPT: &str = "conformance.mjs";

/// Longest time of a scenario, in milliseconds. It only stops a hanging run: all scenarios of a
/// suite run at the same time.
const SCENARIO_TIMEOUT: &str = "150000";

/// Opens a page as a browser does, but without a user: the servers of the suite ask no question.
const BROWSER: &str = "curl --globoff --silent --show-error --location --output /dev/null";

struct Suite {
    name: &'static str,
    /// Its scenarios, all of which must pass. A suite that has fewer is not the one we know.
    scenarios: &'static [&'static str],
    /// How many scenarios end with an error of the client, because the server never gives in.
    failing_clients: usize,
}

const SUITES: [Suite; 3] = [
    Suite {
        name: "auth",
        scenarios: &[
            "metadata-default",
            "metadata-var1",
            "metadata-var2",
            "metadata-var3",
            "basic-cimd",
            "scope-from-www-authenticate",
            "scope-from-scopes-supported",
            "scope-omitted-when-undefined",
            "scope-step-up",
            "scope-retry-limit",
            "token-endpoint-auth-basic",
            "token-endpoint-auth-post",
            "token-endpoint-auth-none",
            "pre-registration",
        ],
        failing_clients: 1,
    },
    Suite {
        name: "backcompat",
        scenarios: &["2025-03-26-oauth-metadata-backcompat", "2025-03-26-oauth-endpoint-fallback"],
        failing_clients: 0,
    },
    Suite {
        name: "draft",
        scenarios: &["resource-mismatch", "offline-access-scope", "offline-access-not-supported"],
        failing_clients: 1,
    },
];

/// Runs the suites, if they can be installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("The conformance suite of MCP");
    if let Err(reason) = workspace.install_all(&REQUIREMENTS) {
        return skip("the conformance suite of MCP", &reason);
    }
    workspace.copy(SCRIPT)?;
    let sandbox = Sandbox::start(Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(shell::binary("authd")?, &sandbox)).await;
    for suite in &SUITES {
        suite.check(workspace, &daemon).await.with_context(|| format!("suite {}", suite.name))?;
    }
    Ok(())
}

impl Suite {
    async fn check(&self, workspace: &Workspace, daemon: &TestDaemon) -> anyhow::Result<()> {
        let client = format!("{} {SCRIPT}", NODE.join(" "));
        let mut command = workspace.command("conformance", daemon.env())?;
        command.args(["client", "--suite", self.name, "--command", &client, "--timeout", SCENARIO_TIMEOUT]);
        command.env("BROWSER", BROWSER);
        let output = timeout(TIMEOUT, command.output()).await.context("the suite does not end")??;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let shown = || format!("{stdout}\n{stderr}\n{}", daemon.log());
        // A warning counts as a failure, too.
        ensure!(output.status.success(), "not all scenarios pass\n{}", shown());
        for scenario in self.scenarios {
            let passed = format!("✓ auth/{scenario}: ");
            let line = stdout.lines().find(|line| line.starts_with(&passed));
            print(line.with_context(|| format!("{scenario} did not run\n{}", shown()))?);
        }
        let failed = stderr.matches("Client exited with code").count();
        ensure!(failed == self.failing_clients, "{failed} clients failed\n{}", shown());
        ensure!(!stderr.contains("timed out"), "a client does not end\n{}", shown());
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
