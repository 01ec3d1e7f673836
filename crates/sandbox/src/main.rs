//! The sandbox for people: runs until it is stopped, and prints what to put into `authd.toml`.
//! Everything it can do is the library's.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use authd_sandbox::{Account, Config, HOSTS, Sandbox, Tls};
use clap::Parser;

/// OpenAI on loopback: a stand-in to sign in to, and to break.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8455")]
    listen: SocketAddr,
    /// Serve TLS under the provider's real names, and write the certificate authority into this directory
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// How long access tokens live, in seconds
    #[arg(long, value_name = "SECONDS")]
    lifetime: Option<u64>,
    /// Sign this account in without asking
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Switch device login off
    #[arg(long)]
    no_device_login: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.listen.ip().is_loopback(), "the sandbox is for loopback only");
    let mut config = Config {
        listen: arguments.listen,
        next_account: arguments.account,
        device_login: !arguments.no_device_login,
        ..Config::default()
    };
    if let Some(seconds) = arguments.lifetime {
        config = config.with_lifetime(Duration::from_secs(seconds));
    }
    if arguments.tls.is_some() {
        config.tls = Some(Tls::generate()?);
    }
    let accounts = config.accounts.clone();
    let sandbox =
        Sandbox::start(config).await.with_context(|| format!("cannot listen on {}", arguments.listen))?;

    let how = match &arguments.tls {
        Some(dir) => how_to_trust(&sandbox, dir)?,
        None => how_to_configure(&sandbox),
    };
    welcome(&sandbox, &how, &accounts);
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}

fn how_to_configure(sandbox: &Sandbox) -> String {
    let at = sandbox.endpoints();
    format!(
        "Put this into authd.toml:\n\n[provider]\nissuer = {:?}\nclient_id = {:?}\nchatgpt_base_url = {:?}\n\
         chatgpt_backend_url = {:?}\napi_base_url = {:?}\n",
        at.issuer, at.client_id, at.chatgpt_base_url, at.chatgpt_backend_url, at.api_base_url,
    )
}

fn how_to_trust(sandbox: &Sandbox, dir: &std::path::Path) -> anyhow::Result<String> {
    let file = dir.join("ca.pem");
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    std::fs::write(&file, sandbox.ca_pem().unwrap_or_default())
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(format!(
        "It answers as {}. Start authd with:\n\n  SSL_CERT_FILE={} HTTPS_PROXY={}\n",
        HOSTS.join(", "),
        file.display(),
        sandbox.proxy_url().unwrap_or_default(),
    ))
}

#[expect(clippy::print_stdout, reason = "this is what the person asked for")]
fn welcome(sandbox: &Sandbox, how: &str, accounts: &[Account]) {
    let url = sandbox.url();
    println!("The sandbox listens on {url}.\n\n{how}\nAccounts:");
    for account in accounts {
        let plan = account.plan.as_deref().unwrap_or("no plan");
        println!("  {:30}{} ({plan})", account.name, account.email);
    }
    println!("\nSwitches: {url}/_sandbox/faults, {url}/_sandbox/requests, {url}/_sandbox/expire");
}
