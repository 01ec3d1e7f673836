//! The sandbox as a program. It prints the settings for `authd.toml`, and runs until Ctrl-C.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use authd_sandbox::{Account, Config, HOSTS, Routing, Sandbox, Tls};
use clap::Parser;

/// Stand-in for OpenAI on loopback, for demonstrations and for tests of failures
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8455")]
    listen: SocketAddr,
    /// Serve TLS for the real host names of the provider, and write the CA certificate into this
    /// directory
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Lifetime of access tokens, in seconds
    #[arg(long, value_name = "SECONDS")]
    lifetime: Option<u64>,
    /// Sign in with this account without showing the sign-in page
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Offer this model only to clients of at least this version, for example `gpt-5.5=0.150.0`
    #[arg(long, value_name = "MODEL=VERSION", value_parser = pair)]
    minimal_client_version: Vec<(String, String)>,
    /// Name this host as the one of every workspace, for example `https://chatgpt.com`. Codex
    /// requires one with HTTPS
    #[arg(long, value_name = "URL")]
    workspace_origin: Option<String>,
    /// Disable device login
    #[arg(long)]
    no_device_login: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.listen.ip().is_loopback(), "the sandbox must listen on a loopback address");
    let mut config = Config {
        listen: arguments.listen,
        next_account: arguments.account,
        minimal_client_versions: arguments.minimal_client_version,
        device_login: !arguments.no_device_login,
        ..Config::default()
    };
    if let Some(origin) = arguments.workspace_origin {
        for account in &mut config.accounts {
            account.routing = Some(Routing { backend_origin: origin.clone(), region: "us".into() });
        }
    }
    if let Some(seconds) = arguments.lifetime {
        config = config.with_lifetime(Duration::from_secs(seconds));
    }
    if arguments.tls.is_some() {
        config.tls = Some(Tls::generate()?);
    }
    let accounts = config.accounts.clone();
    let sandbox =
        Sandbox::start(config).await.with_context(|| format!("cannot listen on {}", arguments.listen))?;

    let instructions = match &arguments.tls {
        Some(dir) => tls_instructions(&sandbox, dir)?,
        None => config_instructions(&sandbox),
    };
    print_welcome(&sandbox, &instructions, &accounts);
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (model, version) = text.split_once('=').ok_or("must be MODEL=VERSION")?;
    Ok((model.to_owned(), version.to_owned()))
}

fn config_instructions(sandbox: &Sandbox) -> String {
    let endpoints = sandbox.endpoints();
    format!(
        "Add this to authd.toml:\n\n[provider]\nissuer = {:?}\nclient_id = {:?}\nchatgpt_base_url = {:?}\n\
         chatgpt_backend_url = {:?}\napi_base_url = {:?}\n",
        endpoints.issuer,
        endpoints.client_id,
        endpoints.chatgpt_base_url,
        endpoints.chatgpt_backend_url,
        endpoints.api_base_url,
    )
}

fn tls_instructions(sandbox: &Sandbox, dir: &std::path::Path) -> anyhow::Result<String> {
    let file = dir.join("ca.pem");
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    std::fs::write(&file, sandbox.ca_pem().unwrap_or_default())
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(format!(
        "It serves {}. Start authd with:\n\n  SSL_CERT_FILE={} HTTPS_PROXY={}\n",
        HOSTS.join(", "),
        file.display(),
        sandbox.proxy_url().unwrap_or_default(),
    ))
}

#[expect(clippy::print_stdout, reason = "the instructions are the output of the program")]
fn print_welcome(sandbox: &Sandbox, instructions: &str, accounts: &[Account]) {
    let url = sandbox.url();
    println!("The sandbox listens on {url}.\n\n{instructions}\nAccounts:");
    for account in accounts {
        let plan = account.plan.as_deref().unwrap_or("no plan");
        println!("  {:30}{} ({plan})", account.name, account.email);
    }
    println!("\nControl: {url}/_sandbox/faults, {url}/_sandbox/requests, {url}/_sandbox/expire");
}
