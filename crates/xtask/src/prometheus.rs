//! `cargo xtask test prometheus`: the alert rules and the dashboard of `config`, with a real
//! Prometheus that reads the metrics of a daemon. The rules pass their tests, an alert fires, and
//! every query of the dashboard has a result.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use authd_sandbox::{
    Account, Config, Sandbox, Usage,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    shell::{self, print, print_title},
    tools::{run_quiet, skip},
};

/// Longest wait for a result. It only stops a run that would never end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The pause between two queries.
const PAUSE: Duration = Duration::from_millis(300);

/// The configuration of Prometheus for its users, with the address and the path that are replaced
/// here.
const CONFIG: &str = include_str!("../../../config/prometheus/prometheus.yml");
const ADDRESS: &str = "127.0.0.1:9464";
const RULES: &str = "authd.rules.yml";

/// The profiles and their accounts. The limits of the first one are nearly used up, and the second
/// one is revoked.
const PROFILES: [(&str, &str); 2] = [("default", "plus"), ("other", "business-without-organization")];

/// Alerts that fire at the end of the run.
const FIRING: [&str; 2] = ["AuthdSignInRequired", "AuthdQuotaLow"];

/// Runs the check, if Prometheus is installed.
pub(crate) fn check() -> anyhow::Result<()> {
    for program in ["promtool", "prometheus", "curl"] {
        if !shell::is_installed(program) {
            return skip("prometheus", &anyhow::anyhow!("{program} is not installed"));
        }
    }
    print_title("promtool");
    let directory = shell::root().join("config/prometheus");
    let promtool = |args: &[&str]| run_quiet(Command::new("promtool").args(args).current_dir(&directory));
    promtool(&["check", "config", "prometheus.yml"])?;
    promtool(&["test", "rules", "authd.rules.test.yml"])?;
    shell::run(&mut shell::cargo(&["build", "--bin", "authd"]))?;
    let runtime = shell::runtime()?;
    runtime.block_on(scrape(&directory))
}

/// Lets Prometheus read a daemon that is used in every way that the dashboard shows.
async fn scrape(rules: &Path) -> anyhow::Result<()> {
    print_title("A daemon under Prometheus");
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await?;
    let fleet = start_fleet()?;
    let settings = fleet.as_ref().map(|(_, settings)| settings.clone()).unwrap_or_default();
    let toml = "[metrics]\nlisten = \"127.0.0.1:0\"\n\n[audit]\nto = \"file\"\n";
    let config = TestDaemonConfig::new(shell::binary("authd")?, &sandbox).store("file");
    let daemon = TestDaemon::start(config.toml(&settings).toml(toml)).await;
    if fleet.is_some() {
        daemon.post("/v1/store/migrate", json!({"to": "postgres"})).await;
    }
    for (profile, account) in PROFILES {
        daemon.sign_in(profile, account).await;
    }
    let prometheus = Prometheus::start(rules, &metrics_address(&daemon)?)?;
    let is_up = async || Ok(!prometheus.query("up{job=\"authd\"} == 1")?.is_empty());
    until("Prometheus reads the daemon", is_up).await?;
    ensure!(prometheus.firing()?.is_empty(), "an alert fires although nothing is wrong");

    sandbox.set_usage(PROFILES[0].1, Usage::of([(95.0, 5 * 3600)]));
    daemon.post("/v1/shares", json!({"door": "socket"})).await;
    let is_shown = |query: &str| fleet.is_some() || !query.contains("authd_fleet_");
    for (title, query) in queries()?.into_iter().filter(|(_, query)| is_shown(query)) {
        let has_result = async || {
            use_daemon(&daemon).await?;
            Ok(!prometheus.query(&query)?.is_empty())
        };
        until(&format!("{title}: the query has a result"), has_result).await?;
    }

    sandbox.revoke_account(PROFILES[1].1);
    daemon.request("POST", &format!("/v1/profiles/{}/refresh", PROFILES[1].0), &[], "{}").await;
    let fire = async || Ok(prometheus.firing()?.is_superset(&BTreeSet::from(FIRING.map(str::to_owned))));
    let fired = until(&format!("these alerts fire: {}", FIRING.join(", ")), fire).await;
    fired.with_context(|| format!("{:?} fire", prometheus.firing()))?;
    let firing = prometheus.firing()?;
    ensure!(firing.len() == FIRING.len(), "other alerts fire, too: {firing:?}");
    Ok(())
}

/// A database, and the settings of a node; `None` if PostgreSQL is not installed.
#[cfg(target_os = "linux")]
fn start_fleet() -> anyhow::Result<Option<(authd_sandbox::postgres::TestPostgres, String)>> {
    let Some(postgres) = authd_sandbox::postgres::TestPostgres::start()? else { return Ok(None) };
    let settings = postgres.node_toml("here")?;
    Ok(Some((postgres, settings)))
}

/// The database of the tests runs on Linux only.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of Linux")]
fn start_fleet() -> anyhow::Result<Option<((), String)>> {
    Ok(None)
}

/// One round of the requests that the dashboard counts.
async fn use_daemon(daemon: &TestDaemon) -> anyhow::Result<()> {
    daemon.get("/v1/profiles/-/headers").await;
    daemon.get("/v1/profiles/-/quota").await;
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    let shares = daemon.get("/v1/shares").await;
    let socket = shares["shares"][0]["socket"].as_str().context("there is no share")?;
    let models = "http://authd/v1/profiles/-/relay/models?client_version=0.171.0";
    run_quiet(Command::new("curl").args(["-sf", "-o", "/dev/null", "--unix-socket", socket, models]))
}

/// The address on which the daemon serves its metrics.
fn metrics_address(daemon: &TestDaemon) -> anyhow::Result<String> {
    let log = daemon.log();
    let (_, rest) = log.split_once("metrics served address=").with_context(|| log.clone())?;
    Ok(rest.lines().next().unwrap_or_default().to_owned())
}

/// The title and the query of each panel of the dashboard, with the values of Grafana's variables.
fn queries() -> anyhow::Result<Vec<(String, String)>> {
    let text = fs::read_to_string(shell::root().join("config/grafana/authd.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("the dashboard has no panels")?;
    let mut queries = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().context("a panel has no title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().context("a target has no query")?;
            let query =
                query.replace("$__rate_interval", "10s").replace("\"$instance\"", &format!("\"{ADDRESS}\""));
            ensure!(!query.contains('$'), "a variable has no value here: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    ensure!(queries.len() > 10, "the dashboard has few queries");
    Ok(queries)
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds().await? {
        ensure!(started.elapsed() < TIMEOUT, "not within {} s: {what}", TIMEOUT.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
    print(&format!("{:5.1} s  {what}", started.elapsed().as_secs_f64()));
    Ok(())
}

/// A Prometheus with the configuration that users have; it is stopped when dropped.
struct Prometheus {
    process: Child,
    url: String,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts Prometheus. It reads the metrics at `target` every second, and they keep the name of
    /// the address that the configuration has.
    fn start(rules: &Path, target: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        ensure!(CONFIG.contains(&format!("[\"{ADDRESS}\"]")), "the configuration has another address");
        let config = CONFIG.replace(ADDRESS, target).replace(RULES, &rules.join(RULES).to_string_lossy());
        let config = format!("global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{config}");
        let relabel =
            format!("    relabel_configs: [{{target_label: instance, replacement: \"{ADDRESS}\"}}]\n");
        let config = config.replace("    static_configs:", &format!("{relabel}    static_configs:"));
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config)?;
        // Prometheus does not say which port it chose.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log"))?)
            .spawn()?;
        Ok(Self { process, url: format!("http://127.0.0.1:{port}/api/v1"), _directory: directory })
    }

    /// The result of a query: a list of samples. Empty until Prometheus has started.
    fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let response = self.get("query", &["--data-urlencode", &format!("query={query}")])?;
        ensure!(response["status"] != "error", "{query}: {response}");
        Ok(response["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// The names of the alerts that fire.
    fn firing(&self) -> anyhow::Result<BTreeSet<String>> {
        let response = self.get("alerts", &[])?;
        let alerts = response["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
    }

    fn get(&self, path: &str, args: &[&str]) -> anyhow::Result<Value> {
        let mut curl = Command::new("curl");
        let output = curl.args(["-sG", &format!("{}/{path}", self.url)]).args(args).output()?;
        // Without a connection there is no output.
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
