//! Programs that know nothing about authd, through a loopback share: with nothing but a base URL
//! and a key in their environment. On a personal plan they work with `--compat responses`, also
//! after the provider has revoked the access token. On a business plan they work with and without
//! it.

use anyhow::ensure;
use authd_sandbox::{Route, Sandbox, test_daemon::TestDaemon};
use serde_json::json;

use super::{
    ANSWER, CODEX, NODE, OPENAI_NPM, OPENAI_PIP, PROFILES,
    Requirement::{self, Npm, Pip, Program},
    Workspace, output, run_question, shown, start,
};
use crate::tools::skip;

/// A program that runs as the command of a share.
struct ShareProgram {
    command: &'static [&'static str],
    requirements: &'static [Requirement],
    /// Whether the ChatGPT backend refuses its requests as they are. Then it must fail without
    /// `compat`, or the run would show nothing.
    needs_compat: bool,
    /// The requests that it sends on a personal plan.
    route: Route,
}

const SHARE_PROGRAMS: [ShareProgram; 9] = [
    public_api(&["python", "examples/share_openai.py"], &[OPENAI_PIP]),
    public_api(&["python", "examples/share_tools.py"], &[OPENAI_PIP]),
    public_api(&[NODE[0], NODE[1], NODE[2], "examples/share-openai.mjs"], &[OPENAI_NPM]),
    public_api(&["python", "examples/share_langchain.py"], &[OPENAI_PIP, Pip("langchain-openai==1.7.4")]),
    public_api(&["llm", "-m", "gpt-5.5", "What is 2+2?"], &[OPENAI_PIP, Pip("llm==0.36")]),
    public_api(&["bash", "examples/share-curl.sh"], &[Program("bash"), Program("curl")]),
    public_api(
        &["opencode", "run", "--model", "openai/gpt-5.5", "What is 2+2?"],
        &[Npm("opencode-ai@1.18.33")],
    ),
    codex(&["bash", "examples/codex/share.sh"], Route::ChatGptResponses),
    codex(
        &["bash", "examples/codex/share.sh", "--config", WEBSOCKETS, "What is 2+2?"],
        Route::ChatGptWebSocket,
    ),
];

/// The setting with which Codex uses a WebSocket.
const WEBSOCKETS: &str = "model_providers.authd.supports_websockets=true";

/// A program that is written for the public Responses API.
const fn public_api(command: &'static [&'static str], requirements: &'static [Requirement]) -> ShareProgram {
    ShareProgram { command, requirements, needs_compat: true, route: Route::ChatGptResponses }
}

/// The Codex CLI, whose requests the ChatGPT backend accepts.
const fn codex(command: &'static [&'static str], route: Route) -> ShareProgram {
    ShareProgram { command, requirements: &[Program("bash"), CODEX], needs_compat: false, route }
}

/// Runs every program whose tools are available.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let (sandbox, daemon) = start("share.toml").await?;
    for program in &SHARE_PROGRAMS {
        match workspace.install_all(program.requirements) {
            Ok(()) => program.check(workspace, &daemon, &sandbox).await?,
            Err(reason) => skip(&program.command.join(" "), &reason)?,
        }
        ensure!(daemon.get("/v1/shares").await == json!({"shares": []}), "a share ends with its command");
    }
    Ok(())
}

impl ShareProgram {
    async fn check(
        &self,
        workspace: &Workspace,
        daemon: &TestDaemon,
        sandbox: &Sandbox,
    ) -> anyhow::Result<()> {
        let [(personal, _), (business, _)] = PROFILES;
        let (compat, plain) = (self.shared(&["--compat", "responses"]), self.shared(&[]));
        let (refreshes, requests) = (sandbox.count(Route::Refresh), sandbox.count(self.route));
        sandbox.expire_access_tokens();
        run_question(&compat, workspace, daemon, personal).await?;
        ensure!(sandbox.count(Route::Refresh) == refreshes + 1, "authd refreshes once after a 401");
        ensure!(sandbox.count(self.route) > requests, "{} sends other requests", shown(&compat, personal));
        run_question(&compat, workspace, daemon, business).await?;
        run_question(&plain, workspace, daemon, business).await?;
        if !self.needs_compat {
            return run_question(&plain, workspace, daemon, personal).await;
        }
        let refused = output(&plain, workspace, daemon, personal).await?;
        let text = [refused.stdout, refused.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        ensure!(!text.contains(ANSWER), "{} works without compat", shown(&plain, personal));
        Ok(())
    }

    /// The command line that runs the program with a share.
    fn shared(&self, options: &[&'static str]) -> Vec<&'static str> {
        [&["authctl", "share", "--loopback", "--ttl", "30m"], options, &["--"], self.command].concat()
    }
}
