//! Real git with `authctl git-credential` as its credential helper, against `git http-backend`
//! behind a check of the token: npm `oidc-provider` says whether it is valid.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::timeout,
};

use super::{
    Requirement::Program,
    TIMEOUT, Workspace,
    oidc::{self, OidcProvider, Rig, USER, run},
};
use crate::{
    shell::{self, print, print_title},
    tools::skip,
};

const SCRIPT: &str = "git_server.mjs";

/// The lifetime of an access token, in seconds. The check waits for its end.
const LIFETIME: u64 = 12;

const PROFILE: &str = "public";

/// Clones and fetches, if git and `oidc-provider` are installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("git, through authctl git-credential");
    if let Err(reason) = oidc::install(workspace, &[Program("git")]) {
        return skip("git", &reason);
    }
    let provider = OidcProvider::start(workspace, &json!({"lifetime": LIFETIME})).await?;
    let repositories = tempfile::tempdir()?;
    let server = GitServer::start(workspace, repositories.path(), &provider).await?;
    let rig = Rig::start(workspace, provider, &format!("git_hosts = [{:?}]", server.host())).await?;
    rig.authctl(&["login", "--provider", PROFILE]).await?;
    let git = Git::configure(&rig, &server).await?;
    git.publish(repositories.path()).await?;
    let result = git.check().await;
    // The cache of credentials is a process of its own.
    git.run(&["credential-cache", "exit"]).await?;
    result
}

/// git with a configuration of its own.
struct Git<'a> {
    rig: &'a Rig<'a>,
    server: &'a GitServer,
}

impl<'a> Git<'a> {
    async fn configure(rig: &'a Rig<'a>, server: &'a GitServer) -> anyhow::Result<Self> {
        let git = Self { rig, server };
        let example = fs::read_to_string(shell::root().join("examples/gitconfig"))?;
        let mut config = example.replace("https://gitlab.example.com", &server.url);
        // An older git would take the expired token from the cache.
        let version = git.run(&["version"]).await?;
        if version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()) < Some(40) {
            config = config.replace("\thelper = cache\n", "");
        }
        config += &format!("[user]\n\tname = {USER}\n\temail = {USER}@example.com\n");
        fs::write(rig.path("gitconfig"), config)?;
        Ok(git)
    }

    /// Makes a repository with one commit, in the directory of the server.
    async fn publish(&self, repositories: &Path) -> anyhow::Result<()> {
        let bare = repositories.join("project.git");
        let bare = bare.to_str().context("a path in UTF-8")?;
        self.run(&["init", "--quiet", "--bare", "--initial-branch=main", bare]).await?;
        self.run(&["clone", "--quiet", bare, "origin"]).await?;
        self.run(&["-C", "origin", "commit", "--quiet", "--allow-empty", "--message=first"]).await?;
        self.run(&["-C", "origin", "push", "--quiet", "origin", "HEAD:main"]).await.map(drop)
    }

    async fn check(&self) -> anyhow::Result<()> {
        self.run(&["clone", "--quiet", &format!("{}/project.git", self.server.url), "clone"]).await?;
        print("git has cloned");

        self.rig.until_expiry(PROFILE).await?;
        self.fetch().await?;
        print("git has fetched after the token had expired");

        let helper = self.helper().await?;
        let headers = self.rig.authctl_json(&["headers", "--profile", PROFILE]).await?;
        let expires_at: jiff::Timestamp = headers["expires_at"].as_str().context("an expiry")?.parse()?;
        let expiry = format!("password_expiry_utc={}", expires_at.as_second());
        ensure!(helper.lines().any(|line| line == expiry), "the helper does not say {expiry}: {helper}");

        self.rig.request(PROFILE, &format!("{}/forget", self.rig.provider.url("issuer"))).await?;
        // git reports the rejected token to its helpers. Older ones then give up.
        let first = self.fetch().await;
        self.fetch().await.with_context(|| format!("after {first:?}"))?;
        print("git has fetched with a new token after the server had rejected the old one");
        Ok(())
    }

    async fn fetch(&self) -> anyhow::Result<()> {
        self.run(&["-C", "clone", "fetch", "--quiet"]).await.map(drop)
    }

    /// What the credential helper says about the server.
    async fn helper(&self) -> anyhow::Result<String> {
        let input = format!("protocol=http\nhost={}\n\n", self.server.host());
        self.rig.run("bash", &["-c", "printf %s \"$0\" | authctl git-credential get", &input]).await
    }

    async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.rig.command("git", args)?;
        command.current_dir(self.rig.directory.path()).env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.rig.path("gitconfig"));
        run(&mut command).await.with_context(|| self.rig.daemon.log())
    }
}

/// The server. It ends when it is dropped.
struct GitServer {
    url: String,
    _process: Child,
}

impl GitServer {
    async fn start(
        workspace: &Workspace,
        repositories: &Path,
        provider: &OidcProvider,
    ) -> anyhow::Result<Self> {
        workspace.copy(SCRIPT)?;
        let mut command = workspace.command("node", &[])?;
        command.arg(SCRIPT).arg(repositories).arg(provider.url("introspection_endpoint"));
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("stdout is a pipe")?).lines();
        let line = timeout(TIMEOUT, lines.next_line()).await.context("the git server does not start")??;
        Ok(Self { url: line.context("the git server has ended")?, _process: process })
    }

    fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}
